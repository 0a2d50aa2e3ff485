/**
 * A new store of what can still be read of a damaged one, which is not changed. Only what passes its checksum is taken over: every job that is
 * in the new store was in the old one. What was named anywhere and could not be saved is told by its id.
 */
import { closeSync, constants, copyFileSync, openSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { formatJobId, nextSequence } from '../../core/jobs/job-id.ts'
import { blobOf, type JobRecord, type KeptBlob, keepsRequest, placeOf } from '../../core/jobs/record.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { AttemptRecord } from '../../ports/job-store.ts'
import { Ledger } from '../ledger/ledger.ts'
import { NO_COUNTERS } from '../ledger/queue-state.ts'
import { DAMAGED, type QueueSettings } from '../ledger/tables.ts'
import { wrongWithBlob } from './blob-check.ts'
import { Bodies, BODIES_FOLDER, bodyFileName, type BodyKind, readBody } from './bodies.ts'
import { DATABASE_FILE, reasonOf, syncFolder } from './folder.ts'
import { holderOf } from './offline-folder.ts'
import { beginStore, endStore, raisedGeneration, withFiles } from './offline-work.ts'
import { payloadOf, type PayloadRow } from './payload-row.ts'
import { Salvaged } from './salvaged-rows.ts'
import { AUTO_VACUUM_INCREMENTAL, createTables, writeMeta } from './schema.ts'
import { parseRecord, SqliteTables } from './sqlite-tables.ts'
import { copyDatabase, CopyRefused, syncFile } from './store-copy.ts'
import { framesOf, isLogMissed, judgeLog, openLog, PAGE_BYTES, readHeader, syncedFrames } from './write-ahead-log.ts'

export interface SalvageOptions {
  /** Take over records that were put aside, where they pass their checksum. */
  readonly quarantine: boolean
  readonly now: EpochMillis
}

export interface SalvageReport {
  readonly saved: number
  /** Ids of jobs that something in the old store named, and that could not be saved. */
  readonly lost: readonly string[]
  /** What else could not be read. */
  readonly problems: readonly string[]
}

const SOURCE = 'salvage.partial'
/** The beginning of every database of ours: a few constants, which damage may have hit. */
const HEADER = Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.from([0x10, 0, 1, 1, 0, 64, 32, 32])])

export function salvage(from: string, to: string, options: SalvageOptions): SalvageReport {
  const holder = holderOf(from)
  if (holder !== undefined) throw new CopyRefused(`${from}: the gateway with pid ${holder} works on it; stop it first`)
  if (statSync(join(from, DATABASE_FILE), { throwIfNoEntry: false }) === undefined)
    throw new CopyRefused(`there is no ${DATABASE_FILE} in ${from}`)
  beginStore(to)
  const work = new Salvage(from, to, options)
  try {
    const report = work.run()
    endStore(to)
    return report
  } finally {
    rmSync(join(to, SOURCE), { force: true })
  }
}

class Salvage {
  readonly #from: string
  readonly #to: string
  readonly #options: SalvageOptions
  readonly #problems: string[] = []
  readonly #records = new Set<number>()
  readonly #lost = new Set<number>()
  #saved = 0

  constructor(from: string, to: string, options: SalvageOptions) {
    this.#from = from
    this.#to = to
    this.#options = options
  }

  run(): SalvageReport {
    this.#copySource()
    const source = this.#open(join(this.#to, SOURCE))
    const target = new DatabaseSync(join(this.#to, DATABASE_FILE))
    try {
      target.exec(`PRAGMA auto_vacuum = ${AUTO_VACUUM_INCREMENTAL}; PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; BEGIN`)
      createTables(target)
      const rows = new Salvaged(source, (problem) => void this.#problems.push(problem))
      this.#takeOver(rows, target)
      target.exec('COMMIT')
    } finally {
      source.close()
      target.close()
    }
    const lost = [...this.#lost].sort((a, b) => a - b).map(formatJobId)
    return { saved: this.#saved, lost, problems: this.#problems }
  }

  /** Database and log as one file, also where SQLite would stop reading the log. */
  #copySource(): void {
    const path = join(this.#to, SOURCE)
    withFiles(this.#from, (files) => copyDatabase({ ...files, logBytes: 0 }, this.#to, { floorBytes: 0, storePath: this.#to }, SOURCE))
    const file = openSync(path, 'r+')
    try {
      const pages = this.#applyLog(file)
      writeSync(file, HEADER, 0, HEADER.length, 0)
      if (pages !== undefined) truncateSync(path, pages * PAGE_BYTES)
    } finally {
      closeSync(file)
    }
  }

  /** Says how many pages the database has after it; undefined: nothing was applied. */
  #applyLog(file: number): number | undefined {
    const log = judgeLog(this.#from) === 'superseded' ? undefined : openLog(this.#from)
    const synced = syncedFrames(this.#from)
    if (log === undefined) {
      if (isLogMissed(this.#from)) this.#problems.push('the write-ahead log is missing: the last changes are lost')
      return undefined
    }
    try {
      const header = readHeader(log, synced?.salts)
      if (header === undefined) {
        if ((synced?.frames ?? 0) > 0) this.#problems.push('the write-ahead log cannot be read: the last changes are lost')
        return undefined
      }
      const sure = synced?.salts === header.salts ? synced.frames : 0
      return this.#applyFrames(file, framesOf(log, header), sure)
    } finally {
      closeSync(log)
    }
  }

  /** Up to the last commit; what was synced also past a damaged frame, whose page stays as it was before. */
  #applyFrames(file: number, frames: ReturnType<typeof framesOf>, sure: number): number | undefined {
    let pages: number | undefined
    let open: { readonly page: number; readonly data: Uint8Array }[] = []
    let at = 0
    for (const { page, data, commitPages, sound } of frames) {
      at += 1
      if (!sound && at > sure) break
      if (!sound) this.#problems.push(`frame ${at} of the write-ahead log is damaged: some jobs may be as they were before it`)
      else open.push({ page, data })
      if (commitPages === 0 || !sound) continue
      for (const each of open) writeSync(file, each.data, 0, each.data.length, (each.page - 1) * each.data.length)
      open = []
      pages = commitPages
    }
    return pages
  }

  #open(path: string): DatabaseSync {
    const db = new DatabaseSync(path, { readOnly: true })
    try {
      db.prepare('SELECT count(*) FROM sqlite_schema').get()
      return db
    } catch (error) {
      db.close()
      throw new CopyRefused(`${DATABASE_FILE} cannot be read at all (${reasonOf(error)}); restore a backup`)
    }
  }

  #takeOver(rows: Salvaged, target: DatabaseSync): void {
    const bodies = new Bodies(this.#to)
    const tables = new SqliteTables(target, bodies, () => undefined)
    const records = this.#readRecords(rows)
    this.#queues(rows, records, tables)
    const dedup = rows.dedup()
    for (const stored of records) {
      const record = this.#asKnown(stored, rows)
      tables.insertRecord(record)
      this.#saved += 1
      if (keepsRequest(record)) this.#payload('request', record.seq, rows, tables)
      if (record.resultBytes >= 0) this.#result(record, rows, tables)
      const { scopeKey, until } = record.dedup ?? {}
      if (scopeKey === undefined || until === undefined) continue
      const fingerprint = dedup.get(record.seq)
      if (fingerprint === undefined) this.#problems.push(`job ${formatJobId(record.seq)}: its idempotency key is lost`)
      else tables.addDedup(scopeKey, { seq: record.seq, fingerprint }, until)
    }
    this.#texts(rows, tables)
    writeMeta(target, 'generation', raisedGeneration(rows.generation(), this.#options.now))
    writeMeta(target, 'last_sequence', nextSequence(records.at(-1)?.seq ?? 0, this.#options.now))
    syncFolder(join(this.#to, BODIES_FOLDER))
    // All that is derived is made from the records.
    const ledger = new Ledger(tables, { queues: [], onCorrupt: (what) => void this.#problems.push(what) })
    ledger.begin({ now: this.#options.now, monotonic: 0, secret: () => '' })
    ledger.rebuildIndexes()
    ledger.commit()
  }

  /** A job with a result has ended, whatever its record says: that is an older one, and must not run again by itself. */
  #asKnown(record: JobRecord, rows: Salvaged): JobRecord {
    if (placeOf(record) === 'ended' || rows.payload('result', record.seq) === undefined) return record
    this.#problems.push(`job ${formatJobId(record.seq)}: its record is older than its result; it is a dead letter now`)
    const error = { code: 'outcome_unknown', detail: 'It had ended, but how is lost: its record was damaged' }
    const { now } = this.#options
    return {
      ...record,
      status: 'failed',
      dead: 'outcome_unknown',
      error,
      finishedAt: now,
      scheduled: false,
      lease: undefined,
      notBefore: undefined,
    }
  }

  #readRecords(rows: Salvaged): readonly JobRecord[] {
    const found: JobRecord[] = []
    const take = (seq: number, text: string, crc: number): void => {
      const record = parseRecord(text, crc, seq)
      if (record === DAMAGED || this.#records.has(seq)) return
      this.#records.add(seq)
      found.push(record)
    }
    for (const [seq, text, crc] of rows.jobs()) take(seq, text, crc)
    const aside = rows.quarantine()
    if (this.#options.quarantine) for (const [seq, text, crc] of aside) take(seq, text, crc)
    const highest = nextSequence(0, this.#options.now)
    // A number of the future is damage, not a job.
    for (const seq of rows.named) if (!this.#records.has(seq) && seq <= highest) this.#lost.add(seq)
    return found.sort((a, b) => a.seq - b.seq)
  }

  #queues(rows: Salvaged, records: readonly JobRecord[], tables: SqliteTables): void {
    const entered = new Map<string, number>()
    for (const { queue, ordinal } of records) entered.set(queue, Math.max(entered.get(queue) ?? 0, ordinal))
    const settings = new Map<string, QueueSettings | undefined>()
    for (const { name, text, crc } of rows.queues()) {
      const sound = text !== undefined && crc32(text) === crc
      settings.set(name, sound ? (JSON.parse(text) as QueueSettings) : undefined)
    }
    for (const name of new Set([...settings.keys(), ...entered.keys()])) {
      const id = tables.addQueue(name, { ...NO_COUNTERS, entered: entered.get(name) ?? 0 })
      const known = settings.get(name)
      if (known !== undefined) tables.saveSettings(id, known)
    }
  }

  #payload(kind: BodyKind, seq: number, rows: Salvaged, tables: SqliteTables): void {
    const row = rows.payload(kind, seq)
    const payload = row === undefined ? undefined : this.#checked(kind, seq, row)
    if (payload === undefined) this.#problems.push(`job ${formatJobId(seq)}: its ${kind} is lost`)
    else if (kind === 'request') tables.putRequest(seq, payload)
    else tables.putResult(seq, payload)
  }

  #result(record: JobRecord, rows: Salvaged, tables: SqliteTables): void {
    const { seq } = record
    const blob = blobOf(record)
    if (blob === undefined) return this.#payload('result', seq, rows, tables)
    const row = rows.payload('result', seq)
    const payload = row === undefined ? undefined : this.#checked('result', seq, row)
    const wrong = payload === undefined ? 'is lost' : this.#copyBlob(seq, blob)
    if (wrong !== undefined) this.#problems.push(`job ${formatJobId(seq)}: its result ${wrong}`)
    else if (payload !== undefined) tables.putResult(seq, payload, blob)
  }

  /** Undefined: it is there now. */
  #copyBlob(seq: number, blob: KeptBlob): string | undefined {
    const name = bodyFileName('stream', seq, blob.number)
    const [from, to] = [join(this.#from, BODIES_FOLDER), join(this.#to, BODIES_FOLDER)]
    try {
      const wrong = wrongWithBlob(from, seq, blob)
      if (wrong !== undefined) return wrong
      copyFileSync(join(from, name), join(to, name), constants.COPYFILE_EXCL)
      syncFile(join(to, name))
      return undefined
    } catch (error) {
      return `cannot be read (${reasonOf(error)})`
    }
  }

  #checked(kind: BodyKind, seq: number, row: PayloadRow): ReturnType<typeof payloadOf> {
    try {
      return payloadOf(seq, row, (file) => readBody(join(this.#from, BODIES_FOLDER), kind, seq, file))
    } catch {
      return undefined
    }
  }

  #texts(rows: Salvaged, tables: SqliteTables): void {
    for (const { seq, text, crc } of rows.history()) {
      if (this.#records.has(seq) && crc32(text) === crc) tables.addHistory(seq, JSON.parse(text) as AttemptRecord)
    }
    for (const { name, text, crc } of rows.notes()) {
      if (crc32(text) === crc) tables.putNote(name, text)
      else this.#problems.push(`what was kept as ${name} is lost`)
    }
  }
}
