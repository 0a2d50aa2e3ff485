/** Copies for another pool: what it gets, what it does not get, and that nobody who waits for an answer has to wait for it. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import type { MirrorConfig } from '../../src/config/config.ts'
import { ask, open } from '../support/http-client.ts'
import {
  type Handle,
  noHttp,
  resets,
  type RetryScene,
  retryScene,
  rules,
  saysNothing,
  type SceneOptions,
  status,
  well,
} from '../support/retry-scene.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const MIRROR: MirrorConfig = { pool: 'shadow', share: 1, timeoutMs: 10_000 }

type Scene = RetryScene & { readonly shadow: TestServer; copies(outcome: string): Promise<number> }

async function scene(
  t: TestContext,
  shadowHandle: Handle,
  {
    mirror = {},
    shadowPool = {},
    handles = [well],
    ...options
  }: SceneOptions & {
    mirror?: Partial<MirrorConfig>
    shadowPool?: NonNullable<SceneOptions['shadow']>['pool']
    handles?: readonly Handle[]
  } = {},
): Promise<Scene> {
  const server = await startTestServer(shadowHandle)
  const route = { mirror: { ...MIRROR, ...mirror }, ...options.route }
  const all = await retryScene(handles, { ...options, route, shadow: { server, pool: shadowPool } })
  t.after(async () => {
    await all[Symbol.asyncDispose]()
    await server.kill()
  })
  return Object.assign(all, { shadow: server, copies: (outcome: string) => all.metric('spillway_mirrored_total', outcome) })
}

test('another pool gets the same request, marked as a copy, and its answer goes nowhere', async (t) => {
  const all = await scene(t, status(500, { 'x-from': 'shadow' }, 'x'.repeat(500_000)))
  const body = 'x'.repeat(50_000)
  const answer = await ask(`${all.rig.url}/a/b?c=d`, {
    method: 'POST',
    body,
    headers: { Host: 'api.example', 'X-Own': '1', 'Spillway-Mirror': 'no' },
  })
  assert.deepEqual([answer.status, answer.text, answer.headers['x-from']], [200, 'well', undefined])
  await until('the copy is answered', async () => (await all.copies('answered')) === 1)
  const [original, copy] = [all.servers[0]?.received[0], all.shadow.received[0]]
  assert.deepEqual([copy?.method, copy?.url, copy?.body.toString() === body, copy?.headers.host], ['POST', '/a/b?c=d', true, 'api.example'])
  assert.deepEqual([original?.headers['spillway-mirror'], copy?.headers['spillway-mirror']], [undefined, 'true'])
  const { 'spillway-mirror': _, ...headers } = copy?.headers ?? {}
  assert.deepEqual(headers, original?.headers)
  await all.untilIdle()
})

test('a copy that fails in any way changes nothing for the client, and nothing for its server', async (t) => {
  for (const handle of [resets, noHttp, status(503, { 'retry-after': '60' })]) {
    const all = await scene(t, handle, { route: { mirror: MIRROR, retry: rules({ statuses: [503] }) } })
    for (let n = 0; n < 3; n++) assert.equal((await ask(all.rig.url)).text, 'well')
    await until('all copies have ended', async () => (await all.copies('answered')) + (await all.copies('failed')) === 3)
    assert.deepEqual([all.shadow.received.length, all.counts()], [3, [3]], 'none was sent again')
    assert.equal((await all.rig.pool()).servers[0]?.state, 'up')
    await all.untilIdle()
  }
})

test('a shadow that never answers holds up nobody, is asked no more than it bears, and is given up in time', async (t) => {
  const all = await scene(t, saysNothing, { mirror: { timeoutMs: 300 }, shadowPool: { maxInFlight: 2, waitMs: 60_000 } })
  for (let n = 0; n < 3; n++) assert.equal((await ask(all.rig.url)).text, 'well')
  assert.deepEqual([all.shadow.received.length <= 2, await all.copies('busy')], [true, 1])
  await until('the copies are given up', async () => (await all.copies('failed')) === 2)
  await until('the shadow sees it', () => all.shadow.inFlight === 0)
  await all.untilIdle()
})

test('a shadow that is gone', async (t) => {
  const all = await scene(t, well)
  await all.shadow.kill()
  await until('it is known', async () => {
    await ask(all.rig.url)
    return (await all.copies('no_server')) > 0
  })
  assert.equal((await ask(all.rig.url)).text, 'well')
})

test('a body that is longer than the copy is not mirrored, one byte less is', async (t) => {
  const all = await scene(t, well, { limits: { spillCopy: 10_000 } })
  await ask(all.rig.url, { method: 'PUT', body: 'x'.repeat(10_001) })
  await until('it is counted', async () => (await all.copies('body')) === 1)
  await ask(all.rig.url, { method: 'PUT', body: 'x'.repeat(10_000) })
  await until('the copy is answered', async () => (await all.copies('answered')) === 1)
  assert.deepEqual(
    all.shadow.received.map(({ body }) => body.length),
    [10_000],
  )
  await all.untilIdle()
})

test('a client that leaves in the middle of its body: half a request is not copied', async (t) => {
  const all = await scene(t, well)
  const socket = connect(all.rig.port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf')
  await all.rig.untilInFlight(1)
  socket.destroy()
  await until('it is counted', async () => (await all.copies('incomplete')) === 1)
  assert.equal(all.shadow.received.length, 0)
  await all.untilIdle()
})

test('a client that leaves after its request takes the copy not with it', async (t) => {
  const all = await scene(t, (_, response) => void setTimeout(() => response.end('done'), 200), { handles: [saysNothing] })
  const leaving = new AbortController()
  const asked = open(all.rig.url, { signal: leaving.signal })
  await until('the shadow has it', () => all.shadow.received.length === 1)
  leaving.abort()
  await assert.rejects(asked)
  await until('the copy is answered', async () => (await all.copies('answered')) === 1)
  await all.untilIdle()
})

test('one copy for each request, however often that is tried, and only with the methods and the share that are wanted', async (t) => {
  const all = await scene(t, well, { handles: [resets, resets, well], mirror: { methods: ['GET'] } })
  assert.equal((await ask(all.rig.url)).status, 200)
  await ask(all.rig.url, { method: 'DELETE' })
  await until('the copy is answered', async () => (await all.copies('answered')) === 1)
  assert.deepEqual([all.shadow.received.length, all.shadow.received[0]?.method], [1, 'GET'])

  const half = await scene(t, well, { mirror: { share: 0.5 } })
  for (let n = 0; n < 20; n++) await Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(() => ask(half.rig.url)))
  await half.untilIdle()
  const copied = half.shadow.received.length
  assert.ok(copied > 50 && copied < 150, `${copied} of 200`)
})

test('on a spill route what becomes a job without having been sent is not copied', async (t) => {
  const all = await scene(t, well, {
    handles: [saysNothing],
    pool: { maxInFlight: 1 },
    route: { mirror: MIRROR, mode: 'spill', patienceMs: 50, waitMs: 0 },
  })
  const leaving = new AbortController()
  const first = assert.rejects(ask(all.rig.url, { method: 'POST', body: 'first', signal: leaving.signal }))
  await until('the first one is copied', () => all.shadow.received.length === 1)
  assert.equal((await ask(all.rig.url, { method: 'POST', body: 'second' })).status, 202)
  leaving.abort()
  await first
  assert.deepEqual(
    all.shadow.received.map(({ body }) => body.toString()),
    ['first'],
  )
})

test('a gateway that is closed leaves no copy behind', async (t) => {
  const all = await scene(t, saysNothing, { mirror: { timeoutMs: 600_000 } })
  await ask(all.rig.url)
  await until('the shadow has it', () => all.shadow.inFlight === 1)
  await all.rig.gateway.close()
  await until('the shadow sees that nobody waits', () => all.shadow.inFlight === 0)
})
