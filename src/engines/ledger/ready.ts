/**
 * The ready jobs of one queue, in memory: whose turn it is, and which of his jobs. Tenants take turns, job by job, so that how many one has
 * waiting is nothing to the others; a queue without tenants has a single one. A job whose key must not be handed out yet rests.
 * Changes can be taken back, because the transaction that they belong to may fail.
 */
import type { MonotonicMillis } from '../../lib/units.ts'
import { OrderedSet } from '../../lib/ordered-set.ts'
import { Lanes, type Wanted } from './lanes.ts'

export interface ReadyJob {
  readonly seq: number
  readonly tenant: string
  readonly priority: number
  readonly lane: number
}

interface Change {
  readonly job: ReadyJob
  readonly what: 'added' | 'removed' | 'rested' | 'roused'
  readonly until: MonotonicMillis
}

export class Ready {
  /** In the order of their turns: who has had one goes to the end. */
  readonly #tenants = new Map<string, Lanes>()
  readonly #resting = new OrderedSet()
  readonly #restingJobs = new Map<number, ReadyJob>()
  #size = 0
  #changes: Change[] = []

  /** Those that rest included. */
  get size(): number {
    return this.#size
  }

  add(job: ReadyJob): void {
    this.#add(job)
    this.#note(job, 'added')
  }

  /** When the store is opened: there is nothing to take back to. */
  load(job: ReadyJob): void {
    this.#add(job)
  }

  remove(job: ReadyJob): void {
    const until = this.#untilOf(job.seq)
    if (until === undefined) this.#remove(job)
    else this.#rouse(job)
    this.#note(job, until === undefined ? 'removed' : 'roused', until)
  }

  /** The job is not to be had until then. */
  rest(job: ReadyJob, until: MonotonicMillis): void {
    this.#remove(job)
    this.#rest(job, until)
    this.#note(job, 'rested', until)
  }

  /** Of all that rest, whoever may go first: how long it rests. */
  get restsUntil(): MonotonicMillis | undefined {
    return this.#resting.firstRank()
  }

  /** Ends the rest of those whose time has come. True: there were any. */
  rouse(now: MonotonicMillis): boolean {
    let any = false
    for (;;) {
      const until = this.#resting.firstRank()
      const job = this.#restingJobs.get(this.#resting.first() ?? 0)
      if (until === undefined || job === undefined || until > now) return any
      any = true
      this.remove(job)
      this.add(job)
    }
  }

  /** The job whose turn it is; 0: there is none. Tenants of which `mayRun` says no are passed over. */
  best(wanted: Wanted, mayRun?: (tenant: string) => boolean): number {
    for (const [tenant, lanes] of this.#tenants) {
      if (mayRun !== undefined && !mayRun(tenant)) continue
      const seq = lanes.best(wanted)
      if (seq !== 0) return seq
    }
    return 0
  }

  /** The tenant has had his turn. */
  served(tenant: string): void {
    const lanes = this.#tenants.get(tenant)
    if (lanes === undefined || this.#tenants.size === 1) return
    this.#tenants.delete(tenant)
    this.#tenants.set(tenant, lanes)
  }

  /** The oldest of all. 0: none. */
  oldest(): number {
    let best = 0
    const consider = (seq: number): void => {
      if (seq !== 0 && (best === 0 || seq < best)) best = seq
    }
    for (const lanes of this.#tenants.values()) consider(lanes.oldest())
    for (const seq of this.#restingJobs.keys()) consider(seq)
    return best
  }

  begin(): void {
    if (this.#changes.length > 0) this.#changes = []
  }

  rollback(): void {
    for (const { job, what, until } of this.#changes.reverse()) {
      if (what === 'added') this.#remove(job)
      else if (what === 'removed') this.#add(job)
      else if (what === 'roused') this.#rest(job, until)
      else {
        this.#rouse(job)
        this.#add(job)
      }
    }
    this.#changes = []
  }

  clear(): void {
    this.#tenants.clear()
    for (const seq of this.#restingJobs.keys()) this.#resting.delete(seq)
    this.#restingJobs.clear()
    this.#size = 0
    this.#changes = []
  }

  #note(job: ReadyJob, what: Change['what'], until: MonotonicMillis = 0): void {
    this.#changes.push({ job, what, until })
  }

  #untilOf(seq: number): MonotonicMillis | undefined {
    return this.#restingJobs.size === 0 ? undefined : this.#resting.rankOf(seq)
  }

  #add({ tenant, priority, lane, seq }: ReadyJob): void {
    let lanes = this.#tenants.get(tenant)
    if (lanes === undefined) {
      this.#dropIdle()
      lanes = new Lanes()
      this.#tenants.set(tenant, lanes)
    }
    lanes.add(priority, lane, seq)
    this.#size += 1
  }

  #remove({ tenant, priority, lane, seq }: ReadyJob): void {
    const lanes = this.#tenants.get(tenant)
    if (lanes === undefined) return
    lanes.remove(priority, lane, seq)
    this.#size -= 1
    // The lanes of the last tenant are as good as new, and wanted again soon.
    if (lanes.size === 0 && this.#tenants.size > 1) this.#tenants.delete(tenant)
  }

  /** Who was alone has kept his lanes, but not his turn before one who comes now. */
  #dropIdle(): void {
    if (this.#tenants.size !== 1) return
    for (const [tenant, lanes] of this.#tenants) if (lanes.size === 0) this.#tenants.delete(tenant)
  }

  #rest(job: ReadyJob, until: MonotonicMillis): void {
    this.#resting.add(job.seq, until)
    this.#restingJobs.set(job.seq, job)
    this.#size += 1
  }

  #rouse(job: ReadyJob): void {
    this.#resting.delete(job.seq)
    this.#restingJobs.delete(job.seq)
    this.#size -= 1
  }
}
