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
  readonly want: 'status' | 'result'
  dueAt: MonotonicMillis
  changed(job: StoredJob, answer: JobAnswer | undefined): void
  /** The job as read at `dueAt`; a rejected read counts as unknown. */
  due(read: ReadJob | undefined | 'unknown'): void
}

export class Watch {
  readonly #store: JobStore
  readonly #clock: Clock
  readonly #watchers = new Map<JobId, Set<Watcher>>()
  readonly #unsubscribe: () => void
  #count = 0
  #timer: Timer | undefined
  #closed = false

  constructor(store: JobStore, bus: Bus, clock: Clock) {
    this.#store = store
    this.#clock = clock
    this.#unsubscribe = bus.subscribe((event) => {
      if (event.kind === 'job') this.#deliver(event.job, event.answer)
    })
  }

  get size(): number {
    return this.#count
  }

  /** Resolves when the job has ended, with its answer where it has one; undefined: the time is up, or there is no such job. */
  waitEnd(id: JobId, forMs: Millis, options: WaitOptions = {}): Promise<ReadJob | undefined> {
    return new Promise((resolve) => {
      if (this.#closed || options.signal?.aborted === true) return resolve(undefined)
      const leave = (): void => settle(undefined)
      const settle = (outcome: ReadJob | undefined): void => {
        this.#remove(watcher)
        options.signal?.removeEventListener('abort', leave)
        resolve(outcome)
      }
      const withAnswer = (job: StoredJob, answer: JobAnswer | undefined): void => {
        if (answer !== undefined) return settle({ job, answer })
        if (!job.hasAnswer) return settle({ job })
        // It ended elsewhere, or long ago: the answer is in the store.
        this.#readOne(id).then((read) => settle(read ?? { job }), leave)
      }
      const watcher: Watcher = {
        id,
        want: 'result',
        dueAt: this.#clock.monotonic() + forMs,
        changed: (job, answer) => {
          if (isEnded(job.status)) withAnswer(job, answer)
        },
        due: (read) => settle(read !== undefined && read !== 'unknown' && isEnded(read.job.status) ? read : undefined),
      }
      this.#add(watcher)
      options.signal?.addEventListener('abort', leave, { once: true })
      if (options.fresh !== true)
        this.#readOne(id).then((read) => (read === undefined ? leave() : isEnded(read.job.status) && settle(read)), leave)
    })
  }

  /** Follows a job from version `seen` on. The listener's `beat` comes every `beatMs` with what the store says then. */
  watch(id: JobId, seen: number, beatMs: Millis, listener: WatchListener): () => void {
    let version = seen
    const newer = (job: StoredJob, answer: JobAnswer | undefined): void => {
      if (job.version <= version) return
      version = job.version
      listener.job(job, answer)
    }
    const watcher: Watcher = {
      id,
      want: 'status',
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
    return () => this.#remove(watcher)
  }

  /** Every wait ends as if its time were up; streams end by their own signal. */
  close(): void {
    this.#closed = true
    this.#unsubscribe()
    this.#timer?.cancel()
    this.#timer = undefined
    for (const watchers of this.#watchers.values()) {
      for (const watcher of watchers) watcher.due('unknown')
    }
  }

  #deliver(job: StoredJob, answer: JobAnswer | undefined): void {
    const watchers = this.#watchers.get(job.id)
    if (watchers === undefined) return
    // Whoever leaves meanwhile leaves a Set that is being walked: that is defined, and nobody comes in.
    for (const watcher of watchers) watcher.changed(job, answer)
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
    for (const want of ['status', 'result'] as const) {
      const group = due.filter((watcher) => watcher.want === want)
      if (group.length === 0) continue
      const tell = (reads: readonly (ReadJob | undefined)[] | undefined): void => {
        for (const [i, watcher] of group.entries()) {
          // It may have left, or ended, while the store was asked.
          if (this.#watchers.get(watcher.id)?.has(watcher) === true) watcher.due(reads === undefined ? 'unknown' : reads[i])
        }
      }
      this.#store
        .read(
          group.map((watcher) => watcher.id),
          want,
        )
        .then(tell, () => tell(undefined))
    }
  }

  async #readOne(id: JobId): Promise<ReadJob | undefined> {
    return (await this.#store.read([id], 'result'))[0]
  }
}
