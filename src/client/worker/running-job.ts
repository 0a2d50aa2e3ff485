/**
 * One hand-out in the hands of its handler. It is decided once, by whatever comes first: the handler's end, its time limit, the loss of the
 * lease, the worker's stop. What comes later changes nothing. The slot is free when the handler has ended, whenever that is.
 */
import type { Outcome, ReceivedJob } from '../jobs.ts'
import type { Queue } from '../queue.ts'
import { type Duration, durationMs, TimeLimit } from '../timing.ts'
import { outcomeOf, WorkerError } from './outcomes.ts'
import { ProgressReports } from './progress-reports.ts'

export interface HandlerContext {
  /** Aborted when the result is no longer wanted: lease lost, time over, worker stopped. Its reason is a `WorkerError`. */
  readonly signal: AbortSignal
  /** Grows with every hand-out: a store that keeps the highest can refuse what an older one writes. */
  readonly fence: number
  /** Number of this attempt, from 1. */
  readonly attempt: number
  /** How far it is, for those who follow the job; at most 16 KiB of JSON. Of several in quick succession the last one is told. */
  readonly progress: (value: unknown) => Promise<void>
  /** From now on leases of this length. False: it is lost. Not needed for handlers that take long: their leases are extended by themselves. */
  readonly extend: (lease: Duration) => Promise<boolean>
}

export type Handler<Payload, Result> = (job: ReceivedJob<Payload>, context: HandlerContext) => Promise<Result> | Result

export interface RunParts<Payload, Result> {
  readonly queue: Queue<Payload, Result>
  readonly handler: Handler<Payload, Result>
  /** The handler's limit, or less where the job's deadline comes before. */
  readonly limitMs: number
  /** Handlers of the same key, or job, that have lost their lease and still run: it begins after them. */
  readonly after: Promise<unknown> | undefined
  extendLease(receipt: string, leaseMs: number): void
  /** Once. Undefined: nothing is to be settled. Throws when the outcome cannot be sent. */
  decided(outcome: Outcome<Result> | undefined): void
  onError(error: unknown): void
}

export class RunningJob<Payload, Result> {
  readonly job: ReceivedJob<Payload>
  /** The handler has ended; never rejects. */
  readonly ended: Promise<void>
  readonly #parts: RunParts<Payload, Result>
  readonly #controller = new AbortController()
  readonly #limit: TimeLimit
  readonly #progress: ProgressReports
  #decided = false

  constructor(job: ReceivedJob<Payload>, parts: RunParts<Payload, Result>) {
    this.job = job
    this.#parts = parts
    const timedOut = (): void => this.#over('handler_timeout', `the handler took longer than ${parts.limitMs} ms`, 'retry')
    this.#limit = new TimeLimit(parts.limitMs, timedOut)
    this.#progress = new ProgressReports({
      send: (value) => parts.queue.progress(job.receipt, value),
      onLeaseGone: () => this.lost(),
      onError: (error) => parts.onError(error),
    })
    this.ended = this.#run()
  }

  get decided(): boolean {
    return this.#decided
  }

  lost(): void {
    this.#over('lease_lost', 'the lease is gone: the job may be with somebody else by now', undefined)
  }

  /** The worker does not wait any longer. */
  release(): void {
    this.#over('stopping', 'the worker stops', 'release')
  }

  #over(code: 'handler_timeout' | 'lease_lost' | 'stopping', detail: string, outcome: 'retry' | 'release' | undefined): void {
    if (this.#decided) return
    const error = new WorkerError(code, detail)
    if (code !== 'stopping') this.#parts.onError(error)
    if (outcome === undefined) this.#decide(undefined)
    else this.#decide(outcome === 'retry' ? { outcome, reason: detail } : { outcome })
    this.#controller.abort(error)
  }

  async #run(): Promise<void> {
    // Not in the tick in which it came: the others of the same answer are to be entered first, before a handler can block.
    await this.#parts.after
    await Promise.resolve()
    if (!this.#decided) await this.#handle()
    this.#limit.clear()
    this.#progress.stop()
  }

  async #handle(): Promise<void> {
    try {
      const result = await this.#parts.handler(this.job, this.#context())
      this.#decide(result === undefined ? { outcome: 'succeed' } : { outcome: 'succeed', result })
    } catch (error) {
      if (this.#decided) return
      const outcome = outcomeOf(error)
      if (outcome.outcome === 'retry' || outcome.outcome === 'fail') this.#parts.onError(error)
      this.#decide(outcome as Outcome<Result>)
    }
  }

  #decide(outcome: Outcome<Result> | undefined): void {
    if (this.#decided) return
    // May throw, and is then decided by what was thrown.
    this.#parts.decided(outcome)
    this.#decided = true
    this.#limit.clear()
  }

  #context(): HandlerContext {
    const { job } = this
    return {
      signal: this.#controller.signal,
      fence: job.fence,
      attempt: job.attempt,
      progress: (value) => this.#progress.report(value),
      extend: (lease) => this.#extend(lease),
    }
  }

  async #extend(lease: Duration): Promise<boolean> {
    const leaseMs = durationMs(lease, 'lease')
    if (this.#decided) return false
    const [result] = await this.#parts.queue.extend([this.job.receipt], leaseMs)
    if (result?.status !== 'extended') {
      this.lost()
      return false
    }
    if (!this.#decided) this.#parts.extendLease(this.job.receipt, leaseMs)
    return true
  }
}
