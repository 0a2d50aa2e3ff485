/** What a pool is asked for, what it tells, and what it stands on. */
import type { Clock, Random } from '../ports/clock.ts'
import type { Health } from '../core/health/health.ts'
import type { Standing } from '../core/health/outliers.ts'
import type { Millis } from '../lib/units.ts'
import type { Tally } from '../lib/tally.ts'
import type { Network } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Probers } from './probers.ts'
import type { Server, ServerState } from './server.ts'

export interface PoolChange {
  readonly server: Server
  readonly to: 'up' | 'down'
  readonly reason: string
  readonly cause: 'check' | 'connection' | 'conduct' | 'operator' | 'members' | 'reports'
}

/** Who hands out jobs. */
export interface SlotSeeker {
  /** A slot of this server is free, and nobody waits for it. */
  slotFree(server: Server): void
  /** It would take one as soon as it can. */
  wants(server: Server): boolean
}

export interface Wanted {
  /** Servers that are of no use to it. */
  readonly excluded?: ReadonlySet<Server> | undefined
  /** Of what binds it to a server, where the pool balances by that. */
  readonly keyHash?: number | undefined
  /** It can wait in a queue: then it is not sent to a server that looks bad. */
  readonly isSpillable?: boolean
}

/** A server as another thread knows it, who looks at it. Times are spans: threads count from moments of their own. */
export interface Followed {
  readonly name: string
  readonly state: ServerState
  readonly because: string
  readonly health: Health
  readonly refused: boolean
  readonly standing: Standing
  readonly isNew: boolean
  readonly returned: boolean
  readonly upForMs: Millis
  readonly pausedForMs: Millis
  readonly loadFactor: number
}

/** What a pool's line tells other threads. */
export interface LineSigns {
  /** So many requests wait: nobody else takes a slot before them. */
  waits(count: number): void
  /** A job found no slot. */
  isHungry(): void
  /** From now on whoever frees a slot says so again. */
  looks(): void
}

/** What several threads count together. */
export interface SharedCounts {
  tally(pool: string, server: string): Tally | undefined
  /** Nothing is in flight there any more, and it is gone. */
  forget(pool: string, server: string): void
  signs(pool: string): LineSigns
}

export interface PoolPorts {
  readonly clock: Clock
  readonly random: Random
  readonly network: Network
  readonly telemetry: Telemetry
  /** Shared with other pools. */
  readonly probers?: Probers
  /** Absent: no other thread sends to its servers. */
  readonly shared?: SharedCounts | undefined
}
