/**
 * The three measurements, the same for every broker: submits, whole lives, and the latency of jobs that are sent on schedule. All count what
 * happened to every job (`job-book.ts`), and end with the question whether the broker holds as many as it should.
 */
import type { BrokerClient, Consumer } from './broker.ts'
import type { JobBook } from './job-book.ts'

export const WHATS = ['submits', 'lives', 'latency'] as const
export type What = (typeof WHATS)[number]

/** Jobs that are published and not yet confirmed. */
export const WINDOW = 1000
/** For whole lives the producer waits when so many jobs are in the broker: a steady state is measured, not the filling of a queue. */
export const BACKLOG_MAX = 10_000
/** The first part of a latency run, in which connections and code paths warm up, is not counted. */
const LEAD_IN_SECONDS = 0.5
const TICK_MS = 1

export interface Bench {
  readonly client: BrokerClient
  readonly book: JobBook
  /** CPU time until now, µs. */
  readonly cpu: () => { readonly broker: number; readonly client: number }
  /** Nothing happens for so long: what is missing is given up and the run is void. */
  readonly patienceMs: number
}

export interface Measured {
  readonly jobs: number
  readonly perSecond: number
  readonly brokerCpuUsEach: number
  readonly clientCpuUsEach: number
  /** From the moment at which a job was to be sent until somebody begins with it. Only `latency`. */
  readonly p50Ms?: number
  readonly p99Ms?: number
  readonly faults: readonly string[]
}

/** Waits for conditions that the measurement's own events make true; when nothing happens for too long it stops waiting, for good. */
class Progress {
  #waiting: (() => void)[] = []
  #steps = 0
  #stalled = false
  readonly #timer: NodeJS.Timeout

  constructor(patienceMs: number) {
    let seen = -1
    this.#timer = setInterval(() => {
      this.#stalled ||= seen === this.#steps
      seen = this.#steps
      if (this.#stalled) this.#wake()
    }, patienceMs)
  }

  step(): void {
    this.#steps += 1
    this.#wake()
  }

  async until(isTrue: () => boolean): Promise<boolean> {
    while (!isTrue()) {
      if (this.#stalled) return false
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    return true
  }

  end(): void {
    clearInterval(this.#timer)
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}

/** One measurement under way. Jobs are counted from where it began. */
class Run {
  readonly client: BrokerClient
  readonly book: JobBook
  readonly progress: Progress
  readonly startedAt = performance.now()
  readonly firstJob: number
  readonly faults: string[] = []
  /** Jobs that are published and not confirmed, and in how many batches. */
  inFlight = 0
  batchesInFlight = 0
  readonly #bench: Bench
  readonly #before: { readonly confirmed: number; readonly settled: number }
  readonly #cpuBefore: { readonly broker: number; readonly client: number }

  constructor(bench: Bench) {
    this.#bench = bench
    this.client = bench.client
    this.book = bench.book
    this.progress = new Progress(bench.patienceMs)
    this.#before = bench.book.counts
    this.firstJob = bench.book.counts.taken
    this.#cpuBefore = bench.cpu()
  }

  get confirmed(): number {
    return this.book.counts.confirmed - this.#before.confirmed
  }

  get settled(): number {
    return this.book.counts.settled - this.#before.settled
  }

  /** Not awaited by whoever keeps a window full. */
  async publish(count: number): Promise<void> {
    this.inFlight += count
    this.batchesInFlight += 1
    try {
      await this.client.publish(this.book.take(count))
      this.book.confirmed(count)
      this.inFlight -= count
      this.batchesInFlight -= 1
    } catch (error) {
      this.faults.push(`publish: ${(error as Error).message}`)
    }
    this.progress.step()
  }

  async consume(onStarted?: (jobs: readonly number[]) => void): Promise<Consumer> {
    return await this.client.consume({
      started: (jobs) => {
        onStarted?.(jobs)
        this.book.started(jobs)
      },
      settled: (count) => {
        this.book.settled(count)
        this.progress.step()
      },
      failed: (error) => {
        this.faults.push(`consume: ${error.message}`)
        this.progress.step()
      },
    })
  }

  /** Keeps the window full until the time is up, then waits for the last confirm. */
  async produce(seconds: number, hasRoom: () => boolean): Promise<void> {
    const end = performance.now() + seconds * 1000
    const { batch } = this.client
    const mayPublish = (): boolean => this.faults.length > 0 || (this.inFlight + batch <= WINDOW && hasRoom())
    while (performance.now() < end && this.faults.length === 0) {
      if (!(await this.progress.until(mayPublish))) break
      void this.publish(batch)
    }
    await this.confirmedAll()
  }

  async confirmedAll(): Promise<void> {
    await this.progress.until(() => this.faults.length > 0 || this.inFlight === 0)
  }

  async settledAll(): Promise<void> {
    await this.progress.until(() => this.faults.length > 0 || this.settled >= this.confirmed)
  }

  costs(jobs: number): Omit<Measured, 'faults'> {
    const seconds = (performance.now() - this.startedAt) / 1000
    const cpu = this.#bench.cpu()
    return {
      jobs,
      perSecond: jobs / seconds,
      brokerCpuUsEach: (cpu.broker - this.#cpuBefore.broker) / Math.max(1, jobs),
      clientCpuUsEach: (cpu.client - this.#cpuBefore.client) / Math.max(1, jobs),
    }
  }

  /** Some brokers count late: asks again until it is what it should be, or the patience is over. */
  async end(): Promise<string[]> {
    this.progress.end()
    const until = performance.now() + this.#bench.patienceMs
    let depth = await this.client.depth()
    while (depth !== this.book.waiting && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      depth = await this.client.depth()
    }
    return [...this.faults, ...this.book.close(depth)]
  }
}

export async function measureSubmits(bench: Bench, seconds: number): Promise<Measured> {
  const run = new Run(bench)
  await run.produce(seconds, () => true)
  const costs = run.costs(run.confirmed)
  return { ...costs, faults: await run.end() }
}

export async function measureLives(bench: Bench, seconds: number): Promise<Measured> {
  const run = new Run(bench)
  const consumer = await run.consume()
  await run.produce(seconds, () => run.confirmed - run.settled < BACKLOG_MAX)
  await run.settledAll()
  const costs = run.costs(run.settled)
  await consumer.stop()
  return { ...costs, faults: await run.end() }
}

/** Fills the queue, or works it off, until so many jobs wait. */
export async function bringTo(bench: Bench, waiting: number): Promise<string[]> {
  const run = new Run(bench)
  if (run.book.waiting > waiting) {
    const consumer = await run.consume()
    await run.progress.until(() => run.faults.length > 0 || run.book.waiting <= waiting)
    await consumer.stop()
  }
  // Consumers take batches, so they may have taken too much.
  for (let wanted = waiting - run.book.waiting; wanted > 0 && run.faults.length === 0; ) {
    const count = Math.min(run.client.batch, wanted)
    if (!(await run.progress.until(() => run.faults.length > 0 || run.inFlight + count <= WINDOW))) break
    wanted -= count
    void run.publish(count)
  }
  await run.confirmedAll()
  return await run.end()
}

/** Of sorted values. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/**
 * Sends `perSecond` jobs on schedule, whatever the broker does; what is due is sent together. A job's time runs from when it was to be sent,
 * so that a broker (or a client) that lags cannot hide it by being asked less often.
 */
export async function measureLatency(bench: Bench, seconds: number, perSecond: number): Promise<Measured> {
  const run = new Run(bench)
  const total = Math.floor(perSecond * (LEAD_IN_SECONDS + seconds))
  const firstCounted = run.firstJob + Math.floor(perSecond * LEAD_IN_SECONDS)
  const tookMs = new Float64Array(total)
  let counted = 0
  const consumer = await run.consume((jobs) => {
    const at = performance.now() - run.startedAt
    for (const job of jobs) if (job >= firstCounted) tookMs[counted++] = at - ((job - run.firstJob) * 1000) / perSecond
  })
  for (let sent = 0; sent < total && run.faults.length === 0; ) {
    const due = Math.min(total, Math.floor(((performance.now() - run.startedAt) * perSecond) / 1000) + 1)
    // As many batches at once as a full window has: a broker that falls behind gets larger ones, not more.
    while (sent < due && (run.batchesInFlight + 1) * run.client.batch <= WINDOW) {
      const count = Math.min(run.client.batch, due - sent)
      sent += count
      void run.publish(count)
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS))
  }
  await run.confirmedAll()
  await run.settledAll()
  const costs = run.costs(run.settled)
  await consumer.stop()
  const sorted = tookMs.subarray(0, counted).sort()
  return { ...costs, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99), faults: await run.end() }
}
