/**
 * From the parsed file to the configuration that the program reads: short forms become long ones, names are implied and followed, and keys that
 * contradict each other are found. Problems are reported, all of them; the result counts only when there are none.
 */
import { availableParallelism, platform } from 'node:os'
import type { OutlierRules } from '../core/health/outliers.ts'
import { hostPortText } from '../lib/host-port.ts'
import type { Bytes } from '../lib/units.ts'
import type { AdminConfig, ApiConfig, Config, HostPort, LimitsConfig, PoolConfig, ServerConfig, StoreConfig } from './config.ts'
import { isLoopback } from './fields.ts'
import type { Path } from './problem.ts'
import { absolute, checkName, type Report, type ResolveOptions } from './report.ts'
import { resolveChains } from './resolve-chains.ts'
import { checkFailovers, resolveFailover } from './resolve-choice.ts'
import { resolveGuard, resolveQueueing, resolveRebalancing, withShedding } from './resolve-overload.ts'
import { resolveHealth } from './resolve-health.ts'
import { resolveQueue, resolveSources } from './resolve-queues.ts'
import { resolveCors, resolveRoutes } from './resolve-routes.ts'
import { checkTokens, resolveRegistration } from './resolve-registration.ts'
import { resolveServerReports } from './resolve-server-reports.ts'
import { resolveListeners, resolvePoolTls } from './resolve-tls.ts'
import { withSticky } from './resolve-sticky.ts'
import { resolveWebhooks } from './resolve-webhooks.ts'
import type { ParsedFile, ParsedPool, ParsedQueue } from './schema.ts'
import { POOL_DEFAULTS, QUEUE_DEFAULTS } from './schema.ts'

const API_BODY: Bytes = 16 * 1024 * 1024

export function resolveConfig(file: ParsedFile, options: ResolveOptions): Config {
  const { report } = options
  const listeners = resolveListeners(file, options)
  const admin = resolveAdmin(file, report)
  checkAddresses(listeners, admin, report)
  const cors = file.cors && resolveCors(file.cors, ['cors'], report)
  const pools = Object.entries(file.pools).map(([name, pool]) => resolvePool(name, pool, options))
  checkFailovers(pools, report)
  const { routes, queuePools } = resolveRoutes(file, { ...options, ...(cors && { cors }) })
  const { schedules, topics, ownQueues } = resolveSources(file, [...queuePools.keys()], options)
  const spilling = new Set(routes.filter(({ mode }) => mode === 'spill').map(({ queue }) => queue))
  const queues = [...queuePools].map(([name, pool]) =>
    resolveQueue(name, { pool, spills: spilling.has(name) }, queueOf(file, name), report),
  )
  const chained = resolveChains(file, { routes, queues: [...queues, ...ownQueues] }, report)
  const webhooks = file.webhooks && resolveWebhooks(file.webhooks, [...queuePools.keys(), ...ownQueues.map(({ name }) => name)], report)
  if (routes.length === 0 && queues.length === 0) report.error({ path: [], message: 'there is nothing to do: it needs routes, or queues' })
  const config: Config = {
    ...(options.file !== undefined && { file: options.file }),
    listeners,
    admin,
    store: resolveStore(file, options),
    pools,
    routes: withSticky(withShedding(chained.routes, file.pools), file, report),
    queues: [...chained.queues, ...(webhooks === undefined ? [] : [webhooks.queue])],
    schedules,
    topics,
    ...(webhooks !== undefined && { webhooks: webhooks.config }),
    api: resolveApi(file, options),
    limits: resolveLimits(file, report),
    timeouts: resolveTimeouts(file.timeouts),
    jobs: {
      path: file.jobs.path,
      ...(file.jobs.publicUrl !== undefined && { publicUrl: file.jobs.publicUrl }),
      waitMaxMs: file.jobs.waitMax,
      heartbeatMs: file.jobs.heartbeat,
    },
    ...(file.sticky && { sticky: resolveStickyKeys(file.sticky, report) }),
    ...(file.signing && { signing: resolveSigning(file.signing, report) }),
    trustedPeers: file.trustedPeers,
    name: file.name,
    ...(file.requestId !== 'off' && { requestId: file.requestId }),
    ...(file.tracing !== 'off' && { tracing: file.tracing }),
    ...(cors && { cors }),
    log: resolveLog(file, options),
    drainTimeoutMs: file.drainTimeout,
    workers: resolveWorkers(file.workers, report),
    ...resolveGuard(file.guard, report),
  }
  checkTokens(config, report)
  warnAbout(config, file, report)
  return config
}

/** Several threads on one address: that is something Linux does evenly, and others not at all. */
function resolveWorkers(workers: ParsedFile['workers'], report: Report): number {
  const isPossible = platform() === 'linux'
  if (workers === 'auto') return isPossible ? availableParallelism() : 1
  if (workers > 1 && !isPossible)
    report.error({ path: ['workers'], message: `must be 1 here: only on Linux several threads can share the connections of an address` })
  return workers
}

function resolveLog({ log: { format, access, accessFormat } }: ParsedFile, { folder }: ResolveOptions): Config['log'] {
  return { format, access: resolveAccess(access, folder), ...(accessFormat === 'text' && { accessFormat }) }
}

function resolveAccess(access: string, folder: string): string {
  return access === 'off' || access === 'stdout' ? access : absolute(folder, access)
}

function resolveAdmin({ admin }: ParsedFile, report: Report): AdminConfig {
  if (admin.token === undefined && !isLoopback(admin.address.host)) {
    report.error(
      { path: ['admin', 'address'], message: `${admin.address.host} is not loopback; set admin.token, so that not everybody gets in` },
      [['admin']],
    )
  }
  const { address, token, calls } = admin
  return { address, calls, ...(token !== undefined && { token }) }
}

function checkAddresses(listeners: readonly { readonly address: HostPort }[], admin: AdminConfig, report: Report): void {
  const taken = new Map<string, string>()
  const take = (address: HostPort, path: Path, name: string): void => {
    if (address.port === 0) return
    const other = taken.get(hostPortText(address))
    if (other === undefined) taken.set(hostPortText(address), name)
    else report.error({ path, message: `${hostPortText(address)} is taken by ${other}` })
  }
  for (const [i, listener] of listeners.entries()) take(listener.address, ['listeners', i, 'address'], `listeners[${i}]`)
  take(admin.address, ['admin', 'address'], 'a listener')
}

function resolvePool(name: string, pool: ParsedPool, options: ResolveOptions): PoolConfig {
  const { report } = options
  const { servers, ...rest } = Array.isArray(pool) ? { ...POOL_DEFAULTS, servers: pool } : pool
  const resolvedServers = resolveServers(name, servers, report)
  if (servers.length === 0 && rest.registration === undefined)
    report.error({
      path: ['pools', name, 'servers'],
      message: 'must have at least one entry, unless servers may register themselves (registration)',
    })
  const tls = resolvePoolTls({ name, tls: rest.tls, servers: resolvedServers }, options)
  const failover = resolveFailover(name, rest, options)
  return {
    name,
    servers: resolvedServers,
    balance: typeof rest.balance === 'string' ? rest.balance : { by: rest.balance.hash, loadMax: 1 + rest.balance.over },
    maxInFlight: rest.maxInFlight,
    ...(rest.adaptive !== 'off' && { adaptiveMin: adaptiveMin(name, rest, report) }),
    maxTunnels: rest.maxTunnels,
    waitMs: rest.wait,
    maxWaiting: rest.maxWaiting,
    ...resolveQueueing(rest),
    ...resolveRebalancing(rest),
    health: resolveHealth(name, rest.health, report),
    slowStartMs: rest.slowStart,
    failoverGraceMs: rest.failoverGrace,
    addresses: rest.addresses,
    drainTimeoutMs: rest.drainTimeout,
    reserve: rest.reserve,
    retries: { budget: rest.retries.budget, minPerSecond: rest.retries.min },
    ...(rest.eject !== 'off' && { outliers: resolveOutliers(rest.eject) }),
    ...resolveServerReports(rest.serverReports),
    ...(tls && { tls }),
    ...(rest.proxyProtocol !== 'off' && { proxyProtocol: rest.proxyProtocol }),
    ...resolveRegistration(name, rest.registration, report),
    ...(failover !== undefined && { failover }),
  }
}

function adaptiveMin(pool: string, { adaptive, maxInFlight }: typeof POOL_DEFAULTS, report: Report): number {
  const min = adaptive === 'off' ? maxInFlight : adaptive.min
  if (min > maxInFlight) {
    const message = `must be at most maxInFlight, which is ${maxInFlight}, not ${min}`
    report.error({ path: ['pools', pool, 'adaptive', 'min'], message }, [['pools', pool, 'maxInFlight']])
  }
  return min
}

/** What is off is never reached. */
function resolveOutliers(eject: Exclude<typeof POOL_DEFAULTS.eject, 'off'>): OutlierRules {
  const { failures, rate, volume, slower, window, time, maxTime, max } = eject
  return {
    consecutive: failures,
    failureRate: rate === 'off' ? Number.POSITIVE_INFINITY : rate,
    volumeMin: volume,
    slowerThan: slower === 'off' ? Number.POSITIVE_INFINITY : slower,
    windowMs: window,
    ejectMs: time,
    ejectMaxMs: Math.max(time, maxTime),
    ejectedMax: max,
  }
}

type ParsedServer = Extract<ParsedPool, readonly unknown[]>[number]

function resolveServers(pool: string, servers: readonly ParsedServer[], report: Report): ServerConfig[] {
  const seen = new Set<string>()
  if (servers.length > 0 && servers.every((server) => 'url' in server && server.backup)) {
    const message = 'are all backups, which stand in for others; leave backup out where there is nobody else'
    report.error({ path: ['pools', pool, 'servers'], message })
  }
  return servers.map((server, i) => {
    const resolved = 'url' in server ? { ...server.url, weight: server.weight, ...backupOf(server) } : { ...server, weight: 1 }
    const path = ['pools', pool, 'servers', i, 'url']
    if (seen.has(resolved.name)) report.error({ path, message: `${resolved.name} stands in this pool twice; use weight to give it more` })
    seen.add(resolved.name)
    return resolved
  })
}

function backupOf({ backup }: { readonly backup: boolean }): Pick<ServerConfig, 'backup'> {
  return backup ? { backup: true } : {}
}

/** A queue may be called `constructor`: only what stands in the file counts, not what every object has. */
function queueOf(file: ParsedFile, name: string): ParsedQueue {
  return (Object.hasOwn(file.queues, name) ? file.queues[name] : undefined) ?? QUEUE_DEFAULTS
}

function resolveStore({ store }: ParsedFile, { folder, report }: ResolveOptions): StoreConfig {
  const { engine, path, diskFloor, encryption } = store
  checkIds(encryption?.keys ?? [], ['store', 'encryption', 'keys'], report)
  return { engine, path: absolute(folder, path), diskFloor, ...(encryption !== undefined && { encryption }) }
}

function resolveSigning(signing: NonNullable<ParsedFile['signing']>, report: Report): NonNullable<Config['signing']> {
  checkIds(signing.keys, ['signing', 'keys'], report)
  return signing
}

function resolveStickyKeys(sticky: NonNullable<ParsedFile['sticky']>, report: Report): NonNullable<Config['sticky']> {
  checkIds(sticky.keys, ['sticky', 'keys'], report)
  return sticky
}

function checkIds(keys: readonly { readonly id: string }[], path: Path, report: Report): void {
  const ids = new Set<string>()
  for (const [i, { id }] of keys.entries()) {
    if (ids.has(id)) report.error({ path: [...path, i, 'id'], message: `there is another key ${id}` })
    ids.add(id)
  }
}

function resolveApi({ api, limits }: ParsedFile, { poolNames, report }: ResolveOptions): ApiConfig {
  const { leaseMax, ...rest } = api
  const taken = { name: new Set<string>(), token: new Set<string>() }
  for (const [i, key] of api.keys.entries()) {
    for (const field of ['name', 'token'] as const) {
      if (taken[field].has(key[field])) report.error({ path: ['api', 'keys', i, field], message: `another key has this ${field}` })
      taken[field].add(key[field])
    }
    for (const [at, pool] of (key.pools ?? []).entries()) {
      checkName(pool, poolNames, { path: ['api', 'keys', i, 'pools', at], what: 'pool' }, report)
    }
  }
  // In base64 a body is a third longer, and there is something around it.
  const needed = Math.ceil(limits.jobBody / 3) * 4 + limits.head
  const { body = Math.min(Math.max(API_BODY, needed), limits.buffered) } = api
  if (api.body !== undefined && body < needed) {
    report.error({ path: ['api', 'body'], message: 'has no room for one job: limits.jobBody in base64, and limits.head' }, [['limits']])
  }
  if (body > limits.buffered) report.error({ path: ['api', 'body'], message: 'is more than limits.buffered' }, [['limits']])
  return { ...rest, body, leaseMaxMs: leaseMax }
}

function resolveLimits({ limits }: ParsedFile, report: Report): LimitsConfig {
  const mustFit = (small: keyof LimitsConfig, large: keyof LimitsConfig): void => {
    if (limits[small] > limits[large])
      report.error({ path: ['limits', small], message: `is more than limits.${large}` }, [['limits', large]])
  }
  mustFit('target', 'head')
  mustFit('spillCopy', 'jobBody')
  mustFit('jobBody', 'buffered')
  mustFit('result', 'buffered')
  return limits
}

function resolveTimeouts(timeouts: ParsedFile['timeouts']): Config['timeouts'] {
  return {
    headMs: timeouts.head,
    bodyMs: timeouts.body,
    idleMs: timeouts.idle,
    connectMs: timeouts.connect,
    firstByteMs: timeouts.firstByte,
    callMs: timeouts.call,
    stallMs: timeouts.stall,
    upstreamIdleMs: timeouts.upstreamIdle,
    tunnelMs: timeouts.tunnel,
  }
}

function warnAbout(config: Config, file: ParsedFile, report: Report): void {
  const queueing = config.routes.filter((route) => route.queue !== undefined)
  if (config.store.engine === 'memory' && queueing.length > 0) {
    const names = queueing.map((route) => route.name).join(', ')
    report.warn({ path: ['store', 'engine'], message: `memory: jobs are lost when the process ends, and these routes keep jobs: ${names}` })
  }
  if (config.webhooks !== undefined && config.jobs.publicUrl === undefined) {
    report.warn({ path: ['webhooks'], message: 'links in webhooks are paths only; set jobs.publicUrl, so that receivers can follow them' })
  }
  const split = config.routes.flatMap((route) => route.split?.shares.map(({ pool }) => pool) ?? [])
  const mirrors = config.routes.map(({ mirror }) => mirror?.pool)
  const named = [...split, ...mirrors, ...config.routes.map((route) => route.pool), ...config.queues.map((queue) => queue.pool)]
  const usedPools = new Set([...named, ...config.pools.map(({ failover }) => failover?.pool)])
  for (const pool of config.pools)
    if (!usedPools.has(pool.name)) report.warn({ path: ['pools', pool.name], message: 'no route uses this pool' })
  for (const name of unfilled(config, Object.keys(file.queues)))
    report.warn({ path: ['queues', name], message: 'no route fills this queue' })
}

/** Queues that only the admin address could fill. Where there are API keys or pull consumers, that is what a queue may be for. */
function unfilled(config: Config, names: readonly string[]): string[] {
  if (config.api.keys.length > 0) return []
  const used = new Set([
    ...config.routes.map((route) => route.queue),
    ...config.schedules.map(({ document }) => document.queue),
    ...config.topics.flatMap((topic) => topic.subscriptions.map(({ queue }) => queue)),
    ...config.queues.filter((queue) => queue.pull).map(({ name }) => name),
    ...[...config.routes, ...config.queues].map(({ then }) => then?.queue),
  ])
  return names.filter((name) => !used.has(name))
}
