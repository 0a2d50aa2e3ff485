/**
 * The ready jobs of one tenant of one queue, in memory: for every priority and lane a sorted list of job numbers, eight bytes a job. On disk they
 * are a list in order of acceptance, which costs next to nothing to write; sorted by lane there, every job would dirty a page of its own.
 * Jobs come almost in order of their numbers, so adding one is adding it at the end. Only lanes with jobs in them take room, so a great many
 * small tenants do not weigh much either.
 */
import { BUCKETS, hasBucket } from '../../core/jobs/buckets.ts'
import { Ascending } from '../../lib/ascending.ts'

const PRIORITIES = 10

/** One priority. The arrays belong together: the lanes that have jobs, in ascending order, and for each the first job and all of them. */
interface Level {
  readonly lanes: number[]
  readonly heads: number[]
  readonly jobs: Ascending[]
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
  /** Job numbers from this one on; absent: any. */
  readonly from?: number
  /** Job numbers below this one; absent: any. */
  readonly below?: number
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
    const at = indexOf(level.lanes, lane)
    if (level.lanes[at] !== lane) {
      level.lanes.splice(at, 0, lane)
      level.heads.splice(at, 0, seq)
      level.jobs.splice(at, 0, new Ascending(seq))
      return
    }
    if (seq < (level.heads[at] as number)) level.heads[at] = seq
    ;(level.jobs[at] as Ascending).add(seq)
  }

  remove(priority: number, lane: number, seq: number): void {
    const level = this.#level(priority)
    const at = indexOf(level.lanes, lane)
    // Where an index was damaged it is somewhere else, and found out when it comes again.
    if (level.lanes[at] !== lane) return
    const jobs = level.jobs[at] as Ascending
    if (!jobs.delete(seq)) return
    level.total -= 1
    this.#size -= 1
    const head = jobs.first
    if (head !== undefined) {
      level.heads[at] = head
      return
    }
    level.lanes.splice(at, 1)
    level.heads.splice(at, 1)
    level.jobs.splice(at, 1)
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
    const level: Level = { lanes: [], heads: [], jobs: [], total: 0 }
    this.#levels[priority] = level
    return level
  }
}

function firstOf(level: Level, { buckets, unkeyedOnly, from = 0, below = Number.POSITIVE_INFINITY }: Wanted): number {
  const { lanes, heads, jobs } = level
  let best = 0
  let limit = below
  for (let at = 0; at < lanes.length; at++) {
    const lane = lanes[at] as number
    if (unkeyedOnly && lane >= BUCKETS) break
    let seq = heads[at] as number
    if (seq >= limit || !hasBucket(buckets, lane % BUCKETS)) continue
    if (seq < from) {
      const next = (jobs[at] as Ascending).firstFrom(from)
      if (next === undefined || next >= limit) continue
      seq = next
    }
    best = seq
    limit = seq
  }
  return best
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
