/** What pull consumers of a queue get: how many of their receives brought jobs, and how many came back empty. */
import { METRICS } from './names.ts'
import type { Counter, Metrics } from './telemetry.ts'

export interface ReceiveCounters {
  readonly filled: Counter
  readonly empty: Counter
}

/** To be resolved once per queue and kept. */
export function receiveCounters(metrics: Metrics, queue: string): ReceiveCounters {
  const counter = (outcome: 'filled' | 'empty'): Counter =>
    metrics.counter('spillway_receives_total', METRICS.spillway_receives_total.help, { queue, outcome })
  return { filled: counter('filled'), empty: counter('empty') }
}
