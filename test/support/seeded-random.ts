/** Randomness that a seed repeats. Prints nothing: the test says its seed. */
import type { Random } from '../../src/ports/clock.ts'

export class SeededRandom implements Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** Mulberry32. */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }

  /** 0 .. below - 1 */
  integer(below: number): number {
    return Math.floor(this.unit() * below)
  }

  chance(probability: number): boolean {
    return this.unit() < probability
  }

  pick<T>(from: readonly T[]): T {
    return from[this.integer(from.length)] as T
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.integer(256)))
  }
}

/** From SEED, else by chance. */
export function seedOf(env: NodeJS.ProcessEnv = process.env): number {
  const given = Number(env['SEED'])
  return Number.isSafeInteger(given) && env['SEED'] !== undefined ? given : Math.floor(Math.random() * 2 ** 31)
}
