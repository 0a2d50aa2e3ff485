/**
 * Pools that stand in for others: who does at the moment, and what people are told when that changes. Nothing is decided here that calls depend
 * on: each of them looks at the pools itself (`chainOf`), so that none is sent by a state that is a moment old.
 */
import { failoverChain, firstInService } from '../core/routing/failover.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import type { Pool } from './pool.ts'

export class Failovers {
  readonly #pools: ReadonlyMap<string, Pool>
  readonly #telemetry: Telemetry
  /** By pool: who serves instead. */
  readonly #standIns = new Map<string, Pool>()
  readonly #counters = new Map<string, Counter>()

  constructor(pools: ReadonlyMap<string, Pool>, telemetry: Telemetry) {
    this.#pools = pools
    this.#telemetry = telemetry
  }

  /** Of every pool: it may be what another one waits for. */
  watch(pool: Pool): void {
    pool.onChange(() => this.look())
  }

  /** The pool, and those that stand in for it, in order. */
  chainOf(pool: Pool): readonly Pool[] {
    return failoverChain(pool, (one) => (one.config.failover === undefined ? undefined : this.#pools.get(one.config.failover.pool)))
  }

  /** Who serves instead of it. */
  standIn(pool: string): string | undefined {
    return this.#standIns.get(pool)?.name
  }

  /** A request or a tunnel of this pool was given to another one. */
  count(pool: string): void {
    let counter = this.#counters.get(pool)
    if (counter === undefined) {
      counter = this.#telemetry.metrics.counter('spillway_failovers_total', METRICS.spillway_failovers_total.help, { pool })
      this.#counters.set(pool, counter)
    }
    counter.inc()
  }

  /** States have changed, or the pools themselves. */
  look(): void {
    for (const pool of this.#pools.values()) if (pool.config.failover !== undefined || this.#standIns.has(pool.name)) this.#lookAt(pool)
  }

  #lookAt(pool: Pool): void {
    const { name } = pool
    const before = this.#standIns.get(name)
    const serving = firstInService(this.chainOf(pool), ({ isLost }) => isLost)
    const now = serving === pool ? undefined : serving
    if (now === before) return
    if (now !== undefined) {
      this.#standIns.set(name, now)
      return this.#telemetry.event({ type: 'failover-began', pool: name, to: now.name })
    }
    this.#standIns.delete(name)
    this.#telemetry.event({ type: 'failover-ended', pool: name, reason: serving === pool ? 'back' : 'lost' })
  }
}
