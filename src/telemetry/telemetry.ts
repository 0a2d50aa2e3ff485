/**
 * What the gateway tells about itself: events for people, counters for machines, one line per call and per attempt for both.
 * Information flows out only; nothing in here decides anything. Job ids may appear everywhere, tokens, secrets and bodies nowhere.
 */
import type { Termination } from '../core/calls/termination.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'

export type GatewayEvent =
  | { readonly type: 'started'; readonly listeners: readonly string[]; readonly admin: string; readonly pid: number }
  | { readonly type: 'stopping'; readonly reason: string; readonly inFlight: number }
  | { readonly type: 'stopped' }
  | { readonly type: 'server-up'; readonly pool: string; readonly server: string; readonly reason: string; readonly downForMs?: Millis }
  | { readonly type: 'server-down'; readonly pool: string; readonly server: string; readonly reason: string }
  /** Its requests fail, or are far slower than those of the others: it gets nothing for so long. */
  | { readonly type: 'server-ejected'; readonly pool: string; readonly server: string; readonly reason: string; readonly forMs: Millis }
  | { readonly type: 'server-on-probation'; readonly pool: string; readonly server: string }
  /** It is in the pool from now on; `source`: who says so. */
  | { readonly type: 'server-added'; readonly pool: string; readonly server: string; readonly source: string }
  /** It is not any more: what it has in flight may end. */
  | { readonly type: 'server-removed'; readonly pool: string; readonly server: string; readonly inFlight: number }
  /** And that has ended, or was broken off. */
  | { readonly type: 'server-left'; readonly pool: string; readonly server: string; readonly afterMs: Millis; readonly cut: number }
  /** A thread that served clients is no more: what it served is broken off, and another one comes. */
  | { readonly type: 'worker-died'; readonly worker: number; readonly reason: string; readonly againMs: Millis }
  /** It is not configured any more: whoever is in it may end. */
  | { readonly type: 'pool-removed'; readonly pool: string }
  | { readonly type: 'pool-left'; readonly pool: string; readonly afterMs: Millis }
  /** A host name of servers: what was known of it goes on. */
  | { readonly type: 'name-unresolved'; readonly name: string; readonly reason: string; readonly kept: number }
  | { readonly type: 'name-resolved'; readonly name: string; readonly addresses: number }
  /** An operator has changed it. */
  | { readonly type: 'server-changed'; readonly pool: string; readonly server: string; readonly change: string }
  /** It had registered itself. */
  | { readonly type: 'registration-ended'; readonly pool: string; readonly server: string; readonly reason: string }
  /** No server is good, and some only look bad: they get requests all the same. */
  /** What a server says of itself: that it wants no new work, for so long or as long as its checks say so; and that this is over. */
  | { readonly type: 'drain-asked'; readonly pool: string; readonly server: string; readonly forMs?: Millis }
  | { readonly type: 'drain-over'; readonly pool: string; readonly server: string; readonly reason: string }
  /** It said something that is none of the forms. */
  | { readonly type: 'report-garbled'; readonly pool: string; readonly server: string; readonly field: string; readonly value: string }
  /** No server is up. `drains`: those that ask to be drained are used all the same. `suspect`: those that look bad, but could be reached. */
  | { readonly type: 'pool-panics'; readonly pool: string; readonly hope: 'drains' | 'suspect' }
  | { readonly type: 'pool-calm'; readonly pool: string }
  /** It has no server up: `to` gets its direct requests and tunnels. */
  | { readonly type: 'failover-began'; readonly pool: string; readonly to: string }
  /** `back`: it has one again. `lost`: nobody who stands in for it has. */
  | { readonly type: 'failover-ended'; readonly pool: string; readonly reason: 'back' | 'lost' }
  | {
      readonly type: 'buckets-moved'
      readonly queue: string
      readonly server: string
      readonly moved: number
      readonly buckets: number
      readonly to: readonly string[]
      readonly cause: 'down' | 'up'
      readonly takenBack: number
    }
  | { readonly type: 'mode-switched'; readonly route: string; readonly to: 'auto' | 'queue' | 'refuse' }
  | { readonly type: 'mode-flipped'; readonly route: string; readonly to: 'direct' | 'queue'; readonly reason: string }
  | { readonly type: 'job-dead'; readonly job: string; readonly queue: string; readonly reason: string; readonly detail: string }
  | { readonly type: 'batch-ended'; readonly batch: string; readonly total: number; readonly succeeded: number }
  | { readonly type: 'chain-stopped'; readonly job: string; readonly queue: string; readonly detail: string }
  | {
      readonly type: 'attempt-failed'
      readonly job: string
      readonly queue: string
      readonly server: string
      readonly attempt: number
      readonly reason: string
      readonly retryInMs?: Millis
    }
  /** Its server goes on with it, and reports the end within that time. */
  | { readonly type: 'job-deferred'; readonly job: string; readonly queue: string; readonly server: string; readonly forMs: Millis }
  | { readonly type: 'webhook-disabled'; readonly endpoint: string; readonly reason: string }
  | { readonly type: 'webhook-enabled'; readonly endpoint: string }
  /** The gateway itself has too much to do, or no more so: `value` is milliseconds of `loopDelay`, or a share of `memory` or `sockets`. */
  | {
      readonly type: 'guard'
      readonly level: 'calm' | 'slow' | 'shed'
      readonly before: 'calm' | 'slow' | 'shed'
      readonly signal?: string
      readonly value?: number
    }
  | { readonly type: 'limit-reached'; readonly limit: string; readonly where: string; readonly value: number }
  /** So many since it was told last: the PROXY protocol or TLS came to nothing; who and why is of the last one. */
  | {
      readonly type: 'connections-refused'
      readonly listener: string
      readonly count: number
      readonly peer: string
      readonly reason: string
    }
  | { readonly type: 'certificates-read'; readonly listener: string; readonly names: readonly string[] }
  /** What it had before goes on. */
  | { readonly type: 'certificate-refused'; readonly listener: string; readonly reason: string }
  /** Less than nothing is left when it has expired. */
  | {
      readonly type: 'certificate-expires'
      readonly listener: string
      readonly file: string
      readonly names: readonly string[]
      readonly leftMs: Millis
    }
  | { readonly type: 'sync-slow'; readonly tookMs: Millis; readonly operations: number }
  | { readonly type: 'store-corrupt'; readonly what: string }
  /** The configuration was read again, and holds from now on, but for keys that need a restart. */
  | { readonly type: 'config-reloaded'; readonly file: string; readonly needsRestart: readonly string[] }
  /** It was read again, and is wrong: the one before it goes on. */
  | { readonly type: 'config-refused'; readonly file: string; readonly problems: readonly string[] }
  /** Another process is being started that shall take over. */
  | { readonly type: 'upgrade-began'; readonly pid: number }
  /** It has the sockets and the store. This one ends when its last calls have. */
  | { readonly type: 'upgraded'; readonly pid: number }
  /** This process goes on. */
  | { readonly type: 'upgrade-failed'; readonly reason: string }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'fatal'; readonly message: string }

/** One per call from a client. */
export interface AccessLine {
  readonly at: EpochMillis
  readonly peer: string
  readonly method: string
  /** Without query; job tokens replaced by their job id. */
  readonly path: string
  readonly route: string
  readonly mode: string
  readonly status: number
  readonly tookMs: Millis
  readonly bytesIn: number
  readonly bytesOut: number
  readonly server?: string | undefined
  readonly job?: string | undefined
  /** How it ended when not well: an error code, or `client-gone`. */
  readonly error?: string | undefined
  /** How it ended, in one word. */
  readonly end: Termination
  /** Who is behind trusted proxies; absent: the peer itself. */
  readonly client?: string | undefined
  readonly pool?: string | undefined
  /** It came over TLS; absent: it did not. */
  readonly secure?: true | undefined
  /** In line for a slot. */
  readonly waitMs?: Millis | undefined
  /** Each time that it was given to a server, in order. */
  readonly tries?: readonly TryLine[] | undefined
  readonly requestId?: string | undefined
  readonly traceId?: string | undefined
}

/** Once that the request was given to a server. */
export interface TryLine {
  readonly server: string
  readonly atMs: Millis
  readonly why?: string | undefined
  readonly outcome: string
  readonly status?: number | undefined
  readonly reused: boolean
  readonly connectMs?: Millis | undefined
  readonly firstByteMs?: Millis | undefined
  readonly tookMs?: Millis | undefined
  readonly bytesUp: number
  readonly bytesDown: number
}

/** One per request that was sent, or tried to be sent, to a server. */
export interface AttemptLine {
  readonly at: EpochMillis
  readonly pool: string
  readonly server: string
  readonly route: string
  readonly job?: string
  readonly attempt: number
  readonly outcome: string
  readonly status?: number
  readonly tookMs: Millis
  /** Of the request that it was submitted with. */
  readonly requestId?: string | undefined
  readonly traceId?: string | undefined
}

/** One for each tunnel, when it is over. */
export interface TunnelLine {
  readonly at: EpochMillis
  readonly peer: string
  readonly client?: string | undefined
  readonly path: string
  readonly route: string
  readonly pool: string
  readonly server: string
  /** Since its 101. */
  readonly tookMs: Millis
  /** What came from the client, and what it was sent. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly why: string
  readonly requestId?: string | undefined
  readonly traceId?: string | undefined
}

export interface Counter {
  inc(by?: number): void
}
export interface Histogram {
  /** Times in seconds, as Prometheus wants them. */
  observe(value: number): void
}

/** `series` is resolved once (outside the hot path) and kept. */
export interface Metrics {
  counter(name: string, help: string, labels?: Readonly<Record<string, string>>): Counter
  histogram(name: string, help: string, labels?: Readonly<Record<string, string>>): Histogram
  /** Read when scraped. Several callbacks may feed one name. */
  gauge(name: string, help: string, read: () => Iterable<GaugeSample>): void
  /** Whoever bears these labels is gone: its counters and histograms go, too. */
  forget(labels: Readonly<Record<string, string>>): void
  /** Prometheus text format 0.0.4. */
  render(): string
  /** As if what others have counted so far had been counted here. */
  renderWith(dumps: readonly MetricsDump[]): string
  dump(): MetricsDump
  /** What somebody else has counted, who is no more. */
  add(dump: MetricsDump): void
}

/** Of a counter, or of a histogram: how many in each bucket. */
export type Amount = number | { readonly counts: Float64Array; readonly sum: number }

/** What was counted, to be added to what somebody else has counted. */
export interface FamilyDump {
  readonly name: string
  readonly help: string
  readonly source: 'counter' | 'histogram'
  readonly series: readonly (readonly [labels: string, amount: Amount])[]
}

export interface GaugeDump {
  readonly name: string
  readonly help: string
  readonly samples: readonly GaugeSample[]
}

/** Gauges as they were at that moment. */
export interface MetricsDump {
  readonly counted: readonly FamilyDump[]
  readonly gauges: readonly GaugeDump[]
}

export const NOTHING_COUNTED: MetricsDump = { counted: [], gauges: [] }

export interface GaugeSample {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

export interface Telemetry {
  readonly metrics: Metrics
  /** False: callers need not build access, attempt and tunnel lines. */
  readonly accessLog: boolean
  event(event: GatewayEvent): void
  access(line: AccessLine): void
  attempt(line: AttemptLine): void
  tunnel(line: TunnelLine): void
}
