/**
 * What a receiver's answer, or the lack of one, means for a webhook: the outcome table of `docs/guarantees.md` as one pure function. Standard
 * Webhooks says what counts as taken; when it is tried again follows what Svix does, because receivers are built for that.
 */
import type { EpochMillis, Millis } from '../../lib/units.ts'
import type { ErrorCode } from '../errors.ts'
import { parseRetryAfter, type VerdictError } from '../jobs/settlement.ts'

/** Who is overloaded is not asked again within this time, whatever the schedule says. */
export const OVERLOAD_PAUSE_MS: Millis = 60_000
/** So much more or less than the schedule says. */
const JITTER = 0.2
const GONE = 410
const TOO_MANY = 429
const RETRY_AFTER_MAX_MS: Millis = 366 * 86_400_000

export type DeliveryEnd =
  | { readonly kind: 'answer'; readonly status: number; readonly retryAfter?: string | undefined }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string }

export interface DeliveryFacts {
  /** Number of this attempt, from 1. */
  readonly attempt: number
  /** The pause after each failed attempt; the last one goes on. */
  readonly retriesMs: readonly Millis[]
  readonly now: EpochMillis
  /** Uniform in [0, 1). */
  readonly unit: number
}

export type DeliveryVerdict =
  | { readonly kind: 'succeed' }
  /** Again after the pause while attempts are left. */
  | { readonly kind: 'retry'; readonly afterMs: Millis; readonly error: VerdictError }
  /** The receiver wants nothing more, ever. */
  | { readonly kind: 'gone'; readonly error: VerdictError }
  /** It was no attempt. */
  | { readonly kind: 'handBack' }

export function decideDelivery(end: DeliveryEnd, facts: DeliveryFacts): DeliveryVerdict {
  if (end.kind === 'failed') {
    if (end.code === 'shutting_down') return { kind: 'handBack' }
    const timedOut = end.code === 'attempt_timeout' || end.code === 'connect_timeout'
    return { kind: 'retry', afterMs: pauseMs(facts, { overloaded: timedOut }), error: { code: end.code, detail: end.detail } }
  }
  const { status, retryAfter } = end
  if (status >= 200 && status < 300) return { kind: 'succeed' }
  if (status === GONE) return { kind: 'gone', error: { code: 'webhook_gone', detail: 'The receiver answered 410.', status } }
  const error: VerdictError = { code: 'server_error', detail: `The receiver answered ${status}.`, status }
  const askedMs = parseRetryAfter(retryAfter, facts.now, RETRY_AFTER_MAX_MS)
  return { kind: 'retry', afterMs: pauseMs(facts, { overloaded: status === TOO_MANY, askedMs }), error }
}

/** What the receiver asks for counts between the pause that is due and twice that. */
function pauseMs(facts: DeliveryFacts, how: { readonly overloaded: boolean; readonly askedMs?: Millis | undefined }): Millis {
  const { attempt, retriesMs, unit } = facts
  const planned = retriesMs[Math.min(attempt, retriesMs.length) - 1] ?? OVERLOAD_PAUSE_MS
  const base = how.overloaded ? Math.max(planned, OVERLOAD_PAUSE_MS) : planned
  const nominal = Math.min(Math.max(how.askedMs ?? base, base), 2 * base)
  const least = how.askedMs === undefined ? (how.overloaded ? OVERLOAD_PAUSE_MS : 0) : nominal
  return Math.ceil(Math.max(least, nominal * (1 - JITTER + 2 * JITTER * unit)))
}
