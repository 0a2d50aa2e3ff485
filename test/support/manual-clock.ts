/** A clock that stands still until a test moves it. Wall and monotonic time can move apart. */
import type { EpochMillis, Millis, MonotonicMillis } from '../../src/lib/units.ts'
import type { Clock, Timer } from '../../src/ports/clock.ts'

interface Pending {
  readonly at: MonotonicMillis
  readonly fn: () => void
}

export class ManualClock implements Clock {
  #wall: EpochMillis
  #monotonic: MonotonicMillis = 1000
  readonly #timers = new Set<Pending>()

  constructor(start: EpochMillis = Date.UTC(2030, 0, 1)) {
    this.#wall = start
  }

  now(): EpochMillis {
    return this.#wall
  }

  monotonic(): MonotonicMillis {
    return this.#monotonic
  }

  after(delay: Millis, fn: () => void): Timer {
    const pending: Pending = { at: this.#monotonic + delay, fn }
    this.#timers.add(pending)
    return { cancel: () => void this.#timers.delete(pending) }
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size
  }

  /** Time passes; what is due by then is called, in order. */
  advance(by: Millis): void {
    const end = this.#monotonic + by
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#move(Math.max(0, next.at - this.#monotonic))
      next.fn()
    }
    this.#move(end - this.#monotonic)
  }

  /** Somebody set the wall clock; no time passed. */
  jump(by: Millis): void {
    this.#wall += by
  }

  #move(by: Millis): void {
    this.#wall += by
    this.#monotonic += by
  }
}
