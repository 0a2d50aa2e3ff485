import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config, PoolConfig } from '../config/config.ts'
import { Pool } from '../pools/pool.ts'
import type { Clock } from '../ports/clock.ts'
import type { QueueStats } from '../ports/job-store.ts'
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
  failoverGraceMs: 0,
}

const stats: QueueStats = {
  queue: 'reports',
  counts: { queued: 2, running: 1, retrying: 0, succeeded: 5, failed: 1, cancelled: 0, expired: 0 },
  bytes: 300,
  finishedBytes: 900,
  oldestWaitingAt: NOW - 2500,
  dead: { poison: 1 },
}

function view(telemetry: OwnedTelemetry, readStats: () => Promise<readonly QueueStats[]>): GatewayView {
  const pool = new Pool(poolConfig, { clock, random: { unit: () => 0, bytes: (count) => Buffer.alloc(count) }, telemetry })
  const [a, b] = pool.servers
  if (a !== undefined) Object.assign(a, { state: 'up', upSince: 4000, inFlight: 2, tunnels: 1 })
  if (b !== undefined) Object.assign(b, { state: 'down', downSince: 4500, downReason: 'connection refused' })
  const config = {
    pools: [poolConfig],
    queues: [{ name: 'reports', pool: 'api' }],
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
    jobs: { stats: readStats, owned: () => [{ queue: 'reports', server: 'a:1', buckets: 256 }], watchers: 4 },
    metrics: telemetry.metrics,
    ready: () => ({ ok: true, reason: 'ready' }),
    listeners: () => ['127.0.0.1:8080'],
    connections: () => 3,
    idleConnections: () => 5,
    deadlines: () => 9,
    bufferedBytes: () => 77,
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
      servers: [
        { name: 'a:1', weight: 1, state: 'up', inFlight: 2, tunnels: 1, since: NOW - 1000 },
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
      buckets: { 'a:1': 256 },
      oldestWaitingMs: 2500,
    },
  ])
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
    'spillway_idle_server_connections 5',
    'spillway_deadlines 9',
    'spillway_job_watchers 4',
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
