/** What calls need of the running gateway. Made by the wiring; calls read it, none changes it. */
import type { Clients } from '../api/clients.ts'
import type { EventSockets } from '../api/event-socket.ts'
import type { ApiKeys } from '../api/queues/rights.ts'
import type { Config } from '../config/config.ts'
import type { ForwardOptions } from '../core/headers/forward.ts'
import type { Router } from '../core/routing/router.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Pending } from '../lib/pending.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Sweeper } from '../net/sweeper.ts'
import type { Failovers } from '../pools/failovers.ts'
import type { Pool } from '../pools/pool.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Webhooks } from '../webhooks/webhooks.ts'
import type { Hedges } from './hedge.ts'
import type { Mirrors } from './mirror.ts'
import type { Guard } from './guard.ts'
import type { ModeSwitches } from './mode-switches.ts'
import type { RouteCounters } from './route-counters.ts'
import type { RouteModes } from './route-modes.ts'
import type { Sticky } from './sticky.ts'
import type { Tunnels } from './tunnels.ts'

/** What serves a call now: servers, and no store. All that a worker has. */
export interface LiveContext {
  readonly config: Config
  /** How this hop names itself to servers. */
  readonly forwarding: ForwardOptions
  /** The same for calls that came over TLS. */
  readonly secureForwarding: ForwardOptions
  readonly clock: Clock
  readonly random: Random
  readonly sweeper: Sweeper
  readonly telemetry: Telemetry
  readonly router: Router
  readonly pools: ReadonlyMap<string, Pool>
  readonly failovers: Failovers
  readonly sticky: Sticky
  readonly upstream: Upstream
  readonly budget: BufferBudget
  readonly jobs: Pick<Jobs, 'isHeld'>
  readonly clients: Pick<Clients, 'addressOf'>
  readonly hedges: Hedges
  readonly mirrors: Mirrors
  readonly routeCounters: RouteCounters
  readonly routeModes: Pick<RouteModes, 'of' | 'mayWait' | 'waitIsOver' | 'served'>
  /** Absent: it is off. */
  readonly guard?: Guard | undefined
}

/** And what makes jobs of calls, and watches these. */
export interface CallContext extends LiveContext {
  readonly jobs: Jobs
  /** Calls that the store has to do with. */
  readonly storeCalls: Pending
  readonly webhooks: Webhooks
  readonly apiKeys: ApiKeys
  readonly clients: Clients
  readonly eventSockets: EventSockets
  readonly routeModes: RouteModes
  readonly modeSwitches: ModeSwitches
  readonly tunnels: Tunnels
}
