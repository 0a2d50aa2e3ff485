/**
 * A Bloom filter that grows: "surely not" or "maybe" for a set of hashed values, at 16 bits a value (1 in 2,000 wrong at worst).
 * When a block is full the next one, twice as large, takes over.
 */

const BITS_PER_VALUE = 16
const PROBES = 7
const FIRST_CAPACITY = 256
const CAPACITY_MAX = 65_536

interface Block {
  readonly bits: Uint8Array
  readonly capacity: number
  used: number
}

export class Bloom {
  readonly #blocks: Block[] = [newBlock(FIRST_CAPACITY)]

  /** Two independent 32-bit hashes stand for the value. */
  add(hash1: number, hash2: number): void {
    let block = this.#blocks[this.#blocks.length - 1] as Block
    if (block.used === block.capacity) {
      block = newBlock(Math.min(CAPACITY_MAX, 2 * block.capacity))
      this.#blocks.push(block)
    }
    block.used += 1
    const mask = block.bits.length * 8 - 1
    for (let probe = 0; probe < PROBES; probe++) {
      const bit = (hash1 + Math.imul(probe, hash2 | 1)) & mask
      block.bits[bit >> 3] = (block.bits[bit >> 3] as number) | (1 << (bit & 7))
    }
  }

  mayHave(hash1: number, hash2: number): boolean {
    return this.#blocks.some((block) => blockMayHave(block, hash1, hash2))
  }
}

function newBlock(capacity: number): Block {
  return { bits: new Uint8Array((capacity * BITS_PER_VALUE) / 8), capacity, used: 0 }
}

function blockMayHave(block: Block, hash1: number, hash2: number): boolean {
  const mask = block.bits.length * 8 - 1
  for (let probe = 0; probe < PROBES; probe++) {
    const bit = (hash1 + Math.imul(probe, hash2 | 1)) & mask
    if (((block.bits[bit >> 3] as number) & (1 << (bit & 7))) === 0) return false
  }
  return true
}
