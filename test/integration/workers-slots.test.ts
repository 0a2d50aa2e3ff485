/** Slots that threads share: whoever frees one and whoever wants one may do so at any moment, and nobody is forgotten or passed. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Pools } from '../../src/pools/pools.ts'
import { ServerChanges } from '../../src/pools/server-changes.ts'
import type { Pool } from '../../src/pools/pool.ts'
import type { SharedCounts } from '../../src/pools/pool-types.ts'
import type { Server } from '../../src/pools/server.ts'
import { systemNetwork, systemResolver } from '../../src/ports/system.ts'
import { createTelemetry } from '../../src/telemetry/create-telemetry.ts'
import { Board, Cells } from '../../src/workers/board.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { testPool } from '../support/test-config.ts'

const POOL = 0

interface Scene {
  readonly pool: Pool
  readonly server: Server
  /** Of another thread. */
  readonly worker: { take(): boolean; give(): void; freed(): boolean }
  /** What happens just before it can be seen that a job found no slot. */
  readonly before: { hungry: () => void }
}

function scene(t: TestContext): Scene {
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  const chief = Board.create(1)
  const other = Board.of(chief.buffer, 1)
  const cells = new Cells()
  const signs = chief.signs(POOL)
  const before = { hungry: (): void => undefined }
  const shared: SharedCounts = {
    tally: (pool, server) => chief.tally(cells.of(pool, server) ?? 0),
    forget: (pool, server) => cells.forget(pool, server),
    signs: () => ({
      ...signs,
      isHungry: () => {
        before.hungry()
        signs.isHungry()
      },
    }),
  }
  const parts = { clock: new ManualClock(), random: new SeededRandom(1), network: systemNetwork, telemetry, shared }
  const pools = new Pools({ ...parts, resolver: systemResolver }, new ServerChanges({ ...parts, max: 1 }))
  pools.open([testPool('api', [1], { maxInFlight: 1 })])
  t.after(() => pools.close())
  const pool = pools.running.get('api') as Pool
  const [server] = pool.servers as [Server]
  server.state = 'up'
  const tally = other.tally(cells.of('api', server.name) as number)
  const worker = { take: () => tally.take(1), give: () => tally.give(), freed: () => other.signs(POOL).freed() }
  return { pool, server, worker, before }
}

function waiter(): { readonly served: readonly Server[]; grant(server: Server): void; expire(): void; readonly wanted: boolean } {
  const served: Server[] = []
  return { served, grant: (server) => void served.push(server), expire: () => undefined, wanted: true }
}

test('a slot that another thread frees while somebody gets in line is given to who waits', async (t) => {
  const { pool, server, worker } = scene(t)
  assert.equal(worker.take(), true)
  assert.equal(pool.acquire(), undefined)
  worker.give()
  assert.equal(worker.freed(), false, 'nobody waits yet')
  const first = waiter()
  pool.wait(first, { forMs: 1_000 })
  await Promise.resolve()
  assert.deepEqual(first.served, [server])
})

test('who comes while a slot is free that others wait for gets in line behind them', async (t) => {
  const { pool, server, worker } = scene(t)
  worker.take()
  const first = waiter()
  pool.wait(first, { forMs: 1_000 })
  await Promise.resolve()
  worker.give()
  // The chief has not heard of it yet.
  assert.equal(pool.acquire(), undefined)
  assert.deepEqual(first.served, [server])
  pool.release(server)
  assert.equal(pool.acquire(), server)
})

test('a job that was told of a slot, and found none, is told of the next one', (t) => {
  const { pool, server, worker } = scene(t)
  let got = 0
  pool.onSlotFree({ slotFree: () => void (got += pool.reserve(server) ? 1 : 0), wants: () => true })
  worker.take()
  assert.equal(pool.reserve(server), false)
  worker.give()
  assert.equal(worker.freed(), true)
  assert.equal(worker.take(), true, 'before the chief has looked')
  pool.slotsFreed()
  assert.equal(got, 0)
  worker.give()
  assert.equal(worker.freed(), true, 'it is told again')
  pool.slotsFreed()
  assert.equal(got, 1)
})

test('a job that finds no slot while another thread frees one gets it', (t) => {
  const { pool, server, worker, before } = scene(t)
  worker.take()
  before.hungry = () => {
    worker.give()
    assert.equal(worker.freed(), false, 'no job wants one yet')
  }
  assert.equal(pool.reserve(server), true)
})

test('a server that comes back is counted where it was counted before', (t) => {
  const { pool, server, worker } = scene(t)
  const members = [{ ...server.config, source: 'file', duty: 'ready' }] as const
  pool.setMembers([])
  pool.setMembers(members)
  // The other thread has heard of neither.
  worker.take()
  assert.equal(pool.servers[0]?.inFlight, 1)
})
