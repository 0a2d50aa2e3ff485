/**
 * Deadlines for many connections with one timer. Time is counted in sweeps: a member carries the number of the sweep at which something
 * has to have happened. So moving a deadline costs an addition, no look at the clock; and a process that was stopped or busy for seconds
 * wakes to one sweep, not to a thousand timeouts of its own making. A deadline is up to two sweeps late, never early.
 */
import type { Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'

/** Counts sweeps; compare only with its own kind. Infinity: none. */
export type Deadline = number

export const NEVER: Deadline = Number.POSITIVE_INFINITY

export interface Sweepable {
  deadlineAt: Deadline
  onDeadline(): void
}

export class Sweeper {
  readonly #members = new Set<Sweepable>()
  readonly #clock: Clock
  readonly #everyMs: Millis
  #sweeps = 0
  #timer: Timer | undefined

  constructor(clock: Clock, everyMs: Millis = 50) {
    this.#clock = clock
    this.#everyMs = everyMs
  }

  get size(): number {
    return this.#members.size
  }

  /** The deadline that is this far away. */
  in(ms: Millis): Deadline {
    return this.#sweeps + 1 + Math.ceil(ms / this.#everyMs)
  }

  add(member: Sweepable): void {
    this.#members.add(member)
    this.#timer ??= this.#clock.after(this.#everyMs, this.#sweep)
  }

  delete(member: Sweepable): void {
    this.#members.delete(member)
  }

  close(): void {
    this.#timer?.cancel()
    this.#members.clear()
  }

  readonly #sweep = (): void => {
    const now = ++this.#sweeps
    for (const member of this.#members) {
      if (member.deadlineAt > now) continue
      member.deadlineAt = NEVER
      member.onDeadline()
    }
    this.#timer = this.#members.size === 0 ? undefined : this.#clock.after(this.#everyMs, this.#sweep)
  }
}
