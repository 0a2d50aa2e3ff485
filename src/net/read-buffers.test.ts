/** Buffers for reads are used again, up to a limit. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { READ_BYTES, ReadBuffers } from './read-buffers.ts'

test('a buffer that was given back is taken again, each by one at a time', () => {
  const buffers = new ReadBuffers()
  const [first, second] = [buffers.take(), buffers.take()]
  assert.equal(first.length, READ_BYTES)
  assert.notEqual(first.buffer, second.buffer)
  buffers.give(first)
  buffers.give(second)
  assert.deepEqual(new Set([buffers.take(), buffers.take()]), new Set([first, second]))
  assert.notEqual(buffers.take(), first)
})

test('64 are kept; the memory of the next one goes back at once', () => {
  const buffers = new ReadBuffers()
  const taken = Array.from({ length: 65 }, () => buffers.take())
  for (const buffer of taken) buffers.give(buffer)
  assert.equal(taken.filter(({ length }) => length === READ_BYTES).length, 64)
  assert.equal(taken[64]?.length, 0)
})
