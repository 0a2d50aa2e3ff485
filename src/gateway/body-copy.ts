/** The beginning of a request's body, kept while it streams, so that the request can be sent again or stored. Given up once it is too long. */
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'

export class BodyCopy {
  chunks: Uint8Array[] = []
  /** Everything that was read so far is here. */
  whole = true
  #bytes = 0
  readonly #bytesMax: Bytes
  readonly #budget: BufferBudget

  constructor(bytesMax: Bytes, budget: BufferBudget) {
    this.#bytesMax = bytesMax
    this.#budget = budget
  }

  add(chunk: Uint8Array): void {
    if (!this.whole) return
    if (this.#bytes + chunk.length > this.#bytesMax || !this.#budget.take(chunk.length)) {
      this.drop()
      this.whole = false
      return
    }
    this.#bytes += chunk.length
    this.chunks.push(chunk)
  }

  drop(): void {
    this.#budget.give(this.#bytes)
    this.#bytes = 0
    this.chunks = []
  }
}
