/** The beginning of a request's body, kept while it streams, so that the request can be sent again or stored. Given up once it is too long. */
import { ByteList } from '../lib/byte-list.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'

export class BodyCopy {
  /** Everything that was read so far is here. */
  whole = true
  readonly #bytes = new ByteList()
  readonly #bytesMax: Bytes
  readonly #budget: BufferBudget

  constructor(bytesMax: Bytes, budget: BufferBudget) {
    this.#bytesMax = bytesMax
    this.#budget = budget
  }

  get pieces(): readonly Uint8Array[] {
    return this.#bytes.pieces()
  }

  /** For good: what comes now is not kept either. */
  close(): void {
    this.drop()
    this.whole = false
  }

  add(chunk: Uint8Array): void {
    if (!this.whole) return
    if (this.#bytes.length + chunk.length > this.#bytesMax || !this.#budget.take(chunk.length)) {
      this.drop()
      this.whole = false
      return
    }
    this.#bytes.add(chunk)
  }

  drop(): void {
    this.#budget.give(this.#bytes.length)
    this.#bytes.clear()
  }
}
