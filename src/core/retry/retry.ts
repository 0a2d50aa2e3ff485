/**
 * When a direct request that failed may be sent to a server again (RFC 9110, section 9.2.2): when nothing can have reached the first one,
 * or when doing it twice is the same as doing it once, or is said to be. Never after a byte of the response went to the client, never without
 * the body.
 */
import type { Millis } from '../../lib/units.ts'
import type { ErrorCode } from '../errors.ts'

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method)
}

export interface RetryRules {
  /** No connection: nothing was sent. */
  readonly connectFailure: boolean
  /** The connection broke, or what came was no HTTP. */
  readonly reset: boolean
  /** The server has not begun to answer in time: it hangs, or it is slow, and then another one may be slow as well. The budget sees to that. */
  readonly timeout: boolean
  readonly statuses: readonly number[]
  /** Tries in all. Absent: one for each server, at least three. */
  readonly tries?: number
  /** Absent: none. */
  readonly backoff?: RetryBackoff
  /** What may be sent again although it may have reached a server. Absent: what is idempotent. */
  readonly methods?: readonly string[]
  /** How much of a body is copied, so that it can be sent again. Absent: as much as for spilling. */
  readonly bodyBytesMax?: number
}

export interface RetryBackoff {
  readonly baseMs: Millis
  readonly maxMs: Millis
}

export const DEFAULT_RETRY: RetryRules = { connectFailure: true, reset: true, timeout: true, statuses: [] }

const TRIES_MIN = 3

export function triesMax({ tries }: RetryRules, servers: number): number {
  return tries ?? Math.max(TRIES_MIN, servers)
}

/** `stale`: a kept connection that the server had closed meanwhile: it has not looked at the request. */
export type Mishap = 'connect-failure' | 'reset' | 'timeout' | 'stale' | { readonly status: number }

export interface FailedTry {
  readonly method: string
  readonly mishap: Mishap
  /** A byte of the response went to the client. */
  readonly responseStarted: boolean
  /** The whole body is at hand again (or there is none). */
  readonly replayable: boolean
  /** Tries so far, this one included. */
  readonly tries: number
  readonly triesMax: number
}

/** `reused`: the connection had served before. */
export function mishapOf({ code, sent, reused }: { readonly code: ErrorCode; readonly sent: boolean; readonly reused: boolean }): Mishap {
  if (!sent) return 'connect-failure'
  if (code === 'first_byte_timeout') return 'timeout'
  return reused ? 'stale' : 'reset'
}

export function mayTryAgain(rules: RetryRules, failed: FailedTry): boolean {
  if (failed.responseStarted || !failed.replayable || failed.tries >= failed.triesMax) return false
  if (failed.mishap === 'connect-failure') return rules.connectFailure
  if (failed.mishap === 'stale' && isIdempotent(failed.method)) return true
  return isRetried(rules, failed.mishap) && mayRepeatMethod(rules, failed.method)
}

/** May it be done twice? */
export function mayRepeatMethod({ methods }: RetryRules, method: string): boolean {
  return methods?.includes(method) ?? isIdempotent(method)
}

function isRetried(rules: RetryRules, mishap: Exclude<Mishap, 'connect-failure'>): boolean {
  switch (mishap) {
    case 'reset':
      return rules.reset
    case 'timeout':
      return rules.timeout
    case 'stale':
      return true
    default:
      return rules.statuses.includes(mishap.status)
  }
}

/**
 * Before the try that follows try number `tries` (1 = the first). Full jitter: all who failed together come back spread over the whole time, and
 * not at its end. `unit` is uniform in [0, 1).
 */
export function retryDelayMs({ baseMs, maxMs }: RetryBackoff, tries: number, unit: number): Millis {
  return unit * Math.min(maxMs, baseMs * 2 ** Math.min(Math.max(tries, 1) - 1, 60))
}

/**
 * Where the next try may go: to a server that has not been tried, as long as there is one that can be used. After that all begin anew, but the
 * last one only where it is alone.
 */
export function nextExcluded<T>(tried: ReadonlySet<T>, last: T, usable: readonly T[]): ReadonlySet<T> {
  if (usable.some((server) => !tried.has(server))) return tried
  return usable.some((server) => server !== last) ? new Set([last]) : new Set()
}
