/**
 * What servers report beside their answers: progress, more time, the end. A report is good for one hand-out; when its lease is over it changes
 * nothing, and the server is told so. An end that was reported twice is the same end.
 */
import type { QueueConfig } from '../config/config.ts'
import { decideReported, type EndVerdict, type ReportedFailure } from '../core/jobs/settlement.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type { Ending, JobAnswer, JobStore, LeaseRef, QueueName, SettleOutcome, StoredJob } from '../ports/job-store.ts'
import { settleFacts, settlementOf } from './attempt.ts'
import { LEASE_SLACK_MS } from './line.ts'
import { isReportAddress, parseReportAddress } from './report-address.ts'

export interface ReportsParts {
  readonly store: Pick<JobStore, 'read' | 'command' | 'extend'>
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
}

export interface ReportsHooks {
  queueOf(name: QueueName): QueueConfig
  settle(queue: QueueConfig, ending: Ending): Promise<SettleOutcome>
  /** More time for an exchange that is still open. False: none is. */
  extend(queue: QueueName, ref: LeaseRef, forMs: Millis): boolean
  /** The job has ended: an exchange that is still open is broken off. */
  ended(job: StoredJob): void
  dueIn(delayMs: Millis): void
}

/** A hand-out whose address is genuine, though it may be over. */
export interface ReportedWork {
  readonly ref: LeaseRef
  readonly job: StoredJob
}

export type ReportOutcome =
  /** `until`: when the lease is over now. */
  | { readonly kind: 'done'; readonly until?: EpochMillis }
  /** Its lease is over: nothing was changed. */
  | { readonly kind: 'over' }
  | { readonly kind: 'too-long'; readonly maxMs: Millis }

const DONE: ReportOutcome = { kind: 'done' }
const OVER: ReportOutcome = { kind: 'over' }

export class Reports {
  readonly #parts: ReportsParts
  readonly #hooks: ReportsHooks

  constructor(parts: ReportsParts, hooks: ReportsHooks) {
    this.#parts = parts
    this.#hooks = hooks
  }

  /** Undefined: no hand-out was ever given this address, or its job is forgotten. */
  async find(address: string): Promise<ReportedWork | undefined> {
    const parsed = parseReportAddress(address)
    if (parsed === undefined) return undefined
    const [read] = await this.#parts.store.read([parsed.ref.id], 'status')
    return isReportAddress(parsed, read?.job) && read !== undefined ? { ref: parsed.ref, job: read.job } : undefined
  }

  async progress(ref: LeaseRef, progress: string): Promise<ReportOutcome> {
    const [outcome] = await this.#parts.store.command([{ kind: 'progress', id: ref.id, secret: ref.secret, progress }])
    if (outcome?.kind !== 'done') return OVER
    if (outcome.job !== undefined) this.#parts.bus.publish({ kind: 'job', job: outcome.job })
    return DONE
  }

  /** From now on it has so long, whatever it had before. */
  async extend({ ref, job }: ReportedWork, forMs: Millis): Promise<ReportOutcome> {
    const { maxMs } = this.#hooks.queueOf(job.queue).defer
    if (forMs > maxMs) return { kind: 'too-long', maxMs }
    const until = this.#parts.clock.now() + forMs
    const isOpen = this.#hooks.extend(job.queue, ref, forMs)
    // An exchange that is open ends by its own time, and the store has to hear of that before the lease is over.
    const leaseMs = isOpen ? forMs + LEASE_SLACK_MS : forMs
    const [outcome] = await this.#parts.store.extend([ref], leaseMs)
    if (outcome !== 'extended') return OVER
    this.#hooks.dueIn(leaseMs)
    const [read] = await this.#parts.store.read([ref.id], 'status')
    if (read !== undefined) this.#parts.bus.publish({ kind: 'job', job: read.job })
    return { kind: 'done', until }
  }

  complete(work: ReportedWork, answer: JobAnswer): Promise<ReportOutcome> {
    return this.#end(work, { kind: 'succeed' }, answer)
  }

  /** As the answer would that says the same. */
  fail(work: ReportedWork, failed: ReportedFailure, answer: JobAnswer | undefined): Promise<ReportOutcome> {
    const facts = settleFacts(this.#parts, this.#hooks.queueOf(work.job.queue), work.job)
    return this.#end(work, decideReported(failed, facts), answer)
  }

  async #end({ ref, job }: ReportedWork, verdict: EndVerdict, answer: JobAnswer | undefined): Promise<ReportOutcome> {
    const queue = this.#hooks.queueOf(job.queue)
    const settlement = { ...settlementOf(verdict, ref, { queue, answer }), reported: true } as Ending
    const outcome = await this.#hooks.settle(queue, settlement)
    if (outcome.kind === 'repeated') return DONE
    if (outcome.kind !== 'settled') return OVER
    this.#hooks.ended(outcome.job)
    return DONE
  }
}
