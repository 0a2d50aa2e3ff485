/**
 * The ledger's tables in SQLite. Every statement is prepared once; every record and payload carries a CRC32 of ours that is checked
 * when it is read, because a page that SQLite accepts may still hold what was never written.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { formatJobId } from '../../core/jobs/job-id.ts'
import type { JobRecord, KeptBlob } from '../../core/jobs/record.ts'
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
import { type Bodies, type BodyKind, type FileKind, INLINE_BODY_BYTES_MAX } from './bodies.ts'
import { DedupTables } from './dedup.ts'
import { fromKeyColumn, keyColumn } from './key-column.ts'
import { blobFile, payloadOf, type PayloadRow, payloadRow } from './payload-row.ts'
import { RunnableTable } from './runnable-table.ts'
import { AUTO_VACUUM_INCREMENTAL, metaCrc, readMeta, WRITE_META } from './schema.ts'

/** Stands in `ended` where others say whether they are dead letters; `keep_until` is then when they ended. */
export const FOLLOW_UP = 2
/** A place in the order of ends. */
const BEFORE_ALL = { endedAt: -1, seq: 0 }
/** 16 MiB, and a quarter of the file. */
const FREE_PAGES_KEPT = 4096
const FREE_SHARE_KEPT = 0.25
/** In one step: 256 KiB. */
const GIVE_BACK_PAGES = 64

export class SqliteTables implements Tables {
  readonly generation: number
  readonly #db: DatabaseSync
  readonly #sql: Statements
  readonly #bodies: Bodies
  readonly #dedup: DedupTables
  readonly #runnable: RunnableTable
  readonly #onCorrupt: (what: string) => void
  readonly #saidOfNotes = new Set<string>()

  constructor(db: DatabaseSync, bodies: Bodies, onCorrupt: (what: string) => void) {
    this.#db = db
    this.#sql = prepareStatements(db)
    this.#bodies = bodies
    this.#onCorrupt = onCorrupt
    this.#runnable = new RunnableTable(db)
    this.#dedup = new DedupTables(db, (seq) => this.#deduplicates(seq))
    this.generation = readMeta(db, 'generation') ?? 0
  }

  /** After a rollback: what is kept in memory of the database is read anew. */
  reload(): void {
    this.#dedup.reload()
    this.#runnable.forget()
  }

  flush(): void {
    this.#runnable.write()
  }

  lastSequence(): number {
    return (this.#sql.lastSequence.get() as [number] | undefined)?.[0] ?? 0
  }

  saveLastSequence(seq: number): void {
    this.#sql.saveMeta.run('last_sequence', seq, metaCrc('last_sequence', seq))
  }

  queues(): readonly StoredQueue[] {
    const rows = this.#sql.queues.all() as unknown as [number, string, string, number, string | null, number | null][]
    return rows.map(([id, name, counters, countersCrc, settings, settingsCrc]) => ({
      id,
      name,
      counters: crc32(counters) === countersCrc ? parseCounters(counters) : undefined,
      settings: settings === null ? undefined : this.#settings(name, settings, settingsCrc),
    }))
  }

  addQueue(name: string, counters: QueueCounters): number {
    const text = JSON.stringify(counters)
    return Number(this.#sql.addQueue.run(name, text, crc32(text)).lastInsertRowid)
  }

  saveQueue(id: number, counters: QueueCounters): void {
    const text = JSON.stringify(counters)
    this.#sql.saveQueue.run(text, crc32(text), id)
  }

  saveSettings(id: number, settings: QueueSettings): void {
    const text = JSON.stringify(settings)
    this.#sql.saveSettings.run(text, crc32(text), id)
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
    if (bytes > INLINE_BODY_BYTES_MAX) this.#doomBody('request', seq)
    this.#sql.deleteRequest.run(seq)
  }

  adoptBlob(seq: number, blob: KeptBlob): void {
    this.#bodies.adopt(seq, blob)
  }

  putResult(seq: number, payload: Payload, blob?: KeptBlob): void {
    if (blob === undefined) this.#putPayload(this.#sql.putResult, 'result', seq, payload)
    else this.#sql.putResult.run(seq, ...payloadRow(seq, blobFile(blob.number), payload))
  }

  result(seq: number): Payload | typeof DAMAGED {
    return this.#payload(this.#sql.result, 'result', seq)
  }

  deleteResult(seq: number, bytes: Bytes, blob?: KeptBlob): void {
    if (blob !== undefined) this.#bodies.doom('stream', seq, blob.number)
    else if (bytes > INLINE_BODY_BYTES_MAX) this.#doomBody('result', seq)
    this.#sql.deleteResult.run(seq)
  }

  /** Some body is in it. */
  refersTo(kind: FileKind, seq: number, file: number): boolean {
    return kind === 'stream' ? this.#bodyFile('result', seq) === blobFile(file) : this.#bodyFile(kind, seq) === file
  }

  /** In which of the job's files the body is; 0: in none. */
  #bodyFile(kind: BodyKind, seq: number): number {
    const row = (kind === 'request' ? this.#sql.requestFile : this.#sql.resultFile).get(seq) as [number] | undefined
    return row?.[0] ?? 0
  }

  addHistory(seq: number, entry: AttemptRecord): void {
    const text = JSON.stringify(entry)
    this.#sql.addHistory.run(seq, entry.handOut, text, crc32(text))
  }

  history(seq: number): readonly AttemptRecord[] {
    const rows = this.#sql.history.all(seq) as unknown as [string, number][]
    return rows.flatMap(([text, crc]) => {
      if (crc32(text) === crc) return parseObject<AttemptRecord>(text) ?? []
      this.#onCorrupt(`job ${formatJobId(seq)}: a part of its story fails its checks`)
      return []
    })
  }

  deleteHistory(seq: number): void {
    this.#sql.deleteHistory.run(seq)
  }

  addRunnable(runnable: Omit<Runnable, 'mark'>): void {
    this.#runnable.add(runnable)
  }

  markRunning(seq: number, server: string | undefined): void {
    this.#runnable.mark(seq, server ?? null)
  }

  removeRunnable(seq: number): void {
    this.#runnable.remove(seq)
  }

  runnable(): Iterable<Runnable> {
    this.#runnable.write()
    return this.#runnable.rows()
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
    // Nothing lies between a text and the same text with a zero behind it; and the empty text is a key like any other.
    const from = after === undefined ? '' : `${keyColumn(after)}\0`
    const rows = statement.all(queue, from, max) as unknown as [string, number, number][]
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

  addFollowUp(queue: number, endedAt: EpochMillis, seq: number): void {
    this.#sql.addEnded.run(queue, FOLLOW_UP, endedAt, seq)
  }

  removeFollowUp(queue: number, endedAt: EpochMillis, seq: number): void {
    this.#sql.removeEnded.run(queue, FOLLOW_UP, endedAt, seq)
  }

  followUps(queue: number, max: number, after = BEFORE_ALL): readonly number[] {
    return (this.#sql.followUps.all(queue, FOLLOW_UP, after.endedAt, after.seq, max) as unknown as [number][]).map(([seq]) => seq)
  }

  quarantine(seq: number): void {
    this.#db.prepare('INSERT OR REPLACE INTO quarantine SELECT seq, record, crc FROM jobs WHERE seq = ?').run(seq)
    this.#db.prepare('DELETE FROM jobs WHERE seq = ?').run(seq)
  }

  clearIndexes(): void {
    this.#runnable.forget()
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
    const rows = this.#sql.notes.all(prefix, `${prefix}\u{10ffff}`) as unknown as [string, string, number][]
    return rows.flatMap(([name, text, crc]) => {
      if (crc32(text) === crc) return { name, text }
      // They are read again after every rollback.
      if (!this.#saidOfNotes.has(name)) this.#onCorrupt(`what is kept as ${name} fails its checks; it is as if it were not there`)
      this.#saidOfNotes.add(name)
      return []
    })
  }

  putNote(name: string, text: string): void {
    this.#sql.putNote.run(name, text, crc32(text))
  }

  dropNote(name: string): void {
    this.#sql.dropNote.run(name)
  }

  /**
   * Only when much is free: what is free serves again without a new page. Some tenths of a millisecond. Files that older versions made give
   * nothing back until they were small once (see `database.ts`).
   */
  giveBack(): boolean {
    const [pages, free, vacuum] = this.#sql.space.get() as unknown as [number, number, number]
    if (vacuum !== AUTO_VACUUM_INCREMENTAL || free < FREE_PAGES_KEPT || free < pages * FREE_SHARE_KEPT) return false
    this.#db.exec(`PRAGMA incremental_vacuum(${GIVE_BACK_PAGES})`)
    return true
  }

  #settings(queue: string, text: string, crc: number | null): QueueSettings | undefined {
    const settings = crc32(text) === crc ? parseObject<QueueSettings>(text) : undefined
    if (settings?.limits !== undefined && settings.rules !== undefined) return settings
    this.#onCorrupt(`queue ${queue}: its limits and rules fail their checks; it has those of the configuration, or none`)
    return undefined
  }

  #deduplicates(seq: number): boolean {
    const record = this.record(seq)
    return record === DAMAGED || record?.dedup !== undefined
  }

  #doomBody(kind: BodyKind, seq: number): void {
    const file = this.#bodyFile(kind, seq)
    if (file !== 0) this.#bodies.doom(kind, seq, file)
  }

  #putPayload(statement: StatementSync, kind: BodyKind, seq: number, payload: Payload): void {
    const file = payload.body.length > INLINE_BODY_BYTES_MAX ? this.#bodies.write(kind, seq, payload.body) : 0
    statement.run(seq, ...payloadRow(seq, file, payload))
  }

  #payload(statement: StatementSync, kind: BodyKind, seq: number): Payload | typeof DAMAGED {
    const row = statement.get(seq) as PayloadRow | undefined
    const payload = row === undefined ? undefined : payloadOf(seq, row, (file) => this.#bodies.read(kind, seq, file))
    if (payload !== undefined) return payload
    this.#onCorrupt(`job ${formatJobId(seq)}: its ${kind} ${row === undefined ? 'is missing' : 'fails its checks'}`)
    return DAMAGED
  }
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

function parseObject<T>(text: string): T | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as T) : undefined
  } catch {
    return undefined
  }
}

const SQL = {
  space: `SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count),
    (SELECT auto_vacuum FROM pragma_auto_vacuum)`,
  lastSequence: "SELECT value FROM meta WHERE name = 'last_sequence'",
  saveMeta: WRITE_META,
  queues: 'SELECT id, name, counters, counters_crc, settings, settings_crc FROM queues ORDER BY id',
  addQueue: 'INSERT INTO queues (name, counters, counters_crc) VALUES (?, ?, ?)',
  saveQueue: 'UPDATE queues SET counters = ?, counters_crc = ? WHERE id = ?',
  saveSettings: 'UPDATE queues SET settings = ?, settings_crc = ? WHERE id = ?',
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
  requestFile: 'SELECT file FROM requests WHERE seq = ?',
  deleteRequest: 'DELETE FROM requests WHERE seq = ?',
  putResult: 'INSERT OR REPLACE INTO results (seq, head_bytes, file, crc, data) VALUES (?, ?, ?, ?, ?)',
  result: 'SELECT head_bytes, file, crc, data FROM results WHERE seq = ?',
  resultFile: 'SELECT file FROM results WHERE seq = ?',
  deleteResult: 'DELETE FROM results WHERE seq = ?',
  addHistory: 'INSERT OR REPLACE INTO history (seq, hand_out, entry, crc) VALUES (?, ?, ?, ?)',
  history: 'SELECT entry, crc FROM history WHERE seq = ? ORDER BY hand_out',
  deleteHistory: 'DELETE FROM history WHERE seq = ?',
  keyHolder: 'SELECT seq FROM keys WHERE queue = ? AND key = ?',
  setKeyHolder: 'INSERT OR REPLACE INTO keys (queue, key, seq, blocked) VALUES (?, ?, ?, ?)',
  heldKeys: 'SELECT key, seq, blocked FROM keys WHERE queue = ? AND key >= ? ORDER BY key LIMIT ?',
  blockedKeys: 'SELECT key, seq, blocked FROM keys WHERE queue = ? AND key >= ? AND blocked = 1 ORDER BY key LIMIT ?',
  countBehind: 'SELECT count(*) FROM (SELECT 1 FROM blocked WHERE queue = ? AND key = ? LIMIT 100000)',
  notes: 'SELECT name, text, crc FROM notes WHERE name >= ? AND name < ? ORDER BY name',
  putNote: 'INSERT OR REPLACE INTO notes (name, text, crc) VALUES (?, ?, ?)',
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
  followUps: 'SELECT seq FROM ended WHERE queue = ? AND dead = ? AND (keep_until, seq) > (?, ?) ORDER BY keep_until, seq LIMIT ?',
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
