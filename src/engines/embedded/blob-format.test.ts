import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { BLOCK_BYTES, blockBytes, isSound, openBlock, sealBlock, STORED_BLOCK_BYTES, storedBytes } from './blob-format.ts'

const KEY = Buffer.alloc(32, 'k')

test('a block is read as it was written, in its place only', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 500 }), fc.nat({ max: 2 ** 31 }), (plain, index) => {
      const stored = sealBlock(KEY, 'a.stream', index, plain)
      assert.equal(stored.length, storedBytes(plain.length))
      assert.ok(openBlock(KEY, 'a.stream', index, stored)?.equals(plain))
      assert.ok(isSound('a.stream', index, stored))
      assert.equal(openBlock(KEY, 'a.stream', index + 1, stored), undefined, 'another place')
      assert.equal(openBlock(KEY, 'b.stream', index, stored), undefined, 'another file')
      assert.equal(openBlock(Buffer.alloc(32, 'x'), 'a.stream', index, stored), undefined, 'another key')
    }),
  )
})

test('no flipped bit and no truncation gives other bytes', () => {
  const stored = sealBlock(KEY, 'a.stream', 0, Buffer.from('all of it, or nothing'))
  for (let bit = 0; bit < stored.length * 8; bit++) {
    const flipped = Buffer.from(stored)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    assert.equal(openBlock(KEY, 'a.stream', 0, flipped), undefined, `bit ${bit}`)
    assert.equal(isSound('a.stream', 0, flipped), false, `bit ${bit}, without the key`)
  }
  for (let length = 0; length < stored.length; length++) assert.equal(openBlock(KEY, 'a.stream', 0, stored.subarray(0, length)), undefined)
})

test('the size of a file follows from the number of bytes, at a block and one more', () => {
  assert.deepEqual([0, 1, BLOCK_BYTES, BLOCK_BYTES + 1].map(storedBytes), [0, 21, STORED_BLOCK_BYTES, STORED_BLOCK_BYTES + 21])
  assert.deepEqual([blockBytes(0, 5), blockBytes(0, BLOCK_BYTES + 5), blockBytes(1, BLOCK_BYTES + 5)], [5, BLOCK_BYTES, 5])
})
