/**
 * Which server gets the next direct request: one of the algorithms, as a value. It chooses among candidates, which may all be used now.
 */
import type { MonotonicMillis } from '../../lib/units.ts'
import type { Candidate } from './candidate.ts'
import { MaglevTable } from './maglev.ts'
import { pickRendezvous } from './rendezvous.ts'
import { pickLeastRequests, pickRoundRobin } from './turns.ts'
import { busyness, expectedMs, pickOfTwo } from './two-choices.ts'

export type BalanceRule =
  | 'round-robin'
  | 'least-requests'
  | 'random'
  | 'peak-ewma'
  /** By hash: nobody has more than so many times its share of what is in flight. */
  | { readonly loadMax: number }

export interface Choice {
  readonly now: MonotonicMillis
  /** Of what binds the request to a server; absent: nothing does. */
  readonly keyHash?: number | undefined
}

export interface Member extends Candidate {
  readonly configuredWeight: number
  /** What of its `weight` comes of the load that it tells. Absent: 1. */
  readonly loadFactor?: number
}

export interface Balancer<T extends Member> {
  pick(candidates: readonly T[], choice: Choice): T | undefined
}

/** From so many servers on the table is quicker than looking at each. */
const LARGE_POOL = 64

/** `members`: all servers of the pool, usable or not. `unit`: uniform in [0, 1), anew with each call. */
export function createBalancer<T extends Member>(rule: BalanceRule, members: readonly T[], unit: () => number): Balancer<T> {
  switch (rule) {
    case 'round-robin':
      return { pick: pickRoundRobin }
    case 'least-requests':
      return { pick: pickLeastRequests }
    case 'random':
      return { pick: (candidates) => pickOfTwo(candidates, unit, busyness) }
    case 'peak-ewma':
      return { pick: (candidates, { now }) => pickOfTwo(candidates, unit, (candidate) => expectedMs(candidate, now)) }
    default:
      return new HashBalancer(rule.loadMax, members, unit)
  }
}

/** Consistent, with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016): who has more than its share of what is in flight is passed over. */
class HashBalancer<T extends Member> implements Balancer<T> {
  readonly #loadMax: number
  readonly #unit: () => number
  readonly #table: MaglevTable<T> | undefined

  constructor(loadMax: number, members: readonly T[], unit: () => number) {
    this.#loadMax = loadMax
    this.#unit = unit
    this.#table = members.length >= LARGE_POOL ? new MaglevTable(members) : undefined
  }

  pick(candidates: readonly T[], { keyHash }: Choice): T | undefined {
    if (keyHash === undefined) return pickOfTwo(candidates, this.#unit, busyness)
    const hasRoom = underBound(candidates, this.#loadMax)
    if (this.#table === undefined) return pickRendezvous(candidates, keyHash, hasRoom, steadyWeight)
    const usable = new Set(candidates)
    return (
      this.#table.pick(keyHash, (member) => usable.has(member) && hasRoom(member)) ??
      pickRendezvous(candidates, keyHash, hasRoom, steadyWeight)
    )
  }
}

/** Keys stay where they are when loads change: a server that is loaded has less room instead. */
function steadyWeight({ weight, loadFactor = 1 }: Member): number {
  return weight / loadFactor
}

/** May it have one more? Always true of one of them at least, since together they may have more than they have. */
function underBound<T extends Candidate>(candidates: readonly T[], loadMax: number): (candidate: T) => boolean {
  let inFlight = 1
  let weights = 0
  for (const candidate of candidates) {
    inFlight += candidate.inFlight
    weights += candidate.weight
  }
  const each = (loadMax * inFlight) / weights
  return (candidate) => candidate.inFlight < Math.ceil(each * candidate.weight)
}
