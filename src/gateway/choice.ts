/**
 * What decides, beside balancing, which pool and which server a call gets. Calls of routes and pools that ask for nothing of it have none: that
 * costs them one look. It holds what is known of one call, and never takes a server that may not be used: the pool says who may.
 */
import { editAnswers } from '../api/dress.ts'
import { pickShare, type SplitBy, splitHash } from '../core/balancing/split.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import { balanceHash, shownBy } from './balance-hash.ts'
import type { LiveContext } from './context.ts'
import type { Session } from './sticky.ts'
import type { Failovers } from '../pools/failovers.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'

export interface ChoiceParts {
  /** Whose it is, as long as that can serve. */
  readonly home: Pool
  readonly failovers: Failovers
  /** Of what binds the call to a server of this pool, where that balances by it. */
  readonly keyHashIn: (pool: Pool) => number | undefined
  /** Of a sticky route. */
  readonly session: Session | undefined
  /** Where it was. */
  readonly bound: Server | undefined
}

export interface Seeking {
  /** Servers that are of no use to it. */
  readonly excluded: ReadonlySet<Server> | undefined
  readonly isSpillable: boolean
}

/** Undefined, as a rule: the balancing of its one pool decides. */
export function choiceFor(call: Call, match: RouteMatch, context: LiveContext): Choice | undefined {
  const { route } = match
  const { failovers, pools } = context
  const one = pools.get(route.pool ?? '') as Pool
  if (route.split === undefined && route.sticky === undefined && one.config.failover === undefined) return undefined
  const sides = route.split === undefined ? [one] : route.split.shares.flatMap(({ pool }) => pools.get(pool) ?? [])
  const keyHashIn = ({ config }: Pool): number | undefined => balanceHash(config.balance, call, match, context.clients)
  const session = route.sticky === undefined ? undefined : context.sticky.sessionOf(call.head, route.sticky)
  if (session !== undefined) editAnswers(call, (lines) => lines + session.line)
  const bound = session?.find(serversOf(sides))
  const home = sides.find(({ name }) => name === bound?.pool) ?? sideOf(call, match, context) ?? one
  // It may be where it was while its own pool could not serve.
  const elsewhere = bound === undefined ? session?.find(serversOf(failovers.chainOf(home))) : bound
  return new Choice({ home, failovers, keyHashIn, session, bound: elsewhere })
}

function serversOf(pools: readonly Pool[]): readonly Server[] {
  return pools.length === 1 ? (pools[0] as Pool).servers : pools.flatMap(({ servers }) => servers)
}

function sideOf(call: Call, { route: { split }, params }: RouteMatch, context: LiveContext): Pool | undefined {
  if (split === undefined) return undefined
  const shown = split.by === undefined ? undefined : shownBy(split.by, call, params, context.clients)
  const by: SplitBy = shown === undefined ? { unit: context.random.unit() } : { hash: splitHash(shown) }
  return context.pools.get(pickShare(split.shares, by)?.pool ?? '')
}

export class Choice {
  /** Whose servers it is for now. */
  pool: Pool
  /** Its own server is full: of no other one it waits for a slot. */
  waitsFor: Server | undefined
  readonly #chain: readonly Pool[]
  readonly #parts: ChoiceParts
  #bound: Server | undefined

  constructor(parts: ChoiceParts) {
    this.#parts = parts
    this.#chain = parts.failovers.chainOf(parts.home)
    this.#bound = parts.bound
    this.pool = parts.home
  }

  /** All that it may be tried with. */
  get servers(): number {
    return this.#chain.reduce((sum, { servers }) => sum + servers.length, 0)
  }

  /** For `waitsFor`. */
  get waitMs(): Millis | undefined {
    return this.#parts.session?.waitMs
  }

  /** It was somewhere before, and another server is no better than none for it. */
  get isBound(): boolean {
    return this.#bound !== undefined
  }

  usableServers(): readonly Server[] {
    return this.#chain.flatMap((pool) => pool.usableServers())
  }

  /** Takes a slot, of the first pool of the chain that can serve. Undefined: it may wait for one of `pool`. */
  acquire({ excluded, isSpillable }: Seeking): Server | undefined {
    this.waitsFor = undefined
    const open = this.#open(excluded)
    const own = this.#acquireBound(open, excluded)
    if (own !== undefined || this.waitsFor !== undefined) return own
    for (const pool of open) {
      const server = pool.acquire({ excluded, isSpillable, keyHash: this.#parts.keyHashIn(pool) })
      if (server !== undefined) return this.#taken(pool, server)
    }
    return undefined
  }

  acquireTunnel(excluded: ReadonlySet<Server> | undefined): Server | undefined {
    for (const pool of this.#open(excluded)) {
      const server = pool.acquireTunnel(excluded, this.#bound)
      if (server !== undefined) return this.#taken(pool, server)
    }
    return undefined
  }

  /** It waited in vain. True: there is another way than the one that it waited for, and it is taken from now on. */
  takesOtherWay(excluded: ReadonlySet<Server> | undefined): boolean {
    if (this.waitsFor !== undefined) {
      this.#bound = undefined
      return true
    }
    return this.hasOtherPool(excluded)
  }

  /** The one that it waits in line of is of no use to it, and another one is. Who waits for its own server does not look for another one. */
  hasOtherPool(excluded: ReadonlySet<Server> | undefined): boolean {
    if (this.waitsFor !== undefined) return false
    return isOut(this.pool, excluded) && this.#chain.some((pool) => !isOut(pool, excluded))
  }

  /** This server answers. */
  answered(server: Server, head: ResponseHead): void {
    this.#parts.session?.answered(server, head)
  }

  /** The pools that it may go to now: the first that can serve, and those behind as long as each may send to the next when it is full. Never empty. */
  #open(excluded: ReadonlySet<Server> | undefined): readonly Pool[] {
    const { home } = this.#parts
    const serving = this.#chain.filter((pool) => !isOut(pool, excluded))
    // Where nobody is any good, its own pool is the one that may hope.
    this.pool = serving[0] ?? home
    if (serving.length === 0) return [home]
    const last = serving.findIndex(({ config }) => config.failover?.when !== 'full')
    return last === -1 ? serving : serving.slice(0, last + 1)
  }

  #acquireBound(open: readonly Pool[], excluded: ReadonlySet<Server> | undefined): Server | undefined {
    const bound = this.#bound
    // A pool whose servers are all drained serves nobody new, but those who are there.
    const among = bound?.keepsSessions === true ? [this.#parts.home] : open
    const pool = bound === undefined ? undefined : among.find(({ name }) => name === bound.pool)
    if (bound === undefined || pool === undefined || excluded?.has(bound) === true) return undefined
    const taken = pool.acquireFrom(bound)
    if (taken === true) return this.#taken(pool, bound)
    if (taken === false && this.waitMs !== 0) {
      this.pool = pool
      this.waitsFor = bound
    }
    return undefined
  }

  #taken(pool: Pool, server: Server): Server {
    this.pool = pool
    this.granted()
    return server
  }

  /** A server of `pool` is its own, at once or after it waited. */
  granted(): void {
    const { home, failovers } = this.#parts
    if (this.pool !== home) failovers.count(home.name)
  }
}

/** For a request that these servers are of no use to. */
function isOut({ isLost, servers }: Pool, excluded: ReadonlySet<Server> | undefined): boolean {
  return isLost || (excluded !== undefined && servers.every((server) => excluded.has(server)))
}
