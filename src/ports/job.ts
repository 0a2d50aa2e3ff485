/** A job in the words of the gateway: what it is made of, what it is answered with, and how it is seen while it is kept. Plain data: it crosses threads. */
import type { JobError, JobStatus, NextJob, OnPartial, ParentJob } from '../core/jobs/record.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { BlobRef } from './blobs.ts'

/** Unique in the store, ordered by acceptance, no secret. */
export type JobId = string
export type QueueName = string

export type { JobError, JobStatus, NextJob, OnPartial, ParentJob }

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

export interface AnswerHead {
  readonly status: number
  readonly reason: string
  readonly headers: FlatHeaders
}

/** A server's final answer as it was, hop-by-hop fields removed. */
export interface JobAnswer extends AnswerHead {
  readonly body: Uint8Array
  /** Where the body lies if it was stored while it came; `body` is empty then. */
  readonly blob?: BlobRef
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
  /** From acceptance to its end: past it, it is not begun (again). */
  readonly deadlineMs?: Millis
  /** Whose job it is: where tenants share a queue, they take turns. */
  readonly tenant?: string
  /** How long a finished job stays readable; `keepDeadMs` for dead letters. */
  readonly keepMs: Millis
  readonly keepDeadMs: Millis
  readonly reference?: string
  /** A hash of who may see it beside its token; the store only keeps it. */
  readonly binding?: string
  readonly idempotency?: Idempotency
  /**
   * `safe` and a method that is not idempotent: the job is sent again only if nothing reached a server.
   * The engine syncs the lease of such a job before it resolves, so that a power cut cannot forget it.
   */
  readonly sendOnce: boolean
  /** Its answer is handed on while it comes. */
  readonly stream?: { readonly onPartial: OnPartial }
  /** What is to be done when it has ended, in the gateway's own words: see `JobStore.followUps`. */
  readonly followUp?: string
  readonly parent?: ParentJob
  readonly admission?: Admission
}

/** What a submission must find, beside room in the queue. Of this moment only: it is not kept. */
export interface Admission {
  /** Refused (`wait`) where more jobs than so many wait in line. */
  readonly aheadMax?: number
  /** Refused (`priority`) where with it more than this share of the queue's limit of jobs or bytes would be used. */
  readonly fillMax?: number
}

export interface StreamState {
  readonly onPartial: OnPartial
  /** How many of its attempts began to answer, ever: the number of the last one. Durable before anybody gets a byte of it. */
  readonly answers: number
  /** The attempt that runs is one of them. */
  readonly answering: boolean
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
  /** Past it, it is not begun (again). */
  readonly deadlineAt?: EpochMillis
  readonly tenant?: string
  /** When its first hand-out began. */
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
  /** It failed, and its key waits until somebody releases it. */
  readonly blocksKey: boolean
  /** How often it was sent again after it had failed for good. */
  readonly redrives: number
  readonly requestBytes: Bytes
  readonly hasAnswer: boolean
  /** Of the answer, head and body; only with `hasAnswer`. */
  readonly resultBytes?: Bytes
  /** Only of a job whose answer is streamed. */
  readonly stream?: StreamState
  readonly sendOnce: boolean
  readonly method: string
  /** As it was submitted. */
  readonly binding?: string
  /** The server that works on it or did last. */
  readonly server?: string
  readonly followUp?: string
  /** It has ended, and what follows from that is not done yet. */
  readonly followUpDue?: boolean
  /** With `followUpDue`: what of it is done all the same. */
  readonly followedBy?: readonly string[]
  /** Its server has deferred its end: until when it may report it. */
  readonly deferredUntil?: EpochMillis
  readonly parent?: ParentJob
  /** Its version does not grow with that: it is no part of its own life. */
  readonly next?: NextJob
}
