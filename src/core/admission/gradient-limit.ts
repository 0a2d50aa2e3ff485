/**
 * How many requests a server bears at once, learnt from how long they take: while they take hardly longer than without any queue in the server
 * the limit grows by its square root, and as they take longer it shrinks in proportion (the gradient, as in Netflix's concurrency-limits and
 * Envoy's adaptive concurrency). How long they take without a queue is measured anew now and then. Others let nearly nothing through for
 * that, and refuse the rest; here the limit is set to what the server works on at a time by Little's law: its queue runs dry, its work goes on.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface GradientRules {
  readonly min: number
  readonly max: number
}

/** So much longer than without a queue is no sign of one. */
const TOLERANCE = 1.5
/** In one window it may halve. */
const GRADIENT_MIN = 0.5
/** Of a window's finding, so that one odd window is not followed. */
const SMOOTHING = 0.3
const WINDOW_MS: Millis = 100
/** A window holds so many answers at least, and is so many times as long as one of them takes. */
const SAMPLES_MIN = 10
const WINDOW_ANSWERS = 2
const REMEASURE_MS: Millis = 30_000

type Phase = 'steady' | 'settling' | 'measuring'

export class GradientLimit {
  readonly #rules: GradientRules
  #limit: number
  #phase: Phase = 'steady'
  /** How long an answer takes without a queue. */
  #baseMs: Millis | undefined
  #remeasureAt: MonotonicMillis = 0
  /** To which it goes back after measuring. */
  #limitBefore = 0
  #windowAt: MonotonicMillis = 0
  #samples = 0
  #sumMs: Millis = 0
  #inFlightMax = 0

  constructor(rules: GradientRules) {
    this.#rules = rules
    // How long an answer takes without a queue can only be seen where there is none: under an overload more would never show it.
    this.#limit = rules.min
  }

  /** Whole requests. */
  get limit(): number {
    return Math.floor(this.#limit)
  }

  /** A request has been answered after so long; `inFlight` were there with it. True: the limit may be another one. */
  answered(ms: Millis, inFlight: number, now: MonotonicMillis): boolean {
    if (this.#samples === 0) this.#begin(now)
    this.#samples += 1
    this.#sumMs += ms
    this.#inFlightMax = Math.max(this.#inFlightMax, inFlight)
    const meanMs = this.#sumMs / this.#samples
    if (this.#samples < SAMPLES_MIN || now - this.#windowAt < Math.max(WINDOW_MS, WINDOW_ANSWERS * meanMs)) return false
    this.#samples = 0
    this.#sumMs = 0
    this.#close(meanMs, now)
    return true
  }

  #begin(now: MonotonicMillis): void {
    this.#windowAt = now
    this.#inFlightMax = 0
  }

  #close(meanMs: Millis, now: MonotonicMillis): void {
    if (this.#baseMs === undefined) this.#measured(meanMs, now)
    else if (this.#phase === 'settling') this.#phase = 'measuring'
    else if (this.#phase === 'measuring') {
      this.#phase = 'steady'
      this.#limit = this.#limitBefore
      this.#measured(meanMs, now)
    } else if (now >= this.#remeasureAt) this.#remeasure(meanMs, this.#baseMs)
    else this.#follow(meanMs, this.#baseMs)
  }

  #measured(meanMs: Millis, now: MonotonicMillis): void {
    this.#baseMs = meanMs
    this.#remeasureAt = now + REMEASURE_MS
  }

  /** Work in progress = throughput × time (Little, 1961): what the server works on now, less what stands in its queue. */
  #remeasure(meanMs: Millis, baseMs: Millis): void {
    this.#phase = 'settling'
    this.#limitBefore = this.#limit
    this.#limit = this.#bounded((Math.min(this.#limit, this.#inFlightMax) * Math.min(baseMs, meanMs)) / meanMs)
  }

  #follow(meanMs: Millis, baseMs: Millis): void {
    const gradient = Math.max(GRADIENT_MIN, Math.min(1, (TOLERANCE * baseMs) / meanMs))
    const wanted = this.#limit * gradient + Math.sqrt(this.#limit)
    // A limit that nobody came near to has not been tried.
    if (wanted > this.#limit && this.#inFlightMax * 2 < this.#limit) return
    this.#limit = this.#bounded(this.#limit + SMOOTHING * (wanted - this.#limit))
    // Quicker than ever measured: it was not without a queue then.
    if (meanMs < baseMs) this.#baseMs = meanMs
  }

  #bounded(limit: number): number {
    return Math.min(this.#rules.max, Math.max(this.#rules.min, limit))
  }
}
