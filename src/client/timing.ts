/** Durations as people write them, pauses that end with a signal, growing delays with chance in them. */

export const FOREVER = Number.POSITIVE_INFINITY

/** Milliseconds, or a text such as `500ms`, `30s`, `5m`, `1h`, `14d`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export function durationMs(duration: Duration, what: string): number {
  const match = typeof duration === 'number' ? null : /^(\d{1,9})(ms|s|m|h|d)$/.exec(duration)
  const ms = typeof duration === 'number' ? duration : Number(match?.[1]) * (UNIT_MS[match?.[2] ?? ''] ?? Number.NaN)
  if (!Number.isFinite(ms) || ms < 0) throw new TypeError(`${what}: ${String(duration)} is not a duration such as 30s`)
  return ms
}

export interface RetryPolicy {
  /** Requests for one call, the first included. */
  readonly attempts: number
  readonly baseMs: number
  /** Of one pause. A gateway that wants a longer one gets it from the caller: the error says how long. */
  readonly maxMs: number
}

export const RETRY: RetryPolicy = { attempts: 5, baseMs: 200, maxMs: 30_000 }

/** Of what Retry-After says, so that those who were told the same do not come back together. */
const JITTER = 0.25

/** What of a pause is certain: half, or nothing, where very many may come at the same moment (full jitter). */
export type Certain = 0.5 | 0

/**
 * The pause after failure number `failures` (from 1): a delay that doubles, as much of it as is certain and a random part of the rest; never
 * less than the other side asked for.
 */
export function pauseMs(failures: number, policy: RetryPolicy, retryAfterMs = 0, certain: Certain = 0.5): number {
  const grown = Math.min(policy.maxMs, policy.baseMs * 2 ** Math.min(failures - 1, 30))
  return Math.max(grown * (certain + Math.random() * (1 - certain)), retryAfterMs * (1 + Math.random() * JITTER))
}

/** What a timer can count; one that is set to more is over at once. */
const TIMER_MAX_MS = 2 ** 31 - 1

/** What a browser's page has, and a server's program has not. */
type Page = Pick<AbortSignal, 'addEventListener' | 'removeEventListener'>

/**
 * A pause. It is over at once when the browser hears that the network is back, and early when it would take weeks. Rejects with the signal's
 * reason.
 */
export function rest(ms: number, signal?: AbortSignal): Promise<void> {
  const page = globalThis as unknown as Partial<Page>
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer)
      page.removeEventListener?.('online' as 'abort', over)
      signal?.removeEventListener('abort', over)
      if (signal?.aborted === true) reject(reasonOf(signal))
      else resolve()
    }
    const timer = setTimeout(over, Math.min(ms, TIMER_MAX_MS))
    page.addEventListener?.('online' as 'abort', over)
    signal?.addEventListener('abort', over)
    if (signal?.aborted === true) over()
  })
}

export function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error(String(reason))
}

/** A timer that fires this late was held up by a blocked event loop; the answer that it waits for may lie in the socket, unread. */
const STALL_MS = 500
const GRACE_MS = 1000

/**
 * Calls `onOver` once, `ms` from the last `restart`, unless it was cleared. Time in which the event loop was blocked is not held against
 * the other side: it then has another moment to be heard.
 */
export class TimeLimit {
  readonly #ms: number
  readonly #onOver: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #dueAt = 0

  constructor(ms: number, onOver: () => void) {
    this.#ms = ms
    this.#onOver = onOver
    this.restart()
  }

  restart(): void {
    this.#arm(this.#ms)
  }

  clear(): void {
    clearTimeout(this.#timer)
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer)
    this.#dueAt = performance.now() + ms
    this.#timer = setTimeout(
      () => {
        if (performance.now() - this.#dueAt > STALL_MS) this.#arm(GRACE_MS)
        else this.#onOver()
      },
      Math.min(ms, TIMER_MAX_MS),
    )
  }
}
