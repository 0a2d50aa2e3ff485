/**
 * A body far larger than memory, offered as fast as it is taken to a peer that takes it slowly: up to a slow server and down to a slow
 * client, at once. Backpressure must reach its source, so the gateway's memory stays where it was.
 */
import assert from 'node:assert/strict'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
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

/** Offers the body as fast as the socket takes it. */
function offer(socket: Socket, bytes: number): void {
  let left = bytes
  const more = (): void => {
    while (left > 0) {
      const chunk = PATTERN.subarray(0, Math.min(left, PATTERN_BYTES))
      left -= chunk.length
      if (!socket.write(chunk)) return
    }
    socket.off('drain', more)
  }
  socket.on('drain', more)
  more()
}

/** Reads a head, then a body at the given pace; resolves when all of it came as it was offered. */
function takeSlowly(socket: Socket, bytes: number, bytesPerSecond: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0)
    let inBody = false
    let taken = 0
    const startedAt = performance.now()
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`closed after ${taken} of ${bytes} bytes`)))
    socket.on('data', (chunk: Buffer) => {
      let body = chunk
      if (!inBody) {
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        inBody = true
        body = head.subarray(end + 4)
      }
      for (let at = 0; at < body.length; ) {
        const offset = taken % PATTERN_BYTES
        const length = Math.min(body.length - at, PATTERN_BYTES)
        if (body.compare(TWICE, offset, offset + length, at, at + length) !== 0) return reject(new Error(`other bytes after ${taken}`))
        at += length
        taken += length
      }
      if (taken >= bytes) return resolve()
      const dueInMs = startedAt + (taken / bytesPerSecond) * 1000 - performance.now()
      if (dueInMs <= 1) return
      socket.pause()
      setTimeout(() => socket.resume(), dueInMs)
    })
  })
}

interface Origin {
  readonly server: Server
  readonly port: number
  /** Resolves when the next upload has been taken whole. */
  upload(bytes: number, bytesPerSecond: number): Promise<void>
}

/** POST: taken slowly. GET /<bytes>: offered. One request per connection. Anything else (checks): closed. */
async function startOrigin(): Promise<Origin> {
  let expected: { bytes: number; bytesPerSecond: number; done: (taken: Promise<void>) => void } | undefined
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (first: Buffer) => {
      const [method, target = '/'] = first.toString('latin1').split(' ')
      if (method === 'GET') {
        const bytes = Number(target.slice(1))
        socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n`)
        offer(socket, bytes)
      } else if (expected !== undefined) {
        const { bytes, bytesPerSecond, done } = expected
        const taken = takeSlowly(socket, bytes, bytesPerSecond)
        socket.emit('data', first)
        done(taken.then(() => void socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    server,
    port: (server.address() as AddressInfo).port,
    upload: (bytes, bytesPerSecond) => new Promise((resolve) => (expected = { bytes, bytesPerSecond, done: resolve })),
  }
}

test('a body far larger than memory passes to a slow server and to a slow client without being held', async (t) => {
  const origin = await startOrigin()
  after(() => origin.server.close())
  const up = async (port: number, bytes: number, bytesPerSecond: number): Promise<void> => {
    const socket = connect(port, '127.0.0.1')
    const taken = origin.upload(bytes, bytesPerSecond)
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes}\r\n\r\n`)
    offer(socket, bytes)
    await taken
    socket.destroy()
  }
  const down = async (port: number, bytes: number, bytesPerSecond: number): Promise<void> => {
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /${bytes} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await takeSlowly(socket, bytes, bytesPerSecond)
    socket.destroy()
  }
  const run = async (what: string, transfer: typeof up): Promise<void> => {
    await using gateway = await startGatewayProcess(`
pools: { api: ["http://127.0.0.1:${origin.port}"] }
routes: [{ match: "/*" }]
`)
    await transfer(gateway.port, MIB, 64 * MIB)
    const before = gateway.rssAnonBytes()
    const memory = sampleMemory(gateway)
    const startedAt = performance.now()
    await transfer(gateway.port, BODY_BYTES, BYTES_PER_SECOND)
    const seconds = (performance.now() - startedAt) / 1000
    const growth = (await memory.stop()) - before
    tellFigures(
      t,
      `${mib(BODY_BYTES)} ${what} at ${mib(BYTES_PER_SECOND)}/s (${seconds.toFixed(0)} s): RssAnon +${mib(growth)} at most, from ${mib(before)}`,
    )
    assert.ok(growth < GROWTH_MAX, `${what}: RssAnon grew by ${mib(growth)}`)
  }
  await Promise.all([run('up', up), run('down', down)])
})
