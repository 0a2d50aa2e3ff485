/** Health checks against servers that are played byte by byte. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { until } from '../../test/support/until.ts'
import type { ProbeResult } from '../core/health/health.ts'
import type { Millis } from '../lib/units.ts'
import { systemClock, systemNetwork } from '../ports/system.ts'
import { probe } from './probe.ts'

const DAY: Millis = 86_400_000
const PORTS = { clock: systemClock, network: systemNetwork }

async function listen(t: TestContext, onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    t.after(() => socket.destroy())
    socket.on('error', () => undefined)
    onConnection(socket)
  }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Says `text` when it was asked. */
const answering =
  (text: string) =>
  (socket: Socket): void =>
    void socket.once('data', () => socket.write(text))

const check = (port: number, timeoutMs: Millis = 10_000): Promise<ProbeResult> =>
  probe({ host: '127.0.0.1', port, path: '/healthz', timeoutMs }, PORTS)

test('2xx and 3xx pass, everything else fails with its reason', async (t) => {
  for (const status of ['200 OK', '204 No Content', '399 x'])
    assert.deepEqual(await check(await listen(t, answering(`HTTP/1.1 ${status}\r\n\r\n`))), { kind: 'passed' })
  for (const [text, reason] of [
    ['HTTP/1.1 400 x\r\n\r\n', 'the check answered 400'],
    ['HTTP/1.1 503 x\r\n\r\n', 'the check answered 503'],
    ['SSH-2.0\r\n\r\n', /^the answer to the check is not valid: /],
    ['x'.repeat(64 * 1024 + 1), 'the answer to the check is not HTTP'],
  ] as const) {
    const result = await check(await listen(t, answering(text)))
    assert.ok(result.kind === 'failed' && !result.refused, text.slice(0, 20))
    if (typeof reason === 'string') assert.equal(result.reason, reason)
    else assert.match(result.reason, reason)
  }
})

test('without a path a connection is enough', async (t) => {
  const port = await listen(t, () => undefined)
  assert.deepEqual(await probe({ host: '127.0.0.1', port, timeoutMs: 10_000 }, PORTS), { kind: 'passed' })
})

test('refused is proof, hung up is not', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  assert.deepEqual(await check(port), { kind: 'failed', refused: true, reason: 'connection refused' })
  const result = await check(await listen(t, (socket) => void socket.once('data', () => socket.end())))
  assert.deepEqual(result, { kind: 'failed', refused: false, reason: 'connection closed during the check' })
})

test('a server that drips its answer is judged when the time is up, and hung up on', async (t) => {
  let gone = false
  const port = await listen(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nX: ')
    const drip = setInterval(() => socket.write('a'), 5)
    socket.on('close', () => {
      clearInterval(drip)
      gone = true
    })
  })
  let result: ProbeResult | undefined
  void check(port, 60).then((judged) => (result = judged))
  await until('the server is judged', () => result !== undefined)
  assert.deepEqual(result, { kind: 'failed', refused: false, reason: 'no answer to the check within 60 ms' })
  await until('the connection is closed', () => gone)
})

test('a limit that is longer than a timer can wait is not over at once', async (t) => {
  const port = await listen(t, (socket) => void socket.once('data', () => setTimeout(() => socket.write('HTTP/1.1 200 OK\r\n\r\n'), 50)))
  assert.deepEqual(await check(port, 30 * DAY), { kind: 'passed' })
})
