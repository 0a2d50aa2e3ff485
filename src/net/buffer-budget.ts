/** How many bytes of bodies the gateway holds in memory, all calls together. Full is an answer, not an exception. */
import type { Bytes } from '../lib/units.ts'

export class BufferBudget {
  #used: Bytes = 0
  readonly #bytesMax: Bytes
  #onFull: ((used: Bytes) => void) | undefined

  constructor(bytesMax: Bytes, onFull?: (used: Bytes) => void) {
    this.#bytesMax = bytesMax
    this.#onFull = onFull
  }

  get used(): Bytes {
    return this.#used
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

  give(bytes: Bytes): void {
    this.#used -= bytes
  }
}
