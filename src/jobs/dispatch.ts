/** Hands out the jobs of every queue that has a pool: one `Line` per queue, woken by the bus, ended by `drain`. */
import type { QueueConfig } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { QueueName, StoredJob } from '../ports/job-store.ts'
import type { AttemptContext } from './attempt.ts'
import { Line, type LineHooks } from './line.ts'

export class Dispatcher {
  readonly #context: AttemptContext
  readonly #lines = new Map<QueueName, Line>()
  #unsubscribe: (() => void) | undefined
  #drained: Promise<void> | undefined

  constructor(queues: readonly QueueConfig[], pools: ReadonlyMap<string, Pool>, context: AttemptContext, hooks: LineHooks) {
    this.#context = context
    for (const queue of queues) {
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
    for (const line of this.#lines.values()) sum += line.inFlight
    return sum
  }

  /** The job does not run any more, and not because its attempt was settled here. */
  left(job: StoredJob): void {
    this.#lines.get(job.queue)?.left(job)
  }

  async extendLeases(): Promise<void> {
    await Promise.all([...this.#lines.values()].map((line) => line.extendLeases()))
  }

  /** Hands out nothing more, lets what runs end within `timeoutMs`, then breaks the rest off and hands it back uncounted. */
  drain(timeoutMs: Millis): Promise<void> {
    this.#drained ??= this.#drain(timeoutMs)
    return this.#drained
  }

  async #drain(timeoutMs: Millis): Promise<void> {
    this.#unsubscribe?.()
    const idle = Promise.all([...this.#lines.values()].map((line) => line.stop()))
    const timer = this.#context.clock.after(timeoutMs, () => {
      for (const line of this.#lines.values()) line.abortAll()
    })
    await idle
    timer.cancel()
  }
}
