/** Counts what is under way, for whoever must not end before it has. */
export class Pending {
  #count = 0
  #idle: (() => void)[] = []

  get size(): number {
    return this.#count
  }

  /** Under way until it is settled, however that ends. */
  track(work: Promise<unknown>): void {
    this.#count++
    const ended = (): void => {
      if (--this.#count > 0) return
      const told = this.#idle
      this.#idle = []
      for (const tell of told) tell()
    }
    work.then(ended, ended)
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }
}
