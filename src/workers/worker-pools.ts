/**
 * Pools as a worker has them: who is in them and what is thought of each server the chief says; which of them gets a request is decided here. What a
 * request meets is told to the chief, who judges. Nobody waits here: whoever finds no slot goes to the chief, and is served in his order.
 */
import { isDeepStrictEqual } from 'node:util'
import type { PoolConfig } from '../config/config.ts'
import type { Tally } from '../lib/tally.ts'
import type { Millis } from '../lib/units.ts'
import { Failovers } from '../pools/failovers.ts'
import { Pool } from '../pools/pool.ts'
import type { PoolPorts, SharedCounts, Wanted } from '../pools/pool-types.ts'
import type { Server } from '../pools/server.ts'
import type { Board, PoolSigns } from './board.ts'
import type { Finding, PoolView } from './messages.ts'

/** Until the chief has said what he thinks of a server that could not be reached. */
const AVOIDED_MS: Millis = 500

export interface Reporting {
  /** At once. */
  found(finding: Finding): void
  freed(pool: string): void
}

class WorkerPool extends Pool {
  readonly #signs: PoolSigns
  readonly #reporting: Reporting
  readonly #config: () => PoolConfig | undefined
  readonly #now: () => number
  /** By server: requests that ended well since it was told last. */
  readonly #well = new Map<string, number>()
  /** By server: what it said last of its load. */
  readonly #loads = new Map<string, readonly string[]>()
  #told = { came: 0, answered: 0, answeredMs: 0 }

  constructor(
    view: PoolView,
    ports: PoolPorts,
    more: { readonly signs: PoolSigns; readonly reporting: Reporting; readonly config: () => PoolConfig | undefined },
  ) {
    super(followedConfig(view.config), ports, view.members)
    this.#signs = more.signs
    this.#reporting = more.reporting
    this.#config = more.config
    this.#now = () => ports.clock.monotonic()
  }

  override acquire(wanted?: Wanted): Server | undefined {
    // Those who wait at the chief were first.
    if (this.#signs.waiting) return undefined
    const { came, waited } = this.live
    const server = super.acquire(wanted)
    // It comes to the chief, and is counted there.
    if (server === undefined) Object.assign(this.live, { came, waited })
    return server
  }

  override acquireFrom(server: Server): boolean | undefined {
    if (this.#signs.waiting) return false
    const { came } = this.live
    const taken = super.acquireFrom(server)
    if (taken === false) this.live.came = came
    return taken
  }

  override wait(): 'full' {
    return 'full'
  }

  override release(server: Server): void {
    super.release(server)
    if (this.#signs.freed()) this.#reporting.freed(this.name)
  }

  override connectFailed(server: Server, reason: string): void {
    server.pausedUntil = Math.max(server.pausedUntil, this.#now() + AVOIDED_MS)
    this.#reporting.found({ kind: 'unreachable', pool: this.name, server: server.name, reason })
  }

  override connectLacked(errno: string): void {
    this.#reporting.found({ kind: 'shortage', pool: this.name, errno })
  }

  override connectionBroke({ name: server }: Server): void {
    this.#reporting.found({ kind: 'broken', pool: this.name, server })
  }

  override wasStale(server: Server): void {
    super.wasStale(server)
    this.connectionBroke(server)
  }

  override pause(server: Server, forMs: Millis): void {
    super.pause(server, forMs)
    this.#reporting.found({ kind: 'busy', pool: this.name, server: server.name, forMs })
  }

  /** Loads are told now and then, the last one of each server: anything else at once. */
  override heard({ name: server }: Server, headers: readonly string[]): void {
    if (this.#config()?.serverReports === undefined) return
    const onlyLoad = headers.length === 2 && headers[0]?.toLowerCase() === 'spillway-load'
    if (onlyLoad) this.#loads.set(server, headers)
    else this.#reporting.found({ kind: 'said', pool: this.name, server, headers })
  }

  override observe({ name: server }: Server, ok: boolean): void {
    if (this.#config()?.outliers === undefined) return
    const well = this.#well.get(server) ?? 0
    if (ok) return void this.#well.set(server, well + 1)
    this.#well.delete(server)
    this.#reporting.found({ kind: 'ended', pool: this.name, server, well, failed: true })
  }

  /** What was only counted. */
  report(): readonly Finding[] {
    const { name: pool, live } = this
    const said = [...this.#loads].map(([server, headers]): Finding => ({ kind: 'said', pool, server, headers }))
    this.#loads.clear()
    const ended = [...this.#well].map(([server, well]): Finding => ({ kind: 'ended', pool, server, well, failed: false }))
    this.#well.clear()
    const { came, answered, answeredMs } = live
    const before = this.#told
    if (came === before.came && answered === before.answered) return [...said, ...ended]
    this.#told = { came, answered, answeredMs }
    const since = { came: came - before.came, answered: answered - before.answered, answeredMs: answeredMs - before.answeredMs }
    return [...said, ...ended, { kind: 'live', pool, ...since }]
  }
}

/** Nobody is judged here, nor what servers say of themselves. */
function followedConfig(config: PoolConfig): PoolConfig {
  const { outliers: _, serverReports: __, ...rest } = config
  return rest
}

export class WorkerPools {
  readonly running: Map<string, WorkerPool> = new Map()
  readonly failovers: Failovers
  readonly #ports: PoolPorts
  readonly #board: Board
  readonly #reporting: Reporting
  /** Not configured any more, with servers that have something to end. */
  readonly #going = new Set<WorkerPool>()
  readonly #cells = new Map<string, number>()
  readonly #views = new Map<string, PoolView>()

  constructor(ports: Omit<PoolPorts, 'shared'>, board: Board, reporting: Reporting) {
    this.#board = board
    this.#reporting = reporting
    this.#ports = { ...ports, shared: this.#shared() }
    this.failovers = new Failovers(this.running, ports.telemetry)
  }

  /** These, as they are now; others are none any more, but what is under way there may end. */
  follow(views: readonly PoolView[]): void {
    const names = new Set(views.map(({ config }) => config.name))
    for (const [name, pool] of this.running) if (!names.has(name)) this.#retire(name, pool)
    for (const view of views) this.#follow(view)
    this.failovers.look()
  }

  report(): readonly Finding[] {
    return [...this.running.values()].flatMap((pool) => pool.report())
  }

  /** What kept a server may have ended in another thread. */
  lookAtLeaving(): void {
    for (const pool of [...this.running.values(), ...this.#going]) pool.lookAtLeaving()
    for (const pool of this.#going) if (pool.leaving.length === 0) this.#going.delete(pool)
  }

  close(): void {
    for (const pool of this.running.values()) pool.close()
  }

  #follow(view: PoolView): void {
    const { config, cells, members, followed } = view
    const { name } = config
    for (const [server, cell] of cells) this.#cells.set(`${name}\n${server}`, cell)
    const before = this.#views.get(name)
    this.#views.set(name, view)
    let pool = this.running.get(name)
    if (pool === undefined) {
      const configNow = (): PoolConfig | undefined => this.#views.get(name)?.config
      pool = new WorkerPool(view, this.#ports, { signs: this.#board.signs(view.index), reporting: this.#reporting, config: configNow })
      this.running.set(name, pool)
      this.failovers.watch(pool)
    } else {
      // Who chooses among them begins anew with either.
      if (!isDeepStrictEqual(config, before?.config)) pool.reconfigure(followedConfig(config))
      if (!isDeepStrictEqual(members, before?.members)) pool.setMembers(members)
    }
    pool.follow(followed)
  }

  /** Its servers leave: each ends what it has, by itself. */
  #retire(name: string, pool: WorkerPool): void {
    this.running.delete(name)
    this.#views.delete(name)
    pool.setMembers([])
    this.#going.add(pool)
  }

  #shared(): SharedCounts {
    const nothing = (): void => undefined
    return {
      tally: (pool, server): Tally | undefined => {
        const cell = this.#cells.get(`${pool}\n${server}`)
        return cell === undefined ? undefined : this.#board.tally(cell)
      },
      forget: (pool, server) => void this.#cells.delete(`${pool}\n${server}`),
      signs: () => ({ waits: nothing, isHungry: nothing, looks: nothing }),
    }
  }
}
