/**
 * What is allowed in a configuration and yet likely to hurt: one finding each, with why and what to do. Pure; mistakes are `check`'s.
 * Defaults alone give few findings, and none above `note`.
 */
import type { Config, PoolConfig, QueueConfig, RouteConfig, WebhooksConfig } from '../../config/config.ts'
import { isLoopback } from '../../config/fields.ts'
import { HAND_OUTS_PER_ATTEMPT } from '../../core/jobs/machine.ts'
import { isIdempotent } from '../../core/retry/retry.ts'
import type { Millis } from '../../lib/units.ts'
import { spanText } from '../../telemetry/event-text.ts'
import type { Finding, Level } from './finding.ts'

/** Many servers and what stands before them give up on a request by then. */
const LONG_TIMEOUT_MS: Millis = 900_000
/** Clients and proxies rarely wait longer for an answer. */
const LONG_WAIT_MS: Millis = 30_000
/** A restart of a server, with its checks. */
const RESTART_MS: Millis = 60_000
/** A job that fails for so long without being a dead letter is not seen by anybody. */
const LONG_RETRY_MS: Millis = 3 * 86_400_000
/** A dead letter of Friday evening is to be found on Monday. */
const WEEKEND_MS: Millis = 3 * 86_400_000
const SHORT_KEEP_MS: Millis = 300_000
const SLOW_DETECTION_MS: Millis = 30_000

type Add = (level: Level, says: string, todo: string) => void

export function configRisks(config: Config): readonly Finding[] {
  const findings: Finding[] = []
  const about =
    (check: string): Add =>
    (level, says, todo) =>
      void findings.push({ check, level, says, todo })
  wholeRisks(config, about('config'))
  for (const pool of config.pools) poolRisks(pool, config, about(`pool ${pool.name}`))
  // The one of webhooks has a schedule of its own.
  const queues = config.queues.filter(({ name }) => name !== config.webhooks?.queue)
  for (const queue of queues) queueRisks(queue, config, about(`queue ${queue.name}`))
  for (const route of config.routes) if (route.queue !== undefined) routeRisks(route, about(`route ${route.name}`))
  if (config.webhooks !== undefined) webhookRisks(config.webhooks, about('webhooks'))
  return findings
}

function webhookRisks({ allow, https, callbacks }: WebhooksConfig, add: Add): void {
  const everything = allow.find((network) => network.endsWith('/0'))
  if (everything !== undefined) {
    const says = `allow has ${everything}: whoever may name a URL reaches what only this machine can reach`
    add('warn', says, 'name the networks and hosts of receivers')
  }
  if (https === 'optional')
    add('note', 'https is optional: webhooks hold results and tokens, and may travel unencrypted', 'set https: required')
  const anywhere = callbacks?.urls.find(({ host }) => host === '*')
  if (anywhere !== undefined) {
    const says = `callbacks.urls has ${anywhere.text}: clients let this gateway send to any public host`
    add('note', says, 'name the hosts of your clients')
  }
}

function wholeRisks(config: Config, add: Add): void {
  const { admin, store, queues, routes, trustedPeers, jobs, listeners, pools } = config
  if (store.engine === 'memory' && routes.some(({ queue }) => queue !== undefined)) {
    add('warn', 'store.engine is memory, and routes queue: their jobs are lost with the process', 'use the engine embedded')
  }
  if (!isLoopback(admin.address.host)) {
    const todo = 'bind it to a private network, or to loopback behind something that ends TLS'
    add('note', `the admin address ${admin.address.host} is not loopback, and its token travels unencrypted`, todo)
  }
  const everybody = trustedPeers.find((network) => network.endsWith('/0'))
  if (everybody !== undefined) {
    add('warn', `trustedPeers has ${everybody}: any client can name another address as its own`, 'name only the proxies in front')
  }
  const reportsFail = jobs.publicUrl === undefined && queues.length > 0 && listeners.every(({ address }) => isOnlyHere(address.host))
  const remote = pools.find(
    (pool) => queues.some((queue) => queue.pool === pool.name) && pool.servers.some(({ host }) => !isLoopback(host)),
  )
  if (reportsFail && remote !== undefined) {
    const says = `servers of pool ${remote.name} on other machines are told to report progress to a loopback address`
    add('note', says, 'set jobs.publicUrl to where they reach this gateway')
  }
  if (jobs.publicUrl === undefined && trustedPeers.length > 0 && queues.length > 0) {
    const says = 'links to jobs are paths without a host; where the proxy in front changes paths, clients cannot follow them'
    add('note', says, 'set jobs.publicUrl to the address that clients use')
  }
}

/** A wildcard is told to servers as loopback, too: nobody knows which address they reach. */
function isOnlyHere(host: string): boolean {
  return isLoopback(host) || host === '0.0.0.0' || host === '::'
}

function poolRisks(pool: PoolConfig, { queues }: Config, add: Add): void {
  const { health, servers, maxInFlight, name, failover } = pool
  if (health.path === undefined) {
    const says = 'health.path is not set: a server that accepts connections and answers nothing counts as up'
    add('note', says, 'name a path that answers 200 only when the server can work')
  }
  if (servers.length === 1 && failover === undefined)
    add('note', 'it has one server: while that one is away, direct requests fail', 'add a second one')
  const detectionMs = health.intervalMs * health.fall
  if (detectionMs > SLOW_DETECTION_MS) {
    add('note', `a hung server is found out only after ${spanText(detectionMs)}`, 'lower health.interval or health.fall')
  }
  const own = queues.filter((queue) => queue.pool === name)
  const jobs = own.reduce((sum, queue) => sum + queue.concurrency, 0)
  for (const queue of own.filter(({ concurrency }) => concurrency > maxInFlight)) {
    const says = `queue ${queue.name} wants ${queue.concurrency} jobs per server, and maxInFlight is ${maxInFlight}`
    add('warn', says, 'lower the concurrency, or raise maxInFlight if the servers can take it')
  }
  if (jobs >= maxInFlight && own.every(({ concurrency }) => concurrency <= maxInFlight)) {
    const says = `its queues may take all ${maxInFlight} slots of a server together: direct requests wait behind jobs`
    add('note', says, 'lower the concurrency of the queues, or raise maxInFlight')
  }
}

function queueRisks(queue: QueueConfig, { routes }: Config, add: Add): void {
  const { timeoutMs, expireAfterMs, keepMs, keepDeadMs, name, attempts, backoff } = queue
  if (timeoutMs > LONG_TIMEOUT_MS) {
    const says = `timeout is ${spanText(timeoutMs)}: a server that hangs holds a slot that long, and many servers cut requests off earlier`
    add('note', says, 'lower it to what the work really takes, or let the server report progress')
  }
  const retryMs = retriesMs(queue)
  if (retryMs > LONG_RETRY_MS) {
    const says = `a job that cannot be done is tried for ${daysText(retryMs)} before it is a dead letter that somebody sees`
    add('note', says, 'lower attempts or backoff.max')
  }
  const busyMs = patienceMs(attempts * HAND_OUTS_PER_ATTEMPT, backoff)
  if (busyMs < 10 * RESTART_MS) {
    const says = `servers that answer 429 or 503 for ${spanText(busyMs)} turn waiting jobs into dead letters (poison)`
    add('warn', says, 'raise attempts or backoff')
  }
  if (expireAfterMs !== undefined && expireAfterMs < RESTART_MS) {
    const says = `expireAfter is ${spanText(expireAfterMs)}: jobs die while the servers restart`
    add('warn', says, `make it longer than a deploy takes, at least ${spanText(RESTART_MS)}`)
  }
  if (expireAfterMs !== undefined && expireAfterMs > keepMs) {
    const says = `expireAfter (${spanText(expireAfterMs)}) is longer than keep (${spanText(keepMs)}): a result may be gone sooner than its job had to begin`
    add('note', says, 'raise keep')
  }
  if (queue.rules.overflow === 'drop-oldest') {
    const says = 'overflow is drop-oldest: at its limit a job that was accepted dies for one that comes'
    add('note', says, 'right where only the latest counts; else let it refuse')
  }
  if (keepMs < SHORT_KEEP_MS) {
    add('note', `results are kept for ${spanText(keepMs)} only: a client that polls later finds nothing`, 'raise keep')
  }
  if (keepDeadMs < WEEKEND_MS) {
    add('note', `dead letters are kept for ${daysText(keepDeadMs)} only: those of a weekend are gone on Monday`, 'raise keepDead')
  }
  const keyed = routes.filter((route) => route.queue === name && route.key !== undefined)
  if (keyed.length > 0 && retryMs > 6 * 3_600_000) {
    const says = `a job that fails holds its key for up to ${daysText(retryMs)}; the jobs behind it wait`
    add('note', says, 'lower attempts or backoff.max')
  }
}

function routeRisks(route: RouteConfig, add: Add): void {
  const methods = (route.match.methods ?? route.methods).filter((method) => route.methods.includes(method) && !isIdempotent(method))
  const redelivers = route.redeliver === 'always' && methods.length > 0
  if (redelivers) {
    const says = `${methods.join(', ')} may reach a server twice (redeliver: always)`
    add('note', says, 'let the servers compare Idempotency-Key or Spillway-Fence, or set redeliver: safe')
  }
  if (route.waitMs > LONG_WAIT_MS) {
    const says = `clients are held for ${spanText(route.waitMs)}; many give up after 30 s and do not see their answer`
    add('note', says, 'lower wait')
  }
}

/** The pauses of a job that fails every attempt. */
export function retriesMs({ attempts, backoff, timeoutMs }: QueueConfig): Millis {
  return patienceMs(attempts - 1, backoff) + attempts * Math.min(timeoutMs, RESTART_MS)
}

/** So many growing pauses one after the other, without their jitter. */
function patienceMs(pauses: number, { baseMs, maxMs }: QueueConfig['backoff']): Millis {
  let sumMs = 0
  let pauseMs = baseMs
  for (let i = 0; i < pauses && pauseMs < maxMs; i++, pauseMs *= 2) sumMs += pauseMs
  const growing = baseMs >= maxMs ? 0 : Math.ceil(Math.log2(maxMs / baseMs))
  return sumMs + Math.max(0, pauses - growing) * maxMs
}

function daysText(ms: Millis): string {
  return ms < 48 * 3_600_000 ? spanText(ms) : `${Math.round(ms / 8_640_000) / 10} days`
}
