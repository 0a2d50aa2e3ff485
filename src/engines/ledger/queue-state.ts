/** One queue in the ledger's memory: rules, counters and ready jobs. The counters change only by what `count` is told of a job. */
import { endedBytesOf, JOB_STATUSES, type JobRecord, type JobStatus, placeOf } from '../../core/jobs/record.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import type { QueueLimits, QueueRules, QueueStats } from '../../ports/job-store.ts'
import { Gate } from './gate.ts'
import { Ready } from './ready.ts'
import type { QueueCounters, QueueSettings } from './tables.ts'

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
  scheduled: 0,
  blockedKeys: 0,
  dead: {},
}

export const NO_RULES: QueueRules = { onFailure: 'skip', overflow: 'refuse' }
const NO_LIMITS: QueueLimits = { jobs: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER, finished: Number.MAX_SAFE_INTEGER }
export const NO_SETTINGS: QueueSettings = { limits: NO_LIMITS, rules: NO_RULES, paused: false }

export class QueueState {
  readonly id: number
  readonly name: string
  readonly ready: Ready = new Ready()
  readonly gate: Gate
  settings: QueueSettings
  /** A lease got less than it might have, because of a limit on what runs. */
  starved = false
  /** The same, because of the rate. */
  throttled = false
  /** Of old jobs, to be handed out although fresher ones wait. */
  oldCredit = 0
  entered = 0
  inLine = 0
  bytes: Bytes = 0
  finishedBytes: Bytes = 0
  scheduled = 0
  blockedKeys = 0
  /** Differs from what the storage has. */
  dirty = false
  #counts: number[] = []
  #dead = new Map<string, number>()

  /** `rateKeys`: see `StoreLimits`. */
  constructor(id: number, name: string, settings: QueueSettings, rateKeys: number) {
    this.gate = new Gate(rateKeys)
    this.id = id
    this.name = name
    this.settings = settings
    this.load(NO_COUNTERS)
  }

  get limits(): QueueLimits {
    return this.settings.limits
  }

  get rules(): QueueRules {
    return this.settings.rules
  }

  /** Takes the storage's counters. */
  load(counters: QueueCounters): void {
    this.#counts = [...counters.counts]
    this.#dead = new Map(Object.entries(counters.dead))
    this.bytes = counters.bytes
    this.finishedBytes = counters.finishedBytes
    this.entered = counters.entered
    this.inLine = counters.inLine
    this.scheduled = counters.scheduled
    this.blockedKeys = counters.blockedKeys
    this.dirty = false
  }

  get unfinished(): number {
    return this.#count('queued') + this.#count('running') + this.#count('retrying')
  }

  get running(): number {
    return this.#count('running')
  }

  get ended(): number {
    return this.#count('succeeded') + this.#count('failed') + this.#count('cancelled') + this.#count('expired')
  }

  /** Adds (`sign` 1) or takes away (-1) what this job counts as it is. */
  count(record: JobRecord, sign: 1 | -1): void {
    this.dirty = true
    const index = STATUS_INDEX[record.status]
    this.#counts[index] = (this.#counts[index] as number) + sign
    const place = placeOf(record)
    if (place === 'scheduled') this.scheduled += sign
    if (place !== 'ended') {
      this.bytes += sign * record.requestBytes
      return
    }
    if (record.blocksKey === true) this.blockedKeys += sign
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
      scheduled: this.scheduled,
      blockedKeys: this.blockedKeys,
      dead: Object.fromEntries(this.#dead),
    }
  }

  stats(live: {
    readonly waitingAt: EpochMillis | undefined
    readonly runningAt: EpochMillis | undefined
    readonly deferred: number
  }): QueueStats {
    const { limits, rules, paused, definition } = this.settings
    return {
      queue: this.name,
      counts: Object.fromEntries(JOB_STATUSES.map((status) => [status, this.#count(status)])) as Record<JobStatus, number>,
      bytes: this.bytes,
      finishedBytes: this.finishedBytes,
      scheduled: this.scheduled,
      blockedKeys: this.blockedKeys,
      deferred: live.deferred,
      paused,
      limits,
      rules,
      dead: Object.fromEntries(this.#dead),
      ...(definition !== undefined && { definition }),
      ...(live.waitingAt !== undefined && { oldestWaitingAt: live.waitingAt }),
      ...(live.runningAt !== undefined && { oldestRunningAt: live.runningAt }),
    }
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
