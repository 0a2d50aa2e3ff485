/** Which pool stands in for which, and how a route shares its requests out among several: what names nothing, or contradicts itself, is refused. */
import { failoverChain, FAILOVER_CHAIN_MAX } from '../core/routing/failover.ts'
import type { FailoverConfig, PoolConfig, SplitConfig } from './config.ts'
import type { Path } from './problem.ts'
import { checkName, type Report, type ResolveOptions } from './report.ts'
import type { ParsedPoolMapping, ParsedRoute } from './schema.ts'

export function resolveFailover(
  name: string,
  { failover }: Pick<ParsedPoolMapping, 'failover'>,
  options: ResolveOptions,
): FailoverConfig | undefined {
  if (failover === undefined) return undefined
  const { pool, when } = typeof failover === 'string' ? { pool: failover, when: 'down' as const } : failover
  checkName(pool, options.poolNames, { path: ['pools', name, 'failover'], what: 'pool' }, options.report)
  return { pool, when }
}

/** Each pool that leads into a circle, or along a chain that is too long, is told of once. */
export function checkFailovers(pools: readonly PoolConfig[], report: Report): void {
  const nextOf = (name: string): string | undefined => pools.find((pool) => pool.name === name)?.failover?.pool
  for (const { name, failover } of pools) {
    if (failover === undefined) continue
    const chain = failoverChain(name, nextOf)
    const after = nextOf(chain.at(-1) as string)
    if (after === undefined) continue
    const path = ['pools', name, 'failover']
    const names = [...chain, after].join(', ')
    if (after === name)
      report.error({ path, message: `goes round in a circle: ${names}; a pool that stands in for another must not need it` })
    else if (!chain.includes(after)) report.error({ path, message: `has more than ${FAILOVER_CHAIN_MAX - 1} pools behind it` })
  }
}

/** Undefined: the route has one pool. */
export function resolveSplit(
  { pool: shares, splitBy: by, mode }: ParsedRoute,
  path: Path,
  options: ResolveOptions,
): SplitConfig | undefined {
  const { poolNames, report } = options
  if (typeof shares !== 'object') {
    const message = 'says who gets which of several pools; make pool a list, or leave this key out'
    if (by !== undefined) report.error({ path: [...path, 'splitBy'], message }, [[...path, 'pool']])
    return undefined
  }
  const seen = new Set<string>()
  for (const [i, { pool }] of shares.entries()) {
    const at = [...path, 'pool', i, 'pool']
    checkName(pool, poolNames, { path: at, what: 'pool' }, report)
    if (seen.has(pool)) report.error({ path: at, message: `${pool} stands in this list twice; use weight to give it more` })
    seen.add(pool)
  }
  if (shares.every(({ weight }) => weight === 0)) {
    report.error({ path: [...path, 'pool'], message: 'has no pool with a weight: nobody would be served' })
  }
  if (mode === 'queue') {
    const message = 'is a list, but the jobs of a queue go to one pool; name that one, or set mode: spill or mode: direct'
    report.error({ path: [...path, 'pool'], message }, [[...path, 'mode']])
  }
  return { shares, ...(by !== undefined && { by }) }
}

/** Which pool the jobs of a split route are for: its queue's, if that is one of them, or the one of most weight. */
export function mainPool({ shares }: SplitConfig, ofQueue: string | undefined): string {
  const most = shares.reduce((best, share) => (share.weight > best.weight ? share : best))
  return (shares.find(({ pool }) => pool === ofQueue) ?? most).pool
}
