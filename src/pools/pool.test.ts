/** What the pool learns from live requests, and what it does not. Balancing and the line are tested through the gateway. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import type { PoolConfig } from '../config/config.ts'
import type { Duty } from '../core/members/members.ts'
import '../../test/support/seed-fast-check.ts'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { testPool } from '../../test/support/test-config.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { LIVE_QUIET_MS } from '../core/jobs/drain-pace.ts'
import { systemNetwork } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import { Pool } from './pool.ts'
import type { Server, ServerState } from './server.ts'
import type { Waiter } from './line.ts'

interface Rig {
  readonly pool: Pool
  readonly server: Server
  readonly clock: ManualClock
  readonly lines: readonly string[]
}

/** Never started: nothing is checked. */
function startRig(t: TestContext, change: Partial<PoolConfig> = {}, servers = 1): Rig {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => lines.push(line) })
  const clock = new ManualClock()
  const pool = new Pool(
    testPool(
      'api',
      Array.from({ length: servers }, (_, n) => n + 1),
      change,
    ),
    { clock, random: new SeededRandom(1), network: systemNetwork, telemetry },
  )
  t.after(async () => {
    pool.close()
    await telemetry.close()
  })
  return { pool, server: pool.servers[0] as Server, clock, lines }
}

test('a connect that failed for want of something of ours leaves the server as it is', (t) => {
  const { pool, server } = startRig(t)
  const before = server.health
  pool.connectLacked('EMFILE')
  assert.deepEqual([server.state, server.health], ['unknown', before])
  pool.connectFailed(server, 'connection failed: ECONNREFUSED')
  assert.equal(server.state, 'down')
})

test('a shortage is told of every ten seconds, however often it is met', (t) => {
  const { pool, clock, lines } = startRig(t)
  const line =
    'warning: no connection to pool api can be opened (EMFILE): this process has as many files open as it may; raise its limit (ulimit -n)'
  for (let i = 0; i < 100; i++) pool.connectLacked('EMFILE')
  clock.advance(9_999)
  pool.connectLacked('ENFILE')
  assert.deepEqual(lines, [line])
  clock.advance(1)
  pool.connectLacked('EMFILE')
  assert.deepEqual(lines, [line, line])
})

/** Takes slots for jobs until there is none; says how many. */
function jobSlots({ pool, server }: Rig): number {
  let taken = 0
  while (pool.reserve(server)) taken++
  for (let n = 0; n < taken; n++) pool.releaseJob(server)
  return taken
}

test('jobs leave live requests their reserve while these come, at least one of each server is theirs, and without anybody all are', (t) => {
  for (const [maxInFlight, reserve, withLive] of [
    [10, 0.2, 8],
    [4, 0.2, 4],
    [5, 0.2, 4],
    [10, 0, 10],
    [10, 1, 1],
    [1, 1, 1],
  ] as const) {
    const rig = startRig(t, { maxInFlight, reserve })
    rig.server.state = 'up'
    assert.equal(jobSlots(rig), maxInFlight, 'nobody has come')
    const taken = rig.pool.acquire()
    if (taken !== undefined) rig.pool.release(taken)
    assert.equal(jobSlots(rig), withLive, `${maxInFlight} slots, reserve ${reserve}`)
    rig.clock.advance(LIVE_QUIET_MS - 1)
    assert.equal(jobSlots(rig), withLive)
    rig.clock.advance(1)
    assert.equal(jobSlots(rig), maxInFlight, 'they have stopped')
    assert.deepEqual([rig.server.jobs, rig.server.inFlight], [0, 0])
  }
})

test('nothing is repeated while more than half of the servers that are up take nothing more', (t) => {
  const { pool } = startRig(t, { maxInFlight: 1, retries: { budget: 1, minPerSecond: 0 } }, 5)
  const [a, b, c, d] = pool.servers as [Server, Server, Server, Server]
  for (const server of [a, b, c, d]) server.state = 'up'
  a.taken.take(1)
  pool.pause(b, 1000)
  assert.equal(pool.retries.mayRepeat(), true, 'two of four; the fifth is not up')
  c.taken.take(1)
  assert.equal(pool.retries.mayRepeat(), false, 'three of four')
})

test('a waiter that nobody wants any more is passed over, and leaves by itself', (t) => {
  const { pool, server } = startRig(t, { maxInFlight: 1 })
  server.state = 'up'
  assert.equal(pool.acquire(), server)
  const granted: string[] = []
  const waiter = (name: string, wanted: boolean): Waiter => ({ wanted, grant: () => void granted.push(name), expire: () => undefined })
  const leave = pool.wait(waiter('gone', false), { forMs: 1000 })
  pool.wait(waiter('there', true), { forMs: 1000 })
  pool.release(server)
  assert.deepEqual([granted, pool.waiting], [['there'], 1])
  assert.ok(typeof leave === 'function')
  leave()
  assert.equal(pool.waiting, 0)
})

test('requests that wait without end leave jobs a slot after a second, and after four times as long as the last one had it', (t) => {
  const { pool, server, clock } = startRig(t, { maxInFlight: 2 })
  server.state = 'up'
  assert.ok(pool.reserve(server))
  pool.releaseJob(server)
  let granted = 0
  const wait = (): void => void pool.wait({ wanted: true, grant: () => void granted++, expire: () => undefined }, { forMs: 1_000_000 })
  let wants = true
  const told: number[] = []
  pool.onSlotFree({ wants: () => wants, slotFree: () => void told.push(granted) })
  for (let n = 0; n < 2; n++) pool.acquire()
  for (let n = 0; n < 20; n++) wait()
  /** A request ends; what becomes of its slot. */
  const next = (afterMs: number): 'request' | 'job' => {
    clock.advance(afterMs)
    const before = granted
    pool.release(server)
    if (granted > before) return 'request'
    assert.equal(pool.reserve(server), true)
    return 'job'
  }
  assert.deepEqual([next(999), next(1)], ['request', 'job'])
  assert.equal(next(5000), 'request', 'one at a time')
  clock.advance(1000)
  pool.releaseJob(server)
  assert.equal(granted, 3, 'its slot goes to who waits')
  assert.deepEqual([next(4 * 6000 - 1), next(1)], ['request', 'job'])
  pool.releaseJob(server)
  wants = false
  assert.equal(next(10_000), 'request')
  assert.deepEqual([pool.waiting, server.jobs, server.inFlight, told.length], [14, 0, 2, 2])
})

test('whoever was on a server gets a slot of it only if it has one and may be used: up, or draining; a backup only without primaries', (t) => {
  const { pool } = startRig(t, { maxInFlight: 2 }, 4)
  const one = fc.record({
    state: fc.constantFrom('unknown', 'up', 'up', 'down', 'ejected', 'draining') as fc.Arbitrary<ServerState>,
    healthy: fc.boolean(),
    duty: fc.constantFrom('ready', 'drain', 'maint') as fc.Arbitrary<Duty>,
    leaving: fc.boolean(),
    inFlight: fc.nat({ max: 2 }),
    backup: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.tuple(one, one, one, one), (states) => {
      for (const [n, { state, healthy, duty, leaving, inFlight, backup }] of states.entries()) {
        const server = pool.servers[n] as Server
        const { backup: _, ...config } = server.config
        Object.assign(server, { state, duty, leaving, config: backup ? { ...config, backup } : config })
        setInFlight(server, inFlight)
        server.health = { ...server.health, state: healthy ? 'up' : 'down' }
      }
      const primaryUp = states.some(({ state, backup }) => state === 'up' && !backup)
      for (const [n, { state, healthy, duty, leaving, inFlight, backup }] of states.entries()) {
        const server = pool.servers[n] as Server
        const usable = (state === 'up' && !(backup && primaryUp)) || (duty === 'drain' && healthy && !leaving)
        assert.equal(pool.acquireFrom(server), usable ? inFlight < 2 : undefined)
        assert.equal(server.inFlight, usable && inFlight < 2 ? inFlight + 1 : inFlight)
        setInFlight(server, inFlight)
      }
    }),
  )
})

test('a slot goes to who is bound to its server and to those who are bound to none; of a draining server only to the bound', (t) => {
  const { pool } = startRig(t, { maxInFlight: 1 }, 2)
  const [a, b] = pool.servers as [Server, Server]
  const told: string[] = []
  const wait = (name: string, bound?: Server): void =>
    void pool.wait(
      {
        wanted: true,
        grant: (server) => void told.push(`${name} ${server.name.at(-1)}`),
        expire: (why) => void told.push(`${name} ${why}`),
      },
      { forMs: 1000, bound },
    )
  for (const server of [a, b]) {
    Object.assign(server, { state: 'up', health: { ...server.health, state: 'up' } })
    assert.equal(pool.acquireFrom(server), true)
  }
  wait('to-b', b)
  wait('any')
  pool.release(a)
  assert.deepEqual(told, ['any 1'])
  wait('other')
  pool.setMembers([a, b].map((server) => ({ ...server.config, source: 'file', duty: server === b ? 'drain' : 'ready' })))
  pool.release(b)
  assert.deepEqual(told, ['any 1', 'to-b 2'])
  wait('again', a)
  pool.connectFailed(a, 'connection failed: ECONNREFUSED')
  assert.deepEqual(told, ['any 1', 'to-b 2', 'again elsewhere'])
})

function setInFlight(server: Server, wanted: number): void {
  while (server.inFlight > wanted) server.taken.give()
  while (server.taken.take(wanted));
}
