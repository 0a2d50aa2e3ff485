/**
 * The contract between the gateway and what makes jobs durable.
 *
 * Resolved = durable, by the engine's stated promise (a lease is the exception, see `lease`).
 * Every method takes a batch and gives a result per item in the same order: a stale fence is a value, not an exception.
 * A rejected promise means that the engine itself failed; nothing of that batch may be assumed.
 * The contract is observational: `succeeded` is visible => it is durable and its result can be read.
 */
import type { JobError, JobStatus } from '../core/jobs/record.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'

/** Unique in the store, ordered by acceptance, no secret. */
export type JobId = string
export type QueueName = string

export type { JobError, JobStatus }

/** Name, value, name, value …: spelling and order as they came. */
export type FlatHeaders = readonly string[]

/** The HTTP request to replay. Hop-by-hop fields and `Expect` are already gone; `Host` is among the headers. */
export interface JobRequest {
  readonly method: string
  /** The request target as it came: path and query, never decoded. */
  readonly target: string
  readonly headers: FlatHeaders
  readonly body: Uint8Array
}

/** A server's final answer as it was, hop-by-hop fields removed. */
export interface JobAnswer {
  readonly status: number
  readonly reason: string
  readonly headers: FlatHeaders
  readonly body: Uint8Array
}

/** Deduplication of submissions. Kept as long as the job and at least `keepMs`. */
export interface Idempotency {
  /** Scope and key, hashed: 32 bytes as hex. */
  readonly scopeKey: string
  /** Hash of method, target, content type and body: 32 bytes as hex. */
  readonly fingerprint: string
  readonly keepMs: Millis
}

export interface NewJob {
  readonly queue: QueueName
  readonly route: string
  readonly request: JobRequest
  /** Jobs of one key run one at a time, in order of acceptance. */
  readonly key?: string
  /** 0..9, 9 first. */
  readonly priority: number
  /** Not before this much time from now. */
  readonly delayMs?: Millis
  /** Counted attempts after which a job that still fails is dead. */
  readonly attempts: number
  /** From `notBefore` to the first attempt. */
  readonly expireAfterMs?: Millis
  /** How long a finished job stays readable; `keepDeadMs` for dead letters. */
  readonly keepMs: Millis
  readonly keepDeadMs: Millis
  readonly reference?: string
  readonly idempotency?: Idempotency
  /**
   * `safe` and a method that is not idempotent: the job is sent again only if nothing reached a server.
   * The engine syncs the lease of such a job before it resolves, so that a power cut cannot forget it.
   */
  readonly sendOnce: boolean
}

/** A job as it is stored, without its bodies. Plain data: it crosses threads. */
export interface StoredJob {
  readonly id: JobId
  /** 128 random bits, base64url. With the id it makes the client's token. Never logged. */
  readonly secret: string
  readonly queue: QueueName
  readonly route: string
  readonly status: JobStatus
  /** Grows with every visible change, also over restarts. */
  readonly version: number
  readonly key?: string
  readonly bucket: number
  readonly priority: number
  /** Number of the current (or last) attempt; 0 before the first. */
  readonly attempt: number
  /** The most attempts it may have. */
  readonly attempts: number
  readonly handOuts: number
  readonly submittedAt: EpochMillis
  readonly notBefore?: EpochMillis
  readonly expiresAt?: EpochMillis
  readonly startedAt?: EpochMillis
  readonly finishedAt?: EpochMillis
  readonly reference?: string
  /** The job of the same key that has to end first. */
  readonly blockedBy?: JobId
  /** Place in the line, 1 = next; only while it waits for a server (not for time). Exact for first-in-first-out, else an estimate. */
  readonly position?: number
  /** Last progress that the server reported: JSON text. */
  readonly progress?: string
  readonly error?: JobError
  /** Set when the job is a dead letter: the reason. */
  readonly dead?: string
  readonly hasAnswer: boolean
  readonly sendOnce: boolean
  readonly method: string
  /** The server that works on it or did last. */
  readonly server?: string
}

export type Submitted =
  | { readonly kind: 'created'; readonly job: StoredJob }
  | { readonly kind: 'duplicate'; readonly job: StoredJob }
  /** Same idempotency key, another fingerprint. */
  | { readonly kind: 'conflict' }
  /** `limit` names what is full: `jobs`, `bytes`, `finished`, `disk`. */
  | { readonly kind: 'refused'; readonly limit: string; readonly detail: string }

export interface LeaseRequest {
  readonly queue: QueueName
  readonly server: string
  /** Bit b of byte b>>3 set: bucket b is the server's own. 32 bytes. */
  readonly buckets: Uint8Array
  readonly max: number
  /** When own buckets have nothing ready, take the oldest jobs without a key from the others. */
  readonly stealUnkeyed: boolean
  readonly leaseMs: Millis
}

export interface LeaseRef {
  readonly id: JobId
  /** Grows with every lease in the store, over restarts too. */
  readonly fence: number
  /** Per-attempt secret, base64url. */
  readonly secret: string
}

export interface Lease {
  readonly ref: LeaseRef
  readonly job: StoredJob
  readonly request: JobRequest
  /** From another server's bucket. */
  readonly stolen: boolean
}

export type LeaseOutcome = 'extended' | 'stale'

export type Settlement =
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
  | { readonly kind: 'fail'; readonly lease: LeaseRef; readonly error: JobError; readonly answer?: JobAnswer; readonly deadLetter: boolean }

export type SettleOutcome =
  | { readonly kind: 'settled'; readonly job: StoredJob }
  /** Another lease, a cancel or an end came first: nothing was changed. */
  | { readonly kind: 'stale' }

export type JobCommand =
  /** `onlyUnbegun`: cancel only if it is not running and had no attempt; a hand-out that was none (refused, "not now") is no beginning. Its idempotency key is free again. */
  | { readonly kind: 'cancel'; readonly id: JobId; readonly onlyUnbegun?: boolean }
  /** From the server that works on it; `secret` is the lease's. */
  | { readonly kind: 'progress'; readonly id: JobId; readonly secret: string; readonly progress: string }
  | { readonly kind: 'configure'; readonly queue: QueueName; readonly limits: QueueLimits }

export type CommandOutcome =
  | { readonly kind: 'done'; readonly job?: StoredJob /** cancel: the attempt that was running */; readonly aborted?: LeaseRef }
  /** cancel: it had ended (or, with `onlyUnbegun`, begun) before; unchanged. */
  | { readonly kind: 'unchanged'; readonly job: StoredJob }
  | { readonly kind: 'stale' }
  | { readonly kind: 'missing' }

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
}

export interface QueueStats {
  readonly queue: QueueName
  readonly counts: Readonly<Record<JobStatus, number>>
  readonly bytes: Bytes
  readonly finishedBytes: Bytes
  /** When the oldest job that waits for a server was submitted. */
  readonly oldestWaitingAt?: EpochMillis
  /** Dead letters by reason. */
  readonly dead: Readonly<Record<string, number>>
}

export interface ReadJob {
  readonly job: StoredJob
  /** Only with `want: 'result'` and `job.hasAnswer`. */
  readonly answer?: JobAnswer
}

export interface Tick {
  /** Until the next thing is due; absent: nothing is scheduled. */
  readonly nextMs?: Millis
  /** Queues in which a job became ready. */
  readonly ready: readonly QueueName[]
  /** Jobs whose status this tick changed (expired, dead, lease lapsed). */
  readonly changed: readonly StoredJob[]
}

export interface JobStore {
  /** Dedup and limits are decided here, in the same commit. */
  submit(jobs: readonly NewJob[]): Promise<readonly Submitted[]>
  /** Flat list over all requests' leases is in `leases[i]` of request i. Need not be synced (except `sendOnce` jobs): after a power cut the job is handed out again. */
  lease(requests: readonly LeaseRequest[]): Promise<readonly (readonly Lease[])[]>
  extend(leases: readonly LeaseRef[], forMs: Millis): Promise<readonly LeaseOutcome[]>
  settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]>
  command(commands: readonly JobCommand[]): Promise<readonly CommandOutcome[]>
  read(ids: readonly JobId[], want: 'status' | 'result'): Promise<readonly (ReadJob | undefined)[]>
  /** Lapsed leases, due delays, expiry, retention; in small steps. */
  tick(): Promise<Tick>
  /** One per queue known to the store. O(queues). */
  stats(): Promise<readonly QueueStats[]>
  close(): Promise<void>
}

/** What an engine tells its owner. All optional duties of telemetry; `onFatal` means: stop the process, never go on. */
export interface StoreEvents {
  onSync?(took: Millis, operations: number): void
  onFatal?(error: Error): void
  /** A record that fails its checks: quarantined, not skipped silently. */
  onCorrupt?(what: string): void
}
