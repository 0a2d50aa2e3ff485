/**
 * The wiring: a configuration becomes a running gateway. The only place that constructs, in the order in which things need each other,
 * and takes down in the reverse one.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Admin, startAdmin } from './admin/admin.ts'
import { createAdminApi } from './admin/api.ts'
import { type Applied, type ReloadOutcome, Reloading } from './admin/reloading.ts'
import { createSources } from './admin/sources.ts'
import type { CertificateStatus, Readiness } from './admin/status.ts'
import { NO_UPGRADE } from './admin/upgrading.ts'
import { batchDocument } from './api/batch-document.ts'
import { endedDocument } from './api/document.ts'
import { Clients } from './api/clients.ts'
import { EventSockets } from './api/event-socket.ts'
import { ApiKeys } from './api/queues/rights.ts'
import type { Config, HostPort, ListenerConfig } from './config/config.ts'
import { inPlace } from './config/in-place.ts'
import type { Failure } from './core/errors.ts'
import { compileRoutes } from './core/routing/router.ts'
import { openEmbeddedStore } from './engines/embedded/embedded-store.ts'
import { openMemoryStore } from './engines/memory/memory-store.ts'
import { handleCall } from './gateway/call-path.ts'
import type { CallContext } from './gateway/context.ts'
import { Hedges } from './gateway/hedge.ts'
import { Mirrors } from './gateway/mirror.ts'
import type { Guard } from './gateway/guard.ts'
import { ModeSwitches } from './gateway/mode-switches.ts'
import { observeRefused } from './gateway/observe.ts'
import { ownUrl } from './gateway/own-url.ts'
import { redirectCall } from './gateway/redirect.ts'
import { RouteCounters } from './gateway/route-counters.ts'
import { RouteModes, servesNow } from './gateway/route-modes.ts'
import { createGuard, createUpstream, wireOf } from './gateway/thread-parts.ts'
import { Tunnels } from './gateway/tunnels.ts'
import { LearntSessions, Sticky } from './gateway/sticky.ts'
import type { Gateway, GatewayOptions } from './gateway-options.ts'
import { createJobs, type Jobs } from './jobs/jobs.ts'
import { createLocalBus } from './jobs/local-bus.ts'
import { hostPortText } from './lib/host-port.ts'
import type { Millis } from './lib/units.ts'
import { Pending } from './lib/pending.ts'
import { LocalTally } from './lib/tally.ts'
import { BufferBudget } from './net/buffer-budget.ts'
import type { Peer } from './net/call.ts'
import { wrongDialling } from './net/dialling.ts'
import type { DownstreamCall } from './net/downstream-call.ts'
import { type ConnectionCount, Listener, type ListenerOptions } from './net/listener.ts'
import { ReadBuffers } from './net/read-buffers.ts'
import { Reception } from './net/reception.ts'
import { ServerTls } from './net/server-tls.ts'
import { Sweeper } from './net/sweeper.ts'
import type { Pool } from './pools/pool.ts'
import { Pools } from './pools/pools.ts'
import { ServerChanges } from './pools/server-changes.ts'
import type { Clock, Random } from './ports/clock.ts'
import type { Bus } from './ports/bus.ts'
import type { JobStore, QueueRules, StoredJob, StoreEvents } from './ports/job-store.ts'
import type { Network } from './ports/network.ts'
import { systemClock, systemNetwork, systemRandom, systemResolver } from './ports/system.ts'
import { measuredStore } from './telemetry/measured-store.ts'
import { storeTelemetry, type StoreTelemetry } from './telemetry/store-events.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { Upstream } from './upstream/upstream.ts'
import { Webhooks } from './webhooks/webhooks.ts'
import { Crew } from './workers/crew.ts'

/** For health, metrics and people: calls of the API do not take them. */
const OTHER_ADMIN_CONNECTIONS = 16
/** What may still be written after the last job is settled or handed back. */
const LAST_ANSWERS_MS = 1_000
/** Nobody is accepted meanwhile: a request for the store that comes more slowly is told to come again. */
const LAST_STORED_MS = 2_000
const LOOK_AGAIN_MS = 20

/** Rejects when an address or the store cannot be had; nothing is left open then. */
export async function startGateway(config: Config, options: GatewayOptions): Promise<Gateway> {
  const gateway = new RunningGateway(config, options)
  try {
    await gateway.start()
  } catch (error) {
    await gateway.close()
    throw error
  }
  return gateway
}

class RunningGateway implements Gateway {
  readonly fatal: Promise<Error>
  /** What holds now. */
  #config: Config
  readonly #options: GatewayOptions
  readonly #telemetry: Telemetry
  readonly #storeTelemetry: StoreTelemetry
  readonly #reloading: Reloading
  readonly #clock: Clock
  readonly #random: Random
  readonly #network: Network
  readonly #sweeper: Sweeper
  readonly #budget: BufferBudget
  readonly #eventSockets: EventSockets
  #clients: Clients | undefined
  readonly #connections: ConnectionCount
  readonly #hedges: Hedges
  #mirrors: Mirrors | undefined
  readonly #routeCounters: RouteCounters
  readonly #storeCalls = new Pending()
  #routeModes: RouteModes | undefined
  #modeSwitches: ModeSwitches | undefined
  readonly #tunnels: Tunnels
  readonly #guard: Guard | undefined
  readonly #listeners: Listener[] = []
  readonly #tls = new Map<ListenerConfig, ServerTls>()
  readonly #pools: Pools
  /** The other threads. Absent: there are none. */
  readonly #crew: Crew | undefined
  readonly #learnt: LearntSessions
  readonly #serverChanges: ServerChanges
  /** For new calls: those that are under way keep the one that they began with. */
  #context: CallContext | undefined
  #upstream: Upstream | undefined
  #store: JobStore | undefined
  #jobs: Jobs | undefined
  #webhooks: Webhooks | undefined
  #admin: Admin | undefined
  #answered: Promise<unknown> = Promise.resolve()
  #readiness: Readiness = { ok: false, reason: 'starting' }
  #die: (error: Error) => void = () => undefined

  constructor(config: Config, options: GatewayOptions) {
    this.#config = config
    this.#options = options
    this.#telemetry = options.telemetry
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? systemRandom
    this.#network = options.network ?? systemNetwork
    this.#storeTelemetry = storeTelemetry(options.telemetry, this.#clock)
    this.#reloading = new Reloading({
      ...this.#parts(),
      file: config.file,
      read: options.readConfig,
      apply: (read) => this.#apply(read),
    })
    this.#sweeper = new Sweeper(this.#clock)
    this.#tunnels = new Tunnels(this.#parts())
    this.#guard = config.guard && createGuard(config.guard, this.#parts(), this.#listeners)
    this.#learnt = new LearntSessions(config.limits.stickySessions, this.#clock)
    this.#serverChanges = new ServerChanges({ ...this.#parts(), max: config.limits.serverChanges })
    this.#crew = config.workers > 1 ? this.#createCrew(config.workers - 1) : undefined
    const { resolver = systemResolver } = options
    this.#pools = new Pools({ ...this.#parts(), resolver, shared: this.#crew?.shared }, this.#serverChanges)
    this.#hedges = new Hedges({ telemetry: options.telemetry, clock: this.#clock })
    this.#routeCounters = new RouteCounters(options.telemetry)
    this.#eventSockets = new EventSockets(config.limits.eventSockets)
    this.#budget = new BufferBudget(config.limits.buffered, () => this.#limitReached('buffered', config.limits.buffered))
    this.#connections = {
      open: this.#crew?.connections ?? new LocalTally(),
      max: config.limits.connections,
      onFull: (open) => this.#limitReached('connections', open),
    }
    this.fatal = new Promise((resolve) => {
      this.#die = resolve
    })
  }

  get listeners(): readonly HostPort[] {
    return this.#listeners.slice(0, this.#config.listeners.length).map((listener) => listener.address)
  }

  get config(): Config {
    return this.#config
  }

  get admin(): HostPort {
    return this.#admin?.address ?? this.#config.admin.address
  }

  async start(): Promise<void> {
    const config = this.#config
    this.#store = measuredStore(await this.#openStore(), this.#telemetry.metrics)
    await this.#serverChanges.restore(this.#store)
    await this.#pools.registrations.restore(this.#store)
    this.#pools.open(config.pools)
    const ports = { clock: this.#clock, network: this.#network, sweeper: this.#sweeper, buffers: new ReadBuffers() }
    const upstream = createUpstream(config, ports, this.#budget)
    this.#upstream = upstream
    const { running: pools } = this.#pools
    this.#mirrors = new Mirrors({ ...this.#parts(), sweeper: this.#sweeper, upstream, budget: this.#budget, pools })
    const bus = createLocalBus()
    this.#clients = new Clients({ config, store: this.#store, bus, clock: this.#clock })
    const jobs = createJobs({
      ...this.#parts(),
      config,
      store: this.#store,
      pools: this.#pools.running,
      upstream,
      bus,
      ownUrl: () => ownUrl(config.listeners, this.listeners),
    })
    this.#jobs = jobs
    await jobs.restore()
    const webhooks = this.#createWebhooks(jobs, bus, this.#store)
    await webhooks.restore()
    const changed = (): void => this.#crew?.lookAtRoutes()
    this.#modeSwitches = new ModeSwitches({ ...this.#parts(), store: this.#store, changed })
    await this.#modeSwitches.restore()
    this.#routeModes = new RouteModes({
      ...this.#parts(),
      changed,
      route: (name) => this.#config.routes.find((route) => route.name === name),
      hasServer: (pool) => this.#pools.hasServer(pool),
    })
    await this.#startAdmin(jobs)
    const context = this.#createContext(config, jobs, upstream)
    this.#context = context
    await this.#openListeners(() => this.#context ?? context)
    await this.#startCrew(() => this.#context ?? context)
    await this.#openRest(() => this.#context ?? context)
    this.#pools.start()
    this.#guard?.start()
    jobs.start()
    webhooks.start()
    if (this.#readiness.reason === 'starting') this.#readiness = { ok: true, reason: 'ready' }
    this.#telemetry.event({
      type: 'started',
      listeners: this.listeners.map(hostPortText),
      admin: hostPortText(this.admin),
      pid: process.pid,
    })
  }

  reload(): Promise<ReloadOutcome> {
    return this.#reloading.reload()
  }

  async #apply(read: Config): Promise<Applied> {
    const { reason } = this.#readiness
    if (reason === 'starting' || reason === 'draining') return { wrong: `the gateway is ${reason}` }
    const { config, needsRestart } = inPlace(this.#config, read)
    const wrong = wrongDialling(config.pools)
    if (wrong !== undefined) return { wrong }
    const [jobs, upstream] = [this.#jobs as Jobs, this.#upstream as Upstream]
    const prepared = await jobs.prepareReload(config)
    if (typeof prepared === 'string') return { wrong: prepared }
    await this.#webhooks?.reload(config)
    // All in one turn of the event loop: no call and no job sees a part of it.
    this.#pools.reload(config.pools)
    this.#config = config
    this.#context = this.#createContext(config, jobs, upstream)
    this.#retuneTls(config)
    this.#crew?.reload()
    prepared.apply()
    return { needsRestart }
  }

  async drain(): Promise<void> {
    const deadline = this.#clock.monotonic() + this.#config.drainTimeoutMs
    this.#readiness = { ok: false, reason: 'draining' }
    this.#telemetry.event({ type: 'stopping', reason: 'asked to', inFlight: this.#busy() })
    const { drainTimeoutMs } = this.#config
    const answered = Promise.all([this.#drainListeners(), this.#tunnels.drain(drainTimeoutMs)])
    await Promise.all([this.#jobs?.drain(drainTimeoutMs), this.#webhooks?.drain(drainTimeoutMs)])
    await this.#webhooks?.close()
    await this.#jobs?.close()
    const left = Math.max(LAST_ANSWERS_MS, deadline - this.#clock.monotonic())
    await Promise.race([answered, this.#after(left)])
  }

  async rest(): Promise<void> {
    const { drainTimeoutMs } = this.#config
    await Promise.all([this.#jobs?.rest(drainTimeoutMs), this.#webhooks?.drain(drainTimeoutMs)])
  }

  async giveUp(): Promise<void> {
    this.#readiness = { ok: false, reason: 'draining' }
    this.#answered = this.#drainListeners()
    await this.#webhooks?.close()
    await this.#jobs?.drain(0)
    await Promise.race([this.#lastStoreCalls(), this.#after(LAST_STORED_MS)])
    await this.#jobs?.close()
    await this.#admin?.close()
    this.#pools.registrations.leaveStore()
    await this.#store?.close()
    this.#store = undefined
  }

  #drainListeners(): Promise<unknown> {
    return Promise.all([...this.#listeners.map((listener) => listener.drain()), this.#crew?.drain()])
  }

  async #lastStoreCalls(): Promise<void> {
    while (this.#listeners.some((listener) => listener.idle > 0)) await this.#after(LOOK_AGAIN_MS)
    await this.#crew?.quiet()
    await this.#storeCalls.idle()
  }

  async #lastTunnels(): Promise<void> {
    while (!this.#pools.isIdle) await this.#after(LOOK_AGAIN_MS)
  }

  async finish(): Promise<void> {
    const { drainTimeoutMs } = this.#config
    const halfMs = drainTimeoutMs / 2
    // Those that have not ended by themselves by then must not all be broken off in the same moment.
    void this.#after(halfMs).then(() => this.#tunnels.drain(halfMs))
    await Promise.race([Promise.all([this.#answered, this.#lastTunnels()]), this.#after(drainTimeoutMs)])
  }

  async close(): Promise<void> {
    for (const listener of this.#listeners) listener.close()
    await this.#crew?.close()
    this.#tunnels.close()
    this.#guard?.close()
    this.#routeModes?.close()
    await this.#webhooks?.close()
    await this.#jobs?.close()
    this.#mirrors?.close()
    this.#pools.close()
    this.#upstream?.close()
    this.#sweeper.close()
    await this.#admin?.close()
    await this.#store?.close()
    if (this.#readiness.reason !== 'starting') this.#telemetry.event({ type: 'stopped' })
  }

  #after(delayMs: Millis): Promise<void> {
    return new Promise((resolve) => this.#clock.after(delayMs, resolve))
  }

  // --- the parts

  #parts(): { clock: Clock; random: Random; network: Network; telemetry: Telemetry } {
    return { clock: this.#clock, random: this.#random, network: this.#network, telemetry: this.#telemetry }
  }

  #openStore(): Promise<JobStore> | JobStore {
    const { store, queues } = this.#config
    const told = this.#storeTelemetry
    const events: StoreEvents = {
      onSync: told.onSync,
      onCorrupt: (what) => {
        this.#readiness = { ok: false, reason: 'store corrupt' }
        told.onCorrupt(what)
      },
      onFatal: (error) => {
        this.#readiness = { ok: false, reason: 'store failed' }
        this.#die(error)
      },
    }
    const common = {
      clock: this.#clock,
      random: this.#random,
      queues: queues.map(({ name, limits, rules }) => ({ name, limits, rules: this.#openingRules(name, rules) })),
      limits: this.#config.limits,
      events,
    }
    if (this.#options.openStore !== undefined) return this.#options.openStore(common)
    const { engine, path, diskFloor: diskFloorBytes, encryption } = store
    const sealed = { ...common, ...(encryption !== undefined && { encryption }) }
    return engine === 'memory' ? openMemoryStore(sealed) : openEmbeddedStore({ ...sealed, path, diskFloorBytes })
  }

  /** What ends while the store is opened must be told of, too; soon after it is known of which queues that is wanted. */
  #openingRules(queue: string, rules: QueueRules): QueueRules {
    const { webhooks } = this.#config
    return webhooks === undefined || queue === webhooks.queue ? rules : { ...rules, followUps: true }
  }

  #createWebhooks(jobs: Jobs, bus: Bus, store: JobStore): Webhooks {
    const documentOf = (job: StoredJob): Record<string, unknown> => endedDocument(this.#config, job)
    const { resolver = systemResolver, webhookAgents: agents } = this.#options
    const webhooks = new Webhooks({ ...this.#parts(), config: this.#config, store, jobs, bus, resolver, agents, documentOf })
    jobs.followUps.add((ended) => webhooks.followUp(ended))
    jobs.batches.onEnded((batch) => {
      const { finishedAt: at = batch.head.submittedAt } = batch.head
      return webhooks.jobsFor({ id: `msg_batch_${batch.id}`, type: 'batch.ended', at, document: batchDocument(this.#config, batch) })
    })
    this.#webhooks = webhooks
    return webhooks
  }

  #createContext(config: Config, jobs: Jobs, upstream: Upstream): CallContext {
    return {
      ...this.#parts(),
      config,
      forwarding: { name: config.name, proto: 'http' },
      secureForwarding: { name: config.name, proto: 'https' },
      sweeper: this.#sweeper,
      router: compileRoutes(config.routes),
      // A call that is under way may go to a pool that is not configured any more.
      pools: new Map(this.#pools.running),
      failovers: this.#pools.failovers,
      sticky: new Sticky({ keys: config.sticky?.keys ?? [], learnt: this.#learnt, telemetry: this.#telemetry }),
      upstream,
      budget: this.#budget,
      jobs,
      storeCalls: this.#storeCalls,
      webhooks: this.#webhooks as Webhooks,
      apiKeys: new ApiKeys(config.api.keys),
      eventSockets: this.#eventSockets,
      clients: this.#clients as Clients,
      hedges: this.#hedges,
      mirrors: this.#mirrors as Mirrors,
      routeCounters: this.#routeCounters,
      routeModes: this.#routeModes as RouteModes,
      modeSwitches: this.#modeSwitches as ModeSwitches,
      tunnels: this.#tunnels,
      guard: this.#guard,
    }
  }

  async #startAdmin(jobs: Jobs): Promise<void> {
    const now = (): Config => this.#config
    const modes = { switches: this.#modeSwitches as ModeSwitches, states: this.#routeModes as RouteModes }
    const { switches, states } = modes
    const { upgrading = NO_UPGRADE } = this.#options
    const sources = createSources({
      get config() {
        return now()
      },
      version: this.#options.version ?? '0.0.0',
      clock: this.#clock,
      pools: this.#pools.running,
      failovers: this.#pools.failovers,
      serves: (route) => servesNow(route, switches, states),
      jobs,
      metrics: this.#telemetry.metrics,
      webhooks: () => this.#webhooks?.endpoints.statuses() ?? [],
      certificates: () => [...this.#tls].flatMap(([listener, tls]) => certificateStatuses(hostPortText(listener.address), tls)),
      storeInfo: () => (this.#store as JobStore).info(),
      recentSyncs: () => this.#storeTelemetry.recentSyncs(),
      configStatus: () => this.#reloading.status,
      successor: () => upgrading.successor,
      ready: () => this.#readiness,
      listeners: () => this.listeners.map(hostPortText),
      connections: () => this.#connections.open.value,
      eventSockets: () => this.#eventSockets.open,
      idleConnections: () => this.#upstream?.idleConnections ?? 0,
      idleOf: (server) => this.#upstream?.idleOf(server) ?? 0,
      deadlines: () => this.#sweeper.size,
      guard: this.#guard,
      workers: this.#crew,
      waitingConnections: () => this.#listeners.reduce((sum, { waiting }) => sum + waiting, 0),
      bufferedBytes: () => this.#budget.used,
    })
    const { address, token, calls } = this.#config.admin
    const start = this.#options.startAdmin ?? startAdmin
    const parts = {
      ...this.#parts(),
      get config() {
        return now()
      },
      jobs,
      webhooks: this.#webhooks as Webhooks,
      budget: this.#budget,
    }
    const pools = { pools: this.#pools, changes: this.#serverChanges }
    const api = createAdminApi(parts, {
      token,
      modes,
      pools,
      reload: () => this.reload(),
      upgrading,
      maintain: this.#store?.maintain?.bind(this.#store),
    })
    const connectionsMax = calls + OTHER_ADMIN_CONNECTIONS
    this.#admin = await start({ address, telemetry: this.#telemetry, sources, api, connectionsMax, ...(token !== undefined && { token }) })
  }

  #listenerParts(): Omit<ListenerOptions, 'host' | 'port' | 'onCall'> {
    return {
      ...wireOf(this.#config),
      ...{ clock: this.#clock, network: this.#network, sweeper: this.#sweeper, connections: this.#connections },
      shared: this.#crew && 'first',
      onRefused: (failed: Failure, peer: Peer) => observeRefused(failed, peer, this.#context as CallContext),
    }
  }

  async #openListeners(context: () => CallContext): Promise<void> {
    for (const listener of this.#config.listeners) await this.#openListener(listener, context)
  }

  async #openListener(listener: ListenerConfig, context: () => CallContext): Promise<void> {
    const { host, port } = listener.address
    const { redirect } = listener
    const onCall =
      redirect === undefined
        ? (call: DownstreamCall) => handleCall(call, context())
        : (call: DownstreamCall) => redirectCall(call, redirect, context())
    const reception = this.#createReception(listener)
    this.#listeners.push(await Listener.open({ ...this.#listenerParts(), host, port, onCall, ...(reception && { reception }) }))
  }

  /** What more threads than these listened on. Who waits there to be accepted is not refused. */
  async #openRest(context: () => CallContext): Promise<void> {
    for (const listener of this.#config.listeners)
      while (this.#options.workerSockets?.has(hostPortText(listener.address)) === true) await this.#openListener(listener, context)
  }

  // --- other threads

  #createCrew(workers: number): Crew {
    const isRelayed = (route: string): boolean => this.#modeSwitches?.of(route) !== undefined || this.#routeModes?.of(route) !== undefined
    // Made before the pools are, and asked when they are there.
    const pools = (): ReadonlyMap<string, Pool> => this.#pools.running
    return new Crew({ ...this.#parts(), config: () => this.#config, pools, isRelayed }, workers)
  }

  /** They listen where the gateway listens already. */
  async #startCrew(context: () => CallContext): Promise<void> {
    const { listeners } = this.#config
    const { workerSockets } = this.#options
    const theirs = listeners.map((config, i) => ({
      address: this.listeners[i] ?? config.address,
      takeFd: () => workerSockets?.take(hostPortText(config.address)),
      ticketKeys: () => this.#tls.get(config)?.ticketKeys,
    }))
    if (workerSockets !== undefined && this.#crew !== undefined) workerSockets.bound = () => this.#workerFds()
    await this.#crew?.start(theirs, { ...this.#listenerParts(), shared: undefined, onCall: (call) => handleCall(call, context()) })
  }

  #workerFds(): readonly { readonly address: string; readonly fd: number }[] {
    const addresses = this.#config.listeners.map(({ address }) => hostPortText(address))
    return (this.#crew?.fds ?? []).flatMap((fds) => fds.map((fd, i) => ({ address: addresses[i] ?? '', fd }))).filter(({ fd }) => fd >= 0)
  }

  #createReception(config: ListenerConfig): Reception | undefined {
    const { tls, proxyProtocol, address } = config
    if (tls === undefined && proxyProtocol === undefined) return undefined
    const parts = { ...this.#parts(), sweeper: this.#sweeper, listener: hostPortText(address) }
    const at = this.#listeners.length
    const onTicketKeys = (keys: Buffer): void => this.#crew?.useTicketKeys(at, keys)
    const serverTls = tls && new ServerTls(tls, { ...parts, onTicketKeys })
    if (serverTls !== undefined) this.#tls.set(config, serverTls)
    return new Reception({ ...parts, ...(serverTls && { tls: serverTls }), ...(proxyProtocol && { proxyProtocol }) })
  }

  /** The files are read again in any case: who asks for a reload has probably changed them. */
  #retuneTls({ listeners }: Config): void {
    for (const [started, tls] of this.#tls) {
      const now = listeners.find(({ address }) => isDeepStrictEqual(address, started.address))?.tls
      if (now !== undefined) tls.retune(now)
    }
  }

  #busy(): number {
    return this.#listeners.reduce((sum, listener) => sum + listener.busy, 0)
  }

  #limitReached(limit: string, value: number): void {
    this.#telemetry.event({ type: 'limit-reached', limit, where: 'gateway', value })
  }
}

function certificateStatuses(listener: string, tls: ServerTls): CertificateStatus[] {
  return tls.shown.map(({ files, facts }) => ({ listener, file: files.cert, names: facts.names, notAfter: facts.notAfter }))
}
