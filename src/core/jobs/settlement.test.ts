import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { ERRORS, type ErrorCode } from '../errors.ts'
import { type AttemptEnd, decideReported, decideSettlement, parseRetryAfter, refuseDeferral, type SettleFacts } from './settlement.ts'

const NOW = Date.UTC(2026, 0, 1)

function facts(change: Partial<SettleFacts> = {}): SettleFacts {
  const backoff = { baseMs: 1000, maxMs: 8000 }
  return {
    attempt: 1,
    handBacks: 0,
    sendOnce: false,
    backoff,
    deadLetter: 'exhausted',
    onUnauthorized: 'fail',
    deferMaxMs: 60_000,
    now: NOW,
    unit: 0,
    ...change,
  }
}

function answer(status: number, ...headers: string[]): AttemptEnd {
  return { kind: 'answer', status, headers }
}

function failed(code: ErrorCode, sent: boolean): AttemptEnd {
  return { kind: 'failed', code, detail: 'why', sent }
}

test('every 2xx and 3xx succeeds', () => {
  for (let status = 200; status < 400; status++) assert.equal(decideSettlement(answer(status), facts()).kind, 'succeed', `${status}`)
})

test('every status from 400 to 599 falls into the row that the table names', () => {
  const retried = new Set([408, 425, 500, 502, 504, 507])
  for (let status = 400; status < 600; status++) {
    const expected = status === 429 || status === 503 ? 'handBack' : retried.has(status) ? 'retry' : 'fail'
    assert.equal(decideSettlement(answer(status), facts()).kind, expected, `${status}`)
  }
})

test('a refusal for good is no dead letter unless the queue wants all', () => {
  for (const status of [400, 404, 422, 501, 505, 508]) {
    assert.deepEqual(decideSettlement(answer(status), facts()), {
      kind: 'fail',
      error: { code: 'server_error', detail: `The server answered ${status}.`, status },
      deadLetter: false,
    })
    const verdict = decideSettlement(answer(status), facts({ deadLetter: 'all' }))
    assert.ok(verdict.kind === 'fail' && verdict.deadLetter)
  }
})

test('a busy server is paused: one second, or what it asks for', () => {
  for (const status of [429, 503]) {
    const pause = (...headers: string[]): unknown => {
      const verdict = decideSettlement(answer(status, ...headers), facts())
      return verdict.kind === 'handBack' ? verdict.pauseMs : verdict.kind
    }
    assert.equal(pause(), 1000)
    assert.equal(pause('Retry-After', '7'), 7000)
    assert.equal(pause('RETRY-AFTER', ' 7 '), 7000)
    assert.equal(pause('retry-after', new Date(NOW + 90_000).toUTCString()), 90_000)
    assert.equal(pause('retry-after', new Date(NOW - 90_000).toUTCString()), 0)
    assert.equal(pause('retry-after', 'soon'), 1000)
    assert.equal(pause('retry-after', '-5'), 1000)
  }
})

test('Retry-After is obeyed up to one hour', () => {
  assert.equal(parseRetryAfter('3600', NOW), 3_600_000)
  assert.equal(parseRetryAfter('3601', NOW), 3_600_000)
  assert.equal(parseRetryAfter(new Date(NOW + 3_601_000).toUTCString(), NOW), 3_600_000)
  assert.equal(parseRetryAfter('9'.repeat(400), NOW), undefined)
})

test('a connect failure and anything that sent nothing is a hand-out, not an attempt', () => {
  for (const code of ['connect_failed', 'connect_timeout', 'connection_reset', 'failover', 'shutting_down'] as const) {
    for (const sendOnce of [false, true]) {
      assert.deepEqual(decideSettlement(failed(code, false), facts({ sendOnce })), {
        kind: 'handBack',
        afterMs: 0,
        error: { code, detail: 'why' },
      })
    }
  }
})

test('a reset, a timeout, a failover and broken HTTP count as attempts', () => {
  for (const code of ['connection_reset', 'attempt_timeout', 'first_byte_timeout', 'failover', 'bad_response', 'internal'] as const) {
    const verdict = decideSettlement(failed(code, true), facts({ attempt: 3, unit: 0.5 }))
    assert.deepEqual(verdict, { kind: 'retry', afterMs: 3000, error: { code, detail: 'why' } })
  }
})

test('a result that is too large fails for good, as a dead letter', () => {
  const verdict = decideSettlement(failed('result_too_large', true), facts())
  assert.ok(verdict.kind === 'fail' && verdict.deadLetter && verdict.error.code === 'result_too_large')
})

test('at shutdown an attempt is handed back uncounted, unless the job is sent once', () => {
  assert.equal(decideSettlement(failed('shutting_down', true), facts()).kind, 'handBack')
  const verdict = decideSettlement(failed('shutting_down', true), facts({ sendOnce: true }))
  assert.ok(verdict.kind === 'fail' && verdict.deadLetter && verdict.error.code === 'outcome_unknown')
})

test('a job that is sent once ends as outcome_unknown after a failed attempt, with the status of the answer', () => {
  const reset = decideSettlement(failed('connection_reset', true), facts({ sendOnce: true }))
  assert.ok(reset.kind === 'fail' && reset.deadLetter && reset.error.code === 'outcome_unknown' && reset.error.status === undefined)
  const answered = decideSettlement(answer(500), facts({ sendOnce: true }))
  assert.ok(answered.kind === 'fail' && answered.deadLetter && answered.error.code === 'outcome_unknown' && answered.error.status === 500)
})

test('a job that is sent once succeeds, is refused and is handed back like any other', () => {
  const once = facts({ sendOnce: true })
  assert.equal(decideSettlement(answer(201), once).kind, 'succeed')
  assert.equal(decideSettlement(answer(503), once).kind, 'handBack')
  const refused = decideSettlement(answer(422), once)
  assert.ok(refused.kind === 'fail' && !refused.deadLetter && refused.error.code === 'server_error')
})

test('Spillway-Retry: never ends the job, and does not unmake a success', () => {
  for (const status of [400, 429, 500, 503]) assert.equal(decideSettlement(answer(status, 'Spillway-Retry', 'never'), facts()).kind, 'fail')
  assert.equal(decideSettlement(answer(200, 'Spillway-Retry', 'never'), facts()).kind, 'succeed')
})

test('Spillway-Retry with a duration sets the delay, whatever the status and also for jobs that are sent once', () => {
  for (const sendOnce of [false, true]) {
    for (const status of [200, 404, 500]) {
      const verdict = decideSettlement(answer(status, 'spillway-retry', '30s'), facts({ sendOnce }))
      assert.ok(verdict.kind === 'retry' && verdict.afterMs === 30_000, `${status}`)
    }
    const busy = decideSettlement(answer(503, 'spillway-retry', '30s', 'retry-after', '2'), facts({ sendOnce }))
    assert.ok(busy.kind === 'handBack' && busy.afterMs === 30_000 && busy.pauseMs === 2000)
  }
})

test('a Spillway-Retry that cannot be read changes nothing', () => {
  for (const value of ['', 'soon', '30', '1.5s', '-1s', 'Never']) {
    assert.deepEqual(decideSettlement(answer(500, 'Spillway-Retry', value), facts()), decideSettlement(answer(500), facts()))
  }
})

test('hand-backs are prompt at first, then back off', () => {
  const delays = (end: AttemptEnd): number[] =>
    [0, 1, 2, 3, 4, 5].map((handBacks) => (decideSettlement(end, facts({ handBacks })) as { afterMs: number }).afterMs)
  assert.deepEqual(delays(answer(503)), [0, 500, 1000, 2000, 4000, 4000])
  assert.deepEqual(delays(failed('connect_failed', false)), [0, 0, 0, 500, 1000, 2000])
})

test('an answer that breaks off after it was handed on fails the job, or is begun anew as far as it may be', () => {
  const broken = (code: ErrorCode): AttemptEnd => ({ kind: 'failed', code, detail: 'why', sent: true, partial: true })
  for (const code of ['connection_reset', 'attempt_timeout', 'shutting_down', 'failover', 'store_unavailable'] as const) {
    const detail = `The answer broke off after it had begun: ${code}. why`
    const failing = decideSettlement(broken(code), facts({ onPartial: 'fail' }))
    assert.deepEqual(failing, { kind: 'fail', error: { code: 'answer_broken', detail }, deadLetter: true })
    const anew = { onPartial: 'restart' } as const
    assert.deepEqual(decideSettlement(broken(code), facts(anew)), decideSettlement(failed(code, true), facts()), code)
    const once = decideSettlement(broken(code), facts({ ...anew, sendOnce: true }))
    assert.ok(once.kind === 'fail' && once.error.code === 'outcome_unknown', code)
    assert.deepEqual(decideSettlement(failed(code, true), facts({ onPartial: 'fail' })), decideSettlement(failed(code, true), facts()))
  }
  const tooLarge = decideSettlement(broken('result_too_large'), facts({ onPartial: 'restart' }))
  assert.ok(tooLarge.kind === 'fail' && tooLarge.error.code === 'result_too_large')
})

test('any answer and any failure yields a verdict whose delays are bounded', () => {
  const headerName = fc.constantFrom('retry-after', 'spillway-retry', 'x')
  const headers = fc.array(fc.tuple(headerName, fc.oneof(fc.string(), fc.nat().map(String), fc.constantFrom('never', '30s', '999999999d'))))
  const end: fc.Arbitrary<AttemptEnd> = fc.oneof(
    fc.record({
      kind: fc.constant('answer' as const),
      status: fc.integer({ min: 200, max: 599 }),
      headers: headers.map((list) => list.flat()),
    }),
    fc.record({
      kind: fc.constant('failed' as const),
      code: fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[])),
      detail: fc.string(),
      sent: fc.boolean(),
    }),
  )
  fc.assert(
    fc.property(end, fc.boolean(), fc.integer({ min: 1, max: 1000 }), fc.nat(1000), (ended, sendOnce, attempt, handBacks) => {
      const verdict = decideSettlement(ended, facts({ sendOnce, attempt, handBacks, unit: 0.999 }))
      if ('afterMs' in verdict) assert.ok(verdict.afterMs >= 0 && verdict.afterMs <= 365 * 86_400_000)
      if ('pauseMs' in verdict) assert.ok(verdict.pauseMs! >= 0 && verdict.pauseMs! <= 3_600_000)
      if (verdict.kind === 'succeed') assert.ok(ended.kind === 'answer' && ended.status < 400)
    }),
  )
})

test('202 with Spillway-Defer is no end, up to the longest that is allowed', () => {
  assert.deepEqual(decideSettlement(answer(202, 'Spillway-Defer', '60s'), facts()), { kind: 'defer', forMs: 60_000, retryMs: 500 })
  const tooLong = decideSettlement(answer(202, 'Spillway-Defer', '60001ms'), facts())
  assert.ok(tooLong.kind === 'handBack' && tooLong.pauseMs === 1000 && tooLong.error.code === 'server_busy')
  assert.equal(decideSettlement(answer(200, 'Spillway-Defer', '1s'), facts()).kind, 'succeed')
  assert.equal(decideSettlement(answer(202), facts()).kind, 'succeed')
  assert.equal(decideSettlement(answer(202, 'Spillway-Defer', '1s', 'Spillway-Retry', '7s'), facts()).kind, 'retry')
  for (const text of ['soon', '0s', '', '-1s'])
    assert.equal(decideSettlement(answer(202, 'Spillway-Defer', text), facts()).kind, 'retry', text)
})

test('a deferral that is refused leaves the outcome of a job that is sent once unknown', () => {
  const verdict = refuseDeferral('too many', facts({ sendOnce: true }))
  assert.ok(verdict.kind === 'fail' && verdict.error.code === 'outcome_unknown' && verdict.deadLetter)
})

test('what a server reports settles as the answer would that says the same', () => {
  for (let status = 400; status < 600; status++) {
    for (const retry of [undefined, 'never', '30s']) {
      const reported = decideReported({ detail: 'd', status, ...(retry !== undefined && { retry }) }, facts())
      const control = retry === undefined ? [] : ['Spillway-Retry', retry]
      const answered = decideSettlement(answer(status, ...control), facts())
      assert.ok('error' in reported && 'error' in answered)
      assert.deepEqual({ ...reported, error: { ...reported.error, detail: '' } }, { ...answered, error: { ...answered.error, detail: '' } })
      assert.equal(reported.error.detail, 'd')
    }
  }
  const plain = decideReported({ detail: 'd' }, facts())
  assert.ok(plain.kind === 'retry' && plain.error.status === undefined)
})
