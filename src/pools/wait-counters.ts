/** Counts how waiting for a slot ended; whoever finds one at once is not counted. */
import type { Millis } from '../lib/units.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Histogram, Telemetry } from '../telemetry/telemetry.ts'
import type { WaitEnd } from './line.ts'
import type { LineSigns } from './pool-types.ts'

export type WaitOutcome = WaitEnd | 'served' | 'shed' | 'full'

export class WaitCounters {
  readonly #pool: string
  readonly #telemetry: Telemetry
  readonly #counters = new Map<WaitOutcome, Counter>()
  readonly #signs: LineSigns | undefined
  #times: Histogram | undefined

  constructor(pool: string, telemetry: Telemetry, signs?: LineSigns) {
    this.#pool = pool
    this.#signs = signs
    this.#telemetry = telemetry
  }

  /** A slot is its own, after so long. */
  served(waitedMs: Millis): void {
    const { help } = METRICS.spillway_pool_wait_seconds
    this.#times ??= this.#telemetry.metrics.histogram('spillway_pool_wait_seconds', help, { pool: this.#pool })
    this.#times.observe(waitedMs / 1000)
    this.count('served')
  }

  size(waiting: number): void {
    this.#signs?.waits(waiting)
  }

  count<T extends WaitOutcome>(outcome: T): T {
    let counter = this.#counters.get(outcome)
    if (counter === undefined) {
      const { help } = METRICS.spillway_waits_total
      counter = this.#telemetry.metrics.counter('spillway_waits_total', help, { pool: this.#pool, outcome })
      this.#counters.set(outcome, counter)
    }
    counter.inc()
    return outcome
  }
}
