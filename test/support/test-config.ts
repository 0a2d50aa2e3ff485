/** A complete configuration for tests, with short times; a test names only what it is about. */
import type { Config, PoolConfig, QueueConfig, RouteConfig } from '../../src/config/config.ts'

type Named<T> = Partial<T> & { readonly name: string }

export function testPool(name: string, ports: readonly number[], change: Partial<PoolConfig> = {}): PoolConfig {
  return {
    name,
    servers: ports.map((port) => ({ name: `127.0.0.1:${port}`, host: '127.0.0.1', port, weight: 1 })),
    balance: 'least-requests',
    maxInFlight: 64,
    maxTunnels: 16,
    waitMs: 2000,
    maxWaiting: 1024,
    // What a busy machine makes late is not taken for broken.
    health: { intervalMs: 100, timeoutMs: 5000, fall: 3, rise: 1 },
    slowStartMs: 0,
    failoverGraceMs: 10_000,
    addresses: 'all',
    drainTimeoutMs: 10_000,
    reserve: 0.2,
    retries: { budget: 0.2, minPerSecond: 3 },
    ...change,
  }
}

export function testQueue(change: Named<QueueConfig>): QueueConfig {
  return {
    pool: 'api',
    concurrency: 8,
    attempts: 5,
    backoff: { baseMs: 20, maxMs: 200 },
    timeoutMs: 60_000,
    defer: { maxMs: 60_000, jobs: 100 },
    keepMs: 3_600_000,
    keepDeadMs: 3_600_000,
    deadLetter: 'exhausted',
    onUnauthorized: 'fail',
    pull: false,
    rules: { onFailure: 'skip', overflow: 'refuse' },
    limits: { jobs: 100_000, bytes: 1 << 30, finished: 1 << 30 },
    ...change,
  }
}

export function testRoute(change: Named<RouteConfig>): RouteConfig {
  return {
    match: { path: '/*', headers: [], query: [] },
    pool: 'api',
    mode: 'queue',
    queue: 'work',
    waitMs: 0,
    patienceMs: 100,
    spill: { enterMs: 100, leaveMs: 5000 },
    onWait: 'accept',
    allow: ['prefer', 'idempotency-key', 'key', 'delay'],
    methods: ['POST', 'PUT', 'PATCH', 'DELETE'],
    redeliver: 'always',
    idempotencyScope: 'authorization',
    ...change,
  }
}

export function testConfig(parts: Pick<Config, 'pools' | 'queues' | 'routes'> & Partial<Config>): Config {
  return {
    listeners: [{ address: { host: '127.0.0.1', port: 0 } }],
    admin: { address: { host: '127.0.0.1', port: 0 }, calls: 48 },
    store: { engine: 'memory', path: '', diskFloor: 1 << 20 },
    schedules: [],
    topics: [],
    api: { keys: [], receiveMax: 1000, receiversMax: 4096, queuesMax: 1000, leaseMaxMs: 43_200_000, body: 16 << 20 },
    limits: {
      head: 32 * 1024,
      headers: 100,
      target: 8 * 1024,
      body: 0,
      jobBody: 1 << 20,
      result: 16 << 20,
      answer: 1 << 20,
      streamedResult: 1 << 30,
      spillCopy: 64 * 1024,
      buffered: 256 << 20,
      connections: 16_384,
      eventSockets: 8192,
      perClient: { jobs: 0, watchers: 0 },
      watches: 1000,
      schedules: 10_000,
      scheduleBytes: 16_777_216,
      tasks: 100,
      rateKeys: 100_000,
      stickySessions: 1000,
      subscriptions: 100,
      chain: 32,
      batch: 10_000,
      batches: 10_000,
      serverChanges: 1000,
      filterValues: 1000,
    },
    timeouts: {
      headMs: 10_000,
      bodyMs: 30_000,
      idleMs: 75_000,
      connectMs: 3000,
      firstByteMs: 60_000,
      callMs: 0,
      stallMs: 60_000,
      upstreamIdleMs: 4000,
      tunnelMs: 3_600_000,
    },
    jobs: { path: '/_spillway', waitMaxMs: 60_000, heartbeatMs: 15_000 },
    trustedPeers: [],
    name: 'spillway',
    log: { format: 'text', access: 'off' },
    drainTimeoutMs: 10_000,
    ...parts,
  }
}
