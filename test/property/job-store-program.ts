/** One random program: makes a step on the store and on the model, and compares the answers. The store that it is given is watched. */
import assert from 'node:assert/strict'
import type { JobCommand, JobStore, Lease, LeaseRef, LeaseRequest, NewJob, Settlement, StoredJob } from '../../src/ports/job-store.ts'
import type { ManualClock } from '../support/manual-clock.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { Chooser, LEASE_MS, QUEUES } from './job-store-chooser.ts'
import { isEnded, JobStoreModel, type ModelJob, type Now, slot } from './job-store-model.ts'
import { ModelWorks } from './job-store-model-works.ts'

/** Ended jobs and leases that the program still remembers and tries again. */
const MEMORY = 60
const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz'

export class Program {
  store: JobStore
  readonly random: SeededRandom
  readonly model: JobStoreModel = new JobStoreModel()
  readonly works: ModelWorks = new ModelWorks(this.model)
  steps = 0
  /** What was done last, for the message. */
  last = ''
  readonly #clock: ManualClock
  readonly #choose: Chooser
  #leases: LeaseRef[] = []
  #ids: string[] = []
  /** Queues of which a lease for all buckets got less than it asked for, and that nobody has called ready since. */
  readonly #exhausted = new Set<string>()
  readonly #ways: readonly (readonly [weight: number, way: () => Promise<void>])[]

  constructor(store: JobStore, clock: ManualClock, random: SeededRandom) {
    this.store = store
    this.#clock = clock
    this.random = random
    this.#choose = new Chooser(random)
    for (const { name, limits, rules } of QUEUES) this.model.addQueue(name, limits.jobs, rules)
    this.#ways = [
      [26, () => this.#submit()],
      [22, () => this.#lease()],
      [22, () => this.#settle()],
      [4, () => this.#extend()],
      [5, () => this.#cancel()],
      [2, () => this.#progress()],
      [2, () => this.#configure()],
      [1, () => this.#pause()],
      [3, () => this.#redrive()],
      [2, () => this.#move()],
      [2, () => this.#forget()],
      [3, () => this.#release()],
      [4, () => this.#followSome()],
      [1, () => this.#schedule()],
      [1, () => this.#begin()],
      [1, () => this.#look()],
      [1, () => this.#jump()],
      [0.3, () => this.#handBackAgainAndAgain()],
      [9, () => this.pass(this.random.pick([0, 1, 50, 400, 1000, 3000, 20_000]))],
    ]
  }

  async step(): Promise<void> {
    this.steps += 1
    let dice = this.random.unit() * this.#ways.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, way] of this.#ways) {
      dice -= weight
      if (dice < 0) return way()
    }
  }

  reopened(store: JobStore): void {
    this.last = 'reopen'
    this.store = store
    for (const { name, limits, rules } of QUEUES) this.model.configure(name, { jobs: limits.jobs, age: undefined, rules })
    this.model.reopen(this.#now())
    this.works.reopen()
    this.#exhausted.clear()
  }

  /** All jobs and all figures are the model's. */
  async compareAll(): Promise<void> {
    const ids = [...this.model.jobs.map(({ id }) => id), ...this.#ids]
    for (const [at, read] of (await this.store.read(ids, 'result')).entries()) {
      const expected = this.model.find(ids[at] as string)
      assert.equal(read !== undefined, expected !== undefined, `job ${ids[at]} is there`)
      if (read === undefined || expected === undefined) continue
      this.#compare(read.job, expected)
      assert.equal(read.answer && Buffer.from(read.answer.body).toString('base64'), expected.answer)
    }
    await this.#compareStats()
    await this.#compareWorks()
    for (const { name } of QUEUES) await this.#compareKeys(name)
  }

  /** Works off all there is, until nothing is left to do. */
  async drain(): Promise<void> {
    await this.#carryOut({ kind: 'unschedule', name: 's0' })
    await this.#carryOut({ kind: 'unschedule', name: 's1' })
    this.works.schedules = []
    for (const { name, limits, rules } of QUEUES) {
      await this.store.command([{ kind: 'configure', queue: name, limits, rules }])
      this.model.configure(name, { jobs: limits.jobs, age: undefined, rules })
      if (this.model.queue(name).paused) await this.#setPaused(name, false)
    }
    for (let round = 0; this.model.jobs.some((job) => !isEnded(job) || job.blocksKey); round++) {
      assert.ok(round < 500, 'it comes to an end')
      // The clock was set back, so that some wait for hours.
      await this.pass(round % 3 === 0 ? 3_600_000 : 3000)
      for (const { name } of QUEUES) {
        const { bytesMax: _, ...request } = this.#choose.leaseRequest(name, 1)
        for (const { ref: lease } of await this.#leaseWith({ ...request, max: 50 })) {
          await this.#settleWith({ kind: 'succeed', lease, answer: this.#choose.answer() })
        }
      }
      for (const job of this.model.jobs.filter(({ blocksKey }) => blocksKey)) {
        await this.#releaseKey(job.queue, job.spec.key ?? '')
      }
    }
    await this.#followSome(1)
    await this.compareAll()
  }

  /** Until nothing is kept any more. */
  async forgetAll(): Promise<void> {
    for (let round = 0; round < 3; round++) await this.pass(100 * 86_400_000)
    assert.deepEqual(this.model.jobs, [])
    await this.compareAll()
  }

  async pass(ms: number): Promise<void> {
    this.last = `pass ${ms}`
    this.#clock.advance(ms)
    for (;;) {
      const tick = await this.store.tick()
      const made: ModelJob[] = []
      const changed = this.model.sweep(this.#now())
      this.works.runSchedules(this.#now(), (spec) => {
        if (!this.model.hasRoom(spec.queue, this.#now())) return false
        // Later than all others; how much is known when its id is.
        made.push(this.model.accept('', (this.model.jobs.at(-1)?.seq ?? 0) + 1, spec, this.#now()))
        return true
      })
      changed.push(...this.works.runTasks(this.#now()))
      this.model.rouse(this.#now())
      changed.push(...this.model.takeUntold())
      await this.#name(made)
      const seen = tick.changed.map(({ id, status }) => `${id} ${status}`)
      assert.deepEqual(
        seen.toSorted(),
        changed.map(({ job: { id }, status }) => `${id} ${status}`).toSorted(),
        'exactly what changed is told',
      )
      for (const queue of tick.ready) this.#exhausted.delete(queue)
      if (tick.nextMs !== 0) break
    }
    for (const queue of this.#exhausted) {
      assert.equal(this.model.couldHandOut(queue, this.#now()), false, `that ${queue} has something to hand out was not told`)
    }
  }

  /** What a schedule made is known by its id only now. */
  async #name(made: readonly ModelJob[]): Promise<void> {
    if (made.length === 0) return
    const { jobs } = await this.store.browse({ filter: {}, newestFirst: true, max: made.length })
    for (const [at, job] of jobs.toReversed().entries()) {
      const expected = made[at] as ModelJob
      assert.equal(job.reference, expected.spec.reference, 'the schedule that was due has made it')
      expected.id = job.id
      expected.seq = sequenceOf(job.id)
      expected.bucket = job.bucket
      this.#remember(job.id)
    }
  }

  async #submit(): Promise<void> {
    const batch = Array.from({ length: 1 + this.random.integer(3) }, () => this.#choose.job())
    this.last = `submit ${JSON.stringify(batch.map((job) => ({ ...job, request: job.request.headers })))}`
    const submitted = await this.store.submit(batch)
    for (const [at, outcome] of submitted.entries()) {
      const spec = batch[at] as NewJob
      const verdict = this.model.known(spec) ?? (this.model.hasRoom(spec.queue, this.#now()) ? 'created' : 'refused')
      assert.equal(outcome.kind, verdict)
      if (outcome.kind === 'duplicate') {
        assert.equal(this.model.find(outcome.job.id)?.spec.idempotency?.scopeKey, spec.idempotency?.scopeKey)
      }
      if (outcome.kind !== 'created') continue
      this.#remember(outcome.job.id)
      this.#exhausted.delete(spec.queue)
      const expected = this.model.accept(outcome.job.id, sequenceOf(outcome.job.id), spec, this.#now())
      // A later one of the batch may already have pushed it out.
      if (at === submitted.length - 1) this.#compare(outcome.job, expected)
    }
  }

  async #lease(): Promise<void> {
    await this.#leaseWith(this.#choose.leaseRequest(this.#choose.queue()))
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
    const wasAll = request.bytesMax === undefined && request.buckets.every((byte) => byte === 0xff)
    if (leases.length < request.max && wasAll) this.#exhausted.add(request.queue)
    for (const [at, lease] of leases.entries()) {
      const job = expected[at] as ModelJob
      const keptMs = request.keeps === true ? request.leaseMs : undefined
      job.lease = { ref: lease.ref, until: this.#clock.monotonic() + request.leaseMs, keptMs }
      assert.equal(Buffer.from(lease.request.body).toString(), job.body)
      this.#compare(lease.job, job)
      this.#leases = [...this.#leases, lease.ref].slice(-MEMORY)
    }
    return leases
  }

  async #settle(): Promise<void> {
    const lease = this.#someLease()
    if (lease !== undefined) await this.#settleWith(this.#choose.settlement(lease))
  }

  /** Else no job would come back often enough to be poison. */
  async #handBackAgainAndAgain(): Promise<void> {
    const request = { ...this.#choose.leaseRequest(this.#choose.queue()), max: 2 }
    for (let round = 0; round < 12; round++) {
      const leases = await this.#leaseWith(request)
      for (const { ref } of leases) await this.#settleWith({ kind: 'handBack', lease: ref, afterMs: 0, answer: this.#choose.answer() })
    }
  }

  async #settleWith(settlement: Settlement): Promise<void> {
    this.last = `settle ${JSON.stringify({ ...settlement, answer: undefined })}`
    const [outcome] = await this.store.settle([settlement])
    const expected = this.model.settle(settlement, this.#now())
    assert.equal(outcome?.kind, expected.kind)
    if (outcome === undefined || !('job' in outcome) || expected.job === undefined) return
    if (outcome.kind === 'settled' && outcome.ready === true) this.#exhausted.delete(expected.job.queue)
    this.#compare(outcome.job, expected.job)
  }

  async #extend(): Promise<void> {
    const lease = this.#someLease()
    if (lease === undefined) return
    this.last = `extend ${JSON.stringify(lease)}`
    const job = this.model.live(lease)
    const forMs = this.random.pick([LEASE_MS / 2, LEASE_MS, 2 * LEASE_MS])
    assert.deepEqual(await this.store.extend([lease], forMs), [job === undefined ? 'stale' : 'extended'])
    if (job?.lease === undefined) return
    const { keptMs } = job.lease
    job.lease.until = this.#clock.monotonic() + forMs
    // Over a restart it is to last as long as its holder was told.
    if (keptMs !== undefined) job.lease.keptMs = Math.max(keptMs, forMs)
    if (job.lease.deferred === undefined) return
    job.lease.keptMs = forMs
    job.lease.deferred.until = this.#clock.now() + forMs
  }

  async #carryOut(command: JobCommand): Promise<Awaited<ReturnType<JobStore['command']>>[number]> {
    this.last = JSON.stringify(command)
    const [outcome] = await this.store.command([command])
    return outcome ?? assert.fail('no answer')
  }

  /** The command has this outcome, and the job is the model's. */
  async #expect(command: JobCommand, expected: string): Promise<Awaited<ReturnType<JobStore['command']>>[number]> {
    const outcome = await this.#carryOut(command)
    assert.equal(outcome.kind, expected)
    if (!('job' in outcome) || outcome.job === undefined) return outcome
    this.#compare(outcome.job, this.model.find(outcome.job.id) ?? assert.fail('the model has it'))
    return outcome
  }

  async #cancel(): Promise<void> {
    const id = this.#someId()
    const onlyUnbegun = this.random.chance(0.5)
    const running = this.model.find(id)?.lease?.ref
    const expected = this.model.cancel(id, onlyUnbegun, this.#now())
    const outcome = await this.#expect({ kind: 'cancel', id, onlyUnbegun }, expected)
    if (outcome.kind === 'done') assert.deepEqual(outcome.aborted, running)
  }

  async #progress(): Promise<void> {
    const lease = this.#someLease()
    if (lease === undefined) return
    const known = this.model.find(lease.id)
    const expected = known === undefined ? 'missing' : known.lease?.ref.secret === lease.secret ? 'done' : 'stale'
    await this.#expect({ kind: 'progress', id: lease.id, secret: lease.secret, progress: '{}' }, expected)
  }

  async #configure(): Promise<void> {
    const queue = this.#choose.queue()
    const { limits, rules } = this.#choose.settings()
    this.model.configure(queue, { jobs: limits.jobs, age: limits.age, rules })
    await this.#expect({ kind: 'configure', queue, limits, rules }, 'done')
  }

  async #pause(): Promise<void> {
    await this.#setPaused(this.#choose.queue(), this.random.chance(0.3))
  }

  async #setPaused(name: string, paused: boolean): Promise<void> {
    const queue = this.model.queue(name)
    const expected = queue.paused === paused ? 'unchanged' : 'done'
    queue.paused = paused
    await this.#expect({ kind: paused ? 'pause' : 'resume', queue: name }, expected)
  }

  async #redrive(): Promise<void> {
    const id = this.#someId(({ dead }) => dead !== undefined)
    const job = this.model.find(id)
    const to = this.random.chance(0.3) ? this.#choose.queue() : undefined
    const delayMs = this.random.pick([0, 0, 0, 700])
    const request = this.random.chance(0.2) ? this.#choose.request() : undefined
    const expected = job === undefined ? 'missing' : this.model.redrive(job, to ?? job.queue, delayMs, this.#now())
    if (job !== undefined && expected === 'done' && request !== undefined) job.body = Buffer.from(request.body).toString()
    await this.#expect({ kind: 'redrive', id, delayMs, ...(to !== undefined && { queue: to }), ...(request && { request }) }, expected)
  }

  async #move(): Promise<void> {
    const id = this.#someId((job) => !isEnded(job))
    const queue = this.#choose.queue()
    const job = this.model.find(id)
    await this.#expect({ kind: 'move', id, queue }, job === undefined ? 'missing' : this.model.move(job, queue, this.#now()))
  }

  async #forget(): Promise<void> {
    const id = this.#someId(isEnded)
    const job = this.model.find(id)
    await this.#expect({ kind: 'forget', id }, job === undefined ? 'missing' : this.model.forget(job))
  }

  /** The outbox is the model's, and some of it is done. */
  async #followSome(share = 0.6): Promise<void> {
    this.last = 'follow ups'
    const due = await this.store.followUps(1000)
    assert.deepEqual(
      due.map(({ id }) => id).toSorted(),
      this.model.jobs.flatMap((job) => (job.due ? [job.id] : [])).toSorted(),
      'what is still to follow',
    )
    for (const { id, version } of due) if (this.random.chance(share)) await this.#followed(id, version)
    const other = this.random.pick(due)
    if (other !== undefined) await this.#expect({ kind: 'followed', id: other.id, version: other.version + 1 }, 'unchanged')
  }

  async #followed(id: string, version: number): Promise<void> {
    const job = this.model.find(id)
    await this.#expect({ kind: 'followed', id, version }, job === undefined ? 'missing' : this.model.followed(job))
  }

  async #release(): Promise<void> {
    const blocked = this.model.jobs.filter(({ blocksKey }) => blocksKey)
    const job = this.random.chance(0.8) ? this.random.pick(blocked) : undefined
    await this.#releaseKey(job?.queue ?? this.#choose.queue(), job?.spec.key ?? this.#choose.key())
  }

  async #releaseKey(queue: string, key: string): Promise<void> {
    await this.#expect({ kind: 'release', queue, key }, this.model.release(queue, key))
  }

  async #schedule(): Promise<void> {
    const name = this.random.pick(['s0', 's1'])
    if (this.random.chance(0.2)) {
      await this.#expect({ kind: 'unschedule', name }, this.works.drop(name) ? 'done' : 'missing')
      return
    }
    const everyMs = this.random.pick([60_000, 600_000])
    const startAt = this.#clock.now() + this.random.pick([-5000, 0, 1, 3000])
    const { idempotency: _, ...job } = { ...this.#choose.job(), reference: `schedule ${name}` }
    const how = { name, missed: this.random.pick(['skip', 'once', 'all'] as const), paused: this.random.chance(0.2) }
    this.works.put({ ...how, everyMs, startAt, spec: job }, this.#now())
    await this.#expect({ kind: 'schedule', schedule: { ...how, when: { everyMs, startAt }, job } }, 'done')
  }

  async #begin(): Promise<void> {
    const running = this.works.tasks.filter(({ over }) => !over)
    const stopped = this.random.pick(running)
    if (stopped !== undefined && this.random.chance(0.3)) {
      stopped.over = true
      await this.#expect({ kind: 'stop', task: stopped.id }, 'done')
      return
    }
    if (running.length > 5) return
    const task = this.#choose.task()
    const outcome = await this.#expect({ kind: 'begin', task }, 'done')
    const last = Math.max(0, ...this.#ids.map(sequenceOf))
    const { kind, filter, to, perSecond } = task
    this.works.begin({ id: (outcome.kind === 'done' && outcome.task) || 0, kind, filter, to, perSecond, last }, this.#now())
  }

  /** At what it is asked for, and at the stories of some. */
  async #look(): Promise<void> {
    const filter = this.#choose.filter(this.#clock.now())
    const newestFirst = this.random.chance(0.5)
    this.last = `browse ${JSON.stringify(filter)}`
    const expected = this.model.jobs.filter((job) => this.model.meets(job, filter)).map(({ id }) => id)
    const ids: string[] = []
    for (let after: string | undefined; ; ) {
      const page = await this.store.browse({ filter, newestFirst, max: 7, ...(after !== undefined && { after }) })
      ids.push(...page.jobs.map(({ id }) => id))
      after = page.next
      if (after === undefined) break
    }
    assert.deepEqual(ids, newestFirst ? expected.toReversed() : expected)
    const job = this.random.pick(this.model.jobs)
    if (job === undefined) return
    const [history] = await this.store.read([job.id], 'history')
    assert.deepEqual(
      history?.history?.map(({ handOut, outcome, attempt }) => [handOut, outcome, attempt]),
      job.story.map(([outcome, attempt], at) => [at + 1, outcome, attempt]),
      'the story of its hand-outs',
    )
    const [request] = await this.store.read([job.id], 'request')
    const kept = !isEnded(job) || job.dead !== undefined
    assert.equal(request?.request && Buffer.from(request.request.body).toString(), kept ? job.body : undefined)
  }

  async #jump(): Promise<void> {
    this.#clock.jump(this.random.pick([-3_600_000, -500, 500, 3_600_000]))
  }

  #compare(job: StoredJob, expected: ModelJob): void {
    const { id, status, handOuts, dead, bucket, answer, queue, blocksKey, redrives, counted, place } = expected
    const attempt = counted + (place === 'running' ? 1 : 0)
    assert.equal(job.followUpDue === true, expected.due, 'something is to follow from its end')
    const is = [job.id, job.status, job.queue, job.attempt, job.handOuts, job.dead, job.bucket, job.hasAnswer, job.blocksKey, job.redrives]
    assert.deepEqual(is, [id, status, queue, attempt, handOuts, dead, bucket, answer !== undefined, blocksKey, redrives])
    if (place !== 'running' && status !== 'succeeded' && status !== 'cancelled') assert.equal(job.error?.code, expected.error)
    assert.equal(job.deferredUntil, expected.lease?.deferred?.until, 'deferred until')
    const blocker = place === 'behind' ? this.model.holders.get(slot(queue, expected.spec.key ?? ''))?.id : undefined
    assert.equal(job.blockedBy, blocker, 'the job that has to end before it')
    assert.equal(job.position !== undefined, place === 'ready' || place === 'behind', 'who waits for a server has a place')
  }

  async #compareStats(): Promise<void> {
    for (const stats of await this.store.stats()) {
      const waiting = this.model.waiting(stats.queue)
      assert.equal(stats.oldestWaitingAt, waiting[0]?.submittedAt, 'oldest waiting')
      assert.equal(stats.paused, this.model.queue(stats.queue).paused)
      const expected: Record<string, number> = {}
      for (const { dead } of this.model.in(stats.queue)) if (dead !== undefined) expected[dead] = (expected[dead] ?? 0) + 1
      assert.deepEqual({ ...stats.dead }, expected, 'dead letters by reason')
    }
  }

  async #compareWorks(): Promise<void> {
    const schedules = await this.store.schedules()
    assert.deepEqual(
      schedules.map(({ name, queue, nextAt, made, missedCount, paused }) => [name, queue, nextAt, made, missedCount, paused]),
      this.works.schedules
        .map(({ name, spec, nextAt, made, missedCount, paused }) => [name, spec.queue, nextAt, made, missedCount, paused] as const)
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
      'schedules',
    )
    const listed = await this.store.tasks()
    // Of those that are over the store remembers some.
    this.works.tasks = this.works.tasks.filter((task) => !task.over || listed.some(({ id }) => id === task.id))
    assert.deepEqual(
      listed.map(({ id, done, refused, endedAt }) => [id, done, refused, endedAt !== undefined]),
      this.works.tasks.map(({ id, done, refused, over }) => [id, done, refused, over]),
      'tasks',
    )
  }

  async #compareKeys(queue: string): Promise<void> {
    const held = [...this.model.holders.values()].filter((job) => job.queue === queue)
    const behind = (key: string | undefined): number =>
      this.model.in(queue).filter(({ place, spec }) => place === 'behind' && spec.key === key).length
    const expected = held.map(({ id, spec, status, blocksKey }) => [spec.key, id, status, blocksKey, behind(spec.key)])
    const keys = await this.store.keys({ queue, blockedOnly: false, max: 1000 })
    assert.deepEqual(
      keys.map(({ key, holder, status, blocked, waiting }) => [key, holder, status, blocked, waiting]).toSorted(byKey),
      expected.toSorted(byKey),
      'held keys',
    )
  }

  /** Any that is remembered; more often one of these. */
  #someId(isWanted: (job: ModelJob) => boolean = () => true): string {
    const wanted = this.random.chance(0.8) ? this.random.pick(this.model.jobs.filter(isWanted)) : undefined
    return wanted?.id ?? this.random.pick(this.#ids) ?? 'none'
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

  #remember(id: string): void {
    this.#ids = [...this.#ids, id].slice(-MEMORY)
  }

  #now(): Now {
    return { wall: this.#clock.now(), monotonic: this.#clock.monotonic() }
  }
}

function byKey(a: readonly unknown[], b: readonly unknown[]): number {
  return String(a[0]) < String(b[0]) ? -1 : 1
}

/** The number that the id is the text of. */
function sequenceOf(id: string): number {
  return Array.from(id).reduce((sum, digit) => sum * 32 + DIGITS.indexOf(digit), 0)
}
