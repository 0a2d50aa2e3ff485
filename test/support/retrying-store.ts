/**
 * What a correct client makes of a store whose calls fail: it asks again until it knows. Submissions carry an idempotency key, so that
 * a repeat is the same job; whatever else is done twice is told apart by what was known before. The answers are those of the first time.
 */
import { createHash } from 'node:crypto'
import type {
  CommandOutcome,
  JobCommand,
  JobStore,
  Lease,
  LeaseRef,
  LeaseRequest,
  NewJob,
  NewNote,
  Settlement,
  SettleOutcome,
  StoredJob,
  Submitted,
  SubmittedWhole,
} from '../../src/ports/job-store.ts'
import { InjectedFault, type Method } from './faulty-store.ts'

const TRIES_MAX = 200

/**
 * What a lease and a tick bring cannot be asked for again: a lease whose answer is lost lapses, and what a tick told is found by looking.
 * Of several commands in one call, nobody could say which of them a repeat met.
 */
export function isRecoverable(method: Method, args: readonly unknown[]): boolean {
  if (method === 'command') return (args[0] as readonly JobCommand[]).length === 1
  return method !== 'lease' && method !== 'tick'
}

interface Tried<T> {
  readonly answer: T
  /** It may have been done before this answer. */
  readonly repeated: boolean
}

/** What the client remembers when the store is opened again: jobs as they were when they were last seen, and leases that outlive their process. */
export class ClientMemory {
  readonly jobs: Map<string, StoredJob> = new Map()
  readonly keptLeases: Map<string, LeaseRef> = new Map()
}

export function retryingStore(store: JobStore, memory: ClientMemory): JobStore {
  const client = new Client(store, memory)
  const ask = <T>(call: () => Promise<T>): Promise<T> => client.tracked(async () => (await tried(call)).answer)
  return {
    submit: (jobs) => client.tracked(() => client.submit(jobs)),
    submitWhole: (jobs, note) => client.tracked(() => client.submitWhole(jobs, note)),
    lease: async (requests) => client.leased(requests, await ask(() => store.lease(requests))),
    extend: (leases, forMs) => ask(() => store.extend(leases, forMs)),
    settle: (settlements) => client.tracked(() => client.settle(settlements)),
    command: (commands) => client.tracked(() => client.command(commands)),
    read: async (ids, want) => client.saw(await ask(() => store.read(ids, want)), (read) => read?.job),
    async tick() {
      const tick = await ask(() => store.tick())
      client.saw(tick.changed, (job) => job)
      return tick
    },
    stats: () => ask(() => store.stats()),
    browse: (request) => ask(() => store.browse(request)),
    held: (keys) => ask(() => store.held(keys)),
    keys: (request) => ask(() => store.keys(request)),
    followUps: async (max, after) => client.saw(await ask(() => store.followUps(max, after)), (job) => job),
    notes: (prefix) => ask(() => store.notes(prefix)),
    schedules: () => ask(() => store.schedules()),
    tasks: () => ask(() => store.tasks()),
    info: () => ask(() => store.info()),
    blobs: store.blobs,
    close: () => client.close(),
  }
}

async function tried<T>(call: () => Promise<T>, isRefused: (answer: T) => boolean = () => false): Promise<Tried<T>> {
  let repeated = false
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    try {
      const answer = await call()
      if (!isRefused(answer)) return { answer, repeated }
    } catch (error) {
      if (!(error instanceof InjectedFault)) throw error
      repeated = true
    }
  }
  throw new Error(`the store failed ${TRIES_MAX} times`)
}

class Client {
  readonly #store: JobStore
  readonly #jobs: Map<string, StoredJob>
  readonly #leases: Map<string, LeaseRef>
  readonly #keptLeases: Map<string, LeaseRef>
  readonly #underWay = new Set<Promise<unknown>>()
  #serial = 0
  #closed = false

  constructor(store: JobStore, { jobs, keptLeases }: ClientMemory) {
    this.#store = store
    this.#jobs = jobs
    this.#leases = new Map(keptLeases)
    this.#keptLeases = keptLeases
  }

  /** Whatever was asked before the end is done before it. */
  tracked<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Error('the store is closed'))
    const promise = work()
    const settled = promise.catch(() => undefined).then(() => void this.#underWay.delete(settled))
    this.#underWay.add(settled)
    return promise
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#underWay)
    await this.#store.close()
  }

  saw<T>(items: readonly T[], jobOf: (item: T) => StoredJob | undefined): readonly T[] {
    for (const item of items) {
      const job = jobOf(item)
      if (job === undefined) continue
      this.#jobs.set(job.id, job)
      if (job.status !== 'running') this.#endLease(job.id)
    }
    return items
  }

  leased(requests: readonly LeaseRequest[], batches: readonly (readonly Lease[])[]): readonly (readonly Lease[])[] {
    for (const [at, leases] of batches.entries()) {
      for (const { ref, job } of leases) {
        this.#jobs.set(ref.id, job)
        this.#leases.set(ref.id, ref)
        if (requests[at]?.keeps === true) this.#keptLeases.set(ref.id, ref)
      }
    }
    return batches
  }

  async submit(jobs: readonly NewJob[]): Promise<readonly Submitted[]> {
    const keyed = jobs.map((job): NewJob => (job.idempotency === undefined ? { ...job, idempotency: this.#ownKey() } : job))
    const { answer, repeated } = await tried(() => this.#store.submit(keyed), isDiskFull)
    return answer.map((outcome, at) => {
      if (outcome.kind !== 'created' && outcome.kind !== 'duplicate') return outcome
      const isNew = jobs[at]?.idempotency === undefined || !this.#jobs.has(outcome.job.id)
      this.saw([outcome.job], (job) => job)
      return repeated && isNew ? { kind: 'created', job: outcome.job } : outcome
    })
  }

  async submitWhole([first, ...rest]: readonly NewJob[], note: Required<NewNote>): Promise<SubmittedWhole> {
    if (first === undefined) throw new Error('a submission needs a job')
    const keyed: NewJob = first.idempotency === undefined ? { ...first, idempotency: this.#ownKey() } : first
    const { answer, repeated } = await tried(
      () => this.#store.submitWhole([keyed, ...rest], note),
      (outcome) => outcome.kind === 'refused' && outcome.limit === 'disk',
    )
    if (answer.kind !== 'created' && answer.kind !== 'duplicate') return answer
    const isNew = first.idempotency === undefined || !this.#jobs.has(answer.first.id)
    this.saw([answer.first], (job) => job)
    return repeated && isNew ? { kind: 'created', first: answer.first } : answer
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]> {
    const mine = settlements.map(({ lease }) => this.#takeLease(lease))
    const { answer, repeated } = await tried(() => this.#store.settle(settlements)).catch((error: unknown) => {
      // Whoever was told of nothing may settle it otherwise.
      for (const [at, { lease }] of settlements.entries()) if (mine[at] === true) this.#leases.set(lease.id, lease)
      throw error
    })
    return Promise.all(
      answer.map(async (outcome, at): Promise<SettleOutcome> => {
        const { kind, lease } = settlements[at] as Settlement
        const { id } = lease
        if (mine[at] && (kind === 'defer' || outcome.kind === 'full')) this.#goesOn(lease, outcome.kind !== 'full')
        if (outcome.kind === 'full' || (outcome.kind !== 'settled' && !(repeated && mine[at]))) return outcome
        // Whether another can go by it was lost with the answer: better to look than to miss it.
        const settled = outcome.kind === 'settled' ? outcome : { kind: 'settled' as const, job: await this.#read(id), ready: true }
        this.saw([settled.job], (job) => job)
        return settled
      }),
    )
  }

  async command(commands: readonly JobCommand[]): Promise<readonly CommandOutcome[]> {
    const [command] = commands
    const single = commands.length === 1 ? command : undefined
    const before = single === undefined ? undefined : await this.#lookBefore(single)
    if (single?.kind === 'begin') return [await this.#begin(single, before?.numbers ?? [])]
    const { answer, repeated } = await tried(() => this.#store.command(commands), isDiskFull)
    const [first] = answer
    const outcomes = single !== undefined && first !== undefined && repeated ? [await this.#asAtFirst(single, first, before)] : answer
    this.saw(outcomes, (outcome) => ('job' in outcome ? outcome.job : undefined))
    if (single?.kind === 'forget' && outcomes[0]?.kind === 'done') this.#jobs.delete(single.id)
    return outcomes
  }

  #ownKey(): NonNullable<NewJob['idempotency']> {
    this.#serial += 1
    return { scopeKey: digest(`own ${process.pid} ${performance.now()} ${this.#serial}`), fingerprint: digest('own'), keepMs: 0 }
  }

  /** True: the lease was given to this client, and it has not ended it before. */
  #takeLease(ref: LeaseRef): boolean {
    const known = this.#leases.get(ref.id)
    if (known === undefined || known.fence !== ref.fence || known.secret !== ref.secret) return false
    this.#endLease(ref.id)
    return true
  }

  #goesOn(ref: LeaseRef, deferred: boolean): void {
    this.#leases.set(ref.id, ref)
    if (deferred) this.#keptLeases.set(ref.id, ref)
  }

  #endLease(id: string): void {
    this.#leases.delete(id)
    this.#keptLeases.delete(id)
  }

  async #read(id: string): Promise<StoredJob> {
    const { answer } = await tried(() => this.#store.read([id], 'status'))
    const job = answer[0]?.job
    if (job === undefined) throw new Error(`job ${id} was settled and is not there`)
    return job
  }

  /** What tells later whether a command was carried out although its answer was lost. */
  async #lookBefore(command: JobCommand): Promise<Before> {
    const { answer: stats } = await tried(() => this.#store.stats())
    const queue = 'queue' in command ? stats.find(({ queue }) => queue === command.queue) : undefined
    const before = { paused: queue?.paused, job: 'id' in command ? this.#jobs.get(command.id) : undefined }
    const lease = 'id' in command ? this.#leases.get(command.id) : undefined
    switch (command.kind) {
      case 'begin':
      case 'stop': {
        const { answer: tasks } = await tried(() => this.#store.tasks())
        const running = tasks.some(({ id, endedAt }) => command.kind === 'stop' && id === command.task && endedAt === undefined)
        return { ...before, was: running, numbers: tasks.map(({ id }) => id) }
      }
      case 'unschedule':
        return { ...before, was: (await tried(() => this.#store.schedules())).answer.some(({ name }) => name === command.name) }
      case 'release': {
        const { answer } = await tried(() => this.#store.keys({ queue: command.queue, blockedOnly: true, max: 10_000 }))
        return { ...before, holder: answer.find(({ key }) => key === command.key)?.holder }
      }
      default:
        return { ...before, was: queue !== undefined, lease }
    }
  }

  /** A task that was begun twice would be two. */
  async #begin(command: JobCommand, numbers: readonly number[]): Promise<CommandOutcome> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      try {
        const [outcome] = await this.#store.command([command])
        if (outcome !== undefined) return outcome
      } catch (error) {
        if (!(error instanceof InjectedFault)) throw error
        const { answer } = await tried(() => this.#store.tasks())
        const begun = answer.find(({ id }) => !numbers.includes(id))
        if (begun !== undefined) return { kind: 'done', task: begun.id }
      }
    }
    throw new Error(`the store failed ${TRIES_MAX} times`)
  }

  /** The answer to a command that may have been carried out before it was asked for once more. */
  async #asAtFirst(command: JobCommand, outcome: CommandOutcome, before: Before | undefined): Promise<CommandOutcome> {
    if (outcome.kind === 'done' || outcome.kind === 'stale' || outcome.kind === 'refused') return outcome
    const now = 'job' in outcome ? outcome.job : undefined
    const was = before?.job
    const done: CommandOutcome = now === undefined ? { kind: 'done' } : { kind: 'done', job: now }
    switch (command.kind) {
      case 'cancel':
        if (now?.status !== 'cancelled' || now.version <= (was?.version ?? 0)) return outcome
        return before?.lease === undefined ? done : { ...done, aborted: before.lease }
      case 'redrive':
        return now !== undefined && now.redrives > (was?.redrives ?? 0) ? done : outcome
      case 'move':
        return now?.queue === command.queue && was?.queue !== command.queue ? done : outcome
      case 'followed':
        return was?.followUpDue === true && now?.followUpDue !== true ? done : outcome
      case 'forget':
        return outcome.kind === 'missing' && was !== undefined ? { kind: 'done' } : outcome
      case 'pause':
      case 'resume':
        return outcome.kind === 'missing' || before?.paused === (command.kind === 'pause') ? outcome : done
      case 'release':
        return before?.holder === undefined ? outcome : { kind: 'done', job: await this.#read(before.holder) }
      default:
        return before?.was === true ? { kind: 'done' } : outcome
    }
  }
}

interface Before {
  readonly job: StoredJob | undefined
  readonly paused: boolean | undefined
  readonly lease?: LeaseRef | undefined
  /** What the command ends was there: a queue, a schedule, a task that runs. */
  readonly was?: boolean
  /** Of the tasks. */
  readonly numbers?: readonly number[]
  /** The failed job that blocks the key. */
  readonly holder?: string | undefined
}

/** The disk may have room again a moment later. */
function isDiskFull(outcomes: readonly (Submitted | CommandOutcome)[]): boolean {
  return outcomes.length > 0 && outcomes.every((outcome) => outcome.kind === 'refused' && outcome.limit === 'disk')
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
