/** Health checks against servers that are played byte by byte. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { until } from '../../test/support/until.ts'
import type { ProbeResult } from '../core/health/health.ts'
import type { Millis } from '../lib/units.ts'
import { systemClock, systemNetwork } from '../ports/system.ts'
import { probe, type ProbeTarget } from './probe.ts'

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

test('what is expected: statuses, a text in the body however it comes, and nothing of it', async (t) => {
  const ask = async (text: string, expected: Partial<ProbeTarget>): Promise<string> => {
    const port = await listen(t, (socket) => void socket.once('data', () => socket.end(text)))
    const result = await probe({ host: '127.0.0.1', port, path: '/', timeoutMs: 10_000, ...expected }, PORTS)
    return result.kind === 'failed' ? result.reason : result.kind
  }
  const answer = (fields: string, body: string): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`
  const only204 = { status: [[204, 204]] } as const
  assert.equal(await ask('HTTP/1.1 204 x\r\n\r\n', only204), 'passed')
  assert.equal(await ask('HTTP/1.1 200 x\r\n\r\n', only204), 'the check answered 200')
  assert.equal(
    await ask('HTTP/1.1 503 x\r\n\r\n', {
      status: [
        [200, 299],
        [503, 503],
      ],
    }),
    'passed',
  )
  const body = { body: 'ready' }
  const missing = 'the answer to the check has not the text in it'
  assert.equal(await ask(answer('Content-Length: 9\r\n', 'is ready!'), body), 'passed')
  assert.equal(await ask(answer('Content-Length: 9\r\n', 'not there'), body), missing)
  assert.equal(await ask(answer('Content-Length: 2\r\n', 'ok ready'), body), missing, 'what comes behind it does not count')
  assert.equal(await ask(answer('Transfer-Encoding: chunked\r\n', '3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n'), body), 'passed')
  assert.equal(await ask(answer('Transfer-Encoding: chunked\r\n', '3\r\nrea\r\n0\r\n\r\n'), body), missing)
  assert.match(await ask(answer('Transfer-Encoding: chunked\r\n', 'x\r\n'), body), /^the answer to the check is not valid/)
  assert.equal(await ask(answer('', 'is it ready'), body), 'passed')
  assert.equal(await ask(answer('', 'is it'), body), missing)
  assert.equal(await ask(answer('', `${'x'.repeat(64 * 1024)}ready`), body), missing, 'of so much the beginning counts')
})

test('an answer that never ends is judged as soon as it can be', async (t) => {
  const port = await listen(t, answering('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready and more'))
  const target = { host: '127.0.0.1', port, path: '/', timeoutMs: DAY }
  assert.equal((await probe({ ...target, body: 'ready' }, PORTS)).kind, 'passed')
  assert.equal((await probe({ ...target, body: 'steady' }, PORTS)).kind, 'failed')
})

test('a check asks as it is told to', async (t) => {
  let asked = ''
  const port = await listen(t, (socket) => {
    socket.once('data', (bytes) => {
      asked = bytes.toString()
      socket.end('HTTP/1.1 200 OK\r\n\r\n')
    })
  })
  const target = { host: '127.0.0.1', port, path: '/up?x', timeoutMs: 10_000 }
  await probe({ ...target, hostName: 'web.test' }, PORTS)
  assert.equal(
    asked,
    `GET /up?x HTTP/1.1\r\nHost: web.test:${port}\r\nUser-Agent: spillway-check\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
  )
  await probe({ ...target, method: 'HEAD', headers: ['host', 'other.test', 'x-check', '1'] }, PORTS)
  assert.equal(
    asked,
    'HEAD /up?x HTTP/1.1\r\nUser-Agent: spillway-check\r\nAccept: */*\r\nhost: other.test\r\nx-check: 1\r\nConnection: close\r\n\r\n',
  )
})
