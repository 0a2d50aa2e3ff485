/**
 * The world of a simulation: one virtual time for the gateway, its clients and its servers, in which things happen one after another.
 * Time moves only when everything is quiet: microtasks, ticks of streams and planned immediates have run. So a seed is a history.
 * A gateway's process is a part of it: it can be stopped for a while, when its timers and what arrives wait for it, and it can be killed.
 */
import type { Clock, Timer } from '../../src/ports/clock.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { History } from './history.ts'

/** What the kernel does for a process: a stopped one gets it later, a killed one never. */
type Phase = 'timer' | 'io'

interface Planned {
  readonly at: number
  readonly order: number
  readonly process: Process | undefined
  readonly phase: Phase
  fn: (() => void) | undefined
}

const realImmediate = globalThis.setImmediate
const TIMER_MIN_MS = 1
/** 2030-01-01: job ids count milliseconds since 2024 and want a time after that. */
const WALL_START = Date.UTC(2030, 0, 1)

export class Process {
  readonly name: string
  alive = true
  paused = false
  longestPauseMs = 0
  /** What became due while it was stopped, by phase of its event loop. */
  readonly held: Record<Phase, Planned[]> = { timer: [], io: [] }

  constructor(name: string) {
    this.name = name
  }
}

export class World {
  readonly history: History
  readonly #seed: number
  readonly #heap: Planned[] = []
  #now = 0
  #order = 0
  #wallOffset = WALL_START
  #wallMax = 0
  #immediates: (() => void)[] = []
  #steps = 0
  readonly #stopped = new Set<Process>()

  constructor(seed: number) {
    this.#seed = seed
    this.history = new History(() => this.#now)
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.#now
  }

  get wall(): number {
    return this.#wallOffset + this.#now
  }

  get steps(): number {
    return this.#steps
  }

  /** The latest that it ever was. */
  get wallMax(): number {
    return Math.max(this.#wallMax, this.wall)
  }

  jumpWall(byMs: number): void {
    this.#wallMax = this.wallMax
    this.#wallOffset += byMs
  }

  /** Chance of its own for a part of the world: what one part draws does not change what another gets. */
  stream(salt: number): SeededRandom {
    const mixed = Math.imul(this.#seed + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b)
    return new SeededRandom(mixed ^ (mixed >>> 15))
  }

  /** Something outside of any gateway. */
  after(delayMs: number, fn: () => void): Timer {
    return this.at(this.#now + Math.max(0, delayMs), fn)
  }

  at(time: number, fn: () => void): Timer {
    return this.#plan({ at: time, process: undefined, phase: 'io', fn })
  }

  /** Something that the kernel brings to a process. */
  deliver(process: Process, delayMs: number, fn: () => void): Timer {
    return this.deliverAt(process, this.#now + Math.max(0, delayMs), fn)
  }

  deliverAt(process: Process, time: number, fn: () => void): Timer {
    return this.#plan({ at: time, process, phase: 'io', fn })
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.after(delayMs, resolve))
  }

  clockOf(process: Process): Clock {
    return {
      now: () => Math.floor(this.wall),
      monotonic: () => this.#now,
      // As the runtime does it: whole milliseconds, at least one.
      after: (delay, fn) => this.#plan({ at: this.#now + Math.max(TIMER_MIN_MS, Math.trunc(delay)), process, phase: 'timer', fn }),
    }
  }

  pause(process: Process, forMs: number): void {
    if (process.paused || !process.alive) return
    process.paused = true
    process.longestPauseMs = Math.max(process.longestPauseMs, forMs)
    this.#stopped.add(process)
    this.after(forMs, () => void (process.paused = false))
  }

  kill(process: Process): void {
    process.alive = false
    this.#immediates = []
  }

  /** Runs what is due until `done` says so or the time is up. False: the time was up. */
  async runUntil(done: () => boolean, forMs: number): Promise<boolean> {
    const end = this.#now + forMs
    await this.#settle()
    while (!done()) {
      const next = this.#heap[0]
      if (next === undefined || next.at > end) {
        this.#now = end
        return false
      }
      this.#pop()
      await this.#run(next)
    }
    return true
  }

  /** While `work` runs, immediates of the whole process are planned here. */
  async inside<T>(work: () => Promise<T>): Promise<T> {
    const plan = (fn: (...args: unknown[]) => void, ...args: unknown[]): NodeJS.Immediate => {
      this.#immediates.push(() => fn(...args))
      return {} as NodeJS.Immediate
    }
    globalThis.setImmediate = plan as unknown as typeof setImmediate
    try {
      return await work()
    } finally {
      globalThis.setImmediate = realImmediate
    }
  }

  async #run(next: Planned): Promise<void> {
    this.#now = Math.max(this.#now, next.at)
    const { process } = next
    if (process?.paused === true) {
      process.held[next.phase].push(next)
      return
    }
    await this.#call(next)
    await this.#immediatesDone()
    if (this.#stopped.size > 0) await this.#wakeUp()
  }

  /** A process that goes on serves its timers first, then what has arrived, then its immediates: one turn of its event loop. */
  async #wakeUp(): Promise<void> {
    for (const process of this.#stopped) {
      if (process.paused) continue
      this.#stopped.delete(process)
      for (const phase of ['timer', 'io'] as const) for (const held of process.held[phase].splice(0)) await this.#call(held)
      await this.#immediatesDone()
    }
  }

  async #call(planned: Planned): Promise<void> {
    const { fn, process } = planned
    planned.fn = undefined
    if (fn === undefined || process?.alive === false) return
    this.#steps++
    fn()
    await turn()
  }

  async #immediatesDone(): Promise<void> {
    while (this.#immediates.length > 0) {
      const batch = this.#immediates
      this.#immediates = []
      for (const fn of batch) {
        fn()
        await turn()
      }
    }
  }

  async #settle(): Promise<void> {
    await turn()
    await this.#immediatesDone()
  }

  #plan(what: Omit<Planned, 'order'>): Timer {
    const planned: Planned = { ...what, order: this.#order++ }
    this.#push(planned)
    return { cancel: () => void (planned.fn = undefined) }
  }

  // --- a binary heap by time, then order of planning

  #push(planned: Planned): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(planned)
    while (at > 0) {
      const up = (at - 1) >> 1
      if (!isBefore(planned, heap[up] as Planned)) break
      heap[at] = heap[up] as Planned
      at = up
    }
    heap[at] = planned
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Planned
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let down = 2 * at + 1
      if (down >= heap.length) break
      if (down + 1 < heap.length && isBefore(heap[down + 1] as Planned, heap[down] as Planned)) down++
      if (!isBefore(heap[down] as Planned, last)) break
      heap[at] = heap[down] as Planned
      at = down
    }
    heap[at] = last
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.at === b.at ? a.order < b.order : a.at < b.at
}

/** Microtasks, and ticks of streams, until there are none. */
function turn(): Promise<void> {
  return new Promise((resolve) => void realImmediate(resolve))
}
