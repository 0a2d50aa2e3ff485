import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { GradientLimit } from './gradient-limit.ts'

/** A server that works on so many requests at a time, each of which takes so long; the others wait in it. */
interface Server {
  readonly slots: number
  readonly workMs: number
}

interface Second {
  readonly done: number
  readonly limit: number
  /** The least there was within it. */
  readonly limitMin: number
}

/** Requests come evenly, `perMs` of them; those over the limit are refused. What happened in each second. */
function run(limit: GradientLimit, untilMs: number, perMs: number, serverAt: (now: number) => Server): Second[] {
  const seconds: Second[] = []
  const waiting: number[] = []
  let working: { readonly endsAt: number; readonly cameAt: number }[] = []
  let [owed, done, limitMin] = [0, 0, Number.POSITIVE_INFINITY]
  for (let now = 0; now < untilMs; now++) {
    const { slots, workMs } = serverAt(now)
    for (const { cameAt } of working.filter(({ endsAt }) => endsAt <= now)) {
      done++
      limit.answered(now - cameAt, working.length + waiting.length, now)
    }
    working = working.filter(({ endsAt }) => endsAt > now)
    for (owed += perMs; owed >= 1; owed--) if (working.length + waiting.length < limit.limit) waiting.push(now)
    while (working.length < slots && waiting.length > 0) working.push({ endsAt: now + workMs, cameAt: waiting.shift() as number })
    limitMin = Math.min(limitMin, limit.limit)
    if (now % 1000 !== 999) continue
    seconds.push({ done, limit: limit.limit, limitMin })
    done = 0
    limitMin = Number.POSITIVE_INFINITY
  }
  return seconds
}

const BOUNDS = { min: 4, max: 1000 }

test('at three times what a server bears it keeps it busy, and does not let its queue grow', () => {
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 60 }), fc.integer({ min: 5, max: 100 }), (slots, workMs) => {
      const capacity = slots / workMs
      const seconds = run(new GradientLimit(BOUNDS), 120_000, 3 * capacity, () => ({ slots, workMs }))
      for (const { done, limit } of seconds.slice(10)) {
        assert.ok(done >= 0.85 * capacity * 1000, `${done} done in a second, of ${capacity * 1000}`)
        assert.ok(limit <= 3 * slots + 8, `a limit of ${limit} for ${slots}`)
      }
    }),
    { numRuns: 15 },
  )
})

test('when it measures anew, no more is refused than before', () => {
  const seconds = run(new GradientLimit(BOUNDS), 120_000, 3, () => ({ slots: 20, workMs: 20 })).slice(10)
  assert.ok(
    seconds.some(({ limit, limitMin }) => limitMin <= 0.75 * limit),
    'it has measured',
  )
  for (const { done, limitMin } of seconds) assert.ok(done >= 900 && limitMin >= 16, `${done} of 1000 with a limit of ${limitMin}`)
})

test('a server that becomes ten times slower gets less, and more again when it is well', () => {
  const serverAt = (now: number): Server => ({ slots: now >= 20_000 && now < 60_000 ? 2 : 20, workMs: 20 })
  const seconds = run(new GradientLimit(BOUNDS), 100_000, 3, serverAt)
  assert.ok((seconds[19]?.limit ?? 0) >= 20)
  assert.ok((seconds[30]?.limit ?? 99) <= 8, `${seconds[30]?.limit} ten seconds later`)
  assert.ok((seconds[70]?.limit ?? 0) >= 20, `${seconds[70]?.limit} ten seconds after it is well`)
})

test('a server that really takes longer now is not held down for ever', () => {
  const seconds = run(new GradientLimit(BOUNDS), 120_000, 3, (now) => ({ slots: 20, workMs: now < 20_000 ? 20 : 60 }))
  assert.ok((seconds.at(-1)?.done ?? 0) >= 0.85 * (20 / 60) * 1000, `${seconds.at(-1)?.done} done in the last second`)
})

test('a limit that nobody comes near to does not grow', () => {
  const [last] = run(new GradientLimit(BOUNDS), 60_000, 0.1, () => ({ slots: 1000, workMs: 20 })).slice(-1)
  assert.ok((last?.limit ?? 99) <= 6, `${last?.limit} for two at a time`)
})

test('it stays within its bounds', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 0, max: 50 }),
      fc.array(fc.nat({ max: 5_000 }), { maxLength: 300 }),
      (min, more, times) => {
        const limit = new GradientLimit({ min, max: min + more })
        for (const [n, ms] of times.entries()) {
          limit.answered(ms, limit.limit, n * 50)
          assert.ok(limit.limit >= min && limit.limit <= min + more)
        }
      },
    ),
  )
})
