/**
 * The durable half of the gateway as one value: submit, wait, watch, cancel, and the dispatch behind them.
 * Whoever needs a job goes through here; nobody else holds the store.
 */
import type { Config, QueueConfig, SigningKey } from '../config/config.ts'
import { Closing, type ClosingSignal } from '../lib/closing.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type {
  CommandOutcome,
  JobId,
  JobStore,
  KeyRef,
  Lease,
  NewJob,
  NewNote,
  QueueName,
  QueueStats,
  ReadJob,
  SettleOutcome,
  StoredJob,
  Submitted,
  SubmittedWhole,
  Tick,
} from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { Batches } from './batches.ts'
import { chains } from './chains.ts'
import { Dispatcher } from './dispatch.ts'
import { Drain, retryAfterSeconds } from './estimate.ts'
import { FollowUps } from './follow-ups.ts'
import { LiveAnswers } from './live-answers.ts'
import { type PreparedReload, Queues } from './queues.ts'
import { reportAddressOf } from './report-address.ts'
import { Reports } from './reports.ts'
import { type ResultRoom, StoredResults, type TakenResult } from './stored-results.ts'
import { Ticker } from './ticker.ts'
import { Watch, type WaitOptions, type WatchListener } from './watch.ts'

const WAKE_EVERY_MS: Millis = 20_000
/** Who is refused comes back no sooner, or all of them would come at once. */
const REFUSED_MIN_MS: Millis = 4000
/** Who waits for a job that is taken back hears of it at once, so this is plenty. */
const TAKEN_BACK_MAX = 1000

export interface JobsParts {
  readonly config: Config
  readonly store: JobStore
  readonly pools: ReadonlyMap<string, Pool>
  readonly upstream: Upstream
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** Where servers reach this gateway, without a slash at the end: `http://127.0.0.1:8080`. Asked for at each attempt. */
  readonly ownUrl: () => string
}

export interface Estimate {
  /** Undefined: nobody can say. */
  readonly etaMs?: Millis
  /** Jittered, from 1 to 60. */
  readonly retryAfterSeconds: number
}

export interface SubmitOptions {
  /** Somebody is about to say for how long it is waited for (`hold`): nobody is to begin with it before. */
  readonly isHeld?: boolean
}

export interface Jobs {
  /** The queues by themselves: what the queue API does with them. */
  readonly queues: Queues
  /** What is to be done when jobs have ended. */
  readonly followUps: FollowUps
  /** Answers that are handed on while they come. */
  readonly answers: Pick<LiveAnswers, 'open' | 'size' | 'readers'>
  /** As `waitEnd`, and also until an answer that is handed on while it comes can be read. */
  waitAnswer(id: JobId, forMs: Millis, options?: WaitOptions): Promise<ReadJob | undefined>
  readonly batches: Batches
  /** Resolved = durable. Rejects when the engine failed. */
  submit(job: NewJob, options?: SubmitOptions): Promise<Submitted>
  /** Would a job of this key have others before it? */
  isHeld(key: KeyRef): Promise<boolean>
  read(id: JobId, want: 'status' | 'result'): Promise<ReadJob | undefined>
  /** The job's end within `forMs`, with its answer if that is in hand; undefined: the time is up, or there is no such job. */
  waitEnd(id: JobId, forMs: Millis, options?: WaitOptions): Promise<ReadJob | undefined>
  /** From version `seen` on. Returns what ends it. */
  watch(id: JobId, seen: number, beatMs: Millis, listener: WatchListener): () => void
  /** The answer of a job that has ended, for a client to whom it is written at once. Rejects when the engine failed. */
  result(ended: ReadJob, room: ResultRoom): Promise<TakenResult>
  cancel(id: JobId, onlyUnbegun: boolean): Promise<CommandOutcome>
  /** It was cancelled with `onlyUnbegun`, just now: nothing was done. */
  isTakenBack(id: JobId): boolean
  /** What servers report beside their answers. */
  readonly reports: Reports
  estimate(queue: QueueName, position: number | undefined): Estimate
  /** How many may wait in line for one more to begin within this time. Undefined: nobody can say. */
  aheadMax(queue: QueueName, withinMs: Millis): number | undefined
  /**
   * Somebody waits for so long for the end of a job, and wants it cancelled rather than begun too late to end in that time. Returns what ends it.
   */
  hold(id: JobId, forMs: Millis): () => void
  /** When it makes sense to come back to a queue that is full: jittered, from 1 to 60. */
  roomInSeconds(queue: QueueName): number
  /** Jobs that ended for good, of late. */
  endedPerSecond(queue: QueueName): number
  stats(): Promise<readonly QueueStats[]>
  /** Buckets that each server owns, for metrics. */
  owned(): readonly { readonly queue: QueueName; readonly server: string; readonly buckets: number }[]
  readonly inFlight: number
  readonly watchers: number
  /** The gateway shuts down: who waits gets an answer or a hint when to come back. */
  readonly closing: ClosingSignal
  /** Before anybody asks: queues, topics and schedules that are kept in the store, or to be put there. Rejects when the engine failed. */
  restore(): Promise<void>
  /** What a configuration that was read again changes: made durable here, and held to from `apply` on. A text: what is wrong with it. */
  prepareReload(config: Config): Promise<PreparedReload | string>
  start(): void
  /** Hands out nothing more; what runs may end within `timeoutMs`, the rest is handed back without counting. Jobs are taken as before. */
  rest(timeoutMs: Millis): Promise<void>
  /** The same, and whoever waits is told to come again. */
  drain(timeoutMs: Millis): Promise<void>
  /** Ends waits and timers. The store is its owner's to close, after this. */
  close(): Promise<void>
}

export function createJobs(parts: JobsParts): Jobs {
  return new LocalJobs(parts)
}

class LocalJobs implements Jobs {
  readonly queues: Queues
  readonly followUps: FollowUps
  readonly answers: LiveAnswers
  readonly reports: Reports
  readonly batches: Batches
  readonly #parts: JobsParts
  readonly #watch: Watch
  readonly #results: StoredResults
  readonly #takenBack = new Set<JobId>()
  readonly #heldUntil = new Map<JobId, MonotonicMillis>()
  readonly #ticker: Ticker
  readonly #dispatcher: Dispatcher
  readonly #drains = new Map<QueueName, Drain>()
  readonly #closing = new Closing()
  #config: Config
  #wokenAt: MonotonicMillis

  constructor(parts: JobsParts) {
    const { config, store, bus, clock } = parts
    this.#parts = parts
    this.#config = config
    this.#wokenAt = clock.monotonic()
    this.#watch = new Watch(store, bus, clock, this.#listenerFailed)
    this.#results = new StoredResults(store, config.limits)
    this.#ticker = new Ticker({ tick: () => this.#tick() }, clock, (tick) => this.#ticked(tick), this.#tickFailed)
    this.followUps = new FollowUps({ ...parts, bodyBytesMax: () => this.#config.limits.jobBody, submit: (jobs) => this.#submit(jobs) })
    this.answers = new LiveAnswers(parts)
    const { result: resultBytesMax, streamedResult: streamedBytesMax } = config.limits
    const signingKeys = (): readonly SigningKey[] => this.#config.signing?.keys ?? []
    const requestIdHeader = (): string | undefined => this.#config.requestId?.header
    const settings = { resultBytesMax, streamedBytesMax, signingKeys, requestIdHeader }
    const context = { ...parts, ...settings, reportUrl: this.#reportUrl, answers: this.answers }
    this.#dispatcher = new Dispatcher(config.queues, parts.pools, context, {
      changed: (job) => bus.publish({ kind: 'job', job }),
      isTooLate: (job) => this.#isTooLate(job),
      takeBack: (lease) => this.#takeBack(lease),
      ...this.#hooks,
    })
    this.queues = new Queues(parts, {
      ...this.#hooks,
      submit: (jobs) => this.#submit(jobs),
      changed: (job) => {
        this.#dispatcher.left(job)
        bus.publish({ kind: 'job', job })
      },
      clashes: (lease) => this.#dispatcher.clashes(lease),
      dispatch: (name, queue) => void (queue === undefined ? this.#dispatcher.remove(name) : this.#dispatcher.set(queue)),
    })
    this.reports = new Reports(parts, {
      queueOf: (name) => this.queues.configOf(name),
      settle: async (queue, ending) => (await this.queues.settle(queue, [ending]))[0] as SettleOutcome,
      extend: (queue, ref, forMs) => this.#dispatcher.extend(queue, ref, forMs),
      ended: (job) => this.#dispatcher.left(job),
      dueIn: this.#hooks.dueIn,
    })
    this.batches = new Batches({
      ...parts,
      max: () => this.#config.limits.batches,
      submit: (jobs) => this.#submit(jobs),
      submitWhole: (jobs, note) => this.#submitWhole(jobs, note),
      cancel: (id) => this.cancel(id, false),
    })
    this.followUps.addKeeper(this.batches)
    this.followUps.add(chains({ ...parts, config: () => this.#config, queue: (name) => this.#definedQueue(name) }))
  }

  #definedQueue(name: QueueName): QueueConfig | undefined {
    const queue = this.queues.find(name)
    return queue?.origin === 'none' ? undefined : queue?.config
  }

  /** What follows from hand-outs, whoever works on them. */
  readonly #hooks = {
    ended: (job: StoredJob, tookMs: Millis): void => this.#drainOf(job.queue).ended(this.#parts.clock.monotonic(), tookMs),
    dueIn: (delayMs: Millis): void => this.#ticker.within(delayMs),
    short: ({ rules }: QueueConfig): void => {
      // The store knows to the millisecond when its rules let the next one go; it is asked no later than that.
      for (const rate of [rules.rate, rules.keyRate]) if (rate !== undefined) this.#ticker.within(rate.perMs / rate.count)
    },
  }

  async restore(): Promise<void> {
    await this.queues.restore()
    await this.batches.restore()
  }

  async prepareReload(config: Config): Promise<PreparedReload | string> {
    const prepared = await this.queues.prepareReload(config)
    if (typeof prepared === 'string') return prepared
    const apply = (): void => {
      this.#config = config
      prepared.apply()
    }
    return { apply }
  }

  start(): void {
    this.#dispatcher.start()
    this.#ticker.start()
    this.batches.start()
    this.followUps.start()
  }

  async submit(job: NewJob, options?: SubmitOptions): Promise<Submitted> {
    return (await this.#submit([job], options))[0] as Submitted
  }

  async #submit(jobs: readonly NewJob[], { isHeld = false }: SubmitOptions = {}): Promise<readonly Submitted[]> {
    if (!isHeld) this.#wakeFor(jobs)
    const submitted = await this.#parts.store.submit(jobs).catch((error: unknown) => this.#maybeSubmitted(jobs, error))
    this.#accepted(jobs, (i) => submitted[i]?.kind)
    if (isHeld) this.#wakeFor(jobs)
    return submitted
  }

  async #submitWhole(jobs: readonly NewJob[], note: Required<NewNote>): Promise<SubmittedWhole> {
    this.#wakeFor(jobs)
    const submitted = await this.#parts.store.submitWhole(jobs, note).catch((error: unknown) => this.#maybeSubmitted(jobs, error))
    this.#accepted(jobs, () => submitted.kind)
    return submitted
  }

  /**
   * Whoever asks for leases because of this does so in a moment, when the store has been asked to take the jobs but has not done it yet:
   * so both are one transaction, and one way to the store's thread and back.
   */
  #wakeFor(jobs: readonly NewJob[]): void {
    this.#wake(jobs.filter(({ delayMs = 0 }) => delayMs <= 0))
  }

  /** It may have been done all the same. */
  #maybeSubmitted(jobs: readonly NewJob[], error: unknown): never {
    this.#wake(jobs)
    throw error
  }

  /** The clockwork is set to when they are due. */
  #accepted(jobs: readonly NewJob[], kindOf: (i: number) => Submitted['kind'] | undefined): void {
    for (const [i, { queue, delayMs = 0, expireAfterMs, deadlineMs }] of jobs.entries()) {
      if (kindOf(i) !== 'created') continue
      if (expireAfterMs !== undefined) this.#ticker.within(delayMs + expireAfterMs)
      if (deadlineMs !== undefined) this.#ticker.within(deadlineMs)
      if (delayMs > 0) this.#ticker.within(delayMs)
      // Whoever had to make room is told of by the next tick.
      if (this.queues.find(queue)?.config.rules.overflow === 'drop-oldest') this.#ticker.within(0)
    }
  }

  #wake(jobs: readonly NewJob[]): void {
    for (const queue of new Set(jobs.map((job) => job.queue))) this.#parts.bus.publish({ kind: 'ready', queue })
  }

  async isHeld(key: KeyRef): Promise<boolean> {
    return (await this.#parts.store.held([key]))[0] === true
  }

  async read(id: JobId, want: 'status' | 'result'): Promise<ReadJob | undefined> {
    return (await this.#parts.store.read([id], want))[0]
  }

  waitEnd(id: JobId, forMs: Millis, options?: WaitOptions): Promise<ReadJob | undefined> {
    return this.#watch.waitEnd(id, forMs, options)
  }

  waitAnswer(id: JobId, forMs: Millis, options?: WaitOptions): Promise<ReadJob | undefined> {
    return this.#watch.waitEnd(id, forMs, { ...options, until: () => this.answers.isOpen(id) })
  }

  watch(id: JobId, seen: number, beatMs: Millis, listener: WatchListener): () => void {
    return this.#watch.watch(id, seen, beatMs, listener)
  }

  result(ended: ReadJob, room: ResultRoom): Promise<TakenResult> {
    return this.#results.take(ended, room)
  }

  isTakenBack(id: JobId): boolean {
    return this.#takenBack.has(id)
  }

  async cancel(id: JobId, onlyUnbegun: boolean): Promise<CommandOutcome> {
    const outcome = (await this.#parts.store.command([{ kind: 'cancel', id, onlyUnbegun }]))[0] as CommandOutcome
    if (outcome.kind === 'done' && outcome.job !== undefined) {
      const { job } = outcome
      if (onlyUnbegun) this.#noteTakenBack(job.id)
      this.#dispatcher.left(job)
      this.#parts.bus.publish({ kind: 'job', job })
      if (job.key !== undefined || this.#makesRoom(job)) this.#parts.bus.publish({ kind: 'ready', queue: job.queue })
    }
    return outcome
  }

  estimate(queue: QueueName, position: number | undefined): Estimate {
    const slots = this.#dispatcher.line(queue)?.slots ?? 0
    const pulled = this.queues.find(queue)?.config.pull ?? false
    const etaMs = this.#drainOf(queue).etaMs(this.#parts.clock.monotonic(), position ?? 0, { slots, pulled })
    const seconds = retryAfterSeconds(etaMs, this.#parts.random.unit())
    return etaMs === undefined ? { retryAfterSeconds: seconds } : { etaMs, retryAfterSeconds: seconds }
  }

  aheadMax(queue: QueueName, withinMs: Millis): number | undefined {
    const config = this.queues.find(queue)?.config
    if (config?.pull === true) return undefined
    const slots = this.#dispatcher.line(queue)?.slots ?? 0
    return this.#drainOf(queue).aheadMax(this.#parts.clock.monotonic(), withinMs, { slots })
  }

  hold(id: JobId, forMs: Millis): () => void {
    this.#heldUntil.set(id, this.#parts.clock.monotonic() + forMs)
    return () => void this.#heldUntil.delete(id)
  }

  roomInSeconds(queue: QueueName): number {
    const nextMs = this.#drainOf(queue).nextEndMs(this.#parts.clock.monotonic())
    return retryAfterSeconds(nextMs === undefined ? undefined : Math.max(nextMs, REFUSED_MIN_MS), this.#parts.random.unit())
  }

  endedPerSecond(queue: QueueName): number {
    return this.#drainOf(queue).perMs(this.#parts.clock.monotonic()) * 1000
  }

  stats(): Promise<readonly QueueStats[]> {
    return this.#parts.store.stats()
  }

  owned(): readonly { readonly queue: QueueName; readonly server: string; readonly buckets: number }[] {
    return [...this.#dispatcher.lines].flatMap((line) => line.owned().map((each) => ({ queue: line.queue.name, ...each })))
  }

  get inFlight(): number {
    return this.#dispatcher.inFlight
  }

  get watchers(): number {
    return this.#watch.size
  }

  get closing(): ClosingSignal {
    return this.#closing
  }

  rest(timeoutMs: Millis): Promise<void> {
    return this.#dispatcher.drain(timeoutMs)
  }

  drain(timeoutMs: Millis): Promise<void> {
    this.#closing.abort()
    this.queues.close()
    return this.rest(timeoutMs)
  }

  async close(): Promise<void> {
    await this.drain(0)
    await this.followUps.close()
    await this.batches.close()
    await this.#ticker.close()
    this.#watch.close()
  }

  /** Whoever waits for it will be gone before it can have ended. */
  #isTooLate({ id, queue }: StoredJob): boolean {
    if (this.#heldUntil.size === 0) return false
    const until = this.#heldUntil.get(id)
    if (until === undefined) return false
    const now = this.#parts.clock.monotonic()
    const drain = this.#drainOf(queue)
    // If none began, none would ever show that it is quicker again.
    if (this.#dispatcher.line(queue)?.inFlight === 0) drain.forgetUsual(now)
    return until - now < drain.usualMs
  }

  /** It was leased and has not begun. Both calls are made at once, so that nobody is given it in between. */
  #takeBack({ ref }: Lease): void {
    const handedBack = this.#parts.store.settle([{ kind: 'handBack', lease: ref, afterMs: 0 }])
    const cancelled = this.cancel(ref.id, true)
    // What the store was not told of lapses, or is cancelled when the wait is over.
    Promise.all([handedBack, cancelled]).catch(() => undefined)
  }

  /** It runs no more, and only so many of its queue may run at once. */
  #makesRoom({ queue, status }: StoredJob): boolean {
    const rules = this.queues.find(queue)?.config.rules
    return status !== 'running' && (rules?.maxRunning !== undefined || rules?.tenantMaxRunning !== undefined)
  }

  #drainOf(queue: QueueName): Drain {
    let drain = this.#drains.get(queue)
    if (drain === undefined) {
      drain = new Drain(this.#parts.clock.monotonic())
      this.#drains.set(queue, drain)
    }
    return drain
  }

  #noteTakenBack(id: JobId): void {
    this.#takenBack.add(id)
    if (this.#takenBack.size > TAKEN_BACK_MAX) this.#takenBack.delete(this.#takenBack.values().next().value as JobId)
  }

  readonly #reportUrl = ({ ref, job }: Lease): string => {
    const { jobs } = this.#config
    return `${jobs.publicUrl ?? this.#parts.ownUrl()}${jobs.path}/reports/${reportAddressOf(ref, job)}`
  }

  /**
   * A process that was stopped or busy serves its timers before it reads what has arrived. So this lets it read first, and tells the
   * store which attempts are alive; only then may leases lapse.
   */
  async #tick(): Promise<Tick> {
    await new Promise<void>((resolve) => setImmediate(resolve))
    await this.#dispatcher.extendLeases()
    return this.#parts.store.tick()
  }

  #ticked(tick: Tick): void {
    const { bus, telemetry } = this.#parts
    for (const job of tick.changed) this.#dispatcher.left(job)
    const ready = new Set([...tick.ready, ...tick.changed.filter((job) => this.#makesRoom(job)).map((job) => job.queue)])
    for (const queue of ready) bus.publish({ kind: 'ready', queue })
    for (const job of tick.changed) {
      bus.publish({ kind: 'job', job })
      if (job.status === 'retrying' && job.error !== undefined) this.queues.lapsed(job, job.error)
      if (job.dead === undefined) continue
      telemetry.event({ type: 'job-dead', job: job.id, queue: job.queue, reason: job.dead, detail: job.error?.detail ?? '' })
    }
    this.#wakeNowAndThen()
    this.queues.ticked().catch(this.#tickFailed)
  }

  /** The bus may have lost a wake-up. Where nothing waits, this costs one empty lease call per queue. */
  #wakeNowAndThen(): void {
    const now = this.#parts.clock.monotonic()
    if (now - this.#wokenAt < WAKE_EVERY_MS) return
    this.#wokenAt = now
    this.#dispatcher.wakeAll()
    this.queues.wakeAll()
  }

  readonly #listenerFailed = (error: unknown): void => {
    this.#parts.telemetry.event({ type: 'warning', message: `a watcher of a job failed: ${String(error)}` })
  }

  readonly #tickFailed = (error: unknown): void => {
    this.#parts.telemetry.event({ type: 'warning', message: `the store's clockwork failed: ${String(error)}` })
    // What it made ready, if it did all the same, nobody was told of.
    this.#dispatcher.wakeAll()
    this.queues.wakeAll()
  }
}
