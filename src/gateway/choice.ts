/**
 * What decides, beside balancing, which pool and which server a call gets. Calls of routes and pools that ask for nothing of it have none: that
 * costs them one look. It holds what is known of one call, and never takes a server that may not be used: the pool says who may.
 */
import { pickShare, type SplitBy, splitHash } from '../core/balancing/split.ts'
import type { SplitConfig } from '../config/config.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import type { Call } from '../net/call.ts'
import { balanceHash, shownBy } from './balance-hash.ts'
import type { CallContext } from './context.ts'
import type { Failovers } from '../pools/failovers.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'

export interface ChoiceParts {
  readonly pool: Pool
  readonly failovers: Failovers
  /** Of what binds the call to a server of this pool, where that balances by it. */
  readonly keyHashIn: (pool: Pool) => number | undefined
}

export interface Seeking {
  /** Servers that are of no use to it. */
  readonly excluded: ReadonlySet<Server> | undefined
  readonly isSpillable: boolean
}

/** Undefined, as a rule: the balancing of its one pool decides. */
export function choiceFor(call: Call, match: RouteMatch, context: CallContext): Choice | undefined {
  const { split, pool: name = '' } = match.route
  const one = context.pools.get(name) as Pool
  if (split === undefined && one.config.failover === undefined) return undefined
  const pool = split === undefined ? one : (context.pools.get(sideOf(split, call, match, context)) ?? one)
  const keyHashIn = ({ config }: Pool): number | undefined => balanceHash(config.balance, call, match, context.clients)
  return new Choice({ pool, failovers: context.failovers, keyHashIn })
}

function sideOf(split: SplitConfig, call: Call, match: RouteMatch, context: CallContext): string {
  const shown = split.by === undefined ? undefined : shownBy(split.by, call, match.params, context.clients)
  const by: SplitBy = shown === undefined ? { unit: context.random.unit() } : { hash: splitHash(shown) }
  return pickShare(split.shares, by)?.pool ?? ''
}

export class Choice {
  /** Whose servers it is for now. */
  pool: Pool
  readonly #home: Pool
  readonly #chain: readonly Pool[]
  readonly #parts: ChoiceParts

  constructor(parts: ChoiceParts) {
    this.#parts = parts
    this.#home = parts.pool
    this.#chain = parts.failovers.chainOf(parts.pool)
    this.pool = parts.pool
  }

  /** All that it may be tried with. */
  get servers(): number {
    return this.#chain.reduce((sum, { servers }) => sum + servers.length, 0)
  }

  usableServers(): readonly Server[] {
    return this.#chain.flatMap((pool) => pool.usableServers())
  }

  /** Takes a slot, of the first pool of the chain that can serve. Undefined: it may wait for one of `pool`. */
  acquire({ excluded, isSpillable }: Seeking): Server | undefined {
    const serving = this.#chain.filter((pool) => !isOut(pool, excluded))
    // Where nobody is any good, its own pool is the one that may hope.
    this.pool = serving[0] ?? this.#home
    for (const pool of serving.length === 0 ? [this.#home] : serving) {
      const server = pool.acquire({ excluded, isSpillable, keyHash: this.#parts.keyHashIn(pool) })
      if (server !== undefined) return this.#taken(pool, server)
      if (pool.config.failover?.when !== 'full') break
    }
    return undefined
  }

  acquireTunnel(excluded: ReadonlySet<Server> | undefined): Server | undefined {
    const serving = this.#chain.filter((pool) => !isOut(pool, excluded))
    this.pool = serving[0] ?? this.#home
    for (const pool of serving.length === 0 ? [this.#home] : serving) {
      const server = pool.acquireTunnel(excluded)
      if (server !== undefined) return this.#taken(pool, server)
      if (pool.config.failover?.when !== 'full') break
    }
    return undefined
  }

  /** It waited in vain. True: there is another way than the one that it waited for. */
  hasOtherWay(excluded: ReadonlySet<Server> | undefined): boolean {
    return isOut(this.pool, excluded) && this.#chain.some((pool) => !isOut(pool, excluded))
  }

  #taken(pool: Pool, server: Server): Server {
    this.pool = pool
    if (pool !== this.#home) this.#parts.failovers.count(this.#home.name)
    return server
  }
}

/** For a request that these servers are of no use to. */
function isOut({ isLost, servers }: Pool, excluded: ReadonlySet<Server> | undefined): boolean {
  return isLost || (excluded !== undefined && servers.every((server) => excluded.has(server)))
}
