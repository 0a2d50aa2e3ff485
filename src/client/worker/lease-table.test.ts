import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LeaseTable } from './lease-table.ts'

test('a lease is due after a third of its time, and again a third after the request that extended it', () => {
  const table = new LeaseTable()
  assert.equal(table.nextDueAt(), undefined)
  table.add('a', 3000, 0)
  assert.equal(table.nextDueAt(), 1000)
  assert.deepEqual(table.due(749, 10), [])
  assert.deepEqual(table.due(1000, 10), [{ leaseMs: 3000, receipts: ['a'] }])
  table.extended('a', 1100)
  assert.equal(table.nextDueAt(), 2100)
})

test('what is nearly due goes along; leases of different lengths go apart; batches have a limit', () => {
  const table = new LeaseTable()
  for (const [receipt, leaseMs, now] of [
    ['a', 1200, 0],
    ['b', 1200, 90],
    ['c', 1200, 200],
    ['d', 600, 150],
  ] as const) {
    table.add(receipt, leaseMs, now)
  }
  assert.deepEqual(table.due(400, 10), [
    { leaseMs: 1200, receipts: ['a', 'b'] },
    { leaseMs: 600, receipts: ['d'] },
  ])
  const batches = (max: number): number[] => table.due(10_000, max).map(({ receipts }) => receipts.length)
  assert.deepEqual(
    [batches(3), batches(2)],
    [
      [3, 1],
      [2, 1, 1],
    ],
  )
})

test('a lease that was removed is not extended, and one that is hastened is due now', () => {
  const table = new LeaseTable()
  table.add('a', 1000, 0)
  table.hasten(5)
  assert.equal(table.nextDueAt(), 5)
  assert.deepEqual([table.remove('a'), table.remove('a')], [true, false])
  table.extended('a', 10)
  assert.deepEqual(table.due(10_000, 10), [])
})
