/**
 * Consistent hashing for large pools: a table of slots is dealt to the servers once, each by an order of its own, and a key looks into it
 * (Eisenbud and others, Maglev, NSDI 2016; weighted as in Envoy). Who cannot be used now is passed over by looking again elsewhere, so that
 * its keys alone move, spread over all others, and the table is dealt anew only when the pool itself changes.
 */
import { hash32, mix32 } from '../../lib/hash.ts'

/** A prime; some hundred slots for each server, so that shares differ by less than a hundredth. */
const SLOTS = 65_537
/** After so many misses somebody else has to choose: nearly nobody can be used. */
const LOOKS_MAX = 32
const GOLDEN = 0x9e3779b9

interface Member {
  readonly name: string
  /** As configured: who starts slowly keeps its slots. */
  readonly configuredWeight: number
}

export class MaglevTable<T extends Member> {
  readonly #members: readonly T[]
  readonly #slots: Uint16Array

  constructor(members: readonly T[]) {
    // The order in which they stand in a file must not matter.
    this.#members = members.toSorted((a, b) => (a.name < b.name ? -1 : 1))
    this.#slots = deal(this.#members)
  }

  /** Undefined: of those that were looked at none fits. */
  pick(keyHash: number, fits: (member: T) => boolean): T | undefined {
    for (let look = 0; look < LOOKS_MAX; look++) {
      const slot = mix32(keyHash + Math.imul(look, GOLDEN)) % SLOTS
      const member = this.#members[this.#slots[slot] as number]
      if (member !== undefined && fits(member)) return member
    }
    return undefined
  }
}

const NOBODY = 0xffff

/** In rounds: everybody takes the next slot of its order that is free, the heaviest in each round, the others in proportion. */
function deal(members: readonly Member[]): Uint16Array {
  const slots = new Uint16Array(SLOTS).fill(NOBODY)
  const heaviest = Math.max(...members.map(({ configuredWeight }) => configuredWeight))
  const players = members.map(({ name, configuredWeight }, index) => ({
    index,
    at: hash32(name) % SLOTS,
    step: (hash32(name, 1) % (SLOTS - 1)) + 1,
    share: configuredWeight / heaviest,
    turn: 0,
  }))
  let left = players.length === 0 ? 0 : SLOTS
  while (left > 0) {
    for (const player of players) {
      player.turn += player.share
      if (player.turn < 1 || left === 0) continue
      player.turn -= 1
      while (slots[player.at] !== NOBODY) player.at = (player.at + player.step) % SLOTS
      slots[player.at] = player.index
      left -= 1
    }
  }
  return slots
}
