/** Every event in every state of a job: a table that is complete, and the details of each step. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HAND_OUTS_PER_ATTEMPT, type JobEvent, type Moment, step } from './machine.ts'
import {
  blobOf,
  endedBytesOf,
  handOutsOf,
  holdsKey,
  type JobRecord,
  keepsRequest,
  keepUntilOf,
  mayExpire,
  placeOf,
  timerOf,
} from './record.ts'

const NOW = 1_000_000
const AT: Moment = { now: NOW, versionFloor: 0 }
const ERROR = { code: 'server_error', detail: 'it said 500', status: 500 }

const QUEUED: JobRecord = {
  seq: 7,
  secret: 's',
  queue: 'q',
  route: 'r',
  method: 'POST',
  bucket: 3,
  priority: 4,
  attempts: 3,
  sendOnce: false,
  keepMs: 100,
  keepDeadMs: 1000,
  requestBytes: 50,
  submittedAt: NOW - 500,
  status: 'queued',
  version: 1,
  counted: 0,
  handOuts: 0,
  scheduled: false,
  ordinal: 1,
  resultBytes: -1,
}
const DELAYED: JobRecord = { ...QUEUED, scheduled: true, notBefore: NOW + 10 }
const RUNNING: JobRecord = {
  ...QUEUED,
  status: 'running',
  handOuts: 1,
  lease: { fence: 9, secret: 'l' },
  server: 'a',
  startedAt: NOW - 5,
  onPartial: 'restart',
}
const RETRYING: JobRecord = { ...QUEUED, status: 'retrying', counted: 1, handOuts: 1, scheduled: true, notBefore: NOW + 10, error: ERROR }
const ENDED: JobRecord = { ...QUEUED, status: 'succeeded', counted: 1, handOuts: 1, finishedAt: NOW - 1, resultBytes: 20 }

const DEAD: JobRecord = { ...ENDED, status: 'failed', dead: 'attempts', error: ERROR }

const STATES = { queued: QUEUED, delayed: DELAYED, running: RUNNING, retrying: RETRYING, ended: ENDED, dead: DEAD } as const
const EVENTS = {
  lease: { kind: 'lease', fence: 10, secret: 'n', server: 'b' },
  succeed: { kind: 'succeed', resultBytes: 20 },
  retry: { kind: 'retry', afterMs: 100, error: ERROR, resultBytes: -1 },
  handBack: { kind: 'handBack', afterMs: 0, resultBytes: -1 },
  fail: { kind: 'fail', error: ERROR, deadLetter: false, resultBytes: 20 },
  defer: { kind: 'defer', forMs: 500, retryMs: 70 },
  lapse: { kind: 'lapse' },
  void: { kind: 'void' },
  cancel: { kind: 'cancel', forgetKey: false },
  progress: { kind: 'progress', progress: '{}' },
  answer: { kind: 'answer' },
  time: { kind: 'time' },
  damaged: { kind: 'damaged' },
  overflow: { kind: 'overflow' },
  redrive: { kind: 'redrive', afterMs: 0 },
} as const satisfies Record<JobEvent['kind'], JobEvent>

/** The status after each event in each state; `-`: it does not apply. */
const TABLE: Readonly<Record<keyof typeof EVENTS, Readonly<Record<keyof typeof STATES, string>>>> = {
  lease: { queued: 'running', delayed: '-', running: '-', retrying: '-', ended: '-', dead: '-' },
  succeed: { queued: '-', delayed: '-', running: 'succeeded', retrying: '-', ended: '-', dead: '-' },
  retry: { queued: '-', delayed: '-', running: 'retrying', retrying: '-', ended: '-', dead: '-' },
  handBack: { queued: '-', delayed: '-', running: 'queued', retrying: '-', ended: '-', dead: '-' },
  fail: { queued: '-', delayed: '-', running: 'failed', retrying: '-', ended: '-', dead: '-' },
  defer: { queued: '-', delayed: '-', running: 'running', retrying: '-', ended: '-', dead: '-' },
  lapse: { queued: '-', delayed: '-', running: 'retrying', retrying: '-', ended: '-', dead: '-' },
  void: { queued: '-', delayed: '-', running: 'queued', retrying: '-', ended: '-', dead: '-' },
  cancel: { queued: 'cancelled', delayed: 'cancelled', running: 'cancelled', retrying: 'cancelled', ended: '-', dead: '-' },
  progress: { queued: '-', delayed: '-', running: 'running', retrying: '-', ended: '-', dead: '-' },
  answer: { queued: '-', delayed: '-', running: 'running', retrying: '-', ended: '-', dead: '-' },
  time: { queued: '-', delayed: '-', running: '-', retrying: '-', ended: '-', dead: '-' },
  overflow: { queued: 'failed', delayed: 'failed', running: '-', retrying: 'failed', ended: '-', dead: '-' },
  redrive: { queued: '-', delayed: '-', running: '-', retrying: '-', ended: '-', dead: 'queued' },
  damaged: { queued: 'failed', delayed: 'failed', running: 'failed', retrying: 'failed', ended: '-', dead: '-' },
}

function after(record: JobRecord, event: JobEvent, moment: Moment = AT): JobRecord {
  const next = step(record, event, moment)
  assert.ok(next, `${event.kind} applies`)
  return next
}

describe('each event in each state', () => {
  for (const [kind, row] of Object.entries(TABLE)) {
    for (const [state, expected] of Object.entries(row)) {
      test(`${kind} when ${state}: ${expected}`, () => {
        const record = STATES[state as keyof typeof STATES]
        const next = step(record, EVENTS[kind as keyof typeof EVENTS], AT)
        assert.equal(next?.status ?? '-', expected)
        if (next === undefined) return
        assert.equal(next.version, record.version + 1, 'every change is a new version')
        assert.equal(next.lease !== undefined, next.status === 'running', 'a lease exists exactly while it runs')
        assert.equal(next.finishedAt !== undefined, placeOf(next) === 'ended')
        assert.equal(next.scheduled && next.notBefore === undefined, false, 'who waits for time knows for which')
      })
    }
  }
})

test('a step changes nothing in what it was given', () => {
  for (const record of Object.values(STATES)) {
    const frozen = Object.freeze(structuredClone(record))
    for (const event of Object.values(EVENTS)) step(frozen, event, AT)
    assert.deepEqual(frozen, record)
  }
})

test('a lease begins an attempt without the progress of the last one', () => {
  const next = after({ ...QUEUED, progress: '1', notBefore: NOW - 5 }, EVENTS.lease)
  assert.deepEqual([next.handOuts, next.counted, next.server, next.startedAt], [1, 0, 'b', NOW])
  assert.deepEqual(next.lease, { fence: 10, secret: 'n' })
  assert.deepEqual([next.progress, next.notBefore], [undefined, undefined])
  assert.equal(after({ ...QUEUED, startedAt: 5 }, EVENTS.lease).startedAt, 5, 'it started when it first did')
})

test('versions are above the floor of their generation, and grow from there', () => {
  const next = after(QUEUED, EVENTS.lease, { now: NOW, versionFloor: 5000 })
  assert.equal(next.version, 5001)
  assert.equal(after({ ...RUNNING, version: 9000 }, EVENTS.progress, { now: NOW, versionFloor: 5000 }).version, 9001)
})

test('the last attempt that fails makes a dead letter', () => {
  const last = { ...RUNNING, counted: 2 }
  const retried = after(last, { ...EVENTS.retry, resultBytes: 33 })
  assert.deepEqual(
    [retried.status, retried.dead, retried.counted, retried.error, retried.resultBytes],
    ['failed', 'attempts', 3, ERROR, 33],
  )
  const lapsed = after(last, EVENTS.lapse)
  assert.deepEqual([lapsed.status, lapsed.dead, lapsed.error?.code], ['failed', 'attempts', 'lease_lapsed'])
  assert.equal(after({ ...RUNNING, counted: 1 }, EVENTS.retry).status, 'retrying')
})

test('an attempt that failed waits for its whole delay', () => {
  assert.deepEqual(
    [after(RUNNING, { ...EVENTS.retry, afterMs: 0.2 }).notBefore, after(RUNNING, { ...EVENTS.retry, afterMs: 0 }).scheduled],
    [NOW + 1, false],
  )
})

test('a hand-out too many is poison, with the reason of the last', () => {
  const most = HAND_OUTS_PER_ATTEMPT * RUNNING.attempts
  assert.equal(after({ ...RUNNING, handOuts: most }, EVENTS.handBack).status, 'queued')
  const poison = after({ ...RUNNING, handOuts: most + 1 }, { ...EVENTS.handBack, error: ERROR, resultBytes: 12 })
  assert.deepEqual(
    [poison.status, poison.dead, poison.error?.code, poison.error?.status, poison.resultBytes],
    ['failed', 'poison', 'poison', 500, 12],
  )
  assert.match(poison.error?.detail ?? '', /31 times.*it said 500/)
  assert.equal(after({ ...RUNNING, handOuts: most + 1 }, EVENTS.void).dead, 'poison', 'a job that stops the gateway every time, too')
})

test('what may be sent once is not sent again after an attempt that nobody settled', () => {
  for (const event of [EVENTS.lapse, EVENTS.void]) {
    const next = after({ ...RUNNING, sendOnce: true }, event)
    assert.deepEqual([next.status, next.dead, next.counted], ['failed', 'outcome_unknown', 1])
  }
  assert.equal(after({ ...RUNNING, sendOnce: true }, EVENTS.handBack).status, 'queued', 'nothing reached the server')
})

test('time makes a delayed job due, or expired', () => {
  const due = after(DELAYED, EVENTS.time, { ...AT, now: NOW + 10 })
  assert.deepEqual([due.status, placeOf(due)], ['queued', 'line'])
  assert.equal(step(DELAYED, EVENTS.time, { ...AT, now: NOW + 9 }), undefined)
  const late = after({ ...DELAYED, expiresAt: NOW + 10 }, EVENTS.time, { ...AT, now: NOW + 10 })
  assert.deepEqual([late.status, late.dead], ['expired', 'expired'])
})

test('an expired job is not leased, and one that had an attempt does not expire', () => {
  assert.equal(step({ ...QUEUED, expiresAt: NOW }, EVENTS.lease, AT), undefined)
  assert.ok(step({ ...QUEUED, expiresAt: NOW + 1 }, EVENTS.lease, AT))
  assert.ok(step({ ...QUEUED, expiresAt: NOW, counted: 1, status: 'retrying' }, EVENTS.lease, AT))
  assert.equal(after({ ...RUNNING, expiresAt: NOW - 1 }, EVENTS.handBack).status, 'expired', 'handed back too late')
})

test('a success or a cancel forgets the error, a failure keeps its own', () => {
  assert.equal(after({ ...RUNNING, error: ERROR }, EVENTS.succeed).error, undefined)
  assert.equal(after(RETRYING, EVENTS.cancel).error, undefined)
  assert.equal(after({ ...RUNNING, error: { ...ERROR, detail: 'old' } }, EVENTS.fail).error, ERROR)
  assert.deepEqual(after(RUNNING, { ...EVENTS.fail, deadLetter: true }).dead, 'server_error')
})

test('a dead letter that is redriven is as it was accepted, but for what it has been through', () => {
  const dead: JobRecord = { ...DEAD, handOuts: 5, server: 'a', startedAt: NOW - 9, attemptAt: NOW - 5, expiresAt: NOW - 1, ordinal: 7 }
  const fresh = after(dead, { ...EVENTS.redrive, requestBytes: 77 })
  assert.deepEqual([fresh.counted, handOutsOf(fresh), fresh.handOuts, fresh.redrives], [0, 0, 5, 1])
  assert.deepEqual([fresh.requestBytes, fresh.resultBytes, fresh.ordinal, fresh.server], [77, -1, 0, 'a'])
  for (const gone of ['error', 'dead', 'startedAt', 'attemptAt', 'finishedAt', 'expiresAt', 'lease', 'notBefore'] as const) {
    assert.equal(fresh[gone], undefined, gone)
  }
  const later = after(dead, { kind: 'redrive', afterMs: 100.5 })
  assert.deepEqual([placeOf(later), later.notBefore, later.requestBytes], ['scheduled', NOW + 101, dead.requestBytes])
})

test('redriven it has as much time to its deadline as at first, each time', () => {
  let record: JobRecord = { ...DEAD, submittedAt: NOW - 5000, deadlineAt: NOW - 4000, deadlineMs: 1000 }
  for (const now of [NOW, NOW + 50_000, NOW + 90_000]) {
    record = after(record, EVENTS.redrive, { ...AT, now })
    assert.equal(record.deadlineAt, now + 1000)
    record = after(record, EVENTS.time, { ...AT, now: now + 1000 })
    assert.equal(record.dead, 'deadline')
  }
})

test('redriven it holds its key only where it blocked it, and is counted from nothing all the same', () => {
  for (const handOuts of [0, 5]) {
    const free = after({ ...DEAD, key: 'k', handOuts }, EVENTS.redrive)
    const blocking = after({ ...DEAD, key: 'k', handOuts, blocksKey: true }, EVENTS.redrive)
    assert.deepEqual([holdsKey(free), handOutsOf(free), free.blocksKey], [false, 0, undefined])
    assert.deepEqual([holdsKey(blocking), handOutsOf(blocking), blocking.blocksKey], [true, 0, undefined])
    assert.equal(holdsKey(after(free, EVENTS.lease)), true)
  }
})

test('past its deadline a job is not begun again, and what is begun may end', () => {
  const late = { ...RUNNING, deadlineAt: NOW + 100 }
  assert.equal(after(late, { ...EVENTS.retry, afterMs: 99 }).status, 'retrying')
  assert.deepEqual(
    [after(late, { ...EVENTS.retry, afterMs: 100 }).status, after(late, { ...EVENTS.retry, afterMs: 100 }).dead],
    ['failed', 'deadline'],
  )
  assert.equal(after({ ...late, deadlineAt: NOW }, EVENTS.succeed).status, 'succeeded')
  assert.equal(step({ ...QUEUED, deadlineAt: NOW }, EVENTS.lease, AT), undefined)
  assert.deepEqual(
    [after({ ...QUEUED, deadlineAt: NOW }, EVENTS.time).status, timerOf({ ...DELAYED, deadlineAt: NOW + 3 })],
    ['expired', NOW + 3],
  )
})

describe('what follows from a record', () => {
  test('its timer', () => {
    assert.equal(timerOf(QUEUED), undefined)
    assert.equal(timerOf({ ...QUEUED, expiresAt: NOW + 5 }), NOW + 5)
    assert.equal(timerOf(DELAYED), NOW + 10)
    assert.equal(timerOf({ ...DELAYED, expiresAt: NOW + 5 }), NOW + 5)
    assert.equal(timerOf({ ...RETRYING, expiresAt: NOW + 5 }), NOW + 10, 'it no longer expires')
    assert.equal(timerOf({ ...RUNNING, expiresAt: NOW + 5 }), undefined)
    assert.equal(timerOf(ENDED), undefined)
    assert.equal(mayExpire({ ...RUNNING, expiresAt: NOW }), false)
  })

  test('whether it holds its key', () => {
    assert.deepEqual([QUEUED, DELAYED, RUNNING, RETRYING, ENDED].map(holdsKey), [false, false, true, true, false])
  })

  test('how long it is kept, and what it weighs', () => {
    assert.equal(keepUntilOf(ENDED), NOW - 1 + 100)
    assert.equal(keepUntilOf({ ...ENDED, dead: 'poison' }), NOW - 1 + 1000)
    assert.equal(keepUntilOf({ ...ENDED, dedup: { scopeKey: 'k', until: NOW + 5000 } }), NOW + 5000)
    assert.equal(endedBytesOf(ENDED), 1024 + 20)
    assert.equal(endedBytesOf({ ...ENDED, resultBytes: -1, dead: 'poison' }), 1024 + 50)
    assert.deepEqual([keepsRequest(ENDED), keepsRequest({ ...ENDED, dead: 'x' }), keepsRequest(RUNNING)], [false, true, true])
  })
})

describe('a streamed answer', () => {
  const ANSWERING: JobRecord = after({ ...RUNNING, onPartial: 'fail' }, EVENTS.answer)

  test('begins once in an attempt, and is counted', () => {
    assert.deepEqual([ANSWERING.answering, ANSWERING.answers], [true, 1])
    assert.equal(step(ANSWERING, EVENTS.answer, AT), undefined)
    const { onPartial: _, ...ordinary } = RUNNING
    assert.equal(step(ordinary, EVENTS.answer, AT), undefined, 'only of jobs that stream')
  })

  test('is over with its attempt, however that ends, and its number never comes again', () => {
    for (const kind of ['retry', 'handBack', 'cancel', 'fail', 'succeed', 'lapse', 'void'] as const) {
      const next = after({ ...ANSWERING, onPartial: 'restart' }, EVENTS[kind])
      assert.deepEqual([next.answering, next.answers], [undefined, 1], kind)
    }
    const redriven = after(after(ANSWERING, EVENTS.void), EVENTS.redrive)
    const again = after(after(redriven, EVENTS.lease), EVENTS.answer)
    assert.equal(again.answers, 2)
  })

  test('that nobody saw the end of fails its job, or begins anew', () => {
    for (const kind of ['lapse', 'void'] as const) {
      const failed = after(ANSWERING, EVENTS[kind])
      assert.deepEqual([failed.status, failed.dead, failed.error?.code], ['failed', 'answer_broken', 'answer_broken'], kind)
      assert.notEqual(placeOf(after({ ...ANSWERING, onPartial: 'restart' }, EVENTS[kind])), 'ended', kind)
      assert.notEqual(placeOf(after({ ...RUNNING, onPartial: 'fail' }, EVENTS[kind])), 'ended', `${kind} before it began`)
    }
  })

  test('is sent again, but for a job that is sent once', () => {
    const once = { ...ANSWERING, onPartial: 'restart', sendOnce: true } as const
    assert.equal(after(once, EVENTS.void).dead, 'outcome_unknown')
  })

  test('weighs with all of its bytes', () => {
    const done = after(ANSWERING, { kind: 'succeed', resultBytes: 1000, blobBytes: 900 })
    assert.deepEqual([done.blobBytes, blobOf(done), endedBytesOf(done)], [900, { number: 1, bytes: 900 }, 2024])
  })
})
