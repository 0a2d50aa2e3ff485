/** What a seed stands for: a configuration, and which faults come, how often. Every kind is off in some seeds, so that none hides another. */
import type { Config, QueueConfig, RouteConfig } from '../../src/config/config.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { testConfig, testPool, testQueue, testRoute } from '../support/test-config.ts'
import { API_TOKEN } from './exchange.ts'
import { type Following, withFollowing } from './following.ts'
import type { StoreFaults } from './faulty-store.ts'
import { NO_STORE_FAULTS } from './faulty-store.ts'
import type { Weather } from './link.ts'
import { GOOD_TEMPER, type Temper } from './server.ts'

export interface Scenario {
  readonly seed: number
  readonly engine: 'memory' | 'embedded'
  readonly config: Config
  readonly servers: readonly string[]
  readonly intents: number
  /** How long there are faults. */
  readonly chaosMs: number
  readonly temper: Temper
  readonly weather: Weather
  readonly storeFaults: StoreFaults
  /** How many of each there are in that time. */
  readonly crashes: number
  readonly drains: number
  readonly pauses: number
  readonly wallJumps: number
  readonly serverFailures: number
  /** A sync of the store fails: the gateway must end itself. */
  readonly fatals: number
  /** Ended jobs are forgotten soon, or when there is no room for more. */
  readonly forgetful: 'no' | 'soon' | 'full'
  readonly unsteadyClients: boolean
  readonly keys: number
  /** Pull consumers at the queue `pulled`; none: nobody sends there. */
  readonly consumers: number
  /** Chance that one of them settles a job too late. */
  readonly lateness: number
  /** Somebody pauses queues. */
  readonly operated: boolean
  /** What follows from ends of jobs. Absent: nothing. */
  readonly following?: Following
}

export const GATEWAY = { host: '10.0.0.1', port: 8080 }
export const GATEWAY_ADDRESS = `${GATEWAY.host}:${GATEWAY.port}`

const HOUR_MS = 3_600_000

/** One seed in so many runs on the embedded engine: files cost ten times as much. */
const EMBEDDED_EVERY = 20
const DEFERRING_EVERY = 4
const FOLLOWING = 0.3

/** `streams`, `follows`: chances of their own, so that seeds mean otherwise what they meant before answers were streamed, and before anything followed. */
export function scenarioOf(seed: number, random: SeededRandom, streams: SeededRandom, follows: SeededRandom): Scenario {
  const scenario = streaming(drawn(seed, random), streams)
  return follows.chance(FOLLOWING) ? withFollowing(scenario, follows) : scenario
}

function streaming(scenario: Scenario, streams: SeededRandom): Scenario {
  // What the embedded engine writes while an answer comes takes real time.
  if (scenario.engine === 'embedded' || streams.chance(0.6)) return scenario
  const { config } = scenario
  const routes = config.routes.map((route) =>
    route.name === 'held' || route.name === 'spill'
      ? { ...route, stream: { onPartial: streams.pick(['fail', 'restart'] as const) } }
      : route,
  )
  const streamedResult = streams.pick([20_000, 1 << 20])
  const temper = { ...scenario.temper, halting: streams.chance(0.7) }
  return { ...scenario, temper, config: { ...config, routes, limits: { ...config.limits, streamedResult } } }
}

function drawn(seed: number, random: SeededRandom): Scenario {
  const servers = Array.from({ length: 1 + random.integer(4) }, (_, i) => `10.0.1.${i + 1}:80`)
  const some = (max: number): number => (random.chance(0.5) ? 1 + random.integer(max) : 0)
  const forgetful = random.pick(['no', 'no', 'no', 'no', 'no', 'no', 'soon', 'full'] as const)
  return {
    seed,
    engine: seed % EMBEDDED_EVERY === EMBEDDED_EVERY - 1 ? 'embedded' : 'memory',
    servers,
    config: configOf(servers, forgetful, random),
    forgetful,
    fatals: random.chance(0.1) ? 1 : 0,
    intents: 15 + random.integer(40),
    chaosMs: 6_000 + random.integer(16_000),
    // Apart from all other chances, so that the other seeds stand for the histories that they always did.
    temper: { ...temperOf(random), defer: seed % DEFERRING_EVERY === 1 ? 0.3 : 0 },
    weather: weatherOf(random),
    storeFaults: storeFaultsOf(random),
    crashes: some(2),
    drains: random.chance(0.2) ? 1 : 0,
    pauses: some(2),
    wallJumps: random.chance(0.1) ? 1 : 0,
    serverFailures: some(5),
    unsteadyClients: random.chance(0.6),
    keys: random.pick([1, 2, 4, 8]),
    consumers: some(3),
    lateness: 0.07,
    operated: random.chance(0.3),
  }
}

function configOf(servers: readonly string[], forgetful: Scenario['forgetful'], random: SeededRandom): Config {
  const ports = servers.map((_, i) => i)
  const pool = testPool('api', ports, {
    servers: servers.map((address) => ({ name: address, host: address.split(':')[0] as string, port: 80, weight: 1 + random.integer(2) })),
    maxInFlight: 1 + random.integer(6),
    maxWaiting: random.pick([2, 100]),
    waitMs: random.pick([200, 2000]),
    queueing: { targetMs: 20, intervalMs: 100 },
    health: {
      intervalMs: random.pick([1000, 4000]),
      timeoutMs: 500,
      fall: 1 + random.integer(3),
      rise: 1 + random.integer(2),
      ...(random.chance(0.5) ? { path: '/healthz' } : {}),
    },
    slowStartMs: random.pick([0, 1000, 5000]),
    failoverGraceMs: random.pick([0, 500, 5000]),
  })
  const queue = (name: string) =>
    testQueue({
      name,
      concurrency: 1 + random.integer(4),
      attempts: 1 + random.integer(5),
      backoff: { baseMs: random.pick([20, 500]), maxMs: 3000 },
      timeoutMs: random.pick([500, 2000, 6000]),
      deadLetter: random.pick(['exhausted', 'all']),
      limits: {
        jobs: random.pick([5, 1000, 1000]),
        bytes: random.pick([20_000, 1 << 30, 1 << 30]),
        finished: forgetful === 'full' ? 5000 : 1 << 30,
      },
      keepMs: forgetful === 'soon' ? 2000 : 100 * HOUR_MS,
      keepDeadMs: forgetful === 'soon' ? 4000 : 100 * HOUR_MS,
      rules: {
        onFailure: random.pick(['skip', 'skip', 'block']),
        overflow: 'refuse',
        ...(random.chance(0.1) ? { maxRunning: 1 + random.integer(3) } : {}),
      },
      ...(random.chance(0.25) ? { expireAfterMs: 1000 + random.integer(10_000) } : {}),
    })
  const { pool: _, ...pulled } = queue('pulled')
  const queues = [queue('work'), standingBack(queue('spilled')), { ...pulled, pull: true, timeoutMs: 2000 }]
  const config = testConfig({ pools: [pool], queues, routes: routesOf(random) })
  return {
    ...config,
    listeners: [{ address: GATEWAY }],
    limits: {
      ...config.limits,
      jobBody: random.pick([30_000, 1 << 20]),
      result: random.pick([20_000, 1 << 20]),
      spillCopy: random.pick([1000, 64 * 1024]),
      buffered: random.pick([100_000, 400_000, 1 << 28]),
      connections: random.pick([10, 1000, 1000]),
    },
    timeouts: { ...config.timeouts, headMs: 5000, bodyMs: 5000, idleMs: 20_000, connectMs: 1000, firstByteMs: 4000, stallMs: 4000 },
    jobs: { ...config.jobs, waitMaxMs: 10_000, heartbeatMs: 3000 },
    api: { ...config.api, keys: [{ name: 'simulated', token: API_TOKEN, queues: ['*'], can: ['send', 'receive', 'browse', 'manage'] }] },
    drainTimeoutMs: 5000,
  }
}

/** As a queue is that a spill route fills. */
function standingBack(queue: QueueConfig): QueueConfig {
  const sideline = { afterMs: 3000, share: 0.2 }
  return { ...queue, pace: { intervalMs: 500 }, shedFrom: 0.5, rules: { ...queue.rules, sideline } }
}

function routesOf(random: SeededRandom): RouteConfig[] {
  const route = (name: string, change: Partial<RouteConfig>): RouteConfig =>
    testRoute({
      name,
      match: { path: `/${name}/*`, headers: [], query: [] },
      key: { from: 'header', name: 'x-key' },
      allow: ['prefer', 'idempotency-key', 'key', 'delay', 'priority'],
      redeliver: random.pick(['safe', 'always']),
      onWait: random.pick(['accept', 'cancel']),
      ...change,
    })
  return [
    route('queue', {}),
    route('held', { waitMs: 500 + random.integer(6000) }),
    route('spill', { mode: 'spill', queue: 'spilled', waitMs: 1000 + random.integer(5000), patienceMs: 100 }),
    route('direct', { mode: 'direct' }),
  ]
}

function temperOf(random: SeededRandom): Temper {
  if (random.chance(0.2)) return GOOD_TEMPER
  const storm = random.chance(0.2) ? 2.5 : 1
  const some = (max: number): number => (random.chance(0.5) ? random.unit() * max * storm : 0)
  return {
    busy: some(0.3),
    error: some(0.3),
    refuse: some(0.1),
    hang: some(0.1),
    reset: some(0.2),
    truncate: some(0.1),
    malformed: some(0.05),
    control: some(0.1),
    early: some(0.05),
    closing: some(0.4),
    report: some(0.5),
    defer: 0,
    large: some(0.3),
    halting: false,
    idleMs: random.pick([300, 2000, 10_000]),
    workMsMax: random.pick([20, 300, 1500]),
  }
}

function weatherOf(random: SeededRandom): Weather {
  return {
    delayMinMs: 0.1,
    delaySpreadMs: random.pick([0.5, 5, 40]),
    late: random.chance(0.4) ? random.unit() * 0.05 : 0,
    lateMs: random.pick([200, 3000]),
    split: random.pick([0, 0.1, 0.5]),
  }
}

function storeFaultsOf(random: SeededRandom): StoreFaults {
  if (random.chance(0.4)) return { ...NO_STORE_FAULTS, unordered: random.chance(0.3) }
  const storm = random.chance(0.15) ? 5 : 1
  const some = (max: number): number => (random.chance(0.6) ? random.unit() * max : 0)
  return {
    before: some(0.1),
    after: some(0.1 * storm),
    slow: some(0.1),
    slowMsMax: random.pick([100, 1000, 8000]),
    refused: some(0.1),
    unordered: random.chance(0.3),
  }
}

export const CALM_WEATHER: Weather = { delayMinMs: 0.1, delaySpreadMs: 1, late: 0, lateMs: 0, split: 0.1 }
