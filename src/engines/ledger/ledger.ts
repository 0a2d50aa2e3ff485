/**
 * The job store's logic over any storage: synchronous, one call after another, so there is nothing to lock. The caller wraps calls in
 * `begin` and `commit` (or `rollback`) and in the storage's own transaction; `mustSync` says whether the answers may leave before a sync.
 */
import { BUCKETS, bucketOf, hasBucket } from '../../core/jobs/buckets.ts'
import { formatJobId, nextSequence, parseJobId } from '../../core/jobs/job-id.ts'
import { type JobEvent, type Moment, step } from '../../core/jobs/machine.ts'
import { type JobRecord, placeOf } from '../../core/jobs/record.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../../lib/units.ts'
import type {
  CommandOutcome,
  JobCommand,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  QueueLimits,
  QueueStats,
  SettleOutcome,
  Submitted,
  Tick,
} from '../../ports/job-store.ts'
import { Book } from './book.ts'
import type { PackedJob, PackedLease, PackedRead, PackedSettlement } from './calls.ts'
import type { LiveLease } from './leases.ts'
import type { QueueState } from './queue-state.ts'
import { sweep, type SweepLimits } from './sweep.ts'
import { DAMAGED, payloadBytes, type Tables } from './tables.ts'

/** Time and secrets for the calls of one batch. */
export interface Context {
  readonly now: EpochMillis
  readonly monotonic: MonotonicMillis
  /** 128 random bits, base64url; never the same ones twice. */
  secret(): string
}

export interface LedgerOptions {
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits }[]
  readonly onCorrupt: (what: string) => void
}

/** A fence is generation * this + the number of the lease in it. */
const LEASES_PER_GENERATION = 2 ** 32
const VERSIONS_PER_GENERATION = 2 ** 20
const PRIORITY_MAX = 9
/** So many ended jobs are removed to make room for one more. */
const EVICTIONS_PER_END = 64
const SWEEP_LIMITS: SweepLimits = { timers: 1000, removals: 500 }

export class Ledger {
  /** Set while submissions cannot be taken: what the client is told. */
  refuseSubmissions: { readonly limit: string; readonly detail: string } | undefined
  readonly #tables: Tables
  readonly #book: Book
  readonly #versionFloor: number
  #context: Context = { now: 0, monotonic: 0, secret: () => '' }
  #moment: Moment = { now: 0, versionFloor: 0 }
  #mustSync = false
  #lastSequence: number
  #savedSequence: number
  #leased = 0
  /** Any queue may have ready jobs of which nobody was told. */
  #rebuilt = false
  /** Changed outside of `tick`, by whom nobody asked: the next tick tells. */
  #untold: JobRecord[] = []
  /** As they were at `begin`. */
  #untoldBefore: readonly JobRecord[] = []

  constructor(tables: Tables, options: LedgerOptions) {
    this.#tables = tables
    this.#book = new Book(tables, options.onCorrupt)
    this.#versionFloor = (tables.generation - 1) * VERSIONS_PER_GENERATION
    this.#lastSequence = tables.lastSequence()
    this.#savedSequence = this.#lastSequence
    for (const { name, limits } of options.queues) this.#book.configure(name, limits)
  }

  /** Something was done since `begin` whose answer must not leave before it is synced. */
  get mustSync(): boolean {
    return this.#mustSync
  }

  begin(context: Context): void {
    // Times are stored as whole milliseconds.
    this.#context = { ...context, now: Math.floor(context.now) }
    this.#moment = { now: this.#context.now, versionFloor: this.#versionFloor }
    this.#mustSync = false
    this.#untoldBefore = [...this.#untold]
    this.#book.begin()
  }

  /** Before the storage's commit. */
  commit(): void {
    this.#book.flush()
    if (this.#lastSequence === this.#savedSequence) return
    this.#tables.saveLastSequence(this.#lastSequence)
    this.#savedSequence = this.#lastSequence
  }

  /** After the storage's rollback: nothing since `begin` has happened. */
  rollback(): void {
    this.#book.rollback()
    this.#lastSequence = this.#tables.lastSequence()
    this.#savedSequence = this.#lastSequence
    this.#untold = [...this.#untoldBefore]
  }

  /** The leases of earlier generations are void; their jobs are handed out again. Once, in the first transaction after opening. */
  voidOldLeases(): void {
    for (const seq of this.#book.orphans) {
      const record = this.#book.indexed(seq)
      if (record === undefined) continue
      const changed = this.#step(record, { kind: 'void' })
      if (changed !== undefined && placeOf(changed) === 'ended') this.#untold.push(changed)
    }
  }

  /** After damage was found: makes anew what is derived from the records. */
  rebuildIndexes(): void {
    this.#book.rebuild()
    this.#rebuilt = true
  }

  submit(job: PackedJob): Submitted {
    const queue = this.#book.queue(job.queue)
    if (queue === undefined) throw new Error(`no queue is named ${job.queue}`)
    if (job.idempotency !== undefined) {
      const entry = this.#tables.dedup(job.idempotency.scopeKey)
      const record = entry === undefined ? undefined : this.#book.get(entry.seq)
      if (entry !== undefined && record?.dedup !== undefined) {
        if (entry.fingerprint !== job.idempotency.fingerprint) return { kind: 'conflict' }
        return { kind: 'duplicate', job: this.#book.view(record) }
      }
    }
    const bytes = payloadBytes(job.request)
    const full = this.refuseSubmissions ?? fullLimit(queue, bytes)
    if (full !== undefined) return { kind: 'refused', ...full }
    this.#lastSequence = nextSequence(this.#lastSequence, this.#context.now)
    const record = this.#newRecord(this.#lastSequence, job)
    this.#tables.putRequest(record.seq, job.request)
    if (job.idempotency !== undefined && record.dedup !== undefined) {
      const { scopeKey, fingerprint } = job.idempotency
      this.#tables.addDedup(scopeKey, { seq: record.seq, fingerprint }, record.dedup.until)
    }
    this.#mustSync = true
    return { kind: 'created', job: this.#book.view(this.#book.add(record)) }
  }

  lease(request: LeaseRequest): readonly PackedLease[] {
    const queue = this.#book.queue(request.queue)
    const leases: PackedLease[] = []
    if (queue === undefined) return leases
    const own = bucketList(request.buckets)
    while (leases.length < request.max) {
      const fromOwn = queue.lanes.bestOf(own)
      const seq = fromOwn !== 0 || !request.stealUnkeyed ? fromOwn : queue.lanes.bestUnkeyed()
      if (seq === 0) break
      const lease = this.#handOut(seq, request, fromOwn === 0)
      if (lease !== undefined) leases.push(lease)
    }
    return leases
  }

  extend(ref: LeaseRef, forMs: Millis): LeaseOutcome {
    const live = this.#live(ref)
    if (live === undefined) return 'stale'
    this.#book.leases.set(live.record.seq, { record: live.record, until: this.#context.monotonic + forMs })
    return 'extended'
  }

  settle(settlement: PackedSettlement): SettleOutcome {
    const live = this.#live(settlement.lease)
    if (live === undefined) return { kind: 'stale' }
    const resultBytes = settlement.answer === undefined ? -1 : payloadBytes(settlement.answer)
    const changed = this.#step(live.record, { ...settlement, resultBytes })
    if (changed === undefined) return { kind: 'stale' }
    this.#mustSync = true
    if (placeOf(changed) === 'ended') {
      // A job that was handed back and expired has no result, whatever the server said.
      if (settlement.answer !== undefined && changed.resultBytes >= 0) this.#tables.putResult(changed.seq, settlement.answer)
      this.#makeRoom(changed)
    }
    return { kind: 'settled', job: this.#book.view(changed) }
  }

  command(command: JobCommand): CommandOutcome {
    if (command.kind === 'configure') {
      this.#book.configure(command.queue, command.limits)
      return { kind: 'done' }
    }
    const record = this.#find(command.id)
    if (record === undefined) return { kind: 'missing' }
    return command.kind === 'cancel' ? this.#cancel(record, command.onlyUnbegun === true) : this.#progress(record, command)
  }

  read(id: string, want: 'status' | 'result'): PackedRead | undefined {
    const record = this.#find(id)
    if (record === undefined) return undefined
    const job = this.#book.view(record)
    if (want === 'status' || !job.hasAnswer) return { job }
    const answer = this.#tables.result(record.seq)
    return answer === DAMAGED ? { job: { ...job, hasAnswer: false } } : { job, answer }
  }

  tick(): Tick {
    this.#book.becameReady.clear()
    const changed = [...this.#untold]
    this.#untold = []
    const { now, monotonic } = this.#context
    const nextMs = sweep(this.#book, { now, monotonic, limits: SWEEP_LIMITS }, (record, event) => {
      const after = this.#step(record, event)
      if (after !== undefined && after.status !== record.status) {
        changed.push(after)
        this.#mustSync = true
      }
      return after !== undefined
    })
    if (this.#rebuilt) for (const queue of this.#book.queues()) this.#book.becameReady.add(queue.name)
    this.#rebuilt = false
    const tick: Tick = { ready: [...this.#book.becameReady], changed: changed.map((record) => this.#book.view(record)) }
    return nextMs === undefined ? tick : { ...tick, nextMs }
  }

  stats(): readonly QueueStats[] {
    return [...this.#book.queues()].map((queue) => {
      const oldest = this.#book.line.oldest(queue)
      return queue.stats(oldest === undefined ? undefined : this.#book.indexed(oldest)?.submittedAt)
    })
  }

  #newRecord(seq: number, job: PackedJob): JobRecord {
    const { now } = this.#context
    const { delayMs, expireAfterMs, idempotency } = job
    const delayed = delayMs !== undefined && delayMs > 0
    const due = delayed ? now + Math.ceil(delayMs) : now
    return {
      seq,
      secret: this.#context.secret(),
      queue: job.queue,
      route: job.route,
      method: job.method,
      bucket: bucketOf(job.key ?? formatJobId(seq)),
      priority: Math.min(PRIORITY_MAX, Math.max(0, Math.trunc(job.priority))),
      attempts: job.attempts,
      sendOnce: job.sendOnce,
      keepMs: Math.ceil(job.keepMs),
      keepDeadMs: Math.ceil(job.keepDeadMs),
      requestBytes: payloadBytes(job.request),
      submittedAt: now,
      status: 'queued',
      version: this.#versionFloor + 1,
      counted: 0,
      handOuts: 0,
      scheduled: delayed,
      ordinal: 0,
      resultBytes: -1,
      ...(job.key !== undefined && { key: job.key }),
      ...(job.reference !== undefined && { reference: job.reference }),
      ...(idempotency !== undefined && { dedup: { scopeKey: idempotency.scopeKey, until: now + Math.ceil(idempotency.keepMs) } }),
      ...(delayed && { notBefore: due }),
      ...(expireAfterMs !== undefined && { expiresAt: due + Math.ceil(expireAfterMs) }),
    }
  }

  #handOut(seq: number, request: LeaseRequest, stolen: boolean): PackedLease | undefined {
    const record = this.#book.indexed(seq)
    if (record === undefined) return undefined
    if (placeOf(record) !== 'line') {
      this.#book.refile(seq)
      return undefined
    }
    if (this.#endUntold(record, { kind: 'time' })) return undefined
    const payload = this.#tables.request(seq)
    if (payload === DAMAGED) return void this.#endUntold(record, { kind: 'damaged' })
    // What is in the line and has not expired can be leased. A secret is drawn for nothing else: there are as many as there may be leases.
    this.#leased += 1
    const fence = this.#tables.generation * LEASES_PER_GENERATION + this.#leased
    const secret = this.#context.secret()
    const leased = this.#step(record, { kind: 'lease', fence, secret, server: request.server })
    if (leased === undefined) {
      this.#book.refile(seq)
      return undefined
    }
    this.#book.leases.set(seq, { record: leased, until: this.#context.monotonic + request.leaseMs })
    if (leased.sendOnce) this.#mustSync = true
    return { ref: { id: formatJobId(seq), fence, secret }, job: this.#book.view(leased), request: payload, stolen }
  }

  /** False: the event does not end it. */
  #endUntold(record: JobRecord, event: JobEvent): boolean {
    const changed = this.#step(record, event)
    if (changed === undefined) return false
    this.#untold.push(changed)
    this.#mustSync = true
    return true
  }

  #cancel(record: JobRecord, onlyUnbegun: boolean): CommandOutcome {
    const begun = record.counted > 0 || placeOf(record) === 'running'
    const changed = onlyUnbegun && begun ? undefined : this.#step(record, { kind: 'cancel', forgetKey: onlyUnbegun })
    if (changed === undefined) return { kind: 'unchanged', job: this.#book.view(record) }
    this.#mustSync = true
    this.#makeRoom(changed)
    const job = this.#book.view(changed)
    return record.lease === undefined ? { kind: 'done', job } : { kind: 'done', job, aborted: { id: job.id, ...record.lease } }
  }

  #progress(record: JobRecord, command: Extract<JobCommand, { kind: 'progress' }>): CommandOutcome {
    if (record.lease === undefined || !sameSecret(record.lease.secret, command.secret)) return { kind: 'stale' }
    const changed = this.#step(record, { kind: 'progress', progress: command.progress })
    return changed === undefined ? { kind: 'stale' } : { kind: 'done', job: this.#book.view(changed) }
  }

  /** Takes the step if the event applies. */
  #step(record: JobRecord, event: JobEvent): JobRecord | undefined {
    const after = step(record, event, this.#moment)
    if (after === undefined) return undefined
    const live = this.#book.leases.get(record.seq)
    const changed = this.#book.change(record, after)
    if (live !== undefined && placeOf(changed) === 'running') this.#book.leases.set(record.seq, { ...live, record: changed })
    return changed
  }

  #find(id: string): JobRecord | undefined {
    const seq = parseJobId(id)
    return seq === undefined ? undefined : this.#book.get(seq)
  }

  #live(ref: LeaseRef): LiveLease | undefined {
    const live = this.#book.leases.get(parseJobId(ref.id) ?? 0)
    const lease = live?.record.lease
    return lease !== undefined && lease.fence === ref.fence && sameSecret(lease.secret, ref.secret) ? live : undefined
  }

  /** The oldest ended jobs go when all of them weigh too much; never the one that ended just now. */
  #makeRoom(ended: JobRecord): void {
    const queue = this.#book.queue(ended.queue)
    if (queue !== undefined) this.#book.evict(queue, { max: EVICTIONS_PER_END, spare: ended.seq })
  }
}

function fullLimit(queue: QueueState, bytes: number): { limit: string; detail: string } | undefined {
  const { limits } = queue
  if (queue.unfinished >= limits.jobs) return { limit: 'jobs', detail: `Queue ${queue.name} holds ${limits.jobs} jobs, as many as it may` }
  if (queue.bytes + bytes > limits.bytes)
    return { limit: 'bytes', detail: `Queue ${queue.name} holds as many bytes as it may (${limits.bytes})` }
  return undefined
}

function bucketList(bitmap: Uint8Array): Uint8Array {
  const list = new Uint8Array(BUCKETS)
  let count = 0
  for (let bucket = 0; bucket < BUCKETS; bucket++) if (hasBucket(bitmap, bucket)) list[count++] = bucket
  return list.subarray(0, count)
}

/** In time that does not depend on where they differ. */
function sameSecret(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let at = 0; at < a.length; at++) difference |= a.charCodeAt(at) ^ b.charCodeAt(at)
  return difference === 0
}
