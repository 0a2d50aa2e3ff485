/**
 * A set of numbers, each with a rank, that always knows its lowest: a binary heap with lazy removal.
 * add and delete O(log n) amortised, first O(1) amortised; removed entries take no more room than live ones.
 */

interface Entry {
  readonly rank: number
  readonly value: number
}

/** Removed entries that may lie in the heap before it is rebuilt, beside as many as are live. */
const STALE_SLACK = 64

export class OrderedSet {
  /** What is in the set; a heap entry that disagrees with it is stale. */
  readonly #ranks = new Map<number, number>()
  #heap: Entry[] = []

  get size(): number {
    return this.#ranks.size
  }

  has(value: number): boolean {
    return this.#ranks.has(value)
  }

  rankOf(value: number): number | undefined {
    return this.#ranks.get(value)
  }

  /** Adds `value`, or moves it to another rank. Equal ranks are ordered by value. */
  add(value: number, rank: number): void {
    if (this.#ranks.get(value) === rank) return
    this.#ranks.set(value, rank)
    this.#heap.push({ rank, value })
    siftUp(this.#heap, this.#heap.length - 1)
    this.#compact()
  }

  delete(value: number): boolean {
    const was = this.#ranks.delete(value)
    if (was) this.#compact()
    return was
  }

  /** The value of lowest rank. */
  first(): number | undefined {
    return this.#top()?.value
  }

  firstRank(): number | undefined {
    return this.#top()?.rank
  }

  /** In no order. */
  values(): IterableIterator<number> {
    return this.#ranks.keys()
  }

  #top(): Entry | undefined {
    for (;;) {
      const top = this.#heap[0]
      if (top === undefined || this.#ranks.get(top.value) === top.rank) return top
      removeTop(this.#heap)
    }
  }

  #compact(): void {
    if (this.#heap.length <= 2 * this.#ranks.size + STALE_SLACK) return
    this.#heap = [...this.#ranks].map(([value, rank]) => ({ rank, value }))
    // A sorted array is a heap.
    this.#heap.sort((a, b) => (before(a, b) ? -1 : 1))
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.value < b.value)
}

function siftUp(heap: Entry[], start: number): void {
  let at = start
  const entry = heap[at] as Entry
  while (at > 0) {
    const parent = (at - 1) >> 1
    const above = heap[parent] as Entry
    if (!before(entry, above)) break
    heap[at] = above
    at = parent
  }
  heap[at] = entry
}

function removeTop(heap: Entry[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1
    if (!before(heap[child] as Entry, last)) break
    heap[at] = heap[child] as Entry
    at = child
  }
  heap[at] = last
}
