/** Servers that get something only while no other one of their pool can be used. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PoolConfig } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { testPool, testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly primaries: readonly TestServer[]
  readonly backups: readonly TestServer[]
  untilDown(server: TestServer): Promise<void>
  untilUp(server: TestServer): Promise<void>
}

async function scene(counts: { primaries: number; backups: number }, change: Partial<PoolConfig> = {}): Promise<Scene> {
  const start = (count: number): Promise<TestServer[]> => Promise.all(Array.from({ length: count }, () => startTestServer()))
  const [primaries, backups] = await Promise.all([start(counts.primaries), start(counts.backups)])
  const all = [...primaries, ...backups]
  const ports = all.map(({ port }) => port)
  const servers = testPool('api', ports).servers.map((server, n) => (n < counts.primaries ? server : { ...server, backup: true as const }))
  const rig = await startGatewayRig(ports, {
    pool: { servers, balance: 'round-robin', health: { intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }, ...change },
    routes: [
      testRoute({ name: 'POST /work', match: { path: '/work', methods: ['POST'], headers: [], query: [] } }),
      testRoute({ name: '/*', mode: 'direct' }),
    ],
  })
  const untilState = (server: TestServer, wanted: string): Promise<void> =>
    until(`it is ${wanted}`, async () => (await rig.pool()).servers[all.indexOf(server)]?.state === wanted)
  return {
    rig,
    primaries,
    backups,
    untilDown: (server) => untilState(server, 'down'),
    untilUp: (server) => untilState(server, 'up'),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(all.map((server) => server.kill()))
    },
  }
}

const counts = (servers: readonly TestServer[]): number[] => servers.map(({ received }) => received.length)

async function askTimes(times: number, url: string): Promise<number[]> {
  const statuses: number[] = []
  for (let n = 0; n < times; n++) statuses.push((await ask(url)).status)
  return statuses
}

test('backups get nothing while a primary is up, all of them share when none is, and nothing more once one is back', async () => {
  await using all = await scene({ primaries: 2, backups: 2 })
  const [a, b] = all.primaries as [TestServer, TestServer]
  await askTimes(10, all.rig.url)
  assert.deepEqual(
    [counts(all.primaries), counts(all.backups)],
    [
      [5, 5],
      [0, 0],
    ],
  )
  await a.kill()
  await all.untilDown(a)
  await askTimes(10, all.rig.url)
  assert.deepEqual(counts(all.backups), [0, 0])
  await b.kill()
  await all.untilDown(b)
  assert.ok((await askTimes(10, all.rig.url)).every((status) => status === 200))
  assert.deepEqual(counts(all.backups), [5, 5])
  await b.revive()
  await all.untilUp(b)
  await askTimes(10, all.rig.url)
  assert.deepEqual(
    [counts(all.primaries), counts(all.backups)],
    [
      [5, 25],
      [5, 5],
    ],
  )
  assert.deepEqual(
    (await all.rig.pool()).servers.map(({ backup }) => backup === true),
    [false, false, true, true],
  )
})

test('who waits for a primary that is full waits, and is with a backup as soon as the primary is gone', async () => {
  await using all = await scene({ primaries: 1, backups: 1 }, { maxInFlight: 1, waitMs: 10_000 })
  const [primary] = all.primaries as [TestServer]
  primary.handle = () => undefined
  const asked = Array.from({ length: 3 }, () => ask(`${all.rig.url}/x`, { method: 'POST', body: 'x' }))
  await until('one is there', () => primary.inFlight === 1)
  await all.rig.untilWaiting(2)
  assert.deepEqual(counts(all.backups), [0])
  await primary.kill()
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  // The one that had reached the primary cannot be sent a second time.
  assert.deepEqual(statuses.toSorted(), [200, 200, 502])
  assert.deepEqual(counts(all.backups), [2])
})

test('a request is tried again with a backup only when no other primary is left for it', async () => {
  await using all = await scene({ primaries: 2, backups: 1 }, { retries: { budget: 1, minPerSecond: 1000 } })
  const [a, b] = all.primaries as [TestServer, TestServer]
  const breakOff: TestServer['handle'] = (_, response) => void response.destroy()
  a.handle = breakOff
  assert.ok((await askTimes(10, all.rig.url)).every((status) => status === 200))
  assert.deepEqual(counts(all.backups), [0])
  b.handle = breakOff
  assert.deepEqual(await askTimes(4, all.rig.url), [200, 200, 200, 200])
  assert.deepEqual(counts(all.backups), [4])
})

test('jobs are with the primaries, with backups when none is up, and back with the first that returns', async () => {
  await using all = await scene({ primaries: 1, backups: 2 })
  const [primary] = all.primaries as [TestServer]
  let submitted = 0
  const submit = async (): Promise<void> => {
    const answers = Array.from({ length: 20 }, () => ask(`${all.rig.url}/work`, { method: 'POST', body: 'x' }))
    assert.ok((await Promise.all(answers)).every(({ status }) => status === 202))
    submitted += 20
    await until('all are done', () => counts([...all.primaries, ...all.backups]).reduce((sum, count) => sum + count) === submitted)
  }
  await submit()
  assert.deepEqual([counts(all.primaries), counts(all.backups)], [[20], [0, 0]])
  await primary.kill()
  await all.untilDown(primary)
  await submit()
  const [c = 0, d = 0] = counts(all.backups)
  assert.ok(c > 0 && d > 0 && c + d === 20, `${c} and ${d}`)
  await primary.revive()
  await all.untilUp(primary)
  await submit()
  assert.deepEqual([counts(all.primaries), counts(all.backups)], [[40], [c, d]])
})

test('the last primary is not ejected for a backup, and backups are judged among themselves', async () => {
  const rules = { consecutive: 3, failureRate: 2, volumeMin: 20, slowerThan: Number.POSITIVE_INFINITY, windowMs: 60_000 }
  const outliers = { ...rules, ejectMs: 60_000, ejectMaxMs: 60_000, ejectedMax: 0.1 }
  await using all = await scene({ primaries: 1, backups: 2 }, { outliers })
  for (const server of [...all.primaries, all.backups[0] as TestServer]) {
    server.handle = (_, response) => {
      response.statusCode = 500
      response.end()
    }
  }
  await askTimes(10, all.rig.url)
  assert.deepEqual([counts(all.primaries), (await all.rig.pool()).servers[0]?.state], [[10], 'up'])
  await all.primaries[0]?.kill()
  await all.untilDown(all.primaries[0] as TestServer)
  await askTimes(10, all.rig.url)
  assert.deepEqual([counts(all.backups), (await all.rig.pool()).servers[1]?.state], [[3, 7], 'ejected'])
})

test('where the checks of all fail it is the primaries that are the last hope', async () => {
  await using all = await scene(
    { primaries: 1, backups: 1 },
    { health: { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 } },
  )
  for (const server of [...all.primaries, ...all.backups]) {
    server.healthStatus = 500
    await all.untilDown(server)
  }
  assert.deepEqual(await askTimes(4, all.rig.url), [200, 200, 200, 200])
  assert.deepEqual([counts(all.primaries), counts(all.backups)], [[4], [0]])
})
