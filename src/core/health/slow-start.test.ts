import assert from 'node:assert/strict'
import { test } from 'node:test'
import { slowStartShare } from './slow-start.ts'

test('it rises evenly from a tenth to the whole', () => {
  assert.deepEqual(
    [0, 500, 1000, 2500, 5000, 9999, 10_000, 60_000].map((upFor) => slowStartShare(upFor, 10_000)),
    [0.1, 0.1, 0.1, 0.25, 0.5, 0.9999, 1, 1],
  )
})

test('without slow start everybody begins with the whole', () => {
  assert.equal(slowStartShare(0, 0), 1)
})
