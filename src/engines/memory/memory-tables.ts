/** The ledger's tables as maps in memory. Nothing outlives the process. */
import type { JobRecord } from '../../core/jobs/record.ts'
import type { EpochMillis } from '../../lib/units.ts'
import { OrderedSet } from '../../lib/ordered-set.ts'
import {
  type Blocked,
  DAMAGED,
  type DedupEntry,
  type Payload,
  type QueueCounters,
  type Runnable,
  type StoredQueue,
  type Tables,
} from '../ledger/tables.ts'

interface KeyLine {
  holder: number
  readonly blocked: OrderedSet
}

interface QueueTables {
  readonly name: string
  counters: QueueCounters
  readonly keys: Map<string, KeyLine>
  readonly blocked: OrderedSet
  readonly ended: OrderedSet
  readonly endedDead: OrderedSet
}

export class MemoryTables implements Tables {
  readonly generation = 1
  #lastSequence = 0
  #queues: QueueTables[] = []
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
    return this.#queues.map(({ name, counters }, id) => ({ id, name, counters }))
  }

  addQueue(name: string, counters: QueueCounters): number {
    return this.#queues.push(newQueue(name, counters)) - 1
  }

  saveQueue(id: number, counters: QueueCounters): void {
    this.#queue(id).counters = counters
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

  putResult(seq: number, payload: Payload): void {
    this.#results.set(seq, ownCopy(payload))
  }

  result(seq: number): Payload | typeof DAMAGED {
    return this.#results.get(seq) ?? DAMAGED
  }

  deleteResult(seq: number): void {
    this.#results.delete(seq)
  }

  /** The ledger holds these in memory anyway; it asks for them only when a store is opened again. */
  addRunnable(): void {}

  markRunning(): void {}

  removeRunnable(): void {}

  runnable(): Iterable<Runnable> {
    return []
  }

  keyHolder(queue: number, key: string): number | undefined {
    return this.#queue(queue).keys.get(key)?.holder
  }

  setKeyHolder(queue: number, key: string, seq: number): void {
    const { keys } = this.#queue(queue)
    const line = keys.get(key)
    if (line === undefined) keys.set(key, { holder: seq, blocked: new OrderedSet() })
    else line.holder = seq
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

  quarantine(seq: number): void {
    this.#records.delete(seq)
  }

  clearIndexes(): void {
    this.#timers = new OrderedSet()
    this.#queues = this.#queues.map(({ name, counters }) => newQueue(name, counters))
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

  #queue(id: number): QueueTables {
    return this.#queues[id] as QueueTables
  }

  #ended(queue: number, dead: boolean): OrderedSet {
    const tables = this.#queue(queue)
    return dead ? tables.endedDead : tables.ended
  }
}

function newQueue(name: string, counters: QueueCounters): QueueTables {
  return { name, counters, keys: new Map(), blocked: new OrderedSet(), ended: new OrderedSet(), endedDead: new OrderedSet() }
}

/** What comes in may be a piece of a much larger buffer, which must not be kept alive for it, and may be written to again. */
function ownCopy(payload: Payload): Payload {
  return { head: new Uint8Array(payload.head), body: new Uint8Array(payload.body) }
}
