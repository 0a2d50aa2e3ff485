/** What an engine tells about itself, turned into metrics and events. What a fatal error means (stop the process) is its owner's to do. */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { StoreEvents } from '../ports/job-store.ts'
import { METRICS } from './names.ts'
import type { Telemetry } from './telemetry.ts'

/** A sync this slow is worth a line. */
export const SLOW_SYNC_MS: Millis = 500
/** Recent is what happened in the current span and the one before: between one and two of these. */
const SPAN_MS: Millis = 30_000

/** How the disk has been lately. */
export interface RecentSyncs {
  readonly count: number
  readonly meanMs: Millis
  readonly worstMs: Millis
}

export interface StoreTelemetry extends Required<Pick<StoreEvents, 'onSync' | 'onCorrupt'>> {
  recentSyncs(): RecentSyncs
}

export function storeTelemetry(telemetry: Telemetry, clock: Clock): StoreTelemetry {
  const { metrics } = telemetry
  const syncs = metrics.counter('spillway_store_syncs_total', METRICS.spillway_store_syncs_total.help)
  const operations = metrics.counter('spillway_store_operations_total', METRICS.spillway_store_operations_total.help)
  const shared = metrics.histogram('spillway_store_sync_operations', METRICS.spillway_store_sync_operations.help)
  const seconds = metrics.histogram('spillway_store_sync_seconds', METRICS.spillway_store_sync_seconds.help)
  const recent = new Recent(clock)
  return {
    onSync(tookMs, count) {
      syncs.inc()
      operations.inc(count)
      shared.observe(count)
      seconds.observe(tookMs / 1000)
      recent.note(tookMs)
      if (tookMs >= SLOW_SYNC_MS) telemetry.event({ type: 'sync-slow', tookMs, operations: count })
    },
    onCorrupt(what) {
      telemetry.event({ type: 'store-corrupt', what })
    },
    recentSyncs: () => recent.read(),
  }
}

interface Span {
  count: number
  sumMs: Millis
  worstMs: Millis
}

/** Two spans that take turns: an old stall does not colour today's figures for ever, and nothing is kept per sync. */
class Recent {
  readonly #clock: Clock
  #turnedAt: MonotonicMillis
  #now: Span = { count: 0, sumMs: 0, worstMs: 0 }
  #before: Span = { count: 0, sumMs: 0, worstMs: 0 }

  constructor(clock: Clock) {
    this.#clock = clock
    this.#turnedAt = clock.monotonic()
  }

  note(tookMs: Millis): void {
    this.#turn()
    this.#now.count++
    this.#now.sumMs += tookMs
    this.#now.worstMs = Math.max(this.#now.worstMs, tookMs)
  }

  read(): RecentSyncs {
    this.#turn()
    const count = this.#now.count + this.#before.count
    const meanMs = count === 0 ? 0 : (this.#now.sumMs + this.#before.sumMs) / count
    return { count, meanMs, worstMs: Math.max(this.#now.worstMs, this.#before.worstMs) }
  }

  #turn(): void {
    const passedMs = this.#clock.monotonic() - this.#turnedAt
    if (passedMs < SPAN_MS) return
    const empty = { count: 0, sumMs: 0, worstMs: 0 }
    this.#before = passedMs < 2 * SPAN_MS ? this.#now : empty
    this.#now = { ...empty }
    this.#turnedAt = this.#clock.monotonic()
  }
}
