/**
 * The chief's side of several threads: starts the workers, tells them what there is to know of servers and routes, takes in what they find out, and
 * answers the calls that they hand over. A worker that dies is replaced; what it had taken of slots and connections is given back.
 */
import { randomBytes } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import type { Config, HostPort } from '../config/config.ts'
import type { LiveTraffic } from '../pools/live-traffic.ts'
import { LocalTally, type Tally } from '../lib/tally.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import { HandedOver } from '../net/handed-over.ts'
import { Listener, type ListenerOptions } from '../net/listener.ts'
import type { Pool } from '../pools/pool.ts'
import type { Followed, SharedCounts } from '../pools/pool-types.ts'
import type { Server } from '../pools/server.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import { type MetricsDump, NOTHING_COUNTED, type Telemetry } from '../telemetry/telemetry.ts'
import { Board, Cells, POOLS_MAX, ROUTES_MAX } from './board.ts'
import type { Finding, PoolView, RouteIndex, ToChief, ToWorker, WorkerData, WorkerListener } from './messages.ts'

export interface CrewParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** As it holds now. */
  readonly config: () => Config
  readonly pools: () => ReadonlyMap<string, Pool>
  /** Requests on this route are not for workers now. */
  readonly isRelayed: (route: string) => boolean
}

/** What the calls that workers hand over need. */
export type InnerListener = Omit<ListenerOptions, 'host' | 'port' | 'connections' | 'reception'>

export interface CrewListener {
  readonly address: HostPort
  /** Sockets that were bound for it already, besides the chief's own. */
  readonly takeFd: () => number | undefined
  readonly ticketKeys: () => Buffer | undefined
}

interface Member {
  readonly worker: number
  readonly thread: Worker
  readonly ready: PromiseWithResolvers<void>
  /** No request can be on its way to it any more. */
  readonly quiet: PromiseWithResolvers<void>
  readonly drained: PromiseWithResolvers<void>
  /** In the place of one that died. */
  readonly isAgain: boolean
  isReady: boolean
  /** Why it cannot begin. */
  wrong: string | undefined
  fds: readonly number[]
  dump: MetricsDump
  /** Who waits for what it has counted. */
  asked: (() => void)[]
}

/** How often it is looked what has changed of which nobody tells. */
const LOOK_MS: Millis = 50
const METRICS_MS: Millis = 1_000
/** A worker that dies at once, again and again, is not started as often. */
const AGAIN_MS: Millis = 100
const AGAIN_MAX_MS: Millis = 30_000
const STEADY_MS: Millis = 60_000
/** Client connections are idle there for a shorter time: the worker closes first. */
const INNER_IDLE_MS: Millis = 3_600_000

const NOT_SHARED =
  'an address cannot be shared among threads, since it was bound without SO_REUSEPORT; where a supervisor bound it, let it set that (ReusePort=yes for systemd), and after a change from workers: 1 restart instead of an upgrade'

export class Crew {
  readonly #parts: CrewParts
  readonly #workers: number
  readonly #board: Board
  readonly #cells = new Cells()
  readonly #poolIndexes = new Map<string, number>()
  readonly #watched = new WeakSet<Pool>()
  readonly #members = new Map<number, Member>()
  readonly #secret = randomBytes(32).toString('base64url')
  #listeners: readonly CrewListener[] = []
  #inner: Listener | undefined
  #timer: Timer | undefined
  #told = ''
  readonly #routes = new Map<string, number>()
  #pushing = false
  #isOver = false
  #deaths = { count: 0, at: 0 as MonotonicMillis }

  constructor(parts: CrewParts, workers: number) {
    this.#parts = parts
    this.#workers = workers
    this.#board = Board.create(workers)
  }

  /** For the pools of the chief, and his listeners. */
  get shared(): SharedCounts {
    return {
      tally: (pool, server) => this.#tallyOf(pool, server),
      forget: (pool, server) => this.#cells.forget(pool, server),
      signs: (pool) => this.#board.signs(this.#indexOf(pool)),
    }
  }

  get connections(): Tally {
    return this.#board.connections
  }

  get wanted(): number {
    return this.#workers
  }

  /** Workers that listen. */
  get size(): number {
    return [...this.#members.values()].filter(({ isReady }) => isReady).length
  }

  /** Of their sockets, by listener. */
  get fds(): readonly (readonly number[])[] {
    return [...this.#members.values()].map(({ fds }) => fds)
  }

  /** Rejects when a worker cannot listen. */
  async start(listeners: readonly CrewListener[], inner: InnerListener): Promise<void> {
    const { clock } = this.#parts
    this.#listeners = listeners
    const connections = { open: new LocalTally(), max: Number.POSITIVE_INFINITY, onFull: () => undefined }
    const timeouts = { ...inner.timeouts, idleMs: INNER_IDLE_MS }
    // They were kept to where the requests came in; written anew a head may be a little longer, and have a Host more.
    const limits = { ...inner.limits, headBytesMax: inner.limits.headBytesMax * 2, headersMax: inner.limits.headersMax + 1 }
    const reception = new HandedOver(this.#secret, clock)
    this.#inner = await Listener.open({ ...inner, limits, timeouts, host: '127.0.0.1', port: 0, connections, reception })
    this.#watchPools()
    this.lookAtRoutes()
    for (let worker = 1; worker <= this.#workers; worker++) this.#begin(worker)
    await Promise.all([...this.#members.values()].map((member) => this.#awaitReady(member)))
    this.#timer = clock.after(LOOK_MS, this.#look)
  }

  /** Another configuration holds. */
  reload(): void {
    this.#watchPools()
    this.lookAtRoutes()
    this.#told = this.#standing()
    this.#tell({ kind: 'config', config: this.#parts.config(), routes: this.#routeIndexes(), pools: this.#views() })
  }

  useTicketKeys(listener: number, keys: Uint8Array): void {
    this.#tell({ kind: 'tickets', listener, keys })
  }

  /** A route may have begun to queue, or an operator has switched it. */
  lookAtRoutes(): void {
    const { config, isRelayed } = this.#parts
    for (const { name } of config().routes) {
      const index = this.#routeIndex(name)
      if (index !== undefined) this.#board.relay(index, isRelayed(name))
    }
  }

  /** What the workers have counted. One that does not answer in time is taken as it was. */
  async metrics(): Promise<readonly MetricsDump[]> {
    const members = [...this.#members.values()]
    const answers = members.map((member) => new Promise<void>((resolve) => member.asked.push(resolve)))
    this.#tell({ kind: 'metrics' })
    await Promise.race([Promise.all(answers), new Promise<void>((resolve) => this.#parts.clock.after(METRICS_MS, resolve))])
    // What one had counted that died meanwhile is counted here already.
    return members.filter((member) => this.#members.get(member.worker) === member).map(({ dump }) => dump)
  }

  /** They accept nothing more. Resolves when all they had, and all that they handed over, has ended. */
  async drain(): Promise<void> {
    this.#isOver = true
    this.#tell({ kind: 'drain' })
    await Promise.all([...this.#members.values()].map(({ drained }) => drained.promise))
    await this.#inner?.drain()
  }

  /** Once they drain: all that was on its way to them when that began has come, and what is not for them is here. */
  async quiet(): Promise<void> {
    await Promise.all([...this.#members.values()].map(({ quiet }) => quiet.promise))
    // What was handed over last may be in the kernel still: word of the threads is quicker.
    await new Promise<void>((resolve) => this.#parts.clock.after(LOOK_MS, resolve))
  }

  async close(): Promise<void> {
    this.#isOver = true
    this.#timer?.cancel()
    this.#inner?.close()
    await Promise.all([...this.#members.values()].map(({ thread }) => thread.terminate()))
  }

  // --- threads

  /** Where the chief listens another thread may not be able to: there are fewer threads then, and a gateway. */
  async #awaitReady({ worker, ready, thread }: Member): Promise<void> {
    try {
      await ready.promise
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
      this.#members.delete(worker)
      await thread.terminate()
      this.#parts.telemetry.event({ type: 'warning', message: `worker ${worker} does not serve: ${NOT_SHARED}` })
    }
  }

  #begin(worker: number, isAgain = false): void {
    const [ready, quiet, drained] = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    // Run from source or built, the thread's module has the same ending as this one.
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const workerData = this.#dataFor(worker)
    const thread = new Worker(new URL(`./worker-thread.${ending}`, import.meta.url), { workerData, name: `worker-${worker}` })
    const counted = { fds: [], dump: NOTHING_COUNTED, asked: [] }
    const member: Member = { worker, thread, ready, quiet, drained, isAgain, isReady: false, wrong: undefined, ...counted }
    this.#members.set(worker, member)
    thread.on('message', (message: ToChief) => this.#hear(member, message))
    thread.on('error', (error: unknown) => this.#ended(member, error instanceof Error ? (error.stack ?? error.message) : String(error)))
    thread.on('exit', (code) => this.#ended(member, member.wrong ?? `it exited with ${code}`))
  }

  #dataFor(worker: number): WorkerData {
    const { telemetry, config } = this.#parts
    const listeners = this.#listeners.map(
      ({ address, takeFd, ticketKeys }): WorkerListener => ({ address, fd: takeFd(), ticketKeys: ticketKeys() }),
    )
    return {
      ...{ worker, config: config(), board: this.#board.buffer, secret: this.#secret, listeners, accessLog: telemetry.accessLog },
      chief: (this.#inner as Listener).address,
      pools: this.#views(),
      routes: this.#routeIndexes(),
    }
  }

  #ended(member: Member, reason: string): void {
    const { worker, ready, quiet, drained } = member
    if (this.#members.get(worker) !== member) return
    this.#members.delete(worker)
    quiet.resolve()
    drained.resolve()
    for (const resolve of member.asked.splice(0)) resolve()
    this.#parts.telemetry.metrics.add(member.dump)
    this.#board.giveBack(worker)
    for (const pool of this.#parts.pools().values()) pool.slotsFreed()
    if (!member.isReady) ready.reject(new Error(`worker ${worker} cannot start: ${reason}`))
    if (this.#isOver || !(member.isReady || member.isAgain)) return
    const againMs = this.#againMs()
    this.#parts.telemetry.event({ type: 'worker-died', worker, reason: reason.split('\n')[0] ?? '', againMs })
    this.#parts.clock.after(againMs, () => {
      if (this.#isOver) return
      this.#begin(worker, true)
      // One that cannot begin has died, too.
      this.#members.get(worker)?.ready.promise.catch(() => undefined)
    })
  }

  #againMs(): Millis {
    const now = this.#parts.clock.monotonic()
    const deaths = this.#deaths
    deaths.count = now - deaths.at > STEADY_MS ? 1 : deaths.count + 1
    deaths.at = now
    return Math.min(AGAIN_MAX_MS, AGAIN_MS * 2 ** (deaths.count - 1))
  }

  #hear(member: Member, message: ToChief): void {
    const { telemetry, pools } = this.#parts
    switch (message.kind) {
      case 'ready':
        member.fds = message.fds
        member.isReady = true
        return member.ready.resolve()
      case 'failed':
        member.wrong = message.message
        if (member.isAgain) void member.thread.terminate()
        return member.ready.reject(Object.assign(new Error(message.message), { code: message.code }))
      case 'freed':
        return pools().get(message.pool)?.slotsFreed()
      case 'found':
        for (const finding of message.findings) this.#learn(finding)
        return
      case 'event':
        return telemetry.event(message.event)
      case 'access':
        for (const line of message.lines) telemetry.access(line)
        return
      case 'metrics':
        member.dump = message.dump
        for (const resolve of member.asked.splice(0)) resolve()
        return
      case 'quiet':
        return member.quiet.resolve()
      case 'drained':
        member.drained.resolve()
    }
  }

  #tell(message: ToWorker): void {
    for (const { thread } of this.#members.values()) thread.postMessage(message)
  }

  // --- servers

  #learn(finding: Finding): void {
    const pool = this.#parts.pools().get(finding.pool)
    if (pool === undefined) return
    if (finding.kind === 'shortage') return pool.connectLacked(finding.errno)
    if (finding.kind === 'live') return addLive(pool.live, finding)
    const server = pool.servers.find(({ name }) => name === finding.server)
    if (server === undefined) return
    if (finding.kind === 'broken') return pool.connectionBroke(server)
    if (finding.kind === 'ended') {
      for (let n = 0; n < finding.well; n++) pool.observe(server, true)
      if (finding.failed) pool.observe(server, false)
      return
    }
    if (finding.kind === 'said') return pool.heard(server, finding.headers)
    if (finding.kind === 'busy') pool.pause(server, finding.forMs)
    else pool.connectFailed(server, finding.reason)
    // Whoever told it waits for what is thought of it now.
    this.#pushSoon()
  }

  #watchPools(): void {
    for (const pool of this.#parts.pools().values()) {
      if (this.#watched.has(pool)) continue
      this.#watched.add(pool)
      pool.onChange(() => this.#pushSoon())
      pool.onMembers(() => this.#pushSoon())
    }
  }

  readonly #look = (): void => {
    for (const pool of this.#parts.pools().values()) pool.lookAtLeaving()
    if (this.#standing() !== this.#told) this.#push()
    this.lookAtRoutes()
    if (!this.#isOver) this.#timer = this.#parts.clock.after(LOOK_MS, this.#look)
  }

  /** What changes without anybody telling, in short. */
  #standing(): string {
    return [...this.#parts.pools().values()]
      .map(({ servers }) =>
        servers.map(({ pausedUntil, conduct, loadFactor }) => `${pausedUntil} ${conduct.standing} ${loadFactor}`).join(),
      )
      .join(';')
  }

  /** All that changes in one turn goes together. */
  #pushSoon(): void {
    if (this.#pushing) return
    this.#pushing = true
    setImmediate(() => {
      this.#pushing = false
      this.#push()
    })
  }

  #push(): void {
    if (this.#isOver) return
    this.#told = this.#standing()
    this.#tell({ kind: 'pools', pools: this.#views() })
  }

  #views(): readonly PoolView[] {
    const now = this.#parts.clock.monotonic()
    return [...this.#parts.pools().values()].map((pool) => ({
      config: pool.config,
      index: this.#indexOf(pool.name),
      members: pool.servers.map(({ config, source, duty }) => ({ ...config, source, duty })),
      cells: [...pool.servers, ...pool.leaving].flatMap(({ name }) => {
        const cell = this.#cells.of(pool.name, name)
        return cell === undefined ? [] : [[name, cell] as const]
      }),
      followed: pool.servers.map((server) => followed(server, now)),
    }))
  }

  #routeIndexes(): readonly RouteIndex[] {
    return this.#parts.config().routes.flatMap(({ name }) => {
      const index = this.#routeIndex(name)
      return index === undefined ? [] : [[name, index] as const]
    })
  }

  /** Undefined: there are too many. */
  #routeIndex(name: string): number | undefined {
    const known = this.#routes.get(name)
    if (known !== undefined || this.#routes.size >= ROUTES_MAX) return known
    this.#routes.set(name, this.#routes.size)
    return this.#routes.size - 1
  }

  #tallyOf(pool: string, server: string): Tally | undefined {
    const cell = this.#cells.of(pool, server)
    return cell === undefined ? undefined : this.#board.tally(cell)
  }

  #indexOf(pool: string): number {
    let index = this.#poolIndexes.get(pool)
    if (index === undefined) this.#poolIndexes.set(pool, (index = this.#poolIndexes.size % POOLS_MAX))
    return index
  }
}

function followed(server: Server, now: MonotonicMillis): Followed {
  const { name, state, because, health, refused, conduct, isNew, returned, loadFactor } = server
  const pausedForMs = Math.max(0, server.pausedUntil - now)
  return {
    name,
    state,
    because,
    health,
    refused,
    standing: conduct.standing,
    isNew,
    returned,
    upForMs: now - server.upSince,
    pausedForMs,
    loadFactor,
  }
}

function addLive(live: LiveTraffic, { came, answered, answeredMs }: Extract<Finding, { kind: 'live' }>): void {
  live.came += came
  live.answered += answered
  live.answeredMs += answeredMs
}
