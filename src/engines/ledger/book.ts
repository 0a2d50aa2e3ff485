/**
 * Keeps records and everything that is derived from them (line, timers, counters, kept bodies) in step: whoever changes a job goes
 * through `add`, `change` and `remove`, which compare before with after and move exactly what differs.
 */
import { formatJobId } from '../../core/jobs/job-id.ts'
import {
  blobOf,
  endedAtOf,
  handOutsOf,
  holdsKey,
  type JobRecord,
  keepsRequest,
  keepUntilOf,
  placeOf,
  timerOf,
} from '../../core/jobs/record.ts'
import type { OnPartial, StoredJob, StreamState } from '../../ports/job-store.ts'
import { Recent } from '../../lib/recent.ts'
import { Leases } from './leases.ts'
import { Line } from './line.ts'
import { NO_COUNTERS, NO_SETTINGS, QueueState } from './queue-state.ts'
import { asItRan } from './run-mark.ts'
import { DAMAGED, type QueueSettings, type Runnable, type Tables } from './tables.ts'

export class Book {
  readonly tables: Tables
  readonly leases: Leases = new Leases()
  readonly line: Line
  /** Queues in which a job became ready since this was last cleared. */
  readonly becameReady: Set<string> = new Set()
  /** Put aside since the store was opened. */
  corrupt = 0
  readonly #queues = new Map<string, QueueState>()
  /** As they are in the storage: most jobs are needed again soon after they changed. */
  readonly #recent = new Recent<JobRecord>(RECENT_MIN)
  readonly #onCorrupt: (what: string) => void
  readonly #rateKeys: number
  /** Put aside. A damaged storage may still list what it can neither find nor delete. */
  readonly #aside = new Set<number>()
  /** Since `begin`: what could be taken back step by step is gone. */
  #rebuilt = false
  /** A job is being changed: until that is done, indexes cannot be made from the records. */
  #changing = false
  #rebuildDue = false
  /** Since `begin`: found in the line although they cannot run. */
  readonly #refiled = new Set<number>()

  constructor(tables: Tables, onCorrupt: (what: string) => void, rateKeys: number) {
    this.tables = tables
    this.#rateKeys = rateKeys
    this.#onCorrupt = onCorrupt
    this.line = new Line(tables, (seq) => this.indexed(seq))
    this.#load()
    if (this.#isSound()) return
    this.rebuild()
    this.flush()
  }

  queue(name: string): QueueState | undefined {
    return this.#queues.get(name)
  }

  queues(): IterableIterator<QueueState> {
    return this.#queues.values()
  }

  configure(name: string, settings: QueueSettings): void {
    let queue = this.#queues.get(name)
    if (queue === undefined) {
      queue = new QueueState(this.tables.addQueue(name, NO_COUNTERS), name, settings, this.#rateKeys)
      this.#queues.set(name, queue)
    }
    queue.settings = settings
    this.tables.saveSettings(queue.id, settings)
  }

  /** Its rules change: who was held up by those of before may try again. */
  wake(queue: QueueState): void {
    queue.ready.rouse(Number.POSITIVE_INFINITY)
    this.becameReady.add(queue.name)
  }

  /** An empty one. */
  drop(queue: QueueState): void {
    this.tables.removeQueue(queue.id)
    this.#queues.delete(queue.name)
  }

  /** undefined: there is no such job, or it was damaged and has been put aside. */
  get(seq: number): JobRecord | undefined {
    const known = this.leases.get(seq)?.record ?? this.#recent.get(seq)
    if (known !== undefined) return known
    const record = this.tables.record(seq)
    if (record !== DAMAGED) return record
    this.#quarantine(seq, 'its record fails its checks')
    return undefined
  }

  /** A job that an index names: if it is not there, something is broken. */
  indexed(seq: number): JobRecord | undefined {
    const known = this.leases.get(seq)?.record ?? this.#recent.get(seq)
    if (known !== undefined) return known
    const record = this.tables.record(seq)
    if (record !== undefined && record !== DAMAGED) return record
    this.#quarantine(seq, record === DAMAGED ? 'its record fails its checks' : 'an index names it, but it has no record')
    return undefined
  }

  add(record: JobRecord): JobRecord {
    const queue = this.#queueOf(record)
    this.#changing = true
    const added = placeOf(record) === 'line' ? numbered(queue, record) : record
    queue.count(added, 1)
    const timer = timerOf(added)
    if (timer !== undefined) this.tables.addTimer(timer, added.seq)
    // Whoever submits it knows that it is ready.
    if (placeOf(added) === 'line') this.line.enter(queue, added)
    this.tables.insertRecord(added)
    this.#remember(added)
    this.#changed()
    return added
  }

  change(before: JobRecord, after: JobRecord): JobRecord {
    if (before.queue !== after.queue) return this.#transfer(before, after)
    const queue = this.#queueOf(before)
    this.#changing = true
    const from = placeOf(before)
    const to = placeOf(after)
    let changed = to === 'line' && from !== 'line' ? numbered(queue, after) : after
    if (to === 'ended' && from !== 'ended' && blocksKey(queue, changed)) {
      changed = { ...changed, blocksKey: this.line.block(queue, before) ? true : undefined }
    }
    if (to === 'ended' && (queue.rules.followUps === true || changed.followUp !== undefined)) changed = { ...changed, followUpDue: true }
    if (from !== to || before.status !== after.status) {
      queue.count(before, -1)
      queue.count(changed, 1)
      this.#moveTimer(before, changed)
    }
    if (from !== to) this.#move(queue, before, changed)
    // That it runs is worth a mark, no more: what it was before is what it is again when its process is gone. Not so where that would be unsafe.
    if (to !== 'running' || changed.sendOnce || changed.answering === true) this.tables.updateRecord(changed)
    this.#remember(changed)
    this.#changed()
    return changed
  }

  /** A job that waits, or that waits again in a line of another queue. */
  #transfer(before: JobRecord, after: JobRecord): JobRecord {
    const from = this.#queueOf(before)
    const to = this.#queueOf(after)
    this.#changing = true
    from.count(before, -1)
    if (placeOf(before) !== 'ended') {
      if (this.line.end(from, before)) this.becameReady.add(from.name)
    } else this.#unend(from, before, true)
    // Whatever it held in the line that it left, it comes to this one as any other.
    const arrived: JobRecord = { ...after, ordinal: 0, holdsAfter: after.handOuts }
    const changed = placeOf(arrived) === 'line' ? numbered(to, arrived) : arrived
    to.count(changed, 1)
    this.#moveTimer(before, changed)
    if (placeOf(changed) === 'line') this.#enter(to, changed)
    this.tables.updateRecord(changed)
    this.#remember(changed)
    this.#changed()
    return changed
  }

  /** A job that blocks its key gives it up; it stays what it is otherwise. */
  release(record: JobRecord): JobRecord {
    const queue = this.#queueOf(record)
    this.#changing = true
    const changed: JobRecord = { ...record, blocksKey: undefined }
    queue.count(record, -1)
    queue.count(changed, 1)
    if (this.line.release(queue, record)) this.becameReady.add(queue.name)
    if (changed.followUpDue !== true) this.#keep(queue, changed)
    this.tables.updateRecord(changed)
    this.#remember(changed)
    this.#changed()
    return changed
  }

  /** Nothing more follows from its end: it goes when its time is over. */
  followed(record: JobRecord): JobRecord {
    const queue = this.#queueOf(record)
    const changed: JobRecord = { ...record, followUpDue: undefined, followedBy: undefined }
    this.#unkeep(queue, record)
    if (changed.blocksKey !== true) this.#keep(queue, changed)
    return this.note(changed)
  }

  /** Of a job that stays where it is. */
  note(record: JobRecord): JobRecord {
    this.tables.updateRecord(record)
    this.#remember(record)
    return record
  }

  /** Removes an ended job with all that belongs to it. */
  remove(record: JobRecord): void {
    const queue = this.#queueOf(record)
    queue.count(record, -1)
    this.#unend(queue, record, true)
    if (record.told !== undefined) this.tables.deleteHistory(record.seq)
    if (record.resultBytes >= 0) this.tables.deleteResult(record.seq, record.resultBytes, blobOf(record))
    if (keepsRequest(record)) this.tables.deleteRequest(record.seq, record.requestBytes)
    this.tables.deleteRecord(record)
    this.#recent.delete(record.seq)
  }

  /** Removes ended jobs until they weigh no more than they may: the first to go anyway first, dead letters last. How many it removed. */
  evict(queue: QueueState, how: { readonly max: number; readonly spare?: number }): number {
    let removed = 0
    while (removed < how.max && queue.ended > 1 && queue.finishedBytes > queue.limits.finished) {
      const first = this.#firstEnded(queue, how.spare)
      if (first === undefined) break
      const record = this.indexed(first)
      if (record !== undefined) this.remove(record)
      removed += 1
    }
    return removed
  }

  /** Assigned field by field: this is made for every answer, and a dozen conditional spreads cost more than all the rest of it. */
  view(record: JobRecord): StoredJob {
    const queue = this.#queueOf(record)
    const place = placeOf(record)
    const view: { -readonly [K in keyof StoredJob]: StoredJob[K] } = {
      id: formatJobId(record.seq),
      secret: record.secret,
      queue: record.queue,
      route: record.route,
      status: record.status,
      version: record.version,
      bucket: record.bucket,
      priority: record.priority,
      attempt: place === 'running' ? record.counted + 1 : record.counted,
      attempts: record.attempts,
      handOuts: handOutsOf(record),
      redrives: record.redrives ?? 0,
      blocksKey: record.blocksKey === true,
      requestBytes: record.requestBytes,
      submittedAt: record.submittedAt,
      hasAnswer: record.resultBytes >= 0,
      sendOnce: record.sendOnce,
      method: record.method,
    }
    if (record.key !== undefined) view.key = record.key
    if (record.notBefore !== undefined) view.notBefore = record.notBefore
    if (record.expiresAt !== undefined) view.expiresAt = record.expiresAt
    if (record.deadlineAt !== undefined) view.deadlineAt = record.deadlineAt
    if (record.tenant !== undefined) view.tenant = record.tenant
    if (record.resultBytes >= 0) view.resultBytes = record.resultBytes
    if (record.onPartial !== undefined) view.stream = streamOf(record.onPartial, record)
    if (record.startedAt !== undefined) view.startedAt = record.startedAt
    if (record.finishedAt !== undefined) view.finishedAt = record.finishedAt
    if (record.reference !== undefined) view.reference = record.reference
    if (record.binding !== undefined) view.binding = record.binding
    if (record.progress !== undefined) view.progress = record.progress
    if (record.error !== undefined) view.error = record.error
    if (record.dead !== undefined) view.dead = record.dead
    if (record.server !== undefined) view.server = record.server
    if (record.followUp !== undefined) view.followUp = record.followUp
    if (record.followUpDue === true) view.followUpDue = true
    if (record.followedBy !== undefined) view.followedBy = record.followedBy
    if (record.lease?.deferred !== undefined) view.deferredUntil = record.lease.deferred.until
    if (record.parent !== undefined) view.parent = record.parent
    if (record.next !== undefined) view.next = record.next
    if (place !== 'line') return view
    view.position = Math.max(1, record.ordinal - (queue.entered - queue.inLine))
    const blocker = this.line.blockerOf(queue, record)
    if (blocker !== undefined) view.blockedBy = formatJobId(blocker)
    return view
  }

  /** Writes the counters that changed. */
  flush(): void {
    this.tables.flush()
    for (const queue of this.#queues.values()) {
      if (!queue.dirty) continue
      this.tables.saveQueue(queue.id, queue.counters())
      queue.dirty = false
    }
  }

  begin(): void {
    this.#rebuilt = false
    this.#changing = false
    this.#rebuildDue = false
    this.#refiled.clear()
    this.leases.begin()
    for (const queue of this.#queues.values()) queue.ready.begin()
  }

  /** After the storage rolled back: so does what memory holds beside it. */
  rollback(): void {
    this.leases.rollback()
    this.#recent.clear()
    for (const queue of this.#queues.values()) queue.ready.rollback()
    if (this.#rebuilt) this.#load()
    else this.#loadQueues()
  }

  #load(): void {
    const byId = this.#loadQueues()
    for (const queue of this.#queues.values()) queue.ready.clear()
    const running: Runnable[] = []
    for (const runnable of this.tables.runnable()) {
      if (runnable.mark === undefined) byId.get(runnable.queue)?.ready.load(runnable)
      else if (this.leases.get(runnable.seq) === undefined) running.push(runnable)
    }
    for (const queue of this.#queues.values()) queue.ready.begin()
    for (const { seq, mark = '' } of running) this.#adopt(seq, mark)
  }

  /** A job that ran when the store was opened. Its lease is over with the process that gave it, unless it is kept: then it goes on. */
  #adopt(seq: number, mark: string): void {
    const record = this.indexed(seq)
    if (record === undefined) return
    const left = asItRan(record, mark)
    const until = left.lease?.keptMs === undefined ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    this.leases.set(seq, { record: left, until })
  }

  #loadQueues(): ReadonlyMap<number, QueueState> {
    const byId = new Map<number, QueueState>()
    for (const { id, name, counters, settings } of this.tables.queues()) {
      const queue = this.#queues.get(name) ?? new QueueState(id, name, NO_SETTINGS, this.#rateKeys)
      // Counters that no index can agree with, where they cannot be read.
      queue.load(counters === undefined ? { ...NO_COUNTERS, inLine: -1 } : { ...NO_COUNTERS, ...counters })
      if (settings !== undefined) queue.settings = settings
      this.#queues.set(name, queue)
      byId.set(id, queue)
    }
    // A queue that the rolled back transaction had made.
    for (const queue of this.#queues.values()) if (byId.get(queue.id) !== queue) this.#queues.delete(queue.name)
    return byId
  }

  #firstEnded(queue: QueueState, spare: number | undefined): number | undefined {
    return (this.tables.firstEnded(queue.id, false, spare) ?? this.tables.firstEnded(queue.id, true, spare))?.seq
  }

  #remember(record: JobRecord): void {
    this.#recent.set(record.seq, record)
  }

  #queueOf(record: JobRecord): QueueState {
    const queue = this.#queues.get(record.queue)
    if (queue === undefined) throw new Error(`job ${formatJobId(record.seq)} is of queue ${record.queue}, which the store does not know`)
    return queue
  }

  #enter(queue: QueueState, record: JobRecord): void {
    if (this.line.enter(queue, record)) this.becameReady.add(queue.name)
  }

  #move(queue: QueueState, before: JobRecord, after: JobRecord): void {
    const from = placeOf(before)
    const to = placeOf(after)
    if (from === 'running') {
      this.leases.delete(before.seq)
      if (to !== 'line') this.line.stop(before)
      if (queue.starved) this.becameReady.add(queue.name)
      queue.starved = false
    }
    if (from === 'ended') this.#unend(queue, before, false)
    if (to === 'running') this.line.take(queue, after)
    if (to === 'line' && from === 'running') {
      this.line.giveBack(queue, after)
      this.becameReady.add(queue.name)
    } else if (to === 'line') this.#enter(queue, after)
    if (to === 'ended') this.#end(queue, before, after)
  }

  #end(queue: QueueState, before: JobRecord, ended: JobRecord): void {
    if (!keepsRequest(ended)) this.tables.deleteRequest(ended.seq, ended.requestBytes)
    if (ended.followUpDue === true) this.#keep(queue, ended)
    if (ended.blocksKey === true) return
    if (this.line.end(queue, before)) this.becameReady.add(queue.name)
    if (ended.followUpDue !== true) this.#keep(queue, ended)
  }

  /** Says how long an ended job is kept: until something has followed from its end, then as long as it is to be read. One that blocks its key stays. */
  #keep(queue: QueueState, ended: JobRecord): void {
    if (ended.followUpDue === true) this.tables.addFollowUp(queue.id, endedAtOf(ended), ended.seq)
    else this.tables.addEnded(queue.id, ended.dead !== undefined, keepUntilOf(ended), ended.seq)
  }

  #unkeep(queue: QueueState, ended: JobRecord): void {
    if (ended.followUpDue === true) this.tables.removeFollowUp(queue.id, endedAtOf(ended), ended.seq)
    else if (ended.blocksKey !== true) this.tables.removeEnded(queue.id, ended.dead !== undefined, keepUntilOf(ended), ended.seq)
  }

  /** An ended job is there no longer (`gone`), or no longer ended. */
  #unend(queue: QueueState, record: JobRecord, gone: boolean): void {
    this.#unkeep(queue, record)
    if (record.blocksKey !== true) return
    if (!gone) this.line.unblock(queue, record)
    else if (this.line.release(queue, record)) this.becameReady.add(queue.name)
  }

  #moveTimer(before: JobRecord, after: JobRecord): void {
    const was = timerOf(before)
    const is = timerOf(after)
    if (was === is) return
    if (was !== undefined) this.tables.removeTimer(was, before.seq)
    if (is !== undefined) this.tables.addTimer(is, after.seq)
  }

  #quarantine(seq: number, why: string): void {
    this.#onCorrupt(`job ${formatJobId(seq)}: ${why}; it is put aside and will not run`)
    this.tables.quarantine(seq)
    this.corrupt += 1
    this.#aside.add(seq)
    if (this.#changing) this.#rebuildDue = true
    else this.rebuild()
  }

  #changed(): void {
    this.#changing = false
    if (!this.#rebuildDue) return
    this.#rebuildDue = false
    this.rebuild()
  }

  /**
   * Makes all that is derived from the records anew. Slow, and only for when something was damaged: then nothing else can be trusted,
   * and a job that an index has lost would never run.
   */
  rebuild(): void {
    this.#rebuilt = true
    this.#recent.clear()
    this.tables.clearIndexes()
    for (const queue of this.#queues.values()) {
      queue.load({ ...NO_COUNTERS, entered: queue.entered })
      queue.dirty = true
      queue.ready.clear()
    }
    // First whoever holds a key, so that nobody else takes it.
    for (const record of this.#trusted()) this.#index(record)
    for (const record of this.#trusted()) {
      const queue = this.#queues.get(record.queue)
      if (queue !== undefined && placeOf(record) === 'line') this.#enter(queue, record)
    }
  }

  /** An index says that the job can be handed out, its record that it cannot. The record counts; if that does not help, the job goes aside. */
  refile(seq: number): void {
    if (this.#refiled.has(seq)) return this.#quarantine(seq, 'it is in the line, but cannot run')
    this.#refiled.add(seq)
    this.#onCorrupt(`job ${formatJobId(seq)}: it is in the line, but cannot run; all indexes are made anew`)
    this.rebuild()
  }

  /** All jobs, as `get` gives them. */
  *#trusted(): Iterable<JobRecord> {
    for (const record of this.tables.records()) {
      if (!this.#aside.has(record.seq)) yield this.leases.get(record.seq)?.record ?? record
    }
  }

  #index(record: JobRecord): void {
    const queue = this.#queues.get(record.queue)
    if (queue === undefined) return this.#onCorrupt(`job ${formatJobId(record.seq)} is of a queue that is not known: ${record.queue}`)
    queue.count(record, 1)
    const timer = timerOf(record)
    if (timer !== undefined) this.tables.addTimer(timer, record.seq)
    if (holdsKey(record)) this.line.holdKey(queue, record)
    if (placeOf(record) === 'running') this.line.resume(queue, record)
    if (placeOf(record) === 'ended' && (record.blocksKey !== true || record.followUpDue === true)) this.#keep(queue, record)
  }

  /** Counters and indexes were written in one commit, so a difference is damage. */
  #isSound(): boolean {
    const unsound = [...this.#queues.values()].find((queue) => queue.ready.size + this.tables.countBlocked(queue.id) !== queue.inLine)
    if (unsound === undefined) return true
    const found = unsound.ready.size + this.tables.countBlocked(unsound.id)
    const wrong = unsound.inLine < 0 ? 'its figures cannot be read' : `${unsound.inLine} jobs should be in its line, there are ${found}`
    this.#onCorrupt(`queue ${unsound.name}: ${wrong}; all indexes are made anew`)
    return false
  }
}

/** Some two megabytes of them. */
const RECENT_MIN = 1024

/** Nobody may pass it: it failed for good, and was not dropped to make room. */
function blocksKey(queue: QueueState, ended: JobRecord): boolean {
  if (ended.blocksKey === true) return true
  const failed = ended.status === 'failed' || ended.status === 'expired'
  return queue.rules.onFailure === 'block' && ended.key !== undefined && failed && ended.dead !== undefined && ended.dead !== 'overflow'
}

/** A job gets its place in the queue's count when it first enters the line. */
function numbered(queue: QueueState, record: JobRecord): JobRecord {
  if (record.ordinal !== 0) return record
  queue.entered += 1
  return { ...record, ordinal: queue.entered }
}

function streamOf(onPartial: OnPartial, { answers = 0, answering }: JobRecord): StreamState {
  return { onPartial, answers, answering: answering === true }
}
