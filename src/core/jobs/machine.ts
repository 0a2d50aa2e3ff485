/**
 * The life of one job as a pure function: a record and an event give the next record, or `undefined` when the event does not
 * apply to where the job is (a stale lease, a second cancel): then nothing may change.
 */
import type { Bytes, EpochMillis, Millis } from '../../lib/units.ts'
import { handOutsOf, type JobError, type JobRecord, mayExpire, placeOf } from './record.ts'

/** A job that was handed out more than so many times its `attempts` without being done is poison. */
export const HAND_OUTS_PER_ATTEMPT = 10

export type JobEvent =
  | { readonly kind: 'lease'; readonly fence: number; readonly secret: string; readonly server: string; readonly keptMs?: Millis }
  | EndEvent
  /** The server goes on without the exchange: the lease is kept for so long. */
  | { readonly kind: 'defer'; readonly forMs: Millis; readonly retryMs: Millis }
  /** The lease ran out without a word: the attempt may have had effects. */
  | { readonly kind: 'lapse' }
  /** The gateway that held the lease is gone. */
  | { readonly kind: 'void' }
  /** `forgetKey`: the client is told that nothing was done, so the same idempotency key may come again. */
  | { readonly kind: 'cancel'; readonly forgetKey: boolean }
  | { readonly kind: 'progress'; readonly progress: string }
  /** The server has begun to answer a job whose answer is streamed: from here on somebody may have seen a part of it. */
  | { readonly kind: 'answer' }
  /** Time has come for it: due or expired. */
  | { readonly kind: 'time' }
  /** Its stored request cannot be read any more. */
  | { readonly kind: 'damaged' }
  /** The queue is full, and it is the oldest that waits. */
  | { readonly kind: 'overflow' }
  /** A dead letter runs again, with all its attempts. `requestBytes`: of another request than it had. */
  | { readonly kind: 'redrive'; readonly afterMs: Millis; readonly requestBytes?: Bytes }

/** The answer is stored by the engine; the record only knows its size. `reported`: the lease that ended it is remembered. */
type EndEvent = { readonly resultBytes: Bytes; readonly reported?: boolean } & (
  | { readonly kind: 'succeed'; readonly blobBytes?: Bytes }
  | { readonly kind: 'retry'; readonly afterMs: Millis; readonly error: JobError }
  | { readonly kind: 'handBack'; readonly afterMs: Millis; readonly error?: JobError }
  | { readonly kind: 'fail'; readonly error: JobError; readonly deadLetter: boolean; readonly holdsKey?: boolean }
)

export interface Moment {
  readonly now: EpochMillis
  /** Every version from here on is above it: versions grow over restarts, also when the last changes before one were lost. */
  readonly versionFloor: number
}

export function step(record: JobRecord, event: JobEvent, moment: Moment): JobRecord | undefined {
  const place = placeOf(record)
  if (event.kind === 'redrive') return record.dead === undefined ? undefined : redriven(record, event, moment)
  if (place === 'ended') return undefined
  switch (event.kind) {
    case 'lease':
      return place === 'line' && !isOver(record, moment) ? leased(record, event, moment) : undefined
    case 'cancel':
      return ended(event.forgetKey ? { ...record, dedup: undefined } : record, { status: 'cancelled' }, moment)
    case 'damaged':
      return ended(record, dead('corrupt', { code: 'corrupt', detail: 'The stored request failed its checks' }), moment)
    case 'time':
      return place === 'running' ? undefined : timePassed(record, moment)
    case 'overflow':
      return place === 'running' ? undefined : ended(record, OVERFLOW, moment)
    default:
      return place === 'running' ? remembering(record, event, attemptEnded(record, event, moment)) : undefined
  }
}

/** Who has reported the end of a job and did not hear that it was taken may ask again. */
function remembering(before: JobRecord, event: AttemptEvent, after: JobRecord | undefined): JobRecord | undefined {
  const reported = 'reported' in event && event.reported === true
  if (!reported || after === undefined || placeOf(after) !== 'ended' || before.lease === undefined) return after
  const { fence, secret } = before.lease
  return { ...after, reportedBy: { fence, secret } }
}

type AttemptEvent = Extract<
  JobEvent,
  { kind: 'succeed' | 'retry' | 'handBack' | 'fail' | 'defer' | 'lapse' | 'void' | 'progress' | 'answer' }
>

function attemptEnded(record: JobRecord, event: AttemptEvent, moment: Moment): JobRecord | undefined {
  const counted = record.counted + 1
  switch (event.kind) {
    case 'succeed':
      return ended(
        { ...record, counted, resultBytes: event.resultBytes, ...(event.blobBytes !== undefined && { blobBytes: event.blobBytes }) },
        { status: 'succeeded' },
        moment,
      )
    case 'fail': {
      const end: End = event.deadLetter ? dead(event.error.code, event.error) : { status: 'failed', error: event.error }
      const holds = event.holdsKey === true && record.key !== undefined ? { blocksKey: true as const } : {}
      return ended({ ...record, ...holds, counted, resultBytes: event.resultBytes }, end, moment)
    }
    case 'retry': {
      const failed = { ...record, counted, resultBytes: event.resultBytes }
      if (counted >= record.attempts) return ended(failed, dead('attempts', event.error), moment)
      if (isTooLate(record, event.afterMs, moment)) return ended(failed, dead('deadline', event.error), moment)
      return again({ ...record, counted, error: event.error }, event.afterMs, moment)
    }
    case 'handBack':
      return handedBack(event.error === undefined ? record : { ...record, error: event.error }, event, moment)
    case 'defer':
      return deferred(record, event, moment)
    case 'lapse':
      return lapsed({ ...record, counted }, moment)
    case 'void':
      if (failsInPart(record)) return ended({ ...record, counted }, answerBroken('The gateway stopped while the server answered'), moment)
      if (record.sendOnce) return ended({ ...record, counted }, outcomeUnknown('The gateway stopped while a server worked on it'), moment)
      return handedBack(record, { afterMs: 0, resultBytes: -1 }, moment)
    case 'progress':
      return { ...record, progress: event.progress, version: nextVersion(record, moment) }
    case 'answer':
      if (record.onPartial === undefined || record.answering === true) return undefined
      return { ...record, answering: true, answers: (record.answers ?? 0) + 1, version: nextVersion(record, moment) }
  }
}

function leased(record: JobRecord, lease: Extract<JobEvent, { kind: 'lease' }>, moment: Moment): JobRecord {
  return {
    ...record,
    progress: undefined,
    notBefore: undefined,
    status: 'running',
    version: nextVersion(record, moment),
    handOuts: record.handOuts + 1,
    lease: { fence: lease.fence, secret: lease.secret, ...(lease.keptMs !== undefined && { keptMs: lease.keptMs }) },
    server: lease.server,
    startedAt: record.startedAt ?? moment.now,
    attemptAt: moment.now,
  }
}

function deferred(record: JobRecord, how: Extract<JobEvent, { kind: 'defer' }>, moment: Moment): JobRecord | undefined {
  if (record.lease === undefined) return undefined
  const keptMs = Math.ceil(how.forMs)
  const lease = { ...record.lease, keptMs, deferred: { until: moment.now + keptMs, retryMs: Math.ceil(how.retryMs) } }
  return { ...record, lease, version: nextVersion(record, moment) }
}

function lapsed(record: JobRecord, moment: Moment): JobRecord {
  const error = lapseErrorOf(record)
  const afterMs = record.lease?.deferred?.retryMs ?? 0
  if (failsInPart(record)) return ended(record, answerBroken(error.detail), moment)
  if (record.sendOnce) return ended(record, outcomeUnknown(error.detail), moment)
  if (record.counted >= record.attempts) return ended(record, dead('attempts', error), moment)
  if (isTooLate(record, afterMs, moment)) return ended(record, dead('deadline', error), moment)
  return again({ ...record, error }, afterMs, moment)
}

/** What it means that the lease of a running job was over. */
export function lapseErrorOf(record: JobRecord): JobError {
  if (record.lease?.deferred === undefined) return { code: 'lease_lapsed', detail: 'The attempt was not settled in time' }
  return { code: 'attempt_timeout', detail: 'The server deferred its answer and did not report the end in time' }
}

function handedBack(record: JobRecord, how: { readonly afterMs: Millis; readonly resultBytes: Bytes }, moment: Moment): JobRecord {
  const handOuts = handOutsOf(record)
  if (handOuts > HAND_OUTS_PER_ATTEMPT * record.attempts) {
    const last = record.error === undefined ? '' : `; the last one: ${record.error.detail}`
    const status = record.error?.status === undefined ? {} : { status: record.error.status }
    const error: JobError = { code: 'poison', detail: `Handed out ${handOuts} times without being done${last}`, ...status }
    return ended({ ...record, resultBytes: how.resultBytes }, dead('poison', error), moment)
  }
  const back = again(record, how.afterMs, moment)
  return isOver(back, moment) ? over(back, moment) : back
}

/** Back to waiting: in the line at once, or scheduled. */
function again(record: JobRecord, afterMs: Millis, moment: Moment): JobRecord {
  return {
    ...record,
    ...(record.answering === true && { answering: undefined }),
    lease: undefined,
    attemptAt: undefined,
    progress: undefined,
    status: record.counted === 0 ? 'queued' : 'retrying',
    version: nextVersion(record, moment),
    scheduled: afterMs > 0,
    notBefore: afterMs > 0 ? moment.now + Math.ceil(afterMs) : undefined,
  }
}

/**
 * As it was accepted, but for what it has been through: hand-outs go on counting, and a deadline gives it as much time as it had at first.
 * It does not expire: somebody has just asked for it.
 */
function redriven(record: JobRecord, how: Extract<JobEvent, { kind: 'redrive' }>, moment: Moment): JobRecord {
  const { deadlineMs, handOuts } = record
  const fresh: JobRecord = {
    ...record,
    counted: 0,
    handOutsBefore: handOuts,
    // One that blocked its key goes on holding it: nobody passes it while it waits.
    holdsAfter: record.blocksKey === true ? handOuts - 1 : handOuts,
    redrives: (record.redrives ?? 0) + 1,
    requestBytes: how.requestBytes ?? record.requestBytes,
    resultBytes: -1,
    error: undefined,
    dead: undefined,
    reportedBy: undefined,
    blocksKey: undefined,
    followUpDue: undefined,
    followedBy: undefined,
    startedAt: undefined,
    finishedAt: undefined,
    expiresAt: undefined,
    ordinal: 0,
    ...(deadlineMs !== undefined && { deadlineAt: moment.now + deadlineMs }),
  }
  return again(fresh, how.afterMs, moment)
}

function timePassed(record: JobRecord, moment: Moment): JobRecord | undefined {
  if (isOver(record, moment)) return over(record, moment)
  if (!record.scheduled || (record.notBefore ?? 0) > moment.now) return undefined
  return { ...record, scheduled: false, version: nextVersion(record, moment) }
}

/** Its time is over before it could begin (again). */
function isOver(record: JobRecord, moment: Moment): boolean {
  return isExpired(record, moment) || isTooLate(record, 0, moment)
}

function isExpired(record: JobRecord, moment: Moment): boolean {
  return mayExpire(record) && (record.expiresAt ?? 0) <= moment.now
}

/** The deadline is no later than the moment at which it could run again. */
function isTooLate(record: JobRecord, afterMs: Millis, moment: Moment): boolean {
  return record.deadlineAt !== undefined && record.deadlineAt <= moment.now + Math.ceil(afterMs)
}

interface End {
  readonly status: 'succeeded' | 'failed' | 'cancelled' | 'expired'
  readonly error?: JobError
  readonly dead?: string
}

function dead(reason: string, error: JobError): End {
  return { status: 'failed', error, dead: reason }
}

function outcomeUnknown(detail: string): End {
  return dead('outcome_unknown', { code: 'outcome_unknown', detail })
}

function answerBroken(detail: string): End {
  return dead('answer_broken', { code: 'answer_broken', detail })
}

/** Somebody may have seen a part of the answer, and another attempt is not wanted then. */
function failsInPart(record: JobRecord): boolean {
  return record.answering === true && record.onPartial === 'fail'
}

const OVERFLOW: End = {
  status: 'failed',
  error: { code: 'queue_overflow', detail: 'The queue was full, and this was its oldest waiting job' },
  dead: 'overflow',
}

/** What never had an attempt has expired; what had some has failed. */
function over(record: JobRecord, moment: Moment): JobRecord {
  if (isExpired(record, moment)) {
    const error: JobError = { code: 'job_expired', detail: 'No server took it before it expired' }
    return ended(record, { status: 'expired', error, dead: 'expired' }, moment)
  }
  const last = record.error === undefined ? '' : `; its last attempt: ${record.error.detail}`
  const error: JobError = { code: 'job_deadline', detail: `It was not done by its deadline${last}` }
  return ended(record, { status: record.counted === 0 ? 'expired' : 'failed', error, dead: 'deadline' }, moment)
}

function ended(record: JobRecord, end: End, moment: Moment): JobRecord {
  return {
    ...record,
    ...(record.answering === true && { answering: undefined }),
    lease: undefined,
    notBefore: undefined,
    scheduled: false,
    status: end.status,
    error: end.error,
    ...(end.dead !== undefined && { dead: end.dead }),
    version: nextVersion(record, moment),
    finishedAt: moment.now,
  }
}

function nextVersion(record: JobRecord, moment: Moment): number {
  return Math.max(record.version, moment.versionFloor) + 1
}
