import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { formatJobId, nextSequence, parseJobId } from './job-id.ts'

const sequences = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })

test('an id is read back as the number that it was written from', () => {
  fc.assert(fc.property(sequences, (sequence) => assert.equal(parseJobId(formatJobId(sequence)), sequence)))
})

test('ids sort as texts as they do as numbers', () => {
  fc.assert(fc.property(sequences, sequences, (a, b) => assert.equal(formatJobId(a) < formatJobId(b), a < b)))
})

test('every other text is no id', () => {
  const id = formatJobId(375_000_000_000_000)
  const others = [
    '',
    id.slice(1),
    `${id}0`,
    `0${id}`,
    id.toUpperCase(),
    ` ${id}`,
    'i'.repeat(11),
    'u'.repeat(11),
    '00000000000',
    'zzzzzzzzzzz',
    '-0000000001',
  ]
  for (const text of others) assert.equal(parseJobId(text), undefined, text)
  fc.assert(fc.property(fc.string(), (text) => assert.ok(parseJobId(text) === undefined || formatJobId(parseJobId(text) ?? 0) === text)))
})

test('the sequence follows the clock, and grows whatever the clock does', () => {
  const now = Date.UTC(2026, 10, 21)
  const first = nextSequence(0, now)
  assert.equal(first, (now - Date.UTC(2024, 0, 1)) * 4096)
  assert.equal(nextSequence(first, now), first + 1)
  assert.equal(nextSequence(first, now - 3_600_000), first + 1)
  assert.equal(nextSequence(first, now + 1), first + 4096)
  assert.equal(nextSequence(first, now + 0.7), first + 1, 'a fraction of a millisecond is nothing')
  assert.ok(Number.isSafeInteger(nextSequence(0, Date.UTC(2093, 0, 1))))
})
