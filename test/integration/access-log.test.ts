/** What the access line of a call says of its way, and how it says it ended. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_RETRY } from '../../src/core/retry/retry.ts'
import type { AccessLine } from '../../src/telemetry/telemetry.ts'
import { type GatewayRig, type GatewayRigOptions, startGatewayRig } from '../support/gateway-rig.ts'
import { ask, open } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type Handle = TestServer['handle']

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly servers: readonly TestServer[]
  /** The n-th line, when it is there. */
  line(n: number): Promise<AccessLine>
}

const SPILL = testRoute({ name: '/spill', mode: 'spill', match: { path: '/spill', headers: [], query: [] }, waitMs: 10_000 })
const QUEUE = testRoute({ name: '/queue', mode: 'queue', match: { path: '/queue', headers: [], query: [] } })
const DIRECT = testRoute({ name: '/*', mode: 'direct' })

async function scene(handles: readonly Handle[], options: GatewayRigOptions = {}): Promise<Scene> {
  const servers = await Promise.all(handles.map((handle) => startTestServer(handle)))
  const rig = await startGatewayRig(
    servers.map(({ port }) => port),
    { routes: [SPILL, QUEUE, DIRECT], ...options, pool: { balance: 'round-robin', ...options.pool } },
  )
  return {
    rig,
    servers,
    async line(n) {
      await until(`line ${n} is written`, () => rig.access.length > n)
      return rig.access[n] as AccessLine
    },
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
}

const well: Handle = (_, response) => void response.end('well')
const never: Handle = () => undefined

test('the server, how long it took, the bytes of both sides, and whether the connection had been used', async () => {
  await using all = await scene([well])
  await ask(all.rig.url, { method: 'POST', body: 'tea' })
  await ask(all.rig.url, { method: 'POST', body: 'tea' })
  const [first, second] = [await all.line(0), await all.line(1)]
  assert.deepEqual([first.end, first.pool, first.tries?.length, first.waitMs], ['ok', 'api', 1, undefined])
  const [tried] = first.tries ?? []
  assert.deepEqual([tried?.server, tried?.outcome, tried?.status, tried?.reused], [first.server, 'answered', 200, false])
  const { connectMs = -1, firstByteMs = -1, tookMs = -1, atMs = -1 } = tried ?? {}
  assert.ok(connectMs > 0 && firstByteMs >= connectMs && tookMs >= firstByteMs && first.tookMs >= atMs + tookMs, JSON.stringify(tried))
  assert.ok((tried?.bytesUp ?? 0) > 100 && (tried?.bytesDown ?? 0) > 50, JSON.stringify(tried))
  assert.deepEqual([second.tries?.[0]?.reused, second.tries?.[0]?.connectMs], [true, undefined])
  // What went before on the same connection is not counted again.
  assert.equal(second.tries?.[0]?.bytesUp, tried?.bytesUp)
  assert.equal(second.tries?.[0]?.bytesDown, tried?.bytesDown)
})

test('each try, and why there was another', async () => {
  await using all = await scene([(_, response) => void response.destroy(), well])
  await ask(all.rig.url)
  await ask(all.rig.url)
  const lines = [await all.line(0), await all.line(1)]
  const twice = lines.find(({ tries }) => tries?.length === 2)
  assert.deepEqual(
    twice?.tries?.map(({ outcome, why, status }) => [outcome, why, status]),
    [
      ['connection_reset', undefined, undefined],
      ['answered', 'connection_reset', 200],
    ],
  )
  assert.equal(twice?.end, 'ok')
})

test('how long it waited for a slot', async () => {
  const held: (() => void)[] = []
  await using all = await scene([(_, response) => void held.push(() => response.end('late'))], { pool: { maxInFlight: 1 } })
  const first = ask(all.rig.url)
  await until('it has the slot', () => held.length === 1)
  const second = ask(all.rig.url)
  await all.rig.untilWaiting(1)
  held[0]?.()
  await until('the second has it', () => held.length === 2)
  held[1]?.()
  await Promise.all([first, second])
  const [one, two] = [await all.line(0), await all.line(1)]
  assert.equal(one.waitMs, undefined)
  assert.ok((two.waitMs ?? 0) > 0 && (two.tries?.[0]?.atMs ?? 0) >= (two.waitMs ?? 0), JSON.stringify(two))
})

async function leave(all: Scene, path: string, when: () => boolean | Promise<boolean>): Promise<AccessLine> {
  const client = await RawClient.connect(all.rig.port)
  client.socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
  await until('it is time to leave', when)
  client.socket.destroy()
  return all.line(0)
}

test('a client that leaves while a server works on it', async () => {
  await using all = await scene([never])
  const line = await leave(all, '/', () => all.servers[0]?.inFlight === 1)
  assert.deepEqual([line.end, line.status, line.tries?.[0]?.outcome], ['client-left-server', 499, 'abandoned'])
})

test('a client that leaves in the middle of its answer', async () => {
  let begun = false
  await using all = await scene([
    (_, response) => {
      response.writeHead(200, { 'Content-Length': '10' })
      response.write('half')
      begun = true
    },
  ])
  const response = await open(all.rig.url)
  await until('the answer has begun', () => begun)
  response.destroy()
  const line = await all.line(0)
  assert.deepEqual([line.end, line.status], ['client-left-response', 200])
})

test('a client that leaves while it waits for a slot', async () => {
  await using all = await scene([never], { pool: { maxInFlight: 1 } })
  const abort = new AbortController()
  const first = ask(all.rig.url, { signal: abort.signal }).catch(() => undefined)
  await until('the slot is taken', () => all.servers[0]?.inFlight === 1)
  const line = await leave(all, '/', async () => (await all.rig.pool()).waiting === 1)
  assert.deepEqual([line.end, line.tries?.length, line.pool], ['client-left-waiting', 0, 'api'])
  assert.ok((line.waitMs ?? 0) > 0)
  abort.abort()
  await first
})

test('a client that leaves before it has sent all, and one that is held for a job', async () => {
  await using all = await scene([never])
  const half = await RawClient.connect(all.rig.port)
  half.socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf')
  await all.rig.untilInFlight(1)
  half.socket.destroy()
  assert.equal((await all.line(0)).end, 'client-left-request')
  const abort = new AbortController()
  const asked = ask(`${all.rig.url}/spill`, { method: 'POST', body: 'x', headers: { 'Idempotency-Key': 'k' }, signal: abort.signal })
  await until('a server works on it', () => all.servers[0]?.received.length === 1)
  abort.abort()
  await asked.catch(() => undefined)
  assert.equal((await all.line(1)).end, 'client-left-held')
})

test('servers that break off before and in the middle of the answer, that answer late, and what is not HTTP', async () => {
  const handles: Record<string, Handle> = {
    '/before': (_, response) => void response.destroy(),
    '/within': (_, response) => {
      response.writeHead(200, { 'Content-Length': '10' })
      response.write('half', () => response.destroy())
    },
    '/late': never,
    '/other': (_, response) => void response.socket?.end('SSH-2.0-x\r\n\r\n'),
  }
  await using all = await scene([(received, response) => handles[received.url]?.(received, response)], { timeouts: { firstByteMs: 200 } })
  const ends: string[] = []
  for (const [n, path] of Object.keys(handles).entries()) {
    await ask(`${all.rig.url}${path}`, { method: 'POST', body: 'x' }).catch(() => undefined)
    ends.push((await all.line(n)).end)
  }
  assert.deepEqual(ends, ['server-reset-before-head', 'server-reset-body', 'timeout-first-byte', 'server-bad-answer'])
})

test('no slot in time, a full line, and no server', async () => {
  await using all = await scene([never], { pool: { maxInFlight: 1, maxWaiting: 1, waitMs: 150 } })
  const abort = new AbortController()
  const first = ask(all.rig.url, { signal: abort.signal }).catch(() => undefined)
  await until('the slot is taken', () => all.servers[0]?.inFlight === 1)
  const second = ask(all.rig.url)
  await all.rig.untilWaiting(1)
  assert.equal((await ask(all.rig.url)).status, 503)
  assert.equal((await all.line(0)).end, 'line-full')
  assert.equal((await second).status, 503)
  const waited = await all.line(1)
  assert.deepEqual([waited.end, waited.error], ['timeout-wait', 'no_capacity'])
  abort.abort()
  await first
  await all.servers[0]?.kill()
  await until('it is down', async () => (await all.rig.pool()).servers[0]?.state === 'down')
  assert.equal((await ask(all.rig.url)).status, 503)
  assert.equal((await all.line(3)).end, 'no-server')
})

test('what the gateway says by itself: accepted, no route, refused', async () => {
  await using all = await scene([well], { routes: [QUEUE] })
  assert.equal((await ask(`${all.rig.url}/queue`, { method: 'POST', body: 'x' })).status, 202)
  assert.equal((await ask(`${all.rig.url}/elsewhere`)).status, 404)
  assert.equal((await ask(`${all.rig.url}/queue`)).status, 400)
  const client = await RawClient.connect(all.rig.port)
  client.socket.write('nonsense\r\n\r\n')
  const ends = [await all.line(0), await all.line(1), await all.line(2), await all.line(3)].map(({ end }) => end)
  assert.deepEqual(ends, ['accepted', 'no-route', 'refused', 'refused'])
  client.socket.destroy()
})

test('a try for the sake of a better answer says which one was not good enough', async () => {
  const busy: Handle = (_, response) => void response.writeHead(502).end('no')
  const retry = { ...DEFAULT_RETRY, statuses: [502] }
  await using all = await scene([busy, busy], { routes: [testRoute({ name: '/*', mode: 'direct', retry })] })
  assert.equal((await ask(all.rig.url)).status, 502)
  const { tries = [], end } = await all.line(0)
  assert.ok(tries.length >= 2)
  assert.deepEqual([tries[0]?.status, tries[1]?.why, end], [502, '502', 'ok'])
})
