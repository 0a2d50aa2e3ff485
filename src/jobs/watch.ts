/**
 * Everyone in this process who waits for something to happen to a job: held clients, long polls, event streams.
 * Fed by the bus; because the bus may lose, who waits also reads the job again, at a deadline or at a steady beat.
 * One timer and batched reads serve all watchers: ten thousand of them cost ten thousand entries, not ten thousand timers.
 */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobAnswer, JobId, JobStatus, JobStore, ReadJob, StoredJob } from '../ports/job-store.ts'

const SWEEP_MS: Millis = 100
const READ_BATCH = 500

export interface WaitOptions {
  /** The job was created in this very turn of the event loop: it cannot have ended yet, so the first read is saved. */
  readonly fresh?: boolean
  /** Ends the wait early, as if the time were up. */
  readonly signal?: AbortSignal
  /** Any other version than this one will do, ended or not. */
  readonly unlike?: number | undefined
  /** Asked with all that is heard of the job: true ends the wait as well. */
  readonly until?: () => boolean
}

export interface WatchListener {
  /** Called with each newer version of the job. Versions may be skipped. */
  job(job: StoredJob, answer: JobAnswer | undefined): void
  /** Called every `beatMs`, after the job was read again. `undefined`: it is gone from the store. */
  beat(job: StoredJob | undefined): void
}

export function isEnded(status: JobStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'cancelled' || status === 'expired'
}

interface Watcher {
  readonly id: JobId
  dueAt: MonotonicMillis
  changed(job: StoredJob, answer: JobAnswer | undefined): void
  /** The job as read at `dueAt`; a rejected read counts as unknown. */
  due(read: ReadJob | undefined | 'unknown'): void
}

export class Watch {
  readonly #store: Pick<JobStore, 'read'>
  readonly #clock: Clock
  readonly #onError: (error: unknown) => void
  readonly #watchers = new Map<JobId, Set<Watcher>>()
  readonly #unsubscribe: () => void
  #count = 0
  #timer: Timer | undefined
  #closed = false

  /** `onError`: a listener threw. It hears nothing more; that harms nobody else. */
  constructor(store: Pick<JobStore, 'read'>, bus: Bus, clock: Clock, onError: (error: unknown) => void) {
    this.#store = store
    this.#clock = clock
    this.#onError = onError
    this.#unsubscribe = bus.subscribe((event) => {
      if (event.kind === 'job') this.#deliver(event.job, event.answer)
    })
  }

  get size(): number {
    return this.#count
  }

  /** Resolves when the job has ended (or is no longer as it was: `unlike`), with its answer if that is in hand; undefined: the time is up, or there is no such job. */
  waitEnd(id: JobId, forMs: Millis, options: WaitOptions = {}): Promise<ReadJob | undefined> {
    return new Promise((resolve) => {
      if (this.#closed || options.signal?.aborted === true) return resolve(undefined)
      const isIt = (job: StoredJob): boolean =>
        isEnded(job.status) || (options.unlike !== undefined && job.version !== options.unlike) || options.until?.() === true
      const leave = (): void => settle(undefined)
      const settle = (outcome: ReadJob | undefined): void => {
        this.#remove(watcher)
        options.signal?.removeEventListener('abort', leave)
        resolve(outcome)
      }
      const watcher: Watcher = {
        id,
        dueAt: this.#clock.monotonic() + forMs,
        changed: (job, answer) => {
          if (isIt(job)) settle(answer === undefined ? { job } : { job, answer })
        },
        due: (read) => settle(read !== undefined && read !== 'unknown' && isIt(read.job) ? read : undefined),
      }
      this.#add(watcher)
      options.signal?.addEventListener('abort', leave, { once: true })
      if (options.fresh !== true) this.#readNow(id).then((read) => (read === undefined ? leave() : isIt(read.job) && settle(read)), leave)
    })
  }

  /**
   * Follows a job from version `seen` on, also if it has changed between that reading and now. The listener's `beat` comes every
   * `beatMs` with what the store says then.
   */
  watch(id: JobId, seen: number, beatMs: Millis, listener: WatchListener): () => void {
    let version = seen
    const newer = (job: StoredJob, answer: JobAnswer | undefined): void => {
      if (job.version <= version) return
      version = job.version
      listener.job(job, answer)
    }
    const watcher: Watcher = {
      id,
      dueAt: this.#clock.monotonic() + beatMs,
      changed: newer,
      due: (read) => {
        watcher.dueAt = this.#clock.monotonic() + beatMs
        if (read === 'unknown') return
        if (read !== undefined) newer(read.job, undefined)
        listener.beat(read?.job)
      },
    }
    this.#add(watcher)
    this.#readNow(id).then(
      (read) => {
        if (read !== undefined) this.#tell(watcher, () => newer(read.job, undefined))
      },
      () => undefined,
    )
    return () => this.#remove(watcher)
  }

  /** Every wait ends as if its time were up; streams end by their own signal. */
  close(): void {
    this.#closed = true
    this.#unsubscribe()
    this.#timer?.cancel()
    this.#timer = undefined
    for (const watchers of this.#watchers.values()) {
      for (const watcher of watchers) this.#tell(watcher, () => watcher.due('unknown'))
    }
  }

  #deliver(job: StoredJob, answer: JobAnswer | undefined): void {
    const watchers = this.#watchers.get(job.id)
    if (watchers === undefined) return
    // Whoever leaves meanwhile leaves a Set that is being walked: that is defined, and nobody comes in.
    for (const watcher of watchers) this.#tell(watcher, () => watcher.changed(job, answer))
  }

  /** Unless it has left, or ended, meanwhile. */
  #tell(watcher: Watcher, news: () => void): void {
    if (this.#watchers.get(watcher.id)?.has(watcher) !== true) return
    try {
      news()
    } catch (error) {
      this.#remove(watcher)
      this.#onError(error)
    }
  }

  #add(watcher: Watcher): void {
    const watchers = this.#watchers.get(watcher.id)
    if (watchers === undefined) this.#watchers.set(watcher.id, new Set([watcher]))
    else watchers.add(watcher)
    this.#count++
    this.#timer ??= this.#clock.after(SWEEP_MS, this.#sweep)
  }

  #remove(watcher: Watcher): void {
    const watchers = this.#watchers.get(watcher.id)
    if (watchers === undefined || !watchers.delete(watcher)) return
    this.#count--
    if (watchers.size === 0) this.#watchers.delete(watcher.id)
  }

  readonly #sweep = (): void => {
    this.#timer = undefined
    if (this.#closed || this.#count === 0) return
    const now = this.#clock.monotonic()
    let due: Watcher[] = []
    for (const watchers of this.#watchers.values()) {
      for (const watcher of watchers) {
        if (watcher.dueAt > now) continue
        // Not again until this read is back.
        watcher.dueAt = Number.POSITIVE_INFINITY
        due.push(watcher)
        if (due.length === READ_BATCH) {
          this.#readDue(due)
          due = []
        }
      }
    }
    if (due.length > 0) this.#readDue(due)
    this.#timer = this.#clock.after(SWEEP_MS, this.#sweep)
  }

  #readDue(due: readonly Watcher[]): void {
    const tell = (reads: readonly (ReadJob | undefined)[] | undefined): void => {
      for (const [i, watcher] of due.entries()) this.#tell(watcher, () => watcher.due(reads === undefined ? 'unknown' : reads[i]))
    }
    const ids = due.map((watcher) => watcher.id)
    this.#store.read(ids, 'status').then(tell, () => tell(undefined))
  }

  async #readNow(id: JobId): Promise<ReadJob | undefined> {
    return (await this.#store.read([id], 'status'))[0]
  }
}
