/**
 * Dispatch on a virtual clock: servers that answer, fail, hang, refuse and pause at random, go down and come back; jobs with and without keys,
 * delays and cancels. Whatever the seed: limits hold at every step, keys stay in order, and when the faults stop everything drains.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { createJobs } from '../../src/jobs/jobs.ts'
import { createLocalBus } from '../../src/jobs/local-bus.ts'
import type { Pool, PoolChange, Server } from '../../src/pools/pool.ts'
import type { StoredJob } from '../../src/ports/job-store.ts'
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
  #freed: ((server: Server) => void)[] = []

  constructor(clock: ManualClock) {
    this.#clock = clock
    this.servers = this.config.servers.map(
      (config) =>
        ({
          name: config.name,
          pool: 'api',
          config,
          state: 'up',
          inFlight: 0,
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

  majorityDown(): boolean {
    return this.upServers().length * 2 < this.servers.length
  }

  freeSlots(server: Server): number {
    return server.state !== 'up' || server.pausedUntil > this.#clock.monotonic() ? 0 : SLOTS - server.inFlight
  }

  reserve(server: Server): boolean {
    if (this.freeSlots(server) <= 0) return false
    server.inFlight++
    return true
  }

  release(server: Server): void {
    server.inFlight--
    assert.ok(server.inFlight >= 0, 'a slot was released twice')
    for (const listener of this.#freed) listener(server)
  }

  pause(server: Server, forMs: number): void {
    server.pausedUntil = this.#clock.monotonic() + forMs
    this.#clock.after(forMs + 1, () => this.#freed.forEach((listener) => listener(server)))
  }

  onChange(listener: (change: PoolChange) => void): () => void {
    this.#changed.push(listener)
    return () => void (this.#changed = this.#changed.filter((each) => each !== listener))
  }

  onSlotFree(listener: (server: Server) => void): () => void {
    this.#freed.push(listener)
    return () => void (this.#freed = this.#freed.filter((each) => each !== listener))
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
    return { outcome, abort: (code, detail) => abort(code, detail) }
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

async function simulate(seed: number): Promise<void> {
  const random = new SeededRandom(seed)
  const clock = new ManualClock()
  const pool = new SimPool(clock)
  const upstream = new SimUpstream(clock, random, pool)
  const queue = testQueue({ name: 'work', concurrency: CONCURRENCY, attempts: 1000, timeoutMs: 5000, backoff: { baseMs: 10, maxMs: 400 } })
  const config = testConfig({ pools: [pool.config], queues: [queue], routes: [] })
  const store = openMemoryStore({ clock, random, queues: config.queues, events: {} })
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
  const accepted: StoredJob[] = []
  const waits: Promise<unknown>[] = []

  const submit = async (): Promise<void> => {
    const key = random.chance(0.6) ? `/k${random.integer(5)}` : undefined
    const submitted = await jobs.submit({
      queue: 'work',
      route: 'r',
      request: { method: 'POST', target: key ?? '/', headers: [], body: new Uint8Array(0) },
      priority: random.integer(3),
      attempts: queue.attempts,
      keepMs: 1e9,
      keepDeadMs: 1e9,
      sendOnce: false,
      ...(key === undefined ? {} : { key }),
      ...(key === undefined && random.chance(0.2) ? { delayMs: random.integer(500) } : {}),
    })
    assert.ok(submitted.kind === 'created')
    accepted.push(submitted.job)
    if (random.chance(0.5)) waits.push(jobs.waitEnd(submitted.job.id, 1e9, { fresh: true }))
  }

  for (let step = 0; step < STEPS; step++) {
    if (accepted.length < JOBS && random.chance(0.6)) await submit()
    if (random.chance(0.03)) pool.become(random.pick(pool.servers), 'down', 'check')
    for (const server of pool.servers) if (server.state === 'down' && random.chance(0.1)) pool.become(server, 'up', 'check')
    if (accepted.length > 0 && random.chance(0.02)) await jobs.cancel(random.pick(accepted).id, random.chance(0.5))
    clock.advance(random.integer(40))
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
  for (const server of pool.servers) assert.equal(server.inFlight, 0, 'a slot was lost')
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
