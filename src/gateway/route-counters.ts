/** What is counted per route: the series are resolved once, because every call counts. */
import type { Millis } from '../lib/units.ts'
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { Counter, Histogram, Telemetry } from '../telemetry/telemetry.ts'

interface Series {
  readonly byCode: Map<number, Counter>
  readonly duration: Histogram
  readonly bytesIn: Counter
  readonly bytesOut: Counter
}

/** A call that has ended. */
export interface CountedCall {
  readonly route: string
  readonly mode: string
  readonly error?: string | undefined
  readonly code: number
  readonly tookMs: Millis
  readonly bytesIn: number
  readonly bytesOut: number
}

export class RouteCounters {
  /** By route, then by mode. */
  readonly #series = new Map<string, Map<string, Series>>()
  readonly #telemetry: Telemetry

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry
  }

  count({ route, mode, code, tookMs, bytesIn, bytesOut, error }: CountedCall): void {
    const series = this.#series.get(route)?.get(mode) ?? this.#newSeries(route, mode)
    const counter = series.byCode.get(code) ?? this.#newCounter(series, { route, mode, code: String(code) })
    counter.inc()
    series.duration.observe(tookMs / 1000)
    if (bytesIn > 0) series.bytesIn.inc(bytesIn)
    series.bytesOut.inc(bytesOut)
    if (error !== undefined) this.#counter('spillway_request_errors_total', { route, error }).inc()
  }

  #newSeries(route: string, mode: string): Series {
    const help = METRICS.spillway_request_duration_seconds.help
    const duration = this.#telemetry.metrics.histogram('spillway_request_duration_seconds', help, { route, mode })
    const series: Series = {
      byCode: new Map(),
      duration,
      bytesIn: this.#counter('spillway_request_bytes_total', { route, mode }),
      bytesOut: this.#counter('spillway_response_bytes_total', { route, mode }),
    }
    const modes = this.#series.get(route) ?? new Map<string, Series>()
    this.#series.set(route, modes.set(mode, series))
    return series
  }

  #newCounter(series: Series, labels: { route: string; mode: string; code: string }): Counter {
    const counter = this.#counter('spillway_requests_total', labels)
    series.byCode.set(Number(labels.code), counter)
    return counter
  }

  #counter(name: MetricName, labels: Readonly<Record<string, string>>): Counter {
    return this.#telemetry.metrics.counter(name, METRICS[name].help, labels)
  }
}
