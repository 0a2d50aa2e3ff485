/**
 * What the admin address tells about a running gateway: read from its parts when asked, never pushed by them.
 * The store answers asynchronously and gauges are read synchronously, so its figures are fetched before a scrape and kept until the next.
 */
import process from 'node:process'
import type { Config } from '../config/config.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Bytes } from '../lib/units.ts'
import type { Pool, Server } from '../pools/pool.ts'
import type { Clock } from '../ports/clock.ts'
import type { QueueStats } from '../ports/job-store.ts'
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { GaugeSample, Metrics } from '../telemetry/telemetry.ts'
import type { AdminSources, AdminStatus, PoolStatus, QueueStatus, Readiness, ServerStatus } from './status.ts'

/** The parts of a gateway that are looked at. */
export interface GatewayView {
  readonly config: Config
  readonly version: string
  readonly clock: Clock
  readonly pools: ReadonlyMap<string, Pool>
  readonly jobs: Pick<Jobs, 'stats' | 'owned' | 'watchers'>
  readonly metrics: Metrics
  ready(): Readiness
  /** What is really listened on: `127.0.0.1:8080`. */
  listeners(): readonly string[]
  /** Open connections from clients. */
  connections(): number
  /** Connections to servers that are kept for the next request. */
  idleConnections(): number
  /** Members of the sweep that watches everybody's time. */
  deadlines(): number
  /** Bodies held in memory. */
  bufferedBytes(): Bytes
}

/** Also registers the gauges of pools, queues and connections. */
export function createSources(view: GatewayView): AdminSources {
  const startedAt = view.clock.monotonic()
  let stats: readonly QueueStats[] = []
  let refreshing: Promise<void> | undefined

  /** Scrapes that come together share one question to the store. */
  function refresh(): Promise<void> {
    refreshing ??= view.jobs
      .stats()
      .then((fresh) => {
        stats = fresh
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
      pools: config.pools.map(({ name }) => poolStatus(view.pools.get(name) as Pool, view.clock)),
      queues: queueStatuses(view, stats),
      routes: config.routes.map(({ name, mode, pool, queue }) => ({ name, mode, pool, ...(queue === undefined ? {} : { queue }) })),
    }
  }

  registerGatewayGauges(view)
  registerPoolGauges(view)
  registerQueueGauges(view, () => stats)
  return { ready: () => view.ready(), status, refresh }
}

function serverStatus(server: Server, clock: Clock): ServerStatus {
  const { name, weight, state, inFlight, tunnels } = server
  const status = { name, weight, state, inFlight, tunnels }
  if (state === 'unknown') return status
  const since = Math.round(clock.now() - (clock.monotonic() - (state === 'down' ? server.downSince : server.upSince)))
  return state === 'down' ? { ...status, since, reason: server.downReason } : { ...status, since }
}

function poolStatus(pool: Pool, clock: Clock): PoolStatus {
  const { name, config, waiting } = pool
  return { name, balance: config.balance, waiting, servers: pool.servers.map((server) => serverStatus(server, clock)) }
}

function queueStatuses(view: GatewayView, stats: readonly QueueStats[]): QueueStatus[] {
  const owned = view.jobs.owned()
  return stats.map(({ queue, counts, bytes, finishedBytes, dead, oldestWaitingAt }) => ({
    name: queue,
    // A queue that the configuration no longer names still holds its jobs.
    pool: view.config.queues.find(({ name }) => name === queue)?.pool ?? '',
    jobs: counts,
    bytes,
    finishedBytes,
    dead,
    buckets: Object.fromEntries(owned.filter((share) => share.queue === queue).map(({ server, buckets }) => [server, buckets])),
    ...(oldestWaitingAt === undefined ? {} : { oldestWaitingMs: Math.max(0, view.clock.now() - oldestWaitingAt) }),
  }))
}

function gauge(metrics: Metrics, name: MetricName, read: () => Iterable<GaugeSample>): void {
  metrics.gauge(name, METRICS[name].help, read)
}

function registerGatewayGauges(view: GatewayView): void {
  gauge(view.metrics, 'spillway_connections', () => [{ value: view.connections() }])
  gauge(view.metrics, 'spillway_idle_server_connections', () => [{ value: view.idleConnections() }])
  gauge(view.metrics, 'spillway_deadlines', () => [{ value: view.deadlines() }])
  gauge(view.metrics, 'spillway_job_watchers', () => [{ value: view.jobs.watchers }])
  gauge(view.metrics, 'spillway_buffered_bytes', () => [{ value: view.bufferedBytes() }])
}

function registerPoolGauges({ metrics, pools }: GatewayView): void {
  const perServer = (name: MetricName, value: (server: Server) => number): void =>
    gauge(metrics, name, () =>
      [...pools.values()].flatMap((pool) =>
        pool.servers.map((server) => ({ labels: { pool: pool.name, server: server.name }, value: value(server) })),
      ),
    )
  perServer('spillway_server_up', (server) => (server.state === 'up' ? 1 : 0))
  perServer('spillway_server_in_flight', (server) => server.inFlight)
  perServer('spillway_server_tunnels', (server) => server.tunnels)
  gauge(metrics, 'spillway_pool_waiting', () => [...pools.values()].map((pool) => ({ labels: { pool: pool.name }, value: pool.waiting })))
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
  perQueue('spillway_queue_oldest_waiting_seconds', ({ oldestWaitingAt }) =>
    oldestWaitingAt === undefined ? 0 : Math.max(0, clock.now() - oldestWaitingAt) / 1000,
  )
  gauge(metrics, 'spillway_queue_buckets', () =>
    jobs.owned().map(({ queue, server, buckets }) => ({ labels: { queue, server }, value: buckets })),
  )
}
