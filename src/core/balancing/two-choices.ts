/**
 * Two candidates are drawn by weight, and the one that costs less is taken: nearly as good as to compare all of them, without sending
 * everybody to the same one (Mitzenmacher, The Power of Two Choices, 2001).
 */
import type { MonotonicMillis } from '../../lib/units.ts'
import type { Candidate } from './candidate.ts'

/** A difference that is smaller is noise, and says less than the weights do, by which the first one was drawn. */
const NOISE = 0.1

/** `unit`: uniform in [0, 1), anew with each call. `cost`: the first drawn wins a tie, and what is nearly one. */
export function pickOfTwo<T extends Candidate>(
  candidates: readonly T[],
  unit: () => number,
  cost: (candidate: T) => number,
): T | undefined {
  if (candidates.length < 2) return candidates[0]
  const first = draw(candidates, unit(), undefined)
  const second = draw(candidates, unit(), first)
  return cost(second) < cost(first) * (1 - NOISE) ? second : first
}

/** In proportion to the weights, `but` one. */
function draw<T extends Candidate>(candidates: readonly T[], unit: number, but: T | undefined): T {
  let total = 0
  for (const candidate of candidates) if (candidate !== but) total += candidate.weight
  let left = total * unit
  let last: T | undefined
  for (const candidate of candidates) {
    if (candidate === but) continue
    last = candidate
    left -= candidate.weight
    if (left < 0) break
  }
  return last as T
}

/** How busy it is. Weights were heeded when it was drawn; here they say how much it can have at once. */
export function busyness({ inFlight, weight }: Candidate): number {
  return inFlight / weight
}

/** Nothing is known of it: one request finds out, the next ones rather go where something is known. */
const UNKNOWN_MS = 1e6

/** How long a request would take there, roughly: how long one takes, times those that share the server with it. */
export function expectedMs(candidate: Candidate, now: MonotonicMillis): number {
  const busy = busyness(candidate)
  if (!candidate.latency.known) return busy * UNKNOWN_MS
  return candidate.latency.ms(now) * (busy + 1)
}
