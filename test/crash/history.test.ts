/** The canary of the crash tests: a good history passes, and for every rule a history that breaks it is found out. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Execution } from '../support/work-log.ts'
import { type AcceptedJob, type History, type Life, violations } from './history.ts'

const KILLED: Life = { name: 'life-1', inFlightAtKill: new Set(['b']) }
const LAST: Life = { name: 'life-2', inFlightAtKill: undefined }

function job(id: string, change: Partial<AcceptedJob> = {}): AcceptedJob {
  const body = change.body ?? `k/${'abc'.indexOf(id)}`
  return { id, once: false, status: 'succeeded', body, result: body, seenSucceededAt: undefined, ...change }
}

function execution(id: string, fence: number, change: Partial<Execution> = {}): Execution {
  const body = `k/${'abc'.indexOf(id)}`
  const times = { startAt: fence * 100, endAt: fence * 100 + 50 }
  return { server: 's', pid: 1, job: id, attempt: 1, fence, life: 'life-2', key: 'k', body, ...times, ...change }
}

/** `a` ran in the first life, `b` was in flight when it was killed and ran again, `c` came after. */
const A = execution('a', 1, { life: 'life-1' })
const B1 = execution('b', 2, { life: 'life-1', endAt: undefined })
const B2 = execution('b', 1001)
const C = execution('c', 1002)

function history(change: Partial<History>): History {
  return { accepted: [job('a'), job('b'), job('c')], lives: [KILLED, LAST], executions: [A, B1, B2, C], ...change }
}

const BROKEN: Readonly<Record<string, { readonly with: Partial<History>; readonly says: RegExp }>> = {
  'a job that was accepted and is gone': {
    with: { accepted: [job('a', { status: 'unknown' }), job('b'), job('c')] },
    says: /job a was accepted and is unknown/,
  },
  'a job that succeeded without a server': { with: { executions: [B1, B2, C] }, says: /job a succeeded and no server worked on it/ },
  "another job's result": { with: { accepted: [job('a', { result: 'k/1' }), job('b'), job('c')] }, says: /job a has the result of k\/1/ },
  'a request that changed on its way': {
    with: { accepted: [job('a', { body: 'k/0!', result: 'k/0!' }), job('b'), job('c')] },
    says: /job a reached a server as k\/0, not as k\/0!/,
  },
  'a job that is sent again after it was seen to succeed': {
    with: { accepted: [job('a'), job('b', { seenSucceededAt: 300 }), job('c')] },
    says: /job b was sent again after a client saw it succeed/,
  },
  'a job that is sent again though nothing was in flight': {
    with: { lives: [{ ...KILLED, inFlightAtKill: new Set() }, LAST] },
    says: /job b was sent again after life-1, where it was not in flight/,
  },
  'a job that is sent again without a kill': {
    with: { lives: [{ ...KILLED, inFlightAtKill: undefined }, LAST] },
    says: /job b was sent again after life-1/,
  },
  'a job that one life sent twice': {
    with: { executions: [A, { ...B1, endAt: 210 }, { ...B1, fence: 3, startAt: 300, endAt: 310 }, B2, C] },
    says: /job b was sent twice by life-1/,
  },
  'a job that is sent once, sent twice': {
    with: { accepted: [job('a'), job('b', { once: true }), job('c')] },
    says: /job b may be sent once, and was sent 2 times/,
  },
  'a job that is sent once, given up though it was not in flight': {
    with: { accepted: [job('a'), job('b'), job('c', { once: true, status: 'failed' })] },
    says: /job c was accepted and is failed/,
  },
  'a key out of order': {
    with: { executions: [A, B1, { ...C, fence: 1001 }, { ...B2, fence: 1002 }] },
    says: /key k: k\/1 came after k\/2/,
  },
  'two jobs of a key at once in one life': {
    with: { executions: [A, B1, B2, { ...C, startAt: (B2.endAt ?? 0) - 1 }] },
    says: /key k: k\/1 and k\/2 ran at once in life-2/,
  },
  'a fence that was given twice': { with: { executions: [A, B1, B2, { ...C, fence: B2.fence }] }, says: /fence 1001 was given twice/ },
  'a fence that fell back after a restart': {
    with: { executions: [A, B1, { ...B2, fence: 1.5 }, C] },
    says: /fence 2 of life-1 is above one of life-2/,
  },
  'a gateway that nobody started': {
    with: { executions: [A, B1, B2, { ...C, life: 'life-9' }] },
    says: /sent by life-9, which never lived/,
  },
}

test('a history that keeps all rules passes', () => {
  assert.deepEqual(violations(history({})), [])
})

test('a job that is sent once and was in flight at a kill may have failed', () => {
  const accepted = [job('a'), job('b', { once: true, status: 'failed', result: undefined }), job('c')]
  assert.deepEqual(violations(history({ accepted, executions: [A, B1, C] })), [])
})

for (const [name, broken] of Object.entries(BROKEN)) {
  test(`is found out: ${name}`, () => {
    assert.match(violations(history(broken.with)).join('\n'), broken.says)
  })
}
