/**
 * When a direct request that failed may be sent to another server (RFC 9110, section 9.2.2): when nothing can have reached the first one,
 * or when doing it twice is the same as doing it once. Never after a byte of the response went to the client, never without the body.
 */

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method)
}

export interface FailedTry {
  readonly method: string
  /** A byte of the request may have reached the server. */
  readonly sent: boolean
  /** A byte of the response went to the client. */
  readonly responseStarted: boolean
  /** The whole body is at hand again (or there is none). */
  readonly replayable: boolean
  /** The server was too slow, rather than gone: asking another one doubles the load and the wait. */
  readonly timedOut: boolean
  /** Tries so far, this one included. */
  readonly tries: number
  readonly triesMax: number
}

export function mayTryAgain(failed: FailedTry): boolean {
  if (failed.responseStarted || failed.tries >= failed.triesMax) return false
  if (!failed.sent) return failed.replayable
  return failed.replayable && !failed.timedOut && isIdempotent(failed.method)
}
