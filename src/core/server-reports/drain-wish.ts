/**
 * That a server wants no new work, from when it says so until it does not any more. `now` holds as long as its checks repeat it; a duration holds for so
 * long, whatever its checks leave out. Either ends with `off`, with the server, or when it was not repeated for a while: a wish that nobody takes back
 * must not keep a server out for ever.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'
import type { DrainReport } from './read-reports.ts'

export interface DrainWish {
  /** A check that does not repeat it ends it. */
  readonly isOfChecks: boolean
  readonly heardAt: MonotonicMillis
  readonly until: MonotonicMillis
}

/** After a wish is over the next one counts only after so long: states of servers move buckets, so nobody may change his with every answer. */
export const WISH_PAUSE_MS: Millis = 1_000

export function mayWish(endedAt: MonotonicMillis, now: MonotonicMillis): boolean {
  return now - endedAt >= WISH_PAUSE_MS
}

export interface DrainRules {
  /** It holds for so long after it was last heard. */
  readonly maxMs: Millis
}

/** Undefined: it wants none, or no more. */
export function wishAfter(report: DrainReport, now: MonotonicMillis, { maxMs }: DrainRules): DrainWish | undefined {
  if (report === 'off') return undefined
  const forMs = report === 'now' ? maxMs : Math.min(report, maxMs)
  return { isOfChecks: report === 'now', heardAt: now, until: now + forMs }
}

/** A check by HTTP has passed and said nothing of it. One that began before it was heard could not know of it. */
export function wishAfterSilence(wish: DrainWish, checkBegan: MonotonicMillis): DrainWish | undefined {
  return wish.isOfChecks && checkBegan >= wish.heardAt ? undefined : wish
}

export function isOver(wish: DrainWish, now: MonotonicMillis): boolean {
  return now >= wish.until
}
