import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSize } from './size.ts'

test('a size is one number and one binary unit', () => {
  assert.deepEqual(['0B', '7B', '64KiB', '1MiB', '10GiB', '8388607GiB'].map(parseSize), [
    0,
    7,
    65_536,
    1_048_576,
    10_737_418_240,
    8388607 * 1024 ** 3,
  ])
})

test('anything else is none', () => {
  for (const text of ['', '1', '1KB', '1MB', '1kib', '1.5MiB', '-1B', '1 MiB', '9999999999B', '8388608GiB']) {
    assert.equal(parseSize(text), undefined, text)
  }
})
