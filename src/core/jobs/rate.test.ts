import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { refilled, taken, type TokenBucket, waitFor } from './rate.ts'

test('over any span no more pass than the count and what the span brings, and who waits as told passes', () => {
  const rates = fc.record({ count: fc.integer({ min: 1, max: 50 }), perMs: fc.integer({ min: 1, max: 100_000 }) })
  fc.assert(
    fc.property(rates, fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 200 }), (rate, pauses) => {
      let bucket: TokenBucket | undefined
      let now = 0
      const passes: number[] = []
      for (const pause of pauses) {
        now += pause
        bucket = refilled(bucket, rate, now)
        const waitMs = waitFor(bucket, rate)
        if (waitMs > 0) {
          assert.equal(waitFor(refilled(bucket, rate, now + waitMs), rate), 0, 'the wait is long enough')
          if (waitMs > 1) assert.ok(waitFor(refilled(bucket, rate, now + waitMs - 2), rate) > 0, 'and no longer than needed')
          continue
        }
        bucket = taken(bucket)
        passes.push(now)
      }
      for (let from = 0; from < passes.length; from++) {
        for (let to = from; to < passes.length; to++) {
          const span = (passes[to] as number) - (passes[from] as number)
          assert.ok(to - from + 1 <= rate.count + (span * rate.count) / rate.perMs + 1e-6, `${to - from + 1} in ${span} ms`)
        }
      }
    }),
  )
})

test('a clock that goes back brings no tokens', () => {
  const rate = { count: 2, perMs: 1000 }
  const empty = taken(taken(refilled(undefined, rate, 5000)))
  assert.equal(refilled(empty, rate, 1000).tokens, 0)
})
