/**
 * Which server gets the next direct request. Candidates are servers that may be used now (up, with a free slot, not excluded);
 * the functions choose among them and never look further.
 */

export interface Candidate {
  readonly weight: number
  readonly inFlight: number
  /** Kept by the algorithm, one per server: smooth weighted round-robin's current weight. */
  credit: number
}

/**
 * Smooth weighted round-robin (as nginx made it known): everyone earns its weight, the richest is chosen and pays the total.
 * Over one cycle each is chosen weight times, spread evenly.
 */
export function pickRoundRobin<T extends Candidate>(candidates: readonly T[]): T | undefined {
  let total = 0
  let best: T | undefined
  for (const candidate of candidates) {
    candidate.credit += candidate.weight
    total += candidate.weight
    if (best === undefined || candidate.credit > best.credit) best = candidate
  }
  if (best !== undefined) best.credit -= total
  return best
}

/** Fewest requests in flight per weight; ties go round, so that an idle pool is not always started at its first server. */
export function pickLeastRequests<T extends Candidate>(candidates: readonly T[]): T | undefined {
  let least = Number.POSITIVE_INFINITY
  for (const candidate of candidates) least = Math.min(least, candidate.inFlight / candidate.weight)
  let total = 0
  let best: T | undefined
  for (const candidate of candidates) {
    if (candidate.inFlight / candidate.weight > least) continue
    candidate.credit += candidate.weight
    total += candidate.weight
    if (best === undefined || candidate.credit > best.credit) best = candidate
  }
  if (best !== undefined) best.credit -= total
  return best
}
