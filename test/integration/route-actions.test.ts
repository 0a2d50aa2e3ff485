/** What routes do to their calls: rewrites, redirects, answers of their own, header fields, ids and traces; direct, queued, spilled and tunnelled. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

interface Scene {
  readonly rig: ConfigRig
  readonly server: TestServer
  /** The last request that the server got. */
  readonly last: () => TestServer['received'][number]
}

async function scene(
  t: TestContext,
  routes: ConfigFile['routes'],
  more: Partial<ConfigFile> = {},
  handle?: TestServer['handle'],
): Promise<Scene> {
  const server = await startTestServer(handle)
  t.after(() => server.kill())
  const pools = { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms' } } }
  const rig = await startConfigRig({ pools, ...(routes !== undefined && { routes }), ...more })
  t.after(() => rig[Symbol.asyncDispose]())
  return { rig, server, last: () => server.received.at(-1) as TestServer['received'][number] }
}

const headersOf = ({ rawHeaders }: { readonly rawHeaders: readonly string[] }, name: string): string[] =>
  rawHeaders.flatMap((value, i) => (i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name ? [value] : []))

test('a direct request is rewritten, its octets and its query as they came', async (t) => {
  const { rig, last } = await scene(t, [
    { match: '/api/*', rewrite: { strip: '/api', prefix: '/v2', host: 'inner.example' } },
    { match: '/orders/{id}', rewrite: { path: '/new/{id}' } },
    { match: '/*' },
  ])
  await rig.ask('/api/a%2Fb%20c/?x=%2F&y', { headers: { Host: 'outer.example' } })
  assert.equal(last().url, '/v2/a%2Fb%20c/?x=%2F&y')
  assert.deepEqual(headersOf(last(), 'host'), ['inner.example'])
  assert.deepEqual(headersOf(last(), 'x-forwarded-host'), ['outer.example'])
  await rig.ask('/orders/%37?q')
  assert.equal(last().url, '/new/%37?q')
  await rig.ask('/else')
  assert.equal(last().url, '/else')
})

test('jobs, spilled requests and batches go where direct ones go, with the same fields', async (t) => {
  const actions = { rewrite: { strip: '/api' }, headers: { request: { set: { 'X-Id': '{id}', 'X-User': 'gateway' } } } } as const
  const { rig, server, last } = await scene(
    t,
    [
      { match: '/api/jobs/{id}', mode: 'queue', queue: 'q', ...actions },
      { match: '/api/spill/{id}', mode: 'spill', queue: 'q', ...actions },
    ],
    { queues: { q: {} } },
  )
  const sent = { method: 'POST', body: 'x', headers: { 'X-User': 'me', X_User: 'me', 'X-Other': 'stays' } }
  const check = (url: string, id: string): void => {
    assert.equal(last().url, url)
    assert.deepEqual([headersOf(last(), 'x-id'), headersOf(last(), 'x-user'), headersOf(last(), 'x_user')], [[id], ['gateway'], []])
  }
  const arrived = async (count: number): Promise<void> => until(`${count} have come`, () => server.received.length === count)
  assert.equal((await rig.ask('/api/jobs/7', sent)).status, 202)
  await arrived(1)
  check('/jobs/7', '7')
  assert.equal((await rig.ask('/api/spill/8?a', sent)).status, 200)
  check('/spill/8?a', '8')
  // Only the store can do it once.
  assert.equal((await rig.ask('/api/spill/9', { ...sent, headers: { ...sent.headers, 'Idempotency-Key': 'k' } })).status, 200)
  await arrived(3)
  check('/spill/9', '9')
  const batch = { requests: [{ method: 'POST', target: '/api/jobs/10?b', body: 'x' }] }
  const taken = await rig.ask('/_spillway/batches', { method: 'POST', body: batch })
  assert.equal(taken.status, 202, taken.text)
  await arrived(4)
  check('/jobs/10?b', '10')
})

test('what a chain sends on to a route is rewritten as what clients send', async (t) => {
  const { rig, server } = await scene(t, [
    { match: 'POST /first', mode: 'queue', then: '/api/second' },
    {
      match: '/api/second',
      mode: 'queue',
      rewrite: { strip: '/api', host: 'inner.example' },
      headers: { request: { add: { 'X-Step': '2' } } },
    },
  ])
  await rig.ask('/first', { method: 'POST', body: 'x' })
  await until('the second has come', () => server.received.length === 2)
  const [, second] = server.received
  assert.equal(second?.url, '/second')
  assert.deepEqual(
    [headersOf(second ?? { rawHeaders: [] }, 'host'), headersOf(second ?? { rawHeaders: [] }, 'x-step')],
    [['inner.example'], ['2']],
  )
})

test('a redirect: no server is asked, no pool is needed, and variables cannot lead elsewhere', async (t) => {
  const rig = await startConfigRig({
    routes: [
      { match: '/old/{id}', redirect: { to: 'https://www.example.com/new/{id}?from={client.address}' } },
      { match: { host: 'a.example', path: '/*' }, redirect: { to: 'https://{request.hostname}{request.target}', status: 301 } },
      { match: '/to/*', redirect: { to: '/{*}', status: 302 } },
    ],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const old = await rig.ask('/old/a%0d%0aX-Evil:1')
  assert.deepEqual(
    [old.status, old.headers.location, old.headers['x-evil']],
    [308, 'https://www.example.com/new/a%0d%0aX-Evil:1?from=127.0.0.1', undefined],
  )
  const moved = await rig.ask('/x?y=1', { headers: { Host: 'a.example:8080' } })
  assert.deepEqual([moved.status, moved.headers.location], [301, 'https://a.example/x?y=1'])
  assert.equal((await rig.ask('/to//evil.example/x')).headers.location, '/evil.example/x')
  assert.equal((await rig.ask('/else')).status, 404)
})

test('an answer of its own: status, body, headers; HEAD gets its length, 204 nothing', async (t) => {
  const rig = await startConfigRig({
    routes: [
      { match: '/robots.txt', answer: { body: 'User-agent: *\n' } },
      {
        match: '/away',
        answer: { status: 503, body: '{"away":true}', headers: { 'Content-Type': 'application/json', 'Retry-After': '60' } },
      },
      { match: '/nothing', answer: { status: 204 } },
    ],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const robots = await rig.ask('/robots.txt')
  assert.deepEqual([robots.status, robots.text, robots.headers['content-type']], [200, 'User-agent: *\n', 'text/plain; charset=utf-8'])
  const away = await rig.ask('/away', { method: 'POST', body: 'x' })
  assert.deepEqual([away.status, away.document, away.headers['retry-after']], [503, { away: true }, '60'])
  const head = await rig.ask('/robots.txt', { method: 'HEAD' })
  assert.deepEqual([head.text, head.headers['content-length']], ['', '14'])
  assert.equal((await rig.ask('/nothing')).status, 204)
})

test('response fields are edited on every answer of the route: of servers, of jobs, at their addresses, and on problems', async (t) => {
  const headers = {
    response: {
      set: { 'Strict-Transport-Security': 'max-age=60', 'X-Served-By': '{server.name}' },
      add: { Vary: ['A', 'B'] },
      remove: ['X-Powered-By'],
    },
  }
  const { rig, server } = await scene(
    t,
    [
      { match: '/job', mode: 'queue', headers },
      { match: '/held', mode: 'queue', wait: '10s', headers },
      { match: '/direct', headers },
      { match: '/two', headers },
    ],
    { limits: { jobBody: '10B', spillCopy: '10B' } },
    (received, response) => {
      response.setHeader('X-Powered-By', 'tea')
      response.setHeader('Strict-Transport-Security', 'max-age=1')
      response.setHeader('Vary', 'C')
      response.writeHead(received.url === '/two' ? 500 : 200).end('done')
    },
  )
  const check = (
    answer: { readonly rawHeaders: readonly string[]; readonly text: string },
    vary: readonly string[],
    served: readonly string[],
  ): void => {
    assert.deepEqual(headersOf(answer, 'strict-transport-security'), ['max-age=60'], answer.text)
    assert.deepEqual(headersOf(answer, 'vary'), vary)
    assert.deepEqual(headersOf(answer, 'x-powered-by'), [])
    assert.deepEqual(headersOf(answer, 'x-served-by'), served)
  }
  const name = `127.0.0.1:${server.port}`
  check(await rig.ask('/direct'), ['C', 'A', 'B'], [name])
  check(await rig.ask('/two'), ['C', 'A', 'B'], [name])
  check(await rig.ask('/held', { method: 'POST', body: 'x' }), ['C', 'A', 'B'], [])
  const accepted = await rig.ask('/job', { method: 'POST', body: 'x' })
  check(accepted, ['A', 'B'], [])
  const result = await rig.ask(`${accepted.headers.location}/result?wait=10s`)
  check(result, ['C', 'A', 'B'], [])
  check(await rig.ask('/job', { method: 'POST', body: 'more than ten' }), ['A', 'B'], [])
})

test('tunnels: the target is rewritten and the 101 edited', async (t) => {
  const upgraded: { url?: string | undefined; id?: string | string[] | undefined }[] = []
  const server = createServer().on('upgrade', (request, socket) => {
    upgraded.push({ url: request.url, id: request.headers['x-id'] })
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tea\r\nX-Inner: 1\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const rig = await startConfigRig({
    pools: { api: [`http://127.0.0.1:${port}`] },
    routes: [
      {
        match: '/ws/{id}',
        rewrite: { path: '/inner' },
        headers: { request: { set: { 'X-Id': '{id}' } }, response: { remove: ['X-Inner'], set: { 'X-Outer': '2' } } },
      },
    ],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const client = await RawClient.connect(Number(new URL(rig.url).port))
  t.after(() => client.socket.destroy())
  client.socket.write('GET /ws/7?a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n')
  await until('it has switched', () => client.text.includes('\r\n\r\n'))
  assert.deepEqual(upgraded, [{ url: '/inner?a', id: '7' }])
  assert.match(client.text, /^HTTP\/1\.1 101 /)
  assert.match(client.text, /X-Outer: 2\r\n/)
  assert.doesNotMatch(client.text, /X-Inner/)
})

test('a rewrite that would make dot segments is refused with 400, and no server sees it', async (t) => {
  const { rig, server } = await scene(t, [{ match: '/x/{id}', rewrite: { path: '/a/..{id}' } }])
  const before = server.received.length
  const refused = await rig.ask('/x/;b')
  assert.deepEqual([refused.status, refused.document.code], [400, 'bad_path'])
  assert.equal(server.received.length, before)
})

test('lists of hosts and paths, and tests of headers and query', async (t) => {
  const named = (body: string): { readonly answer: { readonly body: string } } => ({ answer: { body } })
  const rig = await startConfigRig({
    routes: [
      { match: { host: ['a.example', '*.b.example'], path: ['/x', '/y/*'] }, ...named('lists') },
      { match: { path: '/x', headers: { 'X-Beta': { present: true }, 'User-Agent': { not: { contains: 'bot' } } } }, ...named('beta') },
      { match: { path: '/x', query: { v: ['2', '3'] } }, ...named('v2') },
      { match: { path: '/x', headers: { Authorization: { prefix: 'Bearer ' } } }, ...named('bearer') },
      { match: { path: '/x', headers: { Cookie: { present: false } } }, ...named('no cookie') },
      { match: '/*', ...named('else') },
    ],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const asked = async (path: string, headers: Record<string, string> = {}): Promise<string> => (await rig.ask(path, { headers })).text
  assert.equal(await asked('/x', { Host: 'a.example' }), 'lists')
  assert.equal(await asked('/y/z', { Host: 'c.b.example' }), 'lists')
  assert.equal(await asked('/y', { Host: 'c.b.example' }), 'else')
  assert.equal(await asked('/x', { 'X-Beta': '' }), 'beta')
  assert.equal(await asked('/x', { 'X-Beta': '1', 'User-Agent': 'Googlebot', Cookie: 'a=b' }), 'else')
  assert.equal(await asked('/x?v=%33', { Cookie: 'a=b' }), 'v2')
  assert.equal(await asked('/x', { Authorization: 'Bearer abc', Cookie: 'a=b' }), 'bearer')
  assert.equal(await asked('/x'), 'no cookie')
})

test('trailers let nothing in that the route sets or takes out, neither way', async (t) => {
  const got: Record<string, string>[] = []
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      got.push(request.trailers as Record<string, string>)
      response.writeHead(200, { Trailer: 'X-Inner, X-Open' })
      response.write('a')
      response.addTrailers({ 'X-Inner': '1', 'X-Open': '2' })
      response.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const rig = await startConfigRig({
    pools: { api: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] },
    routes: [{ match: '/*', headers: { request: { set: { 'X-User': 'gateway' } }, response: { remove: ['X-Inner'] } } }],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  const client = await RawClient.connect(Number(new URL(rig.url).port))
  t.after(() => client.socket.destroy())
  const body = '1\r\na\r\n0\r\nX-User: me\r\nX_User: me\r\nX-Sum: 1\r\n\r\n'
  client.socket.write(`POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}`)
  await until('the answer is there', () => client.text.endsWith('\r\n\r\n') && client.text.includes('\r\n0\r\n'))
  assert.deepEqual(got, [{ 'x-sum': '1' }])
  assert.match(client.text, /0\r\nX-Open: 2\r\n\r\n$/)
})

test('how long an answer may be cached is not said of errors, nor of what belongs to one client', async (t) => {
  const headers = { response: { set: { 'Cache-Control': 'public, max-age=60', 'X-Always': '1' }, remove: ['Expires'] } }
  const { rig } = await scene(
    t,
    [
      { match: '/job', mode: 'queue', headers },
      { match: '/*', headers },
    ],
    {},
    (received, response) => {
      response.setHeader('Expires', '0')
      response.writeHead(received.url === '/bad' ? 500 : 200).end('done')
    },
  )
  const told = async (path: string, method = 'GET'): Promise<readonly unknown[]> => {
    const { status, headers: got } = await rig.ask(path, { method, ...(method === 'POST' && { body: 'x' }) })
    return [status, got['cache-control'], got['expires'], got['x-always']]
  }
  assert.deepEqual(await told('/good'), [200, 'public, max-age=60', undefined, '1'])
  assert.deepEqual(await told('/bad'), [500, undefined, '0', '1'])
  assert.deepEqual(await told('/job', 'POST'), [202, 'private, no-store', undefined, '1'])
  assert.deepEqual(await told('/job'), [400, 'private, no-store', undefined, '1'])
})
