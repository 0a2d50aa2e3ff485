/**
 * Who waits for a slot, and whose turn it is. First come first served, as long as the line is emptied again and again. In a line that
 * stands (it has not been empty for a while) the newest goes first: the oldest ones have waited so long that their clients are about to
 * give up, and serving them would make everybody late. Requests that have an order among themselves keep it whatever the line does, and take
 * turns with the others. (Adaptive LIFO, from Facebook's "Fail at Scale", ACM Queue 2015.)
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

/** A line that has not been empty for so long stands. */
export const STANDING_MS: Millis = 100

export interface Place<T> {
  readonly value: T
  /** Among those that have an order. */
  readonly ordered: boolean
}

interface Node<T> extends Place<T> {
  before: Node<T> | undefined
  after: Node<T> | undefined
  waits: boolean
}

export class WaitList<T> {
  readonly #free = new Chain<T>()
  readonly #ordered = new Chain<T>()
  #size = 0
  #filledAt: MonotonicMillis = 0
  /** Whose turn it is where both wait. */
  #orderedNext = true

  get size(): number {
    return this.#size
  }

  add(value: T, ordered: boolean, now: MonotonicMillis): Place<T> {
    if (this.#size === 0) this.#filledAt = now
    const node: Node<T> = { value, ordered, before: undefined, after: undefined, waits: true }
    this.#chainOf(node).push(node)
    this.#size++
    return node
  }

  /** Nothing happens when it has left already. */
  remove(place: Place<T>): void {
    const node = place as Node<T>
    if (!node.waits) return
    node.waits = false
    this.#chainOf(node).remove(node)
    this.#size--
  }

  /** Takes out whose turn it is, of those that can make use of it. */
  take(now: MonotonicMillis, canUse: (value: T) => boolean): T | undefined {
    const newest = now - this.#filledAt >= STANDING_MS
    const fromOrdered = (): Node<T> | undefined => this.#ordered.first(canUse)
    const fromFree = (): Node<T> | undefined => (newest ? this.#free.last(canUse) : this.#free.first(canUse))
    const node = this.#orderedNext ? (fromOrdered() ?? fromFree()) : (fromFree() ?? fromOrdered())
    if (node === undefined) return undefined
    this.#orderedNext = !node.ordered
    this.remove(node)
    return node.value
  }

  /** Oldest first, those with an order last. Whoever is removed on the way is no longer met. */
  *[Symbol.iterator](): Generator<Place<T>> {
    yield* this.#free.all()
    yield* this.#ordered.all()
  }

  #chainOf({ ordered }: Node<T>): Chain<T> {
    return ordered ? this.#ordered : this.#free
  }
}

/** Doubly linked, in order of arrival. */
class Chain<T> {
  #head: Node<T> | undefined
  #tail: Node<T> | undefined

  push(node: Node<T>): void {
    node.before = this.#tail
    if (this.#tail === undefined) this.#head = node
    else this.#tail.after = node
    this.#tail = node
  }

  /** It keeps its neighbours, so that who stands at it can walk on. */
  remove(node: Node<T>): void {
    if (node.before === undefined) this.#head = node.after
    else node.before.after = node.after
    if (node.after === undefined) this.#tail = node.before
    else node.after.before = node.before
  }

  first(fits: (value: T) => boolean): Node<T> | undefined {
    let node = this.#head
    while (node !== undefined && !fits(node.value)) node = node.after
    return node
  }

  last(fits: (value: T) => boolean): Node<T> | undefined {
    let node = this.#tail
    while (node !== undefined && !fits(node.value)) node = node.before
    return node
  }

  *all(): Generator<Node<T>> {
    for (let node = this.#head; node !== undefined; node = node.after) if (node.waits) yield node
  }
}
