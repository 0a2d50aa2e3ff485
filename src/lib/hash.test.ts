import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hash32, mix32 } from './hash.ts'

test('what is stored never changes: these hashes are for ever', () => {
  assert.deepEqual(
    ['', 'a', 'account-1', 'é', '💥'].map((text) => hash32(text)),
    [2_872_998_923, 444_641_715, 3_894_197_580, 3_136_788_073, 1_127_607_961],
  )
  assert.deepEqual([0, 1, 0xffffffff].map(mix32), [0, 1_364_076_727, 2_180_083_513])
})

test('a seed gives another hash', () => {
  assert.notEqual(hash32('a', 1), hash32('a', 2))
})
