/**
 * What can be read of a damaged database, table by table: from the beginning to the first page that cannot be read, from the end back to the
 * last such page, and in between by the numbers that other tables name.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { BodyKind } from './bodies.ts'
import { reasonOf } from './folder.ts'
import type { PayloadRow } from './payload-row.ts'

type Value = number | string | null | Uint8Array
type Row = readonly Value[]
type JobRow = readonly [seq: number, text: string, crc: number]

/** Tables that name jobs, with the column that does. */
const NAMING = ['requests', 'results', 'runnable', 'keys', 'blocked', 'timers', 'ended', 'history', 'quarantine'] as const

export class Salvaged {
  /** All numbers of jobs that anything names. */
  readonly named: Set<number> = new Set()
  readonly #db: DatabaseSync
  readonly #say: (problem: string) => void
  readonly #payloads: Readonly<Record<BodyKind, StatementSync | undefined>>

  constructor(db: DatabaseSync, say: (problem: string) => void) {
    this.#db = db
    this.#say = say
    for (const table of NAMING) for (const [seq] of this.#both(table, 'seq')) this.#name(seq)
    const select = (kind: BodyKind): StatementSync | undefined =>
      this.#prepare(`SELECT head_bytes, file, crc, data FROM ${kind}s WHERE seq = ?`)
    this.#payloads = { request: select('request'), result: select('result') }
  }

  /** Each as it is stored, unchecked. */
  *jobs(): Iterable<JobRow> {
    const seen = new Set<number>()
    for (const row of this.#both('jobs', 'seq, record, crc')) {
      const [seq] = row
      this.#name(seq)
      seen.add(seq as number)
      if (isJobRow(row)) yield row
    }
    const one = this.#prepare('SELECT seq, record, crc FROM jobs WHERE seq = ?')
    for (const seq of [...this.named]) {
      const row = seen.has(seq) ? undefined : tryGet(one, seq)
      if (row !== undefined && isJobRow(row)) yield row
    }
  }

  quarantine(): readonly JobRow[] {
    return [...this.#both('quarantine', 'seq, record, crc')].filter(isJobRow)
  }

  payload(kind: BodyKind, seq: number): PayloadRow | undefined {
    return tryGet(this.#payloads[kind], seq) as PayloadRow | undefined
  }

  queues(): readonly { readonly name: string; readonly text: string | undefined; readonly crc: number | undefined }[] {
    const rows = [...this.#both('queues', '*')]
    return rows.flatMap((row) => {
      const [, name, , , text, crc] = row
      if (typeof name !== 'string') return []
      return { name, text: typeof text === 'string' ? text : undefined, crc: typeof crc === 'number' ? crc : undefined }
    })
  }

  history(): readonly { readonly seq: number; readonly text: string; readonly crc: number }[] {
    const rows = [...this.#both('history', 'seq, entry, crc')]
    return rows.map(([seq, text, crc]) => ({ seq: seq as number, text: String(text), crc: crc as number }))
  }

  notes(): readonly { readonly name: string; readonly text: string; readonly crc: number }[] {
    const rows = [...this.#both('notes', 'name, text, crc')]
    return rows.map(([name, text, crc]) => ({ name: String(name), text: String(text), crc: crc as number }))
  }

  /** The fingerprint that is kept for a job's idempotency key, by job. */
  dedup(): ReadonlyMap<number, string> {
    const found = new Map<number, string>()
    const tables =
      this.#try('sqlite_schema', () => this.#db.prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'dedup_*'").all()) ?? []
    for (const { name } of tables) {
      for (const [seq, fingerprint] of this.#both(String(name), 'seq, fingerprint')) {
        this.#name(seq)
        if (fingerprint instanceof Uint8Array) found.set(seq as number, Buffer.from(fingerprint).toString('hex'))
      }
    }
    return found
  }

  /** 0: it cannot be read. One that damage made huge would use up all that can follow. */
  generation(): number {
    const rows = new Map([...this.#both('meta', 'name, value')].map(([name, value]) => [name, Number(value)]))
    const generation = rows.get('generation') ?? 0
    return Number.isSafeInteger(generation) && generation > 0 && generation < GENERATION_MAX ? generation : 0
  }

  /** In the order of its key, then, where a page cannot be read, from the other end. */
  *#both(table: string, columns: string): Iterable<Row> {
    const seen = new Set<string>()
    const failed = yield* this.#oneWay(table, columns, 'ASC', seen)
    if (failed === undefined) return
    this.#say(`${table}: a part of it cannot be read (${failed})`)
    yield* this.#oneWay(table, columns, 'DESC', seen)
  }

  /** Says why it ended early; undefined: it did not. */
  *#oneWay(table: string, columns: string, order: 'ASC' | 'DESC', seen: Set<string>): Generator<Row, string | undefined> {
    try {
      const statement = this.#db.prepare(`SELECT ${columns} FROM ${table} ORDER BY ${KEYS[table] ?? 'scope'} ${order}`)
      statement.setReturnArrays(true)
      let before: Value = Number.NEGATIVE_INFINITY
      for (const each of statement.iterate()) {
        const row = each as unknown as Row
        const value = row[0] ?? null
        if (ORDERED.has(table) && (order === 'ASC' ? !isAfter(value, before) : false)) return 'it is out of order'
        before = value
        const name = String(row[0])
        if (order === 'DESC' && seen.has(name)) continue
        seen.add(name)
        yield row
      }
      return undefined
    } catch (error) {
      // An older format, or none.
      return /^no such (?:table|column)/.test(reasonOf(error)) ? undefined : reasonOf(error)
    }
  }

  #name(seq: Value | undefined): void {
    if (typeof seq === 'number' && Number.isSafeInteger(seq) && seq > 0) this.named.add(seq)
  }

  #prepare(sql: string): StatementSync | undefined {
    return this.#try(sql, () => {
      const statement = this.#db.prepare(sql)
      statement.setReturnArrays(true)
      return statement
    })
  }

  #try<T>(what: string, work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      this.#say(`${what}: ${reasonOf(error)}`)
      return undefined
    }
  }
}

const KEYS: Readonly<Record<string, string>> = {
  meta: 'name',
  queues: 'id',
  jobs: 'seq',
  requests: 'seq',
  results: 'seq',
  runnable: 'seq',
  quarantine: 'seq',
  history: 'seq',
  notes: 'name',
  keys: 'queue',
  blocked: 'queue',
  timers: 'at',
  ended: 'queue',
}

/** By their first column, without repetition. */
const ORDERED: ReadonlySet<string> = new Set(['jobs', 'requests', 'results', 'runnable', 'quarantine'])
const GENERATION_MAX = 2 ** 20

function isAfter(value: Value, before: Value): boolean {
  return typeof value === 'number' && typeof before === 'number' && value > before
}

function tryGet(statement: StatementSync | undefined, seq: number): Row | undefined {
  try {
    return statement?.get(seq) as unknown as Row | undefined
  } catch {
    return undefined
  }
}

function isJobRow(row: Row): row is JobRow {
  return typeof row[0] === 'number' && typeof row[1] === 'string' && typeof row[2] === 'number'
}
