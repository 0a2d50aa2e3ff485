import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { fillMaxOf } from './shedding.ts'

test('a little over the threshold only the lowest go, near the limit all but the highest', () => {
  const shedAt = (fill: number): number[] => Array.from({ length: 10 }, (_, p) => p).filter((p) => fill > fillMaxOf(p, 0.5))
  assert.deepEqual(shedAt(0.5), [])
  assert.deepEqual(shedAt(0.5 + 0.5 * 0.35), [])
  assert.deepEqual(shedAt(0.5 + 0.5 * 0.5), [0])
  assert.deepEqual(shedAt(0.5 + 0.5 * 0.8), [0, 1, 2, 3, 4])
  assert.deepEqual(shedAt(0.5 + 0.5 * 0.95), [0, 1, 2, 3, 4, 5, 6, 7])
  assert.deepEqual(shedAt(1), [0, 1, 2, 3, 4, 5, 6, 7, 8])
})

test('whatever the threshold: between it and full, more for each priority, all of it for the highest', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 8 }), (from, priority) => {
      const [low, high] = [fillMaxOf(priority, from), fillMaxOf(priority + 1, from)]
      assert.ok(low >= from && high <= 1 && (low < high || from > 0.999), `${low} ${high}`)
      assert.equal(fillMaxOf(9, from), 1)
    }),
  )
})
