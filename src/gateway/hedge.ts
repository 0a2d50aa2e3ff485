/**
 * A second try beside the first one: sent to another server when the first has not begun to answer after a while. Who answers first is passed on,
 * the other one is broken off. This keeps the time and the second try of one call; what becomes of both is decided in `direct.ts`.
 */
import type { HedgeConfig } from '../config/config.ts'
import { Quantile } from '../core/retry/quantile.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import type { Server } from '../pools/server.ts'
import type { Try } from './try.ts'

type Outcome = 'sent' | 'won' | 'refused'

/** Of all routes. What a route is known to take is forgotten when it is read anew. */
export class Hedges {
  readonly #telemetry: Telemetry
  readonly #clock: Clock
  readonly #quantiles = new WeakMap<HedgeConfig, Quantile>()
  readonly #counters = new Map<string, Counter>()

  constructor(parts: { readonly telemetry: Telemetry; readonly clock: Clock }) {
    this.#telemetry = parts.telemetry
    this.#clock = parts.clock
  }

  /** Of one call. */
  begin(config: HedgeConfig, isTime: () => void): Hedge {
    return new Hedge({ clock: this.#clock, afterMs: config.afterMs, quantile: this.#quantileOf(config), isTime })
  }

  count(pool: string, outcome: Outcome): void {
    const name = `${pool} ${outcome}`
    let counter = this.#counters.get(name)
    if (counter === undefined) {
      counter = this.#telemetry.metrics.counter('spillway_hedges_total', METRICS.spillway_hedges_total.help, { pool, outcome })
      this.#counters.set(name, counter)
    }
    counter.inc()
  }

  #quantileOf(config: HedgeConfig): Quantile | undefined {
    if (config.quantile === undefined) return undefined
    let quantile = this.#quantiles.get(config)
    if (quantile === undefined) this.#quantiles.set(config, (quantile = new Quantile(config.quantile)))
    return quantile
  }
}

interface HedgeParts {
  readonly clock: Clock
  readonly afterMs: Millis | undefined
  readonly quantile: Quantile | undefined
  readonly isTime: () => void
}

export class Hedge {
  /** The second try, while it is not known which of both is the one. */
  rival: Try | undefined
  readonly #parts: HedgeParts
  #sentAt: MonotonicMillis = 0
  #timer: Timer | undefined
  #wasSent = false

  constructor(parts: HedgeParts) {
    this.#parts = parts
  }

  /** A try was sent that has no other one beside it. */
  sent(): void {
    const { clock, afterMs, quantile, isTime } = this.#parts
    this.#timer?.cancel()
    this.#sentAt = clock.monotonic()
    const waitMs = afterMs ?? quantile?.ms
    if (waitMs !== undefined && !this.#wasSent) this.#timer = clock.after(waitMs, isTime)
  }

  /** One for each call. */
  begin(rival: Try): void {
    this.#wasSent = true
    this.rival = rival
  }

  /** The first try begins to answer, or it is known that it does not begin sooner. */
  answered(): void {
    this.#timer?.cancel()
    if (this.#sentAt === 0) return
    this.#parts.quantile?.took(this.#parts.clock.monotonic() - this.#sentAt)
    this.#sentAt = 0
  }

  /** The call, or its first try, is over. */
  stop(): void {
    this.#timer?.cancel()
    this.#sentAt = 0
  }
}

/** Takes a slot of another server of the pool. Undefined: there is none to spare, or the budget is used up. */
export function rivalFor(
  { pool, server: slow }: Try,
  { tried, keyHash }: { readonly tried: ReadonlySet<Server> | undefined; readonly keyHash: number | undefined },
): Server | undefined {
  // Who waits for a slot has none yet: those go first.
  if (pool.waiting > 0) return undefined
  // A slow server is no reason to use a backup.
  const others = pool.servers.filter((server) => server === slow || server.backup !== slow.backup)
  const server = pool.acquire({ excluded: new Set([...(tried ?? []), ...others]), keyHash, isSpillable: true })
  if (server === undefined || pool.retries.may()) return server
  pool.release(server)
  return undefined
}
