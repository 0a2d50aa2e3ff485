/** The part of a scenario that is about what follows from ends of jobs: chains, batches, webhooks, and who mends what could not be delivered. */
import type { Config, EndpointConfig, QueueConfig, RouteConfig, WebhooksConfig } from '../../src/config/config.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { testQueue, testRoute } from '../support/test-config.ts'
import { GOOD_MANNERS, type Manners } from './receiver.ts'
import type { Scenario } from './scenario.ts'

export interface Following {
  readonly batches: number
  readonly manners: Manners
  /** How many receivers fail for a while. */
  readonly receiverFailures: number
  /** How often somebody redrives, purges or replays while there are faults. */
  readonly mendings: number
}

export const WEBHOOKS = 'webhooks'
/** Queues whose jobs no client has a token for, so that whoever operates the gateway may do with them what he wants. */
export const OWN_QUEUES = ['second', 'third', WEBHOOKS] as const

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const HOUR_MS = 3_600_000
const EVENTS = ['job.succeeded', 'job.failed', 'job.cancelled', 'job.expired', 'batch.ended']

export function withFollowing(scenario: Scenario, random: SeededRandom): Scenario {
  const some = (max: number): number => (random.chance(0.5) ? 1 + random.integer(max) : 0)
  const following = { batches: some(4), manners: mannersOf(random), receiverFailures: some(3), mendings: some(6) }
  return { ...scenario, config: configOf(scenario, random), following }
}

/** Where a receiver listens. */
export function addressOf({ url }: EndpointConfig): string {
  const { hostname, port } = new URL(url)
  return `${hostname}:${port === '' ? 80 : port}`
}

function mannersOf(random: SeededRandom): Manners {
  if (random.chance(0.3)) return GOOD_MANNERS
  const some = (max: number): number => (random.chance(0.5) ? random.unit() * max : 0)
  // After these an endpoint is left alone for a minute: a minute of everything else, too.
  const rare = (): number => (random.chance(0.15) ? random.unit() * 0.05 : 0)
  return {
    refuse: some(0.5),
    overloaded: rare(),
    gone: some(0.05),
    hang: rare(),
    reset: some(0.2),
    truncate: some(0.2),
    workMsMax: random.pick([20, 300]),
  }
}

function configOf({ config, forgetful }: Scenario, random: SeededRandom): Config {
  const { queues, routes, limits } = config
  const template = queues.find(({ name }) => name === 'work') as QueueConfig
  const chained = chainedBy(random)
  const next = (name: string): QueueConfig => {
    const { expireAfterMs: _, ...rest } = template
    return {
      ...rest,
      name,
      attempts: 1 + random.integer(4),
      limits: { ...template.limits, jobs: random.pick([3, 1000]) },
      rules: { onFailure: 'skip', overflow: 'refuse' },
      ...chained(name),
    }
  }
  return {
    ...config,
    queues: [
      ...queues.map((queue) => ({ ...queue, ...chained(queue.name) })),
      next('second'),
      next('third'),
      webhookQueue(forgetful, random),
    ],
    routes: [...routes.map((route) => (route.name === 'held' && random.chance(0.5) ? { ...route, then: LAST } : route)), lastRoute()],
    limits: { ...limits, chain: random.pick([2, 32, 32]) },
    webhooks: webhooksOf(random),
  }
}

const LAST = { route: 'last', method: 'POST', target: '/last' }

/** What is sent on by its key, as a route says it. */
function lastRoute(): RouteConfig {
  const match = { path: '/last', headers: [], query: [] }
  return testRoute({ name: 'last', match, queue: 'third', key: { from: 'header', name: 'x-key' } })
}

/** work → second → third, in full or in part. */
function chainedBy(random: SeededRandom): (name: string) => Pick<QueueConfig, 'then'> {
  const thens: Readonly<Record<string, QueueConfig['then']>> = {
    ...(random.chance(0.8) && { work: { queue: 'second', target: '/second', headers: ['X-Source', 'chain'] } }),
    ...(random.chance(0.3) && { pulled: { queue: 'third', method: 'PUT' } }),
    ...(random.chance(0.6) && { second: random.pick([{ queue: 'third' }, LAST]) }),
  }
  return (name) => (thens[name] === undefined ? {} : { then: thens[name] })
}

function webhookQueue(forgetful: Scenario['forgetful'], random: SeededRandom): QueueConfig {
  const { pool: _, ...queue } = testQueue({
    name: WEBHOOKS,
    attempts: RETRIES_MS.length + 1,
    limits: { jobs: random.pick([3, 1000, 1000]), bytes: 1 << 30, finished: forgetful === 'full' ? 5000 : 1 << 30 },
    keepMs: 100 * HOUR_MS,
    keepDeadMs: 100 * HOUR_MS,
    rules: { onFailure: 'skip', overflow: 'refuse', maxRunning: random.pick([2, 64]), tenantMaxRunning: random.pick([1, 8]) },
  })
  return queue
}

const RETRIES_MS = [200, 1000, 3000]

function webhooksOf(random: SeededRandom): WebhooksConfig {
  const endpoint = (name: string, at: number, change: Partial<EndpointConfig>): EndpointConfig => ({
    ...{ name, url: `http://10.0.2.${at}:80/${name}/{status}`, secrets: [SECRET], events: EVENTS },
    ...{ order: random.pick(['none', 'key'] as const), timeoutMs: random.pick([1000, 3000]), headers: { 'x-from': 'simulation' } },
    ...change,
  })
  const endpoints = [
    endpoint('all', 1, {}),
    endpoint('some', 2, { events: ['job.failed', 'job.succeeded'], queues: random.pick([['work'], ['s*'], ['third', 'spilled']]) }),
    endpoint('batches', 3, { events: ['batch.ended'] }),
  ]
  return {
    endpoints: endpoints.filter(() => random.chance(0.7)),
    allow: ['10.0.2.0/24'],
    https: 'optional',
    queue: WEBHOOKS,
    retriesMs: RETRIES_MS,
    connectTimeoutMs: 1000,
    concurrency: random.pick([1, 4, 64]),
    disableAfterMs: random.pick([4000, 100 * HOUR_MS]),
    inline: random.pick([100, 20_000]),
    answer: 20_000,
    endpointsMax: 10,
  }
}
