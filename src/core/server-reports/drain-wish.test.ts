import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { type DrainWish, isOver, mayWish, WISH_PAUSE_MS, wishAfter, wishAfterSilence } from './drain-wish.ts'

const RULES = { maxMs: 1000 }

function wish(report: 'now' | number, at = 0): DrainWish {
  return wishAfter(report, at, RULES) as DrainWish
}

test('now: a check that began after it was heard and does not repeat it ends it; one that began before could not know', () => {
  assert.equal(wishAfterSilence(wish('now', 500), 500), undefined)
  assert.notEqual(wishAfterSilence(wish('now', 500), 499), undefined)
})

test('a duration holds whatever checks leave out, and ends when it is over', () => {
  const asked = wish(300)
  assert.equal(wishAfterSilence(asked, 100), asked)
  assert.deepEqual([isOver(asked, 299), isOver(asked, 300)], [false, true])
})

test('the next wish counts a second after the last one was over', () => {
  assert.deepEqual(
    [mayWish(5, 4 + WISH_PAUSE_MS), mayWish(5, 5 + WISH_PAUSE_MS), mayWish(Number.NEGATIVE_INFINITY, 0)],
    [false, true, true],
  )
})

test('off ends it', () => assert.equal(wishAfter('off', 0, RULES), undefined))

test('whatever is asked for, it is over when it was not repeated for the longest time that there may be', () => {
  fc.assert(
    fc.property(fc.oneof(fc.constant('now' as const), fc.integer({ min: 1, max: 1e12 })), fc.nat(), (report, at) => {
      const asked = wish(report, at)
      assert.ok(!isOver(asked, at))
      assert.ok(isOver(asked, at + RULES.maxMs))
      assert.ok(report === 'now' || report > 999 || isOver(asked, at + report))
    }),
  )
})
