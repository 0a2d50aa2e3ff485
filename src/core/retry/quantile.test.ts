import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { Quantile, SAMPLES_MIN } from './quantile.ts'

test('nothing is said of fewer than fifty', () => {
  const quantile = new Quantile(0.95)
  for (let n = 1; n < SAMPLES_MIN; n++) quantile.took(10)
  assert.equal(quantile.ms, undefined)
  quantile.took(10)
  assert.equal(quantile.ms, 10)
})

test('of five hundred between 1 and 500: 95 of 100 stay below', () => {
  const quantile = new Quantile(0.95)
  for (let n = 0; n < 500; n++) quantile.took(((n * 7) % 500) + 1)
  assert.equal(quantile.ms, 475)
})

test('what is older than the last five hundred is forgotten', () => {
  const quantile = new Quantile(0.5)
  for (let n = 0; n < 500; n++) quantile.took(1000)
  for (let n = 0; n < 500; n++) quantile.took(10)
  assert.equal(quantile.ms, 10)
})

test('giving up what takes longer does not make it smaller: no more than its share is ever slow', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 600, maxLength: 3000 }), (times) => {
      const quantile = new Quantile(0.9)
      let slow = 0
      let judged = 0
      for (const [n, ms] of times.entries()) {
        const after = quantile.ms ?? Number.POSITIVE_INFINITY
        // Who is slow is given up soon after that.
        quantile.took(Math.min(ms, after + 1))
        if (n < 500) continue
        judged++
        if (ms > after) slow++
      }
      assert.ok(slow <= judged * 0.1 + 5 * Math.sqrt(judged) + 5, `${slow} of ${judged}`)
    }),
  )
})
