import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { RetryBudget } from './budget.ts'

/** How many of so many are allowed. */
function taken(budget: RetryBudget, tries: number, now = 0): number {
  let allowed = 0
  for (let n = 0; n < tries; n++) if (budget.take(now)) allowed++
  return allowed
}

test('of a hundred first tries ten may be repeated, and not one more', () => {
  const budget = new RetryBudget({ budget: 0.1, minPerSecond: 0 })
  taken(budget, 1000)
  for (let n = 0; n < 100; n++) budget.first()
  assert.equal(taken(budget, 11), 10)
})

test('some in each second in any case, and not one more', () => {
  const budget = new RetryBudget({ budget: 0, minPerSecond: 3 })
  assert.equal(taken(budget, 4), 3)
  assert.equal(taken(budget, 4, 999), 2)
  assert.equal(taken(budget, 4, 1000), 1)
  assert.equal(taken(budget, 4, 10_000), 3)
})

test('what was earned in quiet times is kept, up to what a thousand tries earn', () => {
  const budget = new RetryBudget({ budget: 0.1, minPerSecond: 0 })
  for (let n = 0; n < 100_000; n++) budget.first()
  assert.equal(taken(budget, 1000), 100)
})

test('nothing is allowed where nothing is', () => {
  const budget = new RetryBudget({ budget: 0, minPerSecond: 0 })
  for (let n = 0; n < 1000; n++) budget.first()
  assert.equal(taken(budget, 10, 1_000_000), 0)
})

test('whatever comes when: never more than the share of first tries, the floor and what was kept', () => {
  const steps = fc.array(fc.record({ afterMs: fc.nat({ max: 500 }), firsts: fc.nat({ max: 30 }), retries: fc.nat({ max: 30 }) }), {
    maxLength: 100,
  })
  const rules = fc.record({ budget: fc.double({ min: 0, max: 1, noNaN: true }), minPerSecond: fc.nat({ max: 10 }) })
  fc.assert(
    fc.property(steps, rules, (list, rule) => {
      const budget = new RetryBudget(rule)
      let [now, firsts, retries] = [0, 0, 0]
      for (const step of list) {
        now += step.afterMs
        firsts += step.firsts
        for (let n = 0; n < step.firsts; n++) budget.first()
        retries += taken(budget, step.retries, now)
        assert.ok(retries <= rule.budget * (1000 + firsts) + rule.minPerSecond * (1 + now / 1000) + 0.01)
      }
    }),
  )
})
