/**
 * A body far larger than memory, offered as fast as it is taken to a peer that takes it slowly: up to a slow server and down to a slow
 * client, at once. Backpressure must reach its source, so the gateway's memory stays where it was.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { after, test } from 'node:test'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { mib, MIB, sampleMemory, sized, tellFigures } from './form.ts'

const BODY_BYTES = sized([2048 * MIB, 64 * MIB])
const BYTES_PER_SECOND = sized([4 * MIB, 16 * MIB])
const GROWTH_MAX = 32 * MIB
/** Of a body that repeats these bytes: what arrives can be compared without being kept. Prime, so that no buffer's size is in step with it. */
const PATTERN_BYTES = 65_537
const PATTERN = Buffer.from(Array.from({ length: PATTERN_BYTES }, (_, i) => (i * 31 + (i >> 8)) & 255))
const TWICE = Buffer.concat([PATTERN, PATTERN])

/** Offers the body as fast as it is taken. */
async function offer(to: Writable, bytes: number, chunked = false): Promise<void> {
  for (let left = bytes; left > 0; ) {
    const piece = PATTERN.subarray(0, Math.min(left, PATTERN_BYTES))
    left -= piece.length
    if (!to.write(chunked ? inChunks(piece, left === 0) : piece)) await once(to, 'drain')
  }
}

/** Two chunks, so that most reads of the gateway bring parts of several. */
function inChunks(piece: Buffer, last: boolean): Buffer {
  const half = piece.length >> 1
  const chunk = (part: Buffer): Buffer[] => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]
  return Buffer.concat([...chunk(piece.subarray(0, half)), ...chunk(piece.subarray(half)), Buffer.from(last ? '0\r\n\r\n' : '')])
}

/** Reads a body at the given pace; resolves when all of it came as it was offered. */
async function takeSlowly(from: Readable, bytes: number, bytesPerSecond: number): Promise<void> {
  let taken = 0
  const startedAt = performance.now()
  for await (const piece of from as AsyncIterable<Buffer>) {
    for (let at = 0; at < piece.length; ) {
      const offset = taken % PATTERN_BYTES
      const length = Math.min(piece.length - at, PATTERN_BYTES)
      if (piece.compare(TWICE, offset, offset + length, at, at + length) !== 0) throw new Error(`other bytes after ${taken}`)
      at += length
      taken += length
    }
    const dueInMs = startedAt + (taken / bytesPerSecond) * 1000 - performance.now()
    if (dueInMs > 1) await new Promise((resolve) => setTimeout(resolve, dueInMs))
  }
  assert.equal(taken, bytes)
}

/** POST: taken slowly. GET /<bytes>: offered. */
async function startOrigin(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer({ requestTimeout: 0 }, (asked, answer) => {
    if (asked.method === 'GET') {
      const bytes = Number(asked.url?.slice(1))
      answer.writeHead(200, { 'Content-Length': bytes })
      void offer(answer, bytes).then(() => answer.end())
      return
    }
    takeSlowly(asked, BODY_BYTES, BYTES_PER_SECOND).then(
      () => answer.writeHead(204).end(),
      (error: Error) => answer.writeHead(422, error.message).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as AddressInfo).port }
}

type Transfer = (port: number) => Promise<void>

async function up(port: number, framing: string): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n`)
  const answered = once(socket, 'data')
  await offer(socket, BODY_BYTES, framing.startsWith('Transfer'))
  const [answer] = (await answered) as [Buffer]
  assert.match(answer.toString(), /^HTTP\/1.1 204 /)
  socket.destroy()
}

const upSized: Transfer = (port) => up(port, `Content-Length: ${BODY_BYTES}`)
const upChunked: Transfer = (port) => up(port, 'Transfer-Encoding: chunked')

async function down(port: number): Promise<void> {
  const asked = request({ port, path: `/${BODY_BYTES}` }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  await takeSlowly(answer, BODY_BYTES, BYTES_PER_SECOND)
}

test('a body far larger than memory passes to a slow server and to a slow client without being held', async (t) => {
  const origin = await startOrigin()
  after(() => origin.server.close())
  const run = async (what: string, transfer: Transfer): Promise<void> => {
    await using gateway = await startGatewayProcess(`
pools: { api: ["http://127.0.0.1:${origin.port}"] }
routes: [{ match: "/*" }]
`)
    await fetch(`http://127.0.0.1:${gateway.port}/${PATTERN_BYTES}`).then((answer) => answer.arrayBuffer())
    const before = gateway.rssAnonBytes()
    const memory = sampleMemory(gateway)
    const startedAt = performance.now()
    await transfer(gateway.port)
    const seconds = (performance.now() - startedAt) / 1000
    const growth = (await memory.stop()) - before
    tellFigures(
      t,
      `${mib(BODY_BYTES)} ${what} at ${mib(BYTES_PER_SECOND)}/s (${seconds.toFixed(0)} s): RssAnon +${mib(growth)} at most, from ${mib(before)}`,
    )
    assert.ok(growth < GROWTH_MAX, `${what}: RssAnon grew by ${mib(growth)}`)
  }
  await Promise.all([run('up', upSized), run('up in chunks', upChunked), run('down', down)])
})
