/** One queue in the ledger's memory: limits, counters and ready lanes. The counters change only by what `count` is told of a job. */
import { endedBytesOf, JOB_STATUSES, type JobRecord, type JobStatus, placeOf } from '../../core/jobs/record.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import type { QueueLimits, QueueStats } from '../../ports/job-store.ts'
import { Lanes } from './lanes.ts'
import type { QueueCounters } from './tables.ts'

const STATUS_INDEX: Readonly<Record<JobStatus, number>> = {
  queued: 0,
  running: 1,
  retrying: 2,
  succeeded: 3,
  failed: 4,
  cancelled: 5,
  expired: 6,
}

export const NO_COUNTERS: QueueCounters = {
  counts: JOB_STATUSES.map(() => 0),
  bytes: 0,
  finishedBytes: 0,
  entered: 0,
  inLine: 0,
  dead: {},
}

export class QueueState {
  readonly id: number
  readonly name: string
  readonly lanes: Lanes = new Lanes()
  limits: QueueLimits
  entered = 0
  inLine = 0
  bytes: Bytes = 0
  finishedBytes: Bytes = 0
  /** Differs from what the storage has. */
  dirty = false
  #counts: number[] = []
  #dead = new Map<string, number>()

  constructor(id: number, name: string, limits: QueueLimits) {
    this.id = id
    this.name = name
    this.limits = limits
    this.load(NO_COUNTERS)
  }

  /** Takes the storage's counters. */
  load(counters: QueueCounters): void {
    this.#counts = [...counters.counts]
    this.#dead = new Map(Object.entries(counters.dead))
    this.bytes = counters.bytes
    this.finishedBytes = counters.finishedBytes
    this.entered = counters.entered
    this.inLine = counters.inLine
    this.dirty = false
  }

  get unfinished(): number {
    return this.#count('queued') + this.#count('running') + this.#count('retrying')
  }

  get ended(): number {
    return this.#count('succeeded') + this.#count('failed') + this.#count('cancelled') + this.#count('expired')
  }

  /** Adds (`sign` 1) or takes away (-1) what this job counts as it is. */
  count(record: JobRecord, sign: 1 | -1): void {
    this.dirty = true
    const index = STATUS_INDEX[record.status]
    this.#counts[index] = (this.#counts[index] as number) + sign
    if (placeOf(record) !== 'ended') {
      this.bytes += sign * record.requestBytes
      return
    }
    this.finishedBytes += sign * endedBytesOf(record)
    if (record.dead !== undefined) this.#countDead(record.dead, sign)
  }

  counters(): QueueCounters {
    return {
      counts: this.#counts,
      bytes: this.bytes,
      finishedBytes: this.finishedBytes,
      entered: this.entered,
      inLine: this.inLine,
      dead: Object.fromEntries(this.#dead),
    }
  }

  stats(oldestWaitingAt: EpochMillis | undefined): QueueStats {
    const counts = Object.fromEntries(JOB_STATUSES.map((status) => [status, this.#count(status)])) as Record<JobStatus, number>
    const { bytes, finishedBytes } = this
    const stats: QueueStats = { queue: this.name, counts, bytes, finishedBytes, dead: Object.fromEntries(this.#dead) }
    return oldestWaitingAt === undefined ? stats : { ...stats, oldestWaitingAt }
  }

  #count(status: JobStatus): number {
    return this.#counts[STATUS_INDEX[status]] as number
  }

  #countDead(reason: string, sign: 1 | -1): void {
    const count = (this.#dead.get(reason) ?? 0) + sign
    if (count === 0) this.#dead.delete(reason)
    else this.#dead.set(reason, count)
  }
}
