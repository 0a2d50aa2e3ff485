import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { decideDelivery, type DeliveryEnd, type DeliveryVerdict, OVERLOAD_PAUSE_MS } from './verdict.ts'

const RETRIES = [5, 300, 1800, 7200, 18_000, 36_000, 36_000].map((seconds) => seconds * 1000)
const NOW = Date.UTC(2030, 0, 1)

function decide(end: DeliveryEnd, attempt = 1, unit = 0.5): DeliveryVerdict {
  return decideDelivery(end, { attempt, retriesMs: RETRIES, now: NOW, unit })
}
const answer = (status: number, retryAfter?: string): DeliveryEnd => ({ kind: 'answer', status, retryAfter })
const pause = (verdict: DeliveryVerdict): number => (verdict.kind === 'retry' ? verdict.afterMs : Number.NaN)

test('2xx is taken, 410 wants nothing more, everything else is a failure: also a redirect', () => {
  for (let status = 200; status < 600; status++) {
    const expected = status < 300 ? 'succeed' : status === 410 ? 'gone' : 'retry'
    assert.equal(decide(answer(status)).kind, expected, String(status))
  }
})

test('the pauses are those of the schedule, a fifth more or less, and the last one goes on', () => {
  for (const [i, pauseMs] of [...RETRIES, 36_000_000, 36_000_000].entries()) {
    assert.equal(pause(decide(answer(500), i + 1)), pauseMs)
    assert.equal(pause(decide(answer(500), i + 1, 0)), pauseMs * 0.8)
    assert.ok(pause(decide(answer(500), i + 1, 0.999)) < pauseMs * 1.2)
  }
})

test('who is overloaded, or does not answer in time, is left alone for a minute', () => {
  const timeout = (code: 'attempt_timeout' | 'connect_timeout'): DeliveryEnd => ({ kind: 'failed', code, detail: '' })
  for (const end of [answer(429), timeout('attempt_timeout'), timeout('connect_timeout')]) {
    for (const unit of [0, 0.5, 0.99]) assert.ok(pause(decide(end, 1, unit)) >= OVERLOAD_PAUSE_MS)
    assert.equal(pause(decide(end, 2)), 300_000)
  }
  assert.equal(pause(decide({ kind: 'failed', code: 'connect_failed', detail: '' })), 5000)
})

test('Retry-After counts between the pause that is due and twice that', () => {
  assert.equal(pause(decide(answer(503, '7'))), 7000)
  assert.equal(pause(decide(answer(503, '1'))), 5000)
  assert.equal(pause(decide(answer(503, '3600'))), 10_000)
  assert.equal(pause(decide(answer(429, '90'))), 90_000)
  assert.equal(pause(decide(answer(429, '600'))), 120_000)
  assert.equal(pause(decide(answer(503, new Date(NOW + 8000).toUTCString()))), 8000)
  assert.equal(pause(decide(answer(503, 'soon'))), 5000)
  assert.equal(pause(decide(answer(503, '80000'), 5)), 36_000_000)
})

test('a gateway that stops has not made an attempt', () => {
  assert.deepEqual(decide({ kind: 'failed', code: 'shutting_down', detail: '' }), { kind: 'handBack' })
})

test('whatever a receiver says, the next attempt is neither at once nor later than twice and a fifth of what is due', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 300, max: 599 }),
      fc.option(fc.oneof(fc.nat().map(String), fc.string()), { nil: undefined }),
      fc.integer({ min: 1, max: 20 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (status, retryAfter, attempt, unit) => {
        fc.pre(status !== 410)
        const due = Math.max(RETRIES[Math.min(attempt, RETRIES.length) - 1] as number, status === 429 ? OVERLOAD_PAUSE_MS : 0)
        const afterMs = pause(decide(answer(status, retryAfter), attempt, unit))
        assert.ok(afterMs >= due * 0.8 && afterMs <= due * 2.4 + 1, String(afterMs))
      },
    ),
  )
})
