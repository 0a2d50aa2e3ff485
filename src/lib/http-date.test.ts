import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { parseHttpDate } from './http-date.ts'

const NOW = Date.UTC(2026, 0, 1)

test('the three formats of the RFC mean the same second', () => {
  const expected = Date.UTC(1994, 10, 6, 8, 49, 37)
  assert.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT', NOW), expected)
  assert.equal(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT', NOW), expected)
  assert.equal(parseHttpDate('Sun Nov  6 08:49:37 1994', NOW), expected)
})

test('a two-digit year is at most 50 years ahead', () => {
  assert.equal(parseHttpDate('Sunday, 06-Nov-76 00:00:00 GMT', NOW), Date.UTC(2076, 10, 6))
  assert.equal(parseHttpDate('Sunday, 06-Nov-77 00:00:00 GMT', NOW), Date.UTC(1977, 10, 6))
})

test('what is no HTTP date is refused', () => {
  for (const text of ['', '30', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Foo 1994 08:49:37 GMT', 'Sun, 32 Nov 1994 08:49:37 GMT']) {
    assert.equal(parseHttpDate(text, NOW), undefined, text)
  }
  for (const text of ['Sun, 06 anF 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 24:00:00 GMT', '1994-11-06T08:49:37Z']) {
    assert.equal(parseHttpDate(text, NOW), undefined, text)
  }
})

test('every date that toUTCString writes is read back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), (seconds) => {
      assert.equal(parseHttpDate(new Date(seconds * 1000).toUTCString(), NOW), seconds * 1000)
    }),
  )
})
