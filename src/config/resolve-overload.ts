/** How requests wait for a slot, and who is refused first: defaults that depend on `wait`, and routes that take over what their pool says. */
import type { GuardRules } from '../core/admission/guard.ts'
import type { AdaptiveRules } from '../core/admission/wait-list.ts'
import type { Millis } from '../lib/units.ts'
import type { PoolConfig, RouteConfig } from './config.ts'
import type { Rate } from '../lib/rate.ts'
import type { Path } from './problem.ts'
import type { Report } from './report.ts'
import { POOL_DEFAULTS, type ParsedFile, type ParsedRoute } from './schema.ts'

/** In networks: a target of a twentieth of what the longest way takes. Here that is what a client may wait at most. */
const TARGETS_OF_WAIT = 20
const INTERVALS_OF_WAIT = 4

/** Where nobody may wait there is no order. */
export function resolveQueueing({ queueing, wait }: typeof POOL_DEFAULTS): Pick<PoolConfig, 'queueing'> {
  if (queueing === 'fifo' || wait === 0) return {}
  const { target, interval } = queueing === 'adaptive' ? {} : queueing
  const rules: AdaptiveRules = { targetMs: target ?? share(wait, TARGETS_OF_WAIT), intervalMs: interval ?? share(wait, INTERVALS_OF_WAIT) }
  return { queueing: rules }
}

function share(ms: Millis, parts: number): Millis {
  return Math.max(1, Math.round(ms / parts))
}

/** Where priorities are in use at a pool, all of its routes go by them. */
export function withShedding(routes: readonly RouteConfig[], pools: ParsedFile['pools']): readonly RouteConfig[] {
  const hasPriorities = (route: RouteConfig): boolean => route.priority !== undefined || route.allow.includes('priority')
  const poolsOf = ({ split, pool }: RouteConfig): readonly (string | undefined)[] => split?.shares.map((share) => share.pool) ?? [pool]
  const ranked = new Set(routes.filter(hasPriorities).flatMap(poolsOf))
  return routes.map((route) => {
    if (route.pool === undefined || !poolsOf(route).some((pool) => ranked.has(pool))) return route
    const pool = Object.hasOwn(pools, route.pool) ? pools[route.pool] : undefined
    const { shed } = pool === undefined || Array.isArray(pool) ? POOL_DEFAULTS : pool
    return shed === 'off' ? route : { ...route, shedFrom: shed.from }
  })
}

/** What is off is not there. */
export function resolveGuard(guard: ParsedFile['guard'], report: Report): { guard?: GuardRules } {
  if (guard === 'off') return {}
  const rules: { -readonly [K in keyof GuardRules]: GuardRules[K] } = {}
  for (const name of ['loopDelay', 'memory', 'sockets'] as const) {
    const range = guard[name]
    if (range === 'off') continue
    if (range.from >= range.full)
      report.error({ path: ['guard', name, 'full'], message: 'must be more than `from`' }, [['guard', name, 'from']])
    rules[name] = range
  }
  return Object.keys(rules).length === 0 ? {} : { guard: rules }
}

export function resolveRebalancing({ rebalanceTunnels: rate }: typeof POOL_DEFAULTS): { rebalanceTunnels?: Rate } {
  return rate === 'off' ? {} : { rebalanceTunnels: rate }
}

export function resolveTunnels(route: ParsedRoute, path: Path, report: Report): Pick<RouteConfig, 'tunnels'> {
  if (route.tunnels === undefined) return {}
  if (route.mode === 'queue') {
    const message = 'has no meaning on a queue route, which opens no tunnels; set mode: direct or mode: spill'
    report.error({ path: [...path, 'tunnels'], message }, [[...path, 'mode']])
  }
  const { idle, ...limits } = route.tunnels
  return { tunnels: { ...limits, ...(idle !== undefined && { idleMs: idle }) } }
}

/** On a direct route a client can choose nothing else. */
export function checkAllowOfDirect({ allow }: ParsedRoute, path: Path, report: Report): void {
  for (const [i, header] of (allow ?? []).entries()) {
    if (header === 'priority') continue
    const message = `${header} has no meaning on a direct route, which keeps no jobs; only priority has; set mode: queue or mode: spill`
    report.error({ path: [...path, 'allow', i], message }, [[...path, 'mode']])
  }
}
