/** One place that turns a failure into an answer: an RFC 9457 document with Proxy-Status (RFC 9209) and, where it helps, Retry-After. */
import { ERRORS, type Failure, problem } from '../core/errors.ts'
import { proxyStatus } from '../core/headers/proxy-status.ts'
import type { Call } from '../net/call.ts'

/** For everything that we say ourselves about calls and jobs: not for caches, and its address, which may hold a token, not for others. */
export const PRIVATE_HEADERS: readonly string[] = ['Cache-Control', 'private, no-store', 'Referrer-Policy', 'no-referrer']

/** Where nothing tells a better time. */
const RETRY_AFTER_SECONDS = 1
/** Clients that were refused together shall not come back together: their ports tell them apart. */
const SPREAD_SECONDS = 3

export function sendFailure(
  call: Call,
  failed: Failure,
  extraHeaders: readonly string[] = [],
  extraBody: Readonly<Record<string, unknown>> = {},
): void {
  call.log.error = failed.code
  // A head that went out cannot be taken back; the client must not take what it got for complete.
  if (call.responseStarted) return call.abort()
  const { status } = ERRORS[failed.code]
  const spread = status === 503 && failed.retryAfterSeconds === undefined
  const told = spread ? { ...failed, retryAfterSeconds: RETRY_AFTER_SECONDS + (call.peer.port % SPREAD_SECONDS) } : failed
  call.send(status, problemHeaders(call.gateway, told, extraHeaders), JSON.stringify(problem(failed, withRequestId(call, extraBody))))
}

function withRequestId({ log: { requestId } }: Call, extra: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return requestId === undefined ? extra : { ...extra, requestId }
}

export function problemHeaders(gateway: string, failed: Failure, extraHeaders: readonly string[] = []): string[] {
  const kind = ERRORS[failed.code]
  const status = proxyStatus(gateway, kind.proxy, failed.detail)
  const headers = ['Content-Type', 'application/problem+json', ...PRIVATE_HEADERS, 'Proxy-Status', status, ...extraHeaders]
  const retryAfter = failed.retryAfterSeconds ?? (kind.status === 503 ? RETRY_AFTER_SECONDS : undefined)
  if (retryAfter !== undefined) headers.push('Retry-After', String(retryAfter))
  return headers
}
