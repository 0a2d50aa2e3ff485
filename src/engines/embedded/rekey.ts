/**
 * Encrypts all requests and answers of a store with the first of its keys, so that the others can be forgotten. Offline, in steps of one
 * transaction each: broken off, it is begun again, and leaves out what is done.
 */
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { formatJobId } from '../../core/jobs/job-id.ts'
import type { Bytes } from '../../lib/units.ts'
import { Ledger } from '../ledger/ledger.ts'
import { rewriteRequest, SCHEDULE_NOTE } from '../ledger/schedules.ts'
import { type SealedKind, type Sealer, type SealingKey } from '../ledger/sealed.ts'
import { DAMAGED, type Payload, payloadBytes } from '../ledger/tables.ts'
import { Bodies, BODIES_FOLDER, type BodyKind, INLINE_BODY_BYTES_MAX, readBody } from './bodies.ts'
import { openDatabase } from './database.ts'
import { KEY_NOTE } from './engine.ts'
import { payloadOf, type PayloadRow, payloadRow } from './payload-row.ts'
import { SqliteTables } from './sqlite-tables.ts'

const STEP = 200

export interface RekeyReport {
  readonly changed: number
  /** What could not be opened, and stays as it is. The keys are not forgotten then. */
  readonly problems: readonly string[]
}

/** Throws `StoreOpenError`. */
export function rekey(path: string, sealer: Sealer, keys: readonly SealingKey[]): RekeyReport {
  const db = openDatabase(path)
  try {
    return new Rekey(db, path, sealer).run(keys)
  } finally {
    db.close()
  }
}

class Rekey {
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #sealer: Sealer
  readonly #bodies: Bodies
  readonly #tables: SqliteTables
  readonly #problems: string[] = []
  #changed = 0

  constructor(db: DatabaseSync, path: string, sealer: Sealer) {
    this.#db = db
    this.#path = path
    this.#sealer = sealer
    this.#bodies = new Bodies(path)
    this.#tables = new SqliteTables(db, this.#bodies, (what) => void this.#problems.push(what))
  }

  run(keys: readonly SealingKey[]): RekeyReport {
    const [first] = keys
    this.#transaction(() => this.#tables.putNote(KEY_NOTE + (first?.id ?? ''), ''))
    this.#payloads('request')
    this.#payloads('result')
    this.#transaction(() => this.#schedules())
    if (this.#changed > 0) this.#transaction(() => this.#countAnew())
    if (this.#problems.length === 0) {
      this.#transaction(() => {
        for (const { name } of this.#tables.notes(KEY_NOTE)) if (name !== KEY_NOTE + (first?.id ?? '')) this.#tables.dropNote(name)
      })
    }
    this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    return { changed: this.#changed, problems: this.#problems }
  }

  #payloads(kind: BodyKind): void {
    const page = this.#db.prepare(`SELECT seq, head_bytes, file, crc, data FROM ${kind}s WHERE seq > ? ORDER BY seq LIMIT ${STEP}`)
    page.setReturnArrays(true)
    const put = this.#db.prepare(`UPDATE ${kind}s SET head_bytes = ?, file = ?, crc = ?, data = ? WHERE seq = ?`)
    for (let after = 0; ; ) {
      const rows = page.all(after) as unknown as [number, ...PayloadRow][]
      if (rows.length === 0) return
      this.#transaction(() => {
        for (const [seq, ...row] of rows) {
          const sealed = this.#sealedAnew(kind, seq, row)
          after = seq
          if (sealed === undefined) continue
          put.run(...this.#rowOf(kind, seq, row, sealed), seq)
          this.#weigh(kind, seq, payloadBytes(sealed))
        }
      })
      this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)')
    }
  }

  /** undefined: it stays as it is. */
  #sealedAnew(kind: BodyKind, seq: number, row: PayloadRow): Payload | undefined {
    const payload = payloadOf(seq, row, (file) => readBody(join(this.#path, BODIES_FOLDER), kind, seq, file))
    if (payload === undefined) return this.#problem(`job ${formatJobId(seq)}: its ${kind} fails its checks`)
    const sealedKind: SealedKind = kind === 'request' ? 'request' : 'answer'
    if (this.#sealer.isFresh(payload)) return undefined
    const opened = this.#sealer.open(sealedKind, payload)
    if ('problem' in opened) return this.#problem(`job ${formatJobId(seq)}: its ${kind}: ${opened.problem}`)
    this.#changed += 1
    return this.#sealer.seal(sealedKind, opened.payload)
  }

  #rowOf(kind: BodyKind, seq: number, [, was]: PayloadRow, payload: Payload): PayloadRow {
    // A blob has a key of its own, which is in the head: it stays as it is.
    if (was < 0) return payloadRow(seq, was, payload)
    const file = payload.body.length > INLINE_BODY_BYTES_MAX ? this.#bodies.write(kind, seq, payload.body) : 0
    if (was !== 0) this.#bodies.doom(kind, seq, was)
    return payloadRow(seq, file, payload)
  }

  /** Sealed it weighs a little more. */
  #weigh(kind: BodyKind, seq: number, bytes: Bytes): void {
    const record = this.#tables.record(seq)
    if (record === undefined || record === DAMAGED) return
    this.#tables.updateRecord(
      kind === 'request' ? { ...record, requestBytes: bytes } : { ...record, resultBytes: bytes + (record.blobBytes ?? 0) },
    )
  }

  /** With the new weights. */
  #countAnew(): void {
    const ledger = new Ledger(this.#tables, { queues: [], onCorrupt: (what) => void this.#problems.push(what) })
    ledger.begin({ now: 0, monotonic: 0, secret: () => '' })
    ledger.rebuildIndexes()
    ledger.commit()
  }

  #schedules(): void {
    for (const { name, text } of this.#tables.notes(SCHEDULE_NOTE)) {
      const anew = rewriteRequest(text, (payload) => {
        const opened = this.#sealer.isFresh(payload) ? { payload } : this.#sealer.open('request', payload)
        if ('payload' in opened) return this.#sealer.isFresh(payload) ? payload : this.#sealer.seal('request', opened.payload)
        this.#problems.push(`schedule ${name.slice(SCHEDULE_NOTE.length)}: ${opened.problem}`)
        return payload
      })
      this.#tables.putNote(name, anew)
    }
  }

  #problem(problem: string): undefined {
    this.#problems.push(problem)
    return undefined
  }

  #transaction(work: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      work()
      this.#bodies.sync()
      this.#db.exec('COMMIT')
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      this.#bodies.rolledBack()
      throw error
    }
    this.#bodies.committed()
  }
}
