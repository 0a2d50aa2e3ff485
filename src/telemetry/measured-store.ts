/**
 * A job store that counts what goes through it, whoever asks: the gateway's own servers, pull consumers, people. Submissions, starts, ends,
 * deaths, and what came with a lease that was over. It changes nothing, and a promise that rejects is not counted.
 */
import type { EpochMillis } from '../lib/units.ts'
import type { CommandOutcome, JobCommand, JobStore, QueueName, StoredJob, Submitted } from '../ports/job-store.ts'
import { METRICS, type MetricName } from './names.ts'
import type { Counter, Histogram, Metrics } from './telemetry.ts'

export function measuredStore(store: JobStore, metrics: Metrics): JobStore {
  const meter = new Meter(metrics)
  return {
    // Engines give plain objects of functions, so what is not counted is passed on as it is.
    ...store,
    async submit(jobs) {
      const outcomes = await store.submit(jobs)
      outcomes.forEach((outcome, i) => meter.submitted(jobs[i]?.queue ?? '', outcome))
      return outcomes
    },
    async submitWhole(jobs, note) {
      const outcome = await store.submitWhole(jobs, note)
      for (const { queue } of jobs) meter.submitted(queue, outcome)
      return outcome
    },
    async lease(requests) {
      const batches = await store.lease(requests)
      for (const leases of batches) for (const { job } of leases) meter.started(job)
      return batches
    },
    async extend(leases, forMs) {
      const outcomes = await store.extend(leases, forMs)
      for (const outcome of outcomes) if (outcome === 'stale') meter.stale('extend')
      return outcomes
    },
    async settle(settlements) {
      const outcomes = await store.settle(settlements)
      for (const outcome of outcomes) {
        if (outcome.kind === 'stale') meter.stale('settle')
        else if (outcome.kind === 'settled') meter.changed(outcome.job)
      }
      return outcomes
    },
    async command(commands) {
      const outcomes = await store.command(commands)
      outcomes.forEach((outcome, i) => meter.commanded(commands[i] as JobCommand, outcome))
      return outcomes
    },
    async tick() {
      const tick = await store.tick()
      for (const job of tick.changed) meter.changed(job)
      return tick
    },
  }
}

type Outcome = { readonly kind: Exclude<Submitted['kind'], 'refused'> } | { readonly kind: 'refused'; readonly limit: string }

/** The series of one queue. What every job passes is resolved once; what is rare is looked up in the registry each time. */
class QueueMeter {
  readonly start: Histogram
  readonly end: Histogram
  readonly #metrics: Metrics
  readonly #queue: QueueName
  readonly #submissions = new Map<string, Counter>()
  readonly #ends = new Map<string, Counter>()

  constructor(metrics: Metrics, queue: QueueName) {
    this.#metrics = metrics
    this.#queue = queue
    this.start = metrics.histogram('spillway_job_start_seconds', METRICS.spillway_job_start_seconds.help, { queue })
    this.end = metrics.histogram('spillway_job_end_seconds', METRICS.spillway_job_end_seconds.help, { queue })
  }

  submitted(outcome: Outcome): void {
    kept(this.#submissions, outcome.kind, () => this.#counter('spillway_submissions_total', { outcome: outcome.kind })).inc()
    if (outcome.kind === 'refused') this.#counter('spillway_submissions_refused_total', { limit: outcome.limit }).inc()
  }

  ended({ status, dead, error }: StoredJob): void {
    kept(this.#ends, status, () => this.#counter('spillway_jobs_ended_total', { status })).inc()
    if (dead !== undefined) this.#counter('spillway_jobs_died_total', { reason: dead, error: error?.code ?? '' }).inc()
  }

  #counter(name: MetricName, labels: Readonly<Record<string, string>>): Counter {
    return this.#metrics.counter(name, METRICS[name].help, { queue: this.#queue, ...labels })
  }
}

class Meter {
  readonly #metrics: Metrics
  readonly #queues = new Map<QueueName, QueueMeter>()

  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  submitted(queue: QueueName, outcome: Outcome): void {
    this.#of(queue).submitted(outcome)
  }

  started({ queue, handOuts, redrives, startedAt, submittedAt }: StoredJob): void {
    // A job that is redriven keeps its id and the time of its submission: its second life says nothing about how long the line is.
    if (handOuts === 1 && redrives === 0 && startedAt !== undefined) this.#of(queue).start.observe(seconds(submittedAt, startedAt))
  }

  /** It may have ended by that. */
  changed(job: StoredJob): void {
    if (job.finishedAt === undefined) return
    const queue = this.#of(job.queue)
    queue.ended(job)
    if (job.redrives === 0) queue.end.observe(seconds(job.submittedAt, job.finishedAt))
  }

  commanded(command: JobCommand, outcome: CommandOutcome): void {
    if (command.kind === 'progress' && outcome.kind === 'stale') this.stale('progress')
    if (command.kind === 'cancel' && outcome.kind === 'done' && outcome.job !== undefined) this.changed(outcome.job)
  }

  stale(operation: 'settle' | 'extend' | 'progress'): void {
    this.#metrics.counter('spillway_stale_leases_total', METRICS.spillway_stale_leases_total.help, { operation }).inc()
  }

  #of(queue: QueueName): QueueMeter {
    return kept(this.#queues, queue, () => new QueueMeter(this.#metrics, queue))
  }
}

/** Wall clocks may step back. */
function seconds(from: EpochMillis, to: EpochMillis): number {
  return Math.max(0, to - from) / 1000
}

function kept<T>(map: Map<string, T>, key: string, make: () => T): T {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}
