import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { Ascending } from './ascending.ts'

const operations = fc.array(fc.tuple(fc.constantFrom('add', 'add', 'delete', 'take'), fc.integer({ min: 1, max: 60 })), { maxLength: 300 })

test('whatever comes and goes: the same as a list that is sorted each time', () => {
  fc.assert(
    fc.property(operations, (list) => {
      const numbers = new Ascending(30)
      let model = [30]
      for (const [what, value] of list) {
        if (what === 'add' && !model.includes(value)) {
          numbers.add(value)
          model = [...model, value].toSorted((a, b) => a - b)
        }
        const gone = what === 'delete' ? value : what === 'take' ? model[0] : undefined
        if (gone !== undefined) {
          assert.equal(numbers.delete(gone), model.includes(gone))
          model = model.filter((each) => each !== gone)
        }
        assert.equal(numbers.first, model[0])
        assert.equal(
          numbers.firstFrom(value),
          model.find((each) => each >= value),
        )
      }
    }),
  )
})

test('it holds over the moves of a long list', () => {
  const numbers = new Ascending(0)
  for (let n = 1; n < 10_000; n++) numbers.add(n)
  for (let n = 0; n < 10_000; n++) {
    assert.equal(numbers.first, n)
    assert.equal(numbers.firstFrom(n + 1), n === 9999 ? undefined : n + 1)
    assert.ok(numbers.delete(n))
  }
  assert.equal(numbers.first, undefined)
  numbers.add(7)
  assert.equal(numbers.first, 7)
})
