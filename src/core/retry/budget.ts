/**
 * How many requests may be sent to a server a second time. Every first try earns a share of a retry, so that when everything fails the servers
 * get a fifth more and not twice as much; a few in each second are allowed in any case, for pools to which little comes. What was earned
 * and not used is kept, up to what a thousand tries earn.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface BudgetRule {
  /** Of first tries. */
  readonly budget: number
  readonly minPerSecond: number
}

const KEPT_TRIES = 1000
const SECOND_MS: Millis = 1000
/** A tenth cannot be added up exactly. */
const ROUNDING = 1e-6

export class RetryBudget {
  readonly #rule: BudgetRule
  #earned: number
  #floor: number
  #floorAt: MonotonicMillis = 0

  constructor(rule: BudgetRule) {
    this.#rule = rule
    this.#earned = rule.budget * KEPT_TRIES
    this.#floor = rule.minPerSecond
  }

  /** A request is sent for the first time. */
  first(): void {
    const { budget } = this.#rule
    this.#earned = Math.min(this.#earned + budget, budget * KEPT_TRIES)
  }

  /** True: this one may be sent again, and counts. */
  take(now: MonotonicMillis): boolean {
    const { minPerSecond } = this.#rule
    this.#floor = Math.min(minPerSecond, this.#floor + ((now - this.#floorAt) * minPerSecond) / SECOND_MS)
    this.#floorAt = now
    if (this.#floor + ROUNDING >= 1) {
      this.#floor -= 1
      return true
    }
    if (this.#earned + ROUNDING < 1) return false
    this.#earned -= 1
    return true
  }
}
