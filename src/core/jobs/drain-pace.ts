/**
 * How many jobs of a queue may be in flight on each server while live requests come to the same servers. Additive increase, multiplicative
 * decrease: it begins with one, doubles with every look up to where it was halved last, then grows by one; it halves when live requests
 * found no free slot, a server said "not now", or answers take clearly longer than in calm times. Never less than one, so that a backlog always
 * moves. When no live requests come there is nobody to give way to.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

/** What live requests met since the last look. */
export interface LiveWindow {
  readonly came: number
  /** Of these, those that found no free slot. */
  readonly waited: number
  /** How often a server answered 429 or 503, to a request or a job. */
  readonly refused: number
  /** How long servers took to answer them, as a mean. Undefined: too few answered. */
  readonly tookMs: Millis | undefined
  /** Jobs of the queue were in flight. */
  readonly jobs: boolean
}

export interface Pace {
  /** Per server, at least 1. */
  readonly allowed: number
  /** Below it growth doubles. */
  readonly threshold: number
  /** How long an answer takes when nothing is in its way, as far as it is known. */
  readonly calmMs: Millis | undefined
  readonly liveAt: MonotonicMillis
  readonly lookedAt: MonotonicMillis
}

/** Who has not come for so long is not there. */
export const LIVE_QUIET_MS: Millis = 2_000
/** Clearly longer: twice as long as in calm times, and this much more than noise. */
const SLOWER_TIMES = 2
const NOISE_MS: Millis = 10
/** How fast a longer time comes to be the normal one, per look. A shorter one is at once. */
const CALM_SMOOTHING = 0.1
/** More doublings than any limit has. */
const STEPS_MAX = 1_000_000

/** As after an outage: nobody knows yet what the servers bear. */
export function beginPace(now: MonotonicMillis): Pace {
  return { allowed: 1, threshold: Number.POSITIVE_INFINITY, calmMs: undefined, liveAt: Number.NEGATIVE_INFINITY, lookedAt: now }
}

/** There was no server for a while. `came`: live requests since the last look. */
export function restartPace(pace: Pace, now: MonotonicMillis, came: number): Pace {
  return { ...pace, allowed: 1, threshold: Number.POSITIVE_INFINITY, lookedAt: now, liveAt: came > 0 ? now : pace.liveAt }
}

/** One look, `steps` intervals after the last. */
export function afterWindow(
  pace: Pace,
  now: MonotonicMillis,
  window: LiveWindow,
  limits: { readonly max: number; readonly steps: number },
): Pace {
  const seen = { ...pace, calmMs: calmAfter(pace, window), liveAt: window.came > 0 ? now : pace.liveAt, lookedAt: now }
  if (isTrouble(pace, window)) {
    const half = Math.max(1, Math.floor(Math.min(pace.allowed, limits.max) / 2))
    return { ...seen, allowed: half, threshold: half }
  }
  return { ...seen, allowed: grown(pace, limits) }
}

/** On each server, of at most `max`. Who came in the last window is there until the next look, however long that takes. */
export function jobsAllowed(pace: Pace, now: MonotonicMillis, max: number, intervalMs: Millis = 0): number {
  return now - pace.liveAt < Math.max(LIVE_QUIET_MS, intervalMs) ? Math.min(pace.allowed, max) : max
}

function grown({ allowed, threshold }: Pace, { max, steps }: { readonly max: number; readonly steps: number }): number {
  let to = allowed
  let left = Math.min(steps, STEPS_MAX)
  for (; left > 0 && to < max && to < threshold; left--) to = Math.min(to * 2, Math.max(threshold, to + 1))
  return Math.max(1, Math.min(to + left, max))
}

function isTrouble({ calmMs }: Pace, { waited, refused, tookMs, jobs }: LiveWindow): boolean {
  if (waited > 0 || refused > 0) return true
  return jobs && calmMs !== undefined && tookMs !== undefined && tookMs > SLOWER_TIMES * calmMs + NOISE_MS
}

/**
 * While jobs are in flight a longer time may be their doing: then it is not the normal one. But not while they are as few as can be; else a
 * moment in which only quick requests came would hold the pace down for as long as there is a backlog.
 */
function calmAfter({ calmMs, allowed }: Pace, { tookMs, jobs }: LiveWindow): Millis | undefined {
  if (tookMs === undefined) return calmMs
  if (calmMs === undefined || tookMs < calmMs) return tookMs
  return jobs && allowed > 1 ? calmMs : calmMs + (tookMs - calmMs) * CALM_SMOOTHING
}
