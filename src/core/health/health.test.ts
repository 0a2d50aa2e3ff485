/** A server is judged by what it did, and by nothing that the gateway itself lacked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  afterConnectFailure,
  afterProbe,
  type Health,
  type HealthRules,
  nextProbeMs,
  ownShortage,
  type ProbeResult,
  UNKNOWN,
} from './health.ts'

const RULES: HealthRules = { fall: 3, rise: 2 }
const PASSED: ProbeResult = { kind: 'passed' }
const UNASKED: ProbeResult = { kind: 'unasked', errno: 'EMFILE' }
const failed = (refused = false): ProbeResult => ({ kind: 'failed', refused, reason: 'x' })

/** The states in which a row of results leaves a server, one after the other. */
function states(results: readonly ProbeResult[], from: Health = UNKNOWN): string[] {
  let health = from
  return results.map((result) => (health = afterProbe(health, result, RULES)).state)
}

test('the first check decides; then it takes `fall` failures in a row, or `rise` passes', () => {
  assert.deepEqual(states([failed()]), ['down'])
  assert.deepEqual(states([PASSED, failed(), failed(), PASSED, failed(), failed(), failed()]), [
    ...['up', 'up', 'up', 'up', 'up', 'up', 'down'],
  ])
  assert.deepEqual(states([failed(), PASSED, failed(), PASSED, PASSED]), ['down', 'down', 'down', 'down', 'up'])
})

test('a refused connection is proof: of a check and of a request', () => {
  assert.deepEqual(states([PASSED, failed(true)]), ['up', 'down'])
  assert.equal(afterConnectFailure({ state: 'up', against: 0 }).state, 'down')
})

test('a check that could not be made changes nothing, and neither begins nor ends a row', () => {
  assert.equal(afterProbe(UNKNOWN, UNASKED, RULES), UNKNOWN)
  assert.deepEqual(states([PASSED, UNASKED, UNASKED, UNASKED, UNASKED]), ['up', 'up', 'up', 'up', 'up'])
  assert.deepEqual(states([PASSED, failed(), failed(), UNASKED, failed()]), ['up', 'up', 'up', 'up', 'down'])
  assert.deepEqual(states([failed(), PASSED, UNASKED, PASSED]), ['down', 'down', 'down', 'up'])
})

test('what this machine is short of is told apart from what a server does and what a rule forbids', () => {
  for (const errno of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']) assert.match(ownShortage(errno) ?? '', /^this /, errno)
  for (const errno of ['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EPERM', 'EACCES', undefined])
    assert.equal(ownShortage(errno), undefined, errno)
})

test('checks come at their interval, or faster where the state is in doubt, give or take the jitter', () => {
  const steady: Health = { state: 'up', against: 0 }
  const pace = { intervalMs: 2000 }
  assert.deepEqual(
    [0, 0.5, 1].map((unit) => Math.round(nextProbeMs(steady, pace, unit))),
    [1900, 2000, 2100],
  )
  for (const doubtful of [UNKNOWN, { state: 'down', against: 0 }, { state: 'up', against: 1 }] as const) {
    assert.equal(nextProbeMs(doubtful, pace, 0.5), 500)
    assert.equal(nextProbeMs(doubtful, { ...pace, fastIntervalMs: 50 }, 0.5), 50)
  }
  assert.deepEqual(
    [0, 1].map((unit) => nextProbeMs(steady, { ...pace, jitter: 0.5 }, unit)),
    [1000, 3000],
  )
  assert.equal(nextProbeMs(steady, { ...pace, jitter: 0 }, 0.3), 2000)
})
