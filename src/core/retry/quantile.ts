/**
 * How long all but the slowest requests take, of the last some hundred: from then on one is slow. What was given up counts with the time until
 * then: it was slow, and without it the rest would look quicker each time that something slow is given up.
 */
import type { Millis } from '../../lib/units.ts'

/** Of fewer nothing can be said. */
export const SAMPLES_MIN = 50
const SAMPLES_MAX = 500
/** Sorting costs more than a request should. */
const EVERY = 25

export class Quantile {
  readonly #quantile: number
  readonly #samples: Millis[] = []
  #next = 0
  #fresh = 0
  #ms: Millis | undefined

  /** `quantile`: 0.95 for what 95 of 100 stay below. */
  constructor(quantile: number) {
    this.#quantile = quantile
  }

  took(ms: Millis): void {
    this.#samples[this.#next] = ms
    this.#next = (this.#next + 1) % SAMPLES_MAX
    if (++this.#fresh < EVERY || this.#samples.length < SAMPLES_MIN) return
    this.#fresh = 0
    const sorted = this.#samples.toSorted((a, b) => a - b)
    this.#ms = sorted[Math.floor(this.#quantile * (sorted.length - 1))]
  }

  /** Undefined: nobody knows yet. */
  get ms(): Millis | undefined {
    return this.#ms
  }
}
