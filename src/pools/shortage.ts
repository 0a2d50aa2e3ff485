/** A shortage of the gateway itself meets every connect to a pool; it is told of once in a while. */
import { ownShortage } from '../core/health/health.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { PoolPorts } from './pool-types.ts'

const EVERY_MS: Millis = 10_000

export class Shortage {
  readonly #pool: string
  readonly #ports: PoolPorts
  #toldAt: MonotonicMillis = Number.NEGATIVE_INFINITY

  constructor(pool: string, ports: PoolPorts) {
    this.#pool = pool
    this.#ports = ports
  }

  met(errno: string): void {
    const now = this.#ports.clock.monotonic()
    if (now - this.#toldAt < EVERY_MS) return
    this.#toldAt = now
    const message = `no connection to pool ${this.#pool} can be opened (${errno}): ${ownShortage(errno) ?? 'it is short of something'}`
    this.#ports.telemetry.event({ type: 'warning', message })
  }
}
