import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { OrderedSet } from './ordered-set.ts'

const operations = fc.array(fc.tuple(fc.constantFrom('add', 'delete', 'take'), fc.nat(30), fc.nat(50)), { maxLength: 400 })

test('the first is always the one of lowest rank, then of lowest value', () => {
  fc.assert(
    fc.property(operations, (list) => {
      const set = new OrderedSet()
      const model = new Map<number, number>()
      for (const [kind, value, rank] of list) {
        if (kind === 'add') {
          set.add(value, rank)
          model.set(value, rank)
        } else if (kind === 'delete') assert.equal(set.delete(value), model.delete(value))
        else {
          const first = set.first()
          if (first !== undefined) set.delete(first)
          if (first !== undefined) model.delete(first)
        }
        const expected = [...model].sort(([a, rankA], [b, rankB]) => rankA - rankB || a - b)[0]
        assert.deepEqual([set.first(), set.firstRank(), set.size], [expected?.[0], expected?.[1], model.size])
      }
      assert.deepEqual(new Set(set.values()), new Set(model.keys()))
    }),
  )
})

test('what was removed takes no more room than what is there', () => {
  const set = new OrderedSet()
  for (let round = 0; round < 100_000; round++) {
    set.add(1, round)
    set.add(2 + round, -round)
    set.delete(2 + round)
  }
  assert.equal(set.first(), 1)
  assert.equal(set.size, 1)
})
