/** The beginning of an answer, or a short one as a whole, that is kept back until it is known whether another server has a better one. */
import type { ResponseHead } from '../http1/message.ts'
import { ByteList } from '../lib/byte-list.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'

export class HeldAnswer {
  readonly head: ResponseHead
  /** Set when that was all. */
  trailers: readonly string[] | undefined
  readonly #budget: BufferBudget
  readonly #bytes = new ByteList()

  constructor(head: ResponseHead, budget: BufferBudget) {
    this.head = head
    this.#budget = budget
  }

  get isWhole(): boolean {
    return this.trailers !== undefined
  }

  get pieces(): readonly Uint8Array[] {
    return this.#bytes.pieces()
  }

  /** What one read brought, at most. False: there is no room for it. */
  add(chunk: Uint8Array): boolean {
    if (!this.#budget.take(chunk.length)) return false
    this.#bytes.addCopy(chunk)
    return true
  }

  drop(): void {
    this.#budget.give(this.#bytes.length)
    this.#bytes.clear()
  }
}
