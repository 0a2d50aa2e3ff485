import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { followUpPlan, followUpText } from './follow-up.ts'

test('a plan is a text and comes back from it, and nothing to do is no text', () => {
  const plan = { then: { queue: 'q' }, batch: { index: 3 } }
  assert.deepEqual(followUpPlan(followUpText(plan)), plan)
  assert.equal(followUpText({}), undefined)
  assert.deepEqual(followUpPlan(undefined), {})
})

test('what this version does not know is kept', () => {
  assert.equal(
    followUpText(followUpPlan('{"callback":"https://a.example","then":{"queue":"q"}}')),
    '{"callback":"https://a.example","then":{"queue":"q"}}',
  )
})

test('any text is a plan or plans nothing', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      assert.equal(typeof followUpPlan(text), 'object')
    }),
  )
})
