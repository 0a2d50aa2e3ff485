/**
 * What a job store has to do, as naively as it can be said: one list of jobs that is searched from front to back. No index, no counter, no
 * file. Shares no code with the engines but the hash that gives a job its bucket.
 */
import { bucketOf, hasBucket } from '../../src/core/jobs/buckets.ts'
import type { LeaseRef, LeaseRequest, NewJob, Settlement } from '../../src/ports/job-store.ts'

export interface ModelJob {
  readonly id: string
  spec: NewJob
  readonly bucket: number
  readonly submittedAt: number
  readonly expiresAt: number
  status: string
  /** Waits for time until then; 0: does not. */
  waitsUntil: number
  counted: number
  handOuts: number
  lease: { readonly ref: LeaseRef; until: number } | undefined
  dead: string | undefined
  error: string | undefined
  answer: string | undefined
  keepUntil: number
}

export interface Now {
  readonly wall: number
  readonly monotonic: number
}

export class JobStoreModel {
  /** In order of acceptance. */
  jobs: ModelJob[] = []
  readonly limits: Map<string, number> = new Map()
  /** Ended while nobody looked. */
  untold: ModelJob[] = []

  find(id: string): ModelJob | undefined {
    return this.jobs.find((job) => job.id === id)
  }

  /** What a submission must be answered with. */
  verdict(spec: NewJob): 'created' | 'duplicate' | 'conflict' | 'refused' {
    const known = this.jobs.find((job) => spec.idempotency !== undefined && job.spec.idempotency?.scopeKey === spec.idempotency.scopeKey)
    if (known !== undefined) return known.spec.idempotency?.fingerprint === spec.idempotency?.fingerprint ? 'duplicate' : 'conflict'
    const unfinished = this.jobs.filter((job) => job.spec.queue === spec.queue && !isEnded(job)).length
    return unfinished < (this.limits.get(spec.queue) ?? 0) ? 'created' : 'refused'
  }

  accept(id: string, spec: NewJob, now: Now): ModelJob {
    const due = now.wall + (spec.delayMs ?? 0)
    const job: ModelJob = {
      id,
      spec,
      bucket: bucketOf(spec.key ?? id),
      submittedAt: now.wall,
      expiresAt: spec.expireAfterMs === undefined ? Number.POSITIVE_INFINITY : due + spec.expireAfterMs,
      status: 'queued',
      waitsUntil: (spec.delayMs ?? 0) > 0 ? due : 0,
      counted: 0,
      handOuts: 0,
      lease: undefined,
      dead: undefined,
      error: undefined,
      answer: undefined,
      keepUntil: 0,
    }
    this.jobs.push(job)
    return job
  }

  /** The jobs that this request must be given, in this order. */
  lease(request: LeaseRequest, now: Now): ModelJob[] {
    const taken: ModelJob[] = []
    while (taken.length < request.max) {
      const ready = this.jobs.filter((job) => job.spec.queue === request.queue && this.isReady(job))
      const own = ready.filter((job) => hasBucket(request.buckets, job.bucket))
      const others = request.stealUnkeyed ? ready.filter((job) => job.spec.key === undefined) : []
      const best = mostUrgent(own) ?? mostUrgent(others)
      if (best === undefined) break
      if (this.#expires(best, now)) this.untold.push(best)
      else taken.push(best)
      if (best.status !== 'expired') Object.assign(best, { status: 'running', handOuts: best.handOuts + 1 })
    }
    return taken
  }

  /** The job that its key lets run. */
  holder(queue: string, key: string): ModelJob | undefined {
    const alive = this.jobs.filter((job) => job.spec.queue === queue && job.spec.key === key && !isEnded(job))
    return alive.find((job) => job.handOuts > 0) ?? alive.find((job) => job.waitsUntil === 0)
  }

  isReady(job: ModelJob): boolean {
    if (!isWaiting(job) || job.waitsUntil !== 0) return false
    return job.spec.key === undefined || this.holder(job.spec.queue, job.spec.key) === job
  }

  settle(settlement: Settlement, now: Now): ModelJob | undefined {
    const job = this.live(settlement.lease)
    if (job === undefined) return undefined
    job.lease = undefined
    if (settlement.kind === 'succeed') {
      job.counted += 1
      end(job, 'succeeded', now, {})
      job.error = undefined
    } else if (settlement.kind === 'fail') {
      job.counted += 1
      end(job, 'failed', now, { error: settlement.error.code, dead: settlement.deadLetter ? settlement.error.code : undefined })
    } else if (settlement.kind === 'retry') this.#attemptFailed(job, settlement.error.code, settlement.afterMs, now)
    else this.#handBack(job, settlement.error?.code ?? job.error, settlement.afterMs, now)
    if (isEnded(job) && job.status !== 'expired' && settlement.answer !== undefined)
      job.answer = Buffer.from(settlement.answer.body).toString('base64')
    return job
  }

  live(ref: LeaseRef): ModelJob | undefined {
    const job = this.find(ref.id)
    return job?.lease !== undefined && job.lease.ref.fence === ref.fence && job.lease.ref.secret === ref.secret ? job : undefined
  }

  cancel(id: string, onlyUnbegun: boolean, now: Now): 'done' | 'unchanged' | 'missing' {
    const job = this.find(id)
    if (job === undefined) return 'missing'
    if (isEnded(job) || (onlyUnbegun && (job.status === 'running' || job.counted > 0))) return 'unchanged'
    if (onlyUnbegun) job.spec = withoutKey(job.spec)
    end(job, 'cancelled', now, {})
    job.error = undefined
    return 'done'
  }

  /** The jobs whose status this tick must report. */
  tick(now: Now): ModelJob[] {
    const changed = this.untold
    this.untold = []
    for (const job of this.jobs) {
      const before = job.status
      if (job.lease !== undefined && job.lease.until <= now.monotonic) this.#lapse(job, now)
      else if (isWaiting(job) && !this.#expires(job, now) && job.waitsUntil !== 0 && job.waitsUntil <= now.wall) job.waitsUntil = 0
      if (job.status !== before) changed.push(job)
    }
    const gone = this.jobs.filter((job) => isEnded(job) && job.keepUntil <= now.wall)
    this.jobs = this.jobs.filter((job) => !gone.includes(job))
    return changed
  }

  /** The process that held the leases is gone. */
  reopen(now: Now): void {
    this.untold = []
    for (const job of this.jobs) {
      if (job.lease === undefined) continue
      job.lease = undefined
      if (job.spec.sendOnce) {
        job.counted += 1
        end(job, 'failed', now, { error: 'outcome_unknown', dead: 'outcome_unknown' })
      } else this.#handBack(job, job.error, 0, now)
      if (isEnded(job)) this.untold.push(job)
    }
  }

  #lapse(job: ModelJob, now: Now): void {
    job.lease = undefined
    if (!job.spec.sendOnce) return this.#attemptFailed(job, 'lease_lapsed', 0, now)
    job.counted += 1
    end(job, 'failed', now, { error: 'outcome_unknown', dead: 'outcome_unknown' })
  }

  #attemptFailed(job: ModelJob, error: string, afterMs: number, now: Now): void {
    job.counted += 1
    if (job.counted >= job.spec.attempts) return end(job, 'failed', now, { error: error, dead: 'attempts' })
    Object.assign(job, { status: 'retrying', error, waitsUntil: afterMs > 0 ? now.wall + afterMs : 0 })
  }

  #handBack(job: ModelJob, error: string | undefined, afterMs: number, now: Now): void {
    if (job.handOuts > 10 * job.spec.attempts) return end(job, 'failed', now, { error: 'poison', dead: 'poison' })
    Object.assign(job, { status: job.counted === 0 ? 'queued' : 'retrying', error, waitsUntil: afterMs > 0 ? now.wall + afterMs : 0 })
    this.#expires(job, now)
  }

  #expires(job: ModelJob, now: Now): boolean {
    if (job.counted > 0 || job.expiresAt > now.wall) return false
    end(job, 'expired', now, { error: 'job_expired', dead: 'expired' })
    return true
  }
}

export function isEnded(job: ModelJob): boolean {
  return !isWaiting(job) && job.status !== 'running'
}

function isWaiting(job: ModelJob): boolean {
  return job.status === 'queued' || job.status === 'retrying'
}

function mostUrgent(jobs: readonly ModelJob[]): ModelJob | undefined {
  return jobs.reduce<ModelJob | undefined>(
    (best, job) => (best === undefined || job.spec.priority > best.spec.priority ? job : best),
    undefined,
  )
}

function withoutKey(spec: NewJob): NewJob {
  const { idempotency: _, ...rest } = spec
  return rest
}

interface End {
  readonly error?: string
  readonly dead?: string | undefined
}

function end(job: ModelJob, status: string, now: Now, { error, dead }: End): void {
  const kept = now.wall + (dead === undefined ? job.spec.keepMs : job.spec.keepDeadMs)
  const keepUntil = Math.max(kept, job.spec.idempotency === undefined ? 0 : job.submittedAt + job.spec.idempotency.keepMs)
  Object.assign(job, { status, error, dead, keepUntil, lease: undefined, waitsUntil: 0 })
}
