/** One random program: makes a step on the store and on the model, compares the answers, and watches the invariants. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { addBucket } from '../../src/core/jobs/buckets.ts'
import type { JobStore, Lease, LeaseRef, LeaseRequest, NewJob, Settlement, StoredJob } from '../../src/ports/job-store.ts'
import type { ManualClock } from '../support/manual-clock.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { Invariants } from './job-store-invariants.ts'
import { isEnded, JobStoreModel, type ModelJob, type Now } from './job-store-model.ts'

const LEASE_MS = 3000
/** With halves of characters, which have no UTF-8. */
const KEYS = ['k0', 'k1', 'k2', 'k3', '\ud800', '\ud801']
/** Ended jobs and leases that the program still remembers and tries again. */
const MEMORY = 60

export class Program {
  static readonly queues: readonly string[] = ['q', 'r']
  static readonly jobsMax = 40
  store: JobStore
  readonly random: SeededRandom
  readonly model: JobStoreModel = new JobStoreModel()
  readonly invariants: Invariants = new Invariants()
  steps = 0
  /** What was done last, for the message. */
  last = ''
  readonly #clock: ManualClock
  #leases: LeaseRef[] = []
  #ids: string[] = []
  #serial = 0

  constructor(store: JobStore, clock: ManualClock, random: SeededRandom) {
    this.store = store
    this.#clock = clock
    this.random = random
    for (const queue of Program.queues) this.model.limits.set(queue, Program.jobsMax)
  }

  async step(): Promise<void> {
    this.steps += 1
    const dice = this.random.unit()
    if (dice < 0.28) await this.#submit()
    else if (dice < 0.5) await this.#lease()
    else if (dice < 0.74) await this.#settle()
    else if (dice < 0.79) await this.#extend()
    else if (dice < 0.85) await this.#cancel()
    else if (dice < 0.88) await this.#progress()
    else if (dice < 0.9) await this.#configure()
    else if (dice < 0.91) this.#jump()
    else if (dice < 0.913) await this.#handBackAgainAndAgain()
    else await this.#pass(this.random.pick([0, 1, 50, 400, 1000, 3000, 20_000]))
  }

  async reopened(store: JobStore): Promise<void> {
    this.last = 'reopen'
    this.store = store
    this.model.reopen(this.#now())
    this.invariants.reopened()
    for (const queue of Program.queues) this.model.limits.set(queue, Program.jobsMax)
    await this.#lookAtUntold()
  }

  /** All jobs and all figures are the model's. */
  async compareAll(): Promise<void> {
    const ids = [...this.model.jobs.map(({ id }) => id), ...this.#ids]
    const reads = await this.store.read(ids, 'result')
    ids.forEach((id, at) => {
      const expected = this.model.find(id)
      const read = reads[at]
      assert.equal(read === undefined, expected === undefined, `job ${id} is kept exactly as long as it must be`)
      if (read === undefined || expected === undefined) return
      this.#compare(read.job, expected)
      assert.equal(read.answer && Buffer.from(read.answer.body).toString('base64'), expected.answer, 'the result is what was settled')
    })
    await this.#compareStats()
  }

  /** No more faults, no more work: everything ends. */
  async drain(): Promise<void> {
    for (let round = 0; this.model.jobs.some((job) => !isEnded(job)); round++) {
      assert.ok(round < 1000, 'it drains')
      for (const queue of Program.queues) await this.#leaseWith({ ...this.#leaseRequest(queue), max: 100, stealUnkeyed: true })
      for (const lease of this.#leases) await this.#settleWith({ kind: 'succeed', lease, answer: this.#answer() })
      await this.#pass(600_000)
    }
    await this.compareAll()
  }

  /** Until nothing is kept any more. */
  async forget(): Promise<void> {
    for (let round = 0; round < 3; round++) await this.#pass(100 * 86_400_000)
    assert.deepEqual(this.model.jobs, [])
    await this.compareAll()
  }

  async #submit(): Promise<void> {
    const batch = Array.from({ length: 1 + this.random.integer(3) }, () => this.#newJob())
    this.last = `submit ${JSON.stringify(batch.map((job) => ({ ...job, request: job.request.headers })))}`
    const submitted = await this.store.submit(batch)
    submitted.forEach((outcome, at) => {
      const spec = batch[at] as NewJob
      assert.equal(outcome.kind, this.model.verdict(spec))
      this.invariants.kinds.add(outcome.kind)
      if (outcome.kind === 'created') {
        this.invariants.accepted(outcome.job, spec)
        this.#remember(outcome.job.id)
        this.#compare(outcome.job, this.model.accept(outcome.job.id, spec, this.#now()))
      }
      if (outcome.kind === 'duplicate')
        assert.equal(this.model.find(outcome.job.id)?.spec.idempotency?.scopeKey, spec.idempotency?.scopeKey)
    })
  }

  async #lease(): Promise<void> {
    await this.#leaseWith(this.#leaseRequest(this.random.pick(Program.queues)))
  }

  async #leaseWith(request: LeaseRequest): Promise<readonly Lease[]> {
    this.last = `lease ${JSON.stringify({ ...request, buckets: Buffer.from(request.buckets).toString('hex') })}`
    const [leases = []] = await this.store.lease([request])
    const expected = this.model.lease(request, this.#now())
    assert.deepEqual(
      leases.map(({ ref }) => ref.id),
      expected.map(({ id }) => id),
      'the right jobs in the right order',
    )
    await this.#lookAtUntold()
    leases.forEach((lease, at) => {
      const job = expected[at] as ModelJob
      job.lease = { ref: lease.ref, until: this.#clock.monotonic() + request.leaseMs }
      this.invariants.handedOut(lease, this.#clock.now())
      this.#compare(lease.job, job)
      this.#leases = [...this.#leases, lease.ref].slice(-MEMORY)
    })
    return leases
  }

  async #settle(): Promise<void> {
    const lease = this.#someLease()
    if (lease === undefined) return
    const error = { code: this.random.pick(['server_error', 'connect_failed', 'attempt_timeout']), detail: 'd' }
    const answer = this.random.chance(0.5) ? { answer: this.#answer() } : {}
    const afterMs = this.random.pick([0, 0, 10, 900, 2500])
    const settlement = this.random.pick<Settlement>([
      { kind: 'succeed', lease, answer: this.#answer() },
      { kind: 'succeed', lease, answer: this.#answer() },
      { kind: 'retry', lease, afterMs, error, ...answer },
      { kind: 'retry', lease, afterMs, error, ...answer },
      { kind: 'handBack', lease, afterMs, ...(this.random.chance(0.5) && { error }), ...answer },
      { kind: 'handBack', lease, afterMs },
      { kind: 'fail', lease, error, deadLetter: this.random.chance(0.5), ...answer },
    ])
    await this.#settleWith(settlement)
  }

  /** Else no job would come back often enough to be poison. */
  async #handBackAgainAndAgain(): Promise<void> {
    const request = { ...this.#leaseRequest(this.random.pick(Program.queues)), max: 2 }
    for (let round = 0; round < 12; round++) {
      const leases = await this.#leaseWith(request)
      for (const { ref } of leases) await this.#settleWith({ kind: 'handBack', lease: ref, afterMs: 0, answer: this.#answer() })
    }
  }

  async #settleWith(settlement: Settlement): Promise<void> {
    this.last = `settle ${JSON.stringify({ ...settlement, answer: undefined })}`
    const [outcome] = await this.store.settle([settlement])
    const expected = this.model.settle(settlement, this.#now())
    assert.equal(outcome?.kind, expected === undefined ? 'stale' : 'settled')
    this.invariants.kinds.add(outcome?.kind ?? 'none')
    if (outcome?.kind !== 'settled' || expected === undefined) return
    this.invariants.seen(outcome.job)
    this.#compare(outcome.job, expected)
  }

  async #extend(): Promise<void> {
    const lease = this.#someLease()
    if (lease === undefined) return
    this.last = `extend ${JSON.stringify(lease)}`
    const job = this.model.live(lease)
    assert.deepEqual(await this.store.extend([lease], LEASE_MS), [job === undefined ? 'stale' : 'extended'])
    if (job?.lease !== undefined) job.lease.until = this.#clock.monotonic() + LEASE_MS
  }

  async #cancel(): Promise<void> {
    const id = this.random.pick(this.#ids) ?? 'none'
    const onlyUnbegun = this.random.chance(0.5)
    this.last = `cancel ${id} ${onlyUnbegun}`
    const running = this.model.find(id)?.lease?.ref
    const expected = this.model.cancel(id, onlyUnbegun, this.#now())
    const [outcome] = await this.store.command([{ kind: 'cancel', id, onlyUnbegun }])
    assert.equal(outcome?.kind, expected)
    if (outcome?.kind !== 'done' || outcome.job === undefined) return
    assert.deepEqual(outcome.aborted, running)
    this.invariants.seen(outcome.job)
    this.#compare(outcome.job, this.model.find(id) ?? assert.fail())
  }

  async #progress(): Promise<void> {
    const lease = this.#someLease()
    if (lease === undefined) return
    this.last = `progress ${JSON.stringify(lease)}`
    const [outcome] = await this.store.command([{ kind: 'progress', id: lease.id, secret: lease.secret, progress: '{}' }])
    const known = this.model.find(lease.id)
    assert.equal(outcome?.kind, known === undefined ? 'missing' : known.lease?.ref.secret === lease.secret ? 'done' : 'stale')
    if (outcome?.kind === 'done' && outcome.job !== undefined) this.#compare(outcome.job, known ?? assert.fail())
  }

  async #configure(): Promise<void> {
    const queue = this.random.pick(Program.queues)
    const jobs = this.random.pick([5, 20, Program.jobsMax])
    this.last = `configure ${queue} ${jobs}`
    this.model.limits.set(queue, jobs)
    await this.store.command([{ kind: 'configure', queue, limits: { jobs, bytes: 2 ** 40, finished: 2 ** 40 } }])
  }

  /** What ended without an answer to anybody, the invariants have to be shown. */
  async #lookAtUntold(): Promise<void> {
    const reads = await this.store.read(
      this.model.untold.map(({ id }) => id),
      'status',
    )
    for (const read of reads) this.invariants.seen(read?.job ?? assert.fail('it is kept'))
  }

  #jump(): void {
    this.#clock.jump(this.random.pick([-3_600_000, -500, 500, 3_600_000]))
  }

  async #pass(ms: number): Promise<void> {
    this.last = `pass ${ms}`
    this.#clock.advance(ms)
    const changed: StoredJob[] = []
    for (;;) {
      const tick = await this.store.tick()
      changed.push(...tick.changed)
      if (tick.nextMs !== 0) break
    }
    const expected = this.model.tick(this.#now())
    const seen = changed.map(({ id, status }) => `${id} ${status}`)
    assert.deepEqual(seen.toSorted(), expected.map(({ id, status }) => `${id} ${status}`).toSorted(), 'exactly what changed is told')
    for (const job of changed) this.invariants.seen(job)
  }

  #compare(job: StoredJob, expected: ModelJob): void {
    this.invariants.seen(job)
    const is = [job.id, job.status, job.attempt, job.handOuts, job.dead, job.error?.code, job.bucket, job.hasAnswer]
    const attempt = expected.counted + (expected.status === 'running' ? 1 : 0)
    const { id, status, handOuts, dead, error, bucket, answer } = expected
    assert.deepEqual(is, [
      id,
      status,
      attempt,
      handOuts,
      dead,
      status === 'running' ? job.error?.code : error,
      bucket,
      answer !== undefined,
    ])
  }

  async #compareStats(): Promise<void> {
    for (const stats of await this.store.stats()) {
      const jobs = this.model.jobs.filter((job) => job.spec.queue === stats.queue)
      for (const [status, count] of Object.entries(stats.counts)) {
        assert.equal(count, jobs.filter((job) => job.status === status).length, `counter ${status} equals the jobs there are`)
      }
      const waiting = jobs.filter((job) => (job.status === 'queued' || job.status === 'retrying') && job.waitsUntil === 0)
      assert.equal(stats.oldestWaitingAt, waiting[0]?.submittedAt, 'oldest waiting')
      assert.equal(
        Object.values(stats.dead).reduce((sum, count) => sum + count, 0),
        jobs.filter(({ dead }) => dead !== undefined).length,
        'dead letters',
      )
    }
  }

  #newJob(): NewJob {
    this.#serial += 1
    const { random } = this
    const key = random.chance(0.6) ? { key: random.pick(KEYS) } : {}
    const again = random.integer(8)
    const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
    const idempotency = {
      scopeKey: hash(`s${again}`),
      fingerprint: hash(`f${random.chance(0.8) ? again : 'x'}`),
      keepMs: random.pick([100, 5000]),
    }
    return {
      queue: random.pick(Program.queues),
      route: 'POST /x',
      request: { method: 'POST', target: '/x', headers: ['n', String(this.#serial)], body: Buffer.from(`body ${this.#serial}`) },
      priority: random.pick([4, 4, 4, 0, 9]),
      attempts: random.pick([1, 2, 3]),
      keepMs: random.pick([500, 5000]),
      keepDeadMs: random.pick([1000, 30_000]),
      sendOnce: random.chance(0.15),
      ...key,
      ...(random.chance(0.2) && { delayMs: random.pick([1, 300, 2000]) }),
      ...(random.chance(0.2) && { expireAfterMs: random.pick([100, 1000, 5000]) }),
      ...(random.chance(0.15) && { idempotency }),
    }
  }

  #leaseRequest(queue: string): LeaseRequest {
    const buckets = new Uint8Array(32)
    const share = this.random.pick([0, 0.4, 1])
    for (let bucket = 0; bucket < 256; bucket++) if (this.random.chance(share)) addBucket(buckets, bucket)
    return {
      queue,
      server: `s${this.random.integer(3)}`,
      buckets,
      max: 1 + this.random.integer(5),
      stealUnkeyed: this.random.chance(0.5),
      leaseMs: LEASE_MS,
    }
  }

  #someLease(): LeaseRef | undefined {
    const ref = this.random.pick(this.#leases)
    if (ref === undefined || !this.random.chance(0.05)) return ref
    return this.random.pick([
      { ...ref, fence: ref.fence + 1 },
      { ...ref, secret: `${ref.secret}x` },
      { ...ref, id: this.random.pick(this.#ids) },
    ])
  }

  #answer(): { status: number; reason: string; headers: string[]; body: Buffer } {
    return { status: 200, reason: 'OK', headers: ['a', 'b'], body: this.random.bytes(this.random.integer(20)) }
  }

  #remember(id: string): void {
    this.#ids = [...this.#ids, id].slice(-MEMORY)
  }

  #now(): Now {
    return { wall: this.#clock.now(), monotonic: this.#clock.monotonic() }
  }
}
