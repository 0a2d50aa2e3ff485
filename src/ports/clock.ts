/** Time and chance as ports: whoever needs them is handed them, so that tests and the simulator can hand out others. */
import type { EpochMillis, Millis, MonotonicMillis } from '../lib/units.ts'

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall clock: for what is stored, shown or compared with another machine's time. May jump. */
  now(): EpochMillis
  /** Never jumps: for durations and deadlines inside this process. */
  monotonic(): MonotonicMillis
  /** Calls `fn` once after at least `delay`. Does not keep the process alive. */
  after(delay: Millis, fn: () => void): Timer
}

export interface Random {
  /** Uniform in [0, 1). For jitter and choice, never for secrets. */
  unit(): number
  /** `count` bytes from the system's cryptographic source. For secrets. */
  bytes(count: number): Buffer
}
