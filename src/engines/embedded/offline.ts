/**
 * A store folder without its gateway: every job in order of acceptance, as the next start would find it. Nothing in the folder is changed:
 * a database whose log was merged is read where it is, without locks; where a log is left (the gateway was killed), a copy of both is read.
 * Format 1 differs in nothing that is read here.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { formatJobId } from '../../core/jobs/job-id.ts'
import { step } from '../../core/jobs/machine.ts'
import { handOutsOf, type JobRecord, type JobStatus, placeOf } from '../../core/jobs/record.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { JobId, JobRequest, StoredJob } from '../../ports/job-store.ts'
import { systemRandom } from '../../ports/system.ts'
import { unpackRequest } from '../ledger/payload.ts'
import { keyIdOf, type Opened, Sealer, type SealingKey } from '../ledger/sealed.ts'
import { DAMAGED, type Payload } from '../ledger/tables.ts'
import { BODIES_FOLDER, readBody } from './bodies.ts'
import { explained } from './database.ts'
import { DATABASE_FILE, reasonOf } from './folder.ts'
import { defined } from '../../lib/defined.ts'
import { asItRan } from '../ledger/run-mark.ts'
import { fromKeyColumn } from './key-column.ts'
import { holderOf, stampOf, takeSnapshot } from './offline-folder.ts'
import { payloadOf, type PayloadRow } from './payload-row.ts'
import { APPLICATION_ID, FORMAT_VERSION } from './schema.ts'
import { parseRecord } from './sqlite-tables.ts'
import { StoreOpenError } from './store-open-error.ts'

/** What is told of a job. No secret: whoever exports jobs hands the file on. */
export type OfflineView = Pick<
  StoredJob,
  'id' | 'queue' | 'route' | 'status' | 'attempt' | 'attempts' | 'handOuts' | 'priority' | 'submittedAt' | 'sendOnce' | 'method'
> &
  Partial<Pick<StoredJob, 'key' | 'tenant' | 'reference' | 'notBefore' | 'expiresAt' | 'deadlineAt' | 'dead' | 'error'>>

export interface OfflineJob extends OfflineView {
  /** A failed job holds its key: somebody has to release it first. */
  readonly keyHeldBy?: JobId
  /** Reads it. Undefined: it is kept no more, or damaged; which of them is in `problems` then. */
  readonly request: () => JobRequest | undefined
}

export interface OfflineStore {
  readonly format: number
  /** What could not be read, in words. */
  readonly problems: readonly string[]
  jobs(): Iterable<OfflineJob>
  /** True: somebody wrote to the folder since it was opened, so what was read is of no one moment. */
  hasChanged(): boolean
  close(): void
}

export interface OfflineOptions {
  readonly path: string
  readonly now: EpochMillis
  /** For requests that are encrypted. */
  readonly keys?: readonly SealingKey[]
}

/** Throws `StoreOpenError`: there is no store, it is not ours, or a gateway works on it. */
export function openOffline({ path, now, keys = [] }: OfflineOptions): OfflineStore {
  const database = join(path, DATABASE_FILE)
  if (!existsSync(database)) {
    throw new StoreOpenError(path, existsSync(path) ? `there is no ${DATABASE_FILE} in it` : 'there is no such folder')
  }
  const holder = holderOf(path)
  if (holder !== undefined) throw new StoreOpenError(path, `the gateway with pid ${holder} works on it; stop it first`)
  const before = stampOf(path)
  const snapshot = takeSnapshot(path)
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(snapshot.location, { readOnly: true })
    const sealer = keys.length === 0 ? undefined : new Sealer(keys, systemRandom)
    return new Reader({ db, path, now, before, sealer, format: formatOf(db, path), remove: snapshot.remove })
  } catch (error) {
    db?.close()
    snapshot.remove()
    throw explained(error, path)
  }
}

interface ReaderParts {
  readonly db: DatabaseSync
  readonly path: string
  readonly now: EpochMillis
  readonly before: string
  readonly sealer: Sealer | undefined
  readonly format: number
  readonly remove: () => void
}

class Reader implements OfflineStore {
  readonly problems: string[] = []
  readonly #parts: ReaderParts
  /** Where the jobs run whose gateway was killed. */
  readonly #runningOn: ReadonlyMap<number, string>
  readonly #blockedKeys: ReadonlyMap<string, number>

  constructor(parts: ReaderParts) {
    const { db, format } = parts
    this.#parts = parts
    const running =
      format === 1 ? "SELECT seq, '' FROM runnable WHERE running = 1" : 'SELECT seq, server FROM runnable WHERE server IS NOT NULL'
    this.#runningOn = new Map(rowsOf<[number, string]>(db, running))
    const blocked = 'SELECT q.name, k.key, k.seq FROM keys k JOIN queues q ON q.id = k.queue WHERE k.blocked = 1'
    const keys = format === 1 ? [] : rowsOf<[string, string, number]>(db, blocked)
    this.#blockedKeys = new Map(keys.map(([queue, key, seq]) => [keyName(queue, fromKeyColumn(key)), seq]))
  }

  get format(): number {
    return this.#parts.format
  }

  *jobs(): Iterable<OfflineJob> {
    const page = this.#parts.db.prepare('SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT 1000')
    page.setReturnArrays(true)
    for (let after = 0; ; ) {
      let rows: [number, string, number][]
      try {
        rows = page.all(after) as unknown as [number, string, number][]
      } catch (error) {
        return void this.problems.push(`after job ${formatJobId(after)} the database cannot be read: ${reasonOf(error)}`)
      }
      for (const [seq, text, crc] of rows) {
        const record = parseRecord(text, crc, seq)
        if (record === DAMAGED) this.problems.push(`job ${formatJobId(seq)}: its record fails its checks`)
        else yield this.#jobOf(this.#asNextStart(record))
        after = seq
      }
      if (rows.length === 0) return
    }
  }

  hasChanged(): boolean {
    return holderOf(this.#parts.path) !== undefined || stampOf(this.#parts.path) !== this.#parts.before
  }

  close(): void {
    this.#parts.db.close()
    this.#parts.remove()
  }

  /** Leases of a gateway that is gone are void; what is over by now has ended. */
  #asNextStart(record: JobRecord): JobRecord {
    const moment = { now: this.#parts.now, versionFloor: 0 }
    const server = this.#runningOn.get(record.seq)
    const wasMarked: JobRecord = server === undefined || placeOf(record) === 'running' ? record : asItRan(record, server)
    const voided = (placeOf(wasMarked) === 'running' ? step(wasMarked, { kind: 'void' }, moment) : undefined) ?? record
    return step(voided, { kind: 'time' }, moment) ?? voided
  }

  #jobOf(record: JobRecord): OfflineJob {
    const { queue, key } = record
    const blocker = key === undefined ? undefined : this.#blockedKeys.get(keyName(queue, key))
    return {
      ...viewOf(record),
      ...(blocker !== undefined && blocker !== record.seq && { keyHeldBy: formatJobId(blocker) }),
      request: () => this.#request(record.seq),
    }
  }

  #request(seq: number): JobRequest | undefined {
    const statement = this.#parts.db.prepare('SELECT head_bytes, file, crc, data FROM requests WHERE seq = ?')
    statement.setReturnArrays(true)
    try {
      const row = statement.get(seq) as PayloadRow | undefined
      if (row === undefined) return undefined
      const bodies = join(this.#parts.path, BODIES_FOLDER)
      const payload = payloadOf(seq, row, (file) => readBody(bodies, 'request', seq, file))
      const opened = payload === undefined ? { problem: 'it fails its checks' } : this.#opened(payload)
      if ('payload' in opened) return unpackRequest(opened.payload)
      this.problems.push(`job ${formatJobId(seq)}: its request: ${opened.problem}`)
    } catch (error) {
      this.problems.push(`job ${formatJobId(seq)}: its request cannot be read: ${reasonOf(error)}`)
    }
    return undefined
  }

  #opened(payload: Payload): Opened {
    const { sealer } = this.#parts
    if (sealer !== undefined) return sealer.open('request', payload)
    const id = keyIdOf(payload)
    return id === undefined ? { payload } : { problem: `it is encrypted with the key ${id}, which is not configured` }
  }
}

function keyName(queue: string, key: string): string {
  return `${queue}\n${key}`
}

function viewOf(record: JobRecord): OfflineView {
  const { key, tenant, reference, notBefore, expiresAt, deadlineAt, dead, error } = record
  const { queue, route, attempts, priority, submittedAt, sendOnce, method } = record
  const status: JobStatus = record.status
  return {
    ...{ id: formatJobId(record.seq), queue, route, status, attempt: record.counted, attempts, handOuts: handOutsOf(record) },
    ...{ priority, submittedAt, sendOnce, method },
    ...defined({ key, tenant, reference, notBefore, expiresAt, deadlineAt, dead, error }),
  }
}

function formatOf(db: DatabaseSync, path: string): number {
  const [[application] = []] = rowsOf<[number]>(db, 'PRAGMA application_id')
  const format = rowsOf<[number]>(db, 'PRAGMA user_version')[0]?.[0] ?? 0
  if (application !== APPLICATION_ID) throw new StoreOpenError(path, `${DATABASE_FILE} is a database of another program`)
  if (format >= 1 && format <= FORMAT_VERSION) return format
  throw new StoreOpenError(path, `its format is ${format}, and this version of Spillway reads formats 1 to ${FORMAT_VERSION}`)
}

function rowsOf<T>(db: DatabaseSync, sql: string): readonly T[] {
  const statement = db.prepare(sql)
  statement.setReturnArrays(true)
  return statement.all() as unknown as readonly T[]
}
