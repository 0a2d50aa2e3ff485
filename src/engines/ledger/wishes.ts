/** In which order a lease looks for jobs: own buckets before those of others, and of each the fresh before the old, or the other way round. */
import { allBuckets } from '../../core/jobs/buckets.ts'
import { firstSequenceAt, sequencesIn } from '../../core/jobs/job-id.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { LeaseRequest, QueueRules } from '../../ports/job-store.ts'
import type { Wanted } from './lanes.ts'

export interface Wish extends Wanted {
  /** From others. */
  readonly stolen: boolean
}

export interface Wishes {
  readonly freshFirst: readonly Wish[]
  readonly oldFirst: readonly Wish[]
  /** Job numbers below it are old. */
  readonly border: number
}

const ALL_BUCKETS: Uint8Array = allBuckets()

export function wishesOf({ buckets, stealUnkeyed }: LeaseRequest, { ageingMs, sideline }: QueueRules, now: EpochMillis): Wishes {
  const ageing = ageingMs === undefined ? undefined : sequencesIn(ageingMs)
  const own: Wish = { buckets, unkeyedOnly: false, ageing, stolen: false }
  const others: Wish = { buckets: ALL_BUCKETS, unkeyedOnly: true, ageing, stolen: true }
  const all = stealUnkeyed ? [own, others] : [own]
  if (sideline === undefined) return { freshFirst: all, oldFirst: all, border: 0 }
  const border = firstSequenceAt(now - sideline.afterMs)
  const fresh = (wish: Wish): Wish => ({ ...wish, from: border })
  const old = (wish: Wish): Wish => ({ ...wish, below: border })
  return {
    freshFirst: all.flatMap((wish) => [fresh(wish), old(wish)]),
    oldFirst: all.flatMap((wish) => [old(wish), fresh(wish)]),
    border,
  }
}
