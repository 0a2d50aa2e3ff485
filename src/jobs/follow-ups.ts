/**
 * Empties the store's outbox: for each job that has ended, what follows from that is made of it (webhooks, the next job of a chain, the count of a
 * batch), and only then the store is told that it is done. A crash in between makes the same again, under the same idempotency keys: so each
 * job that follows is made once. Where there is no room for it, the end that it follows from waits in the outbox.
 */
import { hash } from 'node:crypto'
import type { Bytes, Millis } from '../lib/units.ts'
import type { BlobSource } from '../ports/blobs.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobAnswer, JobCommand, JobError, JobStore, NewJob, NewNote, NextJob, StoredJob, Submitted } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

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
}

/** Called again for the same end after a crash or where there was no room, and has to make the same. */
export type FollowUpMaker = (ended: EndedJob) => FollowUp | undefined | Promise<FollowUp | undefined>

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

export class FollowUps {
  readonly #parts: FollowUpParts
  readonly #makers: FollowUpMaker[] = []
  readonly #keepers: EndKeeper[] = []
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
        const due = await this.#parts.store.followUps(BATCH)
        const done = await this.#followAll(due)
        if (done < due.length && (done === 0 || due.length < BATCH)) return RETRY_MS
        if (due.length >= BATCH) this.#again = true
      }
      return LOOK_EVERY_MS
    } catch (error) {
      this.#tellStuck(String(error))
      return RETRY_MS
    }
  }

  /** How many are done; of the others something has no room, or could not be made. */
  async #followAll(due: readonly StoredJob[]): Promise<number> {
    const commands: Followed[] = []
    const full = new Set<string>()
    // What follows from jobs of one key comes in the order of their ends; the others go side by side, so that the store takes them together.
    const groups = Map.groupBy(due, (job) => JSON.stringify([job.queue, job.key ?? job.id]))
    await Promise.all([...groups.values()].map((group) => this.#followInOrder(group, commands, full)))
    await this.#tell(commands, due)
    const done = commands.filter(({ more }) => more !== true).length
    if (done === due.length) this.#stuck = false
    return done
  }

  /** Up to the first that has to wait. `full`: queues whose ends have found no room. */
  async #followInOrder(group: readonly StoredJob[], commands: Followed[], full: Set<string>): Promise<void> {
    for (const job of group) {
      // Where one has no room, the next ones of its queue hardly have: nothing of them is read in vain.
      if (full.has(job.queue)) return
      const followed = await this.#follow(job).catch((error: unknown) => this.#tellStuck(`job ${job.id}: ${String(error)}`))
      if (followed === undefined) return
      const { command, isFull } = followed
      if (command !== undefined) commands.push(command)
      if (isFull) return void full.add(job.queue)
    }
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

  /** What to tell the store; `isFull`: there is no room for all of it. */
  async #follow(job: StoredJob): Promise<{ readonly command?: Followed; readonly isFull: boolean }> {
    let answer: Promise<JobAnswer | undefined> | undefined
    const ended: EndedJob = {
      job,
      answer: () => (answer ??= this.#answerOf(job)),
    }
    const jobs: NewJob[] = []
    const names: string[] = []
    const notes: NewNote[] = []
    let next: { readonly at: number } | JobError | undefined
    for (const make of this.#makers) {
      const made = await make(ended)
      if (made === undefined) continue
      const { next: named } = made
      const left = made.jobs.filter(({ name }) => job.followedBy?.includes(name) !== true)
      if (typeof named === 'object') next = named
      else if (named !== undefined) next = { at: jobs.length + left.findIndex(({ name }) => name === named) }
      jobs.push(...left.map((each) => ({ ...each.job, idempotency: onceFor(job, each.name) })))
      names.push(...left.map(({ name }) => name))
      notes.push(...(made.notes ?? []))
    }
    const submitted = jobs.length === 0 ? [] : await this.#parts.submit(jobs)
    const refused = submitted.find((outcome) => outcome.kind === 'refused')
    const told = next === undefined ? undefined : 'at' in next ? nextOf(submitted[next.at]) : { error: next }
    const { id, version } = job
    const command: Followed = { kind: 'followed', id, version, ...(told !== undefined && { next: told }) }
    if (refused === undefined) return { command: { ...command, notes }, isFull: false }
    this.#tellStuck(`${refused.detail}; what is to follow from the end of job ${id} waits`)
    // Kept now: when the rest has found room, what was made may long have gone, and would be made again.
    const followedBy = names.filter((_, i) => submitted[i]?.kind !== 'refused')
    return followedBy.length === 0 && told === undefined
      ? { isFull: true }
      : { command: { ...command, more: true, followedBy }, isFull: true }
  }

  async #answerOf({ id }: StoredJob): Promise<JobAnswer | undefined> {
    const { store, bodyBytesMax } = this.#parts
    const answer = (await store.read([id], 'result'))[0]?.answer
    const blob = answer?.blob
    if (answer === undefined || blob === undefined || blob.bytes > bodyBytesMax()) return answer
    const source = await store.blobs.open(id, blob)
    const { status, reason, headers } = answer
    return source === undefined ? undefined : { status, reason, headers, body: await bytesOf(source) }
  }

  #tellStuck(why: string): undefined {
    if (this.#stuck || this.#stopped) return undefined
    this.#stuck = true
    this.#parts.telemetry.event({ type: 'warning', message: `what follows from ended jobs is late: ${why}` })
    return undefined
  }
}

async function bytesOf(source: BlobSource): Promise<Uint8Array> {
  try {
    const pieces: Uint8Array[] = []
    for (let at = 0; at < source.length; at += pieces.at(-1)?.length ?? 0) pieces.push(await source.read(at))
    return Buffer.concat(pieces)
  } finally {
    source.close()
  }
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
  const once = hash('sha256', JSON.stringify(['follow-up', job.id, job.version, name]), 'hex')
  return { scopeKey: once, fingerprint: once, keepMs: MADE_AGAIN_MS }
}
