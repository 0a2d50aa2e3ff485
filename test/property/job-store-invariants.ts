/** What must be true whatever the model says, checked only from what a client of the store sees. Each check is named after its promise. */
import assert from 'node:assert/strict'
import type { Lease, NewJob, StoredJob } from '../../src/ports/job-store.ts'

interface Seen {
  readonly spec: NewJob
  readonly expiresAt: number | undefined
  version: number
  handOuts: number
  counted: number
  ended: boolean
}

export class Invariants {
  readonly #jobs = new Map<string, Seen>()
  /** Running, by `queue key`. */
  readonly #running = new Map<string, string>()
  /** What was seen at all, so that a run that tested nothing is noticed. */
  readonly kinds: Set<string> = new Set()
  /** Of all jobs and all attempts. */
  readonly #secrets = new Set<string>()
  #lastId = ''
  #lastFence = 0

  accepted(job: StoredJob, spec: NewJob): void {
    assert.ok(job.id > this.#lastId, 'ids grow, and are never given twice')
    this.#lastId = job.id
    this.#isNew(job.secret)
    this.#jobs.set(job.id, { spec, expiresAt: job.expiresAt, version: job.version, handOuts: 0, counted: 0, ended: false })
  }

  handedOut({ ref, job, request, stolen }: Lease, now: number): void {
    const seen = this.#jobs.get(ref.id)
    assert.ok(seen, 'nothing is invented')
    assert.equal(Buffer.from(request.body).toString(), Buffer.from(seen.spec.request.body).toString(), 'nothing is altered')
    assert.deepEqual(request.headers, seen.spec.request.headers, 'nothing is altered')
    assert.equal(seen.ended, false, 'what has ended never runs again')
    assert.ok(ref.fence > this.#lastFence, 'fences grow, over restarts too')
    this.#lastFence = ref.fence
    this.#isNew(ref.secret)
    assert.ok(seen.counted > 0 || now < (seen.expiresAt ?? Number.POSITIVE_INFINITY), 'what has expired is never handed out')
    assert.ok(job.attempt <= job.attempts, 'no more attempts than it has')
    if (stolen) this.kinds.add('stolen')
    const { key } = seen.spec
    if (key === undefined) return
    assert.equal(stolen, false, 'a job with a key stays with its bucket’s server')
    const slot = `${job.queue} ${key}`
    assert.equal(this.#running.get(slot), undefined, 'of a key at most one runs')
    this.#running.set(slot, ref.id)
    const earlier = [...this.#jobs].filter(
      ([id, other]) => id < ref.id && other.spec.key === key && other.spec.queue === job.queue && !other.ended,
    )
    for (const [id, other] of earlier) assert.equal(other.handOuts, 0, `a key runs in order of acceptance: ${id} had begun before`)
  }

  seen(job: StoredJob): void {
    const seen = this.#jobs.get(job.id)
    assert.ok(seen, 'nothing is invented')
    this.kinds.add(job.status).add(job.dead ?? 'alive')
    if (job.blockedBy !== undefined) this.kinds.add('blocked')
    assert.ok(job.version >= seen.version, 'versions never go back')
    assert.ok(job.handOuts >= seen.handOuts, 'the count of hand-outs never goes back')
    seen.version = job.version
    seen.handOuts = job.handOuts
    const running = job.status === 'running'
    const counted = running ? job.attempt - 1 : job.attempt
    assert.ok(counted >= seen.counted, 'the count of attempts never goes back')
    seen.counted = counted
    if (!running) this.#stopped(job)
    if (job.finishedAt !== undefined) seen.ended = true
    else assert.equal(seen.ended, false, 'what has ended has ended for good')
    if (job.position !== undefined) assert.ok(job.position >= 1, 'a place is at least the first')
  }

  /** All leases are void. */
  reopened(): void {
    this.#running.clear()
  }

  #isNew(secret: string): void {
    assert.equal(this.#secrets.has(secret), false, 'no two jobs and no two attempts have the same secret')
    this.#secrets.add(secret)
  }

  #stopped(job: StoredJob): void {
    for (const [slot, id] of this.#running) if (id === job.id) this.#running.delete(slot)
  }
}
