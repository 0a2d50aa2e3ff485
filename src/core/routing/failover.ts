/**
 * Which pool serves while one has no server up: the next of its chain that has one. The chain has no circle (the configuration is refused
 * otherwise), and is bounded here all the same.
 */

/** Pools that stand in for one another, one after the other. */
export const FAILOVER_CHAIN_MAX = 16

export type FailoverWhen = 'down' | 'full'

/** `pool` and those that stand in for it, in order. */
export function failoverChain<T>(pool: T, next: (pool: T) => T | undefined): readonly T[] {
  const chain: T[] = []
  for (let at: T | undefined = pool; at !== undefined && chain.length < FAILOVER_CHAIN_MAX && !chain.includes(at); at = next(at))
    chain.push(at)
  return chain
}

/** The first that is not out. Undefined: all are. */
export function firstInService<T>(chain: readonly T[], isOut: (pool: T) => boolean): T | undefined {
  return chain.find((pool) => !isOut(pool))
}
