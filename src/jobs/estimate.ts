/**
 * How long a queued job will probably take, from what its queue did lately: how fast jobs end and how long one runs.
 * A guess for people and for Retry-After, never a promise; all memory is a few numbers per queue.
 */
import type { Millis, MonotonicMillis } from '../lib/units.ts'

/** Weight of the past in the rate: what happened this long ago counts 1/e. */
const RATE_MEMORY_MS: Millis = 30_000
const SERVICE_SMOOTHING = 0.1
/** So many of the last attempts say what is usual. */
const SERVICES_KEPT = 32
const ETA_MAX_MS: Millis = 7 * 86_400_000
const RETRY_AFTER_MAX_S = 60
const RETRY_AFTER_UNKNOWN_S = 2
const RETRY_AFTER_SPREAD = 0.25

export interface Capacity {
  /** Jobs that the servers which are up may run at once. */
  readonly slots: number
  /** Pull consumers work on them as well: how many there are, nobody knows. */
  readonly pulled?: boolean
}

export class Drain {
  #rate = 0
  #rateAt: MonotonicMillis
  #serviceMs: Millis | undefined
  readonly #services: Millis[] = []
  #ended = 0

  constructor(now: MonotonicMillis) {
    this.#rateAt = now
  }

  /** A job ended for good, after an attempt of `tookMs`. */
  ended(now: MonotonicMillis, tookMs: Millis): void {
    this.#rate = this.#rateUntil(now) + 1 / RATE_MEMORY_MS
    this.#rateAt = now
    this.#services[this.#ended++ % SERVICES_KEPT] = tookMs
    this.#serviceMs = this.#serviceMs === undefined ? tookMs : this.#serviceMs + (tookMs - this.#serviceMs) * SERVICE_SMOOTHING
  }

  /** Undefined: nothing ended yet, nobody is up, or it is too far away to say. `position` 1 = next, 0 = running. */
  etaMs(now: MonotonicMillis, position: number, capacity: Capacity): Millis | undefined {
    if (this.#serviceMs === undefined || (capacity.slots === 0 && capacity.pulled !== true)) return undefined
    // After a quiet time the rate is low because nobody came, not because the servers are slow.
    const possible = capacity.slots / Math.max(this.#serviceMs, 1)
    const ahead = Math.max(position - 1, 0)
    const eta = this.#serviceMs + (ahead < Math.max(capacity.slots, 1) ? 0 : ahead / Math.max(this.#rateUntil(now), possible))
    return eta > ETA_MAX_MS ? undefined : Math.ceil(eta)
  }

  /** Nothing has ended for longer than is usual. Where nothing runs either, nobody knows how long it would take now. */
  forgetUsual(now: MonotonicMillis): void {
    if (now - this.#rateAt <= this.usualMs) return
    this.#services.length = 0
    this.#ended = 0
  }

  /** So long at least half of the last attempts took. 0: none is known. */
  get usualMs(): Millis {
    return this.#services.toSorted((a, b) => a - b)[Math.floor(this.#services.length / 2)] ?? 0
  }

  /** How many may wait in line for the next one to begin within this time, as things go. Undefined: nobody can say. */
  aheadMax(now: MonotonicMillis, withinMs: Millis, { slots }: Capacity): number | undefined {
    if (this.#serviceMs === undefined || slots === 0) return undefined
    const perMs = Math.max(this.#rateUntil(now), slots / Math.max(this.#serviceMs, 1))
    return slots + Math.floor(withinMs * perMs)
  }

  /** Until another job will have ended, at the rate of late: when a full queue has room again. Undefined: none ended lately. */
  nextEndMs(now: MonotonicMillis): Millis | undefined {
    const rate = this.#rateUntil(now)
    return rate * ETA_MAX_MS < 1 ? undefined : Math.ceil(1 / rate)
  }

  /** How many end in a millisecond, of late. */
  perMs(now: MonotonicMillis): number {
    return this.#rateUntil(now)
  }

  #rateUntil(now: MonotonicMillis): number {
    return this.#rate * Math.exp(-(now - this.#rateAt) / RATE_MEMORY_MS)
  }
}

/** Whole seconds from 1 to 60, spread by a quarter both ways so that clients do not come back together. */
export function retryAfterSeconds(etaMs: Millis | undefined, unit: number): number {
  const seconds = etaMs === undefined ? RETRY_AFTER_UNKNOWN_S : etaMs / 1000
  // Cut to the longest before it is spread: else all who are far away would come back in the same second.
  const bounded = Math.min(seconds, RETRY_AFTER_MAX_S / (1 + RETRY_AFTER_SPREAD))
  return Math.max(Math.ceil(bounded * (1 - RETRY_AFTER_SPREAD + 2 * RETRY_AFTER_SPREAD * unit)), 1)
}
