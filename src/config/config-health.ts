/** How the servers of a pool are checked, as the program reads it; a part of `config.ts`. */
import type { Millis } from '../lib/units.ts'

export interface HealthConfig {
  /** Absent: a TCP connect is the check. */
  readonly path?: string
  /** Absent: GET. */
  readonly method?: 'GET' | 'HEAD'
  /** Names and values in turns. */
  readonly headers?: readonly string[]
  /** From and to; absent: 200 to 399. */
  readonly status?: readonly (readonly [from: number, to: number])[]
  /** What must be in the answer. */
  readonly body?: string
  /** Instead of that of the server. */
  readonly port?: number
  readonly intervalMs: Millis
  /** While its state is in doubt; absent: a quarter of the interval. */
  readonly fastIntervalMs?: Millis
  /** Default 5 %. */
  readonly jitter?: number
  /** Absent: until its first check nobody knows. */
  readonly isUpAtFirst?: true
  readonly timeoutMs: Millis
  /** Failures in a row until down, successes in a row until up. */
  readonly fall: number
  readonly rise: number
}
