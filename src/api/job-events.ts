/**
 * Follows one job for one reader. Every event is a whole snapshot, so a reader that is too slow simply misses snapshots: what is kept for it
 * is the latest one, never a line of them. How events are written (`event-stream.ts`, `event-socket.ts`) is the reader's business.
 */
import type { Jobs } from '../jobs/jobs.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Millis } from '../lib/units.ts'
import type { Random } from '../ports/clock.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { type DocumentParts, statusDocument } from './document.ts'

export interface FollowParts extends DocumentParts {
  readonly jobs: Pick<Jobs, 'estimate' | 'watch' | 'closing'>
  readonly random: Random
}

/** `reset`: what somebody has read of the answer is void, another attempt begins anew. */
export type JobEventName = 'status' | 'progress' | 'reset' | 'end'

export interface EventReader {
  /** False: hold back until `drained` is called. */
  event(name: JobEventName, job: StoredJob): boolean
  /** Nothing has changed for a while. */
  beat(): boolean
  /** The gateway shuts down: come back to its successor. */
  reconnect(afterMs: Millis): void
  /** There is nothing more to tell. */
  end(): void
  /** An event could not be written. */
  breakOff(): void
}

const RECONNECT_MIN_MS: Millis = 500
const RECONNECT_SPREAD_MS: Millis = 4500

/** Spread over some seconds, so that not everybody comes at once. */
export function reconnectMs(random: Random): Millis {
  return Math.round(RECONNECT_MIN_MS + random.unit() * RECONNECT_SPREAD_MS)
}

/** One event as an object: what is told, of which version, and all that a status says. */
export function eventDocument(parts: DocumentParts, name: JobEventName, job: StoredJob): Record<string, unknown> {
  return { event: name, version: job.version, ...statusDocument(parts, job) }
}

export class JobFollower {
  readonly #parts: FollowParts
  readonly #reader: EventReader
  readonly #onOver: () => void
  #flowing = true
  /** The latest snapshot that the reader has not been sent. */
  #pending: StoredJob | undefined
  #progress: string | undefined
  /** The answer that was under way when it was told of last; 0: none. */
  #answering = 0
  #unwatch: (() => void) | undefined
  #over = false

  /** `onOver`: called once, whoever ends it. */
  constructor(parts: FollowParts, reader: EventReader, onOver: () => void = () => undefined) {
    this.#parts = parts
    this.#reader = reader
    this.#onOver = onOver
  }

  /** From this snapshot to the job's end. `seen`: the reader has this one. */
  start(job: StoredJob, seen = false): void {
    const { config, jobs } = this.#parts
    jobs.closing.addEventListener('abort', this.#closing, { once: true })
    this.#unwatch = jobs.watch(job.id, job.version, config.jobs.heartbeatMs, {
      job: (changed) => this.#orBreakOff(() => this.#offer(changed)),
      beat: (read) => this.#orBreakOff(() => this.#beat(read)),
    })
    this.#progress = job.progress
    this.#answering = answering(job)
    if (seen) this.#orBreakOff(() => this.#beat(job))
    else this.#orBreakOff(() => this.#tell(isEnded(job.status) ? 'end' : 'status', job))
    if (jobs.closing.aborted) this.#closing()
  }

  /** The reader takes more. */
  drained(): void {
    this.#flowing = true
    const job = this.#pending
    this.#pending = undefined
    if (job !== undefined) this.#orBreakOff(() => this.#offer(job))
  }

  /** Nobody listens any more. */
  leave(): void {
    if (!this.#over) this.#onOver()
    this.#over = true
    this.#pending = undefined
    this.#unwatch?.()
    this.#parts.jobs.closing.removeEventListener('abort', this.#closing)
  }

  /** A snapshot that cannot be written ends this reader and nothing else: its callers serve everybody. */
  #orBreakOff(step: () => void): void {
    try {
      step()
    } catch {
      this.leave()
      this.#reader.breakOff()
    }
  }

  #offer(job: StoredJob): void {
    if (this.#over) return
    if (!this.#flowing) {
      this.#pending = job
      return
    }
    if (isEnded(job.status)) return this.#tell('end', job)
    // A change of the progress alone is told as such.
    const name = job.progress !== this.#progress && job.progress !== undefined ? 'progress' : 'status'
    this.#progress = job.progress
    this.#tell(this.#answering !== 0 && this.#answering !== answering(job) ? 'reset' : name, job)
  }

  #tell(name: JobEventName, job: StoredJob): void {
    this.#answering = answering(job)
    this.#flowing = this.#reader.event(name, job)
    if (name === 'end') this.#finish()
  }

  #beat(read: StoredJob | undefined): void {
    if (this.#over) return
    // Its retention is over: there is nothing left to tell.
    if (read === undefined) return this.#finish()
    if (this.#flowing) this.#flowing = this.#reader.beat()
  }

  readonly #closing = (): void => {
    if (this.#over) return
    this.leave()
    this.#reader.reconnect(reconnectMs(this.#parts.random))
  }

  #finish(): void {
    this.leave()
    this.#reader.end()
  }
}

function answering({ stream }: StoredJob): number {
  return stream?.answering === true ? stream.answers : 0
}
