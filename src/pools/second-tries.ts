/** Whether requests of a pool may be sent a second time: by its budget, and not while most of its servers have enough to do already. */
import { type BudgetRule, RetryBudget } from '../core/retry/budget.ts'
import type { Clock } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'

export interface SecondTriesParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly pool: string
  readonly rule: BudgetRule
  /** More than half of the servers in use take nothing more now. */
  readonly mostlyBusy: () => boolean
}

export class SecondTries {
  readonly #parts: SecondTriesParts
  #budget: RetryBudget
  readonly #counters: Readonly<Record<'sent' | 'refused', Counter>>

  constructor(parts: SecondTriesParts) {
    this.#parts = parts
    this.#budget = new RetryBudget(parts.rule)
    const { help } = METRICS.spillway_retries_total
    const counter = (outcome: string): Counter =>
      parts.telemetry.metrics.counter('spillway_retries_total', help, { pool: parts.pool, outcome })
    this.#counters = { sent: counter('sent'), refused: counter('refused') }
  }

  goBy(rule: BudgetRule): void {
    this.#budget = new RetryBudget(rule)
  }

  /** A request is sent for the first time. */
  first(): void {
    this.#budget.first()
  }

  /** May one that reached a server in vain be sent to another one? True: it counts. */
  mayRepeat(): boolean {
    const may = this.may()
    this.#counters[may ? 'sent' : 'refused'].inc()
    return may
  }

  /** The same for any second try. True: it counts against the budget. */
  may(): boolean {
    return !this.#parts.mostlyBusy() && this.#budget.take(this.#parts.clock.monotonic())
  }
}
