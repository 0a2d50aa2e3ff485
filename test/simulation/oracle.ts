/**
 * Looks at every call that reaches the engine and at what the engine says to it, and keeps a small model beside it: who may run, who runs,
 * who has ended. Where the two differ, a promise of the store is broken. It sees what really was done, also where the gateway never heard of it.
 */
import type {
  CommandOutcome,
  JobCommand,
  JobStore,
  Lease,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  NewJob,
  OnPartial,
  ReadJob,
  Settlement,
  SettleOutcome,
  StoredJob,
  Submitted,
  SubmittedWhole,
  Tick,
} from '../../src/ports/job-store.ts'
import { idAt } from '../../src/jobs/batch-notes.ts'
import { intercept } from './intercept.ts'
import type { World } from './world.ts'

export interface ModelJob {
  readonly id: string
  readonly queue: string
  readonly target: string
  /** Of the intent that it came from. What follows from other jobs comes from none, and has a number of its own. */
  readonly tag: number
  readonly key: string | undefined
  /** It has no place in the order of its key. */
  delayed: boolean
  readonly acceptedAt: number
  readonly attempts: number
  readonly sendOnce: boolean
  readonly scopeKey: string | undefined
  expiresAt: number | undefined
  readonly body: Buffer
  place: 'waiting' | 'running' | 'ended'
  status: string
  version: number
  counted: number
  lease: LeaseRef | undefined
  /** It outlives the gateway's process. */
  leaseIsKept: boolean
  /** Its server has deferred the end: for how long, and until when it is left to it. */
  deferred: { readonly forMs: number; readonly until: number } | undefined
  succeededWith: number | undefined
  readonly onPartial: OnPartial | undefined
  /** The attempt that runs has begun to answer, and somebody may have seen a part of that. */
  answering: boolean
  readonly keepMs: number
  readonly keepDeadMs: number
  /** When its time is over; it may be forgotten from then on. */
  keptUntil: number
  forgotten: boolean
  /** It failed, and its key waits for somebody. */
  blocksKey: boolean
  redrives: number
}

/** Who wants to know more than the oracle does. */
export interface Onlooker {
  /** Its lease ran out. */
  lapsed?(job: ModelJob): void
  created?(job: ModelJob, submitted: NewJob): void
  ended?(job: ModelJob, view: StoredJob): void
  /** Somebody has sent a dead letter again. */
  redriven?(job: ModelJob): void
}

/** Above all tags of intents. */
const OWN_TAGS = 1_000_000
const ENDED = new Set(['succeeded', 'failed', 'cancelled', 'expired'])

export class Oracle {
  readonly jobs = new Map<string, ModelJob>()
  readonly jobOfFence = new Map<number, string>()
  /** Created and not forgotten: by scope and key of their idempotency. */
  readonly #scopes = new Map<string, string>()
  readonly #jobsOfKey = new Map<string, ModelJob[]>()
  readonly #world: World
  #lastId = ''
  #lastFence = 0
  unfinished = 0
  readonly onlookers: Onlooker[] = []
  readonly #paused = new Set<string>()

  /** Queues whose ended jobs may go at any time, because there is little room for them, or because somebody empties them. */
  readonly #evicting: Set<string>

  constructor(world: World, evicting: readonly string[]) {
    this.#world = world
    this.#evicting = new Set(evicting)
  }

  watch(store: JobStore): JobStore {
    return intercept(store, async (method, args, next) => {
      const result = await next(args)
      this.#saw(method, args, result)
      return result
    })
  }

  /** After a crash and an opening: everything is as it was, but nothing runs. */
  async reopened(store: JobStore): Promise<void> {
    const known = [...this.jobs.values()].filter((job) => !job.forgotten)
    const ids = known.map(({ id }) => id)
    const reads = await store.read(ids, 'status')
    for (const [i, job] of known.entries()) {
      const view = reads[i]?.job
      if (view === undefined) this.#gone(job)
      else if (job.place === 'running' && job.leaseIsKept) {
        // Its time begins anew.
        if (job.deferred !== undefined) this.#deferred(job, job.deferred.forMs)
        this.#see(view)
      } else if (job.place === 'running') this.#voided(job, view)
      else this.#see(view)
    }
  }

  /** Counters against a full look at all jobs. */
  async checkCounters(store: JobStore): Promise<void> {
    const ids = [...this.jobs.keys()]
    const [stats, reads] = await Promise.all([store.stats(), store.read(ids, 'status')])
    for (const { queue, counts } of stats) {
      for (const [status, count] of Object.entries(counts)) {
        const real = reads.filter((read) => read?.job.queue === queue && read.job.status === status).length
        this.#check(real === count, 'counters equal a full look', () => `${queue} ${status}: counted ${count}, there are ${real}`)
      }
    }
    for (const [i, read] of reads.entries()) this.#read(ids[i] as string, read)
  }

  jobsOfKey(queue: string, key: string): readonly ModelJob[] {
    return this.#jobsOfKey.get(`${queue} ${key}`) ?? []
  }

  #saw(method: string, args: readonly unknown[], result: unknown): void {
    switch (method) {
      case 'submit':
        return each(args[0], result, (job: NewJob, submitted: Submitted) => this.#submitted(job, submitted))
      case 'submitWhole':
        return this.#submittedWhole(args[0] as readonly NewJob[], result as SubmittedWhole)
      case 'lease':
        return each(args[0], result, (request: LeaseRequest, leases: readonly Lease[]) => this.#leased(request, leases))
      case 'settle':
        return each(args[0], result, (settlement: Settlement, outcome: SettleOutcome) => this.#settled(settlement, outcome))
      case 'extend':
        return each(args[0], result, (lease: LeaseRef, outcome: LeaseOutcome) => this.#extended(lease, Number(args[1]), outcome))
      case 'command':
        return each(args[0], result, (command: JobCommand, outcome: CommandOutcome) => this.#commanded(command, outcome))
      case 'read':
        return each(args[0], result, (id: string, read: ReadJob | undefined) => this.#read(id, read))
      case 'followUps':
        // Of an end that nobody was told of yet it is known here first.
        for (const job of result as readonly StoredJob[]) this.#see(job)
        return
      case 'tick':
        for (const job of (result as Tick).changed) this.#ticked(job)
        return
      default:
    }
  }

  // --- submit

  #submitted(job: NewJob, submitted: Submitted): void {
    const scopeKey = job.idempotency?.scopeKey
    const before = scopeKey === undefined ? undefined : this.#remembered(scopeKey)
    if (submitted.kind === 'duplicate') {
      const known = scopeKey === undefined ? undefined : this.#scopes.get(scopeKey)
      this.#check(known === submitted.job.id, 'one job per idempotency key', () => `${submitted.job.id} is no duplicate of ${known}`)
      return this.#see(submitted.job)
    }
    if (submitted.kind !== 'created') return
    this.#check(before === undefined, 'one job per idempotency key', () => `${submitted.job.id} repeats ${before}`)
    this.#created(job, submitted.job)
  }

  /** All of them or none; only the first one's idempotency counts. */
  #submittedWhole(jobs: readonly NewJob[], submitted: SubmittedWhole): void {
    const [first, ...rest] = jobs
    if (first === undefined) return
    if (submitted.kind === 'duplicate') return this.#submitted(first, { kind: 'duplicate', job: submitted.first })
    if (submitted.kind !== 'created') return
    this.#submitted(first, { kind: 'created', job: submitted.first })
    for (const [i, { idempotency: _, ...job }] of rest.entries())
      this.#created(job, { id: idAt(submitted.first.id, i + 1), status: 'queued', version: 0 })
  }

  #created(job: NewJob, view: Pick<StoredJob, 'id' | 'status' | 'version'>): void {
    const { id } = view
    this.#check(id > this.#lastId, 'ids are in order of acceptance', () => `${id} after ${this.#lastId}`)
    this.#lastId = id
    if (job.idempotency !== undefined) this.#scopes.set(job.idempotency.scopeKey, id)
    this.#add(job, view)
  }

  /** An evicted job takes its idempotency key with it. */
  #remembered(scopeKey: string): string | undefined {
    const id = this.#scopes.get(scopeKey)
    const job = id === undefined ? undefined : this.jobs.get(id)
    return job?.place === 'ended' && this.#evicting.has(job.queue) ? undefined : id
  }

  #add(job: NewJob, view: Pick<StoredJob, 'id' | 'status' | 'version'>): void {
    const tag = Number(job.request.target.split('/')[2])
    const model: ModelJob = {
      id: view.id,
      queue: job.queue,
      target: job.request.target,
      tag: Number.isSafeInteger(tag) ? tag : OWN_TAGS + this.jobs.size,
      key: job.key,
      delayed: (job.delayMs ?? 0) > 0,
      acceptedAt: this.#world.now,
      attempts: job.attempts,
      sendOnce: job.sendOnce,
      scopeKey: job.idempotency?.scopeKey,
      expiresAt:
        job.expireAfterMs === undefined
          ? undefined
          : Math.floor(this.#world.wall) + Math.ceil(job.delayMs ?? 0) + Math.ceil(job.expireAfterMs),
      body: Buffer.from(job.request.body),
      place: 'waiting',
      status: view.status,
      version: view.version,
      counted: 0,
      lease: undefined,
      leaseIsKept: false,
      deferred: undefined,
      succeededWith: undefined,
      onPartial: job.stream?.onPartial,
      answering: false,
      keepMs: job.keepMs,
      keepDeadMs: job.keepDeadMs,
      keptUntil: job.idempotency === undefined ? 0 : Math.floor(this.#world.wall) + job.idempotency.keepMs,
      forgotten: false,
      blocksKey: false,
      redrives: 0,
    }
    this.#world.history.log(
      `store has ${view.id} for ${job.request.target} in ${job.queue}${job.key === undefined ? '' : ` key ${job.key}`}${model.delayed ? ` after ${job.delayMs} ms` : ''}${job.sendOnce ? ', once' : ''}`,
    )
    this.jobs.set(view.id, model)
    this.unfinished++
    for (const onlooker of this.onlookers) onlooker.created?.(model, job)
    if (job.key === undefined) return
    const place = `${job.queue} ${job.key}`
    const same = this.#jobsOfKey.get(place)
    if (same === undefined) this.#jobsOfKey.set(place, [model])
    else same.push(model)
  }

  // --- lease

  #leased(request: LeaseRequest, leases: readonly Lease[]): void {
    const { queue } = request
    this.#check(
      !this.#paused.has(queue) || leases.length === 0,
      'a paused queue hands out nothing',
      () => `${leases[0]?.ref.id} of ${queue}`,
    )
    this.#check(leases.length <= request.max, 'limits hold', () => `${leases.length} leases where ${request.max} were asked for`)
    for (const { ref, job: view, request: stored } of leases) {
      const job = this.jobs.get(ref.id)
      if (job === undefined) {
        this.#violated('nothing invented', `a lease for ${ref.id}, which nobody submitted`)
        continue
      }
      this.#world.history.log(`store leases ${ref.id} fence ${ref.fence} attempt ${view.attempt} to ${request.server}`)
      this.#check(ref.fence > this.#lastFence, 'the fence grows', () => `${ref.fence} after ${this.#lastFence}`)
      this.#lastFence = Math.max(ref.fence, this.#lastFence)
      this.jobOfFence.set(ref.fence, ref.id)
      this.#check(job.place === 'waiting', 'one live lease at a time', () => `${job.id} is ${job.place} and is leased`)
      this.#check(job.body.equals(stored.body), 'nothing altered', () => `${job.id} is handed out with another body`)
      this.#check(!this.#isExpired(job), 'expired is never delivered', () => `${job.id} expired at ${job.expiresAt}`)
      this.#check(view.attempt === job.counted + 1, 'attempts are counted', () => `${job.id}: attempt ${view.attempt} after ${job.counted}`)
      this.#check(view.attempt <= job.attempts, 'no more attempts than allowed', () => `${job.id}: ${view.attempt} of ${job.attempts}`)
      this.#checkKey(job)
      job.place = 'running'
      job.lease = ref
      job.leaseIsKept = request.keeps === true
      this.#note(job, view)
    }
  }

  /** Whether or not anybody has noticed. */
  #isExpired(job: ModelJob): boolean {
    return job.expiresAt !== undefined && job.counted === 0 && Math.floor(this.#world.wall) >= job.expiresAt
  }

  #checkKey(job: ModelJob): void {
    if (job.key === undefined) return
    for (const other of this.jobsOfKey(job.queue, job.key)) {
      this.#check(!other.blocksKey, 'a key that is blocked waits', () => `${job.id} behind ${other.id} of key ${job.key}`)
      if (other === job || other.place === 'ended') continue
      this.#check(other.place !== 'running', 'one live lease per key', () => `${job.id} beside ${other.id} of key ${job.key}`)
      const overtaken = other.id < job.id && !other.delayed && !job.delayed && !this.#isExpired(other)
      this.#check(!overtaken, 'a key runs in order of acceptance', () => `${job.id} before ${other.id} of key ${job.key}`)
    }
  }

  // --- settle and command

  #settled(settlement: Settlement, outcome: SettleOutcome): void {
    const { lease, kind } = settlement
    const job = this.jobs.get(lease.id)
    if (job === undefined) return this.#violated('nothing invented', `a settlement of ${lease.id}`)
    const live = job.place === 'running' && job.lease?.fence === lease.fence && job.lease.secret === lease.secret
    const said = outcome.kind === 'settled' ? outcome.job.status : outcome.kind
    this.#world.history.log(`store settles ${lease.id} fence ${lease.fence}: ${kind}, ${said}`)
    if (outcome.kind === 'stale' || outcome.kind === 'repeated') {
      this.#check(!live, 'a live lease can be settled', () => `${lease.id} fence ${lease.fence}`)
      if (outcome.kind === 'repeated') this.#see(outcome.job)
      return
    }
    this.#check(
      live,
      'a stale fence changes nothing',
      () => `${lease.id} fence ${lease.fence} was settled (${kind}), live is ${job.lease?.fence}`,
    )
    if (outcome.kind === 'full') return
    if (kind === 'defer') {
      job.leaseIsKept = true
      if (settlement.kind === 'defer') this.#deferred(job, settlement.forMs)
      return this.#see(outcome.job)
    }
    const { status } = outcome.job as StoredJob
    if (kind === 'succeed') {
      this.#check(status === 'succeeded', 'what a server did is settled so', () => `${lease.id} succeeded and is ${status}`)
      job.succeededWith = lease.fence
    } else this.#check(status !== 'succeeded', 'what a server did is settled so', () => `${lease.id}: ${kind} and it succeeded`)
    if (kind !== 'handBack') job.counted++
    if (kind === 'retry') {
      const out = job.counted >= job.attempts
      this.#check(
        out === (status === 'failed'),
        'no more attempts than allowed',
        () => `${lease.id}: ${job.counted} of ${job.attempts}, ${status}`,
      )
    }
    this.#left(job, outcome.job)
  }

  #deferred(job: ModelJob, forMs: number): void {
    job.deferred = { forMs, until: this.#world.now + forMs }
  }

  #extended({ id, fence }: LeaseRef, forMs: number, outcome: LeaseOutcome): void {
    const job = this.jobs.get(id)
    if (outcome === 'extended' && job?.deferred !== undefined && job.lease?.fence === fence) this.#deferred(job, forMs)
  }

  #commanded(command: JobCommand, outcome: CommandOutcome): void {
    if (command.kind === 'progress') {
      const job = this.jobs.get(command.id)
      const live = job?.place === 'running' && job.lease?.secret === command.secret
      this.#check(
        (outcome.kind === 'done') === (live === true),
        'a stale fence changes nothing',
        () => `progress of ${command.id}: ${outcome.kind}`,
      )
      if (outcome.kind === 'done' && outcome.job !== undefined && job !== undefined) this.#note(job, outcome.job)
    }
    if (command.kind === 'answer') this.#answering(command.lease, outcome)
    if (outcome.kind === 'done') this.#operated(command, outcome.job)
    if (command.kind !== 'cancel') return
    const job = this.jobs.get(command.id)
    if (job === undefined) return this.#violated('nothing invented', `${command.id} is cancelled`)
    if (outcome.kind === 'missing') return this.#gone(job)
    if (outcome.kind === 'unchanged') {
      const begun = command.onlyUnbegun === true && (job.place === 'running' || job.counted > 0)
      const { status } = outcome.job ?? job
      this.#check(begun || ENDED.has(status), 'a cancel ends a job', () => `${command.id} is ${status}`)
      return outcome.job === undefined ? undefined : this.#see(outcome.job)
    }
    if (outcome.kind !== 'done' || outcome.job === undefined) return
    this.#world.history.log(`store cancels ${command.id}`)
    this.#check(job.place !== 'ended', 'an end is an end', () => `${command.id} was ${job.status} and is cancelled`)
    if (command.onlyUnbegun === true) {
      this.#check(job.place === 'waiting' && job.counted === 0, 'nothing was done', () => `${command.id} had begun and is taken back`)
      if (job.scopeKey !== undefined) this.#scopes.delete(job.scopeKey)
      job.keptUntil = 0
    }
    this.#left(job, outcome.job)
  }

  #answering(lease: LeaseRef, outcome: CommandOutcome): void {
    const job = this.jobs.get(lease.id)
    const live = job?.place === 'running' && job.lease?.fence === lease.fence && job.onPartial !== undefined
    this.#check((outcome.kind === 'done') === live, 'a stale fence changes nothing', () => `${lease.id} answers: ${outcome.kind}`)
    if (job === undefined || outcome.kind !== 'done' || outcome.job === undefined) return
    this.#world.history.log(`store knows that ${lease.id} answers, for the ${outcome.job.stream?.answers}th time`)
    job.answering = true
    this.#note(job, outcome.job)
  }

  #operated(command: JobCommand, view: StoredJob | undefined): void {
    if (command.kind === 'begin' && command.task.kind === 'forget') this.#evicting.add(command.task.filter.queue)
    if (command.kind === 'redrive' && view !== undefined) this.#see(view)
    if (command.kind === 'pause') this.#paused.add(command.queue)
    if (command.kind === 'resume') this.#paused.delete(command.queue)
    if (command.kind !== 'release') return
    for (const job of this.jobsOfKey(command.queue, command.key)) {
      if (!job.blocksKey) continue
      job.blocksKey = false
    }
  }

  // --- what time does

  #ticked(view: StoredJob): void {
    const job = this.jobs.get(view.id)
    if (job === undefined) return this.#violated('nothing invented', `${view.id} changed, which nobody submitted`)
    this.#world.history.log(`store tells that ${view.id} is ${view.status} now`)
    // A task ends what waits.
    if (job.place === 'waiting' && ENDED.has(view.status) && view.status !== 'succeeded') return this.#left(job, view)
    if (job.place !== 'running' || view.status === 'running') return this.#see(view)
    for (const onlooker of this.onlookers) onlooker.lapsed?.(job)
    const early = (job.deferred?.until ?? 0) - this.#world.now
    this.#check(early <= 0, 'a deferred job is left to its server', () => `${job.id} is taken back ${early} ms before its time`)
    job.counted++
    this.#left(job, view)
  }

  #voided(job: ModelJob, view: StoredJob): void {
    const ends = view.status === 'failed' || view.status === 'expired'
    this.#check(view.status !== 'running', 'leases of a dead process are void', () => `${job.id} still runs`)
    this.#check(ends || !job.sendOnce, 'what may be sent only once is not sent again', () => `${job.id} is ${view.status}`)
    const partial = job.answering && job.onPartial === 'fail'
    this.#check(ends || !partial, 'an answer that had begun is not begun again', () => `${job.id} is ${view.status}`)
    if (job.sendOnce || partial) job.counted++
    this.#left(job, view)
  }

  #left(job: ModelJob, view: StoredJob): void {
    job.place = ENDED.has(view.status) ? 'ended' : 'waiting'
    job.lease = undefined
    job.deferred = undefined
    job.answering = false
    this.#note(job, view)
    if (job.place !== 'ended') return
    this.unfinished--
    job.blocksKey = view.blocksKey
    const keepMs = view.dead === undefined ? job.keepMs : job.keepDeadMs
    job.keptUntil = Math.max(job.keptUntil, (view.finishedAt ?? 0) + keepMs)
    for (const onlooker of this.onlookers) onlooker.ended?.(job, view)
  }

  /** It runs again, with all its attempts; its place in the order of its key it had before. */
  #redriven(job: ModelJob, view: StoredJob): void {
    this.#world.history.log(`store has ${job.id} run again, for the ${view.redrives}th time`)
    this.#check(job.status === 'failed' || job.status === 'expired', 'an end is an end', () => `${job.id} was ${job.status} and runs again`)
    for (const onlooker of this.onlookers) onlooker.redriven?.(job)
    Object.assign(job, { place: 'waiting', counted: 0, expiresAt: undefined, blocksKey: false, delayed: true, redrives: view.redrives })
    this.unfinished++
  }

  #read(id: string, read: ReadJob | undefined): void {
    const job = this.jobs.get(id)
    if (read !== undefined) this.#see(read.job)
    else if (job !== undefined) this.#gone(job)
  }

  isPaused(queue: string): boolean {
    return this.#paused.has(queue)
  }

  mayBeGone(id: string): boolean {
    const job = this.jobs.get(id)
    if (job === undefined || job.blocksKey) return false
    // In a queue that makes room it may have expired and gone before anybody was told of the one or the other.
    if (this.#evicting.has(job.queue)) return job.place === 'ended' || this.mayHaveExpired(job)
    return job.place === 'ended' && this.#world.wallMax >= job.keptUntil
  }

  mayHaveExpired({ place, counted, expiresAt }: ModelJob): boolean {
    return place === 'waiting' && counted === 0 && expiresAt !== undefined && this.#world.wallMax >= expiresAt
  }

  #gone(job: ModelJob): void {
    this.#check(this.mayBeGone(job.id), 'accepted jobs are kept', () => `${job.id} (${job.status}) is gone`)
    job.forgotten = true
  }

  /** A job as somebody read it, without having changed it. */
  #see(view: StoredJob): void {
    const job = this.jobs.get(view.id)
    if (job === undefined) return this.#violated('nothing invented', `${view.id} is there, and nobody submitted it`)
    if (view.redrives > job.redrives) this.#redriven(job, view)
    if (job.place === 'ended') {
      const same = view.status === job.status && view.version === job.version
      return this.#check(
        same,
        'an end is an end',
        () => `${view.id} was ${job.status} (${job.version}) and is ${view.status} (${view.version})`,
      )
    }
    // Expiry is found by whoever looks; its job is told of later.
    if (view.status === 'expired' && job.place === 'waiting') return this.#left(job, view)
    const runs = view.status === 'running'
    this.#check(runs === (job.place === 'running'), 'a status is what is', () => `${view.id} is ${view.status}, it should be ${job.place}`)
    this.#note(job, view)
  }

  #note(job: ModelJob, view: StoredJob): void {
    this.#check(view.version >= job.version, 'versions grow', () => `${view.id}: ${view.version} after ${job.version}`)
    job.version = Math.max(job.version, view.version)
    job.status = view.status
  }

  #check(holds: boolean, name: string, detail: () => string): void {
    this.#world.history.check(holds, name, detail)
  }

  #violated(name: string, detail: string): void {
    this.#world.history.violated(name, detail)
  }
}

function each<A, B>(asked: unknown, answered: unknown, see: (asked: A, answered: B) => void): void {
  const answers = answered as readonly B[]
  for (const [i, one] of (asked as readonly A[]).entries()) see(one, answers[i] as B)
}
