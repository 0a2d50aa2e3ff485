/** One server of a pool: what is known of it, and what it has to do. The pool changes it; everybody else looks. */
import type { PoolConfig, ServerConfig } from '../config/config.ts'
import { GradientLimit } from '../core/admission/gradient-limit.ts'
import { PeakEwma } from '../core/balancing/peak-ewma.ts'
import { type Health, UNKNOWN } from '../core/health/health.ts'
import { Conduct } from '../core/health/outliers.ts'
import { hash32 } from '../lib/hash.ts'
import type { MonotonicMillis } from '../lib/units.ts'

/** `ejected`: it passes its checks, but its requests fail. */
export type ServerState = 'unknown' | 'up' | 'down' | 'ejected' | 'draining'

export class Server {
  readonly name: string
  readonly pool: string
  readonly config: ServerConfig
  state: ServerState = 'unknown'
  inFlight = 0
  /** Of these, attempts of jobs. */
  jobs = 0
  /** When a job got a slot the last time, and since when none has one. */
  jobsFrom: MonotonicMillis = 0
  jobsUntil: MonotonicMillis = 0
  tunnels = 0
  /** Of the current up phase. */
  upSince: MonotonicMillis = 0
  /** This up phase followed a seen failure: slow start applies. */
  returned = false
  downSince: MonotonicMillis = 0
  downReason = ''
  /** It said 429 or 503: its share is paused until then, or until it has been down. */
  pausedUntil: MonotonicMillis = 0

  // For balancing and judging; the pool's own.
  readonly configuredWeight: number
  readonly hash: number
  readonly latency: PeakEwma = new PeakEwma()
  /** As configured; less while it starts slowly, or on probation. */
  weight: number
  slots: number
  /** How many it bears, where that is learnt. */
  readonly limit: GradientLimit | undefined
  credit = 0
  health: Health = UNKNOWN
  /** It could not be reached, the last time: that is no opinion. */
  refused = false
  conduct: Conduct = new Conduct()

  constructor({ name: pool, maxInFlight, adaptiveMin }: PoolConfig, config: ServerConfig) {
    this.pool = pool
    this.config = config
    this.name = config.name
    this.hash = hash32(config.name)
    this.configuredWeight = config.weight
    this.weight = config.weight
    this.limit = adaptiveMin === undefined ? undefined : new GradientLimit({ min: adaptiveMin, max: maxInFlight })
    this.slots = this.limit?.limit ?? maxInFlight
  }

  /** It stands in for others. */
  get backup(): boolean {
    return this.config.backup === true
  }
}
