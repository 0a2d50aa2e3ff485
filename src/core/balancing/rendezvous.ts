/**
 * Consistent hashing by weighted rendezvous: every (server, key) pair has a score that depends on nothing else, and the highest wins. When a
 * server goes its keys alone move, and in proportion to the weights of the others. Each pick looks at all servers; `maglev.ts` is for pools
 * where that is too many. (Thaler, Ravishankar 1998; the weights as in Resch's "New Hashing Algorithms for Data Storage", 2015.)
 */
import { mix32 } from '../../lib/hash.ts'

/** weight / -ln(u), u uniform in (0, 1): the highest of these falls to a server with a chance in proportion to its weight. */
export function rendezvousScore(serverHash: number, keyHash: number, weight: number): number {
  const uniform = (mix32(serverHash ^ keyHash) + 0.5) / 0x1_0000_0000
  return weight / -Math.log(uniform)
}

function ownWeight({ weight }: { readonly weight: number }): number {
  return weight
}

export function pickRendezvous<T extends { readonly hash: number; readonly weight: number }>(
  candidates: readonly T[],
  keyHash: number,
  fits: (candidate: T) => boolean,
  weightOf: (candidate: T) => number = ownWeight,
): T | undefined {
  const spread = mix32(keyHash + 1)
  let best: T | undefined
  let bestScore = -1
  for (const candidate of candidates) {
    if (!fits(candidate)) continue
    const score = rendezvousScore(candidate.hash, spread, weightOf(candidate))
    if (score <= bestScore) continue
    best = candidate
    bestScore = score
  }
  return best
}
