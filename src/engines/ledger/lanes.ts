/**
 * The ready jobs of one queue, in memory: for every priority and lane a heap of job numbers, eight bytes a job. On disk they are a list
 * in order of acceptance, which costs next to nothing to write; sorted by lane there, every job would dirty a page of its own.
 * Leasing from many buckets costs comparisons of first jobs. Changes can be taken back, because their transaction may fail.
 */
import { BUCKETS } from '../../core/jobs/buckets.ts'
import { heapPop, heapPush } from '../../lib/number-heap.ts'

export const PRIORITIES = 10
/** Lanes 0..255: jobs without a key, by bucket. 256..511: jobs that are the first of their key. */
const LANES = 2 * BUCKETS
/** Removed jobs that may lie in a heap before it is made anew, beside as many as are live. */
const STALE_SLACK = 64

interface Level {
  /** First of each lane; 0: it is empty. */
  readonly heads: Float64Array
  readonly heaps: (number[] | undefined)[]
  /** Removed, but still in the heap: they were not its first. */
  readonly stale: (Set<number> | undefined)[]
  total: number
}

interface Change {
  readonly priority: number
  readonly lane: number
  readonly seq: number
  readonly added: boolean
}

export function laneOf(bucket: number, keyed: boolean): number {
  return keyed ? BUCKETS + bucket : bucket
}

export class Lanes {
  /** By priority; made when first needed. */
  readonly #levels: (Level | undefined)[] = Array.from({ length: PRIORITIES }, () => undefined)
  #changes: Change[] = []

  get size(): number {
    return this.#levels.reduce((sum, level) => sum + (level?.total ?? 0), 0)
  }

  add(priority: number, lane: number, seq: number): void {
    this.#add(priority, lane, seq)
    this.#changes.push({ priority, lane, seq, added: true })
  }

  remove(priority: number, lane: number, seq: number): void {
    this.#remove(priority, lane, seq)
    this.#changes.push({ priority, lane, seq, added: false })
  }

  begin(): void {
    if (this.#changes.length > 0) this.#changes = []
  }

  rollback(): void {
    for (const { priority, lane, seq, added } of this.#changes.reverse()) {
      if (added) this.#remove(priority, lane, seq)
      else this.#add(priority, lane, seq)
    }
    this.#changes = []
  }

  clear(): void {
    this.#levels.fill(undefined)
    this.#changes = []
  }

  /** Of these buckets, keyed or not: highest priority, then oldest. 0: nothing is ready. */
  bestOf(buckets: Uint8Array): number {
    for (let priority = PRIORITIES - 1; priority >= 0; priority--) {
      const level = this.#levels[priority]
      if (level === undefined || level.total === 0) continue
      let best = 0
      for (let at = 0; at < buckets.length; at++) {
        const bucket = buckets[at] as number
        best = older(best, level.heads[bucket] as number)
        best = older(best, level.heads[BUCKETS + bucket] as number)
      }
      if (best !== 0) return best
    }
    return 0
  }

  /** Without a key, of any bucket (a lease asks for its own first): highest priority, then oldest. */
  bestUnkeyed(): number {
    for (let priority = PRIORITIES - 1; priority >= 0; priority--) {
      const level = this.#levels[priority]
      if (level === undefined || level.total === 0) continue
      let best = 0
      for (let bucket = 0; bucket < BUCKETS; bucket++) best = older(best, level.heads[bucket] as number)
      if (best !== 0) return best
    }
    return 0
  }

  /** The oldest of all, whatever its priority. */
  oldest(): number {
    let best = 0
    for (const level of this.#levels) {
      if (level === undefined || level.total === 0) continue
      for (let lane = 0; lane < LANES; lane++) best = older(best, level.heads[lane] as number)
    }
    return best
  }

  #add(priority: number, lane: number, seq: number): void {
    const level = this.#level(priority)
    level.total += 1
    const head = level.heads[lane] as number
    if (head === 0 || seq < head) level.heads[lane] = seq
    // It was taken out and lies there still.
    if (level.stale[lane]?.delete(seq)) return
    let heap = level.heaps[lane]
    if (heap === undefined) {
      heap = []
      level.heaps[lane] = heap
    }
    heapPush(heap, seq)
  }

  #remove(priority: number, lane: number, seq: number): void {
    const level = this.#level(priority)
    level.total -= 1
    const heap = level.heaps[lane] ?? []
    if (level.heads[lane] !== seq) {
      level.stale[lane] = (level.stale[lane] ?? new Set<number>()).add(seq)
      compact(level, lane)
      return
    }
    heapPop(heap)
    const stale = level.stale[lane]
    while (stale !== undefined && stale.size > 0 && stale.delete(heap[0] ?? 0)) heapPop(heap)
    level.heads[lane] = heap[0] ?? 0
  }

  #level(priority: number): Level {
    const known = this.#levels[priority]
    if (known !== undefined) return known
    const none = (): undefined => undefined
    const level: Level = {
      heads: new Float64Array(LANES),
      heaps: Array.from({ length: LANES }, none),
      stale: Array.from({ length: LANES }, none),
      total: 0,
    }
    this.#levels[priority] = level
    return level
  }
}

function compact(level: Level, lane: number): void {
  const heap = level.heaps[lane] ?? []
  const stale = level.stale[lane]
  if (stale === undefined || 2 * stale.size <= heap.length + STALE_SLACK) return
  // A sorted array is a heap.
  level.heaps[lane] = heap.filter((seq) => !stale.has(seq)).sort((a, b) => a - b)
  stale.clear()
}

function older(best: number, head: number): number {
  return head !== 0 && (best === 0 || head < best) ? head : best
}
