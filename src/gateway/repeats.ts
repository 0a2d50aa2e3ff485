/** Which tries a call has behind it, and what may come after them. Made with the first that was not the last: most calls have none. */
import { type Mishap, mayTryAgain, nextExcluded, retryDelayMs, type RetryRules, triesMax } from '../core/retry/retry.ts'
import type { Millis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'

export class Repeats {
  tries = 1
  /** Not to be used for the next try. */
  tried: ReadonlySet<Server> | undefined
  /** A kept connection had gone stale: no other one is trusted. */
  onlyFresh = false
  readonly #rules: RetryRules

  constructor(rules: RetryRules) {
    this.#rules = rules
  }

  /** A connection that had gone stale says nothing about its server, and is no try: only a fresh failure rules the server out. */
  learn(mishap: Mishap, server: Server, usable: readonly Server[]): void {
    if (mishap === 'stale') {
      this.onlyFresh = true
      this.tries--
      return
    }
    const tried = new Set(this.tried).add(server)
    // More tries than servers: where all had theirs, they begin anew.
    this.tried = this.#rules.tries === undefined ? tried : nextExcluded(tried, server, usable)
  }

  hasTriedAll(pool: Pool): boolean {
    const { tried } = this
    return tried !== undefined && pool.servers.every((server) => tried.has(server))
  }

  hasTryLeft(servers: number): boolean {
    return this.tries < triesMax(this.#rules, servers)
  }

  mayTryAgain(failed: { method: string; mishap: Mishap; responseStarted: boolean; replayable: boolean }, servers: number): boolean {
    return mayTryAgain(this.#rules, { ...failed, tries: this.tries, triesMax: triesMax(this.#rules, servers) })
  }

  /** Before the next try. Another server, where nothing was sent, need not wait for what happened to this one. */
  pauseMs(mishap: Mishap, server: Server, unit: number): Millis {
    const { backoff } = this.#rules
    if (backoff === undefined || mishap === 'stale') return 0
    if (mishap === 'connect-failure' && this.tried?.has(server) === true) return 0
    return retryDelayMs(backoff, this.tries, unit)
  }
}
