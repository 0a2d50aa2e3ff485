/**
 * All pools of a gateway. A reload changes those that run where they are. One that is not configured any more goes on for whoever is in it, and is
 * closed when nobody is; if it comes back before that, it is the same one.
 */
import type { PoolConfig, ServerConfig } from '../config/config.ts'
import type { Member } from '../core/members/members.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Timer } from '../ports/clock.ts'
import { Failovers } from './failovers.ts'
import { Pool, type PoolPorts } from './pool.ts'

/** How often it is looked whether a pool that goes is empty. Calls that began by the configuration of before get there within one round. */
const LOOK_MS: Millis = 500

interface Going {
  readonly pool: Pool
  readonly since: MonotonicMillis
  /** Nobody was in it when it was looked at the last time. */
  wasIdle: boolean
}

export class Pools {
  /** Those that are configured. */
  readonly running: Map<string, Pool> = new Map()
  readonly failovers: Failovers
  readonly #going = new Map<string, Going>()
  readonly #ports: PoolPorts
  #timer: Timer | undefined
  #started = false

  constructor(configs: readonly PoolConfig[], ports: PoolPorts) {
    this.#ports = ports
    this.failovers = new Failovers(this.running, ports.telemetry)
    for (const config of configs) this.#add(config)
  }

  /** Nobody is in any of them, nor in one that goes: no request, no attempt, no tunnel. */
  get isIdle(): boolean {
    const going = [...this.#going.values()].map(({ pool }) => pool)
    return [...this.running.values(), ...going].every((pool) => pool.isIdle)
  }

  start(): void {
    this.#started = true
    for (const pool of this.running.values()) pool.start()
  }

  /** Holds from now on. */
  reload(configs: readonly PoolConfig[]): void {
    const wanted = new Set(configs.map(({ name }) => name))
    for (const [name, pool] of this.running) if (!wanted.has(name)) this.#retire(pool)
    for (const config of configs) {
      const pool = this.running.get(config.name) ?? this.#takeBack(config.name)
      if (pool === undefined) this.#add(config)
      else {
        this.running.set(config.name, pool)
        pool.reconfigure(config)
        pool.setMembers(config.servers.map(memberOf))
      }
    }
    this.failovers.look()
  }

  /** Is one up, of its own or of who stands in for it? */
  hasServer(name: string): boolean {
    const pool = this.running.get(name)
    return pool !== undefined && this.failovers.chainOf(pool).some((one) => one.upServers().length > 0)
  }

  close(): void {
    this.#timer?.cancel()
    for (const pool of this.running.values()) pool.close()
    for (const { pool } of this.#going.values()) pool.close()
  }

  #add(config: PoolConfig): void {
    const pool = new Pool(config, this.#ports)
    this.running.set(config.name, pool)
    this.failovers.watch(pool)
    if (this.#started) pool.start()
  }

  #takeBack(name: string): Pool | undefined {
    const going = this.#going.get(name)
    this.#going.delete(name)
    return going?.pool
  }

  #retire(pool: Pool): void {
    this.running.delete(pool.name)
    this.#ports.telemetry.event({ type: 'pool-removed', pool: pool.name })
    this.#going.set(pool.name, { pool, since: this.#ports.clock.monotonic(), wasIdle: false })
    this.#lookLater()
  }

  #lookLater(): void {
    this.#timer?.cancel()
    this.#timer = this.#going.size === 0 ? undefined : this.#ports.clock.after(LOOK_MS, () => this.#look())
  }

  #look(): void {
    const now = this.#ports.clock.monotonic()
    for (const [name, going] of this.#going) {
      const { pool, since, wasIdle } = going
      going.wasIdle = pool.isIdle
      if (wasIdle && pool.isIdle) {
        // What is kept for the next request closes with its servers.
        pool.setMembers([])
        pool.close()
        this.#ports.telemetry.event({ type: 'pool-left', pool: name, afterMs: now - since })
        this.#going.delete(name)
      } else if (now - since >= pool.config.drainTimeoutMs) pool.cutAll('the pool is not configured any more, and its drainTimeout is over')
    }
    this.#lookLater()
  }
}

function memberOf(server: ServerConfig): Member {
  return { ...server, source: 'file', duty: 'ready' }
}
