/** What the admin address tells: plain data, and where it comes from. */
import type { MetricsDump } from '../telemetry/telemetry.ts'
import type { Mode } from '../config/config.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { JobStatus, QueueLimits, StoreInfo } from '../ports/job-store.ts'
import type { RecentSyncs } from '../telemetry/store-events.ts'

export interface Readiness {
  readonly ok: boolean
  /** A few words: `ready`, `starting`, `draining`, `store failed`, `store corrupt`. */
  readonly reason: string
}

export interface ServerStatus {
  readonly name: string
  readonly weight: number
  /** It gets something only while no other server is up. */
  readonly backup?: boolean
  readonly state: string
  /** Why it is down or ejected. */
  readonly reason?: string
  /** Of the current state. */
  readonly since?: EpochMillis
  /** It answered 429 or 503 and gets no new work for so long. */
  readonly restsMs?: Millis
  /** Requests that it may have in flight now, where that is less than the pool's `maxInFlight`: learnt, or because it starts slowly. */
  readonly slots?: number
  /** It was ejected, and gets one request at a time until some have gone well. */
  readonly onProbation?: boolean
  readonly inFlight: number
  readonly tunnels: number
}

export interface PoolStatus {
  readonly name: string
  /** As in the configuration; by hash: what is hashed, as in `hash address`. */
  readonly balance: string
  /** Direct requests that wait for a slot. */
  readonly waiting: number
  /** Requests and attempts that each server may have in flight. */
  readonly maxInFlight: number
  /** The pool that stands in for it now. */
  readonly failover?: string
  readonly servers: readonly ServerStatus[]
}

export interface QueueStatus {
  readonly name: string
  readonly pool: string
  readonly jobs: Readonly<Record<JobStatus, number>>
  readonly bytes: Bytes
  readonly finishedBytes: Bytes
  readonly oldestWaitingMs?: Millis
  /** Until the last that waits now has ended, as things go; absent: nobody can say. */
  readonly etaMs?: Millis
  /** Of the hand-out that has been running longest. */
  readonly oldestRunningMs?: Millis
  /** Of the queued and retrying: those that wait for time. */
  readonly scheduled: number
  readonly paused: boolean
  /** Keys that wait for somebody to release them. */
  readonly blockedKeys: number
  readonly limits: QueueLimits
  /** What one attempt may take, and how many run on each server; absent: the queue is not in the configuration. */
  readonly timeoutMs?: Millis
  readonly concurrency?: number
  /** Dead letters by reason. */
  readonly dead: Readonly<Record<string, number>>
  /** Buckets by server. */
  readonly buckets: Readonly<Record<string, number>>
}

export interface EndpointStatus {
  readonly name: string
  /** Why nothing is sent to it. */
  readonly disabledBecause?: string
  /** It has taken nothing since. */
  readonly failingSince?: EpochMillis
}

/** That a listener shows. */
export interface CertificateStatus {
  /** Its address as configured. */
  readonly listener: string
  readonly file: string
  readonly names: readonly string[]
  readonly notAfter: EpochMillis
}

export interface RouteStatus {
  readonly name: string
  readonly mode: Mode
  readonly pool: string
  /** Where its requests are shared out among several. */
  readonly split?: readonly { readonly pool: string; readonly weight: number }[]
  readonly queue?: string
}

export interface StoreStatus extends StoreInfo {
  /** Folder; absent where nothing is on a disk. */
  readonly path?: string
  readonly syncs: RecentSyncs
}

export interface ConfigStatus {
  readonly file?: string
  /** When what holds now was read. */
  readonly readAt: EpochMillis
  /** Keys of the file that differ from what holds, and hold only after a restart. */
  readonly needsRestart: readonly string[]
  /** A later reading that was refused. */
  readonly refused?: { readonly at: EpochMillis; readonly problems: readonly string[] }
}

export interface GuardStatus {
  /** `slow`: new connections are let in slowly. `shed`: and requests are refused, the least urgent first. */
  readonly level: 'calm' | 'slow' | 'shed'
  /** What presses most, and its value: milliseconds of `loopDelay`, or a share. */
  readonly signal?: string
  readonly value?: number
}

export interface AdminStatus {
  readonly version: string
  readonly pid: number
  readonly uptimeMs: Millis
  readonly ready: Readiness
  readonly listeners: readonly string[]
  /** What the gateway does because it has too much to do itself; absent: it is not looked at. */
  readonly guard?: GuardStatus
  /** Threads beside the one with the store: that there should be, and that serve. */
  readonly workers?: { readonly wanted: number; readonly running: number }
  readonly config: ConfigStatus
  /** The process that is about to take over from this one. */
  readonly successor?: number
  readonly store: StoreStatus
  readonly pools: readonly PoolStatus[]
  readonly queues: readonly QueueStatus[]
  readonly routes: readonly RouteStatus[]
  /** Webhook endpoints; empty where there are none. */
  readonly webhooks: readonly EndpointStatus[]
  /** Empty where no listener has TLS. */
  readonly certificates: readonly CertificateStatus[]
}

export interface AdminSources {
  ready(): Readiness
  /** Rejects when the store cannot tell. */
  status(): Promise<AdminStatus>
  /** Brings up to date what the gauges read. May reject or hang with the store: metrics are served without it. */
  refresh(): Promise<void>
  /** What other threads of the gateway have counted. */
  countedElsewhere(): Promise<readonly MetricsDump[]>
}
