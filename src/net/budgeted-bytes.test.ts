import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BufferBudget } from './buffer-budget.ts'
import { BudgetedBytes } from './budgeted-bytes.ts'

test('as much as the budget holds is taken, one byte more waits until there is room', () => {
  const budget = new BufferBudget(10)
  const other = new BudgetedBytes(budget, () => assert.fail('it never waited'))
  assert.equal(other.add(new Uint8Array(4)), true)
  let room = 0
  const bytes = new BudgetedBytes(budget, () => room++)
  assert.equal(bytes.add(new Uint8Array(6)), true)
  assert.equal(bytes.add(new Uint8Array([7])), false)
  assert.deepEqual([bytes.waiting, budget.used, room], [true, 10, 0])
  other.free()
  assert.deepEqual([bytes.waiting, budget.used, room], [false, 7, 1])
  assert.deepEqual(Buffer.from(bytes.joined()), Buffer.from([0, 0, 0, 0, 0, 0, 7]))
})

test('what comes while it waits counts before it goes on', () => {
  const budget = new BufferBudget(10)
  const other = new BudgetedBytes(budget, () => undefined)
  other.add(new Uint8Array(8))
  let room = 0
  const bytes = new BudgetedBytes(budget, () => room++)
  for (let i = 0; i < 3; i++) assert.equal(bytes.add(new Uint8Array(3)), false)
  other.free()
  assert.deepEqual([bytes.length, budget.used, room, bytes.waiting], [9, 9, 1, false])
})

test('who waits is served in order, and who gives up leaves the line', () => {
  const budget = new BufferBudget(10)
  const first = new BudgetedBytes(budget, () => undefined)
  first.add(new Uint8Array(10))
  const served: number[] = []
  const line = [0, 1, 2].map((i) => new BudgetedBytes(budget, () => served.push(i)))
  for (const each of line) each.add(new Uint8Array(5))
  line[0]?.free()
  first.free()
  assert.deepEqual([served, budget.used], [[1, 2], 10])
})

test('whatever is added and freed: the budget is never exceeded, and in the end nothing is taken and nobody waits', () => {
  const step = fc.record({ who: fc.nat(4), bytes: fc.integer({ min: 1, max: 60 }), free: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const budget = new BufferBudget(100)
      const all = Array.from({ length: 5 }, () => new BudgetedBytes(budget, () => undefined))
      for (const { who, bytes, free } of steps) {
        if (free) all[who]?.free()
        else all[who]?.add(new Uint8Array(bytes))
        assert.ok(budget.used >= 0 && budget.used <= 100)
      }
      for (const each of all) each.free()
      assert.equal(budget.used, 0)
      assert.ok(all.every(({ waiting }) => !waiting))
    }),
  )
})
