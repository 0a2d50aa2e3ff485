/**
 * A worker: listens where the chief listens, serves what needs only servers, and hands everything else to the chief. It has no store, no line and no
 * opinion of servers; what it counts is counted with the others.
 */
import type { MessagePort } from 'node:worker_threads'
import { createServer, type Server } from 'node:net'
import { Clients } from '../api/clients.ts'
import type { Config, ListenerConfig } from '../config/config.ts'
import type { Failure } from '../core/errors.ts'
import { compileRoutes } from '../core/routing/router.ts'
import { Hedges } from '../gateway/hedge.ts'
import { Mirrors } from '../gateway/mirror.ts'
import { observeRefused } from '../gateway/observe.ts'
import { redirectCall } from '../gateway/redirect.ts'
import { RouteCounters } from '../gateway/route-counters.ts'
import { LearntSessions, Sticky } from '../gateway/sticky.ts'
import { createGuard, createUpstream, wireOf } from '../gateway/thread-parts.ts'
import { createLocalBus } from '../jobs/local-bus.ts'
import { hostPortText } from '../lib/host-port.ts'
import type { Millis } from '../lib/units.ts'
import { BufferBudget } from '../net/buffer-budget.ts'
import type { Peer } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { Listener } from '../net/listener.ts'
import { ReadBuffers } from '../net/read-buffers.ts'
import { Reception } from '../net/reception.ts'
import { ServerTls } from '../net/server-tls.ts'
import { Sweeper } from '../net/sweeper.ts'
import type { Network } from '../ports/network.ts'
import { descriptorOf, listenWith, systemClock, systemNetwork, systemRandom } from '../ports/system.ts'
import type { Server as ServerOfPool } from '../pools/server.ts'
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { GaugeSample } from '../telemetry/telemetry.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { Board } from './board.ts'
import { ChiefLine } from './chief-line.ts'
import type { Finding, ToChief, ToWorker, WorkerData, WorkerListener } from './messages.ts'
import { handleHere, type WorkerContext } from './worker-call.ts'
import { WorkerPools } from './worker-pools.ts'
import { createWorkerTelemetry } from './worker-telemetry.ts'

/** What was only counted is told so often. */
const REPORT_MS: Millis = 100
const LOOK_AGAIN_MS: Millis = 20

type WorkerParts = Pick<WorkerContext, 'hedges' | 'mirrors' | 'routeCounters' | 'chief' | 'guard'>

const clock = systemClock
const random = systemRandom

export class RunningWorker {
  readonly #data: WorkerData
  readonly #port: MessagePort
  #config: Config
  readonly #board: Board
  readonly #told: ReturnType<typeof createWorkerTelemetry>
  readonly #sweeper = new Sweeper(clock)
  readonly #pools: WorkerPools
  readonly #upstream: Upstream
  readonly #buffers = new ReadBuffers()
  readonly #budget: BufferBudget
  readonly #parts: WorkerParts
  #context: WorkerContext
  #routes: ReadonlyMap<string, number>
  #findings: Finding[] = []
  /** Who waits until the chief knows what was found. */
  readonly #untold: (() => void)[] = []
  readonly #listeners: Listener[] = []
  #opened: Promise<void> | undefined
  readonly #servers: Server[] = []
  readonly #tls: (ServerTls | undefined)[] = []

  constructor(data: WorkerData, port: MessagePort) {
    const { config } = data
    this.#data = data
    this.#port = port
    this.#config = config
    this.#board = Board.of(data.board, data.worker)
    this.#told = createWorkerTelemetry(data.accessLog, clock, (message) => this.#tell(message))
    const ports = { clock, random, network: systemNetwork }
    this.#pools = new WorkerPools({ ...ports, telemetry: this.#told.quiet }, this.#board, {
      found: (finding) => this.#found(finding),
      freed: (pool) => this.#tell({ kind: 'freed', pool }),
    })
    this.#pools.follow(data.pools)
    // Each thread has its share of what may be buffered.
    this.#budget = new BufferBudget(Math.floor(config.limits.buffered / config.workers), () =>
      this.#limitReached('buffered', config.limits.buffered),
    )
    this.#upstream = createUpstream(config, { clock, network: systemNetwork, sweeper: this.#sweeper, buffers: this.#buffers }, this.#budget)
    this.#routes = new Map(data.routes)
    this.#parts = this.#createParts()
    this.#context = this.#createContext()
  }

  async start(): Promise<void> {
    this.#port.on('message', (message: ToWorker) => this.#hear(message))
    this.#opened = this.#openListeners()
    await this.#opened
    this.#registerGauges()
    this.#context.guard?.start()
    setInterval(() => this.#report(), REPORT_MS).unref()
    this.#tell({ kind: 'ready', fds: this.#servers.map((server) => descriptorOf(server) ?? -1) })
  }

  #retune(): void {
    for (const [i, { tls }] of this.#config.listeners.entries()) if (tls !== undefined) this.#tls[i]?.retune(tls)
  }

  /** What is told while it begins holds for all of its listeners. */
  #whenOpen(then: () => void): void {
    this.#opened?.then(then, () => undefined)
  }

  async #openListeners(): Promise<void> {
    for (const [i, listener] of this.#config.listeners.entries())
      this.#listeners.push(await this.#listen(listener, this.#data.listeners[i] as WorkerListener))
  }

  #tell(message: ToChief): void {
    this.#port.postMessage(message)
  }

  #hear(message: ToWorker): void {
    switch (message.kind) {
      case 'pools':
        this.#pools.follow(message.pools)
        this.#context = { ...this.#context, pools: new Map(this.#pools.running) }
        for (const then of this.#untold.splice(0)) then()
        return
      case 'config':
        return this.#reload(message)
      case 'tickets':
        return this.#whenOpen(() => this.#tls[message.listener]?.useTicketKeys(message.keys))
      case 'metrics':
        this.#pools.lookAtLeaving()
        return this.#tell({ kind: 'metrics', dump: this.#told.telemetry.metrics.dump() })
      case 'drain':
        void this.#drain()
    }
  }

  #reload({ config, routes, pools }: Extract<ToWorker, { kind: 'config' }>): void {
    this.#config = config
    this.#routes = new Map(routes)
    this.#pools.follow(pools)
    this.#context = this.#createContext()
    this.#whenOpen(() => this.#retune())
  }

  async #drain(): Promise<void> {
    // One that began a moment ago would listen on afterwards.
    await this.#opened?.catch(() => undefined)
    const drained = this.#listeners.map((listener) => listener.drain())
    this.#lookWhetherQuiet()
    await Promise.all(drained)
    this.#report()
    this.#told.flush()
    this.#tell({ kind: 'metrics', dump: this.#told.telemetry.metrics.dump() })
    this.#tell({ kind: 'drained' })
  }

  readonly #lookWhetherQuiet = (): void => {
    if (this.#listeners.some(({ idle }) => idle > 0)) clock.after(LOOK_AGAIN_MS, this.#lookWhetherQuiet)
    else this.#tell({ kind: 'quiet' })
  }

  /** A failure is told at once, with what went well before it. */
  #found(finding: Finding): void {
    if (this.#findings.push(finding) === 1) queueMicrotask(() => this.#flushFindings())
  }

  #report(): void {
    this.#pools.lookAtLeaving()
    this.#findings.push(...this.#pools.report())
    this.#flushFindings()
  }

  /** He answers findings with what he thinks of the servers now; where nothing was found, there is nothing to wait for. */
  #whenTold(then: () => void): void {
    if (this.#findings.length === 0) return then()
    this.#untold.push(then)
    clock.after(REPORT_MS, () => {
      const at = this.#untold.indexOf(then)
      if (at >= 0) this.#untold.splice(at, 1)[0]?.()
    })
  }

  #flushFindings(): void {
    if (this.#findings.length === 0) return
    this.#tell({ kind: 'found', findings: this.#findings })
    this.#findings = []
  }

  // --- the parts

  #createParts(): WorkerParts {
    const { chief: address, secret, config } = this.#data
    const { telemetry } = this.#told
    const { running: pools } = this.#pools
    const heads = { headBytesMax: config.limits.head, headersMax: config.limits.headers }
    const ports = { clock, random, telemetry, sweeper: this.#sweeper }
    return {
      hedges: new Hedges({ telemetry, clock }),
      mirrors: new Mirrors({ ...ports, upstream: this.#upstream, budget: this.#budget, pools }),
      routeCounters: new RouteCounters(telemetry),
      chief: new ChiefLine({ clock, buffers: this.#buffers, network: systemNetwork, sweeper: this.#sweeper, address, secret, ...heads }),
      guard: config.guard && createGuard(config.guard, { clock, telemetry }, this.#listeners),
    }
  }

  #createContext(): WorkerContext {
    const config = this.#config
    const { telemetry } = this.#told
    return {
      ...this.#parts,
      ...{ config, clock, random, telemetry, sweeper: this.#sweeper, upstream: this.#upstream, budget: this.#budget },
      forwarding: { name: config.name, proto: 'http' },
      secureForwarding: { name: config.name, proto: 'https' },
      router: compileRoutes(config.routes),
      pools: new Map(this.#pools.running),
      failovers: this.#pools.failovers,
      sticky: new Sticky({ keys: config.sticky?.keys ?? [], learnt: new LearntSessions(1, clock), telemetry }),
      clients: new Clients({ config, store: { read: () => Promise.resolve([]) }, bus: createLocalBus(), clock }),
      // What has an order, or queues, is the chief's.
      jobs: { isHeld: () => Promise.resolve(false) },
      routeModes: { of: () => undefined, mayWait: () => true, waitIsOver: () => undefined, served: () => undefined },
      isRelayed: (route) => this.#isRelayed(route),
      whenTold: (then) => this.#whenTold(then),
    }
  }

  #isRelayed(route: string): boolean {
    const index = this.#routes.get(route)
    return index === undefined || this.#board.isRelayed(index)
  }

  // --- the listeners

  async #listen(config: ListenerConfig, bound: WorkerListener): Promise<Listener> {
    const { redirect } = config
    const { connections: max } = this.#config.limits
    const reception = this.#createReception(config, bound)
    return await Listener.open({
      ...{ ...wireOf(this.#config), clock, sweeper: this.#sweeper, shared: 'also', host: bound.address.host, port: bound.address.port },
      network: this.#networkFor(bound.fd),
      connections: { open: this.#board.connections, max, onFull: (open) => this.#limitReached('connections', open) },
      onCall: (call: DownstreamCall) =>
        redirect === undefined ? handleHere(call, this.#context) : redirectCall(call, redirect, this.#context),
      onRefused: (failed: Failure, peer: Peer) => observeRefused(failed, peer, this.#context),
      onLeft: (peer) => this.#parts.chief.left(peer),
      ...(reception && { reception }),
    })
  }

  /** Whose sockets are kept in sight. */
  #networkFor(fd: number | undefined): Network {
    return {
      ...systemNetwork,
      listen: (options, onConnection) => {
        const server = createServer({ noDelay: true, allowHalfOpen: true }, onConnection)
        this.#servers.push(server)
        return listenWith(server, fd === undefined ? options : { ...options, fd })
      },
    }
  }

  #createReception({ tls, proxyProtocol, address }: ListenerConfig, { ticketKeys }: WorkerListener): Reception | undefined {
    const listener = hostPortText(address)
    const { telemetry, quiet } = this.#told
    const serverTls = tls && new ServerTls(tls, { clock, telemetry: quiet, listener, ticketKeys: ticketKeys && Buffer.from(ticketKeys) })
    this.#tls.push(serverTls)
    if (tls === undefined && proxyProtocol === undefined) return undefined
    const parts = { clock, telemetry, sweeper: this.#sweeper, listener }
    return new Reception({ ...parts, ...(serverTls && { tls: serverTls }), ...(proxyProtocol && { proxyProtocol }) })
  }

  /** Of what each thread has of its own. They are added up. */
  #registerGauges(): void {
    const gauge = (name: MetricName, read: () => Iterable<GaugeSample>): void =>
      this.#told.telemetry.metrics.gauge(name, METRICS[name].help, read)
    const perServer = (value: (server: ServerOfPool) => number): (() => Iterable<GaugeSample>) => {
      const pools = this.#pools.running
      return () =>
        [...pools.values()].flatMap(({ name: pool, servers }) =>
          servers.map((server) => ({ labels: { pool, server: server.name }, value: value(server) })),
        )
    }
    gauge('spillway_buffered_bytes', () => [{ value: this.#budget.used }])
    gauge('spillway_deadlines', () => [{ value: this.#sweeper.size }])
    gauge('spillway_idle_server_connections', () => [{ value: this.#upstream.idleConnections }])
    gauge('spillway_connections_waiting', () => [{ value: this.#listeners.reduce((sum, { waiting }) => sum + waiting, 0) }])
    gauge(
      'spillway_server_connections',
      perServer(({ connections }) => connections),
    )
    gauge(
      'spillway_server_idle_connections',
      perServer((server) => this.#upstream.idleOf(server)),
    )
  }

  #limitReached(limit: string, value: number): void {
    this.#told.telemetry.event({ type: 'limit-reached', limit, where: 'gateway', value })
  }
}
