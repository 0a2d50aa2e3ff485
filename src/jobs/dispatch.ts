/** Hands out the jobs of every queue that has a pool: one `Line` per queue, woken by the bus, ended by `drain`. */
import type { QueueConfig } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Lease, LeaseRef, QueueName, StoredJob } from '../ports/job-store.ts'
import type { AttemptContext } from './attempt.ts'
import { Line, type LineHooks } from './line.ts'

export class Dispatcher {
  readonly #context: AttemptContext
  readonly #pools: ReadonlyMap<string, Pool>
  readonly #hooks: LineHooks
  readonly #lines = new Map<QueueName, Line>()
  /** No longer worked off by their pool; their last attempts are under way. */
  readonly #leaving = new Set<Line>()
  /** Set, and to be worked off when what runs by the settings of before has ended. */
  readonly #coming = new Map<QueueName, QueueConfig>()
  #unsubscribe: (() => void) | undefined
  #drained: Promise<void> | undefined

  constructor(queues: readonly QueueConfig[], pools: ReadonlyMap<string, Pool>, context: AttemptContext, hooks: LineHooks) {
    this.#context = context
    this.#pools = pools
    this.#hooks = hooks
    for (const queue of queues) {
      if (queue.pool === undefined) continue
      const pool = pools.get(queue.pool)
      if (pool === undefined) throw new Error(`queue ${queue.name} names the pool ${queue.pool}, which does not exist`)
      this.#lines.set(queue.name, new Line(queue, pool, context, hooks))
    }
  }

  start(): void {
    this.#unsubscribe = this.#context.bus.subscribe((event) => {
      if (event.kind === 'ready') this.#lines.get(event.queue)?.wake()
    })
    for (const line of this.#lines.values()) line.start()
  }

  /** The queue is made, or set anew: from now on it is worked off by its pool, if it has one that is there. */
  async set(queue: QueueConfig): Promise<void> {
    const pool = queue.pool === undefined ? undefined : this.#pools.get(queue.pool)
    const line = this.#lines.get(queue.name)
    if (line !== undefined && line.pool === pool) return line.reconfigure(queue)
    const left = this.remove(queue.name)
    this.#coming.set(queue.name, queue)
    await left
    // It was set once more, or removed.
    if (this.#coming.get(queue.name) !== queue) return
    this.#coming.delete(queue.name)
    if (pool === undefined || this.#drained !== undefined) return
    const made = new Line(queue, pool, this.#context, this.#hooks)
    this.#lines.set(queue.name, made)
    if (this.#unsubscribe !== undefined) made.start()
  }

  /** Nothing more is handed out. Resolves when what runs has ended: until then the next line could not know of it. */
  async remove(queue: QueueName): Promise<void> {
    this.#coming.delete(queue)
    const line = this.#lines.get(queue)
    if (line !== undefined) {
      this.#lines.delete(queue)
      this.#leaving.add(line)
    }
    const leaving = [...this.#leaving].filter((each) => each.queue.name === queue)
    await Promise.all(leaving.map((each) => each.stop()))
    for (const each of leaving) this.#leaving.delete(each)
  }

  /** Looks again everywhere: for what the bus may have lost. */
  wakeAll(): void {
    for (const line of this.#lines.values()) line.wake()
  }

  line(queue: QueueName): Line | undefined {
    return this.#lines.get(queue)
  }

  get lines(): Iterable<Line> {
    return this.#lines.values()
  }

  get inFlight(): number {
    let sum = 0
    for (const line of this.#all()) sum += line.inFlight
    return sum
  }

  /** The job does not run any more, and not because its attempt was settled here. */
  left(job: StoredJob): void {
    for (const line of this.#linesOf(job.queue)) line.left(job)
  }

  /** The server asks for more time for an attempt that is under way here. False: it is not. */
  extend(queue: QueueName, ref: LeaseRef, forMs: Millis): boolean {
    return this.#linesOf(queue).some((line) => line.extend(ref, forMs))
  }

  /** An attempt of the job, or of its key, is still under way here, although it has lost its lease. */
  clashes(lease: Lease): boolean {
    for (const line of this.#linesOf(lease.job.queue)) if (line.clashes(lease)) return true
    return false
  }

  async extendLeases(): Promise<void> {
    await Promise.all(this.#all().map((line) => line.extendLeases()))
  }

  #all(): Line[] {
    return [...this.#lines.values(), ...this.#leaving]
  }

  #linesOf(queue: QueueName): readonly Line[] {
    const line = this.#lines.get(queue)
    if (this.#leaving.size === 0) return line === undefined ? [] : [line]
    return this.#all().filter((each) => each.queue.name === queue)
  }

  /** Hands out nothing more, lets what runs end within `timeoutMs`, then breaks the rest off and hands it back uncounted. */
  drain(timeoutMs: Millis): Promise<void> {
    this.#drained ??= this.#drain(timeoutMs)
    return this.#drained
  }

  async #drain(timeoutMs: Millis): Promise<void> {
    this.#unsubscribe?.()
    const lines = this.#all()
    const idle = Promise.all(lines.map((line) => line.stop()))
    const timer = this.#context.clock.after(timeoutMs, () => {
      for (const line of lines) line.abortAll()
    })
    await idle
    timer.cancel()
  }
}
