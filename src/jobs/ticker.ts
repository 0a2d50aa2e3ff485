/**
 * Drives the store's own clockwork (lapsed leases, due delays, expiry, retention): calls `tick` when something is due,
 * as the store says and as the gateway hears of it, one at a time, and tells what became ready and what changed.
 */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobStore, Tick } from '../ports/job-store.ts'

/** Also without a hint: whatever was lost is found within this time. */
const TICK_MAX_MS: Millis = 30_000
/** Between two ticks that each left work over: others get the store in between. */
const TICK_MIN_MS: Millis = 5
const RETRY_MS: Millis = 1000

export class Ticker {
  readonly #store: Pick<JobStore, 'tick'>
  readonly #clock: Clock
  readonly #onTick: (tick: Tick) => void
  readonly #onError: (error: unknown) => void
  #timer: Timer | undefined
  #dueAt: MonotonicMillis = Number.POSITIVE_INFINITY
  #running: Promise<void> | undefined
  #stopped = true

  constructor(store: Pick<JobStore, 'tick'>, clock: Clock, onTick: (tick: Tick) => void, onError: (error: unknown) => void) {
    this.#store = store
    this.#clock = clock
    this.#onTick = onTick
    this.#onError = onError
  }

  start(): void {
    this.#stopped = false
    this.within(0)
  }

  /** Something will be due in `delayMs`. Cheap when an earlier tick is planned anyway. */
  within(delayMs: Millis): void {
    const dueAt = this.#clock.monotonic() + Math.max(delayMs, 0)
    if (this.#stopped || dueAt >= this.#dueAt) return
    this.#dueAt = dueAt
    this.#timer?.cancel()
    this.#timer = this.#clock.after(Math.max(delayMs, 0), this.#due)
  }

  async close(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#running
  }

  readonly #due = (): void => {
    this.#dueAt = Number.POSITIVE_INFINITY
    this.#timer = undefined
    if (this.#running !== undefined) return this.within(TICK_MIN_MS)
    this.#running = this.#tick().then((nextMs) => {
      this.#running = undefined
      this.within(nextMs)
    })
  }

  /** Returns when the next one is due. */
  async #tick(): Promise<Millis> {
    try {
      const tick = await this.#store.tick()
      this.#onTick(tick)
      return Math.min(Math.max(tick.nextMs ?? TICK_MAX_MS, TICK_MIN_MS), TICK_MAX_MS)
    } catch (error) {
      if (!this.#stopped) this.#onError(error)
      return RETRY_MS
    }
  }
}
