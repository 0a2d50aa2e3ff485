/** Answers larger than what is read from a server at once: nobody waits for a sign that does not come. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { startRawServer } from '../support/raw-server.ts'
import { areBytesAt, bytesAt } from '../support/streamed-bytes.ts'
import { until } from '../support/until.ts'

const KIB = 1024
const MIB = KIB * KIB
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

function bodyOf(bytes: number): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes; at += pieces.at(-1)?.length as number) pieces.push(bytesAt(at, bytes - at))
  return Buffer.concat(pieces)
}

/** All of it with one write, so that reads are as large as they can be. */
function whole(framing: 'length' | 'chunked', bytes: number): Buffer {
  const body = bodyOf(bytes)
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
