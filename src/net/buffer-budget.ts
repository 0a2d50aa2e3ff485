/** How many bytes of bodies the gateway holds in memory, all calls together. Full is an answer, not an exception. */
import type { Bytes } from '../lib/units.ts'

interface Waiter {
  readonly bytes: Bytes
  readonly onRoom: () => void
}

export class BufferBudget {
  #used: Bytes = 0
  readonly #bytesMax: Bytes
  readonly #onFull: ((used: Bytes) => void) | undefined
  readonly #waiting = new Set<Waiter>()

  constructor(bytesMax: Bytes, onFull?: (used: Bytes) => void) {
    this.#bytesMax = bytesMax
    this.#onFull = onFull
  }

  get max(): Bytes {
    return this.#bytesMax
  }

  get used(): Bytes {
    return this.#used
  }

  /** How many wait for room. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** False, and nothing is taken, when it would not fit. */
  take(bytes: Bytes): boolean {
    if (this.#used + bytes > this.#bytesMax) {
      this.#onFull?.(this.#used)
      return false
    }
    this.#used += bytes
    return true
  }

  /** Takes when there is room again, in the order of asking, and says so. The returned function leaves the line. */
  takeLater(bytes: Bytes, onRoom: () => void): () => void {
    const waiter = { bytes, onRoom }
    this.#waiting.add(waiter)
    return () => void this.#waiting.delete(waiter)
  }

  give(bytes: Bytes): void {
    this.#used -= bytes
    for (const waiter of this.#waiting) {
      if (this.#used + waiter.bytes > this.#bytesMax) return
      this.#waiting.delete(waiter)
      this.#used += waiter.bytes
      waiter.onRoom()
    }
  }
}
