/**
 * All tunnels of a gateway: how many a route and a client may have and how fast they may be opened, and the gentle end of those that have to go. When the
 * gateway stops they are ended at random moments of the time to drain; when a server has come, as many as are its share, at a bounded rate.
 */
import type { RouteConfig } from '../config/config.ts'
import { endSpread, excessTunnels } from '../core/admission/tunnel-ends.ts'
import { type Failure, failure } from '../core/errors.ts'
import { refilled, taken, type TokenBucket, waitFor } from '../core/jobs/rate.ts'
import { retryAfterSeconds } from '../jobs/estimate.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { Clock, Random, Timer } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

/** Why a tunnel is over. `peer`: one of its ends ended it. */
export type TunnelEnd = 'peer' | 'idle' | 'drain' | 'rebalance' | 'left'

export interface Tunnel {
  readonly pool: Pool
  readonly server: Server
  /** It is being ended already. */
  readonly ending: boolean
  /** Gently. */
  end(why: TunnelEnd): void
  /** At once. */
  close(): void
}

export interface TunnelsParts {
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
}

const TICK_MS: Millis = 50
const RETRY_AFTER_SECONDS = 5

export class Tunnels {
  readonly #parts: TunnelsParts
  /** Oldest first. */
  readonly #open = new Set<Tunnel>()
  /** With those that are not open yet. */
  #entered = 0
  readonly #perRoute = new Map<string, number>()
  readonly #perClient = new Map<string, number>()
  readonly #rates = new Map<string, TokenBucket>()
  /** By pool: the timer of its rebalancing. */
  readonly #rebalancing = new Map<Pool, Timer>()
  readonly #watched = new WeakSet<Pool>()
  readonly #endings = new Map<Tunnel, Timer>()
  #drainsUntil: MonotonicMillis | undefined
  #drained: (() => void) | undefined
  #closed = false

  constructor(parts: TunnelsParts) {
    this.#parts = parts
  }

  get open(): number {
    return this.#open.size
  }

  /** A place for one more; what gives it back, once. `client`: who asks, if that matters. */
  enter(route: RouteConfig, client: () => string): (() => void) | Failure {
    const { tunnels: limits } = route
    if (this.#drainsUntil !== undefined) return failure('shutting_down', 'The gateway is stopping; another one takes your tunnel.')
    const who = limits?.perClient === undefined ? undefined : `${route.name}\n${client()}`
    const refused = limits === undefined ? undefined : this.#refusal(route, limits, who)
    if (refused !== undefined) return refused
    this.#entered++
    add(this.#perRoute, route.name, 1)
    if (who !== undefined) add(this.#perClient, who, 1)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#entered--
      add(this.#perRoute, route.name, -1)
      if (who !== undefined) add(this.#perClient, who, -1)
      if (this.#entered === 0) this.#drained?.()
    }
  }

  #refusal({ name }: RouteConfig, limits: NonNullable<RouteConfig['tunnels']>, who: string | undefined): Failure | undefined {
    const { max, perClient, connectRate } = limits
    if (max !== undefined && (this.#perRoute.get(name) ?? 0) >= max) {
      this.#parts.telemetry.event({ type: 'limit-reached', limit: 'tunnels.max', where: name, value: max })
      return failure('too_many_tunnels', `this route has ${max} tunnels (tunnels.max)`, this.#soon(RETRY_AFTER_SECONDS * 1000))
    }
    if (perClient !== undefined && who !== undefined && (this.#perClient.get(who) ?? 0) >= perClient) {
      return failure('too_many_client_tunnels', `you have ${perClient} tunnels on this route (tunnels.perClient)`, RETRY_AFTER_SECONDS)
    }
    if (connectRate === undefined) return undefined
    const bucket = refilled(this.#rates.get(name), connectRate, this.#parts.clock.monotonic())
    const waitMs = waitFor(bucket, connectRate)
    this.#rates.set(name, waitMs > 0 ? bucket : taken(bucket))
    if (waitMs === 0) return undefined
    this.#parts.telemetry.event({ type: 'limit-reached', limit: 'tunnels.connectRate', where: name, value: connectRate.count })
    return failure(
      'tunnels_too_fast',
      'so many tunnels are opened on this route that yours has to wait (tunnels.connectRate)',
      this.#soon(waitMs),
    )
  }

  /** Spread: whoever was refused together shall not come back together. */
  #soon(ms: Millis): number {
    return retryAfterSeconds(ms, this.#parts.random.unit())
  }

  add(tunnel: Tunnel): void {
    this.#open.add(tunnel)
    this.#watch(tunnel.pool)
    if (this.#drainsUntil !== undefined) this.#endLater(tunnel, this.#drainsUntil - this.#parts.clock.monotonic())
  }

  delete(tunnel: Tunnel, why: TunnelEnd): void {
    if (!this.#open.delete(tunnel)) return
    this.#endings.get(tunnel)?.cancel()
    this.#endings.delete(tunnel)
    const { help } = METRICS.spillway_tunnels_closed_total
    this.#parts.telemetry.metrics.counter('spillway_tunnels_closed_total', help, { pool: tunnel.pool.name, why }).inc()
  }

  /** Ends all of them, at random moments. Resolves when they are over. */
  drain(drainMs: Millis): Promise<void> {
    const spreadMs = endSpread(this.#open.size, drainMs)
    this.#drainsUntil = this.#parts.clock.monotonic() + spreadMs
    if (this.#entered === 0) return Promise.resolve()
    for (const tunnel of this.#open) this.#endLater(tunnel, spreadMs)
    return new Promise((resolve) => {
      this.#drained = resolve
    })
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#rebalancing.values()) timer.cancel()
    for (const tunnel of [...this.#open]) tunnel.close()
  }

  #endLater(tunnel: Tunnel, spreadMs: Millis): void {
    const inMs = Math.ceil((this.#parts.random.unit() * Math.max(0, spreadMs)) / TICK_MS) * TICK_MS
    this.#endings.set(
      tunnel,
      this.#parts.clock.after(inMs, () => tunnel.end('drain')),
    )
  }

  // --- a server has come

  #watch(pool: Pool): void {
    if (pool.config.rebalanceTunnels === undefined || this.#watched.has(pool)) return
    this.#watched.add(pool)
    pool.onChange(({ to }) => {
      // Before its slow start is over those who come back would go to the others.
      if (to === 'up') this.#later(pool, pool.config.slowStartMs, () => this.#begin(pool))
    })
  }

  #later(pool: Pool, afterMs: Millis, then: () => void): void {
    if (this.#closed) return
    this.#rebalancing.get(pool)?.cancel()
    this.#rebalancing.set(pool, this.#parts.clock.after(afterMs, then))
  }

  /** As many as are too many now, and no more, whatever those who are sent away do. */
  #begin(pool: Pool): void {
    const servers = pool.inUse()
    const excess = excessTunnels(servers.map(({ tunnels, configuredWeight: weight }) => ({ tunnels, weight })))
    this.#rebalance(pool, new Map(servers.map((server, i) => [server, excess[i] ?? 0])))
  }

  #rebalance(pool: Pool, excess: Map<Server, number>): void {
    this.#rebalancing.delete(pool)
    const rate = pool.config.rebalanceTunnels
    const oldest = [...this.#open].find((tunnel) => !tunnel.ending && (excess.get(tunnel.server) ?? 0) > 0)
    if (oldest === undefined || rate === undefined || this.#drainsUntil !== undefined) return
    excess.set(oldest.server, (excess.get(oldest.server) ?? 0) - 1)
    oldest.end('rebalance')
    this.#later(pool, rate.perMs / rate.count, () => this.#rebalance(pool, excess))
  }
}

function add(counts: Map<string, number>, name: string, by: 1 | -1): void {
  const count = (counts.get(name) ?? 0) + by
  if (count === 0) counts.delete(name)
  else counts.set(name, count)
}
