/** What the admin address tells: plain data, and where it comes from. */
import type { Balance, Mode } from '../config/config.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { JobStatus } from '../ports/job-store.ts'

export interface Readiness {
  readonly ok: boolean
  /** A few words: `ready`, `starting`, `draining`, `store failed`, `store corrupt`. */
  readonly reason: string
}

export interface ServerStatus {
  readonly name: string
  readonly weight: number
  readonly state: string
  /** Why it is down. */
  readonly reason?: string
  /** Of the current state. */
  readonly since?: EpochMillis
  readonly inFlight: number
  readonly tunnels: number
}

export interface PoolStatus {
  readonly name: string
  readonly balance: Balance
  /** Direct requests that wait for a slot. */
  readonly waiting: number
  readonly servers: readonly ServerStatus[]
}

export interface QueueStatus {
  readonly name: string
  readonly pool: string
  readonly jobs: Readonly<Record<JobStatus, number>>
  readonly bytes: Bytes
  readonly finishedBytes: Bytes
  readonly oldestWaitingMs?: Millis
  /** Dead letters by reason. */
  readonly dead: Readonly<Record<string, number>>
  /** Buckets by server. */
  readonly buckets: Readonly<Record<string, number>>
}

export interface RouteStatus {
  readonly name: string
  readonly mode: Mode
  readonly pool: string
  readonly queue?: string
}

export interface AdminStatus {
  readonly version: string
  readonly pid: number
  readonly uptimeMs: Millis
  readonly ready: Readiness
  readonly listeners: readonly string[]
  readonly pools: readonly PoolStatus[]
  readonly queues: readonly QueueStatus[]
  readonly routes: readonly RouteStatus[]
}

export interface AdminSources {
  ready(): Readiness
  /** Rejects when the store cannot tell. */
  status(): Promise<AdminStatus>
  /** Brings up to date what the gauges read. May reject or hang with the store: metrics are served without it. */
  refresh(): Promise<void>
}
