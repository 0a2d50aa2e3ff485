/**
 * What a job store has to do, as naively as it can be said: lists of jobs that are searched from front to back. No index, no counter, no
 * file. Shares no code with the engines but the hash that gives a job its bucket.
 */
import { bucketOf, hasBucket } from '../../src/core/jobs/buckets.ts'
import type {
  Deferral,
  Ending,
  JobFilter,
  LeaseRef,
  LeaseRequest,
  NewJob,
  QueueRules,
  RateLimit,
  Settlement,
} from '../../src/ports/job-store.ts'
import type { ModelJob, ModelQueue, Now, Tokens } from './job-store-model-job.ts'

export type { ModelJob, ModelQueue, Now } from './job-store-model-job.ts'

const HAND_OUTS_PER_ATTEMPT = 10
/** Numbers count from 2024-01-01 on, 4096 in a millisecond. */
const ID_EPOCH = 1_704_067_200_000
const DROPS_MAX = 64

export class JobStoreModel {
  /** In order of acceptance. */
  jobs: ModelJob[] = []
  readonly queues: Map<string, ModelQueue> = new Map()
  /** Ended while nobody looked. */
  untold: Told[] = []
  /** By queue and key. */
  readonly holders: Map<string, ModelJob> = new Map()

  queue(name: string): ModelQueue {
    const queue = this.queues.get(name)
    if (queue === undefined) throw new Error(`the model has no queue ${name}`)
    return queue
  }

  addQueue(name: string, jobs: number, rules: QueueRules): void {
    const tokens = { left: Number.POSITIVE_INFINITY, at: 0 }
    this.queues.set(name, { name, jobs, age: undefined, rules, paused: false, oldCredit: 0, turns: [], tokens, keyTokens: new Map() })
  }

  configure(name: string, how: { readonly jobs: number; readonly age: number | undefined; readonly rules: QueueRules }): void {
    const queue = this.queue(name)
    const isChanged = JSON.stringify(how.rules) !== JSON.stringify(queue.rules)
    Object.assign(queue, how)
    if (isChanged) for (const job of this.in(name)) this.#rouse(job)
  }

  find(id: string): ModelJob | undefined {
    return this.jobs.find((job) => job.id === id)
  }

  in(queue: string): ModelJob[] {
    return this.jobs.filter((job) => job.queue === queue)
  }

  waiting(queue: string): ModelJob[] {
    return this.in(queue).filter(({ place }) => place === 'ready' || place === 'behind')
  }

  /** What a submission must be answered with. */
  known(spec: NewJob): 'duplicate' | 'conflict' | undefined {
    const known = this.jobs.find((job) => spec.idempotency !== undefined && job.spec.idempotency?.scopeKey === spec.idempotency.scopeKey)
    if (known === undefined) return undefined
    return known.spec.idempotency?.fingerprint === spec.idempotency?.fingerprint ? 'duplicate' : 'conflict'
  }

  /** Makes room where that is the rule. False: there is none. */
  hasRoom(name: string, now: Now): boolean {
    const queue = this.queue(name)
    const unfinished = (): number => this.in(name).filter((job) => !isEnded(job)).length
    const isFull = (): boolean => unfinished() >= queue.jobs
    const isOld = (): boolean => {
      const [oldest] = this.waiting(name)
      return queue.age !== undefined && oldest !== undefined && now.wall - oldest.submittedAt >= queue.age
    }
    const wasOver = unfinished() > queue.jobs
    const drops = queue.rules.overflow === 'drop-oldest' && unfinished() - this.waiting(name).length < queue.jobs
    for (let dropped = 0; isFull() || isOld(); dropped++) {
      const [oldest] = this.waiting(name)
      if (!drops || oldest === undefined) return false
      if (dropped >= DROPS_MAX && !isFull()) return true
      if (dropped >= DROPS_MAX && wasOver) return false
      this.end(oldest, 'failed', now, { error: 'queue_overflow', dead: 'overflow' })
      this.untold.push(told(oldest))
    }
    return true
  }

  /** `id`: where it is not known yet, it is said later, with `named`. */
  accept(id: string, seq: number, spec: NewJob, now: Now): ModelJob {
    const delayMs = Math.max(0, spec.delayMs ?? 0)
    const due = now.wall + delayMs
    const job: ModelJob = {
      ...{ id, seq, spec, queue: spec.queue, bucket: bucketOf(spec.key ?? id), body: Buffer.from(spec.request.body).toString() },
      submittedAt: now.wall,
      expiresAt: spec.expireAfterMs === undefined ? Number.POSITIVE_INFINITY : due + spec.expireAfterMs,
      deadlineAt: spec.deadlineMs === undefined ? Number.POSITIVE_INFINITY : now.wall + spec.deadlineMs,
      ...{ status: 'queued', place: 'time', waitsUntil: due, restsUntil: 0 },
      ...{ counted: 0, handOuts: 0, handOutsEver: 0, holdsAfter: 0, lease: undefined, reportedBy: undefined },
      ...{ dead: undefined, error: undefined, answer: undefined, finishedAt: 0, blocksKey: false, due: false, redrives: 0, story: [] },
    }
    this.jobs.push(job)
    if (delayMs === 0) this.enter(job)
    return job
  }

  /** The jobs that this request must be given, in this order. */
  lease(request: LeaseRequest, now: Now): ModelJob[] {
    const queue = this.queue(request.queue)
    const taken: ModelJob[] = []
    const isHeavy = (): boolean => taken.reduce((sum, job) => sum + bytesOf(job), 0) >= (request.bytesMax ?? Number.POSITIVE_INFINITY)
    while (taken.length < request.max && !isHeavy() && !queue.paused && this.#mayHandOut(queue, now)) {
      const { sideline } = queue.rules
      const isOld = (job: ModelJob): boolean => sideline !== undefined && job.seq < (now.wall - sideline.afterMs - ID_EPOCH) * 4096
      const oldTurn = queue.oldCredit > 0.999999
      const next = (isWanted: (job: ModelJob) => boolean): ModelJob | undefined =>
        this.#next(queue, (job) => isWanted(job) && isOld(job) === oldTurn) ?? this.#next(queue, isWanted)
      const own = next((job) => hasBucket(request.buckets, job.bucket))
      const best = own ?? (request.stealUnkeyed ? next((job) => job.spec.key === undefined) : undefined)
      if (best === undefined) break
      if (this.#isOver(best, now)) {
        this.#over(best, now)
        this.untold.push(told(best))
        continue
      }
      const restMs = this.#restOf(queue, best, now)
      if (restMs > 0) {
        best.restsUntil = now.monotonic + restMs
        this.#turnsWithout(best)
        continue
      }
      if (sideline !== undefined) {
        const credit = queue.oldCredit + sideline.share - (isOld(best) ? 1 : 0)
        queue.oldCredit = Math.min(1 + sideline.share, Math.max(0, credit))
      }
      this.#handOut(queue, best, now)
      taken.push(best)
    }
    return taken
  }

  /** True: a lease for all buckets would be given something. Changes nothing. */
  couldHandOut(name: string, now: Now): boolean {
    const queue = this.queue(name)
    if (queue.paused || !this.#mayHandOut(queue, now)) return false
    return queue.turns.some((tenant) => this.#mayRun(queue, tenant) && this.#best(queue, tenant, () => true) !== undefined)
  }

  /** What a settlement must be answered with. */
  settle(settlement: Settlement, now: Now): { readonly kind: 'settled' | 'stale' | 'repeated' | 'full'; readonly job?: ModelJob } {
    const job = this.live(settlement.lease)
    if (job === undefined) return this.#settledBefore(settlement)
    if (settlement.kind === 'defer') return this.#defer(job, settlement, now)
    this.#settle(job, settlement, now)
    if (settlement.reported === true && isEnded(job)) job.reportedBy = settlement.lease
    return { kind: 'settled', job }
  }

  #settledBefore({ lease, kind }: Settlement): { readonly kind: 'stale' | 'repeated'; readonly job?: ModelJob } {
    const job = this.find(lease.id)
    const by = job?.reportedBy
    const isIt = by?.fence === lease.fence && by.secret === lease.secret && (kind === 'succeed') === (job?.status === 'succeeded')
    return isIt && job !== undefined ? { kind: 'repeated', job } : { kind: 'stale' }
  }

  #defer(job: ModelJob, { forMs, retryMs, jobsMax }: Deferral, now: Now): { readonly kind: 'settled' | 'full'; readonly job?: ModelJob } {
    if (job.lease === undefined) throw new Error('it has no lease')
    const others = this.in(job.queue).filter(({ lease }) => lease?.deferred !== undefined)
    if (job.lease.deferred === undefined && others.length >= jobsMax) return { kind: 'full' }
    job.lease = { ref: job.lease.ref, until: now.monotonic + forMs, keptMs: forMs, deferred: { until: now.wall + forMs, retryMs } }
    return { kind: 'settled', job }
  }

  #settle(job: ModelJob, settlement: Ending, now: Now): void {
    const { spec, queue } = job
    if (settlement.kind === 'succeed') {
      job.counted += 1
      this.#told(job, 'succeeded', true)
      this.end(job, 'succeeded', now, {})
    } else if (settlement.kind === 'fail') {
      job.counted += 1
      const { code } = settlement.error
      const isDead = settlement.deadLetter || (spec.key !== undefined && this.queue(queue).rules.onFailure === 'block')
      this.#told(job, code, true)
      this.end(job, 'failed', now, { error: code, dead: isDead ? code : undefined, holdsKey: settlement.holdsKey === true })
    } else if (settlement.kind === 'retry') this.#attemptFailed(job, settlement.error.code, settlement.afterMs, now)
    else
      this.#handBack(
        job,
        { error: settlement.error?.code, outcome: settlement.error?.code ?? 'handed_back', afterMs: settlement.afterMs },
        now,
      )
    const keepsAnswer = isEnded(job) && !(settlement.kind === 'handBack' && job.dead !== 'poison')
    if (keepsAnswer && settlement.answer !== undefined) job.answer = Buffer.from(settlement.answer.body).toString('base64')
  }

  live(ref: LeaseRef): ModelJob | undefined {
    const job = this.find(ref.id)
    return job?.lease !== undefined && job.lease.ref.fence === ref.fence && job.lease.ref.secret === ref.secret ? job : undefined
  }

  cancel(id: string, onlyUnbegun: boolean, now: Now): 'done' | 'unchanged' | 'missing' {
    const job = this.find(id)
    if (job === undefined) return 'missing'
    const begun = job.status === 'running' || job.counted > 0 || job.handOutsEver > job.handOuts
    if (isEnded(job) || (onlyUnbegun && begun)) return 'unchanged'
    if (onlyUnbegun) job.spec = withoutKey(job.spec)
    if (job.place === 'running') this.#told(job, 'cancelled', false)
    this.end(job, 'cancelled', now, {})
    return 'done'
  }

  /** A dead letter, where there is room for it. */
  redrive(job: ModelJob, to: string, afterMs: number, now: Now): 'done' | 'unchanged' | 'refused' {
    if (job.dead === undefined) return 'unchanged'
    if (this.in(to).filter((other) => !isEnded(other)).length >= this.queue(to).jobs) return 'refused'
    const keeps = job.blocksKey && to === job.queue
    if (job.blocksKey && !keeps) this.#promote(job)
    Object.assign(job, { status: 'queued', queue: to, counted: 0, handOuts: 0, holdsAfter: job.handOutsEver - (keeps ? 1 : 0) })
    Object.assign(job, { dead: undefined, error: undefined, answer: undefined, reportedBy: undefined })
    Object.assign(job, { blocksKey: false, due: false, redrives: job.redrives + 1 })
    job.expiresAt = Number.POSITIVE_INFINITY
    if (job.spec.deadlineMs !== undefined) job.deadlineAt = now.wall + job.spec.deadlineMs
    this.#again(job, afterMs, now)
    return 'done'
  }

  move(job: ModelJob, to: string, now: Now): 'done' | 'unchanged' | 'refused' {
    if (job.queue === to || job.place === 'running') return 'unchanged'
    if (isEnded(job)) return this.redrive(job, to, 0, now)
    if (this.in(to).filter((other) => !isEnded(other)).length >= this.queue(to).jobs) return 'refused'
    const { place } = job
    this.#leave(job)
    Object.assign(job, { queue: to, holdsAfter: job.handOutsEver, place: 'time' })
    if (place !== 'time') this.enter(job)
    return 'done'
  }

  forget(job: ModelJob): 'done' | 'unchanged' {
    if (!isEnded(job) || job.due) return 'unchanged'
    if (job.blocksKey) this.#promote(job)
    this.jobs = this.jobs.filter((other) => other !== job)
    return 'done'
  }

  followed(job: ModelJob): 'done' | 'unchanged' {
    if (!job.due) return 'unchanged'
    job.due = false
    return 'done'
  }

  release(queue: string, key: string): 'done' | 'unchanged' | 'missing' {
    const holder = this.holders.get(slot(queue, key))
    if (holder === undefined) return 'missing'
    if (!holder.blocksKey) return 'unchanged'
    holder.blocksKey = false
    this.#promote(holder)
    return 'done'
  }

  meets(job: ModelJob, { queue, statuses, dead, key, tenant, since, until }: JobFilter): boolean {
    if (queue !== undefined && job.queue !== queue) return false
    if (statuses !== undefined && !statuses.some((status) => status === job.status)) return false
    if (dead !== undefined && (dead === true ? job.dead === undefined : job.dead !== dead)) return false
    if ((key !== undefined && job.spec.key !== key) || (tenant !== undefined && job.spec.tenant !== tenant)) return false
    return job.submittedAt >= (since ?? 0) && job.submittedAt < (until ?? Number.POSITIVE_INFINITY)
  }

  /** Whoever has sent one again since was told of that. */
  takeUntold(): Told[] {
    const { untold } = this
    this.untold = []
    return untold.filter(({ job, redrives }) => job.redrives === redrives)
  }

  /** Leases that are over, what is due, what has been kept for long enough. Says whose status changed. */
  sweep(now: Now): Told[] {
    const changed = this.takeUntold()
    const before = new Map(this.jobs.map((job) => [job, job.status]))
    const lapsed = this.jobs.filter(({ lease }) => lease !== undefined && lease.until <= now.monotonic)
    for (const job of lapsed.toSorted((a, b) => (a.lease?.until ?? 0) - (b.lease?.until ?? 0) || a.seq - b.seq)) this.#lapse(job, now)
    const due = this.jobs.filter((job) => timerOf(job) <= now.wall)
    for (const job of due.toSorted((a, b) => timerOf(a) - timerOf(b) || a.seq - b.seq)) {
      if (this.#isOver(job, now)) this.#over(job, now)
      else if (job.place === 'time') this.enter(job)
    }
    for (const job of this.jobs) if (before.get(job) !== job.status) changed.push(told(job))
    this.jobs = this.jobs.filter((job) => !isEnded(job) || job.blocksKey || job.due || keepUntilOf(job) > now.wall)
    return changed
  }

  /** Keys that have rested. */
  rouse(now: Now): void {
    const rested = this.jobs.filter(({ restsUntil }) => restsUntil !== 0 && restsUntil <= now.monotonic)
    for (const job of rested.toSorted((a, b) => a.restsUntil - b.restsUntil || a.seq - b.seq)) this.#rouse(job)
  }

  /** The process that held the leases is gone, and with it what was only in its memory. */
  reopen(now: Now): void {
    this.untold = []
    for (const queue of this.queues.values()) {
      Object.assign(queue, { oldCredit: 0, turns: [], tokens: { left: Number.POSITIVE_INFINITY, at: 0 }, keyTokens: new Map() })
    }
    for (const job of this.jobs) job.restsUntil = 0
    for (const job of this.jobs) if (job.place === 'ready') this.#takesTurns(job)
    for (const job of this.jobs) {
      if (job.lease === undefined) continue
      if (job.lease.keptMs !== undefined) {
        job.lease.until = now.monotonic + job.lease.keptMs
        if (job.lease.deferred !== undefined) job.lease.deferred.until = now.wall + job.lease.keptMs
        continue
      }
      if (job.spec.sendOnce) this.#outcomeUnknown(job, now)
      else this.#handBack(job, { error: undefined, outcome: 'gateway_stopped', afterMs: 0 }, now)
      if (isEnded(job)) this.untold.push(told(job))
    }
  }

  /** Into the line: ready, or behind whoever holds its key. */
  enter(job: ModelJob): void {
    job.place = 'behind'
    const { key } = job.spec
    if (key === undefined) return this.#isReady(job)
    const holder = this.holders.get(slot(job.queue, key))
    if (holder !== undefined && holder !== job) {
      // A holder that has not begun makes room for one that was accepted before it.
      if (holder.seq < job.seq || holdsKey(holder)) return
      this.#isNotReady(holder, 'behind')
    }
    this.holders.set(slot(job.queue, key), job)
    this.#isReady(job)
  }

  end(job: ModelJob, status: string, now: Now, { error, dead, holdsKey = false }: End): void {
    const { rules } = this.queue(job.queue)
    const holds = job.spec.key !== undefined && this.holders.get(slot(job.queue, job.spec.key)) === job
    const hasFailed = (status === 'failed' || status === 'expired') && dead !== undefined && dead !== 'overflow'
    const blocks = holds && (holdsKey || (rules.onFailure === 'block' && hasFailed))
    if (blocks) this.#isNotReady(job, 'ended')
    else this.#leave(job)
    const due = rules.followUps === true || job.spec.followUp !== undefined
    Object.assign(job, { status, error, dead, place: 'ended', lease: undefined, finishedAt: now.wall, blocksKey: blocks, due })
  }

  #handOut(queue: ModelQueue, job: ModelJob, now: Now): void {
    const { rate, keyRate } = queue.rules
    const { key, tenant = '' } = job.spec
    this.#isNotReady(job, 'running')
    Object.assign(job, { status: 'running', waitsUntil: 0, handOuts: job.handOuts + 1, handOutsEver: job.handOutsEver + 1 })
    if (rate !== undefined) queue.tokens = { left: Math.max(0, left(queue.tokens, rate, now) - 1), at: now.monotonic }
    if (keyRate !== undefined && key !== undefined) {
      const had = left(queue.keyTokens.get(key), keyRate, now)
      queue.keyTokens.set(key, { left: Math.max(0, had - 1), at: now.monotonic })
    }
    if (queue.turns.includes(tenant)) queue.turns = [...queue.turns.filter((each) => each !== tenant), tenant]
  }

  #mayHandOut(queue: ModelQueue, now: Now): boolean {
    const { maxRunning, rate } = queue.rules
    const running = this.in(queue.name).filter(({ place }) => place === 'running').length
    return running < (maxRunning ?? Number.POSITIVE_INFINITY) && (rate === undefined || left(queue.tokens, rate, now) >= ALMOST_ONE)
  }

  #mayRun({ name, rules }: ModelQueue, tenant: string): boolean {
    if (rules.tenantMaxRunning === undefined || tenant === '') return true
    const running = this.in(name).filter((job) => job.place === 'running' && job.spec.tenant === tenant)
    return running.length < rules.tenantMaxRunning
  }

  #restOf({ rules, keyTokens }: ModelQueue, { spec }: ModelJob, now: Now): number {
    if (rules.keyRate === undefined || spec.key === undefined) return 0
    const has = left(keyTokens.get(spec.key), rules.keyRate, now)
    return has >= ALMOST_ONE ? 0 : Math.ceil(((1 - has) * rules.keyRate.perMs) / rules.keyRate.count)
  }

  /** The job whose turn it is. */
  #next(queue: ModelQueue, isWanted: (job: ModelJob) => boolean): ModelJob | undefined {
    for (const tenant of queue.turns) {
      const best = this.#mayRun(queue, tenant) ? this.#best(queue, tenant, isWanted) : undefined
      if (best !== undefined) return best
    }
    return undefined
  }

  #best({ name, rules }: ModelQueue, tenant: string, isWanted: (job: ModelJob) => boolean): ModelJob | undefined {
    const mine = this.in(name).filter((job) => canGo(job) && (job.spec.tenant ?? '') === tenant && isWanted(job))
    // So many milliseconds count as one step; a millisecond has 4096 numbers.
    const rank = (job: ModelJob): number =>
      rules.ageingMs === undefined ? -job.spec.priority : job.seq - job.spec.priority * rules.ageingMs * 4096
    return mine.toSorted((a, b) => rank(a) - rank(b) || b.spec.priority - a.spec.priority || a.seq - b.seq)[0]
  }

  #isReady(job: ModelJob): void {
    job.place = 'ready'
    this.#takesTurns(job)
  }

  #isNotReady(job: ModelJob, place: ModelJob['place']): void {
    job.place = place
    job.restsUntil = 0
    this.#turnsWithout(job)
  }

  #takesTurns({ queue: name, spec: { tenant = '' } }: ModelJob): void {
    const queue = this.queue(name)
    if (!queue.turns.includes(tenant)) queue.turns.push(tenant)
  }

  #turnsWithout({ queue: name, spec: { tenant = '' } }: ModelJob): void {
    const queue = this.queue(name)
    const has = this.in(name).some((job) => canGo(job) && (job.spec.tenant ?? '') === tenant)
    if (!has) queue.turns = queue.turns.filter((each) => each !== tenant)
  }

  #rouse(job: ModelJob): void {
    if (job.restsUntil === 0) return
    job.restsUntil = 0
    this.#takesTurns(job)
  }

  /** Out of the line, and of its key. */
  #leave(job: ModelJob): void {
    this.#isNotReady(job, 'ended')
    this.#promote(job)
  }

  /** It holds its key no longer: the next one does. */
  #promote(job: ModelJob): void {
    const { key } = job.spec
    if (key === undefined || this.holders.get(slot(job.queue, key)) !== job) return
    this.holders.delete(slot(job.queue, key))
    const next = this.in(job.queue).find((other) => other.place === 'behind' && other.spec.key === key)
    if (next === undefined) return
    this.holders.set(slot(job.queue, key), next)
    this.#isReady(next)
  }

  #lapse(job: ModelJob, now: Now): void {
    if (job.spec.sendOnce) this.#outcomeUnknown(job, now)
    else if (job.lease?.deferred !== undefined) this.#attemptFailed(job, 'attempt_timeout', job.lease.deferred.retryMs, now)
    else this.#attemptFailed(job, 'lease_lapsed', 0, now)
  }

  #outcomeUnknown(job: ModelJob, now: Now): void {
    job.counted += 1
    this.#told(job, 'outcome_unknown', true)
    this.end(job, 'failed', now, { error: 'outcome_unknown', dead: 'outcome_unknown' })
  }

  #attemptFailed(job: ModelJob, error: string, afterMs: number, now: Now): void {
    job.counted += 1
    this.#told(job, error, true)
    job.error = error
    if (job.counted >= job.spec.attempts) return this.end(job, 'failed', now, { error, dead: 'attempts' })
    if (job.deadlineAt <= now.wall + afterMs) return this.end(job, 'failed', now, { error, dead: 'deadline' })
    this.#again(job, afterMs, now)
  }

  #handBack(
    job: ModelJob,
    how: { readonly error: string | undefined; readonly outcome: string; readonly afterMs: number },
    now: Now,
  ): void {
    const isPoison = job.handOuts > HAND_OUTS_PER_ATTEMPT * job.spec.attempts
    this.#told(job, isPoison && how.outcome !== 'gateway_stopped' ? 'poison' : how.outcome, false)
    job.error = how.error ?? job.error
    if (isPoison) return this.end(job, 'failed', now, { error: 'poison', dead: 'poison' })
    // One that is over goes no further than the end of its lease.
    if (this.#isOver({ ...job, place: 'time' }, now)) return this.#over(job, now)
    this.#again(job, how.afterMs, now)
  }

  #again(job: ModelJob, afterMs: number, now: Now): void {
    Object.assign(job, {
      status: job.counted === 0 ? 'queued' : 'retrying',
      lease: undefined,
      place: 'time',
      waitsUntil: now.wall + afterMs,
    })
    if (afterMs <= 0) this.enter(job)
  }

  #told(job: ModelJob, outcome: string, counted: boolean): void {
    job.story.push([outcome, counted ? job.counted : undefined])
  }

  #isOver(job: ModelJob, now: Now): boolean {
    return (job.counted === 0 && job.expiresAt <= now.wall) || job.deadlineAt <= now.wall
  }

  #over(job: ModelJob, now: Now): void {
    if (job.counted === 0 && job.expiresAt <= now.wall) return this.end(job, 'expired', now, { error: 'job_expired', dead: 'expired' })
    this.end(job, job.counted === 0 ? 'expired' : 'failed', now, { error: 'job_deadline', dead: 'deadline' })
  }
}

/** A job, and what it was when it was told of. */
export interface Told {
  readonly job: ModelJob
  readonly status: string
  readonly redrives: number
}

interface End {
  readonly error?: string
  readonly dead?: string | undefined
  readonly holdsKey?: boolean
}

/** What is missing by a rounding error is not missing. */
const ALMOST_ONE = 1 - 1e-6

export function told(job: ModelJob): Told {
  return { job, status: job.status, redrives: job.redrives }
}

export function isEnded(job: ModelJob): boolean {
  return job.place === 'ended'
}

export function keepUntilOf({ finishedAt, dead, submittedAt, spec }: ModelJob): number {
  const kept = finishedAt + (dead === undefined ? spec.keepMs : spec.keepDeadMs)
  return Math.max(kept, spec.idempotency === undefined ? 0 : submittedAt + spec.idempotency.keepMs)
}

/** When time has to act on a job that waits. */
export function timerOf(job: ModelJob): number {
  if (job.place === 'running' || job.place === 'ended') return Number.POSITIVE_INFINITY
  const due = job.place === 'time' ? job.waitsUntil : Number.POSITIVE_INFINITY
  return Math.min(due, job.deadlineAt, job.counted === 0 ? job.expiresAt : Number.POSITIVE_INFINITY)
}

/** What its request weighs: its head as JSON, and its body. */
function bytesOf({ spec, body }: ModelJob): number {
  const { method, target, headers } = spec.request
  return Buffer.byteLength(JSON.stringify([method, target, headers])) + Buffer.byteLength(body)
}

function canGo({ place, restsUntil }: ModelJob): boolean {
  return place === 'ready' && restsUntil === 0
}

function holdsKey(job: ModelJob): boolean {
  return job.blocksKey || (!isEnded(job) && job.handOutsEver > job.holdsAfter)
}

export function slot(queue: string, key: string): string {
  return `${queue}\n${key}`
}

function left(tokens: Tokens | undefined, { count, perMs }: RateLimit, now: Now): number {
  return tokens === undefined ? count : Math.min(count, tokens.left + (Math.max(0, now.monotonic - tokens.at) * count) / perMs)
}

function withoutKey(spec: NewJob): NewJob {
  const { idempotency: _, ...rest } = spec
  return rest
}
