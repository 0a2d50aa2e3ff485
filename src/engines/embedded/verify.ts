/**
 * A whole store that nobody writes to, checked: SQLite's own check, every checksum, every body file, every row of what is derived against its
 * record and the other way round, every figure against a count. It changes nothing and never throws for what is damaged: that is what it tells.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { formatJobId } from '../../core/jobs/job-id.ts'
import { blobOf, type JobRecord, type KeptBlob, keepsRequest, placeOf } from '../../core/jobs/record.ts'
import type { Bytes } from '../../lib/units.ts'
import type { MaintenanceReport } from '../../ports/job-store.ts'
import { NO_SETTINGS, QueueState } from '../ledger/queue-state.ts'
import { DAMAGED, payloadBytes, type QueueCounters } from '../ledger/tables.ts'
import { wrongWithBlob } from './blob-check.ts'
import { type BodyKind, readBody } from './bodies.ts'
import { Checks, DERIVED, ofJob, seqOf } from './checks.ts'
import { troubleOf } from './disk-trouble.ts'
import { reasonOf } from './folder.ts'
import { payloadOf, type PayloadRow } from './payload-row.ts'
import { FORMAT_VERSION, readMeta } from './schema.ts'
import { parseRecord } from './sqlite-tables.ts'

/** Told of. What comes after is no better. */
const PROBLEMS_MAX = 100
const PAGE = 1000

/** `known`: what was found beside. */
export function verifyDatabase(db: DatabaseSync, bodiesFolder: string, known: readonly string[] = []): MaintenanceReport {
  const verifier = new Verifier(db, bodiesFolder)
  for (const problem of known) verifier.say(problem)
  return verifier.run()
}

class Verifier {
  readonly #db: DatabaseSync
  readonly #bodiesFolder: string
  readonly #problems: string[] = []
  readonly #queues = new Map<string, QueueState>()
  readonly #payloads = new Map<BodyKind, StatementSync>()
  #checks: Checks | undefined
  #jobs = 0
  #bytes: Bytes = 0

  constructor(db: DatabaseSync, bodiesFolder: string) {
    this.#db = db
    this.#bodiesFolder = bodiesFolder
  }

  run(): MaintenanceReport {
    let format = 0
    this.#look('the database', () => {
      format = this.#number('PRAGMA user_version')
      this.#bytes += this.#number('SELECT page_count * page_size FROM pragma_page_count, pragma_page_size')
      this.#integrity()
    })
    const derived = format === FORMAT_VERSION
    if (derived) {
      this.#look('the database', () => {
        this.#checks = new Checks(this.#db)
      })
      this.#look('meta', () => this.#meta())
      this.#look('queues', () => this.#loadQueues())
    }
    this.#look('jobs', () => this.#records())
    this.#look('quarantine', () => this.#quarantine())
    if (derived) {
      this.#look('queues', () => this.#counters())
      for (const table of DERIVED) this.#look(table, () => this.#rowsOf(table))
      for (const [table, text] of TEXTS) this.#look(table, () => this.#texts(table, text))
    }
    return { ok: this.#problems.length === 0, jobs: this.#jobs, bytes: this.#bytes, problems: this.#problems }
  }

  say(problem: string): void {
    if (this.#problems.length < PROBLEMS_MAX && !this.#problems.includes(problem)) this.#problems.push(problem)
  }

  #look(where: string, work: () => void): void {
    try {
      work()
    } catch (error) {
      if (troubleOf(error) === 'none' && !isSqlite(error)) throw error
      this.say(`${where}: it cannot be read (${reasonOf(error)})`)
    }
  }

  #integrity(): void {
    for (const row of this.#db.prepare(`PRAGMA integrity_check(${PROBLEMS_MAX})`).all()) {
      const says = String(row['integrity_check'])
      if (says !== 'ok') this.say(`SQLite: ${says}`)
    }
  }

  #meta(): void {
    for (const name of ['generation', 'last_sequence'] as const) {
      if (readMeta(this.#db, name) === undefined) this.say(`meta: ${name} fails its checks`)
    }
  }

  #loadQueues(): void {
    for (const row of this.#db.prepare('SELECT * FROM queues').all()) {
      const {
        id,
        name,
        settings,
        settings_crc: crc,
      } = row as { id: number; name: string; settings: string | null; settings_crc: number | null }
      this.#queues.set(name, new QueueState(id, name, NO_SETTINGS, 0))
      if (settings !== null && crc32(settings) !== crc) this.say(`queue ${name}: its limits and rules fail their checks`)
    }
  }

  #records(): void {
    const page = this.#db.prepare('SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?')
    page.setReturnArrays(true)
    for (let after = 0; ; ) {
      const rows = page.all(after, PAGE) as unknown as [number, string, number][]
      for (const [seq, text, crc] of rows) {
        if (seq <= after) return this.say(`jobs: the table is out of order after ${formatJobId(after)}`)
        after = seq
        this.#jobs += 1
        const record = parseRecord(text, crc, seq)
        if (record === DAMAGED) this.say(ofJob(seq, 'its record fails its checks'))
        else this.#record(record)
      }
      if (rows.length < PAGE) return
    }
  }

  #record(record: JobRecord): void {
    const { seq } = record
    const wrong = this.#checks?.wrongWith(record) ?? this.#checks?.wrongWithKey(record)
    if (wrong !== undefined) this.say(ofJob(seq, wrong))
    if (keepsRequest(record)) this.#payload('request', record, record.requestBytes)
    const blob = blobOf(record)
    if (record.resultBytes >= 0) this.#payload('result', record, record.resultBytes - (blob?.bytes ?? 0))
    if (blob !== undefined) this.#blob(record, blob)
    const queue = this.#queues.get(record.queue)
    if (queue === undefined) return
    // Its record says what it was before it ran.
    const runs = this.#checks?.isRunning(seq) === true
    queue.count(runs ? { ...record, status: 'running' } : record, 1)
    if (!runs && placeOf(record) === 'line') queue.inLine += 1
  }

  #payload(kind: BodyKind, { seq }: JobRecord, bytes: Bytes): void {
    try {
      const row = this.#payloadRow(kind).get(seq) as PayloadRow | undefined
      if (row === undefined) return this.say(ofJob(seq, `its ${kind} is missing`))
      const payload = payloadOf(seq, row, (file) => this.#body(kind, seq, file))
      if (payload === undefined) return this.say(ofJob(seq, `its ${kind} fails its checks`))
      if (payloadBytes(payload) !== bytes) this.say(ofJob(seq, `its ${kind} has another size than its record says`))
    } catch (error) {
      this.say(ofJob(seq, `its ${kind} cannot be read (${reasonOf(error)})`))
    }
  }

  #blob({ seq }: JobRecord, blob: KeptBlob): void {
    try {
      const wrong = wrongWithBlob(this.#bodiesFolder, seq, blob)
      if (wrong === undefined) this.#bytes += blob.bytes
      else this.say(ofJob(seq, `the file of its result ${wrong}`))
    } catch (error) {
      this.say(ofJob(seq, `the file of its result cannot be read (${reasonOf(error)})`))
    }
  }

  #payloadRow(kind: BodyKind): StatementSync {
    let statement = this.#payloads.get(kind)
    if (statement === undefined) {
      statement = this.#db.prepare(`SELECT head_bytes, file, crc, data FROM ${kind}s WHERE seq = ?`)
      statement.setReturnArrays(true)
      this.#payloads.set(kind, statement)
    }
    return statement
  }

  #body(kind: BodyKind, seq: number, file: number): Uint8Array | undefined {
    const body = readBody(this.#bodiesFolder, kind, seq, file)
    this.#bytes += body?.length ?? 0
    return body
  }

  #quarantine(): void {
    for (const row of this.#db.prepare('SELECT seq FROM quarantine').all()) this.say(ofJob(row['seq'] as number, 'it was put aside before'))
  }

  #counters(): void {
    for (const row of this.#db.prepare('SELECT name, counters, counters_crc FROM queues').all()) {
      const { name, counters, counters_crc: crc } = row as { name: string; counters: string; counters_crc: number }
      const counted = this.#queues.get(name)?.counters()
      if (crc32(counters) !== crc) this.say(`queue ${name}: its figures fail their checks`)
      else if (counted !== undefined) this.#compare(name, JSON.parse(counters) as QueueCounters, counted)
    }
  }

  #compare(queue: string, says: QueueCounters, counted: QueueCounters): void {
    const { entered: _, ...rest } = counted
    for (const [name, is] of Object.entries(rest)) {
      const said = says[name as keyof QueueCounters]
      if (!isSame(said, is)) this.say(`queue ${queue}: ${name} says ${JSON.stringify(said)}, and a count gives ${JSON.stringify(is)}`)
    }
  }

  #rowsOf(table: (typeof DERIVED)[number]): void {
    for (let after: Parameters<Checks['rows']>[1]; ; ) {
      const rows = this.#checks?.rows(table, after, PAGE) ?? []
      for (const row of rows) {
        const wrong = this.#checks?.wrongWithRow(table, row)
        if (wrong !== undefined) this.say(ofJob(seqOf(table, row), wrong))
      }
      after = rows.at(-1)
      if (rows.length < PAGE) return
    }
  }

  #texts(table: string, text: string): void {
    for (const row of this.#db.prepare(`SELECT * FROM ${table}`).iterate()) {
      if (crc32(String(row[text])) === row['crc']) continue
      this.say(
        table === 'notes'
          ? `what is kept as ${String(row['name'])} fails its checks`
          : ofJob(row['seq'] as number, 'a part of its story fails its checks'),
      )
    }
  }

  #number(sql: string): number {
    return Object.values(this.#db.prepare(sql).get() ?? {})[0] as number
  }
}

/** Tables whose rows are a text with its checksum. */
const TEXTS = [
  ['history', 'entry'],
  ['notes', 'text'],
] as const

function isSqlite(error: unknown): boolean {
  return typeof (error as { errcode?: unknown }).errcode === 'number'
}

/** Numbers, lists of them, and figures by name in any order. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return a === b
  const entries = Object.entries(a)
  return entries.length === Object.keys(b).length && entries.every(([name, value]) => isSame(value, (b as Record<string, unknown>)[name]))
}
