/** A gateway for tests of jobs: real servers, real sockets, a real store on disk, the real call path and dispatch. Calls of the store are counted. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Clients } from '../../src/api/clients.ts'
import { EventSockets } from '../../src/api/event-socket.ts'
import { ApiKeys } from '../../src/api/queues/rights.ts'
import { createJobs, type Jobs } from '../../src/jobs/jobs.ts'
import { createLocalBus } from '../../src/jobs/local-bus.ts'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import type { Config, PoolConfig, QueueConfig, RouteConfig } from '../../src/config/config.ts'
import { compileRoutes } from '../../src/core/routing/router.ts'
import { handleCall } from '../../src/gateway/call-path.ts'
import { ModeSwitches } from '../../src/gateway/mode-switches.ts'
import { Hedges } from '../../src/gateway/hedge.ts'
import { Mirrors } from '../../src/gateway/mirror.ts'
import { LocalTally } from '../../src/lib/tally.ts'
import { Pending } from '../../src/lib/pending.ts'
import { RouteCounters } from '../../src/gateway/route-counters.ts'
import { Tunnels } from '../../src/gateway/tunnels.ts'
import { RouteModes } from '../../src/gateway/route-modes.ts'
import { BufferBudget } from '../../src/net/buffer-budget.ts'
import { Listener } from '../../src/net/listener.ts'
import { ReadBuffers } from '../../src/net/read-buffers.ts'
import { Sweeper } from '../../src/net/sweeper.ts'
import { LearntSessions, Sticky } from '../../src/gateway/sticky.ts'
import { Failovers } from '../../src/pools/failovers.ts'
import { Pool } from '../../src/pools/pool.ts'
import type { JobStore, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import { systemClock, systemNetwork, systemRandom, systemResolver } from '../../src/ports/system.ts'
import type { AccessLine, AttemptLine, GatewayEvent, Telemetry, TunnelLine } from '../../src/telemetry/telemetry.ts'
import { createTelemetry } from '../../src/telemetry/create-telemetry.ts'
import { Upstream } from '../../src/upstream/upstream.ts'
import { Webhooks } from '../../src/webhooks/webhooks.ts'
import { testConfig, testPool, testQueue, testRoute } from './test-config.ts'
import { startTestServer, type TestServer } from './test-server.ts'
import { until } from './until.ts'

type Calls = Record<'submit' | 'lease' | 'settle' | 'held', number>

export interface JobsRig extends AsyncDisposable {
  readonly servers: readonly TestServer[]
  readonly pool: Pool
  readonly routeModes: RouteModes
  readonly jobs: Jobs
  /** Where the gateway listens: `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly port: number
  readonly store: JobStore
  readonly budget: BufferBudget
  readonly events: GatewayEvent[]
  readonly calls: Calls
  /** So many of the next calls are rejected. */
  readonly failNext: Calls
  submit(change?: Partial<NewJob>): Promise<StoredJob>
  status(id: string): Promise<StoredJob>
  /** Waits until it has ended. */
  ended(id: string): Promise<StoredJob>
}

export interface RigOptions {
  readonly servers?: number
  readonly queue?: Partial<QueueConfig>
  readonly pool?: Partial<PoolConfig>
  readonly routes?: readonly RouteConfig[]
  readonly config?: Partial<Config>
  readonly handle?: TestServer['handle']
}

export async function startJobsRig(options: RigOptions = {}): Promise<JobsRig> {
  const servers = await Promise.all(Array.from({ length: options.servers ?? 1 }, () => startTestServer(options.handle)))
  const ports = servers.map((server) => server.port)
  const queue = testQueue({ name: 'work', ...options.queue })
  const routes = options.routes ?? [testRoute({ name: '/*' })]
  const config = testConfig({ pools: [testPool('api', ports, options.pool)], queues: [queue], routes, ...options.config })
  const events: GatewayEvent[] = []
  const telemetry = recordingTelemetry(events)
  const clock = systemClock
  const random = systemRandom
  const sweeper = new Sweeper(clock)
  const network = systemNetwork
  const pool = new Pool(config.pools[0] as PoolConfig, { clock, random, network, telemetry })
  const calls: Calls = { submit: 0, lease: 0, settle: 0, held: 0 }
  const failNext: Calls = { submit: 0, lease: 0, settle: 0, held: 0 }
  const path = mkdtempSync(join(tmpdir(), 'spillway-jobs-'))
  const store = counting(await openEmbeddedStore({ path, clock, random, queues: config.queues, events: {} }), calls, failNext)
  const timeouts = { ...config.timeouts, idleMs: config.timeouts.upstreamIdleMs }
  const limits = { headBytesMax: config.limits.head, headersMax: config.limits.headers }
  const budget = new BufferBudget(config.limits.buffered)
  const upstream = new Upstream({ clock, network, sweeper, buffers: new ReadBuffers(), ...limits, copyBytesMax: 65_536, timeouts }, budget)
  const pools = new Map([['api', pool]])
  const ownUrl = (): string => `http://127.0.0.1:${listener.address.port}`
  const bus = createLocalBus()
  const jobs = createJobs({ config, store, pools, upstream, bus, clock, random, telemetry, ownUrl })
  const webhooks = new Webhooks({ config, store, jobs, bus, clock, random, telemetry, resolver: systemResolver, documentOf: () => ({}) })
  const router = compileRoutes(config.routes)
  const parts = {
    config,
    clock,
    random,
    sweeper,
    telemetry,
    router,
    pools,
    failovers: new Failovers(pools, telemetry),
    sticky: new Sticky({ keys: [], learnt: new LearntSessions(1000, clock), telemetry }),
    upstream,
    budget,
    jobs,
    webhooks,
    apiKeys: new ApiKeys(config.api.keys),
    eventSockets: new EventSockets(config.limits.eventSockets),
    clients: new Clients({ config, store, bus, clock }),
  }
  const modeSwitches = new ModeSwitches({ store, telemetry, clock })
  const routeModes = new RouteModes({
    telemetry,
    clock,
    route: (name) => config.routes.find((route) => route.name === name),
    hasServer: () => pool.upServers().length > 0,
  })
  const context = {
    ...parts,
    forwarding: { name: config.name, proto: 'http' as const },
    secureForwarding: { name: config.name, proto: 'https' as const },
    hedges: new Hedges({ telemetry, clock }),
    mirrors: new Mirrors({ ...parts, telemetry, clock, random }),
    routeCounters: new RouteCounters(telemetry),
    storeCalls: new Pending(),
    routeModes,
    modeSwitches,
    tunnels: new Tunnels({ clock, random, telemetry }),
  }
  const listener = await Listener.open({
    name: config.name,
    host: '127.0.0.1',
    port: 0,
    clock,
    network,
    sweeper,
    limits: { headBytesMax: config.limits.head, headersMax: config.limits.headers, targetBytesMax: config.limits.target },
    timeouts: config.timeouts,
    trustedPeers: config.trustedPeers,
    connections: { open: new LocalTally(), max: 1000, onFull: () => undefined },
    onCall: (call) => handleCall(call, context),
    onRefused: () => undefined,
  })
  pool.start()
  jobs.start()
  // A server that comes up is asked for by jobs first, which takes a slot until the store has said that there are none.
  const isIdle = (): boolean => pool.upServers().length === servers.length && pool.servers.every(({ inFlight }) => inFlight === 0)
  await until('all servers are up and idle', isIdle)
  const status = async (id: string): Promise<StoredJob> => (await jobs.read(id, 'status'))?.job as StoredJob
  return {
    servers,
    pool,
    routeModes,
    jobs,
    url: ownUrl(),
    port: listener.address.port,
    store,
    budget,
    events,
    calls,
    failNext,
    status,
    async submit(change = {}) {
      const submitted = await jobs.submit(newJob(queue, change))
      if (submitted.kind !== 'created') throw new Error(`not created: ${submitted.kind}`)
      return submitted.job
    },
    async ended(id) {
      await until(`job ${id} has ended`, async () => (await status(id)).finishedAt !== undefined)
      return status(id)
    },
    async [Symbol.asyncDispose]() {
      routeModes.close()
      await jobs.close()
      listener.close()
      pool.close()
      upstream.close()
      sweeper.close()
      await Promise.all(servers.map((server) => server.kill()))
      await store.close()
      rmSync(path, { recursive: true })
    },
  }
}

function newJob(queue: QueueConfig, change: Partial<NewJob>): NewJob {
  return {
    queue: queue.name,
    route: 'POST /work',
    request: { method: 'POST', target: '/work', headers: ['Host', 'example.com'], body: Buffer.from('input') },
    priority: 0,
    attempts: queue.attempts,
    keepMs: queue.keepMs,
    keepDeadMs: queue.keepDeadMs,
    sendOnce: false,
    ...change,
  }
}

export function recordingTelemetry(
  events: GatewayEvent[],
  access: AccessLine[] = [],
  attempts: AttemptLine[] = [],
  tunnels: TunnelLine[] = [],
): Telemetry {
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  return {
    metrics: telemetry.metrics,
    accessLog: true,
    event: (event) => void events.push(event),
    access: (line) => void access.push(line),
    attempt: (line) => void attempts.push(line),
    tunnel: (line) => void tunnels.push(line),
  }
}

function counting(store: JobStore, calls: Calls, failNext: Calls): JobStore {
  const count = (call: keyof Calls): void => {
    calls[call]++
    if (failNext[call] > 0) {
      failNext[call]--
      throw new Error('the store is gone for a moment')
    }
  }
  return {
    ...store,
    async submit(jobs) {
      count('submit')
      return store.submit(jobs)
    },
    async lease(requests) {
      count('lease')
      return store.lease(requests)
    },
    async settle(settlements) {
      count('settle')
      return store.settle(settlements)
    },
    async held(keys) {
      count('held')
      return store.held(keys)
    },
  }
}
