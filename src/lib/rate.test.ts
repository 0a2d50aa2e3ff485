import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRate } from './rate.ts'

test('a rate is a count and a time, of which a unit alone is one', () => {
  assert.deepEqual(parseRate('100/s'), { count: 100, perMs: 1000 })
  assert.deepEqual(parseRate('10/1m'), { count: 10, perMs: 60_000 })
  assert.deepEqual(parseRate('5000/1h'), { count: 5000, perMs: 3_600_000 })
  assert.deepEqual(parseRate('1/500ms'), { count: 1, perMs: 500 })
  assert.deepEqual(parseRate('3/d'), { count: 3, perMs: 86_400_000 })
})

test('the largest count is a thousand millions, the longest time 366 days', () => {
  assert.deepEqual(parseRate('1000000000/366d'), { count: 1_000_000_000, perMs: 366 * 86_400_000 })
  assert.equal(parseRate('1000000001/s'), undefined)
  assert.equal(parseRate('1/367d'), undefined)
})

test('anything else is none', () => {
  for (const text of ['', '100', '0/s', '1/0s', '-1/s', '1.5/s', '1/ s', '1 / s', '1/w', '/s', '1/s/s', '12345678901/s']) {
    assert.equal(parseRate(text), undefined, text)
  }
})
