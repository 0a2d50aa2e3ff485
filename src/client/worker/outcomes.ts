/** How a handler says what becomes of its job, other than by returning a result: what it throws. */
import type { Outcome } from '../jobs.ts'
import { type Duration, durationMs } from '../timing.ts'

/** Failed for good: no further attempt. */
export class Fail extends Error {
  override readonly name: string = 'Fail'
  readonly deadLetter: boolean

  constructor(reason: string, options: { readonly deadLetter?: boolean } = {}) {
    super(reason)
    this.deadLetter = options.deadLetter ?? true
  }
}

/** An attempt that failed; the next one after this time instead of the queue's backoff. */
export class RetryAfter extends Error {
  override readonly name: string = 'RetryAfter'
  readonly after: Duration

  constructor(after: Duration, reason = 'asked for by the handler') {
    super(reason)
    durationMs(after, 'RetryAfter')
    this.after = after
  }
}

/** Not now: back to the line, no attempt counted. */
export class Release extends Error {
  override readonly name: string = 'Release'
  readonly after: Duration | undefined

  constructor(after?: Duration) {
    super('released by the handler')
    if (after !== undefined) durationMs(after, 'Release')
    this.after = after
  }
}

/** Kept with the job, for people. */
export const REASON_MAX = 500

export function outcomeOf(thrown: unknown): Outcome {
  if (thrown instanceof Release) return thrown.after === undefined ? { outcome: 'release' } : { outcome: 'release', after: thrown.after }
  const reason = reasonText(thrown)
  if (thrown instanceof Fail) return { outcome: 'fail', reason, deadLetter: thrown.deadLetter }
  return thrown instanceof RetryAfter ? { outcome: 'retry', after: thrown.after, reason } : { outcome: 'retry', reason }
}

function reasonText(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message || thrown.name : String(thrown)
  // A cut may leave half of a character.
  return text.slice(0, REASON_MAX).toWellFormed()
}

/** What the worker itself reports, and aborts handlers with. */
export type WorkerErrorCode =
  /** The lease is gone: somebody else may have the job by now. What the handler returns is not settled. */
  | 'lease_lost'
  /** The handler took longer than it may, or than the job's deadline lets it. */
  | 'handler_timeout'
  /** The worker stops and does not wait any longer. */
  | 'stopping'
  /** The event loop was blocked for longer than `stuckAfter`: leases were not extended in that time. */
  | 'stuck'
  /** The gateway did not take the settlement. */
  | 'not_settled'
  /** The thread that extends leases ended; another one has been started. */
  | 'heartbeat'

export class WorkerError extends Error {
  override readonly name: string = 'WorkerError'
  readonly code: WorkerErrorCode

  constructor(code: WorkerErrorCode, detail: string, cause?: unknown) {
    super(`${code}: ${detail}`, cause === undefined ? undefined : { cause })
    this.code = code
  }
}
