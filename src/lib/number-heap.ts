/** A binary heap of plain numbers in an array: eight bytes each, lowest on top. For callers that keep a great many of them. */

export function heapPush(heap: number[], value: number): void {
  let at = heap.length
  heap.push(value)
  while (at > 0) {
    const parent = (at - 1) >> 1
    const above = heap[parent] as number
    if (above <= value) break
    heap[at] = above
    at = parent
  }
  heap[at] = value
}

/** Takes the lowest out. The heap must not be empty. */
export function heapPop(heap: number[]): number {
  const top = heap[0] as number
  const last = heap.pop() as number
  const size = heap.length
  if (size === 0) return top
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= size) break
    if (child + 1 < size && (heap[child + 1] as number) < (heap[child] as number)) child += 1
    const below = heap[child] as number
    if (below >= last) break
    heap[at] = below
    at = child
  }
  heap[at] = last
  return top
}
