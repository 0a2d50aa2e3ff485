/** Several threads that serve the same addresses: each part of a call is done where it must be, and the threads know the same. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { availableParallelism, platform } from 'node:os'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { WebSocket as WsClient } from 'ws'
import { EventSource } from 'eventsource'
import { loadValue } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const WORKERS = 2
/** As many connections as make it all but sure that each thread gets some: one in two million times one gets none. */
const MANY = 48

interface Scene {
  readonly rig: ConfigRig
  readonly server: TestServer
}

async function scene(t: TestContext, change: Partial<ConfigFile> = {}, handle?: TestServer['handle']): Promise<Scene> {
  const server = await startTestServer(handle)
  t.after(() => server.kill())
  const rig = await startConfigRig({
    workers: 1 + WORKERS,
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms', rise: 1 } } },
    routes: [
      { match: '/queued/*', mode: 'queue', pool: 'api' },
      { match: '/spilled/*', mode: 'spill', pool: 'api' },
      { match: '/*', pool: 'api' },
    ],
    ...change,
  })
  t.after(() => rig[Symbol.asyncDispose]())
  await until('the server is up', () => rig.events.some(({ type }) => type === 'server-up'))
  return { rig, server }
}

/** On connections of their own. */
function askMany(url: string, asked: Parameters<typeof ask>[1] = {}): Promise<readonly Answer[]> {
  return Promise.all(Array.from({ length: MANY }, () => ask(url, asked)))
}

async function inFlightOf(rig: ConfigRig): Promise<number> {
  const { pools } = (await ask(`${rig.adminUrl}/status`)).json() as { pools: { servers: { inFlight: number }[] }[] }
  return pools[0]?.servers[0]?.inFlight ?? -1
}

async function workersOf(rig: ConfigRig): Promise<{ readonly wanted: number; readonly running: number }> {
  return (await ask(`${rig.adminUrl}/status`)).json()['workers'] as { wanted: number; running: number }
}

const MAX_IN_FLIGHT = { maxInFlight: 4, health: { interval: '100ms', rise: 1 }, wait: '20s' } as const

test('whatever thread has its connection, a client gets the same: direct, queued, spilled, and the job that came of it', async (t) => {
  const { rig, server } = await scene(t)
  for (const answer of await askMany(`${rig.url}/direct/a`)) assert.equal(answer.status, 200)
  for (const answer of await askMany(`${rig.url}/spilled/a`, { method: 'POST', body: 'x' })) assert.equal(answer.status, 200)
  const accepted = await askMany(`${rig.url}/queued/a`, { method: 'POST', body: 'x' })
  for (const answer of accepted) {
    assert.equal(answer.status, 202)
    const self = rig.url + String(answer.headers.location)
    await until('it has succeeded', async () => (await ask(self)).json()['status'] === 'succeeded')
    const result = await ask(`${self}/result`)
    assert.deepEqual([result.status, result.headers['spillway-status']], [200, 'succeeded'])
  }
  assert.equal(server.received.filter(({ url }) => url === '/queued/a').length, MANY)
})

test('a server never has more in flight than it may, however many threads send to it, and who waits is served', async (t) => {
  let inFlight = 0
  let most = 0
  const { rig } = await scene(t, {}, (_, response) => {
    most = Math.max(most, ++inFlight)
    setImmediate(() => {
      inFlight--
      response.end('done')
    })
  })
  await rig.reload({
    workers: 1 + WORKERS,
    pools: { api: { servers: rig.gateway.config.pools[0]?.servers.map(({ name }) => `http://${name}`) ?? [], ...MAX_IN_FLIGHT } },
    routes: [{ match: '/*', pool: 'api' }],
  })
  for (let round = 0; round < 5; round++)
    for (const answer of await askMany(`${rig.url}/a`)) assert.deepEqual([answer.status, answer.text], [200, 'done'])
  assert.ok(most <= MAX_IN_FLIGHT.maxInFlight, `${most} at once`)
  await until('all slots are free', () => inFlight === 0)
  await until('no slot is taken', async () => (await inFlightOf(rig)) === 0)
})

test('a slot that a worker frees is given to who waits at the chief', async (t) => {
  const owed: { end(text: string): void }[] = []
  const { rig, server } = await scene(t, {}, (_, response) => void owed.push({ end: (text) => void response.end(text) }))
  await rig.reload({
    workers: 1 + WORKERS,
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], ...MAX_IN_FLIGHT, maxInFlight: 1 } },
    routes: [{ match: '/*', pool: 'api' }],
  })
  const answers = Array.from({ length: MANY }, (_, n) => ask(`${rig.url}/${n}`))
  for (let n = 0; n < MANY; n++) {
    await until(`request ${n} has come`, () => owed.length === n + 1)
    owed[n]?.end('served')
  }
  for (const answer of await Promise.all(answers)) assert.deepEqual([answer.status, answer.text], [200, 'served'])
})

test('bodies go through as they came, sized and in chunks, up and down, however large', async (t) => {
  const { rig } = await scene(t, { limits: { body: '64MiB' } }, ({ body }, response) => void response.end(body))
  const body = Buffer.alloc(3_000_000, 'spillway ')
  for (const path of ['/direct', '/spilled/b?x'])
    for (const answer of await Promise.all(Array.from({ length: 6 }, () => ask(rig.url + path, { method: 'POST', body }))))
      assert.ok(answer.body.equals(body), path)
  const part = body.subarray(0, 900_000)
  const accepted = await ask(`${rig.url}/queued/b`, { method: 'POST', body: part })
  const self = rig.url + String(accepted.headers.location)
  await until('it has succeeded', async () => (await ask(self)).json()['status'] === 'succeeded')
  assert.ok((await ask(`${self}/result`)).body.equals(part))
})

test('several requests on one connection are answered in their order, served here and at the chief', async (t) => {
  const { rig } = await scene(t)
  const port = Number(new URL(rig.url).port)
  for (let n = 0; n < 12; n++) {
    const client = await RawClient.connect(port)
    client.write(
      [
        'GET /direct/1 HTTP/1.1\r\nHost: a\r\n\r\n',
        'POST /queued/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi',
        'GET /direct/3 HTTP/1.1\r\nHost: a\r\n\r\n',
        'GET /_spillway/jobs/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      ].join(''),
    )
    await client.untilClosed()
    assert.deepEqual(client.text.match(/HTTP\/1\.1 \d{3}/g), ['HTTP/1.1 200', 'HTTP/1.1 202', 'HTTP/1.1 200', 'HTTP/1.1 404'])
  }
})

test('who waits for "100 Continue" gets it when the body is wanted, and the refusal when it is not', async (t) => {
  const { rig } = await scene(t, { limits: { jobBody: '1KiB', spillCopy: '1KiB' } })
  const port = Number(new URL(rig.url).port)
  for (let n = 0; n < 12; n++) {
    const wanted = await RawClient.connect(port)
    wanted.write('POST /queued/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n')
    await wanted.untilText('100 Continue')
    wanted.write('hi')
    await wanted.untilClosed()
    assert.match(wanted.text, /HTTP\/1\.1 202/)
    const large = await RawClient.connect(port)
    large.write('POST /queued/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n')
    await large.untilText('\r\n\r\n')
    assert.match(large.text, /^HTTP\/1\.1 413/)
    large.destroy()
  }
})

test('events of a job come to a client of any thread, as SSE and over a WebSocket', async (t) => {
  const { rig } = await scene(t)
  const accepted = await ask(`${rig.url}/queued/a`, { method: 'POST', body: 'x' })
  const { links } = accepted.json() as { links: { events: string } }
  for (let n = 0; n < 8; n++) {
    const events = new EventSource(rig.url + links.events)
    await new Promise<void>((resolve) => events.addEventListener('end', () => resolve()))
    events.close()
    const socket = new WsClient(`${rig.url.replace('http', 'ws')}${links.events}`)
    const [message] = (await once(socket, 'message')) as [Buffer]
    assert.ok(JSON.parse(message.toString()))
    socket.terminate()
  }
})

test('a worker that dies is replaced, what it had in flight is free again, and no job is lost', async (t) => {
  const threads: Worker[] = []
  const remember = (thread: Worker): void => void threads.push(thread)
  process.on('worker', remember)
  t.after(() => process.off('worker', remember))
  const held: (() => void)[] = []
  const { rig, server } = await scene(t, {}, ({ url }, response) => {
    if (url.startsWith('/held')) held.push(() => void response.end('late'))
    else response.end('done')
  })
  const accepted = await askMany(`${rig.url}/queued/a`, { method: 'POST', body: 'x' })
  const cut = Array.from({ length: MANY }, () =>
    ask(`${rig.url}/held`).then(
      ({ status }) => status,
      () => 'cut',
    ),
  )
  await until('all are held', () => held.length === MANY)
  await threads.find(({ threadName }) => threadName === 'worker-1')?.terminate()
  await until('it is said', () => rig.events.some(({ type }) => type === 'worker-died'))
  for (const release of held) release()
  const ends = await Promise.all(cut)
  assert.ok(ends.includes('cut') && ends.includes(200), `${ends.join(' ')}`)
  await until('another one serves', async () => (await workersOf(rig)).running === WORKERS)
  await until('nothing is in flight', async () => (await inFlightOf(rig)) === 0)
  for (const answer of await askMany(`${rig.url}/direct/b`)) assert.equal(answer.status, 200)
  for (const { status } of accepted) assert.equal(status, 202)
  await until('all jobs are done', () => server.received.filter(({ url }) => url === '/queued/a').length === MANY)
})

test('a server that goes down is down for all threads, and a switched route is switched in all', async (t) => {
  const { rig, server } = await scene(t)
  await server.kill()
  await until('it is down', () => rig.events.some(({ type }) => type === 'server-down'))
  for (const answer of await askMany(`${rig.url}/direct/a`))
    assert.ok(answer.status === 502 || answer.status === 503, String(answer.status))
  for (const answer of await askMany(`${rig.url}/spilled/a`, { method: 'POST', body: 'x', headers: { prefer: 'wait=0' } }))
    assert.equal(answer.status, 202)
  await server.revive()
  await until('it is up', () => rig.events.filter(({ type }) => type === 'server-up').length === 2)
  assert.equal((await rig.admin('POST', 'routes/mode', { route: '/*', mode: 'refuse' })).status, 200)
  for (const answer of await askMany(`${rig.url}/direct/a`)) assert.equal(answer.json()['code'], 'switched_off')
  assert.equal((await rig.admin('POST', 'routes/mode', { route: '/*', mode: 'auto' })).status, 200)
  await until('all serve', async () => (await askMany(`${rig.url}/direct/a`)).every(({ status }) => status === 200))
})

test('what all threads have counted is one figure', async (t) => {
  const { rig } = await scene(t)
  for (let round = 0; round < 3; round++) await askMany(`${rig.url}/direct/a`)
  const { text } = await ask(`${rig.adminUrl}/metrics`)
  assert.match(text, new RegExp(`^spillway_requests_total\\{code="200",mode="direct",route="/\\*"\\} ${3 * MANY}$`, 'm'))
  assert.match(text, new RegExp(`^spillway_request_duration_seconds_count\\{mode="direct",route="/\\*"\\} ${3 * MANY}$`, 'm'))
  assert.match(text, new RegExp(`^spillway_workers ${WORKERS}$`, 'm'))
  assert.deepEqual(await workersOf(rig), { wanted: WORKERS, running: WORKERS })
})

test('an address that somebody else has is refused, though several threads share it', async (t) => {
  const other = createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true })
  t.after(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  await assert.rejects(
    startConfigRig({ workers: 2, listeners: [`127.0.0.1:${port}`], pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }),
    { code: 'EADDRINUSE' },
  )
})

test('as many threads as there may be, one, or one for each core', { skip: platform() !== 'linux' }, () => {
  const threads = (workers: number | 'auto'): number | undefined => {
    const read = loadValue({ workers, pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }, { file: 'a.yaml', folder: '/' })
    return read.ok ? read.config.workers : undefined
  }
  assert.deepEqual([threads(1), threads(64), threads('auto')], [1, 64, availableParallelism()])
})
