/** What a pool makes of what its servers say of themselves, told by a clock by hand. How they say it is tested through the gateway. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { recordingTelemetry } from '../../test/support/jobs-rig.ts'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { testPool } from '../../test/support/test-config.ts'
import type { PoolConfig } from '../config/config.ts'
import { systemNetwork } from '../ports/system.ts'
import type { GatewayEvent } from '../telemetry/telemetry.ts'
import { Pool } from './pool.ts'
import type { Server } from './server.ts'

const SERVER_REPORTS = { load: { floor: 0.1, expireMs: 10_000 }, drain: { maxMs: 60_000 } }

interface Rig {
  readonly pool: Pool
  readonly servers: readonly Server[]
  readonly clock: ManualClock
  readonly events: GatewayEvent[]
  says(n: number, field: 'Load' | 'Drain', value: string): void
  readonly states: () => string
  /** Of so many requests, one after the other. */
  share(count: number): number[]
}

/** Never started: nothing is checked, and all are up. */
function startRig(t: TestContext, servers: number, change: Partial<PoolConfig> = {}): Rig {
  const events: GatewayEvent[] = []
  const clock = new ManualClock()
  const ports = Array.from({ length: servers }, (_, n) => n + 1)
  const config = testPool('api', ports, { balance: 'round-robin', serverReports: SERVER_REPORTS, ...change })
  const pool = new Pool(config, { clock, random: new SeededRandom(1), network: systemNetwork, telemetry: recordingTelemetry(events) })
  t.after(() => pool.close())
  for (const server of pool.servers) Object.assign(server, { state: 'up', health: { state: 'up', against: 0 } })
  return {
    pool,
    servers: pool.servers,
    clock,
    events,
    says: (n, field, value) => pool.heard(pool.servers[n] as Server, [`Spillway-${field}`, value]),
    states: () => pool.servers.map(({ state }) => state).join(' '),
    share(count) {
      const counts = pool.servers.map(() => 0)
      for (let n = 0; n < count; n++) {
        const server = pool.acquire()
        if (server === undefined) continue
        counts[pool.servers.indexOf(server)] = (counts[pool.servers.indexOf(server)] as number) + 1
        pool.release(server)
      }
      return counts
    },
  }
}

test('shares follow the loads that are told, a moment later; who says nothing any more has its own weight again', (t) => {
  const { says, share, clock, servers } = startRig(t, 3)
  for (const [n, load] of ['0.3', '0.6', '0.6'].entries()) says(n, 'Load', load)
  assert.deepEqual(share(12), [4, 4, 4], 'not before the shares are looked at')
  clock.advance(250)
  assert.deepEqual(share(12), [6, 3, 3])
  clock.advance(9_750)
  assert.deepEqual(
    [share(12), servers.map(({ weight }) => weight)],
    [
      [4, 4, 4],
      [1, 1, 1],
    ],
  )
  assert.equal(clock.pending, 0, 'nothing has to be looked at any more')
})

test('equal loads, and none at all, leave round-robin exact: each is chosen as its weight says, give or take one', (t) => {
  for (const load of [undefined, '0.7']) {
    const { pool, servers, says, clock } = startRig(t, 3)
    for (const [n, weight] of [1, 2, 3].entries()) Object.assign(servers[n] as Server, { configuredWeight: weight, weight })
    for (const n of servers.keys()) if (load !== undefined) says(n, 'Load', load)
    clock.advance(250)
    const counts = servers.map(() => 0)
    for (let n = 1; n <= 60; n++) {
      const at = servers.indexOf(pool.acquire() as Server)
      counts[at] = (counts[at] as number) + 1
      for (const [i, weight] of [1, 2, 3].entries()) assert.ok(Math.abs((counts[i] as number) - (n * weight) / 6) <= 1)
    }
  }
})

test('however loaded it says it is, a server keeps its floor', (t) => {
  const { says, share, clock } = startRig(t, 2)
  says(0, 'Load', '10')
  says(1, 'Load', '0')
  clock.advance(250)
  const [loaded = 0, idle = 0] = share(210)
  assert.deepEqual([loaded, idle], [10, 200], 'a tenth of its weight, and at most twice the other one')
})

test('a load multiplies what slow start leaves', (t) => {
  const { says, servers, clock, pool } = startRig(t, 2, { slowStartMs: 1000 })
  const [first] = servers as [Server]
  Object.assign(first, { returned: true, upSince: clock.monotonic() })
  for (const [n, load] of ['0.8', '0.4'].entries()) says(n, 'Load', load)
  clock.advance(500)
  pool.acquire()
  assert.equal(Math.round(first.weight * 1000) / 1000, 0.375, 'half of its weight, of which the load leaves 0.6 / 0.8')
})

test('by hash, keys stay where they are whatever loads are told, and the loaded one has less room', (t) => {
  const { pool, says, clock, servers } = startRig(t, 4, { balance: { by: { from: 'address', name: '' }, loadMax: 1.25 } })
  const owners = (): (string | undefined)[] =>
    Array.from({ length: 200 }, (_, n) => {
      const server = pool.acquire({ keyHash: n * 7919 })
      if (server !== undefined) pool.release(server)
      return server?.name
    })
  const before = owners()
  for (const [n, load] of ['0.9', '0.1', '0.5', '0.5'].entries()) says(n, 'Load', load)
  clock.advance(250)
  assert.deepEqual(owners(), before)
  for (let n = 0; n < 200; n++) pool.acquire({ keyHash: n * 7919 })
  const [loaded, idle] = servers as [Server, Server]
  assert.ok(loaded.inFlight < 0.6 * idle.inFlight, `${loaded.inFlight} and ${idle.inFlight}`)
})

test('who asks to be drained gets nothing new until the time is over that it asked for', (t) => {
  const { says, states, share, clock, events } = startRig(t, 2)
  says(0, 'Drain', '30s')
  assert.deepEqual([states(), share(4)], ['draining up', [0, 4]])
  clock.advance(29_999)
  assert.equal(states(), 'draining up')
  clock.advance(1)
  assert.deepEqual([states(), clock.pending], ['up up', 0])
  assert.deepEqual(
    events.map(({ type }) => type),
    ['drain-asked', 'drain-over'],
  )
})

test('off takes it back at once; off without a wish is nothing', (t) => {
  const { says, states, events } = startRig(t, 2)
  says(0, 'Drain', 'off')
  assert.equal(events.length, 0)
  says(0, 'Drain', 'now')
  says(0, 'Drain', 'off')
  assert.equal(states(), 'up up')
})

test('no wish holds for longer than drain.max after it was last heard', (t) => {
  const { says, states, clock, events } = startRig(t, 3)
  says(0, 'Drain', 'now')
  says(1, 'Drain', '1d')
  clock.advance(59_999)
  assert.equal(states(), 'draining draining up')
  says(0, 'Drain', 'now')
  clock.advance(1)
  assert.equal(states(), 'draining up up')
  clock.advance(59_999)
  assert.equal(states(), 'up up up')
  assert.equal(events.filter(({ type }) => type === 'drain-asked').length, 2, 'what is repeated is not told again')
})

test('a server that changes its mind with every answer changes its state once in a second', (t) => {
  const { says, states, clock, events } = startRig(t, 2)
  for (let n = 0; n < 1000; n++) says(0, 'Drain', n % 2 === 0 ? 'now' : 'off')
  assert.deepEqual([states(), events.length], ['up up', 2])
  clock.advance(999)
  says(0, 'Drain', 'now')
  assert.equal(states(), 'up up')
  clock.advance(1)
  says(0, 'Drain', 'now')
  assert.equal(states(), 'draining up')
})

for (const balance of ['round-robin', 'least-requests', 'random', 'peak-ewma'] as const) {
  test(`${balance}: who is more loaded gets less, and not nothing`, (t) => {
    const { says, share, clock } = startRig(t, 3, { balance })
    for (const [n, load] of ['0.9', '0.3', '0.3'].entries()) says(n, 'Load', load)
    clock.advance(250)
    const [loaded = 0, ...others] = share(1400)
    // A third of each of the others: 200 of 1400.
    assert.ok(loaded > 130 && loaded < 270, `${loaded} of 1400`)
    for (const other of others) assert.ok(other > 500 && other < 700, `${other} of 1400`)
  })
}

test('all of them ask: then they are used all the same, for what cannot wait in a queue, and it is said', (t) => {
  const { pool, says, states, share, events } = startRig(t, 2)
  says(0, 'Drain', 'now')
  says(1, 'Drain', 'now')
  assert.deepEqual([states(), share(4)], ['draining draining', [2, 2]])
  assert.equal(pool.acquire({ isSpillable: true }), undefined)
  assert.deepEqual(
    pool.servers.map((server) => pool.reserve(server)),
    [false, false],
    'jobs wait',
  )
  says(1, 'Drain', 'off')
  assert.deepEqual(
    [share(4), events.map(({ type }) => type).filter((type) => type.startsWith('pool-'))],
    [
      [0, 4],
      ['pool-panics', 'pool-calm'],
    ],
  )
})

test('who asks is used before who looks bad', (t) => {
  const { pool, servers, says, share } = startRig(t, 2)
  pool.connectFailed(servers[1] as Server, 'connection refused')
  Object.assign(servers[1] as Server, { refused: false })
  says(0, 'Drain', 'now')
  assert.deepEqual(share(4), [4, 0])
})

test('a server that is down wishes nothing any more: what comes back is another one', (t) => {
  const { pool, servers, says, states } = startRig(t, 2)
  says(0, 'Drain', '30s')
  pool.connectFailed(servers[0] as Server, 'connection refused')
  assert.deepEqual([states(), servers[0]?.wish, servers[0]?.because], ['down up', undefined, 'connection refused'])
})

test('what an operator wants goes first: ready does not end its wish, and drain outlasts it', (t) => {
  const { pool, servers, says, states } = startRig(t, 2)
  const duty = (wanted: 'ready' | 'drain' | 'maint'): void =>
    pool.setMembers(servers.map((server, n) => ({ ...server.config, source: 'file', duty: n === 0 ? wanted : 'ready' })))
  says(0, 'Drain', 'now')
  duty('drain')
  assert.equal(servers[0]?.because, 'an operator set it to drain')
  duty('ready')
  assert.deepEqual([states(), servers[0]?.because], ['draining up', 'it asks to be drained'])
  duty('drain')
  says(0, 'Drain', 'off')
  assert.equal(states(), 'draining up')
  duty('maint')
  says(0, 'Drain', 'now')
  assert.equal(servers[0]?.wish, undefined, 'nobody looks at it, and nobody listens')
})

test('what is garbled is ignored, counted, and told every ten seconds', (t) => {
  const { says, states, clock, events, servers } = startRig(t, 2)
  for (let n = 0; n < 50; n++) says(n % 2, 'Load', '50%')
  clock.advance(9_999)
  says(0, 'Drain', 'yes')
  assert.equal(events.length, 1)
  clock.advance(1)
  says(1, 'Drain', 'x'.repeat(1000))
  assert.deepEqual([events.length, states(), servers[0]?.load], [2, 'up up', undefined])
  const last = events.at(-1)
  assert.equal(last?.type === 'report-garbled' ? last.value.length : 0, 60)
})

test('a reload that heeds nothing any more forgets what was said, and one that does begins anew', (t) => {
  const { pool, says, states, share, clock } = startRig(t, 2)
  says(0, 'Drain', 'now')
  says(1, 'Load', '10')
  clock.advance(250)
  const { serverReports: _, ...without } = pool.config
  pool.reconfigure(without)
  assert.deepEqual([states(), share(4)], ['up up', [2, 2]])
  says(0, 'Drain', 'now')
  assert.equal(states(), 'up up')
  pool.reconfigure({ ...without, serverReports: SERVER_REPORTS })
  clock.advance(1000)
  says(0, 'Drain', 'now')
  assert.equal(states(), 'draining up')
})
