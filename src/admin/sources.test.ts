import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config, PoolConfig, QueueConfig } from '../config/config.ts'
import { Pool } from '../pools/pool.ts'
import type { Clock } from '../ports/clock.ts'
import { systemNetwork } from '../ports/system.ts'
import type { QueueStats, StoreInfo } from '../ports/job-store.ts'
import { createTelemetry, type OwnedTelemetry } from '../telemetry/create-telemetry.ts'
import { createSources, type GatewayView } from './sources.ts'

const NOW = 1_000_000
const clock: Clock = { now: () => NOW, monotonic: () => 5000, after: () => ({ cancel: () => {} }) }

const poolConfig: PoolConfig = {
  name: 'api',
  servers: [
    { name: 'a:1', host: 'a', port: 1, weight: 1 },
    { name: 'b:2', host: 'b', port: 2, weight: 3 },
    { name: 'c:3', host: 'c', port: 3, weight: 1 },
  ],
  balance: 'round-robin',
  maxInFlight: 64,
  maxTunnels: 64,
  waitMs: 2000,
  maxWaiting: 10,
  health: { intervalMs: 2000, timeoutMs: 1000, fall: 3, rise: 2 },
  slowStartMs: 0,
  addresses: 'all',
  drainTimeoutMs: 300_000,
  failoverGraceMs: 0,
  reserve: 0.2,
  retries: { budget: 0.2, minPerSecond: 3 },
}

const stats: QueueStats = {
  queue: 'reports',
  counts: { queued: 2, running: 1, retrying: 0, succeeded: 5, failed: 1, cancelled: 0, expired: 0 },
  bytes: 300,
  finishedBytes: 900,
  oldestWaitingAt: NOW - 2500,
  oldestRunningAt: NOW - 9000,
  scheduled: 1,
  paused: true,
  deferred: 0,
  blockedKeys: 2,
  limits: { jobs: 100, bytes: 5000, finished: 6000 },
  rules: { onFailure: 'block', overflow: 'refuse' },
  dead: { poison: 1 },
}

const info: StoreInfo = {
  engine: 'embedded',
  generation: 3,
  diskBytes: 4096,
  reusableBytes: 1024,
  freeBytes: 10,
  floorBytes: 64,
  refusing: { limit: 'disk', detail: '10 bytes are free' },
  corrupt: 0,
}
const syncs = { count: 2, meanMs: 3, worstMs: 5 }

function view(telemetry: OwnedTelemetry, readStats: () => Promise<readonly QueueStats[]>): GatewayView {
  const pool = new Pool(poolConfig, {
    clock,
    network: systemNetwork,
    random: { unit: () => 0, bytes: (count) => Buffer.alloc(count) },
    telemetry,
  })
  const [a, b] = pool.servers
  if (a !== undefined) Object.assign(a, { state: 'up', upSince: 4000, tunnels: 1, pausedUntil: 5300 })
  while (a?.taken.take(2) === true);
  if (b !== undefined) Object.assign(b, { state: 'down', downSince: 4500, downReason: 'connection refused' })
  const config = {
    store: { engine: 'embedded', path: '/data' },
    limits: { connections: 50, buffered: 1000 },
    pools: [poolConfig],
    queues: [{ name: 'reports', pool: 'api', timeoutMs: 60_000, concurrency: 8 }],
    routes: [
      { name: 'POST /reports', mode: 'queue', pool: 'api', queue: 'reports' },
      { name: '/*', mode: 'direct', pool: 'api' },
    ],
  } as unknown as Config
  return {
    config,
    version: '1.2.3',
    clock,
    pools: new Map([['api', pool]]),
    failovers: { standIn: () => undefined },
    serves: ({ mode }) =>
      mode === 'queue' ? { mode, trigger: 'config' } : { mode: 'queue', trigger: 'no_server', since: NOW, reason: 'no server is up' },
    jobs: {
      stats: readStats,
      owned: () => [{ queue: 'reports', server: 'a:1', buckets: 256 }],
      watchers: 4,
      answers: { size: 2, readers: 3 },
      batches: { kept: 3, running: 2 },
      estimate: () => ({ etaMs: 7000, retryAfterSeconds: 1 }),
      queues: { find: (name) => ({ origin: 'file', config: config.queues.find((queue) => queue.name === name) as QueueConfig }) },
    },
    metrics: telemetry.metrics,
    certificates: () => [],
    webhooks: () => [{ name: 'billing', disabledBecause: 'its receiver answered 410' }],
    storeInfo: () => Promise.resolve(info),
    recentSyncs: () => syncs,
    configStatus: () => ({ file: 'spillway.yaml', readAt: NOW - 60_000, needsRestart: [] }),
    ready: () => ({ ok: true, reason: 'ready' }),
    listeners: () => ['127.0.0.1:8080'],
    connections: () => 3,
    eventSockets: () => 6,
    idleConnections: () => 5,
    idleOf: () => 2,
    deadlines: () => 9,
    waitingConnections: () => 4,
    bufferedBytes: () => 77,
    successor: () => undefined,
  }
}

test('status tells pools, queues and routes', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
  const status = await createSources(view(telemetry, () => Promise.resolve([stats]))).status()
  assert.deepEqual(status.pools, [
    {
      name: 'api',
      balance: 'round-robin',
      waiting: 0,
      maxInFlight: 64,
      servers: [
        { name: 'a:1', weight: 1, state: 'up', inFlight: 2, tunnels: 1, restsMs: 300, since: NOW - 1000 },
        { name: 'b:2', weight: 3, state: 'down', inFlight: 0, tunnels: 0, since: NOW - 500, reason: 'connection refused' },
        { name: 'c:3', weight: 1, state: 'unknown', inFlight: 0, tunnels: 0 },
      ],
    },
  ])
  assert.deepEqual(status.queues, [
    {
      name: 'reports',
      pool: 'api',
      jobs: stats.counts,
      bytes: 300,
      finishedBytes: 900,
      dead: { poison: 1 },
      scheduled: 1,
      paused: true,
      blockedKeys: 2,
      limits: stats.limits,
      timeoutMs: 60_000,
      concurrency: 8,
      buckets: { 'a:1': 256 },
      etaMs: 7000,
      oldestWaitingMs: 2500,
      oldestRunningMs: 9000,
    },
  ])
  assert.deepEqual(status.store, { ...info, path: '/data', syncs })
  assert.deepEqual(status.config, { file: 'spillway.yaml', readAt: NOW - 60_000, needsRestart: [] })
  assert.deepEqual(status.webhooks, [{ name: 'billing', disabledBecause: 'its receiver answered 410' }])
  assert.deepEqual(status.routes, [
    { name: 'POST /reports', mode: 'queue', pool: 'api', queue: 'reports' },
    { name: '/*', mode: 'direct', pool: 'api' },
  ])
  await telemetry.close()
})

test('gauges show what the last refresh brought', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
  const sources = createSources(view(telemetry, () => Promise.resolve([stats])))
  assert.doesNotMatch(telemetry.metrics.render(), /^spillway_jobs\{/m)
  await sources.refresh()
  const lines = new Set(telemetry.metrics.render().split('\n'))
  for (const line of [
    'spillway_connections 3',
    'spillway_event_sockets 6',
    'spillway_idle_server_connections 5',
    'spillway_deadlines 9',
    'spillway_connections_waiting 4',
    'spillway_guard_level 0',
    'spillway_job_watchers 4',
    'spillway_streamed_answers 2',
    'spillway_streamed_answer_readers 3',
    'spillway_buffered_bytes 77',
    'spillway_server_up{pool="api",server="a:1"} 1',
    'spillway_server_up{pool="api",server="b:2"} 0',
    'spillway_server_up{pool="api",server="c:3"} 0',
    'spillway_server_in_flight{pool="api",server="a:1"} 2',
    'spillway_server_tunnels{pool="api",server="a:1"} 1',
    'spillway_pool_waiting{pool="api"} 0',
    'spillway_jobs{queue="reports",status="succeeded"} 5',
    'spillway_queue_oldest_waiting_seconds{queue="reports"} 2.5',
    'spillway_queue_bytes{queue="reports"} 300',
    'spillway_queue_finished_bytes{queue="reports"} 900',
    'spillway_dead_letters{queue="reports",reason="poison"} 1',
    'spillway_queue_buckets{queue="reports",server="a:1"} 256',
    'spillway_queue_oldest_running_seconds{queue="reports"} 9',
    'spillway_queue_attempt_timeout_seconds{queue="reports"} 60',
    'spillway_queue_scheduled{queue="reports"} 1',
    'spillway_queue_paused{queue="reports"} 1',
    'spillway_queue_blocked_keys{queue="reports"} 2',
    'spillway_queue_limit{limit="bytes",queue="reports"} 5000',
    'spillway_server_resting{pool="api",server="a:1"} 1',
    'spillway_server_resting{pool="api",server="b:2"} 0',
    'spillway_ready 1',
    'spillway_connections_limit 50',
    'spillway_buffered_limit_bytes 1000',
    'spillway_store_disk_bytes 4096',
    'spillway_store_reusable_bytes 1024',
    'spillway_store_free_bytes 10',
    'spillway_store_floor_bytes 64',
    'spillway_store_corrupt_records 0',
    'spillway_store_refusing{limit="disk"} 1',
  ]) {
    assert.ok(lines.has(line), line)
  }
  await telemetry.close()
})

test('scrapes that come together share one question, a failed one is asked again', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
  let asked = 0
  const sources = createSources(view(telemetry, () => (++asked === 1 ? Promise.reject(new Error('disk')) : Promise.resolve([stats]))))
  const outcomes = await Promise.allSettled([sources.refresh(), sources.refresh()])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.equal(asked, 1)
  await sources.refresh()
  assert.equal(asked, 2)
  await telemetry.close()
})

test('a refusal for want of room begins and ends with the room, also when nothing is submitted meanwhile', async () => {
  const cases: readonly (readonly [
    change: { readonly [Name in keyof StoreInfo]?: StoreInfo[Name] | undefined },
    refusing: string | undefined,
  ])[] = [
    [{ freeBytes: 63, refusing: undefined }, '63 bytes are free; 64 are kept in reserve'],
    [{ freeBytes: 63 }, '10 bytes are free'],
    [{ freeBytes: 64 }, undefined],
    [{ freeBytes: 64, refusing: { limit: 'tables', detail: 'another reason' } }, 'another reason'],
    [{ freeBytes: undefined, floorBytes: undefined }, '10 bytes are free'],
  ]
  for (const [change, refusing] of cases) {
    const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
    const told = { ...info, ...change } as StoreInfo
    const parts = { ...view(telemetry, () => Promise.resolve([stats])), storeInfo: () => Promise.resolve(told) }
    const status = await createSources(parts).status()
    assert.equal(status.store.refusing?.detail, refusing)
    assert.match(
      telemetry.metrics.render(),
      new RegExp(`^spillway_store_refusing\\{limit="[a-z]+"\\} ${refusing === undefined ? 0 : 1}$`, 'm'),
    )
    await telemetry.close()
  }
})
