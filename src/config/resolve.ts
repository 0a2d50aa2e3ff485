/**
 * From the parsed file to the configuration that the program reads: short forms become long ones, names are implied and followed, and keys that
 * contradict each other are found. Problems are reported, all of them; the result counts only when there are none.
 */
import { isAbsolute, join } from 'node:path'
import type { AdminConfig, Config, HostPort, LimitsConfig, PoolConfig, QueueConfig, ServerConfig } from './config.ts'
import { isLoopback } from './fields.ts'
import type { Path } from './problem.ts'
import type { Report, ResolveOptions } from './report.ts'
import { resolveCors, resolveRoutes } from './resolve-routes.ts'
import type { ParsedFile, ParsedPool } from './schema.ts'
import { POOL_DEFAULTS, QUEUE_DEFAULTS } from './schema.ts'

export function resolveConfig(file: ParsedFile, options: ResolveOptions): Config {
  const { report } = options
  const listeners = file.listeners.map((listener) => ('address' in listener ? listener : { address: listener }))
  const admin = resolveAdmin(file, report)
  checkAddresses(listeners, admin, report)
  const cors = file.cors && resolveCors(file.cors, ['cors'], report)
  const pools = Object.entries(file.pools).map(([name, pool]) => resolvePool(name, pool, report))
  const { routes, queuePools } = resolveRoutes(file, { ...options, ...(cors && { cors }) })
  const queues = [...queuePools].map(([name, pool]) => resolveQueue(name, pool, file, report))
  const config: Config = {
    ...(options.file !== undefined && { file: options.file }),
    listeners,
    admin,
    store: { engine: file.store.engine, path: absolute(options.folder, file.store.path) },
    pools,
    queues,
    routes,
    limits: resolveLimits(file, report),
    timeouts: resolveTimeouts(file.timeouts),
    jobs: {
      path: file.jobs.path,
      ...(file.jobs.publicUrl !== undefined && { publicUrl: file.jobs.publicUrl }),
      waitMaxMs: file.jobs.waitMax,
      heartbeatMs: file.jobs.heartbeat,
    },
    trustedPeers: file.trustedPeers,
    name: file.name,
    ...(cors && { cors }),
    log: { format: file.log.format, access: resolveAccess(file.log.access, options.folder) },
    drainTimeoutMs: file.drainTimeout,
  }
  warnAbout(config, file, report)
  return config
}

function absolute(folder: string, path: string): string {
  return isAbsolute(path) ? path : join(folder, path)
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
  return { address: admin.address, ...(admin.token !== undefined && { token: admin.token }) }
}

function checkAddresses(listeners: readonly { readonly address: HostPort }[], admin: AdminConfig, report: Report): void {
  const text = ({ host, port }: HostPort): string => `${host}:${port}`
  const taken = new Map<string, string>()
  const take = (address: HostPort, path: Path, name: string): void => {
    if (address.port === 0) return
    const other = taken.get(text(address))
    if (other === undefined) taken.set(text(address), name)
    else report.error({ path, message: `${text(address)} is taken by ${other}` })
  }
  for (const [i, listener] of listeners.entries()) take(listener.address, ['listeners', i, 'address'], `listeners[${i}]`)
  take(admin.address, ['admin', 'address'], 'a listener')
}

function resolvePool(name: string, pool: ParsedPool, report: Report): PoolConfig {
  const { servers, ...rest } = Array.isArray(pool) ? { ...POOL_DEFAULTS, servers: pool } : pool
  const { path, interval, timeout, fall, rise } = rest.health
  return {
    name,
    servers: resolveServers(name, servers, report),
    balance: rest.balance,
    maxInFlight: rest.maxInFlight,
    maxTunnels: rest.maxTunnels,
    waitMs: rest.wait,
    maxWaiting: rest.maxWaiting,
    health: { ...(path !== undefined && { path }), intervalMs: interval, timeoutMs: timeout, fall, rise },
    slowStartMs: rest.slowStart,
    failoverGraceMs: rest.failoverGrace,
  }
}

type ParsedServer = Extract<ParsedPool, readonly unknown[]>[number]

function resolveServers(pool: string, servers: readonly ParsedServer[], report: Report): ServerConfig[] {
  const seen = new Set<string>()
  return servers.map((server, i) => {
    const resolved = 'url' in server ? { ...server.url, weight: server.weight } : { ...server, weight: 1 }
    const path = ['pools', pool, 'servers', i, 'url']
    if (seen.has(resolved.name)) report.error({ path, message: `${resolved.name} stands in this pool twice; use weight to give it more` })
    seen.add(resolved.name)
    return resolved
  })
}

function resolveQueue(name: string, pool: string, file: ParsedFile, report: Report): QueueConfig {
  // A queue may be called `constructor`: only what stands in the file counts, not what every object has.
  const queue = (Object.hasOwn(file.queues, name) ? file.queues[name] : undefined) ?? QUEUE_DEFAULTS
  const { base, max } = queue.backoff
  if (base > max) report.error({ path: ['queues', name, 'backoff', 'base'], message: 'is longer than backoff.max' })
  return {
    name,
    pool,
    concurrency: queue.concurrency,
    attempts: queue.attempts,
    backoff: { baseMs: base, maxMs: max },
    timeoutMs: queue.timeout,
    ...(Number.isFinite(queue.expireAfter) && { expireAfterMs: queue.expireAfter }),
    keepMs: queue.keep,
    keepDeadMs: queue.keepDead,
    deadLetter: queue.deadLetter,
    limits: queue.limits,
  }
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
  const usedPools = new Set([...config.routes.map((route) => route.pool), ...config.queues.map((queue) => queue.pool)])
  for (const pool of config.pools)
    if (!usedPools.has(pool.name)) report.warn({ path: ['pools', pool.name], message: 'no route uses this pool' })
  const usedQueues = new Set(config.routes.map((route) => route.queue))
  for (const name of Object.keys(file.queues))
    if (!usedQueues.has(name)) report.warn({ path: ['queues', name], message: 'no route fills this queue' })
}
