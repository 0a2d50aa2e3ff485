/** How long a job waits before it is sent again. Equal jitter: random, but never less than half of the nominal delay. */
import type { Millis } from '../../lib/units.ts'

export interface Backoff {
  readonly baseMs: Millis
  readonly maxMs: Millis
}

/** Delay before the try that follows failure number `failures` (1 = the first). `unit` is uniform in [0, 1). */
export function backoffDelayMs(backoff: Backoff, failures: number, unit: number): Millis {
  // The exponent is bounded because 2 ** 1024 is Infinity, and Infinity * 0 (a base of 0) is NaN.
  const nominal = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(Math.max(failures, 1) - 1, 60))
  return Math.ceil(nominal / 2 + (nominal / 2) * unit)
}
