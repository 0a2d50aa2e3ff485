/**
 * What the ledger needs of a storage: records, payloads, and a few ordered indexes, all synchronous. Two implementations:
 * maps in memory, and SQLite. An implementation decides nothing; whatever has a rule to it is in the ledger or in `core/jobs`.
 */
import type { JobRecord, KeptBlob } from '../../core/jobs/record.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import type { AttemptRecord, QueueLimits, QueueRules } from '../../ports/job-store.ts'

/** A request or an answer: its head as JSON text in UTF-8, then the body as it came. */
export interface Payload {
  readonly head: Uint8Array
  readonly body: Uint8Array
}

export function payloadBytes(payload: Payload): Bytes {
  return payload.head.length + payload.body.length
}

/** Stored, but failed its checks; already reported. */
export const DAMAGED: unique symbol = Symbol('damaged')

/** Counters of a queue, kept in the same commit as what they count. */
export interface QueueCounters {
  /** By index into JOB_STATUSES. */
  readonly counts: readonly number[]
  /** Request bytes of unfinished jobs. */
  readonly bytes: Bytes
  readonly finishedBytes: Bytes
  /** Jobs that ever entered the line, and that are in it. */
  readonly entered: number
  readonly inLine: number
  /** Of the unfinished: those that wait for time. */
  readonly scheduled: number
  readonly blockedKeys: number
  readonly dead: Readonly<Record<string, number>>
}

export interface StoredQueue {
  readonly id: number
  readonly name: string
  /** undefined: they cannot be read. */
  readonly counters: QueueCounters | undefined
  /** undefined: none were saved. */
  readonly settings: QueueSettings | undefined
}

/** What is kept of a queue beside its jobs. */
export interface QueueSettings {
  readonly limits: QueueLimits
  readonly rules: QueueRules
  readonly paused: boolean
  readonly definition?: string
}

/** A job that can be handed out now, or was and runs. lane: `keyed * 256 + bucket`. */
export interface Runnable {
  readonly seq: number
  readonly queue: number
  readonly priority: number
  readonly lane: number
  readonly tenant: string
  /** Who runs it (see `run-mark.ts`); undefined: nobody. */
  readonly mark: string | undefined
}

export interface HeldKey {
  readonly key: string
  readonly holder: number
  /** By a job that failed. */
  readonly blocked: boolean
  /** Jobs behind the holder; counted up to a bound. */
  readonly waiting: number
}

export interface Blocked {
  readonly seq: number
  /** Said once more, for whoever looks for damage. */
  readonly priority: number
}

export interface DedupEntry {
  readonly seq: number
  readonly fingerprint: string
}

export interface Tables {
  /** Unique to this opening of the store and greater than that of any before. */
  readonly generation: number

  /** The highest sequence number ever given out. */
  lastSequence(): number
  saveLastSequence(seq: number): void

  queues(): readonly StoredQueue[]
  addQueue(name: string, counters: QueueCounters): number
  saveQueue(id: number, counters: QueueCounters): void
  saveSettings(id: number, settings: QueueSettings): void
  removeQueue(id: number): void

  insertRecord(record: JobRecord): void
  updateRecord(record: JobRecord): void
  record(seq: number): JobRecord | undefined | typeof DAMAGED
  /** All that can be read, in order of acceptance; the damaged ones are reported and put aside. */
  records(): Iterable<JobRecord>
  /** Some of those after `after` (before it, where the newest come first), in that order; damaged ones are left out. */
  recordPage(after: number, max: number, newestFirst: boolean): RecordPage
  deleteRecord(record: JobRecord): void

  putRequest(seq: number, payload: Payload): void
  request(seq: number): Payload | typeof DAMAGED
  /** `bytes`: what the record says it weighs. */
  deleteRequest(seq: number, bytes: Bytes): void
  /** Before anything is changed: throws if the blob is not there, whole. */
  adoptBlob(seq: number, blob: KeptBlob): void
  putResult(seq: number, payload: Payload, blob?: KeptBlob): void
  result(seq: number): Payload | typeof DAMAGED
  deleteResult(seq: number, bytes: Bytes, blob?: KeptBlob): void

  /** The story of a job's hand-outs, but for the last one where its record tells it. */
  addHistory(seq: number, entry: AttemptRecord): void
  history(seq: number): readonly AttemptRecord[]
  deleteHistory(seq: number): void

  /** As not running. */
  addRunnable(runnable: Omit<Runnable, 'mark'>): void
  markRunning(seq: number, mark: string | undefined): void
  removeRunnable(seq: number): void
  /** All, in any order; asked for when the store is opened. */
  runnable(): Iterable<Runnable>

  /** Before a commit: what was only collected until now. */
  flush(): void

  keyHolder(queue: number, key: string): number | undefined
  /** `blocked`: it failed, and keeps the key until somebody releases it. */
  setKeyHolder(queue: number, key: string, seq: number, blocked: boolean): void
  /** Keys in some fixed order, those after `after`. */
  heldKeys(queue: number, request: { readonly after?: string; readonly max: number; readonly blockedOnly: boolean }): readonly HeldKey[]
  dropKey(queue: number, key: string): void
  addBlocked(queue: number, key: string, blocked: Blocked): void
  removeBlocked(queue: number, key: string, seq: number): void
  firstBlocked(queue: number, key: string): number | undefined
  oldestBlocked(queue: number): number | undefined
  countBlocked(queue: number): number

  addTimer(at: EpochMillis, seq: number): void
  removeTimer(at: EpochMillis, seq: number): void
  firstTimer(): { readonly at: EpochMillis; readonly seq: number } | undefined

  /** Ended jobs by the end of their keeping, dead letters apart. */
  addEnded(queue: number, dead: boolean, keepUntil: EpochMillis, seq: number): void
  removeEnded(queue: number, dead: boolean, keepUntil: EpochMillis, seq: number): void
  /** Not the one with the number `except`. */
  firstEnded(queue: number, dead: boolean, except?: number): { readonly keepUntil: EpochMillis; readonly seq: number } | undefined

  /** Ended jobs from whose end something is still to follow, in the order in which they ended. */
  addFollowUp(queue: number, endedAt: EpochMillis, seq: number): void
  removeFollowUp(queue: number, endedAt: EpochMillis, seq: number): void
  followUps(queue: number, max: number, after?: { readonly endedAt: EpochMillis; readonly seq: number }): readonly number[]

  /** Puts a damaged record aside. What other tables say of it stays, until they are cleared. */
  quarantine(seq: number): void
  /** Empties all that can be derived from the records: runnable, keys, blocked, timers, ended. */
  clearIndexes(): void

  /** Of a job that still exists. */
  dedup(scopeKey: string): DedupEntry | undefined
  /** Valid as long as its job exists, at least until then. */
  addDedup(scopeKey: string, entry: DedupEntry, until: EpochMillis): void
  /** Forgets entries whose jobs are gone, in a small step. Says when there is more to do. */
  sweepDedup(now: EpochMillis): EpochMillis | undefined

  /** Texts under names, by name. */
  notes(prefix: string): readonly Note[]
  putNote(name: string, text: string): void
  dropNote(name: string): void

  /** Gives some of the room that is free inside back to the disk. True: there is more of it. */
  giveBack(): boolean
}

export interface RecordPage {
  readonly records: readonly JobRecord[]
  /** The last number that was looked at; undefined: there are no more. */
  readonly last: number | undefined
}

export interface Note {
  readonly name: string
  readonly text: string
}
