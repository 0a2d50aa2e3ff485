/** How many of something there are at once: counted by one thread, or by several that share the count. */

export interface Tally {
  readonly value: number
  /** One more, if there are fewer than that. */
  take(max: number): boolean
  give(): void
}

/** Counted by one thread. */
export class LocalTally implements Tally {
  value = 0

  take(max: number): boolean {
    if (this.value >= max) return false
    this.value++
    return true
  }

  give(): void {
    this.value--
  }
}

/**
 * One count in memory that threads share, and beside it what this thread has of it: of a thread that dies, that is given back. Never more than the
 * limit are taken, however many take at once, and the count is never above it, not even for a moment: whoever is refused met a count that was full.
 */
export class SharedTally implements Tally {
  readonly #cells: Int32Array
  readonly #total: number
  readonly #own: number

  constructor(cells: Int32Array, at: { readonly total: number; readonly own: number }) {
    this.#cells = cells
    this.#total = at.total
    this.#own = at.own
  }

  get value(): number {
    return Atomics.load(this.#cells, this.#total)
  }

  take(max: number): boolean {
    for (let had = this.value, met: number; ; had = met) {
      if (had >= max) return false
      met = Atomics.compareExchange(this.#cells, this.#total, had, had + 1)
      if (met === had) break
    }
    Atomics.add(this.#cells, this.#own, 1)
    return true
  }

  give(): void {
    Atomics.sub(this.#cells, this.#own, 1)
    Atomics.sub(this.#cells, this.#total, 1)
  }
}
