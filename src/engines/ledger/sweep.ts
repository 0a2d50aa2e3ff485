/**
 * What time does to a store, in steps of bounded size: leases lapse, delays end, jobs expire, ended ones are removed.
 * Says how long until there is more to do, 0 when a bound was reached.
 */
import type { JobEvent } from '../../core/jobs/machine.ts'
import type { JobRecord } from '../../core/jobs/record.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../../lib/units.ts'
import type { Book } from './book.ts'

export interface SweepLimits {
  /** Lapsed leases, and due or expired jobs, in one step. */
  readonly timers: number
  /** Removed jobs in one step. */
  readonly removals: number
}

export interface SweepMoment {
  readonly now: EpochMillis
  readonly monotonic: MonotonicMillis
  readonly limits: SweepLimits
}

/** False: the event did not apply. */
type Apply = (record: JobRecord, event: JobEvent) => boolean

export function sweep(book: Book, moment: SweepMoment, apply: Apply): Millis | undefined {
  const nextLapse = lapseLeases(book, moment, apply)
  const nextTimer = runTimers(book, moment, apply)
  const nextRemoval = removeEnded(book, moment)
  const dedupAt = book.tables.sweepDedup(moment.now)
  const nextDedup = dedupAt === undefined ? undefined : Math.max(0, dedupAt - moment.now)
  const next = Math.min(...[nextLapse, nextTimer, nextRemoval, nextDedup].map((each) => each ?? Number.POSITIVE_INFINITY))
  return next === Number.POSITIVE_INFINITY ? undefined : next
}

function lapseLeases(book: Book, moment: SweepMoment, apply: Apply): Millis | undefined {
  for (let done = 0; ; done++) {
    const first = book.leases.first()
    if (first === undefined) return undefined
    if (first.until > moment.monotonic) return first.until - moment.monotonic
    if (done === moment.limits.timers) return 0
    const live = book.leases.get(first.seq)
    if (live !== undefined) apply(live.record, { kind: 'lapse' })
  }
}

function runTimers(book: Book, moment: SweepMoment, apply: Apply): Millis | undefined {
  for (let done = 0; ; done++) {
    const first = book.tables.firstTimer()
    if (first === undefined) return undefined
    if (first.at > moment.now) return first.at - moment.now
    if (done === moment.limits.timers) return 0
    const record = book.indexed(first.seq)
    if (record === undefined || apply(record, { kind: 'time' })) continue
    // Nothing was due after all; left in place it would be first for ever.
    book.tables.removeTimer(first.at, first.seq)
  }
}

function removeEnded(book: Book, moment: SweepMoment): Millis | undefined {
  let left = moment.limits.removals
  let next = Number.POSITIVE_INFINITY
  for (const queue of book.queues()) {
    left -= book.evict(queue, { max: left })
    for (const dead of [false, true]) {
      for (;;) {
        const first = book.tables.firstEnded(queue.id, dead)
        if (first === undefined) break
        if (first.keepUntil > moment.now) {
          next = Math.min(next, first.keepUntil - moment.now)
          break
        }
        if (left === 0) return 0
        const record = book.indexed(first.seq)
        if (record !== undefined) book.remove(record)
        left -= 1
      }
    }
  }
  return next === Number.POSITIVE_INFINITY ? undefined : next
}
