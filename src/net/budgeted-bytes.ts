/** Bytes of a body that count in the gateway's budget. When it is full they wait for room, and whoever sends them is made to wait as well. */
import { ByteList } from '../lib/byte-list.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from './buffer-budget.ts'

export class BudgetedBytes {
  readonly #budget: BufferBudget
  readonly #onRoom: () => void
  readonly #bytes = new ByteList()
  #counted: Bytes = 0
  #leaveLine: (() => void) | undefined

  /** `onRoom`: what had to wait is counted now. */
  constructor(budget: BufferBudget, onRoom: () => void) {
    this.#budget = budget
    this.#onRoom = onRoom
  }

  /** What waits included: it is in memory. */
  get length(): Bytes {
    return this.#bytes.length
  }

  get waiting(): boolean {
    return this.#leaveLine !== undefined
  }

  /** False: send no more until `onRoom`. `reused`: the chunk's memory will be used for something else. */
  add(chunk: Uint8Array, reused = false): boolean {
    if (reused) this.#bytes.addCopy(chunk)
    else this.#bytes.add(chunk)
    if (this.waiting) return false
    if (this.#budget.take(chunk.length)) {
      this.#counted += chunk.length
      return true
    }
    this.#wait(chunk.length)
    return false
  }

  joined(): Uint8Array {
    return this.#bytes.joined()
  }

  /** Counts no more, waits no more. */
  free(): void {
    this.#leaveLine?.()
    this.#leaveLine = undefined
    this.#budget.give(this.#counted)
    this.#counted = 0
    this.#bytes.clear()
  }

  #wait(bytes: Bytes): void {
    this.#leaveLine = this.#budget.takeLater(bytes, () => {
      this.#counted += bytes
      this.#leaveLine = undefined
      // One read may have brought more.
      const owed = this.#bytes.length - this.#counted
      if (owed === 0) this.#onRoom()
      else this.#wait(owed)
    })
  }
}
