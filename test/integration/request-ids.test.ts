/** Ids of requests and traces: from whom they are taken, where they go, and that jobs keep them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { rawAsk } from '../support/raw-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const ROUTES = [
  testRoute({ name: '/queue', mode: 'queue', match: { path: '/queue', headers: [], query: [] } }),
  testRoute({ name: '/*', mode: 'direct' }),
]
const ID = /^[0-9a-f]{32}$/
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = `00-${TRACE}-b7ad6b7169203331-01`

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly server: TestServer
  /** Of the last request that the server got. */
  got(name: string): string | string[] | undefined
}

async function scene(config: Partial<Config>, handle?: TestServer['handle']): Promise<Scene> {
  const server = await startTestServer(handle)
  const rig = await startGatewayRig([server.port], { routes: ROUTES, config })
  return {
    rig,
    server,
    got: (name) => server.received.at(-1)?.headers[name],
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server.kill()
    },
  }
}

test('each request has an id of its own: the server gets it, the client, the log, and a problem', async () => {
  await using all = await scene({ requestId: { header: 'x-request-id', accept: 'trusted' } }, (_, response) => {
    response.setHeader('X-Request-Id', 'of-the-server')
    response.end('done')
  })
  const ids = new Set<unknown>()
  const seen = (answer: Answer): unknown => {
    const named = answer.rawHeaders.filter((_, i) => answer.rawHeaders[i - 1]?.toLowerCase() === 'x-request-id')
    assert.equal(named.length, 1)
    assert.match(named[0] as string, ID)
    ids.add(named[0])
    return named[0]
  }
  // Nobody is trusted.
  assert.equal(seen(await ask(all.rig.url, { headers: { 'X-Request-Id': 'mine' } })), all.got('x-request-id'))
  seen(await ask(all.rig.url))
  const refused = await ask(`${all.rig.url}/a%2f..%2fb`)
  const problem = await ask(`${all.rig.url}/queue`)
  assert.deepEqual([seen(problem), problem.status], [problem.json()['requestId'], 400])
  assert.deepEqual([seen(refused), refused.status], [refused.json()['requestId'], 400])
  assert.equal(ids.size, 4)
  await until('all are logged', () => all.rig.access.length === 4)
  for (const id of ids) assert.ok(all.rig.access.some(({ requestId }) => requestId === id))
})

test('what cannot be read has an id as well, in its answer and in the log', async () => {
  await using all = await scene({ requestId: { header: 'x-call', accept: 'anyone' } })
  const whole = await rawAsk(all.rig.port, 'GET / HTTP/1.1\r\nHost: a\r\nX-Call: mine\r\nContent-Length: x\r\n\r\n')
  const cut = await rawAsk(all.rig.port, 'POST / HTTP/1.1\r\nHost: a\r\nX-Call: mine\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n')
  assert.match(whole.header('x-call') ?? '', ID)
  assert.equal(cut.header('x-call'), 'mine', 'that one was a call, and what it brought is known')
  for (const answer of [whole, cut]) {
    assert.deepEqual([answer.status, JSON.parse(answer.body.toString()).requestId], [400, answer.header('x-call')])
  }
  await until('both are logged', () => all.rig.access.length === 2)
  assert.deepEqual(all.rig.access.map(({ requestId }) => requestId).sort(), [whole.header('x-call'), 'mine'].sort())
})

test('where requests have no ids, what cannot be read has none', async () => {
  await using all = await scene({})
  const answer = await rawAsk(all.rig.port, 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n')
  assert.deepEqual([answer.status, JSON.parse(answer.body.toString()).requestId], [400, undefined])
})

test('one that comes is taken over from those who may, if it is one', async () => {
  const cases = [
    [{ accept: 'anyone' }, [], 'mine', true],
    [{ accept: 'anyone' }, [], 'not mine!', false],
    [{ accept: 'anyone' }, [], 'x'.repeat(128), true],
    [{ accept: 'anyone' }, [], 'x'.repeat(129), false],
    [{ accept: 'trusted' }, ['127.0.0.1'], 'mine', true],
    [{ accept: 'trusted' }, ['10.0.0.1'], 'mine', false],
    [{ accept: 'nobody' }, ['127.0.0.1'], 'mine', false],
  ] as const
  for (const [accept, trustedPeers, id, taken] of cases) {
    await using all = await scene({ requestId: { header: 'x-call', ...accept }, trustedPeers })
    const answer = await ask(all.rig.url, { headers: { 'X-Call': id, 'x-other': 'stays' } })
    assert.equal(answer.headers['x-call'], all.got('x-call'))
    assert.equal(all.got('x-other'), 'stays')
    if (taken) assert.equal(all.got('x-call'), id)
    else assert.match(String(all.got('x-call')), ID)
  }
})

test('a job keeps the id and the trace of its submission, for every attempt', async () => {
  let attempts = 0
  await using all = await scene(
    { requestId: { header: 'x-request-id', accept: 'anyone' }, tracing: { start: true, accept: 'anyone' } },
    (_, response) => {
      response.writeHead(attempts++ === 0 ? 500 : 200).end('done')
    },
  )
  const accepted = await ask(`${all.rig.url}/queue`, {
    method: 'POST',
    body: 'x',
    headers: { 'X-Request-Id': 'mine', traceparent: PARENT },
  })
  assert.equal(accepted.status, 202)
  await until('it was tried twice', () => all.server.received.length === 2)
  const [first, second] = all.server.received
  assert.equal(first?.headers['x-request-id'], 'mine')
  assert.equal(second?.headers['x-request-id'], 'mine')
  assert.equal(first?.headers['traceparent'], second?.headers['traceparent'])
  assert.match(String(first?.headers['traceparent']), new RegExp(`^00-${TRACE}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$`))
  await until('both attempts are logged', () => all.rig.attempts.length === 2)
  assert.deepEqual(
    all.rig.attempts.map(({ requestId, traceId }) => [requestId, traceId]),
    [
      ['mine', TRACE],
      ['mine', TRACE],
    ],
  )
})

test('without tracing a valid trace passes as it came, and a wrong one is dropped with its state', async () => {
  await using all = await scene({})
  await ask(all.rig.url, { headers: { traceparent: PARENT, tracestate: 'a=1' } })
  assert.deepEqual([all.got('traceparent'), all.got('tracestate')], [PARENT, 'a=1'])
  await until('it is logged', () => all.rig.access.length === 1)
  assert.equal(all.rig.access[0]?.traceId, TRACE)
  const wrong: readonly (readonly string[])[] = [
    ['traceparent', PARENT.replace('00-', 'ff-'), 'tracestate', 'a=1'],
    ['traceparent', 'nonsense', 'tracestate', 'a=1'],
    ['traceparent', PARENT, 'traceparent', PARENT, 'tracestate', 'a=1'],
    ['tracestate', 'a=1'],
  ]
  for (const headers of wrong) {
    await ask(all.rig.url, { headers: ['Host', 'a', ...headers, 'X-Other', 'stays'] })
    assert.deepEqual([all.got('traceparent'), all.got('tracestate'), all.got('x-other')], [undefined, undefined, 'stays'], headers.join())
  }
})

test('with tracing the gateway is the parent, and begins a trace where none came', async () => {
  await using all = await scene({ tracing: { start: true, accept: 'anyone' } })
  await ask(all.rig.url, { headers: { traceparent: PARENT.replace(/01$/, '00'), tracestate: 'a=1' } })
  assert.match(String(all.got('traceparent')), new RegExp(`^00-${TRACE}-(?!b7ad6b7169203331)[0-9a-f]{16}-00$`))
  assert.equal(all.got('tracestate'), 'a=1')
  await ask(all.rig.url, { headers: { traceparent: 'nonsense', tracestate: 'a=1' } })
  assert.match(String(all.got('traceparent')), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  assert.equal(all.got('tracestate'), undefined)
  await until('both are logged', () => all.rig.access.length === 2)
  assert.equal(all.rig.access[1]?.traceId, String(all.got('traceparent')).slice(3, 35))
})

test('traces of those who are not trusted are dropped where only trusted ones count', async () => {
  await using all = await scene({ tracing: { start: false, accept: 'trusted' } })
  await ask(all.rig.url, { headers: { traceparent: PARENT, tracestate: 'a=1' } })
  assert.deepEqual([all.got('traceparent'), all.got('tracestate')], [undefined, undefined])
  await using trusted = await scene({ tracing: { start: false, accept: 'trusted' }, trustedPeers: ['127.0.0.1'] })
  await ask(trusted.rig.url, { headers: { traceparent: PARENT } })
  assert.match(String(trusted.got('traceparent')), new RegExp(`^00-${TRACE}-`))
  await ask(trusted.rig.url)
  assert.equal(trusted.got('traceparent'), undefined)
})

test('Server-Timing tells how long the server took, beside its own, and only where it is asked for', async () => {
  const server = await startTestServer((_, response) => {
    response.setHeader('Server-Timing', 'db;dur=1')
    response.end('done')
  })
  const told = testRoute({
    name: '/told',
    mode: 'direct',
    match: { path: '/told', headers: [], query: [] },
    actions: { serverTiming: true },
  })
  await using rig = await startGatewayRig([server.port], { routes: [told, ...ROUTES] })
  const answer = await ask(`${rig.url}/told`)
  const [own, ours] = answer.rawHeaders.filter((_, i) => answer.rawHeaders[i - 1] === 'Server-Timing')
  assert.equal(own, 'db;dur=1')
  assert.match(ours ?? '', /^wait;dur=\d+\.\d, connect;dur=\d+\.\d, ttfb;dur=\d+\.\d$/)
  assert.match((await ask(`${rig.url}/told`)).rawHeaders.join(), /wait;dur=\d+\.\d, ttfb;dur=/)
  assert.doesNotMatch((await ask(`${rig.url}/else`)).rawHeaders.join(), /ttfb/)
  await server.kill()
})
