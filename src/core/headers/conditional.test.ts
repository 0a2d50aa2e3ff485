import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasAlready, rangeOf, rangeStillHolds, tagsOf } from './conditional.ts'

test('a tag is found in a list, in several fields, weak or strong, with commas in it', () => {
  for (const [fields, tag, has] of [
    [['"a"'], '"a"', true],
    [['W/"a"'], '"a"', true],
    [['"a"'], 'W/"a"', true],
    [['"b", "a"'], '"a"', true],
    [['"b"', ' "c" ,W/"a" '], '"a"', true],
    [['"x,y"'], '"x,y"', true],
    [['"x,y"'], '"x"', false],
    [['*'], '"a"', true],
    [[], '"a"', false],
    [['a'], '"a"', false],
    [['"b"; "a"'], '"a"', false],
    [['w/"a"'], '"a"', false],
  ] as const) {
    assert.equal(hasAlready(fields, tag), has, `${fields.join(' | ')} ${tag}`)
  }
  const many = Array.from({ length: 65 }, (_, n) => `"${n}"`)
  assert.deepEqual([tagsOf(many.join()).length, hasAlready(many, '"63"'), hasAlready(many, '"64"')], [64, true, false])
})

test('a part fits only by a strong tag, or the very date', () => {
  const known = { tag: '"a"', modified: 'Sat, 01 Jan 2028 00:00:00 GMT' }
  for (const [ifRange, holds] of [
    [undefined, true],
    ['"a"', true],
    ['"b"', false],
    ['W/"a"', false],
    ['Sat, 01 Jan 2028 00:00:00 GMT', true],
    ['Sat, 01 Jan 2028 00:00:01 GMT', false],
  ] as const) {
    assert.equal(rangeStillHolds(ifRange, known), holds, String(ifRange))
  }
  assert.deepEqual(
    [rangeStillHolds('"a"', {}), rangeStillHolds('x', {}), rangeStillHolds('W/"a"', { tag: 'W/"a"' })],
    [false, false, false],
  )
})

test('one range of bytes, from the front, from the end, and to the end', () => {
  for (const [range, result] of [
    ['bytes=0-0', { first: 0, last: 0 }],
    ['bytes=2-5', { first: 2, last: 5 }],
    ['bytes=2-', { first: 2, last: 9 }],
    ['bytes=2-99', { first: 2, last: 9 }],
    ['bytes=9-', { first: 9, last: 9 }],
    ['bytes=10-', 'outside'],
    ['bytes=-3', { first: 7, last: 9 }],
    ['bytes=-99', { first: 0, last: 9 }],
    ['bytes=-0', 'outside'],
    ['Bytes= 1-2 ', { first: 1, last: 2 }],
    ['bytes=5-2', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,3-4', undefined],
    ['lines=0-1', undefined],
    ['bytes=0-1x', undefined],
    ['bytes=9999999999999999-', undefined],
    ['', undefined],
  ] as const) {
    assert.deepEqual(rangeOf(range, 10), result, range)
  }
  assert.deepEqual([rangeOf('bytes=0-', 0), rangeOf('bytes=-1', 0)], ['outside', 'outside'])
})

test('whatever is asked for, a range lies within, and nothing is thrown', () => {
  const some = fc.oneof(fc.string(), fc.stringMatching(/^bytes=\d{0,6}-\d{0,6}$/))
  fc.assert(
    fc.property(some, fc.nat(2000), (text, bytes) => {
      const range = rangeOf(text, bytes)
      if (range === undefined || range === 'outside') return
      assert.ok(range.first >= 0 && range.first <= range.last && range.last < bytes)
    }),
  )
  fc.assert(fc.property(fc.string(), fc.string(), (text, tag) => typeof hasAlready([text], tag) === 'boolean'))
})
