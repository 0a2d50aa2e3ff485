/** What a pool is asked for, what it tells, and what it stands on. */
import type { Clock, Random } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Probers } from './probers.ts'
import type { Server } from './server.ts'

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

export interface PoolPorts {
  readonly clock: Clock
  readonly random: Random
  readonly network: Network
  readonly telemetry: Telemetry
  /** Shared with other pools. */
  readonly probers?: Probers
}
