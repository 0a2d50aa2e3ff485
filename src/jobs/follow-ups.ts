/**
 * Empties the store's outbox: for each job that has ended, what follows from that is made of it (webhooks, the next job of a chain, the count of a
 * batch), and only then the store is told that it is done. A crash in between makes the same again, under the same idempotency keys: so each
 * job that follows is made once. Where there is no room for it, the end that it follows from waits in the outbox.
 */
import { hash } from 'node:crypto'
import { endOf } from '../core/jobs/follow-up.ts'
import type { Bytes, Millis, MonotonicMillis } from '../lib/units.ts'
import { BufferBudget } from '../net/buffer-budget.ts'
import type { BlobSource } from '../ports/blobs.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type {
  JobAnswer,
  JobCommand,
  JobError,
  JobStore,
  NewJob,
  NewNote,
  NextJob,
  QueueName,
  StoredJob,
  Submitted,
} from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { OutboxWalk } from './outbox-walk.ts'

export interface FollowUp {
  /** Each under a name that is the same when it is made again, and of no other job that follows from the same end. */
  readonly jobs: readonly { readonly name: string; readonly job: Omit<NewJob, 'idempotency'> }[]
  /** Written in the commit that says that it is done. */
  readonly notes?: readonly NewNote[]
  /** The name of the job that is next in the chain, or why there is none: kept with the one that has ended. */
  readonly next?: string | JobError
}

export interface EndedJob {
  readonly job: StoredJob
  /** Read when it is asked for, once. Undefined: it ended without one, or it cannot be read. Where it has a `blob`, that is too large to be sent on. */
  answer(): Promise<JobAnswer | undefined>
  /** False: others that lead to that queue wait for room there, and this one comes after them. To be asked before the answer is read, of one queue. */
  hasRoom(queue: QueueName): Promise<boolean>
}

type Made = FollowUp | 'waits' | undefined

/** Called again for the same end after a crash or where there was no room, and has to make the same. `waits`: there is no room for it. */
export type FollowUpMaker = (ended: EndedJob) => Made | Promise<Made>

/** Keeps account of ends. It is shown many at once, so that it writes once for all of them; the same ones again, where the store failed. */
export interface EndKeeper {
  /** Undefined: none of them is of interest. */
  keep(ended: readonly StoredJob[]): Promise<KeptEnds | undefined>
}

export interface KeptEnds {
  /** For the commit that says that these ends are done. */
  readonly notes: readonly NewNote[]
  /** They are durable. */
  written(): void
  /** They may be durable, or not: the store failed. */
  unknown(): void
}

export interface FollowUpParts {
  readonly store: Pick<JobStore, 'followUps' | 'read' | 'command' | 'blobs'>
  /** Of a body that was streamed: up to this it is read to be sent on. */
  readonly bodyBytesMax: () => Bytes
  readonly bus: Bus
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly submit: (jobs: readonly NewJob[]) => Promise<readonly Submitted[]>
}

/** Read at once. */
const BATCH = 100
/** Also without a hint: whatever was lost is found within this time. */
const LOOK_EVERY_MS: Millis = 30_000
const RETRY_MS: Millis = 1000
/** As long as a job that follows may be made again: over any stop of a gateway in the moment between. What follows is kept for so long at least. */
const MADE_AGAIN_MS: Millis = 86_400_000
/** So many pages in which nothing can go on are looked at before the others have their turn. */
const PAGES_IN_VAIN = 10
/** Of results that are sent on at one time; one that is larger goes alone. */
const HELD_BYTES_MAX: Bytes = 16 * 1024 * 1024

export class FollowUps {
  readonly #parts: FollowUpParts
  readonly #makers: FollowUpMaker[] = []
  readonly #keepers: EndKeeper[] = []
  readonly #walk = new OutboxWalk(BATCH)
  readonly #held = new BufferBudget(HELD_BYTES_MAX)
  /** Queues that had no room at the last look. */
  #full: ReadonlySet<QueueName> = new Set()
  #walkedAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  #timer: Timer | undefined
  #running: Promise<void> | undefined
  #unsubscribe: (() => void) | undefined
  #again = false
  #stopped = true
  /** Told of once for each time that it begins. */
  #stuck = false

  constructor(parts: FollowUpParts) {
    this.#parts = parts
  }

  add(maker: FollowUpMaker): void {
    this.#makers.push(maker)
  }

  addKeeper(keeper: EndKeeper): void {
    this.#keepers.push(keeper)
  }

  start(): void {
    this.#stopped = false
    this.#unsubscribe = this.#parts.bus.subscribe((event) => {
      if (event.kind === 'job' && event.job.followUpDue === true) this.#look()
    })
    this.#look()
  }

  async close(): Promise<void> {
    this.#stopped = true
    this.#unsubscribe?.()
    this.#timer?.cancel()
    await this.#running
  }

  #look(): void {
    this.#again = true
    if (this.#stopped || this.#running !== undefined) return
    this.#timer?.cancel()
    this.#running = this.#empty().then((nextMs) => {
      this.#running = undefined
      if (this.#stopped) return
      // An end may have been told of when it had just looked for the last time.
      if (this.#again && nextMs === LOOK_EVERY_MS) this.#look()
      else this.#timer = this.#parts.clock.after(nextMs, () => this.#look())
    })
  }

  /** Resolves with the time until it is worth another look. */
  async #empty(): Promise<Millis> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false
        const look = new Look(this.#full)
        const due = await this.#parts.store.followUps(BATCH)
        const waiting = await this.#followAll(due, look)
        this.#walk.begin(due, waiting)
        await this.#lookBehind(look)
        this.#full = look.full
        if (waiting.size === 0) this.#stuck = false
        if (due.length >= BATCH && waiting.size < due.length) this.#again = true
        else if (waiting.size > 0) return RETRY_MS
      }
      return LOOK_EVERY_MS
    } catch (error) {
      this.#tellStuck(String(error))
      return RETRY_MS
    }
  }

  /** What is behind ends that have to wait, a few pages of it at a time: there may be a great many of them. */
  async #lookBehind(look: Look): Promise<void> {
    const now = this.#parts.clock.monotonic()
    if (this.#walk.places.length === 0 || now - this.#walkedAt < RETRY_MS) return
    this.#walkedAt = now
    for (let inVain = 0; inVain < PAGES_IN_VAIN && this.#walk.places.length > 0 && !this.#stopped; ) {
      const due = await this.#parts.store.followUps(BATCH, this.#walk.places)
      const waiting = await this.#followAll(due, look, (job) => this.#walk.holds(job))
      this.#walk.advance(due, waiting)
      if (waiting.size === due.length) inVain += 1
    }
  }

  /** Those that have to wait: for some of what follows there is no room, or it could not be made. */
  async #followAll(
    due: readonly StoredJob[],
    look: Look,
    holds: (job: StoredJob) => boolean = () => false,
  ): Promise<ReadonlySet<StoredJob>> {
    const commands: Followed[] = []
    const waiting = new Set(due)
    // What follows from jobs of one key comes in the order of their ends; the others go side by side, so that the store takes them together.
    const groups = Map.groupBy(due, (job) => JSON.stringify([job.queue, job.key ?? job.id]))
    await Promise.all(
      [...groups.values()].map(async (group) => {
        for (const job of group) {
          if (holds(job)) return
          const followed = await this.#follow(job, look).catch((error: unknown) => this.#tellStuck(`job ${job.id}: ${String(error)}`))
          if (followed?.command !== undefined) commands.push(followed.command)
          if (followed?.isDone !== true) return
          waiting.delete(job)
        }
      }),
    )
    await this.#tell(commands, due)
    return waiting
  }

  /** In one commit, with what is kept of all these ends: an end is one, also where what follows from it has to wait. */
  async #tell(followed: readonly Followed[], ended: readonly StoredJob[]): Promise<void> {
    const kept = (await Promise.all(this.#keepers.map((keeper) => keeper.keep(ended)))).filter((each) => each !== undefined)
    const notes = kept.flatMap((each) => each.notes.map((note): JobCommand => ({ kind: 'note', ...note })))
    const commands = [...notes, ...followed]
    if (commands.length === 0) return
    await this.#parts.store.command(commands).catch((error: unknown) => {
      for (const each of kept) each.unknown()
      throw error
    })
    for (const each of kept) each.written()
  }

  /** What to tell the store, and whether everything is done. */
  async #follow(job: StoredJob, look: Look): Promise<{ readonly command?: Followed; readonly isDone: boolean }> {
    const { promise: over, resolve } = Promise.withResolvers<void>()
    let answer: Promise<JobAnswer | undefined> | undefined
    let held = 0
    const take = async (): Promise<JobAnswer | undefined> => {
      held = await this.#hold(job)
      return this.answerOf(job)
    }
    const ended: EndedJob = {
      job,
      answer: () => (answer ??= take()),
      hasRoom: (queue) => look.hasRoom(queue, over),
    }
    try {
      return await this.#make(ended, look)
    } finally {
      resolve()
      this.#held.give(held)
    }
  }

  /** Until there is room for a result in memory. */
  async #hold({ resultBytes = 0 }: StoredJob): Promise<Bytes> {
    const bytes = Math.min(resultBytes, this.#held.max)
    if (this.#held.waiting > 0 || !this.#held.take(bytes)) await new Promise<void>((resolve) => this.#held.takeLater(bytes, resolve))
    return bytes
  }

  async #make(ended: EndedJob, look: Look): Promise<{ readonly command?: Followed; readonly isDone: boolean }> {
    const { id, version } = ended.job
    const jobs: NewJob[] = []
    const names: string[] = []
    const notes: NewNote[] = []
    let next: { readonly at: number } | JobError | undefined
    let isDone = true
    for (const make of this.#makers) {
      const made = await make(ended)
      if (made === 'waits') isDone = false
      if (made === undefined || made === 'waits') continue
      const { next: named } = made
      const left = made.jobs.filter(({ name }) => ended.job.followedBy?.includes(name) !== true)
      if (typeof named === 'object') next = named
      else if (named !== undefined) next = { at: jobs.length + left.findIndex(({ name }) => name === named) }
      jobs.push(...left.map((each) => ({ ...each.job, idempotency: onceFor(ended.job, each.name) })))
      names.push(...left.map(({ name }) => name))
      notes.push(...(made.notes ?? []))
    }
    const submitted = jobs.length === 0 ? [] : await this.#parts.submit(jobs)
    for (const [i, outcome] of submitted.entries()) {
      if (outcome.kind !== 'refused') continue
      isDone = false
      // Where bytes are short, a smaller one may well have room.
      if (outcome.limit !== 'bytes') look.full.add((jobs[i] as NewJob).queue)
      this.#tellStuck(`${outcome.detail}; what is to follow from the end of job ${id} waits`)
    }
    const told = next === undefined ? undefined : 'at' in next ? nextOf(submitted[next.at]) : { error: next }
    const command: Followed = { kind: 'followed', id, version, ...(told !== undefined && { next: told }) }
    if (isDone) return { command: { ...command, notes }, isDone }
    // Kept now: when the rest has found room, what was made may long have gone, and would be made again.
    const followedBy = names.filter((_, i) => submitted[i]?.kind !== 'refused')
    return followedBy.length === 0 && told === undefined ? { isDone } : { command: { ...command, more: true, followedBy }, isDone }
  }

  /** As the makers get it: also one that was streamed is read, where it is small enough. */
  async answerOf({ id }: Pick<StoredJob, 'id'>): Promise<JobAnswer | undefined> {
    const { store, bodyBytesMax } = this.#parts
    const answer = (await store.read([id], 'result'))[0]?.answer
    const blob = answer?.blob
    if (answer === undefined || blob === undefined || blob.bytes > bodyBytesMax()) return answer
    const source = await store.blobs.open(id, blob)
    const body = source && (await bytesOf(source))
    const { status, reason, headers } = answer
    return body && { status, reason, headers, body }
  }

  #tellStuck(why: string): undefined {
    if (this.#stuck || this.#stopped) return undefined
    this.#stuck = true
    this.#parts.telemetry.event({ type: 'warning', message: `what follows from ended jobs is late: ${why}` })
    return undefined
  }
}

/** One look at the outbox. Where a queue had no room at the last one, the first end that leads there tries, and the others wait for what comes of it. */
class Look {
  readonly full = new Set<QueueName>()
  readonly #wasFull: ReadonlySet<QueueName>
  readonly #tried = new Map<QueueName, Promise<void>>()

  constructor(wasFull: ReadonlySet<QueueName>) {
    this.#wasFull = wasFull
  }

  async hasRoom(queue: QueueName, trying: Promise<void>): Promise<boolean> {
    const tried = this.#tried.get(queue)
    if (tried !== undefined) await tried
    else if (this.#wasFull.has(queue)) this.#tried.set(queue, trying)
    return !this.full.has(queue)
  }
}

/** Undefined: it is damaged, which the store has said. It will be tomorrow, and what follows must not wait for it. */
async function bytesOf(source: BlobSource): Promise<Uint8Array | undefined> {
  try {
    const pieces: Uint8Array[] = []
    for (let at = 0; at < source.length; at += pieces.at(-1)?.length ?? 0) pieces.push(await source.read(at))
    return Buffer.concat(pieces)
  } catch (error) {
    return unlessDamaged(error as Error)
  } finally {
    source.close()
  }
}

/** What the system could not read just now may be read later; what is not as it was written never is. */
function unlessDamaged(error: Error): undefined {
  if ('code' in error) throw error
}

type Followed = Extract<JobCommand, { kind: 'followed' }>

/** A repeat is the same job as the first time. Undefined: it has found no room. */
function nextOf(submitted: Submitted | undefined): NextJob | undefined {
  if (submitted?.kind === 'refused') return undefined
  if (submitted?.kind !== 'created' && submitted?.kind !== 'duplicate') throw new Error('the next job of a chain was not made')
  return { id: submitted.job.id, secret: submitted.job.secret }
}

/** One end of one job makes each of its followers once, however often it is tried. */
function onceFor(job: StoredJob, name: string): NonNullable<NewJob['idempotency']> {
  const once = hash('sha256', JSON.stringify(['follow-up', job.id, endOf(job), name]), 'hex')
  return { scopeKey: once, fingerprint: once, keepMs: MADE_AGAIN_MS }
}
