/** What routes say about sending a direct request more than once, in the form that the program reads; and what contradicts it. */
import type { RetryRules } from '../core/retry/retry.ts'
import type { Millis } from '../lib/units.ts'
import type { MirrorConfig, RouteConfig } from './config.ts'
import type { Path } from './problem.ts'
import { checkName, type Report } from './report.ts'
import type { ParsedRoute, ParsedFile } from './schema.ts'
import type { ParsedRetry } from './schema-retries.ts'

/** Its client is there and waits. */
const PAUSE_MAX_MS: Millis = 60_000

const NOTHING: RetryRules = { connectFailure: false, reset: false, timeout: false, statuses: [], tries: 1 }

/** Of a route that asks servers: what of it is about tries. */
export interface TriesContext {
  readonly report: Report
  readonly poolNames: readonly string[]
  readonly limits: ParsedFile['limits']
  /** For routes that do not say it themselves. */
  readonly retry: RetryRules | undefined
}

const DIRECT_KEYS = ['retry', 'hedge', 'mirror', 'timeout', 'firstByte'] as const

type Tries = Pick<RouteConfig, 'retry' | 'hedge' | 'mirror' | 'timeoutMs' | 'firstByteMs'>

/** `pool`: whose servers it asks. */
export function resolveTries(route: ParsedRoute, path: Path, context: TriesContext, pool: string | undefined): Tries {
  if (route.mode === 'queue') {
    checkQueueRoute(route, path, context.report)
    return {}
  }
  const retry = route.retry === undefined ? context.retry : resolveRetry(route.retry, [...path, 'retry'], context)
  const { timeout: timeoutMs, firstByte: firstByteMs, hedge } = route
  if (hedge !== undefined && retry?.tries === 1) {
    const message = 'is a second try, and there may be only one; leave it out, or let retry have more attempts'
    context.report.error({ path: [...path, 'hedge'], message }, [[...path, 'retry'], ['retry']])
  }
  return {
    ...(retry !== undefined && { retry }),
    ...(route.mirror !== undefined && { mirror: resolveMirror(route.mirror, [...path, 'mirror'], context, pool) }),
    ...(hedge !== undefined && { hedge: hedge.after < 1 ? { quantile: hedge.after } : { afterMs: hedge.after } }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(firstByteMs !== undefined && { firstByteMs }),
  }
}

function resolveMirror(
  { pool, share, methods, timeout }: NonNullable<ParsedRoute['mirror']>,
  path: Path,
  { report, poolNames }: TriesContext,
  own: string | undefined,
): MirrorConfig {
  checkName(pool, poolNames, { path: [...path, 'pool'], what: 'pool' }, report)
  if (pool === own) {
    const message = "is the route's own: its servers would get each request twice; name another one"
    report.error({ path: [...path, 'pool'], message }, [[...path.slice(0, -1), 'pool'], ['pools']])
  }
  return { pool, share, ...(methods !== undefined && { methods }), timeoutMs: timeout }
}

function checkQueueRoute(route: ParsedRoute, path: Path, report: Report): void {
  for (const key of DIRECT_KEYS) {
    if (route[key] === undefined) continue
    const message = 'is about requests that are served at once; a queue has attempts, backoff and timeout of its own'
    report.error({ path: [...path, key], message }, [[...path, 'mode']])
  }
}

export function resolveRetry(retry: ParsedRetry, path: Path, { report, limits }: Pick<TriesContext, 'report' | 'limits'>): RetryRules {
  if (retry === 'off') return NOTHING
  const { on, attempts, backoff, methods, maxBody } = retry
  if (backoff.base > backoff.max) {
    report.error({ path: [...path, 'backoff', 'base'], message: 'is longer than max' }, [[...path, 'backoff', 'max']])
  }
  if (backoff.max > PAUSE_MAX_MS) {
    report.error({ path: [...path, 'backoff', 'max'], message: 'must be at most 1m: a client waits meanwhile' })
  }
  if (maxBody !== undefined && maxBody > limits.buffered) {
    report.error({ path: [...path, 'maxBody'], message: 'is more than limits.buffered' }, [['limits', 'buffered']])
  }
  return {
    connectFailure: on.includes('connect-failure'),
    reset: on.includes('reset'),
    timeout: on.includes('timeout'),
    statuses: statusesOf(on),
    ...(attempts !== undefined && { tries: attempts }),
    backoff: { baseMs: backoff.base, maxMs: backoff.max },
    ...(methods !== undefined && { methods }),
    ...(maxBody !== undefined && { bodyBytesMax: maxBody }),
  }
}

function statusesOf(on: Exclude<ParsedRetry, 'off'>['on']): number[] {
  const all = on.includes('5xx') ? Array.from({ length: 100 }, (_, n) => 500 + n) : []
  return [...new Set([...on.filter((each) => typeof each === 'number'), ...all])]
}
