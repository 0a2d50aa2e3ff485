/** What every conformance case starts from: a store with a clock that it moves itself, and short ways to say what it does. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import type { Millis } from '../../src/lib/units.ts'
import type {
  CommandOutcome,
  JobAnswer,
  JobError,
  JobId,
  JobStore,
  Lease,
  LeaseRef,
  LeaseRequest,
  NewJob,
  QueueLimits,
  QueueStats,
  ReadJob,
  Settlement,
  SettleOutcome,
  StoredJob,
  StoreEvents,
  Submitted,
} from '../../src/ports/job-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

export const NO_LIMITS: QueueLimits = { jobs: 1_000_000, bytes: 2 ** 40, finished: 2 ** 40 }
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

  async dispose(): Promise<void> {
    await this.#store?.close()
    await this.#source.dispose()
  }

  /** Time passes and the store notices. Says what it said. */
  async pass(ms: Millis): ReturnType<JobStore['tick']> {
    this.clock.advance(ms)
    return this.store.tick()
  }

  /** Until there is nothing left to do at this moment. */
  async settleTime(): Promise<void> {
    for (;;) if ((await this.store.tick()).nextMs !== 0) return
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

  async cancel(id: JobId, onlyUnbegun = false): Promise<CommandOutcome> {
    return one(await this.store.command([{ kind: 'cancel', id, onlyUnbegun }]))
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
  assert.equal(submitted.kind, 'created', JSON.stringify(submitted))
  return submitted.job
}

export function one<T>(items: readonly T[]): T {
  assert.equal(items.length, 1, `exactly one of ${JSON.stringify(items)}`)
  return items[0] as T
}
