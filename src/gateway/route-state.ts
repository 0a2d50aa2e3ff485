/** What the gateway keeps per route: its counters, resolved once, and whether a spill route serves now or queues at the moment. */
import type { RouteConfig } from '../config/config.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Histogram, Telemetry } from '../telemetry/telemetry.ts'

/** A route counts as spilling until this long after its last spill: one flip per episode, not one per request. */
const SPILL_MEMORY_MS: Millis = 5_000

export interface Spilling {
  /** Of the request that was the first. */
  readonly reason: string
  readonly since: EpochMillis
}

interface Series {
  readonly byCode: Map<number, Counter>
  readonly duration: Histogram
}

export class RouteStates {
  /** By route, then by mode. */
  readonly #series = new Map<string, Map<string, Series>>()
  readonly #spilling = new Map<string, Spilling & { lastAt: MonotonicMillis }>()
  readonly #telemetry: Telemetry
  readonly #clock: Clock

  constructor(telemetry: Telemetry, clock: Clock) {
    this.#telemetry = telemetry
    this.#clock = clock
  }

  count(route: string, mode: string, code: number, tookMs: Millis): void {
    const series = this.#series.get(route)?.get(mode) ?? this.#newSeries(route, mode)
    const counter = series.byCode.get(code) ?? this.#newCounter(series, { route, mode, code: String(code) })
    counter.inc()
    series.duration.observe(tookMs / 1000)
  }

  #newSeries(route: string, mode: string): Series {
    const help = METRICS.spillway_request_duration_seconds.help
    const duration = this.#telemetry.metrics.histogram('spillway_request_duration_seconds', help, { route, mode })
    const series: Series = { byCode: new Map(), duration }
    const modes = this.#series.get(route) ?? new Map<string, Series>()
    this.#series.set(route, modes.set(mode, series))
    return series
  }

  #newCounter(series: Series, labels: { route: string; mode: string; code: string }): Counter {
    const counter = this.#telemetry.metrics.counter('spillway_requests_total', METRICS.spillway_requests_total.help, labels)
    series.byCode.set(Number(labels.code), counter)
    return counter
  }

  spilled(route: RouteConfig, reason: string): void {
    const known = this.#spilling.get(route.name)
    if (known !== undefined) return void (known.lastAt = this.#clock.monotonic())
    this.#spilling.set(route.name, { reason, since: this.#clock.now(), lastAt: this.#clock.monotonic() })
    this.#telemetry.event({ type: 'mode-flipped', route: route.name, to: 'queue', reason })
  }

  servedDirectly(route: RouteConfig): void {
    const known = this.#spilling.get(route.name)
    if (known === undefined || this.#clock.monotonic() - known.lastAt < SPILL_MEMORY_MS) return
    this.#spilling.delete(route.name)
    this.#telemetry.event({ type: 'mode-flipped', route: route.name, to: 'direct', reason: 'servers have capacity again' })
  }

  /** Undefined: its requests are served at once. */
  spilling(route: string): Spilling | undefined {
    return this.#spilling.get(route)
  }
}
