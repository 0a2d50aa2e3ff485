/**
 * Batches: many jobs that were taken together, under one token. What has become of them is read from the store at the start and kept in memory from
 * then on: the ends come with the outbox and are durable before anybody is told of them, what happens before an end comes over the bus.
 */
import { hash } from 'node:crypto'
import { BatchState, BLOCK, type Ends } from '../core/jobs/batch.ts'
import { parseJobId } from '../core/jobs/job-id.ts'
import type { JobStatus } from '../core/jobs/record.ts'
import type { Millis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random, Timer } from '../ports/clock.ts'
import type { CommandOutcome, JobId, JobStore, NewJob, NewNote, ReadJob, StoredJob, Submitted, SubmittedWhole } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { BATCH_NOTE, type BatchHead, blockNote, headNote, idAt, type KeptBatch, noNotes, placeInBatch, readNotes } from './batch-notes.ts'
import type { EndKeeper, KeptEnds } from './follow-ups.ts'

export interface NewBatch {
  /** At least one; of each, its followUp says its place. */
  readonly jobs: readonly NewJob[]
  readonly reference?: string
  /** A repeat is the same batch. */
  readonly once?: NonNullable<BatchHead['once']>
}

export interface TakenBatch {
  readonly kind: 'created' | 'duplicate'
  readonly batch: Batch
}

export type RefusedBatch =
  /** A repeat of one that is no longer kept. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'too-many'; readonly max: number }
  | Extract<SubmittedWhole, { kind: 'conflict' | 'refused' }>

/** What is to follow from the end of a batch: jobs, each made once, under a name of its own. Called again after a crash, and has to make the same. */
export type BatchEndMaker = (batch: Batch) => readonly { readonly name: string; readonly job: Omit<NewJob, 'idempotency'> }[]

export interface BatchesParts {
  readonly store: Pick<JobStore, 'notes' | 'command' | 'read'>
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  readonly max: () => number
  readonly submitWhole: (jobs: readonly NewJob[], note: Required<NewNote>) => Promise<SubmittedWhole>
  readonly submit: (jobs: readonly NewJob[]) => Promise<readonly Submitted[]>
  readonly cancel: (id: JobId) => Promise<CommandOutcome>
}

const KEEP_MIN_MS: Millis = 24 * 3_600_000
const SWEEP_MS: Millis = 60_000
const RETRY_MS: Millis = 1000
/** Whoever watches is told of changes before the end no more often than this. */
const TELL_EVERY_MS: Millis = 100
const READ_MAX = 500
const CANCEL_MAX = 100

export class Batch implements KeptBatch {
  readonly id: JobId
  state: BatchState
  head: BatchHead
  /** False: more may stand in its notes than is known here. */
  isCertain = true
  readonly watchers: Set<() => void> = new Set()
  telling: Timer | undefined
  /** What happened to its jobs before this life of the gateway is known. */
  isCurrent: boolean

  constructor({ id, head, state }: KeptBatch, isCurrent: boolean) {
    this.id = id
    this.head = head
    this.state = state
    this.isCurrent = isCurrent
  }

  get ended(): boolean {
    return this.head.finishedAt !== undefined
  }
}

export class Batches implements EndKeeper {
  readonly #parts: BatchesParts
  readonly #batches = new Map<JobId, Batch>()
  readonly #byScope = new Map<string, Batch>()
  readonly #makers: BatchEndMaker[] = []
  readonly #timers = new Map<'sweep' | 'announce', Timer>()
  #submitting = 0
  /** Batches of which something was heard before their submission was answered. */
  readonly #early = new Set<JobId>()
  #unsubscribe: (() => void) | undefined
  #announcing: Promise<void> | undefined
  #closed = false

  constructor(parts: BatchesParts) {
    this.#parts = parts
    this.#unsubscribe = parts.bus.subscribe((event) => {
      if (event.kind === 'job' && event.job.followUp !== undefined) this.#live(event.job)
    })
  }

  /** What is to follow from the end of each batch: to be said before `start`. */
  onEnded(maker: BatchEndMaker): void {
    this.#makers.push(maker)
  }

  get kept(): number {
    return this.#batches.size
  }

  get running(): number {
    let running = 0
    for (const batch of this.#batches.values()) if (!batch.ended) running++
    return running
  }

  async restore(): Promise<void> {
    const { store } = this.#parts
    const { batches, stray } = readNotes(await store.notes(BATCH_NOTE))
    for (const kept of batches) this.#take(new Batch(kept, kept.state.open === 0))
    if (stray.length > 0) await store.command(stray.map((name) => ({ kind: 'note', name })))
  }

  start(): void {
    this.#after('sweep', SWEEP_MS, () => this.#sweep())
    this.#announce()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unsubscribe?.()
    for (const timer of this.#timers.values()) timer.cancel()
    for (const batch of this.#batches.values()) {
      batch.telling?.cancel()
      this.#tell(batch)
    }
    await this.#announcing
  }

  // --- for its clients

  /** What a repeat of one that is kept is answered with; undefined: it is none. */
  async repeated(once: NewBatch['once']): Promise<TakenBatch | RefusedBatch | undefined> {
    const known = once && this.#byScope.get(once.scopeKey)
    if (known === undefined) return undefined
    return known.head.once?.fingerprint === once?.fingerprint
      ? { kind: 'duplicate', batch: await this.#current(known) }
      : { kind: 'conflict' }
  }

  /** Resolved = durable. Rejects when the engine failed. */
  async submit({ jobs, reference, once }: NewBatch): Promise<TakenBatch | RefusedBatch> {
    const before = await this.repeated(once)
    if (before !== undefined) return before
    const max = this.#parts.max()
    if (this.#batches.size + this.#submitting >= max) return { kind: 'too-many', max }
    const head: BatchHead = {
      secret: this.#parts.random.bytes(16).toString('base64url'),
      total: jobs.length,
      queues: [...new Set(jobs.map(({ queue }) => queue))],
      submittedAt: Math.floor(this.#parts.clock.now()),
      keepMs: jobs.reduce((most, { keepMs }) => Math.max(most, keepMs), KEEP_MIN_MS),
      ...(reference !== undefined && { reference }),
      ...(once !== undefined && { once }),
    }
    this.#submitting++
    try {
      const [first, ...rest] = jobs as readonly [NewJob, ...NewJob[]]
      const keyed = once === undefined ? first : { ...first, idempotency: { ...once, keepMs: KEEP_MIN_MS } }
      const submitted = await this.#parts.submitWhole([keyed, ...rest], headNote('', head))
      if (submitted.kind === 'conflict' || submitted.kind === 'refused') return submitted
      const { id } = submitted.first
      if (submitted.kind === 'duplicate') {
        const batch = await this.find(id)
        return batch === undefined ? { kind: 'gone' } : { kind: 'duplicate', batch }
      }
      // Somebody who heard of it earlier may have found it in the store.
      const made = this.#batches.get(id) ?? this.#take(new Batch({ id, head, state: new BatchState(head.total) }, !this.#early.has(id)))
      return { kind: 'created', batch: made }
    } finally {
      this.#submitting--
      if (this.#submitting === 0) this.#early.clear()
    }
  }

  /** As it stands now. One that this process has not heard of may be in the store all the same: the answer to its submission may have been lost. */
  async find(id: JobId): Promise<Batch | undefined> {
    const batch = await this.#find(id)
    return batch && this.#current(batch)
  }

  async #current(batch: Batch): Promise<Batch> {
    if (!batch.isCurrent) await this.#catchUp(batch)
    return batch
  }

  /** Resolves when it has ended or `isEnough` says so, at the latest after that time. */
  wait(batch: Batch, forMs: Millis, options: { readonly signal?: AbortSignal; readonly isEnough?: () => boolean } = {}): Promise<void> {
    const { signal, isEnough } = options
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        batch.watchers.delete(look)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const look = (): void => {
        if (this.#closed || batch.ended || isEnough?.() === true) done()
      }
      const timer = this.#parts.clock.after(forMs, done)
      batch.watchers.add(look)
      signal?.addEventListener('abort', done, { once: true })
      if (signal?.aborted === true) done()
      else look()
    })
  }

  /** From the one with the index `first` on; a job that is no longer kept is undefined. */
  async page(batch: Batch, first: number, max: number): Promise<readonly (StoredJob | undefined)[]> {
    const count = Math.max(0, Math.min(max, batch.state.total - first))
    const ids = Array.from({ length: count }, (_, i) => idAt(batch.id, first + i))
    return (await this.#parts.store.read(ids, 'status')).map((read) => read?.job)
  }

  /** Ends what has not ended, of those that whoever asks may end, and says how many those were. That they are counted follows in a moment. */
  async cancel(batch: Batch, mayEnd: (job: StoredJob) => boolean = () => true): Promise<number> {
    let cancelled = 0
    const open = [...batch.state.openIndexes()]
    for (let at = 0; at < open.length; at += CANCEL_MAX) {
      const ids = open.slice(at, at + CANCEL_MAX).map((index) => idAt(batch.id, index))
      const reads = await this.#parts.store.read(ids, 'status')
      const theirs = reads.flatMap((read) => (read !== undefined && mayEnd(read.job) ? [read.job.id] : []))
      const outcomes = await Promise.all(theirs.map((id) => this.#parts.cancel(id)))
      cancelled += outcomes.filter(({ kind }) => kind === 'done').length
    }
    return cancelled
  }

  // --- what happens to jobs

  async keep(ended: readonly StoredJob[]): Promise<KeptEnds | undefined> {
    const endsOf = new Map<Batch, Map<number, JobStatus>>()
    for (const job of ended) {
      const place = placeInBatch(job)
      const batch = place && (await this.#find(place.batch))
      // It was sent again after its batch had been forgotten; or it is told of again.
      if (place === undefined || batch === undefined || batch.state.statusOf(place.index) === job.status) continue
      const ends = endsOf.get(batch) ?? new Map<number, JobStatus>()
      endsOf.set(batch, ends.set(place.index, job.status))
    }
    if (endsOf.size === 0) return undefined
    const changes = [...endsOf].map(([batch, ends]) => ({ batch, ends, head: this.#headAfter(batch, ends) }))
    const notes = changes.flatMap(({ batch, ends, head }) => [
      ...[...batch.state.blocksAfter(ends)].map(({ block, text }) => blockNote(batch.id, block, text)),
      ...(head === batch.head ? [] : [headNote(batch.id, head)]),
    ])
    return {
      notes,
      written: () => changes.forEach((change) => this.#ended(change)),
      // To write on what is known here could take back what is there.
      unknown: () => changes.forEach(({ batch }) => (batch.isCertain = false)),
    }
  }

  #headAfter(batch: Batch, ends: Ends): BatchHead {
    if (batch.ended || batch.state.openAfter(ends) > 0) return batch.head
    const finishedAt = Math.floor(this.#parts.clock.now())
    return { ...batch.head, finishedAt, ...(this.#makers.length > 0 && { due: true as const }) }
  }

  #ended({ batch, ends, head }: { readonly batch: Batch; readonly ends: Ends; readonly head: BatchHead }): void {
    for (const [index, status] of ends) batch.state.end(index, status)
    const isOver = head !== batch.head
    batch.head = head
    this.#changed(batch)
    if (!isOver) return
    const { total, counts } = batch.state
    this.#parts.telemetry.event({ type: 'batch-ended', batch: batch.id, total, succeeded: counts.succeeded })
    this.#announce()
  }

  #live(job: StoredJob): void {
    const place = placeInBatch(job)
    if (place === undefined) return
    const batch = this.#batches.get(place.batch)
    if (batch === undefined) {
      if (this.#submitting > 0) this.#early.add(place.batch)
    } else if (batch.state.live(place.index, job.status)) this.#changed(batch)
  }

  /** What is not known of those that have not ended is asked for. */
  async #catchUp(batch: Batch): Promise<void> {
    const open = [...batch.state.openIndexes()]
    for (let at = 0; at < open.length; at += READ_MAX) {
      const indexes = open.slice(at, at + READ_MAX)
      const ids = indexes.map((index) => idAt(batch.id, index))
      const reads: readonly (ReadJob | undefined)[] = await this.#parts.store.read(ids, 'status')
      for (const [i, read] of reads.entries()) if (read !== undefined) batch.state.live(indexes[i] as number, read.job.status)
    }
    batch.isCurrent = true
  }

  #changed(batch: Batch): void {
    if (batch.watchers.size === 0) return
    if (batch.ended) return this.#tell(batch)
    batch.telling ??= this.#parts.clock.after(TELL_EVERY_MS, () => this.#tell(batch))
  }

  #tell(batch: Batch): void {
    batch.telling?.cancel()
    batch.telling = undefined
    for (const watcher of batch.watchers) watcher()
  }

  // --- which there are

  #take(batch: Batch): Batch {
    this.#batches.set(batch.id, batch)
    if (batch.head.once !== undefined) this.#byScope.set(batch.head.once.scopeKey, batch)
    return batch
  }

  async #find(id: JobId): Promise<Batch | undefined> {
    const known = this.#batches.get(id)
    // Anything else could be the beginning of many names.
    if (known?.isCertain === true || parseJobId(id) === undefined) return known
    const [kept] = readNotes(await this.#parts.store.notes(BATCH_NOTE + id)).batches
    // Somebody else may have found it meanwhile.
    const now = this.#batches.get(id)
    if (kept === undefined || now?.isCertain === true) return now
    if (now === undefined) return this.#take(new Batch(kept, false))
    now.state = kept.state
    now.head = kept.head
    now.isCertain = true
    now.isCurrent = false
    this.#changed(now)
    this.#announce()
    return now
  }

  #sweep(): void {
    const now = this.#parts.clock.now()
    const over = [...this.#batches.values()].filter(
      ({ head: { finishedAt, keepMs, due } }) => finishedAt !== undefined && due === undefined && finishedAt + keepMs <= now,
    )
    void this.#forget(over).catch((error: unknown) => this.#failed('old batches are forgotten later', error))
    this.#after('sweep', SWEEP_MS, () => this.#sweep())
  }

  async #forget(batches: readonly Batch[]): Promise<void> {
    for (const { id, head } of batches) {
      await this.#parts.store.command(noNotes(id, head.total, BLOCK).map((note) => ({ kind: 'note', ...note })))
      this.#batches.delete(id)
      if (head.once !== undefined) this.#byScope.delete(head.once.scopeKey)
    }
  }

  /** What follows from ends of batches is made: once each, late rather than never. */
  #announce(): void {
    if (this.#closed || this.#announcing !== undefined) return
    const due = [...this.#batches.values()].filter(({ head }) => head.due === true)
    if (due.length === 0) return
    this.#announcing = this.#announceAll(due)
      .then(
        () => 0,
        (error: unknown) => {
          this.#failed('what follows from the end of a batch is late', error)
          return RETRY_MS
        },
      )
      .then((afterMs) => {
        this.#announcing = undefined
        // More may have ended meanwhile.
        this.#after('announce', afterMs, () => this.#announce())
      })
  }

  async #announceAll(due: readonly Batch[]): Promise<void> {
    for (const batch of due) {
      const refused = await this.#announceEnd(batch)
      if (refused !== undefined) throw new Error(refused)
    }
  }

  /** Undefined: all that follows is made; else why there is no room for the rest. */
  async #announceEnd(batch: Batch): Promise<string | undefined> {
    const { due: _, followedBy = [], ...head } = batch.head
    const made = this.#makers.flatMap((make) => make(batch)).filter(({ name }) => !followedBy.includes(name))
    const jobs = made.map(({ name, job }): NewJob => ({ ...job, idempotency: onceFor(batch, name) }))
    const submitted = jobs.length === 0 ? [] : await this.#parts.submit(jobs)
    const refused = submitted.find((outcome) => outcome.kind === 'refused')
    // Kept now: when the rest has found room, what was made may long have gone, and would be made again.
    const names = made.flatMap(({ name }, i) => (submitted[i]?.kind === 'refused' ? [] : [name]))
    if (refused === undefined) await this.#setHead(batch, head)
    else if (names.length > 0) await this.#setHead(batch, { ...head, due: true, followedBy: [...followedBy, ...names] })
    return refused?.detail
  }

  async #setHead(batch: Batch, head: BatchHead): Promise<void> {
    await this.#parts.store.command([{ kind: 'note', ...headNote(batch.id, head) }])
    batch.head = head
  }

  #failed(what: string, error: unknown): void {
    if (this.#closed) return
    this.#parts.telemetry.event({ type: 'warning', message: `${what}: ${error instanceof Error ? error.message : String(error)}` })
  }

  #after(name: 'sweep' | 'announce', afterMs: Millis, work: () => void): void {
    this.#timers.get(name)?.cancel()
    if (!this.#closed) this.#timers.set(name, this.#parts.clock.after(afterMs, work))
  }
}

/** The end of a batch makes each of its followers once, however often it is tried. */
function onceFor(batch: Batch, name: string): NonNullable<NewJob['idempotency']> {
  const once = hash('sha256', JSON.stringify(['batch-ended', batch.id, name]), 'hex')
  return { scopeKey: once, fingerprint: once, keepMs: KEEP_MIN_MS }
}
