/** What is sent and what comes back, as types: the queue API's documents (docs/queue-api.md) with payloads of the user's types. */
import type { Duration } from './timing.ts'

export type JobStatus = 'queued' | 'running' | 'retrying' | 'succeeded' | 'failed' | 'cancelled' | 'expired'

const ENDED: ReadonlySet<string> = new Set<JobStatus>(['succeeded', 'failed', 'cancelled', 'expired'])

export function isEnded(status: string): boolean {
  return ENDED.has(status)
}

/** A name that comes twice has a list. */
export type Headers = Readonly<Record<string, string | readonly string[]>>

export interface SendOptions {
  /** Jobs of one key run one at a time, in the order in which they were accepted. */
  readonly key?: string
  readonly tenant?: string
  /** 0 to 9; 9 goes first. */
  readonly priority?: number
  /** A text of yours to find the job by. */
  readonly reference?: string
  /** A URL that is told of its end, by a webhook. */
  readonly callback?: string
  /** Not before. */
  readonly delay?: Duration
  /** Not begun after. */
  readonly expireAfter?: Duration
  /** Over at the latest. */
  readonly deadline?: Duration
  /** Instead of the queue's. */
  readonly attempts?: number
  /** A repeat under it gives the same job. Without it the client makes one, good for its own repeats. */
  readonly idempotencyKey?: string
  readonly contentType?: string
  readonly headers?: Headers
  readonly method?: string
  readonly target?: string
  /** Where its result is sent on to: a queue, a route such as `POST /translate`, or one of them with a request. */
  readonly then?: string | Then
}

export interface Then {
  readonly queue?: string
  readonly route?: string
  readonly method?: string
  readonly target?: string
  readonly headers?: Headers
}

export interface NewBatch<Payload> {
  /** Taken together or not at all. */
  readonly jobs: readonly Omit<NewJob<Payload>, 'idempotencyKey'>[]
  readonly reference?: string
  /** A repeat under it gives the same batch. Without it the client makes one, good for its own repeats. */
  readonly idempotencyKey?: string
}

/** How a batch stands. */
export interface BatchDocument {
  readonly id: string
  readonly status: 'running' | 'ended'
  readonly total: number
  readonly counts: Readonly<Record<JobStatus, number>>
  readonly reference?: string
  readonly submittedAt: string
  readonly finishedAt?: string
}

export interface NewJob<Payload> extends SendOptions {
  /** JSON, or bytes (`Uint8Array`), or, with a `contentType` that says so, a text. */
  readonly payload: Payload
}

/** Accepted: synced to disk. */
export interface SentJob {
  readonly status: 'created' | 'duplicate'
  readonly id: string
  /** For whoever may follow it: `queue.follow(token)`. A secret. */
  readonly token: string
}

/** Not accepted. */
export type NotSent =
  | { readonly status: 'conflict'; readonly detail?: string }
  | { readonly status: 'refused'; readonly limit: string; readonly detail: string; readonly retryAfterMs?: number }
  | { readonly status: 'invalid'; readonly detail: string }

export type SendResult = SentJob | NotSent

export interface PublishedCopy {
  readonly subscription: string
  readonly status: string
  readonly id?: string
  readonly detail?: string
}

export interface PublishedJob {
  readonly status: 'published'
  readonly copies: readonly PublishedCopy[]
}

export type PublishResult = PublishedJob | NotSent

/** A hand-out. */
export interface ReceivedJob<Payload> {
  readonly id: string
  /** Proves the lease; good for this hand-out only. A secret. */
  readonly receipt: string
  /** Grows with every hand-out: whoever keeps the highest can refuse an older one. */
  readonly fence: number
  readonly attempt: number
  readonly attempts: number
  readonly key?: string
  readonly tenant?: string
  readonly priority: number
  /** The job whose result it was made of. */
  readonly parent?: string
  readonly reference?: string
  readonly submittedAt: string
  readonly leaseEndsAt: string
  readonly deadlineAt?: string
  readonly method: string
  readonly target: string
  readonly headers: Headers
  readonly contentType?: string
  /** A JSON value, else a text, else bytes. */
  readonly payload: Payload
}

export type Outcome<Result = unknown> =
  | {
      readonly outcome: 'succeed'
      readonly result?: Result
      readonly contentType?: string
      readonly status?: number
      readonly headers?: Headers
    }
  /** An attempt that failed; again after `after` (default: the queue's backoff), while attempts are left. */
  | { readonly outcome: 'retry'; readonly after?: Duration; readonly reason?: string }
  /** No attempt: back to the line. */
  | { readonly outcome: 'release'; readonly after?: Duration }
  /** For good. */
  | { readonly outcome: 'fail'; readonly reason?: string; readonly deadLetter?: boolean }

export type Settlement<Result = unknown> = Outcome<Result> & { readonly receipt: string }

export type SettleResult =
  | { readonly status: 'settled'; readonly job: JobStatus }
  /** The lease was gone: nothing changed. Also the answer to a settlement that comes a second time. */
  | { readonly status: 'stale' }
  | { readonly status: 'invalid'; readonly detail?: string }

export type ExtendResult =
  | { readonly status: 'extended' }
  | { readonly status: 'stale' }
  | { readonly status: 'invalid'; readonly detail?: string }

export interface ReceiveOptions<Result = unknown> {
  /** Default 1. */
  readonly max?: number
  /** How long the gateway waits for the first job; default: not at all. */
  readonly wait?: Duration
  /** Default: the queue's `timeout`. */
  readonly lease?: Duration
  /** Who we are, for people. */
  readonly consumer?: string
  /** Settled first, in the same round trip. */
  readonly settlements?: readonly Settlement<Result>[]
  readonly signal?: AbortSignal
}

export interface Received<Payload> {
  readonly jobs: readonly ReceivedJob<Payload>[]
  /** Of the settlements, in their order. */
  readonly results: readonly SettleResult[]
}

/** Which jobs. All that are given must hold. */
export interface JobFilter {
  readonly status?: JobStatus | readonly JobStatus[]
  /** Dead letters; with a reason those of that reason. */
  readonly dead?: true | string
  readonly key?: string
  readonly tenant?: string
  readonly reference?: string
  readonly since?: Date | string
  readonly until?: Date | string
  /** In target, headers and body, of requests and results. */
  readonly text?: string
}

/** A job as `browse`, `peek` and `client.job` show it; what is not known, or not asked for, is absent. */
export interface JobView {
  readonly id: string
  readonly status: JobStatus
  readonly queue: string
  readonly attempt: number
  readonly attempts: number
  readonly submittedAt: string
  readonly key?: string
  readonly tenant?: string
  readonly reference?: string
  readonly [field: string]: unknown
}

export interface QueueView {
  readonly name: string
  readonly paused: boolean
  readonly [field: string]: unknown
}

export interface KeyView {
  readonly key: string
  readonly blocked: boolean
  readonly waiting: number
  readonly [field: string]: unknown
}

/** Work on many jobs, done step by step. */
export interface TaskView {
  readonly id: number
  readonly [field: string]: unknown
}

export interface Schedule<Payload = unknown> {
  readonly queue: string
  readonly cron?: string
  readonly every?: Duration
  readonly timeZone?: string
  /** What became due while no gateway ran. */
  readonly missed?: 'skip' | 'once' | 'all'
  readonly paused?: boolean
  readonly job: NewJob<Payload>
}

export interface ScheduleView {
  readonly name: string
  readonly queue: string
  readonly nextAt?: string
  readonly lastAt?: string
  readonly lastJob?: string
  readonly made: number
  readonly [field: string]: unknown
}

export interface CallOptions {
  readonly signal?: AbortSignal
}

/** A job's status document, as whoever has its token sees it. */
export interface JobDocument {
  readonly id: string
  readonly status: JobStatus
  readonly queue?: string
  /** Number of the current one. */
  readonly attempt?: number
  readonly attempts?: number
  readonly submittedAt?: string
  readonly startedAt?: string
  readonly finishedAt?: string
  readonly position?: number
  readonly etaMs?: number
  readonly progress?: unknown
  readonly reference?: string
  /** The job whose result it was made of. */
  readonly parent?: { readonly id: string }
  /** The job that was made of its result, or why there is none. */
  readonly next?: { readonly id: string; readonly links: { readonly self: string } } | { readonly error: { readonly code: string } }
  readonly error?: { readonly code: string; readonly detail?: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}
