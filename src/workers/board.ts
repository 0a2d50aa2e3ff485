/**
 * What all threads of a gateway count together, in memory that they share: requests in flight per server, client connections, and per pool
 * whether somebody waits in the chief's line. A thread that dies leaves what it had taken; the chief gives that back.
 */
import { SharedTally, type Tally } from '../lib/tally.ts'

/** Servers, those that have left lately among them, of all pools. */
const CELLS = 16_384
const POOLS = 1_024
const ROUTES = 8_192
/** The first cell of each row: client connections. */
const CONNECTIONS = 0
/** The chief is the first one. */
const CHIEF = 0

/** Per pool. */
const WAITING = 0
const HUNGRY = 1
const TOLD = 2
const FLAGS = 3

/** Of one pool: what its line in the chief wants of the other threads. */
export interface PoolSigns {
  /** Somebody waits for a slot: nobody else may take one first. */
  readonly waiting: boolean
  /** A slot is free again. True: the chief is to be told, and nobody has told it yet. */
  freed(): boolean
}

export interface ChiefSigns extends PoolSigns {
  waits(count: number): void
  /** A job found no slot. */
  isHungry(): void
  /** The chief looks now: whoever frees one from now on tells it again. */
  looks(): void
}

export class Board {
  readonly buffer: SharedArrayBuffer
  readonly #cells: Int32Array
  readonly #thread: number
  readonly #flagsAt: number
  readonly #routesAt: number

  private constructor(buffer: SharedArrayBuffer, thread: number) {
    this.buffer = buffer
    this.#cells = new Int32Array(buffer)
    this.#thread = thread
    this.#flagsAt = this.#cells.length - POOLS * FLAGS - ROUTES
    this.#routesAt = this.#cells.length - ROUTES
  }

  /** For the chief and so many workers. */
  static create(workers: number): Board {
    const rows = 1 + 1 + workers
    return new Board(new SharedArrayBuffer((rows * CELLS + POOLS * FLAGS + ROUTES) * Int32Array.BYTES_PER_ELEMENT), CHIEF)
  }

  /** As a worker sees it: 1 is the first one. */
  static of(buffer: SharedArrayBuffer, worker: number): Board {
    return new Board(buffer, worker)
  }

  get connections(): Tally {
    return this.tally(CONNECTIONS)
  }

  /** 1 to `cellsMax`. */
  tally(cell: number): Tally {
    return new SharedTally(this.#cells, { total: cell, own: (1 + this.#thread) * CELLS + cell })
  }

  signs(pool: number): ChiefSigns {
    const at = this.#flagsAt + pool * FLAGS
    const cells = this.#cells
    return {
      get waiting() {
        return Atomics.load(cells, at + WAITING) > 0
      },
      freed: () =>
        (Atomics.load(cells, at + WAITING) > 0 || Atomics.load(cells, at + HUNGRY) > 0) && Atomics.exchange(cells, at + TOLD, 1) === 0,
      waits: (count) => void Atomics.store(cells, at + WAITING, count),
      isHungry: () => void Atomics.store(cells, at + HUNGRY, 1),
      looks: () => {
        Atomics.store(cells, at + TOLD, 0)
        Atomics.store(cells, at + HUNGRY, 0)
      },
    }
  }

  /** Its requests are the chief's. */
  isRelayed(route: number): boolean {
    return Atomics.load(this.#cells, this.#routesAt + route) > 0
  }

  relay(route: number, isRelayed: boolean): void {
    Atomics.store(this.#cells, this.#routesAt + route, isRelayed ? 1 : 0)
  }

  /** Nobody holds any more what this worker had: it is dead. */
  giveBack(worker: number): void {
    const row = (1 + worker) * CELLS
    for (let cell = 0; cell < CELLS; cell++) {
      const had = Atomics.exchange(this.#cells, row + cell, 0)
      if (had !== 0) Atomics.sub(this.#cells, cell, had)
    }
  }
}

/**
 * Which cell is whose. The chief alone hands them out. Who has left keeps its own until all are taken: if it comes back, other threads may not have
 * heard yet that it was gone, and all must count in the same one.
 */
export class Cells {
  readonly #of = new Map<string, number>()
  /** Whoever left first is first. */
  readonly #left = new Set<string>()
  #next = 1

  /** Undefined: all are taken. */
  of(pool: string, server: string): number | undefined {
    const name = `${pool}\n${server}`
    const known = this.#of.get(name)
    this.#left.delete(name)
    if (known !== undefined) return known
    const cell = this.#next < CELLS ? this.#next++ : this.#ofWhoLeft()
    if (cell !== undefined) this.#of.set(name, cell)
    return cell
  }

  /** Nothing is in flight there any more. */
  forget(pool: string, server: string): void {
    const name = `${pool}\n${server}`
    if (this.#of.has(name)) this.#left.add(name)
  }

  #ofWhoLeft(): number | undefined {
    for (const name of this.#left) {
      const cell = this.#of.get(name)
      this.#left.delete(name)
      this.#of.delete(name)
      return cell
    }
    return undefined
  }
}

export const POOLS_MAX = POOLS
export const ROUTES_MAX = ROUTES
