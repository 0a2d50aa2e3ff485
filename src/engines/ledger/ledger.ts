/**
 * The job store's logic over any storage: synchronous, one call after another, so there is nothing to lock. The caller wraps calls in
 * `begin` and `commit` (or `rollback`) and in the storage's own transaction; `mustSync` says whether the answers may leave before a sync.
 */
import { formatJobId, parseJobId } from '../../core/jobs/job-id.ts'
import { creditAfter, isOldTurn } from '../../core/jobs/sideline.ts'
import { type JobRecord, type KeptBlob, placeOf } from '../../core/jobs/record.ts'
import type { EpochMillis, Millis } from '../../lib/units.ts'
import type {
  BrowsePage,
  BrowseRequest,
  CommandOutcome,
  Deferral,
  KeyRef,
  KeysRequest,
  KeyState,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  NewNote,
  OutboxPlace,
  QueueLimits,
  QueueRules,
  QueueStats,
  ReadWant,
  SettleOutcome,
  StoredJob,
  StoreLimits,
  Submitted,
  SubmittedWhole,
  Tick,
} from '../../ports/job-store.ts'
import { Acts, type Context, isRefusal, type Refusal } from './acts.ts'
import { Book } from './book.ts'
import { meets, nextPage } from './browse.ts'
import type { LedgerInfo, PackedCommand, PackedJob, PackedLease, PackedRead, PackedSettlement } from './calls.ts'
import { applyTask, carryOut, NOTE } from './commands.ts'
import type { LiveLease } from './leases.ts'
import { readyJob } from './line.ts'
import { NO_RULES, type QueueState } from './queue-state.ts'
import { runMark } from './run-mark.ts'
import { sameSecret } from './same-secret.ts'
import { type MadeJob, Schedules } from './schedules.ts'
import { sweep, type SweepLimits } from './sweep.ts'
import { DAMAGED, payloadBytes, type Tables } from './tables.ts'
import { Tasks } from './tasks.ts'
import { type Wish, wishesOf } from './wishes.ts'

export type { Context } from './acts.ts'

export interface LedgerOptions {
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules?: QueueRules }[]
  readonly onCorrupt: (what: string) => void
  readonly limits?: StoreLimits | undefined
}

/** As in a configuration that says nothing of them. */
export const STORE_LIMITS: StoreLimits = { schedules: 10_000, scheduleBytes: 16 * 1024 * 1024, tasks: 100, rateKeys: 100_000 }
/** A fence is generation * this + the number of the lease in it. */
const LEASES_PER_GENERATION = 2 ** 32
/** Between two steps of giving space back: slow enough that nobody who waits for the disk notices. */
const GIVE_BACK_PAUSE_MS: Millis = 20
const SWEEP_LIMITS: SweepLimits = { timers: 1000, removals: 500 }

export class Ledger {
  readonly schedules: Schedules
  readonly tasks: Tasks
  readonly #tables: Tables
  readonly #book: Book
  readonly #acts: Acts
  #leased = 0
  /** Any queue may have ready jobs of which nobody was told. */
  #rebuilt = false

  constructor(tables: Tables, options: LedgerOptions) {
    this.#tables = tables
    const { limits = STORE_LIMITS } = options
    this.#book = new Book(tables, options.onCorrupt, limits.rateKeys)
    this.#acts = new Acts(this.#book)
    this.schedules = new Schedules(tables, limits)
    this.tasks = new Tasks(tables, limits.tasks)
    for (const { name, limits, rules = NO_RULES } of options.queues) {
      const paused = this.#book.queue(name)?.settings.paused ?? false
      this.#book.configure(name, { limits, rules, paused })
    }
  }

  /** Something was done since `begin` whose answer must not leave before it is synced. */
  get mustSync(): boolean {
    return this.#acts.mustSync
  }

  /** Set while submissions cannot be taken: what the client is told. */
  set refuseSubmissions(refusal: Refusal | undefined) {
    this.#acts.refuseSubmissions = refusal
  }

  begin(context: Context): void {
    this.#acts.begin(context)
  }

  /** Before the storage's commit. */
  commit(): void {
    this.#acts.commit()
  }

  /** After the storage's rollback: nothing since `begin` has happened. */
  rollback(): void {
    this.#acts.rollback()
    this.schedules.reload()
    this.tasks.reload()
  }

  /** The leases of earlier generations are void, but for those that are kept; their jobs are handed out again. Once, in the first transaction after opening. */
  voidOldLeases(): void {
    for (const { record } of this.#book.leases.all()) {
      const { keptMs } = record.lease ?? {}
      if (keptMs !== undefined) {
        this.#keep(record, keptMs)
        continue
      }
      const changed = this.#acts.step(record, { kind: 'void' })
      if (changed !== undefined && placeOf(changed) === 'ended') this.#acts.untold.push(changed)
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
    const before = this.#before(job)
    if (before !== undefined) return before === 'conflict' ? { kind: 'conflict' } : { kind: 'duplicate', job: this.#book.view(before) }
    const accepted = this.#acts.accept(job, queue)
    return isRefusal(accepted) ? { kind: 'refused', ...accepted } : { kind: 'created', job: this.#book.view(accepted) }
  }

  submitWhole(jobs: readonly PackedJob[], { name, text }: Required<NewNote>): SubmittedWhole {
    const [head, ...rest] = jobs
    if (head === undefined) throw new Error('a submission needs a job')
    const before = this.#before(head)
    if (before !== undefined) return before === 'conflict' ? { kind: 'conflict' } : { kind: 'duplicate', first: this.#book.view(before) }
    const full = this.#acts.roomForAll(jobs)
    if (full !== undefined) return { kind: 'refused', ...full }
    const first = this.#mustAccept(head)
    for (const { idempotency: _, ...job } of rest) this.#mustAccept(job)
    this.#tables.putNote(`${NOTE}${name}${formatJobId(first.seq)}`, text)
    return { kind: 'created', first: this.#book.view(first) }
  }

  /** There is room for it. */
  #mustAccept(job: PackedJob): JobRecord {
    const accepted = this.#acts.accept(job, this.#book.queue(job.queue) as QueueState)
    if (isRefusal(accepted)) throw new Error(`there was room for a job, and then there was none: ${accepted.detail}`)
    return accepted
  }

  /** The job that has its idempotency key, if it is the same one. */
  #before({ idempotency }: PackedJob): JobRecord | 'conflict' | undefined {
    const entry = idempotency && this.#tables.dedup(idempotency.scopeKey)
    const record = entry && this.#book.get(entry.seq)
    if (entry === undefined || record?.dedup === undefined) return undefined
    return entry.fingerprint === idempotency?.fingerprint ? record : 'conflict'
  }

  lease(request: LeaseRequest): readonly PackedLease[] {
    const queue = this.#book.queue(request.queue)
    const leases: PackedLease[] = []
    if (queue === undefined || queue.settings.paused) return leases
    const { sideline } = queue.rules
    const wishes = wishesOf(request, queue.rules, this.#acts.context.now)
    const mayRun = this.#mayRun(queue)
    let bytes = 0
    while (leases.length < request.max && bytes < (request.bytesMax ?? Number.POSITIVE_INFINITY) && this.#mayHandOut(queue)) {
      const next = firstMet(queue, isOldTurn(queue.oldCredit) ? wishes.oldFirst : wishes.freshFirst, mayRun)
      if (next === undefined) break
      const lease = this.#handOut(queue, next.seq, request, next.wish.stolen)
      if (lease === undefined) continue
      if (sideline !== undefined) queue.oldCredit = creditAfter(queue.oldCredit, sideline, next.seq < wishes.border)
      leases.push(lease)
      bytes += payloadBytes(lease.request)
    }
    return leases
  }

  extend(ref: LeaseRef, forMs: Millis): LeaseOutcome {
    const live = this.#live(ref)
    if (live === undefined) return 'stale'
    const { record } = live
    const { lease, seq } = record
    if (lease?.deferred !== undefined)
      return this.#defer(record, { forMs, retryMs: lease.deferred.retryMs }) === undefined ? 'stale' : 'extended'
    const longer = lease?.keptMs !== undefined && forMs > lease.keptMs
    const extended = longer ? { ...record, lease: { ...lease, keptMs: forMs } } : record
    // Over a restart it is to last as long as its holder was told.
    if (longer) this.#tables.markRunning(seq, runMark(extended))
    this.#book.leases.set(seq, { record: extended, until: this.#acts.context.monotonic + forMs })
    return 'extended'
  }

  settle(settlement: PackedSettlement): SettleOutcome {
    const live = this.#live(settlement.lease)
    if (live === undefined) return this.#repeated(settlement) ?? { kind: 'stale' }
    const { record } = live
    if (settlement.kind === 'defer') return this.#deferred(record, settlement)
    const blob = settledBlob(record, settlement)
    if (blob !== undefined) this.#tables.adoptBlob(record.seq, blob)
    const resultBytes = settlement.answer === undefined ? -1 : payloadBytes(settlement.answer) + (blob?.bytes ?? 0)
    const event = { ...settlement, resultBytes }
    // Whoever has to decide about a blocked key must be able to send the job again.
    const blocks = event.kind === 'fail' && record.key !== undefined && this.#book.queue(record.queue)?.rules.onFailure === 'block'
    const { becameReady } = this.#book
    const known = becameReady.delete(record.queue)
    const changed = this.#acts.step(record, blocks ? { ...event, deadLetter: true } : event)
    const ready = becameReady.has(record.queue)
    if (known) becameReady.add(record.queue)
    if (changed === undefined) return { kind: 'stale' }
    this.#acts.mustSync = true
    if (placeOf(changed) === 'ended') {
      // A job that was handed back and expired has no result, whatever the server said.
      if (settlement.answer !== undefined && changed.resultBytes >= 0) this.#tables.putResult(changed.seq, settlement.answer, blob)
      this.#acts.evictFor(changed)
    }
    const job = this.#book.view(changed)
    return ready ? { kind: 'settled', job, ready } : { kind: 'settled', job }
  }

  command(command: PackedCommand): CommandOutcome {
    if (command.kind === 'answer') return this.#beginAnswer(command.lease)
    return carryOut({ acts: this.#acts, schedules: this.schedules, tasks: this.tasks }, command)
  }

  read(id: string, want: ReadWant): PackedRead | undefined {
    const record = this.#acts.find(id)
    if (record === undefined) return undefined
    const job = this.#book.view(record)
    if (want === 'history') return { job, history: this.#acts.history(record) }
    if (want === 'request') {
      const request = job.finishedAt === undefined || job.dead !== undefined ? this.#tables.request(record.seq) : DAMAGED
      return request === DAMAGED ? { job } : { job, request }
    }
    if (want === 'status' || !job.hasAnswer) return { job }
    const answer = this.#tables.result(record.seq)
    return answer === DAMAGED ? { job: { ...job, hasAnswer: false } } : { job, answer }
  }

  tick(): Tick {
    const { becameReady } = this.#book
    const changed = [...this.#acts.takeUntold()]
    const { now, monotonic } = this.#acts.context
    const swept = sweep(this.#book, { now, monotonic, limits: SWEEP_LIMITS }, (record, event) => {
      const after = this.#acts.step(record, event)
      if (after !== undefined && after.status !== record.status) {
        changed.push(after)
        this.#acts.mustSync = true
      }
      return after !== undefined
    })
    const made = this.schedules.run(now, (job) => this.#make(job))
    const worked = this.tasks.run({ now, monotonic }, (task, record) =>
      applyTask(this.#acts, task, record, (after, was) => {
        if (after.status !== was) changed.push(after)
        if (placeOf(after) === 'line') becameReady.add(after.queue)
      }),
    )
    const opened = this.#openGates()
    // Those that had to make room for what a schedule made.
    changed.push(...this.#acts.takeUntold())
    if (this.#rebuilt) for (const queue of this.#book.queues()) becameReady.add(queue.name)
    this.#rebuilt = false
    const ready = [...becameReady]
    becameReady.clear()
    const given = this.#tables.giveBack() ? GIVE_BACK_PAUSE_MS : undefined
    const nextMs = Math.min(...[swept, made, worked, opened, given].map((each) => each ?? Number.POSITIVE_INFINITY))
    const tick: Tick = { ready, changed: changed.map((record) => this.#book.view(record)) }
    return nextMs === Number.POSITIVE_INFINITY ? tick : { ...tick, nextMs }
  }

  stats(): readonly QueueStats[] {
    const running = this.#book.leases.oldestByQueue()
    return [...this.#book.queues()].map((queue) => {
      const oldest = this.#book.line.oldest(queue)
      const waitingAt = oldest === undefined ? undefined : this.#book.indexed(oldest)?.submittedAt
      return queue.stats({ waitingAt, runningAt: running.get(queue.name), deferred: this.#book.leases.deferredOf(queue.name) })
    })
  }

  browse({ filter, after, newestFirst = false, max }: BrowseRequest): BrowsePage {
    const jobs: JobRecord[] = []
    const page = nextPage(this.#tables, { filter, after: after === undefined ? undefined : parseJobId(after), newestFirst })
    for (const stored of page.records) {
      const record = this.#book.get(stored.seq)
      if (record === undefined || !meets(filter, record)) continue
      jobs.push(record)
      if (jobs.length >= max) break
    }
    const full = jobs.length >= max
    const last = full ? jobs.at(-1)?.seq : page.last
    const views = jobs.map((record) => this.#book.view(record))
    return last === undefined ? { jobs: views } : { jobs: views, next: formatJobId(last) }
  }

  keys({ queue: name, blockedOnly, after, max }: KeysRequest): readonly KeyState[] {
    const queue = this.#book.queue(name)
    if (queue === undefined) return []
    const request = { max, blockedOnly, ...(after !== undefined && { after }) }
    return this.#tables.heldKeys(queue.id, request).flatMap(({ key, holder, blocked, waiting }) => {
      const record = this.#book.indexed(holder)
      return record === undefined ? [] : [{ key, holder: formatJobId(holder), status: record.status, blocked, waiting }]
    })
  }

  held({ queue: name, key }: KeyRef): boolean {
    const queue = this.#book.queue(name)
    if (queue === undefined) return false
    return key === undefined ? queue.unfinished > 0 : this.#tables.keyHolder(queue.id, key) !== undefined
  }

  followUps(max: number, after?: readonly OutboxPlace[]): readonly StoredJob[] {
    if (after === undefined) return [...this.#book.queues()].flatMap((queue) => this.#followUpsOf(queue, max))
    return after.flatMap(({ queue: name, id, endedAt }) => {
      const queue = this.#book.queue(name)
      return queue === undefined ? [] : this.#followUpsOf(queue, max, { endedAt, seq: parseJobId(id) ?? 0 })
    })
  }

  #followUpsOf(queue: QueueState, max: number, after?: { readonly endedAt: EpochMillis; readonly seq: number }): readonly StoredJob[] {
    return this.#tables.followUps(queue.id, max, after).flatMap((seq) => {
      const record = this.#book.indexed(seq)
      return record === undefined ? [] : [this.#book.view(record)]
    })
  }

  notes(prefix: string): readonly { readonly name: string; readonly text: string }[] {
    return this.#tables.notes(NOTE + prefix).map(({ name, text }) => ({ name: name.slice(NOTE.length), text }))
  }

  info(): LedgerInfo {
    const { refuseSubmissions: refusing } = this.#acts
    return { generation: this.#tables.generation, corrupt: this.#book.corrupt, ...(refusing !== undefined && { refusing }) }
  }

  /** Whoever reads what follows must not be given a part of another attempt's after it, whatever happens: so it is durable first. */
  #beginAnswer(ref: LeaseRef): CommandOutcome {
    const live = this.#live(ref)
    // Whoever did not hear the answer may ask again.
    const changed = live?.record.answering === true ? live.record : live && this.#acts.step(live.record, { kind: 'answer' })
    if (changed === undefined) return { kind: 'stale' }
    this.#acts.mustSync = true
    return { kind: 'done', job: this.#book.view(changed) }
  }

  /** A job that a schedule makes. */
  #make({ idempotency: _, ...job }: PackedJob): MadeJob {
    // Each due time makes a job: one key for all of them would be no key.
    const queue = this.#book.queue(job.queue)
    if (queue === undefined) return { problem: `there is no queue ${job.queue}` }
    const accepted = this.#acts.accept(job, queue)
    if (isRefusal(accepted)) return { problem: accepted.detail }
    this.#book.becameReady.add(queue.name)
    return { id: formatJobId(accepted.seq) }
  }

  /** Whether the queue's own limits let out another; if not, whoever waits is told when they do. */
  #mayHandOut(queue: QueueState): boolean {
    const { maxRunning, rate } = queue.rules
    if (maxRunning !== undefined && queue.running >= maxRunning) {
      queue.starved = true
      return false
    }
    queue.throttled = queue.gate.waitFor(rate, this.#acts.context.monotonic) > 0
    return !queue.throttled
  }

  #mayRun(queue: QueueState): ((tenant: string) => boolean) | undefined {
    const { tenantMaxRunning } = queue.rules
    if (tenantMaxRunning === undefined) return undefined
    return (tenant) => {
      const may = tenant === '' || this.#book.leases.runningOf(queue.name, tenant) < tenantMaxRunning
      if (!may) queue.starved = true
      return may
    }
  }

  #handOut(queue: QueueState, seq: number, request: LeaseRequest, stolen: boolean): PackedLease | undefined {
    const { context } = this.#acts
    const record = this.#book.indexed(seq)
    if (record === undefined) return undefined
    if (placeOf(record) !== 'line') {
      this.#book.refile(seq)
      return undefined
    }
    if (this.#acts.endUntold(record, { kind: 'time' })) return undefined
    const restMs = queue.gate.waitForKey(record.key, queue.rules.keyRate, context.monotonic)
    if (restMs > 0) {
      queue.ready.rest(readyJob(record), context.monotonic + restMs)
      return undefined
    }
    const payload = this.#tables.request(seq)
    if (payload === DAMAGED) return void this.#acts.endUntold(record, { kind: 'damaged' })
    // What is in the line and has not expired can be leased. A secret is drawn for nothing else: there are as many as there may be leases.
    this.#leased += 1
    const fence = this.#tables.generation * LEASES_PER_GENERATION + this.#leased
    const secret = context.secret()
    const kept = request.keeps === true ? { keptMs: request.leaseMs } : {}
    const leased = this.#acts.step(record, { kind: 'lease', fence, secret, server: request.server, ...kept })
    if (leased === undefined) {
      this.#book.refile(seq)
      return undefined
    }
    this.#book.leases.set(seq, { record: leased, until: context.monotonic + request.leaseMs })
    queue.gate.passed(record.key, queue.rules, context.monotonic)
    queue.ready.served(record.tenant ?? '')
    if (leased.sendOnce) this.#acts.mustSync = true
    return { ref: { id: formatJobId(seq), fence, secret }, job: this.#book.view(leased), request: payload, stolen }
  }

  /** Wakes those that a rate held up, when it no longer does. Says how long until it must look again. */
  #openGates(): Millis | undefined {
    const { monotonic } = this.#acts.context
    let next = Number.POSITIVE_INFINITY
    for (const queue of this.#book.queues()) {
      if (queue.ready.rouse(monotonic)) this.#book.becameReady.add(queue.name)
      next = Math.min(next, (queue.ready.restsUntil ?? Number.POSITIVE_INFINITY) - monotonic)
      if (!queue.throttled) continue
      const waitMs = queue.gate.waitFor(queue.rules.rate, monotonic)
      if (waitMs > 0) next = Math.min(next, waitMs)
      else {
        queue.throttled = false
        this.#book.becameReady.add(queue.name)
      }
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next
  }

  #deferred(record: JobRecord, settlement: Deferral): SettleOutcome {
    const isNew = record.lease?.deferred === undefined
    if (isNew && this.#book.leases.deferredOf(record.queue) >= settlement.jobsMax) return { kind: 'full' }
    const changed = this.#defer(record, settlement)
    return changed === undefined ? { kind: 'stale' } : { kind: 'settled', job: this.#book.view(changed) }
  }

  /** The lease lasts for so long from now on, whatever becomes of this process. */
  #defer(record: JobRecord, how: { readonly forMs: Millis; readonly retryMs: Millis }): JobRecord | undefined {
    const { forMs, retryMs } = how
    const changed = this.#acts.step(record, { kind: 'defer', forMs, retryMs })
    if (changed === undefined) return undefined
    this.#tables.markRunning(changed.seq, runMark(changed))
    this.#book.leases.set(changed.seq, { record: changed, until: this.#acts.context.monotonic + forMs })
    this.#acts.mustSync = true
    return changed
  }

  /** A lease that outlives its process begins anew. */
  #keep(record: JobRecord, keptMs: Millis): void {
    const { deferred } = record.lease ?? {}
    if (deferred === undefined) this.#acts.keepLease(record, keptMs)
    else this.#defer(record, { forMs: keptMs, retryMs: deferred.retryMs })
  }

  /** Its end was reported by this lease before. */
  #repeated({ kind, lease }: PackedSettlement): SettleOutcome | undefined {
    const record = this.#acts.find(lease.id)
    const by = record?.reportedBy
    if (record === undefined || by?.fence !== lease.fence || !sameSecret(by.secret, lease.secret)) return undefined
    return (kind === 'succeed') === (record.status === 'succeeded') ? { kind: 'repeated', job: this.#book.view(record) } : undefined
  }

  #live(ref: LeaseRef): LiveLease | undefined {
    const live = this.#book.leases.get(parseJobId(ref.id) ?? 0)
    if (ref.queue !== undefined && live?.record.queue !== ref.queue) return undefined
    const lease = live?.record.lease
    return lease !== undefined && lease.fence === ref.fence && sameSecret(lease.secret, ref.secret) ? live : undefined
  }
}

function firstMet(
  { ready }: QueueState,
  wishes: readonly Wish[],
  mayRun: ((tenant: string) => boolean) | undefined,
): { readonly seq: number; readonly wish: Wish } | undefined {
  for (const wish of wishes) {
    const seq = ready.best(wish, mayRun)
    if (seq !== 0) return { seq, wish }
  }
  return undefined
}

/** The blob that becomes the job's with this settlement. */
function settledBlob({ answers, answering }: JobRecord, settlement: PackedSettlement): KeptBlob | undefined {
  if (settlement.kind !== 'succeed' || settlement.blobBytes === undefined) return undefined
  if (answering !== true || answers === undefined) throw new Error('a blob is settled of an attempt that has not begun to answer')
  return { number: answers, bytes: settlement.blobBytes }
}
