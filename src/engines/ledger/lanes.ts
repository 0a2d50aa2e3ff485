/**
 * The ready jobs of one tenant of one queue, in memory: for every priority and lane a heap of job numbers, eight bytes a job. On disk they
 * are a list in order of acceptance, which costs next to nothing to write; sorted by lane there, every job would dirty a page of its own.
 * Only lanes with jobs in them take room, so a great many small tenants do not weigh much either.
 */
import { BUCKETS, hasBucket } from '../../core/jobs/buckets.ts'
import { heapPop, heapPush } from '../../lib/number-heap.ts'

const PRIORITIES = 10
/** Removed jobs that may lie in a heap before it is made anew, beside as many as are live. */
const STALE_SLACK = 64

/** One priority. The arrays belong together: the lanes that have jobs, in ascending order, and for each the first job and all of them. */
interface Level {
  readonly lanes: number[]
  readonly heads: number[]
  readonly heaps: number[][]
  /** Removed, but still in the heap: they were not its first. By lane. */
  readonly stale: Map<number, Set<number>>
  total: number
}

/** Lanes 0..255: jobs without a key, by bucket. 256..511: jobs that are the first of their key. */
export function laneOf(bucket: number, keyed: boolean): number {
  return keyed ? BUCKETS + bucket : bucket
}

/** Which jobs a lease may take. */
export interface Wanted {
  /** Of these buckets. */
  readonly buckets: Uint8Array
  readonly unkeyedOnly: boolean
  /** Job numbers by which one step of priority goes ahead; absent: priority is strict. */
  readonly ageing: number | undefined
}

export class Lanes {
  /** By priority; made when first needed. */
  readonly #levels: (Level | undefined)[] = Array.from({ length: PRIORITIES }, () => undefined)
  #size = 0

  get size(): number {
    return this.#size
  }

  add(priority: number, lane: number, seq: number): void {
    const level = this.#level(priority)
    level.total += 1
    this.#size += 1
    // It was taken out and lies there still.
    const lies = level.stale.get(lane)?.delete(seq) === true
    const at = indexOf(level.lanes, lane)
    if (level.lanes[at] !== lane) {
      level.lanes.splice(at, 0, lane)
      level.heads.splice(at, 0, seq)
      level.heaps.splice(at, 0, [seq])
      return
    }
    if (seq < (level.heads[at] as number)) level.heads[at] = seq
    if (!lies) heapPush(level.heaps[at] as number[], seq)
  }

  remove(priority: number, lane: number, seq: number): void {
    const level = this.#level(priority)
    const at = indexOf(level.lanes, lane)
    // Where an index was damaged it is somewhere else, and found out when it comes again.
    if (level.lanes[at] !== lane) return
    level.total -= 1
    this.#size -= 1
    const heap = level.heaps[at] as number[]
    const stale = level.stale.get(lane)
    if (level.heads[at] !== seq) {
      if (stale === undefined) level.stale.set(lane, new Set([seq]))
      else stale.add(seq)
      return compact(level, lane, at)
    }
    heapPop(heap)
    while (stale !== undefined && stale.size > 0 && stale.delete(heap[0] ?? 0)) heapPop(heap)
    const head = heap[0]
    if (head !== undefined) {
      level.heads[at] = head
      return
    }
    level.lanes.splice(at, 1)
    level.heads.splice(at, 1)
    level.heaps.splice(at, 1)
    level.stale.delete(lane)
  }

  /** Highest priority, then oldest; where priorities age, the one that is the most urgent of all. 0: nothing is ready. */
  best(wanted: Wanted): number {
    let best = 0
    let bestRank = Number.POSITIVE_INFINITY
    for (let priority = PRIORITIES - 1; priority >= 0; priority--) {
      const level = this.#levels[priority]
      if (level === undefined || level.total === 0) continue
      const seq = firstOf(level, wanted)
      if (seq === 0) continue
      if (wanted.ageing === undefined) return seq
      // As if it had been accepted so much earlier.
      const rank = seq - priority * wanted.ageing
      if (rank < bestRank) {
        best = seq
        bestRank = rank
      }
    }
    return best
  }

  /** The oldest of all, whatever its priority. */
  oldest(): number {
    let best = 0
    for (const level of this.#levels) {
      for (const head of level?.heads ?? []) if (best === 0 || head < best) best = head
    }
    return best
  }

  #level(priority: number): Level {
    const known = this.#levels[priority]
    if (known !== undefined) return known
    const level: Level = { lanes: [], heads: [], heaps: [], stale: new Map(), total: 0 }
    this.#levels[priority] = level
    return level
  }
}

function firstOf(level: Level, { buckets, unkeyedOnly }: Wanted): number {
  const { lanes, heads } = level
  let best = 0
  for (let at = 0; at < lanes.length; at++) {
    const lane = lanes[at] as number
    if (unkeyedOnly && lane >= BUCKETS) break
    const head = heads[at] as number
    if ((best === 0 || head < best) && hasBucket(buckets, lane % BUCKETS)) best = head
  }
  return best
}

function compact(level: Level, lane: number, at: number): void {
  const heap = level.heaps[at] as number[]
  const stale = level.stale.get(lane)
  if (stale === undefined || 2 * stale.size <= heap.length + STALE_SLACK) return
  // A sorted array is a heap.
  level.heaps[at] = heap.filter((seq) => !stale.has(seq)).sort((a, b) => a - b)
  stale.clear()
}

/** Where the lane stands, or would. */
function indexOf(lanes: readonly number[], lane: number): number {
  let low = 0
  let high = lanes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((lanes[middle] as number) < lane) low = middle + 1
    else high = middle
  }
  return low
}
