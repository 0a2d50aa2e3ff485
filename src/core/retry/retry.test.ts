import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import {
  DEFAULT_RETRY,
  type FailedTry,
  mayTryAgain,
  type Mishap,
  mishapOf,
  nextExcluded,
  retryDelayMs,
  type RetryRules,
  triesMax,
} from './retry.ts'

const FAILED: FailedTry = { method: 'GET', mishap: 'reset', responseStarted: false, replayable: true, tries: 1, triesMax: 3 }
const ALL: RetryRules = { connectFailure: true, reset: true, timeout: true, statuses: [429, 503] }

test('by default: connect failures of any method; broken and stale connections and timeouts of what is idempotent; no status', () => {
  const again = (mishap: Mishap, method: string): boolean => mayTryAgain(DEFAULT_RETRY, { ...FAILED, mishap, method })
  const table = (['connect-failure', 'reset', 'stale', 'timeout', { status: 503 }] as const).map((mishap) => [
    again(mishap, 'GET'),
    again(mishap, 'POST'),
  ])
  assert.deepEqual(table, [
    [true, true],
    [true, false],
    [true, false],
    [true, false],
    [false, false],
  ])
})

test('what a failure is: nothing sent, too slow, on a connection that had served, or broken', () => {
  const base = { code: 'connection_reset' as const, sent: true, reused: false }
  assert.equal(mishapOf(base), 'reset')
  assert.equal(mishapOf({ ...base, sent: false }), 'connect-failure')
  assert.equal(mishapOf({ ...base, reused: true }), 'stale')
  assert.equal(mishapOf({ ...base, code: 'first_byte_timeout', reused: true }), 'timeout')
  assert.equal(mishapOf({ ...base, code: 'bad_response' }), 'reset')
})

test('what is named is retried, nothing else; a stale connection always', () => {
  const only = (rules: Partial<RetryRules>, mishap: Mishap): boolean =>
    mayTryAgain({ connectFailure: false, reset: false, timeout: false, statuses: [], ...rules }, { ...FAILED, mishap })
  assert.deepEqual([only({ timeout: true }, 'timeout'), only({ timeout: true }, 'reset')], [true, false])
  assert.deepEqual([only({ statuses: [502] }, { status: 502 }), only({ statuses: [502] }, { status: 503 })], [true, false])
  assert.deepEqual([only({}, 'connect-failure'), only({}, 'stale')], [false, true])
})

test('a method that is not idempotent is sent again after it reached a server only where the route names it, and then only those', () => {
  const again = (method: string, methods?: string[]): boolean =>
    mayTryAgain(methods === undefined ? ALL : { ...ALL, methods }, { ...FAILED, method, mishap: { status: 503 } })
  assert.deepEqual([again('POST'), again('POST', ['POST']), again('GET', ['POST']), again('PATCH', ['POST'])], [false, true, false, false])
})

test('so many tries, and not one more: three, or one for each server, or what the route says', () => {
  const again = (rules: RetryRules, tries: number, servers: number): boolean =>
    mayTryAgain(rules, { ...FAILED, tries, triesMax: triesMax(rules, servers) })
  assert.deepEqual([again(ALL, 2, 1), again(ALL, 3, 1)], [true, false])
  assert.deepEqual([again(ALL, 4, 5), again(ALL, 5, 5)], [true, false])
  assert.deepEqual(
    [again({ ...ALL, tries: 1 }, 1, 5), again({ ...ALL, tries: 7 }, 6, 2), again({ ...ALL, tries: 7 }, 7, 2)],
    [false, true, false],
  )
})

const anyRules = fc.record({
  connectFailure: fc.boolean(),
  reset: fc.boolean(),
  timeout: fc.boolean(),
  statuses: fc.subarray([429, 500, 502, 503]),
})
const anyMishap: fc.Arbitrary<Mishap> = fc.oneof(
  fc.constantFrom('connect-failure' as const, 'reset' as const, 'timeout' as const, 'stale' as const),
  fc.record({ status: fc.constantFrom(429, 500, 502, 503) }),
)
const anyFailed = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PATCH', 'DELETE', 'BREW'),
  mishap: anyMishap,
  responseStarted: fc.boolean(),
  replayable: fc.boolean(),
  tries: fc.integer({ min: 1, max: 5 }),
  triesMax: fc.integer({ min: 1, max: 5 }),
})

test('whatever the rules: never after an answer began, never without the body, never too often, never what reached a server and may not be done twice', () => {
  fc.assert(
    fc.property(anyRules, anyFailed, (rules, failed) => {
      if (!mayTryAgain(rules, failed)) return
      assert.ok(!failed.responseStarted && failed.replayable && failed.tries < failed.triesMax)
      assert.ok(failed.mishap === 'connect-failure' || ['GET', 'DELETE'].includes(failed.method))
    }),
  )
})

test('full jitter: from nothing to base, doubled with each try, to at most max', () => {
  const backoff = { baseMs: 25, maxMs: 250 }
  const longest = [1, 2, 3, 4, 5, 1000].map((tries) => retryDelayMs(backoff, tries, 1))
  assert.deepEqual(longest, [25, 50, 100, 200, 250, 250])
  assert.equal(retryDelayMs(backoff, 3, 0), 0)
  fc.assert(
    fc.property(
      fc.nat({ max: 1000 }),
      fc.nat({ max: 60_000 }),
      fc.nat({ max: 2000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (baseMs, maxMs, tries, unit) => {
        const delay = retryDelayMs({ baseMs, maxMs }, tries, unit)
        assert.ok(delay >= 0 && delay <= maxMs && (delay < maxMs || maxMs === 0))
      },
    ),
  )
})

test('never the same server twice while another one is left, nor twice in a row while there is another one', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.nat({ max: 4 }), { maxLength: 20 }), (servers, picks) => {
      const all = Array.from({ length: servers }, (_, n) => n)
      let tried: ReadonlySet<number> = new Set()
      const went: number[] = []
      for (const pick of picks) {
        const last = went.at(-1)
        if (last !== undefined) tried = nextExcluded(tried, last, all)
        const left = all.filter((server) => !tried.has(server))
        assert.ok(left.length > 0, 'there is always somebody to go to')
        const next = left[pick % left.length] as number
        if (servers > 1) assert.notEqual(next, last)
        went.push(next)
        tried = new Set([...tried, next])
        assert.ok(new Set(went.slice(0, servers)).size === Math.min(went.length, servers), 'each of them once, before any of them twice')
      }
    }),
  )
})

test('a server that cannot be used is not one that is left', () => {
  assert.deepEqual([...nextExcluded(new Set(['a']), 'a', ['a'])], [])
  assert.deepEqual([...nextExcluded(new Set(['a', 'b']), 'a', ['a', 'b'])], ['a'])
  assert.deepEqual([...nextExcluded(new Set(['a', 'b']), 'a', ['a', 'b', 'c'])], ['a', 'b'])
  assert.deepEqual([...nextExcluded(new Set(['a', 'b']), 'a', [])], [])
})
