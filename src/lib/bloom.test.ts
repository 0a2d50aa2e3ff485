import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { Bloom } from './bloom.ts'

function hashes(text: string): readonly [number, number] {
  const digest = createHash('sha256').update(text).digest()
  return [digest.readUInt32LE(0), digest.readUInt32LE(4)]
}

test('what was added is never denied, what was not hardly ever claimed, however many there are', () => {
  for (const count of [0, 1, 256, 257, 5000, 100_000]) {
    const bloom = new Bloom()
    for (let n = 0; n < count; n++) bloom.add(...hashes(`in ${n}`))
    for (let n = 0; n < count; n += 7) assert.ok(bloom.mayHave(...hashes(`in ${n}`)))
    let wrong = 0
    for (let n = 0; n < 10_000; n++) if (bloom.mayHave(...hashes(`out ${n}`))) wrong += 1
    assert.ok(wrong < 100, `${wrong} of 10000 with ${count} added`)
  }
})
