/**
 * What a server's answer, or the lack of one, means for the job: the settle table of the product as one pure function.
 * It decides the kind and the delay; the store, which counts, decides whether attempts are left.
 */
import { parseDuration } from '../../lib/duration.ts'
import { parseHttpDate } from '../../lib/http-date.ts'
import type { EpochMillis, Millis } from '../../lib/units.ts'
import type { ErrorCode } from '../errors.ts'
import { type Backoff, backoffDelayMs } from './backoff.ts'
import type { OnPartial } from './record.ts'

const RETRY_AFTER_MAX_MS: Millis = 3_600_000
const PAUSE_DEFAULT_MS: Millis = 1000
const RETRY_CONTROL_MAX_MS: Millis = 365 * 86_400_000
/** Of a reported failure that names none. */
const REPORTED_STATUS = 500
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 425, 500, 502, 504, 507])
/** Hand-backs that cost no delay: another server may take the job at once, and the one that failed is marked or paused. */
const PROMPT_AFTER_CONNECT_FAILURE = 3
const PROMPT_AFTER_BUSY = 1

/** How one attempt ended, as far as the table cares. */
export type AttemptEnd =
  | { readonly kind: 'answer'; readonly status: number; readonly headers: readonly string[] }
  /** `sent`: a byte of the request may have reached the server. `partial`: its answer had begun, and was handed on. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string; readonly sent: boolean; readonly partial?: boolean }

export interface SettleFacts {
  /** Number of this attempt, from 1. */
  readonly attempt: number
  /** How often the job was handed out before without that being an attempt. */
  readonly handBacks: number
  /** Not to be sent again once something reached a server. */
  readonly sendOnce: boolean
  /** For a streamed answer; else it does not matter. */
  readonly onPartial?: OnPartial | undefined
  readonly backoff: Backoff
  /** `all`: a job that a server refused for good is a dead letter too. */
  readonly deadLetter: 'exhausted' | 'all'
  /** `hold`: a job whose credentials a server refuses waits for others. */
  readonly onUnauthorized: 'fail' | 'hold'
  /** For how long a server may defer the end of a job at once. */
  readonly deferMaxMs: Millis
  readonly now: EpochMillis
  /** Uniform in [0, 1). */
  readonly unit: number
}

export interface VerdictError {
  readonly code: ErrorCode
  readonly detail: string
  readonly status?: number
}

export type Verdict =
  | EndVerdict
  /** No end yet: the server goes on and reports it. `retryMs`: when to try again if it does not. */
  | { readonly kind: 'defer'; readonly forMs: Millis; readonly retryMs: Millis }

export type EndVerdict =
  | { readonly kind: 'succeed' }
  /** An attempt that failed: again after the delay, while attempts are left. */
  | { readonly kind: 'retry'; readonly afterMs: Millis; readonly error: VerdictError }
  /** A hand-out that was no attempt. `pauseMs`: leave this server alone for so long. */
  | { readonly kind: 'handBack'; readonly afterMs: Millis; readonly error: VerdictError; readonly pauseMs?: Millis }
  /** `holdsKey`: nobody of its key goes before somebody has decided. */
  | { readonly kind: 'fail'; readonly error: VerdictError; readonly deadLetter: boolean; readonly holdsKey?: true }

/** What a server reports of an attempt that failed. */
export interface ReportedFailure {
  readonly detail: string
  /** As of an answer. Absent: it could not do it, and the next attempt may. */
  readonly status?: number
  /** As `Spillway-Retry`. */
  readonly retry?: string
}

export function decideSettlement(end: AttemptEnd, facts: SettleFacts): Verdict {
  if (end.kind === 'failed') return decideFailure(end, facts)
  const { status, headers } = end
  const control = parseRetryControl(fieldOf(headers, 'spillway-retry'))
  const deferral = deferralOf(status, headers)
  if (deferral !== undefined && typeof control !== 'number') return decideDeferral(deferral, facts)
  const notNow = isNotNow(status)
  const error: VerdictError = { code: notNow ? 'server_busy' : 'server_error', detail: `The server answered ${status}.`, status }
  return decideStatus(status, { error, control, retryAfter: fieldOf(headers, 'retry-after') }, facts)
}

/** The same rows for what a server reports beside its answer. */
export function decideReported({ detail, status, retry }: ReportedFailure, facts: SettleFacts): EndVerdict {
  const code = status !== undefined && isNotNow(status) ? 'server_busy' : 'server_error'
  const error: VerdictError = { code, detail, ...(status !== undefined && { status }) }
  return decideStatus(status ?? REPORTED_STATUS, { error, control: parseRetryControl(retry), retryAfter: undefined }, facts)
}

interface Said {
  readonly error: VerdictError
  readonly control: 'never' | Millis | undefined
  readonly retryAfter: string | undefined
}

function decideStatus(status: number, { error, control, retryAfter }: Said, facts: SettleFacts): EndVerdict {
  const succeeded = status >= 200 && status < 400
  if (control === 'never' && !succeeded) return { kind: 'fail', error, deadLetter: facts.deadLetter === 'all' }
  if (isNotNow(status)) {
    const pauseMs = parseRetryAfter(retryAfter, facts.now) ?? PAUSE_DEFAULT_MS
    const afterMs = typeof control === 'number' ? control : handBackDelayMs(facts, PROMPT_AFTER_BUSY)
    return { kind: 'handBack', afterMs, error, pauseMs }
  }
  // A server that asks for the job again knows best: this holds for any status, and for jobs that are otherwise sent once.
  if (typeof control === 'number') return { kind: 'retry', afterMs: control, error }
  if (succeeded) return { kind: 'succeed' }
  if (RETRIED_STATUSES.has(status)) return retryOrGiveUp(error, facts)
  if (facts.onUnauthorized === 'hold' && (status === 401 || status === 403)) {
    return { kind: 'fail', error: { ...error, code: 'unauthorized' }, deadLetter: true, holdsKey: true }
  }
  return { kind: 'fail', error, deadLetter: facts.deadLetter === 'all' }
}

function isNotNow(status: number): boolean {
  return status === 429 || status === 503
}

/** What a server says that has not finished: it is no answer for anybody else. */
export function deferralOf(status: number, headers: readonly string[]): string | undefined {
  return status === 202 ? fieldOf(headers, 'spillway-defer') : undefined
}

function decideDeferral(text: string, facts: SettleFacts): Verdict {
  const forMs = parseDuration(text) ?? 0
  if (forMs === 0) {
    const detail = `The server answered 202 with Spillway-Defer: ${text.slice(0, 40)}, which is no duration such as 10m.`
    return retryOrGiveUp({ code: 'server_error', detail, status: 202 }, facts)
  }
  if (forMs > facts.deferMaxMs) {
    return refuseDeferral(
      `The server deferred the job by ${text}; the most that its queue allows is ${facts.deferMaxMs} ms (defer.max).`,
      facts,
    )
  }
  return { kind: 'defer', forMs, retryMs: backoffDelayMs(facts.backoff, facts.attempt, facts.unit) }
}

/** As if the server had said "not now": what it has begun nobody would hear of. It did not say so, though: what is sent only once may have been done. */
export function refuseDeferral(detail: string, facts: SettleFacts): EndVerdict {
  const error: VerdictError = { code: 'server_busy', detail, status: 202 }
  if (facts.sendOnce) return retryOrGiveUp(error, facts)
  return { kind: 'handBack', afterMs: handBackDelayMs(facts, PROMPT_AFTER_BUSY), error, pauseMs: PAUSE_DEFAULT_MS }
}

function decideFailure(end: AttemptEnd & { kind: 'failed' }, facts: SettleFacts): EndVerdict {
  const error: VerdictError = { code: end.code, detail: end.detail }
  if (!end.sent) return { kind: 'handBack', afterMs: handBackDelayMs(facts, PROMPT_AFTER_CONNECT_FAILURE), error }
  if (end.partial === true && facts.onPartial === 'fail' && end.code !== 'result_too_large') {
    const detail = `The answer broke off after it had begun: ${end.code}. ${end.detail}`
    return { kind: 'fail', error: { code: 'answer_broken', detail }, deadLetter: true }
  }
  if (end.code === 'shutting_down' && !facts.sendOnce) return { kind: 'handBack', afterMs: 0, error }
  // The server did its work and would do it again; the answer would not get smaller.
  if (end.code === 'result_too_large') return { kind: 'fail', error, deadLetter: true }
  return retryOrGiveUp(error, facts)
}

/** The row of counted attempts: retried where the job may be sent again. */
function retryOrGiveUp(error: VerdictError, facts: SettleFacts): EndVerdict {
  if (!facts.sendOnce) return { kind: 'retry', afterMs: backoffDelayMs(facts.backoff, facts.attempt, facts.unit), error }
  const detail = `It may have been done, and this job is sent only once. The attempt ended with: ${error.code}. ${error.detail}`
  const unknown: VerdictError = { code: 'outcome_unknown', detail }
  return { kind: 'fail', error: error.status === undefined ? unknown : { ...unknown, status: error.status }, deadLetter: true }
}

/** Grows like the backoff of attempts, so that servers which refuse for hours do not use up a job's hand-outs. */
function handBackDelayMs(facts: SettleFacts, prompt: number): Millis {
  const before = facts.handBacks + 1
  return before <= prompt ? 0 : backoffDelayMs(facts.backoff, before - prompt, facts.unit)
}

/** The server says so itself, whatever its status: what it was asked shall not be sent again. */
export function forbidsRetry(headers: readonly string[]): boolean {
  return parseRetryControl(fieldOf(headers, 'spillway-retry')) === 'never'
}

/** `Spillway-Retry: never` or a duration such as `30s`. Anything else is as if it were absent. */
function parseRetryControl(value: string | undefined): 'never' | Millis | undefined {
  if (value === undefined) return undefined
  if (value === 'never') return 'never'
  const delayMs = parseDuration(value)
  return delayMs === undefined ? undefined : Math.min(delayMs, RETRY_CONTROL_MAX_MS)
}

/** Seconds or an HTTP date, at most `maxMs`; undefined: absent or unreadable. */
export function parseRetryAfter(value: string | undefined, now: EpochMillis, maxMs: Millis = RETRY_AFTER_MAX_MS): Millis | undefined {
  if (value === undefined) return undefined
  if (/^\d{1,15}$/.test(value)) return Math.min(Number(value) * 1000, maxMs)
  const at = parseHttpDate(value, now)
  return at === undefined ? undefined : Math.min(Math.max(at - now, 0), maxMs)
}

function fieldOf(headers: readonly string[], lowerName: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === lowerName) return (headers[i + 1] as string).trim()
  }
  return undefined
}
