/**
 * How slow a server is, from what its requests took: an average that forgets exponentially, but believes bad news at once (Peak EWMA, as
 * Finagle made it known). Without news it sinks towards nothing, so that a server which was once slow, and therefore gets nothing, is tried
 * again: nobody starves because of a past.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

/** After so long without news two thirds are forgotten. */
export const DECAY_MS: Millis = 5_000

export class PeakEwma {
  #ms: Millis = 0
  #at: MonotonicMillis = 0
  /** There has been news, since it was last forgotten. */
  known = false

  /** A request took so long. */
  observe(ms: Millis, now: MonotonicMillis): void {
    const kept = Math.exp((this.#at - now) / DECAY_MS)
    // The peak: bad news counts as a whole, good news by how long there was none.
    this.#ms = !this.known || ms > this.#ms ? ms : this.#ms * kept + ms * (1 - kept)
    this.#at = now
    this.known = true
  }

  /** Nobody waited for the end of a request that had taken so long already: news only where it is bad. */
  atLeast(ms: Millis, now: MonotonicMillis): void {
    if (ms > this.ms(now)) this.observe(ms, now)
  }

  /** As it stands now. */
  ms(now: MonotonicMillis): Millis {
    return this.#ms * Math.exp((this.#at - now) / DECAY_MS)
  }

  /** It is not the one that it was. */
  forget(): void {
    this.known = false
    this.#ms = 0
  }
}
