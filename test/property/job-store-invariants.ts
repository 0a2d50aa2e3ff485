/**
 * The twelve promises of a queue, checked only from what a client of the store sees, whatever any model says. `watch` gives a store that
 * checks each answer before it hands it on; a breach is a `Violation` that names its promise.
 */
import type { Clock } from '../../src/ports/clock.ts'
import type {
  Deferral,
  JobCommand,
  JobStore,
  Lease,
  LeaseRef,
  NewJob,
  Settlement,
  StoredJob,
  Submitted,
} from '../../src/ports/job-store.ts'

export const INVARIANTS = {
  1: '(1) what was confirmed is handed out, still there, or a dead letter with its reason',
  2: '(2) nothing is invented or altered',
  3: '(3) what was settled never runs again, after a restart either',
  4: '(4) per key in order, at most one in flight',
  5: '(5) counts of hand-outs and attempts never go back, and their limits hold exactly',
  6: '(6) what has expired is never handed out',
  7: '(7) two submissions under one idempotency key are one job, over restarts too',
  8: '(8) counters are what there is',
  // A process that is killed at random moments, and a disk that is full or fails, need a process and a disk of their own.
  9: '(9) killed at any moment: test/crash/gateway-kill.test.ts, operations.test.ts and power-cut.test.ts',
  10: '(10) no space, or a failing disk: test/conformance/embedded-durability.test.ts and test/crash/sync-failure.test.ts',
  11: '(11) a stale lease changes nothing',
  12: '(12) a clock that is set neither ends, prolongs nor doubles a lease',
} as const

export type InvariantNumber = keyof typeof INVARIANTS

export class Violation extends Error {
  override readonly name = 'Violation'
  readonly number: InvariantNumber

  constructor(number: InvariantNumber, what: string) {
    super(`${INVARIANTS[number]}: ${what}`)
    this.number = number
  }
}

/** A job as it was seen last. */
interface Seen {
  readonly id: string
  readonly spec: NewJob
  body: string
  job: StoredJob
  /** Attempts that counted, and hand-outs, since it was accepted or redriven. */
  counted: number
  handOuts: number
  lease: { readonly ref: LeaseRef; until: number; keptMs: number | undefined; readonly deferred?: boolean } | undefined
  /** Waits in the order of acceptance: was never delayed, moved or redriven. */
  plain: boolean
}

const HAND_OUTS_PER_ATTEMPT = 10
const BROWSE_MAX = 100_000

export class Invariants {
  /** What was seen at all, so that a run that tested nothing is noticed. */
  readonly kinds: Set<string> = new Set()
  readonly #clock: Clock
  readonly #jobs = new Map<string, Seen>()
  /** Of those: have not ended, or block their key. */
  readonly #open = new Set<Seen>()
  /** Of a queue's key, who was handed out last. */
  readonly #lastOut = new Map<string, string>()
  readonly #byScope = new Map<string, { readonly id: string; readonly fingerprint: string }>()
  /** Forgotten, or kept for as long as they are kept. */
  readonly #gone = new Set<string>()
  readonly #scheduled = new Map<string, NewJob>()
  readonly #secrets = new Set<string>()
  #store: JobStore | undefined
  #lastFence = 0
  /** Some tasks move jobs, there and back perhaps, and tell nobody. */
  #tasksMove = false
  #lastId = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  watch(store: JobStore): JobStore {
    this.#store = store
    return {
      ...store,
      submit: async (jobs) => {
        const outcomes = await store.submit(jobs)
        for (const [at, outcome] of outcomes.entries()) await this.#submitted(jobs[at] as NewJob, outcome)
        return outcomes
      },
      lease: async (requests) => {
        const batches = await store.lease(requests)
        for (const [at, leases] of batches.entries()) {
          const { leaseMs = 0, keeps } = requests[at] ?? {}
          const until = this.#clock.monotonic() + leaseMs
          for (const lease of leases) {
            const seen = await this.#handedOut(lease)
            seen.lease = { ref: lease.ref, until, keptMs: keeps === true ? leaseMs : undefined }
          }
        }
        return batches
      },
      extend: async (refs, forMs) => {
        const expected = refs.map((ref) => this.#live(ref))
        const outcomes = await store.extend(refs, forMs)
        for (const [at, seen] of expected.entries()) {
          this.#holds(11, (outcomes[at] === 'extended') === (seen !== undefined), `extend ${refs[at]?.id}: ${outcomes[at]}`)
          if (seen?.lease === undefined) continue
          seen.lease.until = this.#clock.monotonic() + forMs
          if (seen.lease.deferred === true) seen.lease.keptMs = forMs
          else if (seen.lease.keptMs !== undefined) seen.lease.keptMs = Math.max(seen.lease.keptMs, forMs)
        }
        return outcomes
      },
      settle: async (settlements) => {
        const outcomes = []
        for (const settlement of settlements) outcomes.push(await this.#settle(store, settlement))
        return outcomes
      },
      command: async (commands) => {
        const outcomes = []
        for (const command of commands) outcomes.push(await this.#command(store, command))
        return outcomes
      },
      read: async (ids, want) => {
        const reads = await store.read(ids, want)
        for (const [at, read] of reads.entries()) this.#wasRead(ids[at] ?? '', read?.job)
        return reads
      },
      browse: async (request) => {
        const page = await store.browse(request)
        for (const job of page.jobs) this.sees(job)
        return page
      },
      tick: async () => {
        const tick = await store.tick()
        for (const job of tick.changed) this.sees(job)
        if (tick.nextMs !== 0) this.#noLeaseIsOver()
        return tick
      },
      stats: async () => {
        const stats = await store.stats()
        await this.#countsAreRight(store, stats)
        return stats
      },
    }
  }

  /** Leases are void, or begin anew where they are kept; what ended by it, and what ended untold before, has to be shown. */
  async reopened(): Promise<void> {
    for (const seen of this.#open) {
      if (seen.lease?.keptMs === undefined) seen.lease = undefined
      else seen.lease.until = this.#clock.monotonic() + seen.lease.keptMs
    }
    for (const { id } of [...this.#open]) {
      const [read] = (await this.#store?.read([id], 'status')) ?? []
      this.#wasRead(id, read?.job)
    }
  }

  #holds(number: InvariantNumber, holds: boolean, what: string): void {
    if (!holds) throw new Violation(number, what)
  }

  async #submitted(spec: NewJob, outcome: Submitted): Promise<void> {
    const { idempotency } = spec
    const known = idempotency && this.#byScope.get(idempotency.scopeKey)
    this.kinds.add(outcome.kind)
    if (outcome.kind === 'created') {
      this.#holds(7, known === undefined || (await this.#isGone(known)), `${outcome.job.id} was made beside ${known?.id}`)
      this.#holds(2, outcome.job.id > this.#lastId, `id ${outcome.job.id} is not greater than ${this.#lastId}`)
      this.#lastId = outcome.job.id
      this.#accepted(outcome.job, spec)
      if (idempotency === undefined) return
      const { scopeKey, fingerprint } = idempotency
      this.#byScope.set(scopeKey, { id: outcome.job.id, fingerprint })
    } else if (outcome.kind === 'duplicate') {
      this.#holds(7, known?.id === outcome.job.id, `${outcome.job.id} is said to be the same, not ${known?.id}`)
      this.#holds(7, known?.fingerprint === idempotency?.fingerprint, 'another request is no duplicate')
      this.sees(outcome.job)
    } else if (outcome.kind === 'conflict') {
      this.#holds(7, known !== undefined && known.fingerprint !== idempotency?.fingerprint, 'the same request is no conflict')
    }
  }

  /** It has been removed, with its idempotency key: by somebody, by a task, or after its time. */
  async #isGone({ id }: { readonly id: string }): Promise<boolean> {
    const seen = this.#jobs.get(id)
    if (seen === undefined) return true
    const [read] = (await this.#store?.read([id], 'status')) ?? []
    this.#wasRead(id, read?.job)
    return read === undefined
  }

  #accepted(job: StoredJob, spec: NewJob): void {
    this.#isNew(job.secret)
    const body = Buffer.from(spec.request.body).toString()
    const plain = spec.delayMs === undefined || spec.delayMs <= 0
    const seen: Seen = { id: job.id, spec, body, job, counted: 0, handOuts: 0, lease: undefined, plain }
    this.#jobs.set(job.id, seen)
    this.#open.add(seen)
    this.sees(job)
  }

  async #handedOut({ ref, job, request, stolen }: Lease): Promise<Seen> {
    const now = this.#clock.now()
    this.#holds(3, !this.#gone.has(job.id), `${job.id} was removed, and is handed out`)
    const seen = this.#known(job)
    this.#holds(2, Buffer.from(request.body).toString() === seen.body, `the body of ${ref.id} is another`)
    this.#holds(2, ref.fence > this.#lastFence, 'fences grow, over restarts too')
    this.#lastFence = ref.fence
    this.#isNew(ref.secret)
    if (job.redrives > seen.job.redrives) this.#redriven(seen, job)
    this.#holds(3, !isEnded(seen.job), `${ref.id} had ended: ${seen.job.status}`)
    this.#holds(12, seen.lease === undefined, `${ref.id} is handed out while it runs`)
    if (job.key !== undefined) await this.#keyIsFree(seen, job.queue, job.key)
    this.#holds(
      5,
      job.attempt === seen.counted + 1 && job.handOuts === seen.handOuts + 1,
      `${ref.id}: ${counts(job)}, before ${counts(seen.job)}`,
    )
    this.#holds(5, job.attempt <= job.attempts, `${ref.id}: ${counts(job)} of ${job.attempts}`)
    const expired = seen.counted === 0 && (job.expiresAt ?? Number.POSITIVE_INFINITY) <= now
    this.#holds(6, !expired, `${ref.id} expired at ${job.expiresAt}, it is ${now}`)
    this.#holds(6, (job.deadlineAt ?? Number.POSITIVE_INFINITY) > now, `${ref.id} had until ${job.deadlineAt}, it is ${now}`)
    if (stolen) this.kinds.add('stolen')
    seen.handOuts = job.handOuts
    this.#remember(seen, job)
    return seen
  }

  async #keyIsFree(seen: Seen, queue: string, key: string): Promise<void> {
    const others = [...this.#open].filter((other) => other !== seen && other.job.queue === queue && other.spec.key === key)
    const running = others.find(({ lease }) => lease !== undefined)
    this.#holds(4, running === undefined, `${seen.id} and ${running?.id} run at once`)
    const last = others.find(({ id }) => id === this.#lastOut.get(slot(queue, key)))
    this.#lastOut.set(slot(queue, key), seen.id)
    const suspects = others.filter((other) => {
      if (other === last) return other.job.blocksKey || (!isEnded(other.job) && other.handOuts > 0)
      return other.id < seen.id && other.plain && !isEnded(other.job)
    })
    // One of them may have ended, or been moved by a task, while nobody was told.
    for (const { id, job } of suspects) {
      const [read] = (await this.#store?.read([id], 'status')) ?? []
      if (read !== undefined) this.sees(read.job)
      const holds = read === undefined || read.job.version !== job.version || (isEnded(read.job) && !read.job.blocksKey)
      this.#holds(4, holds, `${seen.id} passes ${id}, which is ${read?.job.status}`)
    }
  }

  async #settle(store: JobStore, settlement: Settlement): Promise<Awaited<ReturnType<JobStore['settle']>>[number]> {
    const { id } = settlement.lease
    const seen = this.#live(settlement.lease)
    const [before] = seen === undefined ? await store.read([id], 'status') : []
    // Its end is no surprise.
    const lease = seen?.lease
    if (seen !== undefined) seen.lease = undefined
    const [outcome] = await store.settle([settlement])
    if (outcome === undefined) throw new Violation(2, 'no answer')
    this.kinds.add(outcome.kind)
    const reached = outcome.kind === 'settled' || outcome.kind === 'full'
    this.#holds(11, reached === (lease !== undefined), `settle ${id}: ${outcome.kind}`)
    if (seen !== undefined && lease !== undefined && settlement.kind === 'defer')
      seen.lease = outcome.kind === 'full' ? lease : this.#deferred(lease, settlement)
    if (outcome.kind === 'settled') this.sees(outcome.job)
    else if (before !== undefined) {
      const [after] = await store.read([id], 'status')
      this.#holds(11, after?.job.version === before.job.version, `a stale settlement has changed ${id}`)
    }
    return outcome
  }

  /** It goes on, and outlives its process. */
  #deferred({ ref }: NonNullable<Seen['lease']>, { forMs }: Deferral): NonNullable<Seen['lease']> {
    this.kinds.add('deferred')
    return { ref, until: this.#clock.monotonic() + forMs, keptMs: forMs, deferred: true }
  }

  async #command(store: JobStore, command: JobCommand): Promise<Awaited<ReturnType<JobStore['command']>>[number]> {
    if (command.kind === 'begin' && command.task.to !== undefined) this.#tasksMove = true
    if (command.kind === 'schedule') this.#scheduled.set(command.schedule.name, command.schedule.job)
    const seen = 'id' in command ? this.#jobs.get(command.id) : undefined
    const live = seen?.lease?.ref.secret
    // A cancel ends what runs, and is told to.
    if (command.kind === 'cancel' && seen !== undefined && !command.onlyUnbegun) seen.lease = undefined
    const [outcome] = await store.command([command])
    if (outcome === undefined) throw new Violation(2, 'no answer')
    if (command.kind === 'progress' && outcome.kind !== 'missing') {
      this.#holds(11, (outcome.kind === 'done') === (live === command.secret), `progress ${command.id}: ${outcome.kind}`)
    }
    if (outcome.kind === 'done' && seen !== undefined) this.#carriedOut(command, seen)
    if ('job' in outcome && outcome.job !== undefined) this.sees(outcome.job)
    return outcome
  }

  #carriedOut(command: JobCommand, seen: Seen): void {
    if (command.kind === 'move' || command.kind === 'redrive') this.#moved(seen)
    if (command.kind === 'redrive' && command.request !== undefined) seen.body = Buffer.from(command.request.body).toString()
    if (command.kind === 'forget') this.#forget(seen)
    // Its key is free again.
    if (command.kind === 'cancel' && command.onlyUnbegun === true) {
      for (const [scope, { id }] of this.#byScope) if (id === seen.id) this.#byScope.delete(scope)
    }
  }

  #wasRead(id: string, job: StoredJob | undefined): void {
    if (job !== undefined) return this.sees(job)
    const seen = this.#jobs.get(id)
    if (seen === undefined) return
    this.#holds(1, isEnded(seen.job), `${id} is gone, it was ${seen.job.status}`)
    this.#forget(seen)
  }

  /** Whatever a job is, it follows from what it was. */
  sees(job: StoredJob): void {
    if (this.#gone.has(job.id)) return this.#holds(3, isEnded(job), `${job.id} was removed, and is ${job.status}`)
    const seen = this.#known(job)
    this.kinds.add(job.status).add(job.dead ?? 'alive')
    if (job.blockedBy !== undefined) this.kinds.add('blocked')
    if (job.blocksKey) this.kinds.add('blocks')
    if (job.redrives > seen.job.redrives) this.#redriven(seen, job)
    const { spec, job: before } = seen
    const isSame =
      job.key === spec.key && job.tenant === spec.tenant && job.secret === before.secret && job.submittedAt === before.submittedAt
    this.#holds(2, isSame, `${job.id} is another job now`)
    this.#holds(2, job.version >= before.version, `the version of ${job.id} goes back`)
    this.#holds(3, !isEnded(before) || job.status === before.status, `${job.id} was ${before.status} and is ${job.status}`)
    const hasReason = job.status !== 'expired' || job.dead !== undefined
    this.#holds(1, hasReason, `${job.id} is ${job.status} without a reason`)
    this.#countsGrow(seen, job)
    if (job.status !== 'running') this.#stopped(seen)
    const mayHaveMoved = this.#tasksMove && job.version !== before.version && job.status === before.status
    if (job.queue !== before.queue || mayHaveMoved) this.#moved(seen)
    this.#remember(seen, job)
  }

  /** It stands in the line as any other that comes to it. */
  #moved(seen: Seen): void {
    const { queue, key = '' } = seen.job
    seen.plain = false
    if (this.#lastOut.get(slot(queue, key)) === seen.id) this.#lastOut.delete(slot(queue, key))
  }

  #remember(seen: Seen, job: StoredJob): void {
    seen.job = job
    if (isEnded(job) && !job.blocksKey) this.#open.delete(seen)
    else this.#open.add(seen)
  }

  #forget(seen: Seen): void {
    this.#jobs.delete(seen.id)
    this.#open.delete(seen)
    this.#gone.add(seen.id)
  }

  #countsGrow(seen: Seen, job: StoredJob): void {
    const { id, attempt, attempts, handOuts, status } = job
    const counted = status === 'running' ? attempt - 1 : attempt
    this.#holds(5, counted >= seen.counted && handOuts >= seen.handOuts, `${id}: ${counts(job)}, before ${counts(seen.job)}`)
    this.#holds(5, status !== 'retrying' || counted < attempts, `${id} goes on after ${counted} of ${attempts} attempts`)
    this.#holds(5, job.dead !== 'attempts' || counted === attempts, `${id} is dead after ${counted} of ${attempts} attempts`)
    this.#holds(5, job.dead !== 'poison' || handOuts > HAND_OUTS_PER_ATTEMPT * attempts, `${id} is poison after ${handOuts} hand-outs`)
    seen.counted = counted
    seen.handOuts = handOuts
  }

  /** Nobody settled or cancelled it: then its lease is over. */
  #stopped(seen: Seen): void {
    const { lease } = seen
    if (lease === undefined) return
    const early = lease.until - this.#clock.monotonic()
    this.#holds(12, early <= 0, `the lease of ${seen.id} ended ${early} ms before its time`)
    seen.lease = undefined
  }

  #noLeaseIsOver(): void {
    for (const { id, lease } of this.#open) {
      this.#holds(12, lease === undefined || lease.until > this.#clock.monotonic(), `the lease of ${id} is over, and it still runs`)
    }
  }

  #redriven(seen: Seen, job: StoredJob): void {
    // It may have died while nobody was told.
    this.#holds(3, !isEnded(seen.job) || seen.job.dead !== undefined, `${job.id} was no dead letter, and is sent again`)
    seen.counted = 0
    seen.handOuts = 0
    seen.plain = false
    seen.job = { ...job, version: seen.job.version }
  }

  async #countsAreRight(store: JobStore, stats: Awaited<ReturnType<JobStore['stats']>>): Promise<void> {
    const { jobs } = await store.browse({ filter: {}, max: BROWSE_MAX })
    for (const { queue, counts: said, scheduled, bytes, blockedKeys, deferred, dead } of stats) {
      const here = jobs.filter((job) => job.queue === queue)
      const alive = here.filter((job) => !isEnded(job))
      for (const [status, count] of Object.entries(said)) {
        const are = here.filter((job) => job.status === status).length
        this.#holds(8, count === are, `${queue}: ${count} are said to be ${status}, ${are} are`)
      }
      // Who waits for time has no place in the line.
      const waiting = alive.filter((job) => job.status !== 'running' && job.position === undefined).length
      this.#holds(8, scheduled === waiting, `${queue}: ${scheduled} are said to wait for time, ${waiting} do`)
      const sum = alive.reduce((all, job) => all + job.requestBytes, 0)
      this.#holds(8, bytes === sum, `${queue}: ${bytes} bytes are said to wait, ${sum} do`)
      this.#holds(8, blockedKeys === here.filter((job) => job.blocksKey).length, `${queue}: ${blockedKeys} blocked keys`)
      this.#holds(8, deferred === here.filter((job) => job.deferredUntil !== undefined).length, `${queue}: ${deferred} deferred jobs`)
      const letters = here.filter((job) => job.dead !== undefined).length
      this.#holds(8, Object.values(dead).reduce((a, b) => a + b, 0) === letters, `${queue}: dead letters are not ${letters}`)
    }
  }

  #live(ref: LeaseRef): Seen | undefined {
    const seen = this.#jobs.get(ref.id)
    const known = seen?.lease?.ref
    return known !== undefined && known.fence === ref.fence && known.secret === ref.secret ? seen : undefined
  }

  #known(job: StoredJob): Seen {
    const seen = this.#jobs.get(job.id)
    if (seen !== undefined) return seen
    // A schedule may have made it.
    const spec = [...this.#scheduled.values()].find(({ reference }) => reference !== undefined && reference === job.reference)
    if (spec === undefined) throw new Violation(2, `nobody has submitted ${job.id}`)
    this.#accepted({ ...job, status: 'queued' }, spec)
    return this.#jobs.get(job.id) as Seen
  }

  #isNew(secret: string): void {
    this.#holds(2, !this.#secrets.has(secret), 'two jobs or attempts have the same secret')
    this.#secrets.add(secret)
  }
}

function slot(queue: string, key: string): string {
  return `${queue}\n${key}`
}

export function isEnded({ status }: { readonly status: string }): boolean {
  return status !== 'queued' && status !== 'running' && status !== 'retrying'
}

function counts({ attempt, handOuts }: StoredJob): string {
  return `attempt ${attempt}, hand-out ${handOuts}`
}
