/**
 * What live requests meet at a pool, as counters that only grow: whoever hands out jobs reads them now and then, and gives way. Counting is all
 * that a request pays for it.
 */
import { LIVE_QUIET_MS } from '../core/jobs/drain-pace.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'

export class LiveTraffic {
  came = 0
  /** Of these, those that found no free slot although a server was up. */
  waited = 0
  /** Answers 429 and 503, to requests and jobs. */
  refused = 0
  answered = 0
  answeredMs: Millis = 0
  #seen = 0
  #seenAt: MonotonicMillis = Number.NEGATIVE_INFINITY

  took(ms: Millis): void {
    this.answered++
    this.answeredMs += ms
  }

  /** Were there any, of late? As far as it was asked. */
  comes(now: MonotonicMillis): boolean {
    if (this.came !== this.#seen) {
      this.#seen = this.came
      this.#seenAt = now
    }
    return now - this.#seenAt < LIVE_QUIET_MS
  }
}
