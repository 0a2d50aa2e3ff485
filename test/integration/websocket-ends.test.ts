/** WebSockets that the gateway has to end: both sides hear a goodbye of their protocol, and no frame is cut. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { until } from '../support/until.ts'

const UPGRADE =
  'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

interface Scene {
  readonly rig: GatewayRig
  /** What the server was told, in order. */
  readonly heard: string[]
  /** Codes with which its sockets were closed. */
  readonly codes: number[]
}

async function scene(t: TestContext): Promise<Scene> {
  const [heard, codes]: [string[], number[]] = [[], []]
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  server.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => heard.push(data.toString()))
    socket.on('error', (error) => heard.push(`error ${error.message}`))
    socket.on('close', (code) => codes.push(code))
  })
  await once(server, 'listening')
  const rig = await startGatewayRig([(server.address() as AddressInfo).port])
  t.after(() => rig.gateway.close())
  return { rig, heard, codes }
}

test('when the gateway stops, server and client are told that it goes away', async (t) => {
  const it = await scene(t)
  const closed: (readonly [code: number, clean: boolean])[] = []
  const clients = Array.from({ length: 3 }, () => new WebSocket(`ws://127.0.0.1:${it.rig.port}/chat`))
  t.after(() => clients.forEach((client) => client.terminate()))
  for (const client of clients) {
    client.on('error', () => undefined)
    client.addEventListener('close', ({ code, wasClean }) => closed.push([code, wasClean]))
  }
  await Promise.all(clients.map((client) => once(client, 'open')))
  clients[0]?.send('hello')
  await until('it is heard', () => it.heard.length === 1)
  await it.rig.gateway.drain()
  await until('all are closed', () => closed.length === 3 && it.codes.length === 3)
  assert.deepEqual([closed, it.codes, it.heard], [Array(3).fill([1001, true]), [1001, 1001, 1001], ['hello']])
})

test('a client that is saying goodbye itself is not spoken for', async (t) => {
  const it = await scene(t)
  const client = await RawClient.connect(it.rig.port)
  t.after(() => client.destroy())
  client.write(UPGRADE)
  await client.untilText('\r\n\r\n')
  client.socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]))
  await it.rig.gateway.drain()
  await until('the server is told', () => it.codes.length === 1)
  assert.deepEqual(it.codes, [1000])
})

test('what is no WebSocket although it said so is ended as any other tunnel', async (t) => {
  const it = await scene(t)
  const client = await RawClient.connect(it.rig.port)
  t.after(() => client.destroy())
  client.write(UPGRADE)
  await client.untilText('\r\n\r\n')
  client.write('these are no frames')
  await it.rig.gateway.drain()
  await until('it is over', () => client.ended || client.closed)
  await it.rig.untilIdle()
})
