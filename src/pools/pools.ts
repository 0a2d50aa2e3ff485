/**
 * All pools of a gateway, and who is in them: servers of the file, as operators have changed them. A reload changes pools where they are. One that is
 * not configured any more goes on for whoever is in it, and is closed when nobody is; if it comes back before that, it is the same one.
 */
import type { PoolConfig } from '../config/config.ts'
import type { ServerChange } from '../core/members/changes.ts'
import { type Source, wantedMembers } from '../core/members/members.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Timer } from '../ports/clock.ts'
import type { Resolver } from '../ports/network.ts'
import { Failovers } from './failovers.ts'
import { Pool } from './pool.ts'
import { SharedPool } from './shared-pool.ts'
import { isLookedUp, type LookedUp, Names } from './names.ts'
import type { PoolPorts } from './pool-types.ts'
import { Probers } from './probers.ts'
import { Registrations } from './registrations.ts'
import type { DeclaredServer, PoolMember } from './server.ts'
import type { ServerChanges } from './server-changes.ts'

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
  readonly names: Names
  readonly registrations: Registrations
  readonly #going = new Map<string, Going>()
  readonly #ports: PoolPorts
  readonly #changes: ServerChanges
  #timer: Timer | undefined
  #started = false

  constructor(ports: PoolPorts & { readonly resolver: Resolver }, changes: ServerChanges) {
    this.#ports = { ...ports, probers: new Probers(ports) }
    this.names = new Names({ ...ports, changed: (host) => this.#named(host) })
    this.registrations = new Registrations({ ...ports, changed: (pool) => this.refresh(pool) })
    this.#changes = changes
    this.failovers = new Failovers(this.running, ports.telemetry)
  }

  /** What was changed before is known, and who was registered. */
  open(configs: readonly PoolConfig[]): void {
    this.#keepRegistered(configs)
    for (const config of configs) this.#add(config)
    this.#trackNames()
  }

  /** Nobody is in any of them, nor in one that goes: no request, no attempt, no tunnel. */
  get isIdle(): boolean {
    const going = [...this.#going.values()].map(({ pool }) => pool)
    return [...this.running.values(), ...going].every((pool) => pool.isIdle)
  }

  start(): void {
    this.#started = true
    for (const pool of this.running.values()) pool.start()
    this.#forgetDormant([...this.running.values()].map(({ config }) => config))
  }

  /** Holds from now on. */
  reload(configs: readonly PoolConfig[]): void {
    const wanted = new Set(configs.map(({ name }) => name))
    this.#keepRegistered(configs)
    for (const [name, pool] of this.running) if (!wanted.has(name)) this.#retire(pool)
    for (const config of configs) {
      const pool = this.running.get(config.name) ?? this.#takeBack(config.name)
      if (pool === undefined) this.#add(config)
      else {
        this.running.set(config.name, pool)
        pool.reconfigure(config)
        pool.setMembers(this.#members(config))
      }
    }
    this.#trackNames()
    this.failovers.look()
    this.#forgetDormant(configs)
  }

  /** Something else than the configuration says otherwise who is in it. */
  refresh(name: string): void {
    const pool = this.running.get(name)
    pool?.setMembers(this.#members(pool.config))
    this.#trackNames()
  }

  /** Host names among its servers, and what is known of them. */
  namesOf(config: PoolConfig): readonly (readonly [server: string, looked: LookedUp])[] {
    return this.declared(config).flatMap(({ name, host }) => {
      const looked = this.names.of(host)
      return looked === undefined ? [] : [[name, looked] as const]
    })
  }

  #trackNames(): void {
    const hosts = new Set<string>()
    const going = [...this.#going.values()].map(({ pool }) => pool)
    // One that goes may come back.
    for (const { config } of [...this.running.values(), ...going])
      for (const { host } of this.declared(config)) if (isLookedUp(host)) hosts.add(host)
    this.names.track(hosts)
    for (const pool of this.running.values()) pool.isAwaited = this.namesOf(pool.config).some(([, { isPending }]) => isPending)
  }

  #named(host: string): void {
    for (const [name, { config }] of this.running) if (this.declared(config).some((server) => server.host === host)) this.refresh(name)
  }

  /** The servers that it has by themselves, those that registered last: what addresses they stand for is another matter. */
  declared({ name, servers, tls }: PoolConfig): readonly DeclaredServer[] {
    const [like] = servers
    const declared: DeclaredServer[] = servers.map((server) => ({ ...server, source: 'file' }))
    for (const [server, change] of this.#changes.of(name)) {
      if (change.added === true && !servers.some((each) => each.name === server)) declared.push(serverNamed(server, 'api', { like, tls }))
    }
    for (const [server, { weight }] of this.registrations.of(name)) {
      if (!declared.some((each) => each.name === server)) declared.push({ ...serverNamed(server, 'registered', { like, tls }), weight })
    }
    return declared
  }

  /** Is one up, of its own or of who stands in for it? */
  hasServer(name: string): boolean {
    const pool = this.running.get(name)
    return pool !== undefined && this.failovers.chainOf(pool).some((one) => one.upServers().length > 0)
  }

  close(): void {
    this.#timer?.cancel()
    this.names.close()
    this.registrations.close()
    for (const pool of this.running.values()) pool.close()
    for (const { pool } of this.#going.values()) pool.close()
  }

  #members(config: PoolConfig): readonly PoolMember[] {
    const { name, addresses: wanted } = config
    const family = wanted === 'all' ? undefined : wanted === 'ipv4' ? 4 : 6
    const addressesOf = (host: string): readonly string[] | undefined => {
      if (!isLookedUp(host)) return undefined
      const known = this.names.of(host)?.addresses ?? []
      return known.filter((each) => family === undefined || each.family === family).map(({ address }) => address)
    }
    return wantedMembers(this.declared(config), { changes: this.#changes.of(name), addressesOf })
  }

  /** Who leaves the file leaves what was changed about it. */
  #forgetDormant(configs: readonly PoolConfig[]): void {
    const byName = new Map(configs.map((config) => [config.name, config]))
    for (const pool of [...this.#changes.pools]) {
      const config = byName.get(pool)
      const isDormant = (server: string, { added }: ServerChange): boolean =>
        // Of an address of a name, or of who registers, nobody can say that it will not come back.
        config === undefined ||
        (added !== true &&
          config.registration === undefined &&
          !config.servers.some(({ name, host }) => name === server || isLookedUp(host)))
      this.#changes
        .forget(pool, isDormant, () => this.refresh(pool))
        .catch((error: unknown) => {
          this.#ports.telemetry.event({ type: 'warning', message: `changes of pool ${pool} stay in the store: ${String(error)}` })
        })
    }
  }

  /** Who stands in the file does not have to register, and who is in a pool that does not let it may not. */
  #keepRegistered(configs: readonly PoolConfig[]): void {
    const byName = new Map(configs.map((config) => [config.name, config]))
    this.registrations.keepOnly((pool, server) => {
      const config = byName.get(pool)
      return config?.registration !== undefined && !config.servers.some(({ name }) => name === server)
    })
  }

  #add(config: PoolConfig): void {
    const PoolOf = this.#ports.shared === undefined ? Pool : SharedPool
    const pool = new PoolOf(config, this.#ports, this.#members(config))
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
      // Of a pool that is not configured any more other threads have nothing to tell.
      if (this.#ports.shared !== undefined) pool.slotsFreed()
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

interface Like {
  readonly like: PoolConfig['servers'][number] | undefined
  readonly tls: PoolConfig['tls']
}

/** What is not said of it is as it is for another one of the pool. */
function serverNamed(name: string, source: Source, { like, tls: poolTls }: Like): DeclaredServer {
  const at = name.lastIndexOf(':')
  const host = name.slice(0, at).replace(/^\[|\]$/g, '')
  const { backup: _, tls, ...rest } = like ?? {}
  const speaksTls = like === undefined ? poolTls !== undefined : tls !== undefined
  return { ...rest, ...(speaksTls && { tls: { name: host } }), name, host, port: Number(name.slice(at + 1)), weight: 1, source }
}
