/**
 * What follows from the end of a hand-out to a pull consumer: the same as for an attempt on a server. Watchers hear of it, the next of the key
 * is woken, dead letters are told of, the drain is measured, and hand-outs are counted by how they ended.
 */
import type { Millis } from '../lib/units.ts'
import type { QueueConfig } from '../config/config.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock } from '../ports/clock.ts'
import type { Ending, JobError, JobStore, Lease, SettleOutcome, StoredJob } from '../ports/job-store.ts'
import type { Metrics, Telemetry } from '../telemetry/telemetry.ts'
import { countOutcomes, type Outcomes } from './attempt.ts'

export interface SettlingParts {
  readonly store: Pick<JobStore, 'settle'>
  readonly bus: Bus
  readonly clock: Clock
  readonly telemetry: Telemetry
}

export interface SettlingHooks {
  ended(job: StoredJob, tookMs: Millis): void
  dueIn(delayMs: Millis): void
}

export class Settling {
  readonly #parts: SettlingParts
  readonly #hooks: SettlingHooks
  /** Resolved once per queue. */
  readonly #outcomes = new Map<string, Outcomes>()

  constructor(parts: SettlingParts, hooks: SettlingHooks) {
    this.#parts = parts
    this.#hooks = hooks
  }

  /** Resolved = durable. Rejects when the engine failed. */
  async settle(queue: QueueConfig, settlements: readonly Ending[]): Promise<readonly SettleOutcome[]> {
    if (settlements.length === 0) return []
    const outcomes = await this.#parts.store.settle(settlements)
    const counters = this.#countersOf(queue.name)
    let ready = false
    let dueMs = Number.POSITIVE_INFINITY
    for (const [i, outcome] of outcomes.entries()) {
      const settlement = settlements[i] as Ending
      if (outcome.kind === 'stale') counters.stale.inc()
      if (outcome.kind !== 'settled') continue
      counters[settlement.kind].inc()
      const { job } = outcome
      this.#tell(job, settlement)
      if (job.finishedAt !== undefined) this.#hooks.ended(job, job.finishedAt - (job.startedAt ?? job.finishedAt))
      else if (job.notBefore !== undefined) dueMs = Math.min(dueMs, job.notBefore - this.#parts.clock.now())
      ready ||= job.key !== undefined || (job.finishedAt === undefined && job.notBefore === undefined)
    }
    if (Number.isFinite(dueMs)) this.#hooks.dueIn(Math.max(dueMs, 0))
    const { maxRunning, tenantMaxRunning } = queue.rules
    if (ready || maxRunning !== undefined || tenantMaxRunning !== undefined) this.#parts.bus.publish({ kind: 'ready', queue: queue.name })
    return outcomes
  }

  /** Nobody has settled it in time: it is made again. */
  lapsed(job: StoredJob, error: JobError): void {
    const { id, queue, server = '', attempt } = job
    this.#countersOf(queue).retry.inc()
    this.#parts.telemetry.event({ type: 'attempt-failed', job: id, queue, server, attempt, reason: error.code })
  }

  /** Nobody is there to work on them: no attempt. */
  handBack(queue: QueueConfig, leases: readonly Lease[]): void {
    const settlements = leases.map(({ ref }): Ending => ({ kind: 'handBack', lease: ref, afterMs: 0 }))
    // Where the store cannot be told, the leases lapse.
    this.settle(queue, settlements).catch(() => undefined)
  }

  #tell(job: StoredJob, settlement: Ending): void {
    const { bus, telemetry } = this.#parts
    const answer = 'answer' in settlement && job.hasAnswer ? settlement.answer : undefined
    bus.publish(answer === undefined ? { kind: 'job', job } : { kind: 'job', job, answer })
    if (job.dead === undefined) return
    telemetry.event({ type: 'job-dead', job: job.id, queue: job.queue, reason: job.dead, detail: job.error?.detail ?? '' })
  }

  #countersOf(queue: string): Outcomes {
    let outcomes = this.#outcomes.get(queue)
    if (outcomes === undefined) {
      const metrics: Metrics = this.#parts.telemetry.metrics
      outcomes = countOutcomes(metrics, queue)
      this.#outcomes.set(queue, outcomes)
    }
    return outcomes
  }
}
