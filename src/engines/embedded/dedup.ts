/**
 * Which idempotency keys are known. One random key in one large tree would be the dearest part of a submission, so entries lie in a
 * small table per hour in which they may be forgotten; a Bloom filter per table answers "never seen" without a look; and a table whose
 * hour has come is emptied from its beginning, in steps, after the entries of jobs that still deduplicate were carried over.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { hash32 } from '../../lib/hash.ts'
import { Bloom } from '../../lib/bloom.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { DedupEntry } from '../ledger/tables.ts'

const HOUR_MS = 3_600_000
/** A job is kept for a while after its end, so its entry outlives `until` by about as much; carrying it over is what this saves. */
const SLACK_HOURS = 2
/** Entries that are carried over or forgotten in one step. A large table that is dropped whole would hold up everybody for seconds. */
const SWEEP_STEP = 500
export const DEDUP_PREFIX = 'dedup_'
const PREFIX = DEDUP_PREFIX

interface HourTable {
  readonly hour: number
  readonly bloom: Bloom
  readonly find: StatementSync
  readonly insert: StatementSync
  readonly page: StatementSync
  readonly removeTo: StatementSync
}

export class DedupTables {
  readonly #db: DatabaseSync
  readonly #deduplicates: (seq: number) => boolean
  /** By hour, latest first. */
  #tables: HourTable[] = []

  constructor(db: DatabaseSync, deduplicates: (seq: number) => boolean) {
    this.#db = db
    this.#deduplicates = deduplicates
    this.reload()
  }

  /** At open, and after a rollback, which may have taken a table back that was made, or brought one back that was dropped. */
  reload(): void {
    const known = new Map(this.#tables.map((table) => [table.hour, table]))
    const names = this.#db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '${PREFIX}*'`).all()
    const hours = names.map(({ name }) => Number(String(name).slice(PREFIX.length))).sort((a, b) => b - a)
    this.#tables = hours.map((hour) => known.get(hour) ?? this.#load(hour))
  }

  find(scopeKey: string): DedupEntry | undefined {
    const hash1 = hash32(scopeKey)
    const hash2 = hash32(scopeKey, hash1)
    let encoded: Uint8Array | undefined
    for (const table of this.#tables) {
      if (!table.bloom.mayHave(hash1, hash2)) continue
      encoded ??= encode(scopeKey)
      const row = table.find.get(encoded) as [Uint8Array, number] | undefined
      if (row !== undefined && this.#deduplicates(row[1])) return { fingerprint: decode(row[0]), seq: row[1] }
    }
    return undefined
  }

  add(scopeKey: string, entry: DedupEntry, until: EpochMillis): void {
    this.#put(encode(scopeKey), { fingerprint: encode(entry.fingerprint), seq: entry.seq }, until)
  }

  sweep(now: EpochMillis): EpochMillis | undefined {
    const table = this.#tables.at(-1)
    if (table === undefined) return undefined
    const dueAt = table.hour * HOUR_MS
    if (dueAt > now) return dueAt
    const rows = table.page.all(SWEEP_STEP) as unknown as [Uint8Array, Uint8Array, number][]
    for (const [scope, fingerprint, seq] of rows) {
      if (this.#deduplicates(seq)) this.#put(scope, { fingerprint, seq }, now)
    }
    const last = rows.at(-1)
    if (rows.length === SWEEP_STEP && last !== undefined) {
      table.removeTo.run(last[0])
      return now
    }
    this.#db.exec(`DROP TABLE ${PREFIX}${table.hour}`)
    this.#tables = this.#tables.filter((each) => each !== table)
    const next = this.#tables.at(-1)
    return next === undefined ? undefined : next.hour * HOUR_MS
  }

  #put(scope: Uint8Array, entry: { readonly fingerprint: Uint8Array; readonly seq: number }, until: EpochMillis): void {
    const hour = Math.ceil(until / HOUR_MS) + SLACK_HOURS
    const table = this.#tables.find((each) => each.hour === hour) ?? this.#create(hour)
    table.insert.run(scope, entry.fingerprint, entry.seq)
    addToBloom(table.bloom, decode(scope))
  }

  #create(hour: number): HourTable {
    this.#db.exec(
      `CREATE TABLE ${PREFIX}${hour} (scope BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
    )
    const table = this.#load(hour)
    this.#tables = [...this.#tables, table].sort((a, b) => b.hour - a.hour)
    return table
  }

  #load(hour: number): HourTable {
    const name = `${PREFIX}${hour}`
    const bloom = new Bloom()
    const scopes = this.#db.prepare(`SELECT scope FROM ${name}`)
    for (const { scope } of scopes.iterate()) addToBloom(bloom, decode(scope as Uint8Array))
    const prepare = (sql: string): StatementSync => {
      const statement = this.#db.prepare(sql)
      statement.setReturnArrays(true)
      return statement
    }
    return {
      hour,
      bloom,
      find: prepare(`SELECT fingerprint, seq FROM ${name} WHERE scope = ?`),
      insert: prepare(`INSERT OR REPLACE INTO ${name} (scope, fingerprint, seq) VALUES (?, ?, ?)`),
      page: prepare(`SELECT scope, fingerprint, seq FROM ${name} ORDER BY scope LIMIT ?`),
      removeTo: prepare(`DELETE FROM ${name} WHERE scope <= ?`),
    }
  }
}

function addToBloom(bloom: Bloom, scopeKey: string): void {
  const hash1 = hash32(scopeKey)
  bloom.add(hash1, hash32(scopeKey, hash1))
}

function encode(hex: string): Uint8Array {
  return Buffer.from(hex, 'hex')
}

function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}
