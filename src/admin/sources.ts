/**
 * What the admin address tells about a running gateway: read from its parts when asked, never pushed by them.
 * The store answers asynchronously and gauges are read synchronously, so its figures are fetched before a scrape and kept until the next.
 */
import process from 'node:process'
import type { Config, RouteConfig } from '../config/config.ts'
import type { Guard } from '../gateway/guard.ts'
import type { Serves } from '../gateway/route-modes.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { Failovers } from '../pools/failovers.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { Clock } from '../ports/clock.ts'
import type { QueueStats, StoreInfo } from '../ports/job-store.ts'
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { RecentSyncs } from '../telemetry/store-events.ts'
import type { GaugeSample, Metrics, MetricsDump } from '../telemetry/telemetry.ts'
import { balanceText } from './pool-view.ts'
import type {
  AdminSources,
  AdminStatus,
  CertificateStatus,
  ConfigStatus,
  EndpointStatus,
  PoolStatus,
  QueueStatus,
  Readiness,
  RouteStatus,
  ServerStatus,
  StoreStatus,
} from './status.ts'

/** The parts of a gateway that are looked at. */
export interface GatewayView {
  /** What holds now: a reload changes it. */
  readonly config: Config
  readonly version: string
  readonly clock: Clock
  readonly pools: ReadonlyMap<string, Pool>
  readonly failovers: Pick<Failovers, 'standIn'>
  readonly jobs: Pick<Jobs, 'stats' | 'owned' | 'watchers' | 'estimate'> & {
    readonly answers: Pick<Jobs['answers'], 'size' | 'readers'>
    readonly queues: Pick<Jobs['queues'], 'find'>
    readonly batches: Pick<Jobs['batches'], 'kept' | 'running'>
  }
  /** What becomes of a route's requests now. */
  readonly serves: (route: RouteConfig) => Serves
  readonly metrics: Metrics
  webhooks(): readonly EndpointStatus[]
  certificates(): readonly CertificateStatus[]
  storeInfo(): Promise<StoreInfo>
  recentSyncs(): RecentSyncs
  configStatus(): ConfigStatus
  ready(): Readiness
  /** What is really listened on: `127.0.0.1:8080`. */
  listeners(): readonly string[]
  /** Open connections from clients. */
  connections(): number
  /** WebSockets that are open for events. */
  eventSockets(): number
  /** Connections to servers that are kept for the next request. */
  idleConnections(): number
  /** The same to one server. */
  idleOf(server: Server): number
  /** Members of the sweep that watches everybody's time. */
  deadlines(): number
  /** Absent: it is off. */
  readonly guard?: Guard | undefined
  waitingConnections(): number
  /** The other threads. Absent: there are none. */
  readonly workers?: WorkersView | undefined
  /** Bodies held in memory. */
  bufferedBytes(): Bytes
  /** The process that is about to take over from this one. */
  successor(): number | undefined
}

/** What is seen of the other threads. */
export interface WorkersView {
  /** That there should be, and that serve. */
  readonly wanted: number
  readonly size: number
  metrics(): Promise<readonly MetricsDump[]>
}

/** Also registers the gauges of pools, queues and connections. */
export function createSources(view: GatewayView): AdminSources {
  const startedAt = view.clock.monotonic()
  let stats: readonly QueueStats[] = []
  let info: StoreInfo | undefined
  let refreshing: Promise<void> | undefined

  /** Scrapes that come together share one question to the store. */
  function refresh(): Promise<void> {
    refreshing ??= Promise.all([view.jobs.stats(), view.storeInfo()])
      .then((fresh) => {
        ;[stats, info] = fresh
      })
      .finally(() => {
        refreshing = undefined
      })
    return refreshing
  }

  async function status(): Promise<AdminStatus> {
    await refresh()
    const { config } = view
    return {
      version: view.version,
      pid: process.pid,
      uptimeMs: Math.round(view.clock.monotonic() - startedAt),
      ready: view.ready(),
      listeners: view.listeners(),
      ...(view.guard !== undefined && { guard: view.guard.status }),
      ...(view.workers !== undefined && { workers: { wanted: view.workers.wanted, running: view.workers.size } }),
      config: view.configStatus(),
      ...(view.successor() !== undefined && { successor: view.successor() as number }),
      store: storeStatus(view, info as StoreInfo),
      pools: config.pools.map(({ name }) => poolStatus(view.pools.get(name) as Pool, view)),
      queues: queueStatuses(view, stats),
      routes: config.routes.map(routeStatus),
      webhooks: view.webhooks(),
      certificates: view.certificates(),
    }
  }

  registerGatewayGauges(view)
  registerPoolGauges(view, (server) => view.idleOf(server))
  registerRouteGauges(view)
  registerQueueGauges(view, () => stats)
  registerLimitGauges(view, () => stats)
  registerStoreGauges(view.metrics, () => info)
  return { ready: () => view.ready(), status, refresh, countedElsewhere: async () => (await view.workers?.metrics()) ?? [] }
}

function serverStatus(server: Server, maxInFlight: number, clock: Clock): ServerStatus {
  const { name, configuredWeight: weight, state, inFlight, tunnels, slots } = server
  const restsMs = Math.round(restOf(server, clock))
  const isOnProbation = server.conduct.standing === 'probation'
  const fewer = slots < maxInFlight && { slots }
  const status = {
    name,
    weight,
    state,
    inFlight,
    tunnels,
    ...(server.backup && { backup: true }),
    ...fewer,
    ...(restsMs > 0 && { restsMs }),
    ...(isOnProbation && { onProbation: true }),
  }
  if (state === 'unknown') return status
  const isOut = state === 'down' || state === 'ejected' || server.wish !== undefined
  const since = Math.round(clock.now() - (clock.monotonic() - (isOut ? server.downSince : server.upSince)))
  return isOut ? { ...status, since, reason: server.downReason } : { ...status, since }
}

/** How much longer it gets no new work because it answered 429 or 503. */
function restOf({ pausedUntil }: Server, clock: Clock): Millis {
  return pausedUntil === 0 ? 0 : Math.max(0, pausedUntil - clock.monotonic())
}

function storeStatus(view: GatewayView, info: StoreInfo): StoreStatus {
  const { engine, path } = view.config.store
  const { refusing: _, ...facts } = info
  const refusing = refusalOf(info)
  return { ...facts, ...(refusing !== undefined && { refusing }), ...(engine === 'embedded' && { path }), syncs: view.recentSyncs() }
}

/** The store looks at its disk when something is submitted; what it said then may be over, or may have begun since. */
function refusalOf({ refusing, freeBytes, floorBytes }: StoreInfo): StoreInfo['refusing'] {
  if (freeBytes === undefined || floorBytes === undefined) return refusing
  const isLow = freeBytes < floorBytes
  if (refusing === undefined)
    return isLow ? { limit: 'disk', detail: `${freeBytes} bytes are free; ${floorBytes} are kept in reserve` } : undefined
  return refusing.limit === 'disk' && !isLow ? undefined : refusing
}

function poolStatus(pool: Pool, { clock, failovers }: GatewayView): PoolStatus {
  const { name, waiting } = pool
  const { balance, maxInFlight } = pool.config
  const standIn = failovers.standIn(name)
  return {
    name,
    balance: balanceText(balance),
    waiting,
    maxInFlight,
    ...(standIn !== undefined && { failover: standIn }),
    servers: pool.servers.map((server) => serverStatus(server, maxInFlight, clock)),
  }
}

function routeStatus({ name, mode, pool = '', split, queue }: RouteConfig): RouteStatus {
  return { name, mode, pool, ...(split !== undefined && { split: split.shares }), ...(queue !== undefined && { queue }) }
}

function queueStatuses(view: GatewayView, stats: readonly QueueStats[]): QueueStatus[] {
  const owned = view.jobs.owned()
  return stats.map(({ queue, counts, bytes, finishedBytes, dead, scheduled, paused, blockedKeys, limits, ...times }) => {
    // One that nobody defines any more still holds its jobs.
    const defined = view.jobs.queues.find(queue)
    const config = defined?.origin === 'none' ? undefined : defined?.config
    const waiting = counts.queued + counts.retrying - scheduled
    const { etaMs } = waiting > 0 ? view.jobs.estimate(queue, waiting) : {}
    return {
      name: queue,
      pool: config?.pool ?? '',
      jobs: counts,
      bytes,
      finishedBytes,
      dead,
      scheduled,
      paused,
      blockedKeys,
      limits,
      ...(config !== undefined && { timeoutMs: config.timeoutMs, concurrency: config.concurrency }),
      buckets: Object.fromEntries(owned.filter((share) => share.queue === queue).map(({ server, buckets }) => [server, buckets])),
      ...(etaMs !== undefined && { etaMs }),
      ...(times.oldestWaitingAt !== undefined && { oldestWaitingMs: ageOf(times.oldestWaitingAt, view.clock) }),
      ...(times.oldestRunningAt !== undefined && { oldestRunningMs: ageOf(times.oldestRunningAt, view.clock) }),
    }
  })
}

/** Never negative: wall clocks may step back. */
function ageOf(at: EpochMillis | undefined, clock: Clock): Millis {
  return at === undefined ? 0 : Math.max(0, clock.now() - at)
}

function gauge(metrics: Metrics, name: MetricName, read: () => Iterable<GaugeSample>): void {
  metrics.gauge(name, METRICS[name].help, read)
}

function registerGatewayGauges(view: GatewayView): void {
  const { limits } = view.config // Sockets were opened with them: no reload changes them.
  gauge(view.metrics, 'spillway_ready', () => [{ value: view.ready().ok ? 1 : 0 }])
  gauge(view.metrics, 'spillway_connections_limit', () => [{ value: limits.connections }])
  gauge(view.metrics, 'spillway_buffered_limit_bytes', () => [{ value: limits.buffered }])
  gauge(view.metrics, 'spillway_connections', () => [{ value: view.connections() }])
  gauge(view.metrics, 'spillway_streamed_answers', () => [{ value: view.jobs.answers.size }])
  gauge(view.metrics, 'spillway_streamed_answer_readers', () => [{ value: view.jobs.answers.readers }])
  gauge(view.metrics, 'spillway_event_sockets', () => [{ value: view.eventSockets() }])
  gauge(view.metrics, 'spillway_idle_server_connections', () => [{ value: view.idleConnections() }])
  gauge(view.metrics, 'spillway_connections_waiting', () => [{ value: view.waitingConnections() }])
  gauge(view.metrics, 'spillway_guard_level', () => [{ value: view.guard?.levelNumber ?? 0 }])
  gauge(view.metrics, 'spillway_guard_signal', () =>
    Object.entries(view.guard?.signals ?? {}).flatMap(([signal, value]) =>
      Number.isNaN(value) ? [] : [{ labels: { signal }, value: signal === 'loopDelay' ? value / 1000 : value }],
    ),
  )
  gauge(view.metrics, 'spillway_workers', () => [{ value: view.workers?.size ?? 0 }])
  gauge(view.metrics, 'spillway_deadlines', () => [{ value: view.deadlines() }])
  gauge(view.metrics, 'spillway_job_watchers', () => [{ value: view.jobs.watchers }])
  gauge(view.metrics, 'spillway_batches', () => [{ value: view.jobs.batches.kept }])
  gauge(view.metrics, 'spillway_batches_running', () => [{ value: view.jobs.batches.running }])
  gauge(view.metrics, 'spillway_buffered_bytes', () => [{ value: view.bufferedBytes() }])
  gauge(view.metrics, 'spillway_certificate_expiry_seconds', () =>
    view.certificates().map(({ listener, file: certificate, notAfter }) => ({
      labels: { listener, certificate },
      value: Math.round((notAfter - view.clock.now()) / 1000),
    })),
  )
}

function registerPoolGauges({ metrics, pools, clock, failovers }: GatewayView, idleOf: (server: Server) => number): void {
  const perServer = (name: MetricName, value: (server: Server) => number): void =>
    gauge(metrics, name, () =>
      [...pools.values()].flatMap((pool) =>
        [...pool.servers, ...pool.leaving].map((server) => ({ labels: { pool: pool.name, server: server.name }, value: value(server) })),
      ),
    )
  gauge(metrics, 'spillway_server_state', () =>
    [...pools.values()].flatMap((pool) =>
      [...pool.servers, ...pool.leaving].map(({ name, state }) => ({ labels: { pool: pool.name, server: name, state }, value: 1 })),
    ),
  )
  perServer('spillway_server_up', (server) => (server.state === 'up' ? 1 : 0))
  perServer('spillway_server_draining', (server) => (server.state === 'draining' ? 1 : 0))
  perServer('spillway_server_weight', (server) => server.weight)
  gauge(metrics, 'spillway_server_load', () =>
    [...pools.values()].flatMap((pool) =>
      pool.servers.flatMap(({ name, load }) =>
        load === undefined ? [] : [{ labels: { pool: pool.name, server: name }, value: load.value }],
      ),
    ),
  )
  perServer('spillway_server_slots', (server) => server.slots)
  perServer('spillway_server_connections', (server) => server.connections)
  perServer('spillway_server_idle_connections', (server) => idleOf(server))
  perServer('spillway_server_in_flight', (server) => server.inFlight)
  perServer('spillway_server_tunnels', (server) => server.tunnels)
  perServer('spillway_server_resting', (server) => (restOf(server, clock) > 0 ? 1 : 0))
  gauge(metrics, 'spillway_pool_failover', () =>
    [...pools.values()]
      .filter(({ config }) => config.failover !== undefined)
      .map(({ name }) => ({ labels: { pool: name }, value: failovers.standIn(name) === undefined ? 0 : 1 })),
  )
  const perPool = (name: MetricName, value: (pool: Pool) => number): void =>
    gauge(metrics, name, () => [...pools.values()].map((pool) => ({ labels: { pool: pool.name }, value: value(pool) })))
  perPool('spillway_pool_line_stands', (pool) => (pool.lineStands ? 1 : 0))
  perPool('spillway_pool_waiting', (pool) => pool.waiting)
}

function registerRouteGauges(view: GatewayView): void {
  gauge(view.metrics, 'spillway_route_mode', () =>
    view.config.routes.map((route) => {
      const { mode, trigger } = view.serves(route)
      return { labels: { route: route.name, mode, trigger }, value: 1 }
    }),
  )
  gauge(view.metrics, 'spillway_route_mode_since_seconds', () =>
    view.config.routes.map((route) => ({ labels: { route: route.name }, value: (view.serves(route).since ?? 0) / 1000 })),
  )
}

function registerQueueGauges({ metrics, jobs, clock }: GatewayView, stats: () => readonly QueueStats[]): void {
  const perQueue = (name: MetricName, value: (stats: QueueStats) => number): void =>
    gauge(metrics, name, () => stats().map((one) => ({ labels: { queue: one.queue }, value: value(one) })))
  const perPart = (name: MetricName, label: string, parts: (stats: QueueStats) => Readonly<Record<string, number>>): void =>
    gauge(metrics, name, () =>
      stats().flatMap((one) => Object.entries(parts(one)).map(([part, value]) => ({ labels: { queue: one.queue, [label]: part }, value }))),
    )
  perPart('spillway_jobs', 'status', ({ counts }) => counts)
  perPart('spillway_dead_letters', 'reason', ({ dead }) => dead)
  perQueue('spillway_queue_bytes', ({ bytes }) => bytes)
  perQueue('spillway_queue_finished_bytes', ({ finishedBytes }) => finishedBytes)
  perQueue('spillway_queue_oldest_waiting_seconds', ({ oldestWaitingAt }) => ageOf(oldestWaitingAt, clock) / 1000)
  perQueue('spillway_queue_oldest_running_seconds', ({ oldestRunningAt }) => ageOf(oldestRunningAt, clock) / 1000)
  perQueue('spillway_queue_scheduled', ({ scheduled }) => scheduled)
  perQueue('spillway_queue_deferred', ({ deferred }) => deferred)
  perQueue('spillway_queue_paused', ({ paused }) => (paused ? 1 : 0))
  perQueue('spillway_queue_blocked_keys', ({ blockedKeys }) => blockedKeys)
  gauge(metrics, 'spillway_queue_buckets', () =>
    jobs.owned().map(({ queue, server, buckets }) => ({ labels: { queue, server }, value: buckets })),
  )
}

function registerLimitGauges(view: GatewayView, stats: () => readonly QueueStats[]): void {
  const { metrics } = view
  gauge(metrics, 'spillway_queue_limit', () =>
    stats().flatMap(({ queue, limits }) =>
      (['jobs', 'bytes', 'finished'] as const).map((limit) => ({ labels: { queue, limit }, value: limits[limit] })),
    ),
  )
  gauge(metrics, 'spillway_queue_attempt_timeout_seconds', () =>
    view.config.queues.map(({ name, timeoutMs }) => ({ labels: { queue: name }, value: timeoutMs / 1000 })),
  )
}

/** An engine without a disk has nothing to tell about one. */
function registerStoreGauges(metrics: Metrics, info: () => StoreInfo | undefined): void {
  const told = (name: MetricName, value: (info: StoreInfo) => number | undefined): void =>
    gauge(metrics, name, () => {
      const now = info()
      const read = now === undefined ? undefined : value(now)
      return read === undefined ? [] : [{ value: read }]
    })
  told('spillway_store_disk_bytes', ({ diskBytes }) => diskBytes)
  told('spillway_store_reusable_bytes', ({ reusableBytes }) => reusableBytes)
  told('spillway_store_free_bytes', ({ freeBytes }) => freeBytes)
  told('spillway_store_floor_bytes', ({ floorBytes }) => floorBytes)
  told('spillway_store_corrupt_records', ({ corrupt }) => corrupt)
  gauge(metrics, 'spillway_store_refusing', () => {
    const now = info()
    const refusing = now === undefined ? undefined : refusalOf(now)
    return [{ labels: { limit: 'disk' }, value: 0 }, ...(refusing === undefined ? [] : [{ labels: { limit: refusing.limit }, value: 1 }])]
  })
}
