/** Answers larger than what is read from a server at once: nobody waits for a sign that does not come. */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { startGatewayRig } from '../support/gateway-rig.ts'
import { parseAnswers, type RawAnswer } from '../support/raw-answers.ts'
import { RawClient } from '../support/raw-client.ts'
import { type RawServer, startRawServer } from '../support/raw-server.ts'
import { areBytesAt, bytesAt } from '../support/streamed-bytes.ts'
import { AUTHORITY, tlsScene } from '../support/tls-scene.ts'
import { until } from '../support/until.ts'

const KIB = 1024
const MIB = KIB * KIB
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

function bodyOf(bytes: number, from = 0): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes; at += pieces.at(-1)?.length as number) pieces.push(bytesAt(from + at, bytes - at))
  return Buffer.concat(pieces)
}

/** All of it with one write, so that reads are as large as they can be. */
function whole(framing: 'length' | 'chunked', bytes: number, from = 0): Buffer {
  const body = bodyOf(bytes, from)
  const [lines, end] = framing === 'length' ? [`Content-Length: ${bytes}`, ''] : ['Transfer-Encoding: chunked', '\r\n0\r\n\r\n']
  const size = framing === 'length' ? '' : `${bytes.toString(16)}\r\n`
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${lines}\r\n\r\n${size}`), body, Buffer.from(end)])
}

for (const framing of ['length', 'chunked'] as const) {
  test(`answers of every size come whole to a client that reads at once: ${framing}`, async () => {
    const sizes = [64 * KIB - 200, 64 * KIB, 64 * KIB + 1, 68 * KIB, 68 * KIB + 1, 136 * KIB, 5 * MIB]
    await using server = await startRawServer()
    await using rig = await startGatewayRig([server.port])
    const client = await RawClient.connect(rig.port)
    for (const [i, size] of sizes.entries()) {
      const from = client.bytes
      server.handle = (connection) => void connection.write(whole(framing, size))
      client.write(GET)
      const answer = await client.nextAnswer('GET', from)
      assert.ok(answer?.complete === true && answer.body.length === size && areBytesAt(0, answer.body), `${size} bytes`)
      await rig.untilIdle()
      assert.equal(server.connections[0]?.requests, i + 1)
    }
    client.destroy()
  })
}

test('a client that reads nothing for a while gets all of it when it does', async () => {
  await using server = await startRawServer((connection) => void connection.write(whole('length', 16 * MIB)))
  await using rig = await startGatewayRig([server.port])
  const client = await RawClient.connect(rig.port, { paused: true })
  client.write(GET)
  await until('the server cannot get rid of it', () => (server.connections[0]?.socket.writableLength ?? 0) > 0)
  client.read()
  const [answer] = await client.untilAnswered('GET')
  assert.ok(answer !== undefined && answer.body.length === 16 * MIB && areBytesAt(0, answer.body))
  await rig.untilIdle()
  client.destroy()
})

test('a client that leaves in the middle of it leaves nothing behind', async () => {
  await using server = await startRawServer((connection) => void connection.write(whole('length', 16 * MIB)))
  await using rig = await startGatewayRig([server.port])
  const client = await RawClient.connect(rig.port, { paused: true })
  client.write(GET)
  await rig.untilInFlight(1)
  client.reset()
  await rig.untilIdle()
  await server.connections[0]?.untilGone()
})

/** Each answer differs from every other one. */
async function startVariedServer(bytes: number): Promise<RawServer> {
  return startRawServer((connection, head) => {
    const from = Number(/^GET \/(\d+)/.exec(head)?.[1])
    connection.write(whole(from % 2 === 0 ? 'length' : 'chunked', bytes, from))
  })
}

/** One after the other on one connection; now and then it reads nothing for a moment, so that its answer has to wait. */
async function askTenTimes(socket: Socket, client: number, bytes: number): Promise<number> {
  let received = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    socket.pause()
    setImmediate(() => socket.resume())
  })
  for (let i = 0; i < 10; i++) {
    const from = client * 1000 + i
    received = Buffer.alloc(0)
    socket.write(`GET /${from} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    const answer = (): RawAnswer | undefined => parseAnswers(received, { methods: ['GET'], closed: socket.destroyed })[0]
    await until(`answer ${from} is there`, () => answer()?.complete === true || socket.destroyed)
    const body = answer()?.body
    if (body?.length !== bytes || !areBytesAt(from, body)) throw new Error(`answer ${from} is not what the server sent`)
  }
  socket.destroy()
  return 10
}

test('what is read for one client is never seen by another one, however slow they are, with and without TLS', async () => {
  const bytes = 200 * KIB
  await using server = await startVariedServer(bytes)
  await using scene = await tlsScene(
    {},
    { more: ['127.0.0.1:0'], config: { pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [{ match: '/*' }] } },
  )
  const plainPort = scene.rig.gateway.listeners[1]?.port as number
  const clients = Array.from({ length: 16 }, (_, i) =>
    i % 2 === 0
      ? connect(plainPort, '127.0.0.1')
      : connectTls({ host: '127.0.0.1', port: scene.port, servername: 'localhost', ca: AUTHORITY.cert }),
  )
  const counts = await Promise.all(clients.map((client, i) => askTenTimes(client, i, bytes)))
  assert.equal(
    counts.reduce((sum, count) => sum + count),
    160,
  )
})
