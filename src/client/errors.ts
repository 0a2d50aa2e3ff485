/** The one kind of error that the client throws, besides what an aborted signal was aborted with. */

export interface ErrorParts {
  /** HTTP status of the answer; 0: there was none. */
  readonly status?: number
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

/**
 * `code` is stable: one of the gateway's (docs/reference/errors.md), or one of the client's own: `network` (no answer), `timeout` (none in
 * time), `bad_answer` (not one of Spillway's), `job_failed`.
 */
export class SpillwayError extends Error {
  override readonly name: string = 'SpillwayError'
  readonly code: string
  readonly status: number
  readonly detail: string
  readonly retryAfterMs: number | undefined

  constructor(code: string, detail: string, parts: ErrorParts = {}) {
    super(`${code}: ${detail}`, parts)
    this.code = code
    this.status = parts.status ?? 0
    this.detail = detail
    this.retryAfterMs = parts.retryAfterMs
  }
}

/** The answer's code when the gateway did nothing with the request, so that even what must not be done twice may be sent again. */
const NOTHING_DONE: ReadonlySet<string> = new Set([
  'queue_full',
  'no_capacity',
  'no_server',
  'too_many_waiting',
  'too_many_connections',
  'too_many_receivers',
  'buffers_full',
  'shutting_down',
])
/** Answers of a moment: of the gateway, or of a proxy before it. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([0, 408, 429, 502, 503, 504])

/** It may go better next time. */
export function isPassing(error: unknown): error is SpillwayError {
  return error instanceof SpillwayError && error.code !== 'bad_answer' && PASSING_STATUSES.has(error.status)
}

/** The request was refused before anything was done. */
export function isRefused(error: unknown): error is SpillwayError {
  return error instanceof SpillwayError && (error.status === 429 || (error.status === 503 && NOTHING_DONE.has(error.code)))
}

/** The `type` of every problem document of the gateway's own begins so; a server's own problems do not. */
const OUR_TYPE = 'urn:spillway:error:'

export function isProblem(response: Response): boolean {
  return /^application\/problem\+json\b/i.test(response.headers.get('content-type') ?? '')
}

/** Undefined: it is not an error of the gateway's own. */
export function problemOf(response: Response, text: string): SpillwayError | undefined {
  const document = parseJson(text)
  if (typeof document !== 'object' || document === null) return undefined
  const { type, code, detail, title } = document as Readonly<Record<string, unknown>>
  if (typeof type !== 'string' || !type.startsWith(OUR_TYPE) || typeof code !== 'string') return undefined
  const said = typeof detail === 'string' ? detail : typeof title === 'string' ? title : ''
  return new SpillwayError(code, said, { status: response.status, retryAfterMs: retryAfterMsOf(response) })
}

/** For an answer that is not ours: what a proxy, or a wrong address, answers. Its path is left out, it may hold a token. */
export function unknownAnswer(response: Response, text: string): SpillwayError {
  const from = response.url === '' ? 'the gateway' : new URL(response.url).origin
  const detail = `${response.status} ${response.statusText} from ${from}: ${text.slice(0, 200)}`
  return new SpillwayError(PASSING_STATUSES.has(response.status) ? 'unavailable' : 'bad_answer', detail, {
    status: response.status,
    retryAfterMs: retryAfterMsOf(response),
  })
}

/** Retry-After in its two forms (RFC 9110, section 10.2.3). */
export function retryAfterMsOf(response: Response): number | undefined {
  const value = response.headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const at = Date.parse(value)
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now())
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
