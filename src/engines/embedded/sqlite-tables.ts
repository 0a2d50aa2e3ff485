/**
 * The ledger's tables in SQLite. Every statement is prepared once; every record and payload carries a CRC32 of ours that is checked
 * when it is read, because a page that SQLite accepts may still hold what was never written.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { formatJobId } from '../../core/jobs/job-id.ts'
import type { JobRecord } from '../../core/jobs/record.ts'
import type { Bytes, EpochMillis } from '../../lib/units.ts'
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
import { type Bodies, type BodyKind, INLINE_BODY_BYTES_MAX } from './bodies.ts'
import { DedupTables } from './dedup.ts'

export class SqliteTables implements Tables {
  readonly generation: number
  readonly #db: DatabaseSync
  readonly #sql: Statements
  readonly #bodies: Bodies
  readonly #dedup: DedupTables
  readonly #onCorrupt: (what: string) => void

  constructor(db: DatabaseSync, bodies: Bodies, onCorrupt: (what: string) => void) {
    this.#db = db
    this.#sql = prepareStatements(db)
    this.#bodies = bodies
    this.#onCorrupt = onCorrupt
    this.#dedup = new DedupTables(db, (seq) => this.#deduplicates(seq))
    this.generation = this.#meta('generation')
  }

  /** After a rollback: what is kept in memory of the database is read anew. */
  reload(): void {
    this.#dedup.reload()
  }

  lastSequence(): number {
    return this.#meta('last_sequence')
  }

  saveLastSequence(seq: number): void {
    this.#sql.saveMeta.run('last_sequence', seq)
  }

  queues(): readonly StoredQueue[] {
    const rows = this.#sql.queues.all() as unknown as [number, string, string, string | null][]
    return rows.map(([id, name, counters, settings]) => ({
      id,
      name,
      counters: parseCounters(counters),
      settings: parseSettings(settings),
    }))
  }

  addQueue(name: string, counters: QueueCounters): number {
    return Number(this.#sql.addQueue.run(name, JSON.stringify(counters)).lastInsertRowid)
  }

  saveQueue(id: number, counters: QueueCounters): void {
    this.#sql.saveQueue.run(JSON.stringify(counters), id)
  }

  saveSettings(id: number, settings: QueueSettings): void {
    this.#sql.saveSettings.run(JSON.stringify(settings), id)
  }

  removeQueue(id: number): void {
    this.#sql.removeQueue.run(id)
  }

  insertRecord(record: JobRecord): void {
    const text = JSON.stringify(record)
    this.#sql.insertRecord.run(record.seq, text, crc32(text))
  }

  updateRecord(record: JobRecord): void {
    const text = JSON.stringify(record)
    this.#sql.updateRecord.run(text, crc32(text), record.seq)
  }

  record(seq: number): JobRecord | undefined | typeof DAMAGED {
    const row = this.#sql.record.get(seq) as [string, number] | undefined
    return row === undefined ? undefined : parseRecord(row[0], row[1], seq)
  }

  *records(): Iterable<JobRecord> {
    // A cursor would be disturbed by what the reader changes, so it goes page by page.
    for (let after = 0; ; ) {
      const rows = this.#sql.recordPage.all(after) as unknown as [number, string, number][]
      for (const [seq, text, crc] of rows) {
        if (seq <= after) return this.#onCorrupt(`the table of jobs is out of order after ${formatJobId(after)}`)
        after = seq
        const record = parseRecord(text, crc, seq)
        if (record !== DAMAGED) {
          yield record
          continue
        }
        this.#onCorrupt(`job ${formatJobId(seq)}: its record fails its checks; it is put aside and will not run`)
        this.quarantine(seq)
      }
      if (rows.length === 0) return
    }
  }

  recordPage(after: number, max: number, newestFirst: boolean): RecordPage {
    const page = newestFirst ? this.#sql.pageBefore : this.#sql.pageAfter
    const rows = page.all(after, max) as unknown as [number, string, number][]
    const records: JobRecord[] = []
    for (const [seq, text, crc] of rows) {
      const record = parseRecord(text, crc, seq)
      if (record !== DAMAGED) records.push(record)
    }
    return { records, last: rows.length === max ? rows.at(-1)?.[0] : undefined }
  }

  deleteRecord(record: JobRecord): void {
    this.#sql.deleteRecord.run(record.seq)
  }

  putRequest(seq: number, payload: Payload): void {
    this.#putPayload(this.#sql.putRequest, 'request', seq, payload)
  }

  request(seq: number): Payload | typeof DAMAGED {
    return this.#payload(this.#sql.request, 'request', seq)
  }

  deleteRequest(seq: number, bytes: Bytes): void {
    this.#sql.deleteRequest.run(seq)
    if (bytes > INLINE_BODY_BYTES_MAX) this.#bodies.doom('request', seq)
  }

  putResult(seq: number, payload: Payload): void {
    this.#putPayload(this.#sql.putResult, 'result', seq, payload)
  }

  result(seq: number): Payload | typeof DAMAGED {
    return this.#payload(this.#sql.result, 'result', seq)
  }

  deleteResult(seq: number, bytes: Bytes): void {
    this.#sql.deleteResult.run(seq)
    if (bytes > INLINE_BODY_BYTES_MAX) this.#bodies.doom('result', seq)
  }

  /** True: the body file of that job is in use. */
  refersToBody(kind: BodyKind, seq: number): boolean {
    const row = (kind === 'request' ? this.#sql.requestIsFile : this.#sql.resultIsFile).get(seq) as [number] | undefined
    return row?.[0] === 1
  }

  addHistory(seq: number, entry: AttemptRecord): void {
    this.#sql.addHistory.run(seq, entry.handOut, JSON.stringify(entry))
  }

  history(seq: number): readonly AttemptRecord[] {
    const rows = this.#sql.history.all(seq) as unknown as [string][]
    return rows.flatMap(([text]) => parseObject<AttemptRecord>(text) ?? [])
  }

  deleteHistory(seq: number): void {
    this.#sql.deleteHistory.run(seq)
  }

  addRunnable({ seq, queue, priority, lane, tenant }: Omit<Runnable, 'server'>): void {
    this.#sql.addRunnable.run(seq, queue, priority, lane, tenant === '' ? null : keyColumn(tenant))
  }

  markRunning(seq: number, server: string | undefined): void {
    this.#sql.markRunning.run(server ?? null, seq)
  }

  removeRunnable(seq: number): void {
    this.#sql.removeRunnable.run(seq)
  }

  *runnable(): Iterable<Runnable> {
    for (const row of this.#sql.runnable.iterate()) {
      const [seq, queue, priority, lane, tenant, server] = row as unknown as [number, number, number, number, string | null, string | null]
      yield { seq, queue, priority, lane, tenant: tenant === null ? '' : fromKeyColumn(tenant), server: server ?? undefined }
    }
  }

  keyHolder(queue: number, key: string): number | undefined {
    return (this.#sql.keyHolder.get(queue, keyColumn(key)) as [number] | undefined)?.[0]
  }

  setKeyHolder(queue: number, key: string, seq: number, blocked: boolean): void {
    this.#sql.setKeyHolder.run(queue, keyColumn(key), seq, blocked ? 1 : 0)
  }

  heldKeys(queue: number, request: { readonly after?: string; readonly max: number; readonly blockedOnly: boolean }): readonly HeldKey[] {
    const { after, max, blockedOnly } = request
    const statement = blockedOnly ? this.#sql.blockedKeys : this.#sql.heldKeys
    const rows = statement.all(queue, after === undefined ? '' : keyColumn(after), max) as unknown as [string, number, number][]
    return rows.map(([key, holder, blocked]) => {
      const [waiting] = this.#sql.countBehind.get(queue, key) as unknown as [number]
      return { key: fromKeyColumn(key), holder, blocked: blocked === 1, waiting }
    })
  }

  dropKey(queue: number, key: string): void {
    this.#sql.dropKey.run(queue, keyColumn(key))
  }

  addBlocked(queue: number, key: string, { seq, priority }: Blocked): void {
    this.#sql.addBlocked.run(queue, keyColumn(key), seq, priority)
  }

  removeBlocked(queue: number, key: string, seq: number): void {
    this.#sql.removeBlocked.run(queue, keyColumn(key), seq)
  }

  firstBlocked(queue: number, key: string): number | undefined {
    return (this.#sql.firstBlocked.get(queue, keyColumn(key)) as [number] | undefined)?.[0]
  }

  oldestBlocked(queue: number): number | undefined {
    return (this.#sql.oldestBlocked.get(queue) as [number] | undefined)?.[0]
  }

  countBlocked(queue: number): number {
    return (this.#sql.countBlocked.get(queue) as [number] | undefined)?.[0] ?? 0
  }

  addTimer(at: EpochMillis, seq: number): void {
    this.#sql.addTimer.run(at, seq)
  }

  removeTimer(at: EpochMillis, seq: number): void {
    this.#sql.removeTimer.run(at, seq)
  }

  firstTimer(): { readonly at: EpochMillis; readonly seq: number } | undefined {
    const row = this.#sql.firstTimer.get() as [number, number] | undefined
    return row === undefined ? undefined : { at: row[0], seq: row[1] }
  }

  addEnded(queue: number, dead: boolean, keepUntil: EpochMillis, seq: number): void {
    this.#sql.addEnded.run(queue, dead ? 1 : 0, keepUntil, seq)
  }

  removeEnded(queue: number, dead: boolean, keepUntil: EpochMillis, seq: number): void {
    this.#sql.removeEnded.run(queue, dead ? 1 : 0, keepUntil, seq)
  }

  firstEnded(queue: number, dead: boolean, except = 0): { readonly keepUntil: EpochMillis; readonly seq: number } | undefined {
    const row = this.#sql.firstEnded.get(queue, dead ? 1 : 0, except) as [number, number] | undefined
    return row === undefined ? undefined : { keepUntil: row[0], seq: row[1] }
  }

  quarantine(seq: number): void {
    this.#db.prepare('INSERT OR REPLACE INTO quarantine SELECT seq, record, crc FROM jobs WHERE seq = ?').run(seq)
    this.#db.prepare('DELETE FROM jobs WHERE seq = ?').run(seq)
  }

  clearIndexes(): void {
    this.#db.exec('DELETE FROM runnable; DELETE FROM keys; DELETE FROM blocked; DELETE FROM timers; DELETE FROM ended')
  }

  dedup(scopeKey: string): DedupEntry | undefined {
    return this.#dedup.find(scopeKey)
  }

  addDedup(scopeKey: string, entry: DedupEntry, until: EpochMillis): void {
    this.#dedup.add(scopeKey, entry, until)
  }

  sweepDedup(now: EpochMillis): EpochMillis | undefined {
    return this.#dedup.sweep(now)
  }

  notes(prefix: string): readonly Note[] {
    const rows = this.#sql.notes.all(prefix, `${prefix}\u{10ffff}`) as unknown as [string, string][]
    return rows.map(([name, text]) => ({ name, text }))
  }

  putNote(name: string, text: string): void {
    this.#sql.putNote.run(name, text)
  }

  dropNote(name: string): void {
    this.#sql.dropNote.run(name)
  }

  giveBack(): boolean {
    return false
  }

  #meta(name: string): number {
    return (this.#sql.meta.get(name) as [number] | undefined)?.[0] ?? 0
  }

  #deduplicates(seq: number): boolean {
    const record = this.record(seq)
    return record === DAMAGED || record?.dedup !== undefined
  }

  #putPayload(statement: StatementSync, kind: BodyKind, seq: number, { head, body }: Payload): void {
    if (body.length > INLINE_BODY_BYTES_MAX) {
      this.#bodies.write(kind, seq, body)
      statement.run(seq, head.length, 1, crc32(body, crc32(head, crcSeed(seq, head.length))), head)
      return
    }
    const data = joined(head, body)
    statement.run(seq, head.length, 0, crc32(data, crcSeed(seq, head.length)), data)
  }

  #payload(statement: StatementSync, kind: BodyKind, seq: number): Payload | typeof DAMAGED {
    const row = statement.get(seq) as [number, number, number, Uint8Array] | undefined
    const payload = row === undefined ? undefined : this.#checked(kind, seq, row)
    if (payload !== undefined) return payload
    this.#onCorrupt(`job ${formatJobId(seq)}: its ${kind} ${row === undefined ? 'is missing' : 'fails its checks'}`)
    return DAMAGED
  }

  #checked(kind: BodyKind, seq: number, row: readonly [number, number, number, Uint8Array]): Payload | undefined {
    const [headBytes, file, crc, data] = row
    const dataCrc = crc32(data, crcSeed(seq, headBytes))
    if (file !== 1) return dataCrc === crc ? { head: data.subarray(0, headBytes), body: data.subarray(headBytes) } : undefined
    const body = this.#bodies.read(kind, seq)
    return body !== undefined && crc32(body, dataCrc) === crc ? { head: data, body } : undefined
  }
}

/** Makes a payload's checksum one of all that its row says: it cannot pass for another job's, nor its head for a part of its body. */
function crcSeed(seq: number, headBytes: number): number {
  return ((seq % 2 ** 32) ^ headBytes) >>> 0
}

/** Head and body as one piece; where they came as neighbours of one buffer, without a copy. */
function joined(head: Uint8Array, body: Uint8Array): Uint8Array {
  if (body.length === 0) return head
  if (head.buffer === body.buffer && head.byteOffset + head.length === body.byteOffset) {
    return new Uint8Array(head.buffer, head.byteOffset, head.length + body.length)
  }
  return Buffer.concat([head, body])
}

/**
 * A key as its column holds it. A half of a surrogate pair has no UTF-8, and SQLite would store every one of them as U+FFFD: two keys
 * for the ledger would be one in the database. Such keys are written as JSON behind that very character.
 */
export function keyColumn(key: string): string {
  return key.isWellFormed() && !key.startsWith('\ufffd') ? key : `\ufffd${JSON.stringify(key)}`
}

export function fromKeyColumn(column: string): string {
  return column.startsWith('\ufffd') ? (JSON.parse(column.slice(1)) as string) : column
}

/** Checked against its checksum and its place. */
export function parseRecord(text: string, crc: number, seq: number): JobRecord | typeof DAMAGED {
  if (crc32(text) !== crc) return DAMAGED
  const record = JSON.parse(text) as JobRecord
  return record.seq === seq ? record : DAMAGED
}

function parseCounters(text: string): QueueCounters | undefined {
  const counters = parseObject<QueueCounters>(text)
  return Array.isArray(counters?.counts) ? counters : undefined
}

function parseSettings(text: string | null): QueueSettings | undefined {
  const settings = text === null ? undefined : parseObject<QueueSettings>(text)
  return settings?.limits === undefined || settings.rules === undefined ? undefined : settings
}

function parseObject<T>(text: string): T | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as T) : undefined
  } catch {
    return undefined
  }
}

const SQL = {
  meta: 'SELECT value FROM meta WHERE name = ?',
  saveMeta: 'INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)',
  queues: 'SELECT id, name, counters, settings FROM queues ORDER BY id',
  addQueue: 'INSERT INTO queues (name, counters) VALUES (?, ?)',
  saveQueue: 'UPDATE queues SET counters = ? WHERE id = ?',
  saveSettings: 'UPDATE queues SET settings = ? WHERE id = ?',
  removeQueue: 'DELETE FROM queues WHERE id = ?',
  insertRecord: 'INSERT INTO jobs (seq, record, crc) VALUES (?, ?, ?)',
  updateRecord: 'UPDATE jobs SET record = ?, crc = ? WHERE seq = ?',
  record: 'SELECT record, crc FROM jobs WHERE seq = ?',
  recordPage: 'SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT 1000',
  pageAfter: 'SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?',
  pageBefore: 'SELECT seq, record, crc FROM jobs WHERE seq < ? ORDER BY seq DESC LIMIT ?',
  deleteRecord: 'DELETE FROM jobs WHERE seq = ?',
  putRequest: 'INSERT OR REPLACE INTO requests (seq, head_bytes, file, crc, data) VALUES (?, ?, ?, ?, ?)',
  request: 'SELECT head_bytes, file, crc, data FROM requests WHERE seq = ?',
  requestIsFile: 'SELECT file FROM requests WHERE seq = ?',
  deleteRequest: 'DELETE FROM requests WHERE seq = ?',
  putResult: 'INSERT OR REPLACE INTO results (seq, head_bytes, file, crc, data) VALUES (?, ?, ?, ?, ?)',
  result: 'SELECT head_bytes, file, crc, data FROM results WHERE seq = ?',
  resultIsFile: 'SELECT file FROM results WHERE seq = ?',
  deleteResult: 'DELETE FROM results WHERE seq = ?',
  addHistory: 'INSERT OR REPLACE INTO history (seq, hand_out, entry) VALUES (?, ?, ?)',
  history: 'SELECT entry FROM history WHERE seq = ? ORDER BY hand_out',
  deleteHistory: 'DELETE FROM history WHERE seq = ?',
  addRunnable: 'INSERT INTO runnable (seq, queue, priority, lane, tenant, server) VALUES (?, ?, ?, ?, ?, NULL)',
  markRunning: 'UPDATE runnable SET server = ? WHERE seq = ?',
  removeRunnable: 'DELETE FROM runnable WHERE seq = ?',
  runnable: 'SELECT seq, queue, priority, lane, tenant, server FROM runnable',
  keyHolder: 'SELECT seq FROM keys WHERE queue = ? AND key = ?',
  setKeyHolder: 'INSERT OR REPLACE INTO keys (queue, key, seq, blocked) VALUES (?, ?, ?, ?)',
  heldKeys: 'SELECT key, seq, blocked FROM keys WHERE queue = ? AND key > ? ORDER BY key LIMIT ?',
  blockedKeys: 'SELECT key, seq, blocked FROM keys WHERE queue = ? AND key > ? AND blocked = 1 ORDER BY key LIMIT ?',
  countBehind: 'SELECT count(*) FROM (SELECT 1 FROM blocked WHERE queue = ? AND key = ? LIMIT 100000)',
  notes: 'SELECT name, text FROM notes WHERE name >= ? AND name < ? ORDER BY name',
  putNote: 'INSERT OR REPLACE INTO notes (name, text) VALUES (?, ?)',
  dropNote: 'DELETE FROM notes WHERE name = ?',
  dropKey: 'DELETE FROM keys WHERE queue = ? AND key = ?',
  addBlocked: 'INSERT INTO blocked (queue, key, seq, priority) VALUES (?, ?, ?, ?)',
  removeBlocked: 'DELETE FROM blocked WHERE queue = ? AND key = ? AND seq = ?',
  firstBlocked: 'SELECT seq FROM blocked WHERE queue = ? AND key = ? ORDER BY seq LIMIT 1',
  oldestBlocked: 'SELECT seq FROM blocked WHERE queue = ? ORDER BY seq LIMIT 1',
  countBlocked: 'SELECT count(*) FROM blocked WHERE queue = ?',
  addTimer: 'INSERT INTO timers (at, seq) VALUES (?, ?)',
  removeTimer: 'DELETE FROM timers WHERE at = ? AND seq = ?',
  firstTimer: 'SELECT at, seq FROM timers ORDER BY at, seq LIMIT 1',
  addEnded: 'INSERT INTO ended (queue, dead, keep_until, seq) VALUES (?, ?, ?, ?)',
  removeEnded: 'DELETE FROM ended WHERE queue = ? AND dead = ? AND keep_until = ? AND seq = ?',
  firstEnded: 'SELECT keep_until, seq FROM ended WHERE queue = ? AND dead = ? AND seq <> ? ORDER BY keep_until, seq LIMIT 1',
} as const

type Statements = Readonly<Record<keyof typeof SQL, StatementSync>>

function prepareStatements(db: DatabaseSync): Statements {
  const prepared = Object.entries(SQL).map(([name, sql]) => {
    const statement = db.prepare(sql)
    statement.setReturnArrays(true)
    return [name, statement] as const
  })
  return Object.fromEntries(prepared) as unknown as Statements
}
