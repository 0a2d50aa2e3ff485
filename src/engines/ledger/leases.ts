/**
 * The leases of this process, in memory: what runs, and until when. A lease is not worth a disk write when it is extended, and none
 * survives its process anyway. Changes can be taken back, because the transaction that they belong to may fail.
 */
import type { JobRecord } from '../../core/jobs/record.ts'
import { OrderedSet } from '../../lib/ordered-set.ts'
import type { EpochMillis, MonotonicMillis } from '../../lib/units.ts'

export interface LiveLease {
  /** The running job, so that settling it need not read it again. */
  readonly record: JobRecord
  readonly until: MonotonicMillis
}

export class Leases {
  readonly #leases = new Map<number, LiveLease>()
  readonly #ends = new OrderedSet()
  /** By queue and tenant. */
  readonly #running = new Map<string, number>()
  /** By queue. */
  readonly #deferred = new Map<string, number>()
  /** What the changes since `begin` replaced. */
  #replaced: { readonly seq: number; readonly was: LiveLease | undefined }[] = []

  get size(): number {
    return this.#leases.size
  }

  all(): readonly LiveLease[] {
    return [...this.#leases.values()]
  }

  /** Jobs of a tenant that run. */
  runningOf(queue: string, tenant: string): number {
    return this.#running.get(tenantOf(queue, tenant)) ?? 0
  }

  /** Jobs of a queue whose server has deferred their end. */
  deferredOf(queue: string): number {
    return this.#deferred.get(queue) ?? 0
  }

  /** For each queue, when the hand-out that runs longest began; not of those that are deferred, which take the time that they said. */
  oldestByQueue(): ReadonlyMap<string, EpochMillis> {
    const oldest = new Map<string, EpochMillis>()
    for (const { record } of this.#leases.values()) {
      const { queue, attemptAt, lease } = record
      if (lease?.deferred === undefined && attemptAt !== undefined && attemptAt < (oldest.get(queue) ?? Number.POSITIVE_INFINITY))
        oldest.set(queue, attemptAt)
    }
    return oldest
  }

  get(seq: number): LiveLease | undefined {
    return this.#leases.get(seq)
  }

  set(seq: number, lease: LiveLease): void {
    this.#replaced.push({ seq, was: this.#leases.get(seq) })
    this.#put(seq, lease)
  }

  delete(seq: number): void {
    this.#replaced.push({ seq, was: this.#leases.get(seq) })
    this.#put(seq, undefined)
  }

  /** The one that ends first. */
  first(): { readonly seq: number; readonly until: MonotonicMillis } | undefined {
    const seq = this.#ends.first()
    const until = this.#ends.firstRank()
    return seq === undefined || until === undefined ? undefined : { seq, until }
  }

  begin(): void {
    this.#replaced = []
  }

  rollback(): void {
    for (const { seq, was } of this.#replaced.reverse()) this.#put(seq, was)
    this.#replaced = []
  }

  #put(seq: number, lease: LiveLease | undefined): void {
    this.#count(this.#leases.get(seq), -1)
    this.#count(lease, 1)
    if (lease === undefined) {
      this.#leases.delete(seq)
      this.#ends.delete(seq)
    } else {
      this.#leases.set(seq, lease)
      this.#ends.add(seq, lease.until)
    }
  }

  #count(lease: LiveLease | undefined, change: number): void {
    if (lease === undefined) return
    const { tenant, queue, lease: held } = lease.record
    if (held?.deferred !== undefined) add(this.#deferred, queue, change)
    if (tenant !== undefined) add(this.#running, tenantOf(queue, tenant), change)
  }
}

function add(counts: Map<string, number>, name: string, change: number): void {
  const count = (counts.get(name) ?? 0) + change
  if (count === 0) counts.delete(name)
  else counts.set(name, count)
}

function tenantOf(queue: string, tenant: string): string {
  return `${queue}\n${tenant}`
}
