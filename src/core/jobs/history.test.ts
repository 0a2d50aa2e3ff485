import assert from 'node:assert/strict'
import { test } from 'node:test'
import { handOutOver, lastHandOut } from './history.ts'
import { type JobEvent, step } from './machine.ts'
import type { JobRecord } from './record.ts'

const NOW = 1_900_000_000_000
const ERROR = { code: 'server_error', detail: 'it said 500', status: 500 }
const RUNNING: JobRecord = {
  ...{ seq: 1, secret: 's', queue: 'q', route: 'r', method: 'POST', bucket: 1, priority: 4, attempts: 3, sendOnce: false },
  ...{ keepMs: 1, keepDeadMs: 1, requestBytes: 1, submittedAt: NOW - 50, version: 3, resultBytes: -1, ordinal: 1, scheduled: false },
  ...{
    status: 'running',
    counted: 1,
    handOuts: 2,
    server: 'a',
    attemptAt: NOW - 10,
    startedAt: NOW - 20,
    lease: { fence: 9, secret: 'l' },
  },
}

/** Outcome and number of the attempt: as a row of its own, and as what the record tells. */
function told(record: JobRecord, event: JobEvent): readonly [row: unknown, last: unknown] {
  const after = step(record, event, { now: NOW, versionFloor: 0 })
  assert.ok(after)
  const row = handOutOver(record, event, after, NOW)
  const last = lastHandOut(after)
  return [row && [row.outcome, row.attempt], last && [last.outcome, last.attempt]]
}

test('every hand-out is told once: by a row of its own, or by the record of the job that it ended', () => {
  const expected: readonly (readonly [JobEvent, unknown, unknown])[] = [
    [{ kind: 'retry', afterMs: 0, error: ERROR, resultBytes: -1 }, ['server_error', 2], undefined],
    [{ kind: 'handBack', afterMs: 0, resultBytes: -1 }, ['handed_back', undefined], undefined],
    [{ kind: 'handBack', afterMs: 0, error: ERROR, resultBytes: -1 }, ['server_error', undefined], undefined],
    [{ kind: 'lapse' }, ['lease_lapsed', 2], undefined],
    [{ kind: 'void' }, ['gateway_stopped', undefined], undefined],
    [{ kind: 'succeed', resultBytes: 1 }, undefined, ['succeeded', 2]],
    [{ kind: 'fail', error: ERROR, deadLetter: true, resultBytes: 1 }, undefined, ['server_error', 2]],
    [{ kind: 'cancel', forgetKey: false }, undefined, ['cancelled', undefined]],
    [{ kind: 'progress', progress: '1' }, undefined, undefined],
  ]
  for (const [event, row, last] of expected) assert.deepEqual(told(RUNNING, event), [row, last], event.kind)
})

test('one that came back too late to be made again is told, though the job has ended', () => {
  const late: JobRecord = { ...RUNNING, counted: 0, expiresAt: NOW }
  assert.deepEqual(told(late, { kind: 'handBack', afterMs: 0, resultBytes: -1 }), [['handed_back', undefined], undefined])
  const overdue: JobRecord = { ...RUNNING, deadlineAt: NOW }
  assert.deepEqual(told(overdue, { kind: 'handBack', afterMs: 0, resultBytes: -1 }), [['handed_back', undefined], undefined])
})

test('the hand-out that made a job poison was no attempt, whatever came before it', () => {
  const often: JobRecord = { ...RUNNING, handOuts: 31 }
  assert.deepEqual(told(often, { kind: 'handBack', afterMs: 0, resultBytes: -1 }), [undefined, ['poison', undefined]])
  // What ran when the process ended has no time of its own.
  const { attemptAt: _, ...left } = often
  assert.deepEqual(told(left, { kind: 'void' }), [['gateway_stopped', undefined], undefined])
})
