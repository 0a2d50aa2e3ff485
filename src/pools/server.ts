/** One server of a pool: what is known of it, and what it has to do. The pool changes it; everybody else looks. */
import type { PoolConfig, ServerConfig } from '../config/config.ts'
import { GradientLimit } from '../core/admission/gradient-limit.ts'
import { PeakEwma } from '../core/balancing/peak-ewma.ts'
import { type Health, type ProbeResult, UNKNOWN } from '../core/health/health.ts'
import { Conduct } from '../core/health/outliers.ts'
import type { Duty, Membership, Source } from '../core/members/members.ts'
import type { DrainWish } from '../core/server-reports/drain-wish.ts'
import type { ReportedLoad } from '../core/server-reports/reported-load.ts'
import { hash32 } from '../lib/hash.ts'
import { LocalTally, type Tally } from '../lib/tally.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../lib/units.ts'
import type { ServerMeter } from './server-meter.ts'

/** `ejected`: it passes its checks, but its requests fail. `draining`: it is not wanted for anything new, for good or for a while. */
export type ServerState = 'unknown' | 'up' | 'down' | 'ejected' | 'draining'

/** A server that somebody says is in a pool. */
export type DeclaredServer = ServerConfig & { readonly source: Source }
/** And that is in it. */
export type PoolMember = ServerConfig & Membership

/** A connection or a tunnel to it. */
export interface Link {
  /** Nothing new is sent there: who is idle closes. */
  leave(): void
  /** Whatever it is doing is broken off. */
  cut(detail: string): void
}

export interface LastCheck {
  readonly at: EpochMillis
  readonly tookMs: Millis
  readonly result: ProbeResult
}

export class Server {
  readonly name: string
  readonly pool: string
  config: ServerConfig
  state: ServerState = 'unknown'
  /** Slots, by all threads that send to it. */
  readonly taken: Tally
  /** Of these, attempts of jobs. */
  jobs = 0
  /** When a job got a slot the last time, and since when none has one. */
  jobsFrom: MonotonicMillis = 0
  jobsUntil: MonotonicMillis = 0
  tunnels = 0
  /** Of the current up phase. */
  upSince: MonotonicMillis = 0
  /** This up phase followed a seen failure, or it came later than the others: slow start applies. */
  returned = false
  downSince: MonotonicMillis = 0
  downReason = ''
  /** Why it is in the state that it is in. */
  because = 'it was not checked yet'
  lastCheck: LastCheck | undefined
  /** Of the state. */
  stateSince: EpochMillis = 0
  /** It said 429 or 503: its share is paused until then, or until it has been down. */
  pausedUntil: MonotonicMillis = 0

  // Membership.
  source: Source
  duty: Duty = 'ready'
  /** It is no member any more, and goes when nothing is in flight. */
  leaving = false
  /** It came to a pool that ran already, or was not looked at for a while, and has not been up since. */
  cold = false
  /** That is the reason for its slow start: nothing speaks against it. */
  isNew = false
  readonly links: Set<Link> = new Set()
  /** To it, those of tunnels not among them. */
  connections = 0
  /** Made when there is something to count. */
  meter: ServerMeter | undefined

  // For balancing and judging; the pool's own.
  configuredWeight: number
  readonly hash: number
  readonly latency: PeakEwma = new PeakEwma()
  /** As configured; less while it starts slowly, or on probation. */
  weight: number
  slots: number
  /** How many it bears, where that is learnt. */
  limit: GradientLimit | undefined
  credit = 0
  health: Health = UNKNOWN
  /** It could not be reached, the last time: that is no opinion. */
  refused = false
  conduct: Conduct = new Conduct()

  // What it says of itself; absent: nothing that counts.
  wish: DrainWish | undefined
  wishEndedAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  load: ReportedLoad | undefined
  /** What its load makes of its share. */
  loadFactor = 1

  constructor(pool: PoolConfig, config: PoolMember, taken: Tally = new LocalTally()) {
    this.taken = taken
    this.pool = pool.name
    this.config = config
    this.source = config.source
    this.name = config.name
    this.hash = hash32(config.name)
    this.configuredWeight = config.weight
    this.weight = config.weight
    this.limit = learntLimit(pool)
    this.slots = this.limit?.limit ?? pool.maxInFlight
  }

  get inFlight(): number {
    return this.taken.value
  }

  /** Nothing new, but who was there before may come back until it leaves. */
  get keepsSessions(): boolean {
    const isDrained = this.duty === 'drain' || (this.duty === 'ready' && this.wish !== undefined)
    return isDrained && this.health.state === 'up' && !this.leaving
  }

  /** It is well, and nobody but itself wants that it gets nothing new. */
  get asksToDrain(): boolean {
    const isWell = this.health.state === 'up' && this.conduct.standing !== 'ejected'
    return this.wish !== undefined && this.duty === 'ready' && isWell && !this.leaving
  }

  /** It stands in for others. */
  get backup(): boolean {
    return this.config.backup === true
  }
}

/** What it is where no operator wants it otherwise. */
export function stateOf({ health, conduct, wish }: Server): ServerState {
  if (wish !== undefined) return 'draining'
  return health.state === 'up' && conduct.standing === 'ejected' ? 'ejected' : health.state
}

export function learntLimit({ maxInFlight, adaptiveMin }: PoolConfig): GradientLimit | undefined {
  return adaptiveMin === undefined ? undefined : new GradientLimit({ min: adaptiveMin, max: maxInFlight })
}

export function asInFile(server: ServerConfig): PoolMember {
  return { ...server, source: 'file', duty: 'ready' }
}

/** Until the quickest of them begins to answer; 0 where nobody knows. */
export function fastestMs(servers: readonly Server[], now: MonotonicMillis): Millis {
  const known = servers.filter(({ latency }) => latency.known)
  return known.length === 0 ? 0 : Math.min(...known.map(({ latency }) => latency.ms(now)))
}
