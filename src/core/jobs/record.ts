/**
 * A job as the engines keep it, and what follows from it alone: its place, when time has to act on it, what it weighs.
 * Everything an engine keeps beside the record (order, timers, counters) is derived from these functions, so it cannot disagree with it.
 */
import type { Bytes, EpochMillis, Millis } from '../../lib/units.ts'

export const JOB_STATUSES = ['queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'expired'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

/** What a streamed answer means that breaks off after it began: the job has failed, or another attempt begins anew. */
export type OnPartial = 'fail' | 'restart'

/** Why a job did not (yet) succeed. `code` is from the registry in `core/errors.ts`. */
export interface JobError {
  readonly code: string
  readonly detail: string
  /** Status of the server's last answer, where there was one. */
  readonly status?: number
}

/** The job whose result it was made of, and how many jobs their chain has with it. */
export interface ParentJob {
  readonly id: string
  readonly depth: number
}

/** What was made of a job's result, or why nothing was. */
export type NextJob = { readonly id: string; readonly secret: string } | { readonly error: JobError }

export interface RecordLease {
  readonly fence: number
  readonly secret: string
  /** It outlives the process that gave it, by so much. */
  readonly keptMs?: Millis
  /** The server has deferred the end: until when it may report it, and how long after that the next attempt comes. */
  readonly deferred?: Deferred
}

export interface Deferred {
  readonly until: EpochMillis
  readonly retryMs: Millis
}

export interface JobRecord {
  readonly seq: number
  readonly secret: string
  readonly queue: string
  readonly route: string
  readonly method: string
  readonly key?: string
  readonly bucket: number
  readonly priority: number
  readonly attempts: number
  readonly sendOnce: boolean
  readonly reference?: string
  readonly binding?: string
  readonly tenant?: string
  readonly keepMs: Millis
  readonly keepDeadMs: Millis
  /** It deduplicates until then at least, so it is kept until then at least. */
  readonly dedup?: { readonly scopeKey: string; readonly until: EpochMillis } | undefined
  readonly requestBytes: Bytes
  readonly submittedAt: EpochMillis
  readonly expiresAt?: EpochMillis | undefined
  /** Past it, it is not begun (again); and how long that is from when it was accepted or redriven. */
  readonly deadlineAt?: EpochMillis
  readonly deadlineMs?: Millis

  readonly status: JobStatus
  readonly version: number
  /** Attempts that ended and counted. */
  readonly counted: number
  /** Ever; of those, before it was redriven last. */
  readonly handOuts: number
  readonly handOutsBefore?: number
  /** It holds its key by any hand-out after so many: those from before it was redriven or came to its queue do not count. */
  readonly holdsAfter?: number
  /** Waits for `notBefore`: not in the line. Only while queued or retrying. */
  readonly scheduled: boolean
  readonly notBefore?: EpochMillis | undefined
  /** How many had entered the queue's line before it did, itself included; 0 until it does. */
  readonly ordinal: number
  readonly lease?: RecordLease | undefined
  /** The lease by which its server reported the end. */
  readonly reportedBy?: RecordLease | undefined
  readonly server?: string
  /** When its first hand-out began, and the one that runs or that ended it. */
  readonly startedAt?: EpochMillis | undefined
  readonly attemptAt?: EpochMillis | undefined
  readonly finishedAt?: EpochMillis | undefined
  readonly progress?: string | undefined
  readonly error?: JobError | undefined
  /** Set on a dead letter: the reason. */
  readonly dead?: string | undefined
  /** It ended, and keeps its key all the same until somebody releases it. */
  readonly blocksKey?: true | undefined
  readonly redrives?: number
  readonly parent?: ParentJob
  readonly next?: NextJob
  /** What is to be done when it has ended: the gateway's own words. */
  readonly followUp?: string
  /** It has ended, and what follows from that is not done yet: until then it is not removed. */
  readonly followUpDue?: true | undefined
  /** What of it is done all the same: the gateway's own names. */
  readonly followedBy?: readonly string[] | undefined
  /** Hand-outs before the last that the storage keeps the story of. */
  readonly told?: number
  /** Bytes of the stored answer; -1: there is none. */
  readonly resultBytes: Bytes
  /** Of those, the body that lies in a blob: the one of the last attempt that began to answer. */
  readonly blobBytes?: Bytes
  /** Its answer is handed on while it comes. */
  readonly onPartial?: OnPartial
  /** How many of its attempts began to answer, ever; also before it was redriven. */
  readonly answers?: number
  /** The one that runs has begun to. */
  readonly answering?: true | undefined
}

/** `line`: could run now, or as soon as its key is free. `scheduled`: waits for time. */
export type Place = 'line' | 'scheduled' | 'running' | 'ended'

export function placeOf(record: JobRecord): Place {
  switch (record.status) {
    case 'queued':
    case 'retrying':
      return record.scheduled ? 'scheduled' : 'line'
    case 'running':
      return 'running'
    case 'succeeded':
    case 'failed':
    case 'cancelled':
    case 'expired':
      return 'ended'
  }
}

/** Hand-outs since it was accepted or redriven. */
export function handOutsOf(record: JobRecord): number {
  return record.handOuts - (record.handOutsBefore ?? 0)
}

/** Can no longer give up its key before it ends: later jobs of the key must not pass it. */
export function holdsKey(record: JobRecord): boolean {
  return record.blocksKey === true || (record.handOuts > (record.holdsAfter ?? 0) && placeOf(record) !== 'ended')
}

/** Until its first attempt a job may expire. A hand-out that was no attempt does not change that. */
export function mayExpire(record: JobRecord): boolean {
  return record.expiresAt !== undefined && record.counted === 0 && (record.status === 'queued' || record.status === 'retrying')
}

/** When time has next to act on a job that has not ended: it becomes due, it expires, or its deadline passes. */
export function timerOf(record: JobRecord): EpochMillis | undefined {
  const place = placeOf(record)
  if (place !== 'line' && place !== 'scheduled') return undefined
  const expiry = mayExpire(record) ? record.expiresAt : undefined
  const due = place === 'scheduled' ? record.notBefore : undefined
  return earliest(earliest(due, expiry), record.deadlineAt)
}

function earliest(a: EpochMillis | undefined, b: EpochMillis | undefined): EpochMillis | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return Math.min(a, b)
}

export function endedAtOf(record: JobRecord): EpochMillis {
  return record.finishedAt ?? record.submittedAt
}

/** When an ended job may be removed. One that blocks its key is not removed by time. */
export function keepUntilOf(record: JobRecord): EpochMillis {
  const kept = endedAtOf(record) + (record.dead === undefined ? record.keepMs : record.keepDeadMs)
  return Math.max(kept, record.dedup?.until ?? 0)
}

/** The file, or the like, in which an answer's body lies that was stored while it came. */
export interface KeptBlob {
  /** Of the job's, which. */
  readonly number: number
  readonly bytes: Bytes
}

export function blobOf({ answers, blobBytes }: JobRecord): KeptBlob | undefined {
  return answers === undefined || blobBytes === undefined ? undefined : { number: answers, bytes: blobBytes }
}

/** Only a dead letter can be run again, so only it keeps its request after its end. */
export function keepsRequest(record: JobRecord): boolean {
  return placeOf(record) !== 'ended' || record.dead !== undefined
}

/** What an ended job weighs beside its bodies, so that a great many empty results are bounded as well. */
const ENDED_RECORD_BYTES: Bytes = 1024

/** What an ended job counts against the queue's limit for finished jobs. */
export function endedBytesOf(record: JobRecord): Bytes {
  const request = keepsRequest(record) ? record.requestBytes : 0
  return ENDED_RECORD_BYTES + Math.max(0, record.resultBytes) + request
}
