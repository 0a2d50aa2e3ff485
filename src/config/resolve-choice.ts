/** Which pool stands in for which: what names nothing, or comes back to itself, is refused. */
import type { FailoverConfig } from './config.ts'
import { failoverChain, FAILOVER_CHAIN_MAX } from '../core/routing/failover.ts'
import type { PoolConfig } from './config.ts'
import { checkName, type Report, type ResolveOptions } from './report.ts'
import type { ParsedPoolMapping } from './schema.ts'

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
