/** What every conformance case starts from: a store with a clock that it moves itself, and short ways to say what it does. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import type { Millis } from '../../src/lib/units.ts'
import type {
  AttemptRecord,
  BrowseRequest,
  CommandOutcome,
  JobAnswer,
  JobCommand,
  JobError,
  JobFilter,
  JobId,
  JobRequest,
  JobStore,
  KeysRequest,
  KeyState,
  Lease,
  LeaseRef,
  LeaseRequest,
  NewJob,
  NewSchedule,
  NewTask,
  QueueLimits,
  QueueRules,
  QueueStats,
  ReadJob,
  ScheduleState,
  Settlement,
  SettleOutcome,
  StoredJob,
  StoreEvents,
  Submitted,
  TaskState,
  Tick,
} from '../../src/ports/job-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

export const NO_LIMITS: QueueLimits = { jobs: 1_000_000, bytes: 2 ** 40, finished: 2 ** 40 }
export const NO_RULES: QueueRules = { onFailure: 'skip', overflow: 'refuse' }
export const LEASE_MS: Millis = 60_000
export const ANSWER: JobAnswer = { status: 200, reason: 'OK', headers: ['Content-Type', 'text/plain'], body: Buffer.from('done') }
export const FAILURE: JobError = { code: 'server_error', detail: 'it said 500', status: 500 }

export interface OpenOptions {
  readonly clock: ManualClock
  readonly queues: readonly { readonly name: string; readonly limits: QueueLimits }[]
  readonly events: StoreEvents
}

/** How a suite gets a store; a durable one opens the same store again when `open` is called a second time. */
export interface StoreSource {
  open(options: OpenOptions): Promise<JobStore>
  dispose(): void | Promise<void>
  /** What was promised is there when it is opened again. */
  readonly durable?: boolean
  /** Calls fail on the way and are made again, so those that were made together may be done in another order. */
  readonly unordered?: boolean
}

export class Rig {
  readonly clock: ManualClock = new ManualClock()
  readonly corrupt: string[] = []
  readonly fatal: Error[] = []
  readonly syncs: number[] = []
  readonly #source: StoreSource
  #store: JobStore | undefined

  constructor(source: StoreSource) {
    this.#source = source
  }

  get durable(): boolean {
    return this.#source.durable === true
  }

  get unordered(): boolean {
    return this.#source.unordered === true
  }

  get store(): JobStore {
    assert.ok(this.#store, 'the store is open')
    return this.#store
  }

  async open(): Promise<void> {
    this.#store = await this.#source.open({
      clock: this.clock,
      queues: ['q', 'other'].map((name) => ({ name, limits: NO_LIMITS })),
      events: {
        onCorrupt: (what) => this.corrupt.push(what),
        onFatal: (error) => this.fatal.push(error),
        onSync: (_took, operations) => this.syncs.push(operations),
      },
    })
  }

  async reopen(): Promise<void> {
    await this.store.close()
    await this.open()
  }

  /** Opened again, where the engine outlives its process. */
  async restart(): Promise<void> {
    if (this.durable) await this.reopen()
  }

  async dispose(): Promise<void> {
    await this.#store?.close()
    await this.#source.dispose()
  }

  /** Time passes and the store notices. Says what it said. */
  async pass(ms: Millis): ReturnType<JobStore['tick']> {
    this.clock.advance(ms)
    return this.store.tick()
  }

  /** Nothing has happened, and nothing is due but that keys of submissions are forgotten, which may be long after their jobs. */
  assertIdle({ ready, changed, nextMs }: Tick): void {
    assert.deepEqual({ ready, changed }, { ready: [], changed: [] })
    if (nextMs === undefined || (this.unordered && nextMs > 3_600_000)) return
    assert.fail(`something is due in ${nextMs} ms`)
  }

  /** Until there is nothing left to do at this moment. Says whose status changed meanwhile. */
  async settleTime(): Promise<readonly StoredJob[]> {
    const changed: StoredJob[] = []
    for (;;) {
      const tick = await this.store.tick()
      changed.push(...tick.changed)
      if (tick.nextMs !== 0) return changed
    }
  }

  async submit(options: JobOptions = {}): Promise<StoredJob> {
    return created(await this.trySubmit(options))
  }

  async trySubmit(options: JobOptions = {}): Promise<Submitted> {
    return one(await this.store.submit([newJob(options)]))
  }

  async submitAll(options: readonly JobOptions[]): Promise<readonly StoredJob[]> {
    return (await this.store.submit(options.map(newJob))).map(created)
  }

  async lease(options: Partial<LeaseRequest> = {}): Promise<readonly Lease[]> {
    return one(await this.store.lease([leaseRequest(options)]))
  }

  /** Exactly one job is to be had. */
  async leaseOne(options: Partial<LeaseRequest> = {}): Promise<Lease> {
    return one(await this.lease({ max: 1, ...options }))
  }

  async leaseIds(options: Partial<LeaseRequest> = {}): Promise<readonly JobId[]> {
    return (await this.lease(options)).map(({ ref }) => ref.id)
  }

  async settle(settlement: Settlement): Promise<SettleOutcome> {
    return one(await this.store.settle([settlement]))
  }

  async settled(settlement: Settlement): Promise<StoredJob> {
    const outcome = await this.settle(settlement)
    assert.equal(outcome.kind, 'settled')
    return outcome.job
  }

  succeed(lease: LeaseRef, answer: JobAnswer = ANSWER): Promise<StoredJob> {
    return this.settled({ kind: 'succeed', lease, answer })
  }

  retry(lease: LeaseRef, afterMs: Millis = 1000, answer?: JobAnswer): Promise<StoredJob> {
    return this.settled({ kind: 'retry', lease, afterMs, error: FAILURE, ...(answer && { answer }) })
  }

  handBack(lease: LeaseRef, afterMs: Millis = 0): Promise<StoredJob> {
    return this.settled({ kind: 'handBack', lease, afterMs })
  }

  fail(lease: LeaseRef, deadLetter = false, answer?: JobAnswer): Promise<StoredJob> {
    return this.settled({ kind: 'fail', lease, error: FAILURE, deadLetter, ...(answer && { answer }) })
  }

  async command(command: JobCommand): Promise<CommandOutcome> {
    return one(await this.store.command([command]))
  }

  /** The command is carried out; the job as it is then. */
  async done(command: JobCommand): Promise<StoredJob> {
    const outcome = await this.command(command)
    assert.equal(outcome.kind, 'done', JSON.stringify(outcome))
    assert.ok(outcome.job, `${command.kind} tells of the job`)
    return outcome.job
  }

  cancel(id: JobId, onlyUnbegun = false): Promise<CommandOutcome> {
    return this.command({ kind: 'cancel', id, onlyUnbegun })
  }

  redrive(id: JobId, how: { readonly request?: JobRequest; readonly queue?: string; readonly delayMs?: Millis } = {}): Promise<StoredJob> {
    return this.done({ kind: 'redrive', id, ...how })
  }

  async configure(rules: Partial<QueueRules>, limits: Partial<QueueLimits> = {}, queue = 'q'): Promise<void> {
    const all = { limits: { ...NO_LIMITS, ...limits }, rules: { ...NO_RULES, ...rules } }
    assert.deepEqual(await this.command({ kind: 'configure', queue, ...all }), { kind: 'done' })
  }

  async schedule(schedule: Partial<NewSchedule> = {}): Promise<CommandOutcome> {
    return this.command({ kind: 'schedule', schedule: newSchedule(schedule, this.clock.now()) })
  }

  async scheduleState(name = 's'): Promise<ScheduleState> {
    const state = (await this.store.schedules()).find((each) => each.name === name)
    assert.ok(state, `schedule ${name} is listed`)
    return state
  }

  /** The number of a task that was begun. */
  async begin(task: Partial<Omit<NewTask, 'filter'>> & { readonly filter?: JobFilter } = {}): Promise<number> {
    const { filter, kind = 'redrive', ...rest } = task
    const outcome = await this.command({ kind: 'begin', task: { kind, filter: { queue: 'q', ...filter }, ...rest } })
    assert.equal(outcome.kind, 'done', JSON.stringify(outcome))
    return outcome.task ?? assert.fail('it has a number')
  }

  async task(id: number): Promise<TaskState> {
    return (await this.store.tasks()).find((task) => task.id === id) ?? assert.fail(`task ${id} is listed`)
  }

  async browseIds(request: Partial<BrowseRequest> = {}): Promise<readonly JobId[]> {
    return (await this.store.browse({ filter: {}, max: 100, ...request })).jobs.map(({ id }) => id)
  }

  keys(request: Partial<KeysRequest> = {}): Promise<readonly KeyState[]> {
    return this.store.keys({ queue: 'q', blockedOnly: false, max: 100, ...request })
  }

  async history(id: JobId): Promise<readonly AttemptRecord[]> {
    const read = one(await this.store.read([id], 'history'))
    return read?.history ?? assert.fail(`job ${id} has a history`)
  }

  /** The request as it is stored, its body as text. */
  async request(id: JobId): Promise<(Omit<JobRequest, 'body'> & { readonly body: string }) | undefined> {
    const read = one(await this.store.read([id], 'request'))
    return read?.request && { ...read.request, body: Buffer.from(read.request.body).toString() }
  }

  /** A job that failed for good. */
  async deadLetter(options: JobOptions = {}): Promise<StoredJob> {
    const { id } = await this.submit(options)
    const { ref } = await this.leaseOne({ queue: options.queue ?? 'q' })
    assert.equal(ref.id, id, 'it is the next')
    return this.fail(ref, true, ANSWER)
  }

  async read(id: JobId): Promise<StoredJob | undefined> {
    return one(await this.store.read([id], 'status'))?.job
  }

  async result(id: JobId): Promise<ReadJob | undefined> {
    return one(await this.store.read([id], 'result'))
  }

  async stats(queue = 'q'): Promise<QueueStats> {
    const stats = (await this.store.stats()).find((each) => each.queue === queue)
    assert.ok(stats, `queue ${queue} has statistics`)
    return stats
  }
}

export interface JobOptions extends Partial<Omit<NewJob, 'request'>> {
  readonly body?: Uint8Array
  readonly headers?: readonly string[]
  readonly method?: string
}

export function newJob(options: JobOptions = {}): NewJob {
  const { body = Buffer.from('in'), headers = ['Host', 'example.com'], method = 'POST', ...rest } = options
  return {
    queue: 'q',
    route: 'POST /reports',
    request: { method, target: '/reports?a=%2F', headers, body },
    priority: 4,
    attempts: 3,
    keepMs: 3_600_000,
    keepDeadMs: 7_200_000,
    sendOnce: false,
    ...rest,
  }
}

export function newSchedule(schedule: Partial<NewSchedule>, now: number): NewSchedule {
  return { name: 's', when: { everyMs: 60_000, startAt: now + 60_000 }, missed: 'skip', job: newJob(), paused: false, ...schedule }
}

/** Where a job can be, each with a way to get one there. */
export const PLACES: Readonly<Record<string, (rig: Rig, options?: JobOptions) => Promise<StoredJob>>> = {
  waiting: (rig, options) => rig.submit(options),
  delayed: (rig, options) => rig.submit({ delayMs: 5000, ...options }),
  running: async (rig, options) => {
    await rig.submit(options)
    return (await rig.leaseOne()).job
  },
  'waiting again': async (rig, options) => {
    await rig.submit(options)
    return rig.retry((await rig.leaseOne()).ref, 0)
  },
  retrying: async (rig, options) => {
    await rig.submit(options)
    return rig.retry((await rig.leaseOne()).ref, 5000)
  },
  succeeded: async (rig, options) => {
    await rig.submit(options)
    return rig.succeed((await rig.leaseOne()).ref)
  },
  failed: async (rig, options) => {
    await rig.submit(options)
    return rig.fail((await rig.leaseOne()).ref)
  },
  dead: (rig, options) => rig.deadLetter(options),
  cancelled: async (rig, options) => {
    const { id } = await rig.submit(options)
    return rig.done({ kind: 'cancel', id })
  },
  expired: async (rig, options) => {
    const { id } = await rig.submit({ expireAfterMs: 1, ...options })
    await rig.pass(1)
    return (await rig.read(id)) ?? assert.fail('it is kept')
  },
}

/** The case once for each place. */
export function atEachPlace(
  name: (place: string) => string,
  run: (rig: Rig, job: StoredJob, place: string) => Promise<void>,
  where: (place: string) => boolean = () => true,
  options: JobOptions = {},
): Record<string, (rig: Rig) => Promise<void>> {
  const places = Object.entries(PLACES).filter(([place]) => where(place))
  return Object.fromEntries(
    places.map(([place, make]) => [name(place), async (rig: Rig): Promise<void> => run(rig, await make(rig, options), place)]),
  )
}

export function leaseRequest(options: Partial<LeaseRequest> = {}): LeaseRequest {
  return { queue: 'q', server: 'a', buckets: allBuckets(), max: 100, stealUnkeyed: false, leaseMs: LEASE_MS, ...options }
}

export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export function idempotency(
  key: string,
  request = 'same',
  keepMs: Millis = 86_400_000,
): { idempotency: NonNullable<NewJob['idempotency']> } {
  return { idempotency: { scopeKey: digest(`key ${key}`), fingerprint: digest(`request ${request}`), keepMs } }
}

export function created(submitted: Submitted): StoredJob {
  if (submitted.kind !== 'created') assert.fail(JSON.stringify(submitted))
  return submitted.job
}

export function one<T>(items: readonly T[]): T {
  // Told only where it is needed: some bodies are large.
  if (items.length !== 1) assert.fail(`exactly one of ${JSON.stringify(items)}`)
  return items[0] as T
}
