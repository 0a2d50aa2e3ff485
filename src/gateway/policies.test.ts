import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { ClientHeader, RouteConfig } from '../config/config.ts'
import { type Failure, isFailure } from '../core/errors.ts'
import { DELAY_MAX_MS, IDEMPOTENCY_KEY_LENGTH_MAX, KEY_LENGTH_MAX, REFERENCE_LENGTH_MAX } from '../core/jobs/limits.ts'
import { parseUrlPattern, type UrlPattern } from '../core/webhooks/urls.ts'
import type { RequestHead } from '../http1/message.ts'
import { mayBecomeJob, mustBecomeJob, priorityOf, readPolicies, type Policies } from './policies.ts'

const ALL: readonly ClientHeader[] = ['prefer', 'idempotency-key', 'key', 'delay', 'priority', 'callback', 'reference']

function read(headers: readonly string[], allow: readonly ClientHeader[] = ALL): Policies {
  const policies = readPolicies({ headers }, { allow })
  assert.ok(!isFailure(policies), JSON.stringify(policies))
  return policies
}

function refusal(headers: readonly string[], allow: readonly ClientHeader[] = ALL): string {
  const policies = readPolicies({ headers }, { allow })
  assert.ok(isFailure(policies), JSON.stringify(policies))
  return `${policies.code}: ${policies.detail}`
}

test('a request without headers of ours asks for nothing', () => {
  assert.deepEqual(read(['Host', 'a', 'Content-Type', 'text/plain']), { preferences: { respondAsync: false, events: false }, priority: 0 })
})

test('every allowed header is read, whatever the case of its name', () => {
  const headers = ['prefer', 'wait=5', 'IDEMPOTENCY-KEY', 'k', 'spillway-key', 'acct-1', 'Spillway-Delay', '30s']
  assert.deepEqual(read([...headers, 'Spillway-Priority', '9', 'Spillway-Reference', 'order 7']), {
    preferences: { respondAsync: false, events: false, waitMs: 5000 },
    idempotencyKey: 'k',
    key: 'acct-1',
    delayMs: 30_000,
    priority: 9,
    reference: 'order 7',
  })
})

test('a Spillway header that the route does not allow is refused by name', () => {
  for (const name of ['Spillway-Key', 'Spillway-Delay', 'Spillway-Priority', 'Spillway-Callback', 'Spillway-Reference']) {
    assert.match(refusal([name, '1'], []), new RegExp(`^header_not_allowed: ${name} `))
  }
})

test('Prefer and Idempotency-Key are ignored where the route does not allow them', () => {
  assert.deepEqual(read(['Prefer', 'respond-async', 'Idempotency-Key', '"broken'], []), read([]))
})

test('a callback goes where the configuration lets it, and is refused by name where not', () => {
  const callbacks = [parseUrlPattern('https://*.example.com/hooks/*') as UrlPattern]
  const route = { allow: ALL, callbacks }
  const of = (value: string): Policies | Failure => readPolicies({ headers: ['Spillway-Callback', value] }, route)
  assert.deepEqual(of('https://a.example.com/hooks/1?x=2'), { ...read([]), callback: 'https://a.example.com/hooks/1?x=2' })
  for (const value of ['https://example.org/hooks/1', 'http://a.example.com/hooks/1', 'https://a.example.com/', 'nowhere', '']) {
    const refused = of(value)
    assert.ok(isFailure(refused), value)
    assert.equal(refused.code, 'bad_header')
    assert.match(refused.detail, /^Spillway-Callback /)
  }
})

test('values that cannot be understood are refused by name', () => {
  for (const value of ['', '10', '-1', 'x', '1 ', '٣']) assert.match(refusal(['Spillway-Priority', value]), /Spillway-Priority/)
  for (const value of ['', '30', 'soon', '1.5s', '-1s', `${DELAY_MAX_MS + 1}ms`])
    assert.match(refusal(['Spillway-Delay', value]), /Spillway-Delay/)
  for (const name of ['Spillway-Key', 'Spillway-Delay', 'Idempotency-Key'])
    assert.match(refusal([name, '1s', name, '1s']), /more than once/)
})

test('limits of length hold at n and n+1', () => {
  assert.equal(read(['Spillway-Key', 'x'.repeat(KEY_LENGTH_MAX)]).key?.length, KEY_LENGTH_MAX)
  assert.match(refusal(['Spillway-Key', 'x'.repeat(KEY_LENGTH_MAX + 1)]), /1 to 255/)
  assert.equal(read(['Spillway-Reference', 'x'.repeat(REFERENCE_LENGTH_MAX)]).reference?.length, REFERENCE_LENGTH_MAX)
  assert.match(refusal(['Spillway-Reference', 'x'.repeat(REFERENCE_LENGTH_MAX + 1)]), /1 to 128/)
  const key = 'x'.repeat(IDEMPOTENCY_KEY_LENGTH_MAX)
  for (const value of [key, `"${key}"`]) assert.equal(read(['Idempotency-Key', value]).idempotencyKey, key)
  for (const value of [`${key}x`, `"${key}x"`, '', '""']) assert.match(refusal(['Idempotency-Key', value]), /1 to 255/)
  assert.equal(read(['Spillway-Delay', '366d']).delayMs, DELAY_MAX_MS)
  assert.match(refusal(['Spillway-Delay', '367d']), /366d/)
})

test('quoted and bare idempotency keys are equal', () => {
  assert.equal(read(['Idempotency-Key', '"8e03978e-40d5"']).idempotencyKey, '8e03978e-40d5')
  assert.equal(read(['Idempotency-Key', '8e03978e-40d5']).idempotencyKey, '8e03978e-40d5')
  assert.equal(read(['Idempotency-Key', '"a\\"b\\\\c"']).idempotencyKey, 'a"b\\c')
  for (const value of ['"open', '"', '"a"b"', '"a\\x"']) assert.match(refusal(['Idempotency-Key', value]), /quoted string/)
})

test('any printable key comes back from its quoted form', () => {
  const printable = fc.string({ minLength: 1, maxLength: 255, unit: 'binary-ascii' }).filter((text) => /^[\x20-\x7e]+$/.test(text))
  fc.assert(
    fc.property(printable, (key) => {
      const quoted = `"${key.replaceAll(/["\\]/g, '\\$&')}"`
      assert.equal(read(['Idempotency-Key', quoted]).idempotencyKey, key)
    }),
  )
})

test('any headers yield policies or a refusal', () => {
  const name = fc.constantFrom(
    'Prefer',
    'Idempotency-Key',
    'Spillway-Key',
    'Spillway-Delay',
    'Spillway-Priority',
    'Spillway-Reference',
    'X',
  )
  const headers = fc.array(fc.tuple(name, fc.string()), { maxLength: 8 })
  fc.assert(
    fc.property(headers, fc.subarray([...ALL]), (list, allow) => {
      const policies = readPolicies({ headers: list.flat() }, { allow })
      if (!isFailure(policies)) assert.ok(policies.priority >= 0 && policies.priority <= 9)
    }),
  )
})

function call(method: string, headers: readonly string[] = [], upgrade = ''): { head: RequestHead } {
  return { head: { method, headers, upgrade } as unknown as RequestHead }
}

function route(change: Partial<RouteConfig>): RouteConfig {
  return { mode: 'spill', methods: ['POST', 'GET'], allow: ALL, ...change } as RouteConfig
}

test('only the methods of the route become jobs, and never what has no body to replay or no end', () => {
  assert.ok(mayBecomeJob(call('POST'), route({})))
  assert.ok(mayBecomeJob(call('GET'), route({})))
  assert.ok(!mayBecomeJob(call('PUT'), route({})))
  assert.ok(!mayBecomeJob(call('POST'), route({ mode: 'direct' })))
  assert.ok(!mayBecomeJob(call('POST', [], 'websocket'), route({})))
  for (const method of ['HEAD', 'OPTIONS', 'CONNECT', 'TRACE']) assert.ok(!mayBecomeJob(call(method), route({ methods: [method] })))
})

test('on a spill route only what the store alone can do, and what it has to refuse, is stored at once', () => {
  assert.ok(!mustBecomeJob(call('POST'), route({})))
  assert.ok(!mustBecomeJob(call('POST', ['Prefer', 'wait=3', 'Spillway-Key', 'a']), route({})))
  for (const header of [
    ['Idempotency-Key', 'a'],
    ['Spillway-Delay', '1s'],
    ['Prefer', 'respond-async'],
    ['Spillway-Priority', 'x'],
  ]) {
    assert.ok(mustBecomeJob(call('POST', header), route({})), header.join())
    assert.ok(!mustBecomeJob(call('PUT', header), route({})), header.join())
  }
})

test('how urgent it is: what the client says where it may, else what the route says, else 5 at once and 0 as a job', () => {
  const head = (...values: string[]): { headers: readonly string[] } => ({
    headers: values.flatMap((value) => ['Spillway-Priority', value]),
  })
  const [fixed, chosen] = [{ allow: [], priority: 3 } as const, { allow: ['priority'] as const, priority: 3 }]
  assert.deepEqual(
    [priorityOf(head(), fixed), priorityOf(head('9'), fixed), priorityOf(head(), chosen), priorityOf(head('0'), chosen)],
    [3, 3, 3, 0],
  )
  assert.equal(priorityOf(head(), { allow: [] }), 5)
  for (const wrong of [head('10'), head(''), head('1', '2')])
    assert.equal((priorityOf(wrong, chosen) as { code: string }).code, 'bad_header')
  const ofJob = (route: Parameters<typeof readPolicies>[1], ...values: string[]): unknown =>
    (readPolicies(head(...values), route) as { priority: number }).priority
  assert.deepEqual([ofJob(fixed), ofJob(chosen), ofJob(chosen, '9'), ofJob({ allow: [] })], [3, 3, 9, 0])
})
