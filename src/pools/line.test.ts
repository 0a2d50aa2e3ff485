/** The line of a pool as a whole, on a clock that a test moves: whoever waits ends once, and never do more wait than may. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { testPool } from '../../test/support/test-config.ts'
import { systemNetwork } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import type { WaitEnd } from './line.ts'
import { Pool } from './pool.ts'
import type { Server } from './server.ts'

const WAIT_MS = 800

type End = WaitEnd | 'served' | 'left' | 'full' | 'shed'

const steps = fc.array(
  fc.record({
    what: fc.constantFrom('come', 'come', 'come', 'come', 'done', 'leave'),
    afterMs: fc.constantFrom(0, 0, 5, 30),
    priority: fc.nat({ max: 9 }),
    key: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
    fillMax: fc.constantFrom(undefined, 0.5, 0.9, 1),
    pick: fc.nat({ max: 100 }),
  }),
  { minLength: 20, maxLength: 150 },
)

test('whatever happens, whoever waits ends once and by its time, the line is never too long, and no slot stays free while somebody waits', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), fc.constantFrom(4, 25), (history, adaptive, maxWaiting) => {
      const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
      const clock = new ManualClock()
      const queueing = adaptive ? { queueing: { targetMs: 20, intervalMs: 100 } } : {}
      const config = testPool('api', [1], { maxInFlight: 1, maxWaiting, ...queueing })
      const pool = new Pool(config, { clock, random: new SeededRandom(1), network: systemNetwork, telemetry })
      const [server] = pool.servers as [Server]
      server.state = 'up'
      const ends = new Map<number, End[]>()
      const untilAt = new Map<number, number>()
      const leaves = new Map<number, () => void>()
      let id = 0
      const end = (who: number, why: End): void => {
        ends.get(who)?.push(why)
        leaves.delete(who)
      }
      assert.equal(pool.acquire(), server)
      for (const { what, afterMs, priority, key, fillMax, pick } of history) {
        clock.advance(afterMs)
        if (what === 'come') {
          const who = ++id
          ends.set(who, [])
          untilAt.set(who, clock.monotonic() + WAIT_MS)
          const waiter = { wanted: true, grant: () => end(who, 'served'), expire: (why: WaitEnd) => end(who, why) }
          const joined = pool.wait(waiter, { forMs: WAIT_MS, priority, key, ...(fillMax !== undefined && { fillMax }) })
          if (typeof joined === 'function') leaves.set(who, joined)
          else end(who, joined)
        } else if (what === 'done') {
          const before = pool.waiting
          pool.release(server)
          if (before === 0) assert.equal(pool.acquire(), server)
          else assert.equal(pool.waiting, before - 1, 'its slot goes to somebody')
        } else {
          const who = [...leaves.keys()][pick % Math.max(1, leaves.size)]
          if (who === undefined) continue
          leaves.get(who)?.()
          end(who, 'left')
        }
        assert.ok(pool.waiting <= maxWaiting)
        assert.equal(pool.waiting, leaves.size)
        // The line looks every 20 ms who has waited enough.
        for (const who of leaves.keys()) assert.ok(clock.monotonic() <= (untilAt.get(who) ?? 0) + 40)
      }
      pool.close()
      for (const [who, why] of ends) assert.equal(why.length, 1, `${who}: ${why.join()}`)
    }),
  )
})
