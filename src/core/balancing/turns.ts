/** Balancing by turns: everybody in proportion to its weight, all of them or those that have the least to do. */
import type { Candidate } from './candidate.ts'

type Player = Pick<Candidate, 'weight' | 'credit'>

/**
 * Smooth weighted round-robin (as nginx made it known): everyone earns its weight, the richest is chosen and pays the total.
 * Over one cycle each is chosen weight times, spread evenly.
 */
export function pickRoundRobin<T extends Player>(candidates: readonly T[]): T | undefined {
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
export function pickLeastRequests<T extends Player & Pick<Candidate, 'inFlight'>>(candidates: readonly T[]): T | undefined {
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

/** Fewest tunnels per weight; the first of several. */
export function pickFewestTunnels<T extends { readonly tunnels: number; readonly weight: number }>(
  candidates: readonly T[],
): T | undefined {
  let best: T | undefined
  for (const candidate of candidates) {
    if (best === undefined || candidate.tunnels / candidate.weight < best.tunnels / best.weight) best = candidate
  }
  return best
}
