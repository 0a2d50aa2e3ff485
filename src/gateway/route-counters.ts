/** What is counted per route: the series are resolved once, because every call counts. */
import type { Millis } from '../lib/units.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Histogram, Telemetry } from '../telemetry/telemetry.ts'

interface Series {
  readonly byCode: Map<number, Counter>
  readonly duration: Histogram
}

export class RouteCounters {
  /** By route, then by mode. */
  readonly #series = new Map<string, Map<string, Series>>()
  readonly #telemetry: Telemetry

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry
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
}
