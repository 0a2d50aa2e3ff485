/** What is counted of one server. Its series are resolved once and kept by it: a request costs additions, no look-up by name. */
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { Counter, Histogram, Metrics } from '../telemetry/telemetry.ts'

type Labels = Readonly<Record<string, string>>

export class ServerMeter {
  /** Of direct requests. */
  readonly firstByte: Histogram
  readonly connect: Histogram
  readonly opened: Counter
  readonly reused: Counter
  readonly #metrics: Metrics
  readonly #labels: Labels
  /** By the first digit of the status. */
  readonly #answers: (Counter | undefined)[] = []
  readonly #others = new Map<string, Counter>()
  readonly #reports = new Map<string, Counter>()

  constructor(metrics: Metrics, server: { readonly name: string; readonly pool: string }) {
    this.#metrics = metrics
    this.#labels = { pool: server.pool, server: server.name }
    this.firstByte = this.#histogram('spillway_server_first_byte_seconds')
    this.connect = this.#histogram('spillway_server_connect_seconds')
    this.opened = this.#counter('spillway_server_connections_opened_total')
    this.reused = this.#counter('spillway_server_connections_reused_total')
  }

  /** A request or an attempt has an answer. */
  answered(status: number): void {
    const digit = Math.floor(status / 100)
    const counter = (this.#answers[digit] ??= this.#requests(`${digit}xx`))
    counter.inc()
  }

  /** It has none: the code of an error, or `abandoned`. */
  unanswered(outcome: string): void {
    let counter = this.#others.get(outcome)
    if (counter === undefined) {
      counter = this.#requests(outcome)
      this.#others.set(outcome, counter)
    }
    counter.inc()
  }

  checked(passed: boolean): void {
    this.#counter('spillway_checks_total', { outcome: passed ? 'passed' : 'failed' }).inc()
  }

  /** It said something of itself. */
  reported(report: 'load' | 'drain', outcome: 'heeded' | 'garbled' | 'too-soon'): void {
    const key = `${report} ${outcome}`
    let counter = this.#reports.get(key)
    if (counter === undefined) {
      counter = this.#counter('spillway_server_reports_total', { report, outcome })
      this.#reports.set(key, counter)
    }
    counter.inc()
  }

  #requests(outcome: string): Counter {
    return this.#counter('spillway_server_requests_total', { outcome })
  }

  #counter(name: MetricName, more: Labels = {}): Counter {
    return this.#metrics.counter(name, METRICS[name].help, { ...this.#labels, ...more })
  }

  #histogram(name: MetricName): Histogram {
    return this.#metrics.histogram(name, METRICS[name].help, this.#labels)
  }
}
