/**
 * The worker's engine: one loop that receives, one that settles what cannot ride along with a receive, a heartbeat beside them.
 * A job that was received is settled exactly once, or its lease is gone; nothing else can become of it.
 */
import { isPassing } from '../errors.ts'
import type { Outcome, Received, ReceivedJob, Settlement } from '../jobs.ts'
import type { Queue } from '../queue.ts'
import { pauseMs, type RetryPolicy, rest } from '../timing.ts'
import { Changes } from './changes.ts'
import { Heartbeat } from './heartbeat.ts'
import { WorkerError } from './outcomes.ts'
import { type Handler, RunningJob } from './running-job.ts'
import { type PendingSettlement, Settler } from './settler.ts'

export interface ConsumerLimits {
  readonly concurrency: number
  readonly leaseMs: number
  readonly waitMs: number
  readonly timeoutMs: number
  readonly stuckAfterMs: number
  readonly requestTimeoutMs: number
  readonly backoff: Pick<RetryPolicy, 'baseMs' | 'maxMs'>
}

export interface ErrorContext {
  /** Absent: it is about the worker as a whole. */
  readonly job?: ReceivedJob<unknown>
}

export interface ConsumerParts<Payload, Result> {
  /** Its calls are not repeated. */
  readonly queue: Queue<Payload, Result>
  readonly handlersQueue: Queue<Payload, Result>
  readonly apiUrl: string
  readonly token: string | undefined
  readonly name: string | undefined
  readonly handler: Handler<Payload, Result>
  readonly limits: ConsumerLimits
  readonly onError: (error: unknown, context: ErrorContext) => void
}

export interface StopLimits {
  /** For handlers to end. */
  readonly timeoutMs: number
  /** For telling the gateway, after that. */
  readonly settleTimeoutMs: number
}

export interface Stopped {
  /** Handlers that had not ended in time: their jobs go to somebody else, no attempt counted. */
  readonly released: number
  /** Outcomes that the gateway could not be told: their leases lapse, and the jobs run again. */
  readonly unsettled: number
}

/** Jobs in one receive: the gateway's default (`api.receiveMax`). */
const RECEIVE_MAX = 1000
/** So long a settlement waits for a receive that may be about to go. */
const RIDE_MS = 5
/** A receive that was held took longer. */
const EARLY_MS = 100
const REST_STOPPING_MS = 200
/** A heartbeat's request may take a third of the lease, so that another one can follow. */
const HEARTBEAT_TIMEOUT_MIN_MS = 1000

export class Consumer<Payload, Result> {
  readonly #parts: ConsumerParts<Payload, Result>
  readonly #heartbeat: Heartbeat
  readonly #settler = new Settler()
  readonly #changes = new Changes()
  /** By receipt. */
  readonly #running = new Map<string, RunningJob<Payload, Result>>()
  /** By key, else by job: when the last handler of it has ended. */
  readonly #lanes = new Map<string, Promise<void>>()
  readonly #pulled: Promise<void>
  readonly #settled: Promise<void>
  /** Aborts a pause between receives. */
  readonly #stopping = new AbortController()
  /** Aborts the receive itself. */
  readonly #hurry = new AbortController()
  /** Aborts settlements. */
  readonly #closing = new AbortController()
  #pulling = false
  /** The receive under way is probably held: the last one brought nothing. */
  #held = false
  #stop: Promise<Stopped> | undefined
  #lastFailure = ''

  constructor(parts: ConsumerParts<Payload, Result>) {
    this.#parts = parts
    const { leaseMs, stuckAfterMs, requestTimeoutMs } = parts.limits
    this.#heartbeat = new Heartbeat({
      apiUrl: parts.apiUrl,
      token: parts.token,
      queue: parts.queue.name,
      timeoutMs: Math.min(requestTimeoutMs, Math.max(HEARTBEAT_TIMEOUT_MIN_MS, leaseMs / 3)),
      stuckAfterMs,
      onLost: (receipts) => {
        for (const receipt of receipts) this.#running.get(receipt)?.lost()
      },
      onError: (error) => this.#report(error),
    })
    this.#pulled = this.#pullAll()
    this.#settled = this.#settleAll()
  }

  get running(): number {
    return this.#running.size
  }

  stop(limits: StopLimits): Promise<Stopped> {
    this.#stop ??= this.#stopWithin(limits)
    return this.#stop
  }

  async #pullAll(): Promise<void> {
    await this.#heartbeat.ready
    const { signal } = this.#stopping
    for (let failures = 0; !signal.aborted; ) {
      const batch = this.#settler.take()
      const room = this.#parts.limits.concurrency - this.#running.size - this.#settler.open + batch.length
      if (room <= 0 && batch.length === 0) {
        await this.#changes.next()
        continue
      }
      this.#pulling = true
      const startedAt = performance.now()
      const error = room > 0 ? await this.#receive(Math.min(room, RECEIVE_MAX), batch) : await this.#settle(batch)
      failures = error === undefined ? 0 : failures + 1
      if (error !== undefined) await this.#pause(failures, error)
      // Nothing, and at once: the gateway does not hold receives now, or was not asked to.
      else if (this.#held && batch.length === 0 && performance.now() - startedAt < EARLY_MS)
        await this.#rest(this.#parts.limits.backoff.baseMs)
      this.#pulling = false
    }
  }

  /** What settles does not wait for jobs: the gateway answers such a receive at once, so that a broken one is noticed early. */
  async #receive(max: number, batch: readonly PendingSettlement[]): Promise<Error | undefined> {
    const { queue, limits, name } = this.#parts
    this.#heartbeat.mark()
    let received: Received<Payload>
    try {
      received = await queue.receive({
        max,
        lease: limits.leaseMs,
        wait: batch.length > 0 ? 0 : limits.waitMs,
        ...(name === undefined ? {} : { consumer: name }),
        ...(batch.length === 0 ? {} : { settlements: batch.map(({ settlement }) => settlement as Settlement<Result>) }),
        signal: this.#hurry.signal,
      })
    } catch (error) {
      return this.#notSettled(batch, error)
    }
    this.#held = received.jobs.length === 0
    this.#settler.confirm(batch, received.results)
    await this.#take(received.jobs)
    return undefined
  }

  async #take(jobs: readonly ReceivedJob<Payload>[]): Promise<void> {
    const { leaseMs } = this.#parts.limits
    if (jobs.length === 0) return
    this.#heartbeat.add(jobs.map(({ receipt }) => ({ receipt, leaseMs })))
    // The answer may have lain in the socket while a handler blocked the loop, and these leases with it.
    const late = this.#heartbeat.stalledMs() > leaseMs / 3
    const held = late ? await this.#stillHeld(jobs) : jobs
    for (const job of held) {
      if (this.#stopping.signal.aborted) this.#decided(job, { outcome: 'release' })
      else this.#start(job)
    }
  }

  async #stillHeld(jobs: readonly ReceivedJob<Payload>[]): Promise<readonly ReceivedJob<Payload>[]> {
    const { queue, limits } = this.#parts
    try {
      const receipts = jobs.map(({ receipt }) => receipt)
      const results = await queue.extend(receipts, limits.leaseMs, { signal: this.#hurry.signal })
      const isHeld = (i: number): boolean => results[i]?.status === 'extended'
      this.#heartbeat.remove(receipts.filter((_, i) => !isHeld(i)))
      return jobs.filter((_, i) => isHeld(i))
    } catch {
      // Nobody knows: give them back rather than do what another one may be doing.
      for (const job of jobs) this.#decided(job, { outcome: 'release' })
      return []
    }
  }

  #start(job: ReceivedJob<Payload>): void {
    const { handler, handlersQueue, limits } = this.#parts
    const lane = job.key === undefined ? `id ${job.id}` : `key ${job.key}`
    const run = new RunningJob<Payload, Result>(job, {
      queue: handlersQueue,
      handler,
      limitMs: Math.min(limits.timeoutMs, deadlineLeftMs(job, limits.leaseMs)),
      after: this.#lanes.get(lane),
      extendLease: (receipt, leaseMs) => this.#heartbeat.add([{ receipt, leaseMs }]),
      decided: (outcome) => this.#decided(job, outcome),
      onError: (error) => this.#report(error, job),
    })
    this.#running.set(job.receipt, run)
    this.#lanes.set(lane, run.ended)
    void run.ended.then(() => {
      this.#running.delete(job.receipt)
      if (this.#lanes.get(lane) === run.ended) this.#lanes.delete(lane)
      this.#changes.notify()
    })
  }

  /** Throws when the outcome cannot be written as JSON. */
  #decided(job: ReceivedJob<Payload>, outcome: Outcome<Result> | undefined): void {
    if (outcome === undefined) return this.#heartbeat.remove([job.receipt])
    this.#settler.add({ receipt: job.receipt, ...outcome }, (problem) => {
      this.#heartbeat.remove([job.receipt])
      if (problem !== undefined) this.#report(problem, job)
      this.#changes.notify()
    })
    this.#changes.notify()
  }

  async #settleAll(): Promise<void> {
    const { signal } = this.#closing
    for (let failures = 0; !signal.aborted; ) {
      // Else the next receive takes them along.
      const alone = this.#pulling || this.#stopping.signal.aborted
      if (this.#settler.pending === 0 || !alone) {
        await this.#changes.next()
        continue
      }
      if (!this.#held && !this.#stopping.signal.aborted) await rest(RIDE_MS)
      const batch = this.#settler.take()
      const error = batch.length === 0 ? undefined : await this.#settle(batch)
      failures = error === undefined ? 0 : failures + 1
      if (error !== undefined) await this.#pause(failures, error)
    }
  }

  async #settle(batch: readonly PendingSettlement[]): Promise<Error | undefined> {
    const { signal } = this.#closing
    try {
      const settlements = batch.map(({ settlement }) => settlement as Settlement<Result>)
      this.#settler.confirm(batch, await this.#parts.queue.settle(settlements, { signal }))
      return undefined
    } catch (error) {
      return this.#notSettled(batch, error)
    }
  }

  /** They are there for whichever loop comes first. */
  #notSettled(batch: readonly PendingSettlement[], error: unknown): Error {
    const failure = asError(error)
    this.#settler.failed(batch, failure)
    this.#changes.notify()
    return failure
  }

  /** Told once for each kind of trouble in a row. */
  async #pause(failures: number, error: Error): Promise<void> {
    if (this.#hurry.signal.aborted) return await this.#rest(0)
    const what = 'code' in error ? String(error.code) : error.name
    if (failures === 1 || what !== this.#lastFailure) this.#report(error)
    this.#lastFailure = what
    const retryAfterMs = isPassing(error) ? error.retryAfterMs : undefined
    await this.#rest(pauseMs(failures, { attempts: 1, ...this.#parts.limits.backoff }, retryAfterMs))
  }

  /** Short when the worker is about to stop. */
  async #rest(ms: number): Promise<void> {
    const stopping = this.#stopping.signal.aborted
    const resting = stopping ? rest(Math.min(ms, REST_STOPPING_MS), this.#closing.signal) : rest(ms, this.#stopping.signal)
    await resting.catch(() => undefined)
  }

  async #stopWithin({ timeoutMs, settleTimeoutMs }: StopLimits): Promise<Stopped> {
    const over = new AbortController()
    this.#stopping.abort(new WorkerError('stopping', 'the worker stops'))
    this.#changes.notify()
    const ended = this.#pulled.then(() => this.#until(() => this.#running.size === 0, over.signal))
    await Promise.race([ended, rest(timeoutMs, over.signal).catch(() => undefined)])
    over.abort()
    const left = [...this.#running.values()].filter((run) => !run.decided)
    for (const run of left) run.release()
    this.#hurry.abort(new WorkerError('stopping', 'the worker stops'))
    await this.#pulled
    const unsettled = await this.#flush(settleTimeoutMs)
    this.#closing.abort(new WorkerError('stopping', 'the worker stops'))
    this.#changes.notify()
    await this.#settled
    await this.#heartbeat.stop()
    return { released: left.length, unsettled }
  }

  /** How many could not be sent. */
  async #flush(withinMs: number): Promise<number> {
    const over = new AbortController()
    const sent = this.#until(() => this.#settler.open === 0, over.signal)
    await Promise.race([sent, rest(withinMs, over.signal).catch(() => undefined)])
    over.abort()
    const { open } = this.#settler
    if (open > 0) this.#report(new WorkerError('not_settled', `${open} outcomes could not be told before the worker stopped`))
    return open
  }

  async #until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    while (!condition() && !signal.aborted) await this.#changes.next()
  }

  #report(error: unknown, job?: ReceivedJob<Payload>): void {
    try {
      this.#parts.onError(error, job === undefined ? {} : { job })
    } catch (thrown) {
      // A bug of its owner, who is to hear of it; what is under way here goes on.
      queueMicrotask(() => {
        throw thrown
      })
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** By the gateway's clock alone: when it gave the lease it said when the lease ends. */
function deadlineLeftMs(job: ReceivedJob<unknown>, leaseMs: number): number {
  if (job.deadlineAt === undefined) return Number.POSITIVE_INFINITY
  const leftMs = Date.parse(job.deadlineAt) - Date.parse(job.leaseEndsAt) + leaseMs
  return Number.isNaN(leftMs) ? Number.POSITIVE_INFINITY : Math.max(0, leftMs)
}
