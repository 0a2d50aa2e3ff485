import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { formatOffset, parseOffset } from './answer-offset.ts'

test('an offset is read as it was written', () => {
  const offset = fc.record({ answer: fc.integer({ min: 1, max: 999_999_999 }), bytes: fc.integer({ min: 0, max: 2 ** 49 }) })
  fc.assert(fc.property(offset, (one) => assert.deepEqual(parseOffset(formatOffset(one)), { ...one })))
  assert.deepEqual(parseOffset(formatOffset({ answer: 0, bytes: 0 })), { answer: 0, bytes: 0 })
})

test('whatever else it is, it is none, or the only text of its place', () => {
  const near = fc.stringMatching(/^[0-9a-z -]{0,12}$/)
  fc.assert(
    fc.property(fc.oneof(fc.string(), near), (text) => {
      const offset = parseOffset(text)
      if (offset !== undefined) assert.equal(formatOffset(offset), text)
    }),
  )
})

test('bytes without their answer are no offset, but for the beginning', () => {
  for (const text of ['1', '1024', '00', '0-0', '0-5', '-1', '1-', '1--1', '1-01', '01-1', '1-1 ', '1-1.5', '1-1e3', 'end-4', '']) {
    assert.equal(parseOffset(text), undefined, text)
  }
})
