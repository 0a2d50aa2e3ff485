/**
 * What can be done to one job, within the transaction that is open: accept it, take a step of its life, send it again, move it, forget it.
 * Everything that changes a job goes through here, so that its story, its version and the room it takes are right whoever asked.
 */
import { bucketOf } from '../../core/jobs/buckets.ts'
import { handOutOver, lastHandOut } from '../../core/jobs/history.ts'
import { formatJobId, nextSequence, parseJobId } from '../../core/jobs/job-id.ts'
import { type JobEvent, type Moment, step } from '../../core/jobs/machine.ts'
import { blobOf, type JobRecord, placeOf } from '../../core/jobs/record.ts'
import type { EpochMillis, Millis, MonotonicMillis } from '../../lib/units.ts'
import type { AttemptRecord, NextJob } from '../../ports/job-store.ts'
import type { Book } from './book.ts'
import type { PackedJob } from './calls.ts'
import type { QueueState } from './queue-state.ts'
import { type Payload, payloadBytes, type Tables } from './tables.ts'

/** Time and secrets for the calls of one batch. */
export interface Context {
  readonly now: EpochMillis
  readonly monotonic: MonotonicMillis
  /** 128 random bits, base64url; never the same ones twice. */
  secret(): string
}

export interface Refusal {
  readonly limit: string
  readonly detail: string
}

export interface Redrive {
  readonly queue?: string | undefined
  readonly afterMs?: Millis | undefined
  readonly request?: { readonly payload: Payload; readonly method: string } | undefined
}

export interface Followed {
  readonly version: number
  readonly next?: NextJob | undefined
  readonly more?: boolean | undefined
  readonly followedBy?: readonly string[] | undefined
}

const VERSIONS_PER_GENERATION = 2 ** 20
const PRIORITY_MAX = 9
/** So many ended jobs are removed to make room for one more. */
const EVICTIONS_PER_END = 64
/** So many waiting jobs are dropped with each that comes, unless dropping is sure to be enough. */
const DROPS_PER_SUBMIT = 64

export class Acts {
  readonly book: Book
  readonly tables: Tables
  /** Set while submissions cannot be taken: what the client is told. */
  refuseSubmissions: Refusal | undefined
  context: Context = { now: 0, monotonic: 0, secret: () => '' }
  /** Something was done whose answer must not leave before it is synced. */
  mustSync = false
  /** Changed by whom nobody asked: the next tick tells. */
  untold: JobRecord[] = []
  readonly #versionFloor: number
  #moment: Moment = { now: 0, versionFloor: 0 }
  #lastSequence: number
  #savedSequence: number
  /** As they were at `begin`. */
  #untoldBefore: readonly JobRecord[] = []

  constructor(book: Book) {
    this.book = book
    this.tables = book.tables
    this.#versionFloor = (this.tables.generation - 1) * VERSIONS_PER_GENERATION
    this.#lastSequence = this.tables.lastSequence()
    this.#savedSequence = this.#lastSequence
  }

  get lastSequence(): number {
    return this.#lastSequence
  }

  begin(context: Context): void {
    // Times are stored as whole milliseconds.
    this.context = { ...context, now: Math.floor(context.now) }
    this.#moment = { now: this.context.now, versionFloor: this.#versionFloor }
    this.mustSync = false
    this.#untoldBefore = [...this.untold]
    this.book.begin()
  }

  commit(): void {
    this.book.flush()
    if (this.#lastSequence === this.#savedSequence) return
    this.tables.saveLastSequence(this.#lastSequence)
    this.#savedSequence = this.#lastSequence
  }

  rollback(): void {
    this.book.rollback()
    this.#lastSequence = this.tables.lastSequence()
    this.#savedSequence = this.#lastSequence
    this.untold = [...this.#untoldBefore]
  }

  find(id: string): JobRecord | undefined {
    const seq = parseJobId(id)
    return seq === undefined ? undefined : this.book.get(seq)
  }

  /** Takes the step if the event applies. */
  step(record: JobRecord, event: JobEvent): JobRecord | undefined {
    const after = step(record, event, this.#moment)
    return after === undefined ? undefined : this.#change(record, event, after)
  }

  /** What nobody who asks hears of. False: the event did not end it. */
  endUntold(record: JobRecord, event: JobEvent): boolean {
    const changed = this.step(record, event)
    if (changed === undefined) return false
    this.untold.push(changed)
    this.mustSync = true
    return true
  }

  /** What nobody has heard of yet, as it is now. Whoever has sent a job again since was told of that. */
  takeUntold(): readonly JobRecord[] {
    const { untold } = this
    if (untold.length === 0) return untold
    this.untold = []
    return untold.flatMap((record) => {
      const now = this.book.get(record.seq) ?? record
      return now.redrives === record.redrives ? [now] : []
    })
  }

  /** Into its queue, if there is room. */
  accept(job: PackedJob, queue: QueueState): JobRecord | Refusal {
    const bytes = payloadBytes(job.request)
    const full = this.refuseSubmissions ?? notAdmitted(queue, job, bytes) ?? this.#makeRoomIn(queue, bytes)
    if (full !== undefined) return full
    this.#lastSequence = nextSequence(this.#lastSequence, this.context.now)
    const record = this.#newRecord(this.#lastSequence, job)
    this.tables.putRequest(record.seq, job.request)
    if (job.idempotency !== undefined && record.dedup !== undefined) {
      const { scopeKey, fingerprint } = job.idempotency
      this.tables.addDedup(scopeKey, { seq: record.seq, fingerprint }, record.dedup.until)
    }
    this.mustSync = true
    return this.book.add(record)
  }

  /** Why not all of these have room in their queues, as these are. */
  roomForAll(jobs: readonly PackedJob[]): (Refusal & { readonly queue: string }) | undefined {
    const sums = new Map<string, { jobs: number; bytes: number }>()
    for (const { queue, request } of jobs) {
      const sum = sums.get(queue) ?? { jobs: 0, bytes: 0 }
      sums.set(queue, { jobs: sum.jobs + 1, bytes: sum.bytes + payloadBytes(request) })
    }
    for (const [name, sum] of sums) {
      const queue = this.book.queue(name)
      if (queue === undefined) throw new Error(`no queue is named ${name}`)
      const full = this.refuseSubmissions ?? fullLimit(queue, sum.bytes, sum.jobs) ?? this.#tooOld(queue)
      if (full !== undefined) return { ...full, queue: name }
    }
    return undefined
  }

  /** undefined: it is no dead letter. */
  redrive(record: JobRecord, how: Redrive): JobRecord | Refusal | undefined {
    if (record.dead === undefined) return undefined
    const bytes = how.request === undefined ? record.requestBytes : payloadBytes(how.request.payload)
    const full = this.#roomFor(how.queue ?? record.queue, bytes)
    if (full !== undefined) return full
    const event: JobEvent = { kind: 'redrive', afterMs: how.afterMs ?? 0, requestBytes: bytes }
    const after = step(record, event, this.#moment)
    if (after === undefined) return undefined
    if (record.resultBytes >= 0) this.tables.deleteResult(record.seq, record.resultBytes, blobOf(record))
    if (how.request !== undefined) {
      this.tables.deleteRequest(record.seq, record.requestBytes)
      this.tables.putRequest(record.seq, how.request.payload)
    }
    const method = how.request?.method ?? record.method
    this.mustSync = true
    return this.#change(record, event, { ...after, method, queue: how.queue ?? record.queue })
  }

  /** undefined: it neither waits nor is a dead letter. */
  move(record: JobRecord, to: string): JobRecord | Refusal | undefined {
    const place = placeOf(record)
    if (record.queue === to || place === 'running') return undefined
    if (place === 'ended') return this.redrive(record, { queue: to })
    const full = this.#roomFor(to, record.requestBytes)
    if (full !== undefined) return full
    this.mustSync = true
    return this.book.change(record, { ...record, queue: to, version: this.#versionAfter(record) })
  }

  /** A job that blocks its key. */
  release(record: JobRecord): JobRecord {
    this.mustSync = true
    return this.book.release(record)
  }

  /** What follows from its end is done, or a part of it. undefined: nothing was to, or it was sent again since. */
  followed(record: JobRecord, { version, next, more = false, followedBy = [] }: Followed): JobRecord | undefined {
    if (record.followUpDue !== true || record.version !== version) return undefined
    this.mustSync = true
    const after: JobRecord = next === undefined ? record : { ...record, next }
    if (!more) return this.book.followed(after)
    const names = [...new Set([...(record.followedBy ?? []), ...followedBy])]
    return this.book.note(names.length === 0 ? after : { ...after, followedBy: names })
  }

  /** False: it has not ended, or not everything has followed from that. */
  forget(record: JobRecord): boolean {
    if (placeOf(record) !== 'ended' || record.followUpDue === true) return false
    this.book.remove(record)
    this.mustSync = true
    return true
  }

  /** All hand-outs that are over. */
  history(record: JobRecord): readonly AttemptRecord[] {
    const rows = record.told === undefined ? [] : this.tables.history(record.seq)
    const last = placeOf(record) === 'ended' ? lastHandOut(record) : undefined
    return last === undefined ? rows : [...rows, last]
  }

  /** The oldest ended jobs go when all of them weigh too much; never the one that ended just now. */
  evictFor(ended: JobRecord): void {
    const queue = this.book.queue(ended.queue)
    if (queue !== undefined) this.book.evict(queue, { max: EVICTIONS_PER_END, spare: ended.seq })
  }

  /** A lease that outlived its process begins anew. What the record says of its version is from before it ran. */
  keepLease(record: JobRecord, forMs: Millis): void {
    const until = this.context.monotonic + forMs
    this.book.leases.set(record.seq, { record: { ...record, version: this.#versionAfter(record) }, until })
  }

  #versionAfter(record: JobRecord): number {
    return Math.max(record.version, this.#versionFloor) + 1
  }

  #change(before: JobRecord, event: JobEvent, after: JobRecord): JobRecord {
    const over = event.kind === 'redrive' ? lastHandOut(before) : handOutOver(before, event, after, this.context.now)
    if (over !== undefined) this.tables.addHistory(before.seq, over)
    const live = this.book.leases.get(before.seq)
    const changed = this.book.change(before, over === undefined ? after : { ...after, told: (before.told ?? 0) + 1 })
    if (live !== undefined && placeOf(changed) === 'running') this.book.leases.set(before.seq, { ...live, record: changed })
    return changed
  }

  /** Why there is no room in a queue for a job that does not come from outside. */
  #roomFor(name: string, bytes: number): Refusal | undefined {
    const queue = this.book.queue(name)
    if (queue === undefined) return { limit: 'queue', detail: `There is no queue ${name}` }
    return this.refuseSubmissions ?? fullLimit(queue, bytes)
  }

  /**
   * Where the queue's rules say so, the oldest waiting jobs make room. Only some go at a time where that may not be enough, of those that are too
   * old, and of those that have no place since the limits were lowered.
   */
  #makeRoomIn(queue: QueueState, bytes: number): Refusal | undefined {
    const { limits, rules } = queue
    const drops = rules.overflow === 'drop-oldest' && bytes <= limits.bytes && queue.unfinished - queue.inLine < limits.jobs
    const wasOver = queue.unfinished > limits.jobs || queue.bytes > limits.bytes
    // What runs or waits for time has bytes too, and gives up none: then dropping may not be enough.
    const enough = !wasOver && queue.unfinished === queue.inLine
    for (let dropped = 0; ; dropped++) {
      const full = fullLimit(queue, bytes)
      const why = full ?? this.#tooOld(queue)
      if (why === undefined || !drops || (dropped >= DROPS_PER_SUBMIT && full !== undefined && !enough)) return why
      if (dropped >= DROPS_PER_SUBMIT && full === undefined) return undefined
      const oldest = this.#oldest(queue)
      if (oldest === undefined || !this.endUntold(oldest, { kind: 'overflow' })) return why
      this.evictFor(oldest)
    }
  }

  #tooOld(queue: QueueState): Refusal | undefined {
    const { age } = queue.limits
    if (age === undefined) return undefined
    const oldest = this.#oldest(queue)
    if (oldest === undefined || this.context.now - oldest.submittedAt < age) return undefined
    return { limit: 'age', detail: `In queue ${queue.name} the oldest job has waited for ${age} ms, as long as it may` }
  }

  #oldest(queue: QueueState): JobRecord | undefined {
    const seq = this.book.line.oldest(queue)
    return seq === undefined ? undefined : this.book.indexed(seq)
  }

  #newRecord(seq: number, job: PackedJob): JobRecord {
    const { now } = this.context
    const { delayMs, expireAfterMs, deadlineMs, idempotency } = job
    const delayed = delayMs !== undefined && delayMs > 0
    const due = delayed ? now + Math.ceil(delayMs) : now
    return {
      seq,
      secret: this.context.secret(),
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
      ...(job.stream !== undefined && { onPartial: job.stream.onPartial }),
      ...(job.key !== undefined && { key: job.key }),
      ...(job.tenant !== undefined && { tenant: job.tenant }),
      ...(job.reference !== undefined && { reference: job.reference }),
      ...(job.followUp !== undefined && { followUp: job.followUp }),
      ...(job.binding !== undefined && { binding: job.binding }),
      ...(job.parent !== undefined && { parent: job.parent }),
      ...(idempotency !== undefined && { dedup: { scopeKey: idempotency.scopeKey, until: now + Math.ceil(idempotency.keepMs) } }),
      ...(delayed && { notBefore: due }),
      ...(expireAfterMs !== undefined && { expiresAt: due + Math.ceil(expireAfterMs) }),
      ...(deadlineMs !== undefined && { deadlineAt: now + Math.ceil(deadlineMs), deadlineMs: Math.ceil(deadlineMs) }),
    }
  }
}

export function isRefusal(value: JobRecord | Refusal): value is Refusal {
  return 'limit' in value
}

function fullLimit(queue: QueueState, bytes: number, jobs = 1): Refusal | undefined {
  const { name, limits } = queue
  const more = jobs === 1 ? '' : ` with ${jobs} more`
  if (queue.unfinished + jobs > limits.jobs) {
    const detail =
      more === ''
        ? `Queue ${name} holds ${limits.jobs} jobs, as many as it may`
        : `Queue ${name} would hold more than ${limits.jobs} jobs${more}`
    return { limit: 'jobs', detail }
  }
  if (queue.bytes + bytes <= limits.bytes) return undefined
  return {
    limit: 'bytes',
    detail: `Queue ${name} ${more === '' ? 'holds as many bytes as it may' : `would hold more bytes than it may${more}`} (${limits.bytes})`,
  }
}

/** Whoever comes later knows nothing of how many wait now. */
function notAdmitted(queue: QueueState, { admission, delayMs = 0 }: PackedJob, bytes: number): Refusal | undefined {
  const { aheadMax = Number.POSITIVE_INFINITY, fillMax = 1 } = admission ?? {}
  if (delayMs <= 0 && queue.inLine > aheadMax) {
    const detail = `In queue ${queue.name} ${queue.inLine} jobs wait, and at the rate of late the next one would expire before its turn`
    return { limit: 'wait', detail }
  }
  const { limits, unfinished } = queue
  if (fillMax >= 1 || (unfinished + 1 <= fillMax * limits.jobs && queue.bytes + bytes <= fillMax * limits.bytes)) return undefined
  return { limit: 'priority', detail: `Queue ${queue.name} fills up, and takes only more urgent requests for now` }
}
