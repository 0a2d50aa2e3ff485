/**
 * The contract between the gateway and what makes jobs durable.
 *
 * Resolved = durable, by the engine's stated promise (a lease is the exception, see `lease`).
 * Every method takes a batch and gives a result per item in the same order: a stale fence is a value, not an exception.
 * Calls of one process take effect in the order in which they were made, also while earlier ones are not resolved yet.
 * A rejected promise means that the engine itself failed; nothing of that batch may be assumed.
 * The contract is observational: `succeeded` is visible => it is durable and its result can be read.
 */
import type { Rate } from '../lib/rate.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { Blobs } from './blobs.ts'
import type { JobError, JobStatus, NextJob, JobId, QueueName, JobRequest, JobAnswer, NewJob, StoredJob } from './job.ts'

export type * from './job.ts'

export type Submitted =
  | { readonly kind: 'created'; readonly job: StoredJob }
  | { readonly kind: 'duplicate'; readonly job: StoredJob }
  /** Same idempotency key, another fingerprint. */
  | { readonly kind: 'conflict' }
  /** `limit` names what is full: `jobs`, `bytes`, `age`, `disk`. */
  | { readonly kind: 'refused'; readonly limit: string; readonly detail: string }

/** Of jobs that are taken together or not at all. */
export type SubmittedWhole =
  /** The ids of the others are those that follow on the first one's. */
  | { readonly kind: 'created'; readonly first: StoredJob }
  /** The first job of a submission before, whose idempotency key this one's has. */
  | { readonly kind: 'duplicate'; readonly first: StoredJob }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'refused'; readonly limit: string; readonly detail: string; readonly queue: QueueName }

export interface LeaseRequest {
  readonly queue: QueueName
  readonly server: string
  /** Bit b of byte b>>3 set: bucket b is the server's own. 32 bytes. */
  readonly buckets: Uint8Array
  readonly max: number
  /** When own buckets have nothing ready, take the oldest jobs without a key from the others. */
  readonly stealUnkeyed: boolean
  readonly leaseMs: Millis
  /** No more once the requests weigh so much; at least one. */
  readonly bytesMax?: Bytes
  /** Whoever asks is a process of its own: the lease outlives this one, and begins anew with the next that opens the store. */
  readonly keeps?: boolean
}

export interface LeaseRef {
  readonly id: JobId
  /** Grows with every lease in the store, over restarts too. */
  readonly fence: number
  /** Per-attempt secret, base64url. */
  readonly secret: string
  /** Whoever may do this in one queue only says in which: a lease of another one is stale to it. */
  readonly queue?: QueueName
}

export interface Lease {
  readonly ref: LeaseRef
  readonly job: StoredJob
  readonly request: JobRequest
  /** From another server's bucket. */
  readonly stolen: boolean
}

export type LeaseOutcome = 'extended' | 'stale'

/** `reported`: by the server, beside its answer. Such an end is kept with its lease, so that who repeats the report can be told that it is done. */
export interface Reported {
  readonly reported?: boolean
}

/**
 * No end: the exchange with the server is over, its work is not. The lease goes on for `forMs`, and outlives this process. When it lapses, that was an
 * attempt that timed out, and the next one comes after `retryMs`. No more than `jobsMax` jobs of the queue at once.
 */
export interface Deferral {
  readonly kind: 'defer'
  readonly lease: LeaseRef
  readonly forMs: Millis
  readonly retryMs: Millis
  readonly jobsMax: number
  /** There will be one. */
  readonly answer?: undefined
}

export type Settlement = Ending | Deferral

/** How a hand-out ends. */
export type Ending = Reported &
  (
    | { readonly kind: 'succeed'; readonly lease: LeaseRef; readonly answer: JobAnswer }
    /** An attempt that failed: again after `afterMs` while attempts are left, else failed for good with `answer` as the result. */
    | { readonly kind: 'retry'; readonly lease: LeaseRef; readonly afterMs: Millis; readonly error: JobError; readonly answer?: JobAnswer }
    /** A hand-out that was no attempt; more than 10 x attempts of them -> failed `poison`. */
    | {
        readonly kind: 'handBack'
        readonly lease: LeaseRef
        readonly afterMs: Millis
        readonly error?: JobError
        readonly answer?: JobAnswer
      }
    | {
        readonly kind: 'fail'
        readonly lease: LeaseRef
        readonly error: JobError
        readonly answer?: JobAnswer
        readonly deadLetter: boolean
        /** Whatever the queue's rules say: nobody of its key goes before somebody has decided. */
        readonly holdsKey?: boolean
      }
  )

export type SettleOutcome =
  /** `ready`: by it, a job of the queue can be handed out that could not before. */
  | { readonly kind: 'settled'; readonly job: StoredJob; readonly ready?: boolean }
  /** Another lease, a cancel or an end came first: nothing was changed. */
  | { readonly kind: 'stale' }
  /** The job has ended so before, by a report of this very lease: nothing was changed. */
  | { readonly kind: 'repeated'; readonly job: StoredJob }
  /** As many jobs of the queue are deferred as may be: nothing was changed, the lease goes on as it was. */
  | { readonly kind: 'full' }

export type JobCommand =
  /** `onlyUnbegun`: cancel only if it is not running and had no attempt; a hand-out that was none (refused, "not now") is no beginning. Its idempotency key is free again. */
  | { readonly kind: 'cancel'; readonly id: JobId; readonly onlyUnbegun?: boolean }
  /** From the server that works on it; `secret` is the lease's. */
  | { readonly kind: 'progress'; readonly id: JobId; readonly secret: string; readonly progress: string }
  /** The server has begun to answer a job whose answer is streamed. `done` is durable: what is handed on from now on is never forgotten to have been. */
  | { readonly kind: 'answer'; readonly lease: LeaseRef }
  /** Makes the queue if it is not there. `definition`: what its maker wants to read again, kept as it is. */
  | {
      readonly kind: 'configure'
      readonly queue: QueueName
      readonly limits: QueueLimits
      readonly rules?: QueueRules
      readonly definition?: string
    }
  /** Forgets a queue that holds no job, no schedule and no task. */
  | { readonly kind: 'drop'; readonly queue: QueueName }
  /** Nothing is handed out until `resume`; over restarts too. */
  | { readonly kind: 'pause'; readonly queue: QueueName }
  | { readonly kind: 'resume'; readonly queue: QueueName }
  /** The failed job that blocks the key gives it up: the next one goes. Its version stays: by it its end is known, and what is told of that. */
  | { readonly kind: 'release'; readonly queue: QueueName; readonly key: string }
  /** A dead letter runs again, with all its attempts, under its own id; with another request, in another queue, where these are given. */
  | { readonly kind: 'redrive'; readonly id: JobId; readonly request?: JobRequest; readonly queue?: QueueName; readonly delayMs?: Millis }
  /** A job that waits goes to the line of another queue, by its age. */
  | { readonly kind: 'move'; readonly id: JobId; readonly queue: QueueName }
  /**
   * What follows from the end of a job is done, and with that in one commit these notes are written (without text: removed).
   * `version`: the job's own then; another one means that it was sent again and does not apply. `next`: kept with the job. `more`: something else
   * is still to follow, so it stays in the outbox.
   */
  | {
      readonly kind: 'followed'
      readonly id: JobId
      readonly version: number
      readonly notes?: readonly NewNote[]
      readonly next?: NextJob
      readonly more?: boolean
      /** With `more`: what did follow, by names of the gateway's own; kept with the job beside those from before. */
      readonly followedBy?: readonly string[]
    }
  /** An ended job is removed before its time; not while something is still to follow from its end. */
  | { readonly kind: 'forget'; readonly id: JobId }
  /** Makes or replaces it. */
  | { readonly kind: 'schedule'; readonly schedule: NewSchedule }
  | { readonly kind: 'unschedule'; readonly name: string }
  /** A small text that the gateway wants to find again, under a name of its choice; without text it is removed. */
  | ({ readonly kind: 'note' } & NewNote)
  /** Work on many jobs, done by `tick` in small steps; goes on after a restart. The outcome tells its number. */
  | { readonly kind: 'begin'; readonly task: NewTask }
  | { readonly kind: 'stop'; readonly task: number }

export interface NewNote {
  readonly name: string
  readonly text?: string
}

export type CommandOutcome =
  | {
      readonly kind: 'done'
      readonly job?: StoredJob
      /** cancel: the attempt that was running */
      readonly aborted?: LeaseRef
      /** begin: its number */
      readonly task?: number
    }
  /** It was so before, or (a job) where it is the command does not apply. */
  | { readonly kind: 'unchanged'; readonly job?: StoredJob }
  | { readonly kind: 'stale' }
  | { readonly kind: 'missing' }
  /** There is no room where it should go, or what it should do is not possible: `detail` says why. */
  | { readonly kind: 'refused'; readonly limit: string; readonly detail: string }

/** Which jobs, for browsing and for tasks. All that are given must hold. */
export interface JobFilter {
  readonly queue?: QueueName
  readonly statuses?: readonly JobStatus[]
  /** Dead letters only; with a reason only those of that reason. */
  readonly dead?: true | string
  readonly key?: string
  readonly tenant?: string
  readonly reference?: string
  /** Submitted at or after. */
  readonly since?: EpochMillis
  /** Submitted before. */
  readonly until?: EpochMillis
}

export interface BrowseRequest {
  readonly filter: JobFilter
  /** Those after it, in the order asked for; absent: from the beginning. */
  readonly after?: JobId
  readonly newestFirst?: boolean
  readonly max: number
}

export interface BrowsePage {
  readonly jobs: readonly StoredJob[]
  /** Where to go on; absent: that was all. A page may be short, even empty, and not be the last: a step looks at a bounded number of jobs. */
  readonly next?: JobId
}

/** A key that is held: by a job that runs, waits for its retry or for a server, or failed and blocks it. */
export interface KeyState {
  readonly key: string
  readonly holder: JobId
  readonly status: JobStatus
  readonly blocked: boolean
  /** Jobs that wait behind the holder. */
  readonly waiting: number
}

export interface KeyRef {
  readonly queue: QueueName
  /** Absent: it is not known yet, so any unfinished job may be of the same. */
  readonly key?: string | undefined
}

export interface KeysRequest {
  readonly queue: QueueName
  /** Only keys that a failed job blocks. */
  readonly blockedOnly: boolean
  readonly after?: string
  readonly max: number
}

export interface NewSchedule {
  readonly name: string
  /** A cron expression in a time zone, or a period from `startAt`. */
  readonly when: { readonly cron: string; readonly timeZone: string } | { readonly everyMs: Millis; readonly startAt: EpochMillis }
  /** What became due while nobody looked: `skip` it, run it `once`, or `all` of it (at most 1,000 times). */
  readonly missed: 'skip' | 'once' | 'all'
  readonly job: NewJob
  readonly paused: boolean
  /** As its maker wrote it, kept as it is. */
  readonly definition?: string
}

export interface ScheduleState extends Omit<NewSchedule, 'job'> {
  readonly queue: QueueName
  readonly nextAt?: EpochMillis
  readonly lastAt?: EpochMillis
  readonly lastJob?: JobId
  /** Jobs that it made, and due times that were skipped or refused. */
  readonly made: number
  readonly missedCount: number
  /** Why the last due time made no job. */
  readonly lastProblem?: string
}

/** `redrive`, `move` and `forget` as the commands of that name; `cancel` ends what waits. Only what the filter meets when it begins. */
export interface NewTask {
  readonly kind: 'redrive' | 'move' | 'forget' | 'cancel'
  readonly filter: JobFilter & { readonly queue: QueueName }
  /** redrive, move: to where. */
  readonly to?: QueueName
  /** At most so many jobs each second. */
  readonly perSecond?: number
}

export interface TaskState extends NewTask {
  readonly id: number
  readonly startedAt: EpochMillis
  readonly endedAt?: EpochMillis
  readonly done: number
  /** Met, but could not be done. */
  readonly refused: number
  readonly stopped: boolean
}

/** One hand-out that is over. */
export interface AttemptRecord {
  /** Number of the hand-out, from 1; and of the attempt, where it was one. */
  readonly handOut: number
  readonly attempt?: number
  readonly server?: string
  readonly startedAt: EpochMillis
  readonly endedAt: EpochMillis
  /** `succeeded`, or the code of the error. */
  readonly outcome: string
  readonly status?: number
  readonly detail?: string
}

export type RateLimit = Rate

/** How a queue hands out. */
export interface QueueRules {
  /** A keyed job that failed for good or expired: the next of its key goes, or waits until somebody releases the key. */
  readonly onFailure: 'skip' | 'block'
  /** So much waiting counts as one step of priority; absent: priority is strict. */
  readonly ageingMs?: Millis
  /** Jobs of the queue that run at once, wherever. */
  readonly maxRunning?: number
  /** Hand-outs. */
  readonly rate?: RateLimit
  /** Hand-outs of each key. */
  readonly keyRate?: RateLimit
  /** Jobs of one tenant that run at once. */
  readonly tenantMaxRunning?: number
  /** While fresher jobs wait, those that have waited for longer than `afterMs` get only this share of the hand-outs. Absent: the oldest goes first. */
  readonly sideline?: { readonly afterMs: Millis; readonly share: number }
  /** At the limit of jobs, bytes or age: a submission is refused, or the oldest waiting job becomes a dead letter (`overflow`). */
  readonly overflow: 'refuse' | 'drop-oldest'
  /** Something follows from the end of each of its jobs, whatever they say themselves. */
  readonly followUps?: boolean
}

export interface QueueLimits {
  /** Unfinished jobs. */
  readonly jobs: number
  /** Request bytes (headers and body) of unfinished jobs. */
  readonly bytes: Bytes
  /**
   * Bytes of finished jobs: results, requests of dead letters, and 1 KiB each for the rest. Above it the oldest go, dead letters last;
   * never the one that ended just now.
   */
  readonly finished: Bytes
  /** How long the oldest may have waited; absent: for ever. */
  readonly age?: Millis
}

/** Of the store as a whole; `limits` in the configuration. */
export interface StoreLimits {
  readonly schedules: number
  /** Of all definitions of schedules together. */
  readonly scheduleBytes: Bytes
  /** Tasks that are under way at once. */
  readonly tasks: number
  /** Keys of one queue whose rate is remembered; beyond it the rate of those that were used longest ago begins anew. */
  readonly rateKeys: number
}

export interface QueueStats {
  readonly queue: QueueName
  readonly counts: Readonly<Record<JobStatus, number>>
  readonly bytes: Bytes
  readonly finishedBytes: Bytes
  /** When the oldest job that waits for a server was submitted. */
  readonly oldestWaitingAt?: EpochMillis
  /** When the hand-out that has been running longest began; not of those that are deferred. */
  readonly oldestRunningAt?: EpochMillis
  /** Of the queued and retrying: those that wait for time. */
  readonly scheduled: number
  readonly paused: boolean
  /** Keys that wait for somebody to release them. */
  readonly blockedKeys: number
  /** Of the running: those whose server has deferred their end. */
  readonly deferred: number
  readonly limits: QueueLimits
  readonly rules: QueueRules
  /** As `configure` was given it. */
  readonly definition?: string
  /** Dead letters by reason. */
  readonly dead: Readonly<Record<string, number>>
}

export interface ReadJob {
  readonly job: StoredJob
  /** Only with `want: 'result'` and `job.hasAnswer`. */
  readonly answer?: JobAnswer
  /** Only with `want: 'request'`, and while it is kept. */
  readonly request?: JobRequest
  /** Only with `want: 'history'`: the hand-outs that are over, oldest first. */
  readonly history?: readonly AttemptRecord[]
}

export type ReadWant = 'status' | 'result' | 'request' | 'history'

export interface StoreInfo {
  readonly engine: string
  /** Grows with every opening of the store. */
  readonly generation: number
  /** Used by the store; of that, free for its next use. Absent where there is no disk. */
  readonly diskBytes?: Bytes
  readonly reusableBytes?: Bytes
  /** Free on the disk; below `floorBytes` nothing is accepted. */
  readonly freeBytes?: Bytes
  readonly floorBytes?: Bytes
  /** Why submissions are refused now, whatever the queue. */
  readonly refusing?: { readonly limit: string; readonly detail: string }
  /** Records that were put aside since the store was opened. */
  readonly corrupt: number
}

/** What an engine that has files can do with them while it runs. */
export type Maintenance =
  /** A copy of the whole store as it is at one moment, in a folder that does not exist yet. */
  | { readonly kind: 'backup'; readonly path: string }
  /** Every checksum, every index against its record, the file's own structure. */
  | { readonly kind: 'verify' }

export interface MaintenanceReport {
  readonly ok: boolean
  readonly jobs: number
  readonly bytes: Bytes
  /** What is wrong, at most 100 of it. */
  readonly problems: readonly string[]
}

export interface Tick {
  /** Until the next thing is due; absent: nothing is scheduled. */
  readonly nextMs?: Millis
  /** Queues in which a job became ready. */
  readonly ready: readonly QueueName[]
  /** Jobs whose status this tick changed (expired, dead, lease lapsed). */
  readonly changed: readonly StoredJob[]
}

/** A job of the outbox. */
export interface OutboxPlace {
  readonly queue: QueueName
  readonly id: JobId
  readonly endedAt: EpochMillis
}

export interface JobStore {
  /** Dedup and limits are decided here, in the same commit. */
  submit(jobs: readonly NewJob[]): Promise<readonly Submitted[]>
  /**
   * All of them in one commit, or none, with consecutive ids; nobody is dropped to make room for them. In the same commit the text of the note is
   * written, under its name with the id of the first job behind it. Only the first one's idempotency counts.
   */
  submitWhole(jobs: readonly NewJob[], note: Required<NewNote>): Promise<SubmittedWhole>
  /** Flat list over all requests' leases is in `leases[i]` of request i. Need not be synced (except `sendOnce` jobs): after a power cut the job is handed out again. */
  lease(requests: readonly LeaseRequest[]): Promise<readonly (readonly Lease[])[]>
  extend(leases: readonly LeaseRef[], forMs: Millis): Promise<readonly LeaseOutcome[]>
  settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]>
  command(commands: readonly JobCommand[]): Promise<readonly CommandOutcome[]>
  read(ids: readonly JobId[], want: ReadWant): Promise<readonly (ReadJob | undefined)[]>
  /** Lapsed leases, due delays, expiry, retention; in small steps. */
  tick(): Promise<Tick>
  /** One per queue known to the store. O(queues). */
  stats(): Promise<readonly QueueStats[]>
  browse(request: BrowseRequest): Promise<BrowsePage>
  keys(request: KeysRequest): Promise<readonly KeyState[]>
  /** Of each: would a job of this key that is submitted now have another one before it? One that waits for time is not in line yet. */
  held(keys: readonly KeyRef[]): Promise<readonly boolean[]>
  /**
   * Jobs that have ended and from whose end something is still to follow: those with a `followUp`, and all of queues whose rules say so. In
   * the order in which they ended, of each queue as many as `max`. They stay, in full, until `followed`: an outbox, written with their end in one commit.
   * `after`: of these queues alone, and what is behind these places, whether or not anything is there any more.
   */
  followUps(max: number, after?: readonly OutboxPlace[]): Promise<readonly StoredJob[]>
  /** All whose names begin so, by name. */
  notes(prefix: string): Promise<readonly { readonly name: string; readonly text: string }[]>
  schedules(): Promise<readonly ScheduleState[]>
  /** Those that run, and those that ended lately. */
  tasks(): Promise<readonly TaskState[]>
  info(): Promise<StoreInfo>
  /** Bodies of answers that are stored while they come. */
  readonly blobs: Blobs
  /** Absent: the engine has no files. */
  maintain?(work: Maintenance): Promise<MaintenanceReport>
  close(): Promise<void>
}

/** What an engine tells its owner. All optional duties of telemetry; `onFatal` means: stop the process, never go on. */
export interface StoreEvents {
  onSync?(took: Millis, operations: number): void
  onFatal?(error: Error): void
  /** A record that fails its checks: quarantined, not skipped silently. */
  onCorrupt?(what: string): void
}
