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
  extraBody?: Readonly<Record<string, unknown>>,
): void {
  call.log.error = failed.code
  // A head that went out cannot be taken back; the client must not take what it got for complete.
  if (call.responseStarted) return call.abort()
  const { status } = ERRORS[failed.code]
  const spread = status === 503 && failed.retryAfterSeconds === undefined
  const retryAfter = spread ? RETRY_AFTER_SECONDS + (call.peer.port % SPREAD_SECONDS) : failed.retryAfterSeconds
  const { headers, body } = written(call.gateway, failed)
  const all = retryAfter === undefined ? [...headers, ...extraHeaders] : [...headers, ...extraHeaders, 'Retry-After', String(retryAfter)]
  const more = withRequestId(call, extraBody)
  call.send(status, all, more === undefined ? body : JSON.stringify(problem(failed, more)))
}

interface Written {
  readonly gateway: string
  readonly failed: Failure
  /** Without Retry-After. */
  readonly headers: readonly string[]
  readonly body: Buffer
}

let last: Written | undefined

/** Where many are refused they are refused for the same reason, so the last one is kept: a refusal has to be cheap. */
function written(gateway: string, failed: Failure): Written {
  const { code, detail } = failed
  if (last !== undefined && last.failed.code === code && last.failed.detail === detail && last.gateway === gateway) return last
  const body = Buffer.from(JSON.stringify(problem(failed)))
  last = { gateway, failed, headers: kindHeaders(gateway, failed), body }
  return last
}

function kindHeaders(gateway: string, { code, detail }: Failure): string[] {
  const status = proxyStatus(gateway, ERRORS[code].proxy, detail)
  return ['Content-Type', 'application/problem+json', ...PRIVATE_HEADERS, 'Proxy-Status', status]
}

type More = Readonly<Record<string, unknown>> | undefined

function withRequestId({ log: { requestId } }: Call, extra: More): More {
  return requestId === undefined ? extra : { ...extra, requestId }
}

export function problemHeaders(gateway: string, failed: Failure, extraHeaders: readonly string[] = []): string[] {
  const headers = [...kindHeaders(gateway, failed), ...extraHeaders]
  const retryAfter = failed.retryAfterSeconds ?? (ERRORS[failed.code].status === 503 ? RETRY_AFTER_SECONDS : undefined)
  if (retryAfter !== undefined) headers.push('Retry-After', String(retryAfter))
  return headers
}
