/**
 * How many jobs of one queue may be in flight on each server now, so that live requests are served as if the backlog were not there: reads what
 * these meet at the pool and keeps the pace (`core/jobs/drain-pace.ts`). It looks when it is asked, and needs no timer of its own.
 */
import { afterWindow, beginPace, jobsAllowed, type LiveWindow, type Pace, restartPace } from '../core/jobs/drain-pace.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { LiveTraffic } from '../pools/live-traffic.ts'

/** Fewer answers say nothing about how long servers take. */
const ANSWERS_MIN = 5

export class Pacing {
  readonly #live: LiveTraffic
  readonly #intervalMs: Millis
  #pace: Pace
  #before = { came: 0, waited: 0, refused: 0, answered: 0, answeredMs: 0 }

  constructor(live: LiveTraffic, intervalMs: Millis, now: MonotonicMillis) {
    this.#live = live
    this.#intervalMs = intervalMs
    this.#pace = beginPace(now)
    this.#window(false)
  }

  /** There was no server for a while. */
  restart(now: MonotonicMillis): void {
    this.#pace = restartPace(this.#pace, now, this.#window(false).came)
  }

  /** On each server, of at most `max`. `jobs`: some are in flight. */
  allowed(now: MonotonicMillis, max: number, jobs: boolean): number {
    const steps = Math.floor((now - this.#pace.lookedAt) / this.#intervalMs)
    if (steps > 0) this.#pace = afterWindow(this.#pace, now, this.#window(jobs), { max, steps })
    return jobsAllowed(this.#pace, now, max, this.#intervalMs)
  }

  /** Until it may be more. */
  nextMs(now: MonotonicMillis): Millis {
    return Math.max(1, this.#pace.lookedAt + this.#intervalMs - now)
  }

  #window(jobs: boolean): LiveWindow {
    const { came, waited, refused, answered, answeredMs } = this.#live
    const before = this.#before
    this.#before = { came, waited, refused, answered, answeredMs }
    const answers = answered - before.answered
    return {
      came: came - before.came,
      waited: waited - before.waited,
      refused: refused - before.refused,
      tookMs: answers < ANSWERS_MIN ? undefined : (answeredMs - before.answeredMs) / answers,
      jobs,
    }
  }
}
