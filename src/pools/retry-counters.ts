/** Requests that failed after they had reached a server and might be sent again: those that were, and those that were not. */
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'

export class RetryCounters {
  readonly #sent: Counter
  readonly #refused: Counter

  constructor(pool: string, { metrics }: Telemetry) {
    const { help } = METRICS.spillway_retries_total
    const counter = (outcome: string): Counter => metrics.counter('spillway_retries_total', help, { pool, outcome })
    this.#sent = counter('sent')
    this.#refused = counter('refused')
  }

  count(may: boolean): boolean {
    ;(may ? this.#sent : this.#refused).inc()
    return may
  }
}
