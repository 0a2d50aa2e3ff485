import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { backoffDelayMs } from './backoff.ts'

test('the delay doubles with each failure up to the maximum', () => {
  const backoff = { baseMs: 1000, maxMs: 10_000 }
  const nominal = [1, 2, 3, 4, 5, 6].map((failures) => backoffDelayMs(backoff, failures, 0) * 2)
  assert.deepEqual(nominal, [1000, 2000, 4000, 8000, 10_000, 10_000])
})

test('the delay is always between half of the nominal one and the whole', () => {
  const millis = fc.integer({ min: 0, max: 1_000_000_000 })
  fc.assert(
    fc.property(
      millis,
      millis,
      fc.integer({ min: 1, max: 5000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (baseMs, maxMs, failures, unit) => {
        const delay = backoffDelayMs({ baseMs, maxMs }, failures, unit)
        const nominal = baseMs === 0 ? 0 : Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 60))
        assert.ok(Number.isInteger(delay) && delay >= nominal / 2 && delay <= Math.ceil(nominal), `${delay} for nominal ${nominal}`)
      },
    ),
  )
})
