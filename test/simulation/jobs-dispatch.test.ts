/**
 * Dispatch on a virtual clock: servers that answer, fail, hang, refuse and pause at random, go down and come back; jobs with and without keys,
 * delays and cancels; the process itself is stopped now and then. Whatever the seed: limits hold at every step, keys stay in order, and when the faults stop everything drains.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LocalTally } from '../../src/lib/tally.ts'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { createJobs, type Jobs } from '../../src/jobs/jobs.ts'
import { createLocalBus } from '../../src/jobs/local-bus.ts'
import type { Pool } from '../../src/pools/pool.ts'
import type { PoolChange, SlotSeeker } from '../../src/pools/pool-types.ts'
import type { Server } from '../../src/pools/server.ts'
import { ServerMeter } from '../../src/pools/server-meter.ts'
import type { JobStore, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import type { Attempt, AttemptOutcome, OutgoingRequest, Upstream } from '../../src/upstream/upstream.ts'
import { recordingTelemetry } from '../support/jobs-rig.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { testConfig, testPool, testQueue } from '../support/test-config.ts'

const CONCURRENCY = 4
const SLOTS = 6
const JOBS = 150
const STEPS = 400

type SimServer = Server & { state: 'up' | 'down' }

/** A pool whose servers go up and down when the simulation says so. */
class SimPool {
  readonly name = 'api'
  readonly config = testPool('api', [1, 2, 3], { maxInFlight: SLOTS, slowStartMs: 500, failoverGraceMs: 300 })
  readonly servers: SimServer[]
  readonly #clock: ManualClock
  #changed: ((change: PoolChange) => void)[] = []
  #seekers: SlotSeeker[] = []

  constructor(clock: ManualClock) {
    this.#clock = clock
    this.servers = this.config.servers.map(
      (config) =>
        ({
          name: config.name,
          pool: 'api',
          config,
          configuredWeight: config.weight,
          leaving: false,
          backup: false,
          state: 'up',
          taken: new LocalTally(),
          upSince: 0,
          returned: false,
          downSince: 0,
          downReason: '',
          pausedUntil: 0,
        }) as unknown as SimServer,
    )
  }

  upServers(): Server[] {
    return this.servers.filter((server) => server.state === 'up')
  }

  meterOf(server: Server): ServerMeter {
    return (server.meter ??= new ServerMeter(recordingTelemetry([]).metrics, server))
  }

  /** Nobody is judged here. */
  observe(): void {}

  inUse(): readonly Server[] {
    return this.upServers()
  }

  majorityDown(): boolean {
    return this.upServers().length * 2 < this.servers.length
  }

  freeSlots(server: Server): number {
    return server.state !== 'up' || server.pausedUntil > this.#clock.monotonic() ? 0 : SLOTS - server.taken.value
  }

  reserve(server: Server): boolean {
    if (this.freeSlots(server) <= 0) return false
    return server.taken.take(SLOTS)
  }

  releaseJob(server: Server): void {
    server.taken.give()
    assert.ok(server.taken.value >= 0, 'a slot was released twice')
    for (const seeker of this.#seekers) seeker.slotFree(server)
  }

  pause(server: Server, forMs: number): void {
    server.pausedUntil = this.#clock.monotonic() + forMs
    this.#clock.after(forMs + 1, () => this.#seekers.forEach((seeker) => seeker.slotFree(server)))
  }

  onChange(listener: (change: PoolChange) => void): () => void {
    this.#changed.push(listener)
    return () => void (this.#changed = this.#changed.filter((each) => each !== listener))
  }

  onMembers(): () => void {
    return () => undefined
  }

  onSlotFree(seeker: SlotSeeker): () => void {
    this.#seekers.push(seeker)
    return () => void (this.#seekers = this.#seekers.filter((each) => each !== seeker))
  }

  become(server: SimServer, to: 'up' | 'down', cause: PoolChange['cause']): void {
    if (server.state === to) return
    server.state = to
    server.returned = to === 'up'
    if (to === 'up') server.upSince = this.#clock.monotonic()
    else server.downSince = this.#clock.monotonic()
    for (const listener of this.#changed) listener({ server, to, reason: 'simulated', cause })
  }
}

interface Running {
  readonly id: string
  readonly key: string
  readonly server: SimServer
  readonly finish: (outcome: AttemptOutcome) => void
}

/** Servers that work as long as, and end as, chance has it. */
class SimUpstream {
  readonly running = new Set<Running>()
  readonly begun = new Map<string, number>()
  readonly succeeded = new Set<string>()
  readonly lastOfKey = new Map<string, string>()
  faults = true
  readonly #clock: ManualClock
  readonly #random: SeededRandom
  readonly #pool: SimPool

  constructor(clock: ManualClock, random: SeededRandom, pool: SimPool) {
    this.#clock = clock
    this.#random = random
    this.#pool = pool
  }

  attempt(_: Pool, server: SimServer, request: OutgoingRequest): Attempt {
    const id = request.headers[request.headers.indexOf('Spillway-Job') + 1] as string
    const key = request.target
    assert.equal(server.state, 'up', 'sent to a server that is not up')
    assert.ok(!this.succeeded.has(id), 'a job that succeeded was sent again')
    let abort: Attempt['abort'] = () => undefined
    const outcome = new Promise<AttemptOutcome>((resolve) => {
      const one: Running = {
        id,
        key,
        server,
        finish: (ended) => {
          if (!this.running.delete(one)) return
          if (ended.kind === 'answer' && ended.answer.status === 200) this.succeeded.add(id)
          resolve(ended)
        },
      }
      if (key !== '/') this.#checkKey(one)
      this.running.add(one)
      const mine = [...this.running].filter((each) => each.server === server)
      assert.ok(mine.length <= CONCURRENCY, `${mine.length} on one server`)
      this.begun.set(id, (this.begun.get(id) ?? 0) + 1)
      this.#plan(one)
      abort = (code, detail) => one.finish({ kind: 'failed', code, detail, sent: true })
    })
    return { outcome, abort: (code, detail) => abort(code, detail), extend: () => undefined }
  }

  #checkKey(one: Running): void {
    assert.ok(![...this.running].some((each) => each.key === one.key), 'two jobs of one key at once')
    const last = this.lastOfKey.get(one.key) ?? ''
    assert.ok(one.id >= last, `${one.id} of ${one.key} after ${last}`)
    this.lastOfKey.set(one.key, one.id)
  }

  #plan(one: Running): void {
    const chance = this.faults ? this.#random.unit() : 1
    if (chance < 0.05) {
      one.finish({ kind: 'failed', code: 'connect_failed', detail: 'refused', sent: false })
      return this.#pool.become(one.server, 'down', 'connection')
    }
    // Hangs until it is broken off.
    if (chance < 0.08)
      return void this.#clock.after(5000, () => one.finish({ kind: 'failed', code: 'attempt_timeout', detail: 'slow', sent: true }))
    const afterMs = this.#random.integer(200)
    this.#clock.after(afterMs, () => {
      if (chance < 0.15) return one.finish({ kind: 'failed', code: 'connection_reset', detail: 'reset', sent: true })
      const status = chance < 0.22 ? 503 : chance < 0.26 ? 500 : 200
      one.finish({ kind: 'answer', answer: { status, reason: '', headers: [], body: new Uint8Array(0) } })
    })
  }
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const QUEUE = testQueue({ name: 'work', concurrency: CONCURRENCY, attempts: 1000, timeoutMs: 5000, backoff: { baseMs: 10, maxMs: 400 } })

interface SimParts {
  readonly clock: ManualClock
  readonly random: SeededRandom
  readonly pool: SimPool
  readonly upstream: Pick<Upstream, 'attempt'>
  /** Called when the store has handed out leases, before anybody hears of it. */
  readonly leased?: () => void
}

function start(parts: SimParts): { readonly store: JobStore; readonly jobs: Jobs } {
  const { clock, random, pool, upstream, leased } = parts
  const config = testConfig({ pools: [pool.config], queues: [QUEUE], routes: [] })
  const memory = openMemoryStore({ clock, random, queues: config.queues, events: {} })
  const lease: JobStore['lease'] = (requests) => {
    const leases = memory.lease(requests)
    leased?.()
    return leases
  }
  const store = { ...memory, lease }
  const jobs = createJobs({
    config,
    store,
    pools: new Map([['api', pool as unknown as Pool]]),
    upstream: upstream as unknown as Upstream,
    bus: createLocalBus(),
    clock,
    random,
    telemetry: recordingTelemetry([]),
    ownUrl: () => 'http://gateway',
  })
  jobs.start()
  return { store, jobs }
}

function newJob(change: Partial<NewJob> = {}): NewJob {
  return {
    queue: QUEUE.name,
    route: 'r',
    request: { method: 'POST', target: change.key ?? '/', headers: [], body: new Uint8Array(0) },
    priority: 0,
    attempts: QUEUE.attempts,
    keepMs: 1e9,
    keepDeadMs: 1e9,
    sendOnce: false,
    ...change,
  }
}

async function simulate(seed: number): Promise<void> {
  const random = new SeededRandom(seed)
  const clock = new ManualClock()
  const pool = new SimPool(clock)
  const upstream = new SimUpstream(clock, random, pool)
  const { store, jobs } = start({ clock, random, pool, upstream: upstream as unknown as Upstream })
  const accepted: StoredJob[] = []
  const waits: Promise<unknown>[] = []

  const submit = async (): Promise<void> => {
    const key = random.chance(0.6) ? `/k${random.integer(5)}` : undefined
    const submitted = await jobs.submit(
      newJob({
        priority: random.integer(3),
        ...(key === undefined ? {} : { key }),
        ...(key === undefined && random.chance(0.2) ? { delayMs: random.integer(500) } : {}),
      }),
    )
    assert.ok(submitted.kind === 'created')
    accepted.push(submitted.job)
    if (random.chance(0.5)) waits.push(jobs.waitEnd(submitted.job.id, 1e9, { fresh: true }))
  }

  for (let step = 0; step < STEPS; step++) {
    if (accepted.length < JOBS && random.chance(0.6)) await submit()
    if (random.chance(0.03)) pool.become(random.pick(pool.servers), 'down', 'check')
    for (const server of pool.servers) if (server.state === 'down' && random.chance(0.1)) pool.become(server, 'up', 'check')
    if (accepted.length > 0 && random.chance(0.02)) await jobs.cancel(random.pick(accepted).id, random.chance(0.5))
    // Stopped for longer than any lease: timers come before what has arrived meanwhile.
    clock.advance(random.chance(0.02) ? 60_000 : random.integer(40))
    await settle()
  }
  upstream.faults = false
  for (const server of pool.servers) pool.become(server, 'up', 'check')
  for (let step = 0; step < 400 && (await unfinished(accepted.map((job) => job.id))) > 0; step++) {
    clock.advance(200)
    await settle()
  }
  assert.equal(await unfinished(accepted.map((job) => job.id)), 0, 'everything drains')
  for (const read of await store.read(
    accepted.map((job) => job.id),
    'status',
  )) {
    const { status, id } = read!.job
    assert.ok(status === 'cancelled' || (status === 'succeeded' && upstream.succeeded.has(id)), status)
  }
  await Promise.all(waits)
  assert.deepEqual([jobs.inFlight, jobs.watchers, upstream.running.size], [0, 0, 0])
  for (const server of pool.servers) assert.equal(server.taken.value, 0, 'a slot was lost')
  await jobs.close()

  async function unfinished(ids: readonly string[]): Promise<number> {
    return (await store.read(ids, 'status')).filter((read) => read!.job.finishedAt === undefined).length
  }
}

test('limits, order and slots hold under faults, and everything drains when they stop', async (t) => {
  const first = seedOf()
  const rounds = process.env['SEED'] === undefined ? 12 : 1
  for (let round = 0; round < rounds; round++) {
    await t.test(`SEED=${first + round}`, () => simulate(first + round))
  }
})

/** A server that works on everything until the test says otherwise. */
class PatientUpstream {
  readonly begun: string[] = []
  readonly running = new Map<string, (outcome: AttemptOutcome) => void>()
  atOnce = 0

  attempt(_: Pool, __: Server, request: OutgoingRequest): Attempt {
    const id = request.headers[request.headers.indexOf('Spillway-Job') + 1] as string
    assert.ok(!this.running.has(id), 'one job twice at once')
    this.begun.push(id)
    let finish: (outcome: AttemptOutcome) => void = () => undefined
    const outcome = new Promise<AttemptOutcome>((resolve) => {
      finish = (ended) => {
        if (this.running.get(id) === finish) this.running.delete(id)
        resolve(ended)
      }
    })
    this.running.set(id, finish)
    this.atOnce = Math.max(this.atOnce, this.running.size)
    return { outcome, abort: (code, detail) => finish({ kind: 'failed', code, detail, sent: true }), extend: () => undefined }
  }

  answer(id: string): void {
    this.running.get(id)?.({ kind: 'answer', answer: { status: 200, reason: '', headers: [], body: new Uint8Array(0) } })
  }
}

function patientRig(leased?: () => void) {
  const clock = new ManualClock()
  const random = new SeededRandom(1)
  const pool = new SimPool(clock)
  const upstream = new PatientUpstream()
  const { store, jobs } = start({ clock, random, pool, upstream, ...(leased === undefined ? {} : { leased }) })
  const submit = async (change: Partial<NewJob> = {}): Promise<string> => {
    const submitted = await jobs.submit(newJob(change))
    assert.ok(submitted.kind === 'created')
    return submitted.job.id
  }
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await settle()
  }
  const statusOf = async (id: string): Promise<string | undefined> => (await jobs.read(id, 'status'))?.job.status
  const close = async (): Promise<void> => {
    const closed = jobs.close()
    await pass(1)
    return closed
  }
  return { clock, upstream, store, jobs, submit, pass, statusOf, close }
}

test('while its attempt is under way here, a job is nobody else’s, however long that takes', async () => {
  const { upstream, submit, pass, statusOf, close } = patientRig()
  const first = await submit({ key: '/k' })
  const second = await submit({ key: '/k' })
  const alone = await submit()
  for (let tenSeconds = 0; tenSeconds < 30; tenSeconds++) await pass(10_000)
  assert.deepEqual(upstream.begun, [first, alone])
  upstream.answer(first)
  upstream.answer(alone)
  await pass(0)
  assert.deepEqual([await statusOf(first), await statusOf(alone), upstream.begun.at(-1)], ['succeeded', 'succeeded', second])
  await close()
})

test('what had arrived when a stopped process goes on is settled before leases lapse', async () => {
  const { clock, upstream, submit, pass, statusOf, close } = patientRig()
  const id = await submit()
  await pass(0)
  // Nothing but timers runs until this returns.
  clock.after(60_000, () => upstream.answer(id))
  clock.advance(120_000)
  await pass(0)
  assert.deepEqual([await statusOf(id), upstream.begun], ['succeeded', [id]])
  await close()
})

test('where the store has given up a lease all the same, its attempt is broken off before the next one begins', async () => {
  for (const change of [{}, { key: '/k' }]) {
    const { clock, upstream, store, submit, pass, close } = patientRig()
    const id = await submit(change)
    await pass(0)
    clock.advance(60_000)
    await store.tick()
    await submit({ ...change, delayMs: 3_600_000 })
    for (let times = 0; times < 3; times++) await pass(25_000)
    assert.deepEqual([upstream.begun, upstream.atOnce], [[id, id], 1])
    await close()
  }
})

test('a job that dies with its lease keeps its key until its attempt is broken off', async () => {
  const { clock, upstream, store, submit, pass, statusOf, close } = patientRig()
  const first = await submit({ key: '/k', attempts: 1 })
  const second = await submit({ key: '/k' })
  await pass(0)
  clock.advance(60_000)
  await store.tick()
  assert.equal(await statusOf(first), 'failed')
  // Wakes the queue before anything else could tell that the lease is gone.
  await submit({ key: '/k' })
  for (let times = 0; times < 3; times++) await pass(1000)
  assert.deepEqual([upstream.begun, upstream.atOnce], [[first, second], 1])
  await close()
})

test('a job that is cancelled while its lease is on its way is never sent, and the next one of its key runs alone', async () => {
  let cancelled: Promise<unknown> | undefined
  let first = ''
  const { upstream, jobs, submit, pass, statusOf, close } = patientRig(() => {
    cancelled ??= first === '' ? undefined : jobs.cancel(first, false)
  })
  first = await submit({ key: '/k' })
  const second = await submit({ key: '/k' })
  await pass(0)
  assert.ok(cancelled !== undefined)
  assert.deepEqual([await statusOf(first), upstream.begun, upstream.atOnce], ['cancelled', [second], 1])
  upstream.answer(second)
  await pass(0)
  assert.equal(jobs.inFlight, 0)
  await close()
})
