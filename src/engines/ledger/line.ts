/**
 * The order of jobs: who is ready, who waits behind another job of its key. Holds two promises:
 * - of a key only its holder can be ready or running, so at most one is handed out, however many wait;
 * - waiting jobs of a key become its holder in order of acceptance; a holder that was handed out once stays it until it ends.
 */
import { holdsKey, type JobRecord, placeOf } from '../../core/jobs/record.ts'
import { laneOf } from './lanes.ts'
import type { QueueState } from './queue-state.ts'
import type { ReadyJob } from './ready.ts'
import { runMark } from './run-mark.ts'
import type { Tables } from './tables.ts'

export class Line {
  readonly #tables: Tables
  /** undefined: it cannot be read, and has been put aside. */
  readonly #record: (seq: number) => JobRecord | undefined

  constructor(tables: Tables, record: (seq: number) => JobRecord | undefined) {
    this.#tables = tables
    this.#record = record
  }

  /** The job may run from now on. True: a job became ready (this one, or none). */
  enter(queue: QueueState, record: JobRecord): boolean {
    queue.inLine += 1
    queue.dirty = true
    const { key, seq } = record
    if (key === undefined) {
      this.#addReady(queue, record)
      return true
    }
    const holder = this.#tables.keyHolder(queue.id, key)
    if (holder !== undefined && holder !== seq && !this.#yields(queue, key, holder, seq)) {
      this.#tables.addBlocked(queue.id, key, { seq, priority: record.priority })
      return false
    }
    if (holder !== seq) this.#tables.setKeyHolder(queue.id, key, seq, false)
    this.#addReady(queue, record)
    return true
  }

  /** A job that blocked its key runs again, or gives it up: it holds it as any other does. */
  unblock(queue: QueueState, record: JobRecord): void {
    if (record.key !== undefined) this.#tables.setKeyHolder(queue.id, record.key, record.seq, false)
  }

  /** A ready job was handed out. It keeps its key. */
  take(queue: QueueState, record: JobRecord): void {
    queue.inLine -= 1
    queue.dirty = true
    this.#tables.markRunning(record.seq, runMark(record))
    queue.ready.remove(readyJob(record))
  }

  /** A running job goes back to the line at once. */
  giveBack(queue: QueueState, record: JobRecord): void {
    queue.inLine += 1
    queue.dirty = true
    this.#tables.markRunning(record.seq, undefined)
    queue.ready.add(readyJob(record))
  }

  /** Again, after the indexes were cleared: a job that runs. */
  resume(queue: QueueState, record: JobRecord): void {
    this.#tables.addRunnable({ queue: queue.id, ...readyJob(record) })
    this.#tables.markRunning(record.seq, runMark(record))
  }

  /** Again, after the indexes were cleared: a job that has begun and not ended, or blocks its key. */
  holdKey(queue: QueueState, record: JobRecord): void {
    if (record.key !== undefined) this.#tables.setKeyHolder(queue.id, record.key, record.seq, record.blocksKey === true)
  }

  /** A running job no longer runs, and cannot run now. */
  stop(record: JobRecord): void {
    this.#tables.removeRunnable(record.seq)
  }

  /** The job, which was at the place that `before` says, has ended. True: the next of its key became ready. */
  end(queue: QueueState, before: JobRecord): boolean {
    const inLine = placeOf(before) === 'line'
    if (inLine) {
      queue.inLine -= 1
      queue.dirty = true
    }
    const { key, seq } = before
    if (key === undefined) {
      if (inLine) this.#removeReady(queue, before)
      return false
    }
    if (this.#tables.keyHolder(queue.id, key) !== seq) {
      if (inLine) this.#tables.removeBlocked(queue.id, key, seq)
      return false
    }
    if (inLine) this.#removeReady(queue, before)
    return this.#promote(queue, key)
  }

  /** The job has failed, and nobody may pass it: it leaves the line, but not its key. False: it had no key to keep. */
  block(queue: QueueState, before: JobRecord): boolean {
    const { key, seq } = before
    if (key === undefined || this.#tables.keyHolder(queue.id, key) !== seq) return false
    if (placeOf(before) === 'line') {
      queue.inLine -= 1
      queue.dirty = true
      this.#removeReady(queue, before)
    }
    this.#tables.setKeyHolder(queue.id, key, seq, true)
    return true
  }

  /** A job that blocked its key does so no longer. True: the next of it became ready. */
  release(queue: QueueState, record: JobRecord): boolean {
    return record.key !== undefined && this.#tables.keyHolder(queue.id, record.key) === record.seq && this.#promote(queue, record.key)
  }

  /** The job that has to end before this one can run. */
  blockerOf(queue: QueueState, record: JobRecord): number | undefined {
    if (record.key === undefined || placeOf(record) !== 'line') return undefined
    const holder = this.#tables.keyHolder(queue.id, record.key)
    return holder === record.seq ? undefined : holder
  }

  /** The oldest job that waits for a server. */
  oldest(queue: QueueState): number | undefined {
    const ready = queue.ready.oldest()
    const blocked = this.#tables.oldestBlocked(queue.id)
    if (ready === 0 || blocked === undefined) return ready === 0 ? blocked : ready
    return Math.min(ready, blocked)
  }

  /** A holder that has not begun makes room for a job that was accepted before it and was only delayed. */
  #yields(queue: QueueState, key: string, holder: number, seq: number): boolean {
    if (holder < seq) return false
    const record = this.#record(holder)
    // A holder that cannot be read has just been put aside, and yields to everybody.
    if (record === undefined) return true
    if (holdsKey(record)) return false
    this.#removeReady(queue, record)
    this.#tables.addBlocked(queue.id, key, { seq: holder, priority: record.priority })
    return true
  }

  /** The next of the key, with the priority and the bucket of its own record: whatever else says them could differ. */
  #promote(queue: QueueState, key: string): boolean {
    for (let last = 0; ; ) {
      const next = this.#tables.firstBlocked(queue.id, key)
      // A damaged storage may still list what it cannot delete.
      if (next === undefined || next <= last) break
      last = next
      this.#tables.removeBlocked(queue.id, key, next)
      const record = this.#record(next)
      // It cannot be read, and has just been put aside.
      if (record === undefined) continue
      this.#tables.setKeyHolder(queue.id, key, next, false)
      this.#addReady(queue, record)
      return true
    }
    this.#tables.dropKey(queue.id, key)
    return false
  }

  #addReady(queue: QueueState, record: JobRecord): void {
    const job = readyJob(record)
    this.#tables.addRunnable({ queue: queue.id, ...job })
    queue.ready.add(job)
  }

  #removeReady(queue: QueueState, record: JobRecord): void {
    this.#tables.removeRunnable(record.seq)
    queue.ready.remove(readyJob(record))
  }
}

export function readyJob({ seq, tenant = '', priority, bucket, key }: JobRecord): ReadyJob {
  return { seq, tenant, priority, lane: laneOf(bucket, key !== undefined) }
}
