/** The ledger's tables as maps in memory. Nothing outlives the process. */
import type { JobRecord, KeptBlob } from '../../core/jobs/record.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
import { OrderedSet } from '../../lib/ordered-set.ts'
import type { AttemptRecord } from '../../ports/job-store.ts'
import {
  type Blocked,
  DAMAGED,
  type DedupEntry,
  type HeldKey,
  type Note,
  type Payload,
  type QueueCounters,
  type QueueSettings,
  type RecordPage,
  type Runnable,
  type StoredQueue,
  type Tables,
} from '../ledger/tables.ts'
import { MemoryBlobs } from './memory-blobs.ts'

interface KeyLine {
  holder: number
  /** By a job that failed. */
  isBlocked: boolean
  readonly blocked: OrderedSet
}

interface QueueTables {
  readonly name: string
  counters: QueueCounters
  settings: QueueSettings | undefined
  readonly keys: Map<string, KeyLine>
  readonly blocked: OrderedSet
  readonly ended: OrderedSet
  readonly endedDead: OrderedSet
  /** When they ended, by number; sorted before they are read. */
  followUps: Map<number, EpochMillis>
  followUpsSorted: boolean
}

export class MemoryTables implements Tables {
  readonly generation = 1
  readonly blobs: MemoryBlobs = new MemoryBlobs()
  #lastSequence = 0
  #queues: (QueueTables | undefined)[] = []
  readonly #history = new Map<number, AttemptRecord[]>()
  readonly #notes = new Map<string, string>()
  readonly #records = new Map<number, JobRecord>()
  readonly #requests = new Map<number, Payload>()
  readonly #results = new Map<number, Payload>()
  #timers = new OrderedSet()
  readonly #dedup = new Map<string, DedupEntry>()

  lastSequence(): number {
    return this.#lastSequence
  }

  saveLastSequence(seq: number): void {
    this.#lastSequence = seq
  }

  queues(): readonly StoredQueue[] {
    return this.#queues.flatMap((queue, id) => (queue === undefined ? [] : [{ id, ...queue }]))
  }

  addQueue(name: string, counters: QueueCounters): number {
    return this.#queues.push(newQueue({ name, counters, settings: undefined })) - 1
  }

  saveQueue(id: number, counters: QueueCounters): void {
    this.#queue(id).counters = counters
  }

  saveSettings(id: number, settings: QueueSettings): void {
    this.#queue(id).settings = settings
  }

  removeQueue(id: number): void {
    this.#queues[id] = undefined
  }

  insertRecord(record: JobRecord): void {
    this.#records.set(record.seq, record)
  }

  updateRecord(record: JobRecord): void {
    const before = this.#records.get(record.seq)
    if (before !== undefined && record.dedup === undefined) this.#forgetKey(before)
    this.#records.set(record.seq, record)
  }

  record(seq: number): JobRecord | undefined {
    return this.#records.get(seq)
  }

  records(): Iterable<JobRecord> {
    return this.#records.values()
  }

  /** Numbers grow with every job, so the map is in their order. */
  recordPage(after: number, max: number, newestFirst: boolean): RecordPage {
    const all = [...this.#records.values()]
    const wanted = newestFirst ? all.filter(({ seq }) => seq < after).reverse() : all.filter(({ seq }) => seq > after)
    const records = wanted.slice(0, max)
    return { records, last: wanted.length > max ? records.at(-1)?.seq : undefined }
  }

  deleteRecord(record: JobRecord): void {
    this.#records.delete(record.seq)
    this.#forgetKey(record)
  }

  #forgetKey({ seq, dedup }: JobRecord): void {
    if (dedup !== undefined && this.#dedup.get(dedup.scopeKey)?.seq === seq) this.#dedup.delete(dedup.scopeKey)
  }

  putRequest(seq: number, payload: Payload): void {
    this.#requests.set(seq, ownCopy(payload))
  }

  request(seq: number): Payload | typeof DAMAGED {
    return this.#requests.get(seq) ?? DAMAGED
  }

  deleteRequest(seq: number): void {
    this.#requests.delete(seq)
  }

  adoptBlob(seq: number, blob: KeptBlob): void {
    this.blobs.adopt(seq, blob)
  }

  putResult(seq: number, payload: Payload): void {
    this.#results.set(seq, ownCopy(payload))
  }

  result(seq: number): Payload | typeof DAMAGED {
    return this.#results.get(seq) ?? DAMAGED
  }

  deleteResult(seq: number, _bytes: Bytes, blob?: KeptBlob): void {
    this.#results.delete(seq)
    if (blob !== undefined) this.blobs.forget(seq, blob.number)
  }

  addHistory(seq: number, entry: AttemptRecord): void {
    this.#history.set(seq, [...this.history(seq), entry])
  }

  history(seq: number): readonly AttemptRecord[] {
    return this.#history.get(seq) ?? []
  }

  deleteHistory(seq: number): void {
    this.#history.delete(seq)
  }

  /** The ledger holds these in memory anyway; it asks for them only when a store is opened again. */
  addRunnable(): void {}

  markRunning(): void {}

  removeRunnable(): void {}

  flush(): void {}

  runnable(): Iterable<Runnable> {
    return []
  }

  keyHolder(queue: number, key: string): number | undefined {
    return this.#queue(queue).keys.get(key)?.holder
  }

  setKeyHolder(queue: number, key: string, seq: number, isBlocked: boolean): void {
    const { keys } = this.#queue(queue)
    const line = keys.get(key)
    if (line === undefined) keys.set(key, { holder: seq, isBlocked, blocked: new OrderedSet() })
    else Object.assign(line, { holder: seq, isBlocked })
  }

  heldKeys(queue: number, request: { readonly after?: string; readonly max: number; readonly blockedOnly: boolean }): readonly HeldKey[] {
    const { after, max, blockedOnly } = request
    return [...this.#queue(queue).keys]
      .filter(([key, { isBlocked }]) => (after === undefined || key > after) && (isBlocked || !blockedOnly))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, max)
      .map(([key, { holder, isBlocked, blocked }]) => ({ key, holder, blocked: isBlocked, waiting: blocked.size }))
  }

  dropKey(queue: number, key: string): void {
    this.#queue(queue).keys.delete(key)
  }

  addBlocked(queue: number, key: string, { seq }: Blocked): void {
    const { keys, blocked } = this.#queue(queue)
    keys.get(key)?.blocked.add(seq, seq)
    blocked.add(seq, seq)
  }

  removeBlocked(queue: number, key: string, seq: number): void {
    const { keys, blocked } = this.#queue(queue)
    keys.get(key)?.blocked.delete(seq)
    blocked.delete(seq)
  }

  firstBlocked(queue: number, key: string): number | undefined {
    return this.#queue(queue).keys.get(key)?.blocked.first()
  }

  oldestBlocked(queue: number): number | undefined {
    return this.#queue(queue).blocked.first()
  }

  countBlocked(queue: number): number {
    return this.#queue(queue).blocked.size
  }

  addTimer(at: EpochMillis, seq: number): void {
    this.#timers.add(seq, at)
  }

  removeTimer(_at: EpochMillis, seq: number): void {
    this.#timers.delete(seq)
  }

  firstTimer(): { readonly at: EpochMillis; readonly seq: number } | undefined {
    const seq = this.#timers.first()
    const at = this.#timers.firstRank()
    return seq === undefined || at === undefined ? undefined : { at, seq }
  }

  addEnded(queue: number, dead: boolean, keepUntil: EpochMillis, seq: number): void {
    this.#ended(queue, dead).add(seq, keepUntil)
  }

  removeEnded(queue: number, dead: boolean, _keepUntil: EpochMillis, seq: number): void {
    this.#ended(queue, dead).delete(seq)
  }

  firstEnded(queue: number, dead: boolean, except?: number): { readonly keepUntil: EpochMillis; readonly seq: number } | undefined {
    const ended = this.#ended(queue, dead)
    const seq = ended.first()
    const keepUntil = ended.firstRank()
    if (seq === undefined || keepUntil === undefined) return undefined
    if (seq !== except) return { keepUntil, seq }
    ended.delete(seq)
    const next = this.firstEnded(queue, dead)
    ended.add(seq, keepUntil)
    return next
  }

  addFollowUp(queue: number, endedAt: EpochMillis, seq: number): void {
    const tables = this.#queue(queue)
    tables.followUps.set(seq, endedAt)
    tables.followUpsSorted = false
  }

  removeFollowUp(queue: number, _endedAt: EpochMillis, seq: number): void {
    this.#queue(queue).followUps.delete(seq)
  }

  followUps(queue: number, max: number, after = { endedAt: -1, seq: 0 }): readonly number[] {
    const tables = this.#queue(queue)
    if (!tables.followUpsSorted) {
      tables.followUps = new Map([...tables.followUps].sort(([seqA, a], [seqB, b]) => a - b || seqA - seqB))
      tables.followUpsSorted = true
    }
    const found: number[] = []
    for (const [seq, endedAt] of tables.followUps) {
      if (found.length >= max) break
      if (endedAt > after.endedAt || (endedAt === after.endedAt && seq > after.seq)) found.push(seq)
    }
    return found
  }

  quarantine(seq: number): void {
    this.#records.delete(seq)
  }

  clearIndexes(): void {
    this.#timers = new OrderedSet()
    this.#queues = this.#queues.map((queue) => (queue === undefined ? undefined : newQueue(queue)))
  }

  dedup(scopeKey: string): DedupEntry | undefined {
    return this.#dedup.get(scopeKey)
  }

  addDedup(scopeKey: string, entry: DedupEntry): void {
    this.#dedup.set(scopeKey, entry)
  }

  /** Entries go with their jobs. */
  sweepDedup(): undefined {
    return undefined
  }

  notes(prefix: string): readonly Note[] {
    return [...this.#notes]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, text]) => ({ name, text }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  putNote(name: string, text: string): void {
    this.#notes.set(name, text)
  }

  dropNote(name: string): void {
    this.#notes.delete(name)
  }

  giveBack(): boolean {
    return false
  }

  #queue(id: number): QueueTables {
    return this.#queues[id] as QueueTables
  }

  #ended(queue: number, dead: boolean): OrderedSet {
    const tables = this.#queue(queue)
    return dead ? tables.endedDead : tables.ended
  }
}

function newQueue({ name, counters, settings }: Pick<QueueTables, 'name' | 'counters' | 'settings'>): QueueTables {
  const indexes = {
    keys: new Map(),
    blocked: new OrderedSet(),
    ended: new OrderedSet(),
    endedDead: new OrderedSet(),
    followUps: new Map<number, EpochMillis>(),
    followUpsSorted: true,
  }
  return { name, counters, settings, ...indexes }
}

/** What comes in may be a piece of a much larger buffer, which must not be kept alive for it, and may be written to again. */
function ownCopy(payload: Payload): Payload {
  return { head: new Uint8Array(payload.head), body: new Uint8Array(payload.body) }
}
