/**
 * Which of several pools a request gets, by weight. What binds it (a cookie, the client's address) gives it the same pool each time, on every
 * gateway, and when weights move only those clients move whose share it is: raising one weight takes clients from the others and gives them to
 * that pool, nobody else changes sides. That is weighted rendezvous hashing. Where nothing binds it, each request draws.
 */
import { hash32 } from '../../lib/hash.ts'
import { pickRendezvous } from './rendezvous.ts'

export interface Share {
  readonly pool: string
  /** 0: it gets nobody new. */
  readonly weight: number
}

/** `hash`: of what binds it; see `splitHash`. `unit`: uniform in [0, 1), anew with each request. */
export type SplitBy = { readonly hash: number } | { readonly unit: number }

/** Not the hash by which a pool chooses among its servers: the few of a canary would all be with the same one of them. */
const SEED = 0x51_17

export function splitHash(value: string): number {
  return hash32(value, SEED)
}

/** Undefined: none of them has a weight. */
export function pickShare<T extends Share>(shares: readonly T[], by: SplitBy): T | undefined {
  return 'hash' in by ? pickBound(shares, by.hash) : draw(shares, by.unit)
}

function pickBound<T extends Share>(shares: readonly T[], hash: number): T | undefined {
  const candidates = shares.map((share) => ({ share, weight: share.weight, hash: hash32(share.pool) }))
  return pickRendezvous(candidates, hash, ({ weight }) => weight > 0)?.share
}

function draw<T extends Share>(shares: readonly T[], unit: number): T | undefined {
  let left = unit * shares.reduce((sum, { weight }) => sum + weight, 0)
  let last: T | undefined
  for (const share of shares) {
    if (share.weight === 0) continue
    last = share
    left -= share.weight
    if (left < 0) break
  }
  return last
}
