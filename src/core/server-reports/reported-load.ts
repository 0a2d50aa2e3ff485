/**
 * What servers say of their load, as a factor on the share of each. The share of who is twice as loaded as the middle one is halved, within bounds: nobody
 * starves by what it says, and nobody who claims to be idle gets everything. Who says nothing, or nothing any more, has its own weight.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface LoadRules {
  /** However loaded it says it is, it keeps so much of its weight. More than 0, at most 1. */
  readonly floor: number
  /** What it said counts for so long. */
  readonly expireMs: Millis
}

/** After so long two thirds of an average are new: longer than it takes until a changed share shows in the load, or it would swing. */
export const SMOOTHING_MS: Millis = 2_000
/** Less is idle, and idle ones are alike: of 1 % and 3 % neither is three times as loaded. */
const IDLE = 0.1
/** Who says that it is idle gets at most so many times its weight. */
const FACTOR_MAX = 2

export class ReportedLoad {
  value: number
  at: MonotonicMillis

  constructor(load: number, now: MonotonicMillis) {
    this.value = load
    this.at = now
  }

  observe(load: number, now: MonotonicMillis): void {
    this.value += (load - this.value) * (1 - Math.exp((this.at - now) / SMOOTHING_MS))
    this.at = now
  }
}

/** What everybody is compared with: the middle one, whom a single liar does not move far. More than 1 is too much in any case, with whomever it is compared. */
export function referenceLoad(loads: readonly number[]): number {
  if (loads.length === 0) return 1
  const sorted = loads.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] as number
  const median = sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2
  return Math.min(1, Math.max(IDLE, median))
}

export function loadFactor(load: number, reference: number, { floor }: Pick<LoadRules, 'floor'>): number {
  return Math.min(FACTOR_MAX, Math.max(floor, reference / Math.max(IDLE, load)))
}
