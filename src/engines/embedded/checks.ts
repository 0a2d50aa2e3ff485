/**
 * What must be true of a store beyond its checksums: what every table says of a job follows from the job's record, and the other way round.
 * Used in passing while the gateway runs, and for all of a store when it is verified.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { formatJobId } from '../../core/jobs/job-id.ts'
import { endedAtOf, holdsKey, type JobRecord, keepsRequest, keepUntilOf, placeOf, timerOf } from '../../core/jobs/record.ts'
import { laneOf } from '../ledger/lanes.ts'
import { DAMAGED } from '../ledger/tables.ts'
import { DEDUP_PREFIX } from './dedup.ts'
import { fromKeyColumn, keyColumn } from './key-column.ts'
import { FOLLOW_UP, parseRecord } from './sqlite-tables.ts'

type Value = number | string | null
type Row = readonly Value[]

/** The tables that follow from the records, each with what a row of it must find in the job's. */
export const DERIVED = ['runnable', 'keys', 'blocked', 'timers', 'ended', 'requests', 'results', 'history'] as const
export type Derived = (typeof DERIVED)[number]

export class Checks {
  readonly #db: DatabaseSync
  readonly #sql: Readonly<Record<keyof typeof SQL, StatementSync>>
  readonly #pages: Readonly<Record<Derived, StatementSync>>
  #dedup: readonly StatementSync[] | undefined

  constructor(db: DatabaseSync) {
    this.#db = db
    this.#sql = prepareAll(db, SQL)
    this.#pages = prepareAll(db, PAGES)
  }

  /** Up to `count` records after that number. */
  records(after: number, count: number): readonly (readonly [seq: number, record: JobRecord | typeof DAMAGED])[] {
    const rows = this.#sql.page.all(after, count) as unknown as [number, string, number][]
    return rows.map(([seq, text, crc]) => [seq, parseRecord(text, crc, seq)])
  }

  /** What is wrong with what the tables say of the job; undefined: nothing. */
  wrongWith(record: JobRecord): string | undefined {
    const queue = this.#queueId(record.queue)
    if (queue === undefined) return 'its queue is not known'
    // Its record says what it was before it ran.
    const runs = this.isRunning(record.seq)
    const timer = runs ? undefined : timerOf(record)
    if (timer !== undefined && !this.#has('timer', timer, record.seq)) return 'its timer is missing'
    const place = placeOf(record)
    const kept = keptAs(record)
    if (kept !== undefined && !this.#has('ended', queue, ...kept, record.seq)) return 'nothing says how long it is kept'
    if (record.blocksKey === true)
      return this.#has('blocks', queue, keyColumn(record.key ?? ''), record.seq) ? undefined : 'it does not block its key'
    if (place === 'ended') return undefined
    const holder = record.key === undefined ? record.seq : this.#holder(queue, record.key)
    if (holdsKey(record) && holder !== record.seq) return 'it does not hold its key'
    if (place === 'scheduled') return undefined
    if (holder !== record.seq) return this.#isBlocked(queue, record) && holder !== undefined ? undefined : 'it does not wait for its key'
    const lane = laneOf(record.bucket, record.key !== undefined)
    return this.#has('runnable', record.seq, queue, record.priority, lane) ? undefined : 'it is not where it can be handed out'
  }

  isRunning(seq: number): boolean {
    return this.#has('running', seq)
  }

  /** Its idempotency key, in whatever table it lies, names the job. Slower than the rest: only for when the whole store is verified. */
  wrongWithKey(record: JobRecord): string | undefined {
    if (record.dedup === undefined) return undefined
    this.#dedup ??= dedupTables(this.#db).map((name) => this.#db.prepare(`SELECT seq FROM ${name} WHERE scope = ?`))
    const scope = Buffer.from(record.dedup.scopeKey, 'hex')
    if (this.#dedup.some((entry) => entry.get(scope)?.['seq'] === record.seq)) return undefined
    return 'its idempotency key would not be known again'
  }

  /** Up to `count` rows of a derived table after that one, with the job that each names. */
  rows(table: Derived, after: Row | undefined, count: number): readonly Row[] {
    return this.#pages[table].all(...(after ?? FIRST[table]), count) as unknown as Row[]
  }

  /** What is wrong with a row; undefined: its job's record says the same. */
  wrongWithRow(table: Derived, row: Row): string | undefined {
    const seq = seqOf(table, row)
    const found = this.#sql.record.get(seq) as [string, number] | undefined
    // What belongs to a job that was put aside stays, for whoever wants to save it.
    if (found === undefined) return this.#sql.aside.get(seq) === undefined ? `${table} names it, but it has no record` : undefined
    const record = parseRecord(found[0], found[1], seq)
    // Said where the records are looked at.
    if (record === DAMAGED) return undefined
    return this.#agrees(table, row, record) ? undefined : `${table} says of it what its record does not`
  }

  #agrees(table: Derived, row: Row, record: JobRecord): boolean {
    const place = placeOf(record)
    const waits = place === 'line' || place === 'running'
    const queue = this.#queueId(record.queue)
    switch (table) {
      case 'runnable': {
        const [, inQueue, priority, lane, tenant] = row
        const same = inQueue === queue && priority === record.priority && lane === laneOf(record.bucket, record.key !== undefined)
        return same && waits && (tenant === null ? '' : fromKeyColumn(String(tenant))) === (record.tenant ?? '')
      }
      case 'keys': {
        const [inQueue, key, , blocked] = row
        const same = inQueue === queue && key === keyColumn(record.key ?? '')
        return same && (blocked === 1 ? record.blocksKey === true : place !== 'ended')
      }
      case 'blocked': {
        const [inQueue, key, , priority] = row
        return inQueue === queue && key === keyColumn(record.key ?? '') && priority === record.priority && place === 'line'
      }
      case 'timers':
        return row[0] === timerOf(record) && !this.isRunning(record.seq)
      case 'ended': {
        const kept = keptAs(record)
        return kept !== undefined && row[0] === queue && row[1] === kept[0] && row[2] === kept[1]
      }
      case 'requests':
        return keepsRequest(record)
      case 'results':
        return record.resultBytes >= 0
      case 'history':
        return record.told !== undefined
    }
  }

  #queueId(name: string): number | undefined {
    return (this.#sql.queue.get(name) as [number] | undefined)?.[0]
  }

  #holder(queue: number, key: string): number | undefined {
    return (this.#sql.holder.get(queue, keyColumn(key)) as [number] | undefined)?.[0]
  }

  #isBlocked(queue: number, { key = '', seq, priority }: JobRecord): boolean {
    return this.#has('isBlocked', queue, keyColumn(key), seq, priority)
  }

  #has(what: 'timer' | 'ended' | 'isBlocked' | 'running' | 'blocks' | 'runnable', ...values: readonly (number | string)[]): boolean {
    return this.#sql[what].get(...values) !== undefined
  }
}

export function dedupTables(db: DatabaseSync): readonly string[] {
  const rows = db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '${DEDUP_PREFIX}*'`).all()
  return rows.map(({ name }) => String(name))
}

export function seqOf(table: Derived, row: Row): number {
  return row[SEQ_AT[table]] as number
}

export function ofJob(seq: number, wrong: string): string {
  return `job ${formatJobId(seq)}: ${wrong}`
}

const SQL = {
  page: 'SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?',
  record: 'SELECT record, crc FROM jobs WHERE seq = ?',
  aside: 'SELECT 1 FROM quarantine WHERE seq = ?',
  queue: 'SELECT id FROM queues WHERE name = ?',
  timer: 'SELECT 1 FROM timers WHERE at = ? AND seq = ?',
  ended: 'SELECT 1 FROM ended WHERE queue = ? AND dead = ? AND keep_until = ? AND seq = ?',
  holder: 'SELECT seq FROM keys WHERE queue = ? AND key = ?',
  isBlocked: 'SELECT 1 FROM blocked WHERE queue = ? AND key = ? AND seq = ? AND priority = ?',
  running: 'SELECT 1 FROM runnable WHERE seq = ? AND server IS NOT NULL',
  blocks: 'SELECT 1 FROM keys WHERE queue = ? AND key = ? AND seq = ? AND blocked = 1',
  runnable: 'SELECT 1 FROM runnable WHERE seq = ? AND queue = ? AND priority = ? AND lane = ?',
} as const

/** Each in the order of its primary key, from the row that the first values name. */
const PAGES: Readonly<Record<Derived, string>> = {
  runnable: 'SELECT seq, queue, priority, lane, tenant, server FROM runnable WHERE seq > ?1 ORDER BY seq LIMIT ?7',
  keys: 'SELECT queue, key, seq, blocked FROM keys WHERE (queue, key) > (?1, ?2) ORDER BY queue, key LIMIT ?5',
  blocked: 'SELECT queue, key, seq, priority FROM blocked WHERE (queue, key, seq) > (?1, ?2, ?3) ORDER BY queue, key, seq LIMIT ?5',
  timers: 'SELECT at, seq FROM timers WHERE (at, seq) > (?1, ?2) ORDER BY at, seq LIMIT ?3',
  ended:
    'SELECT queue, dead, keep_until, seq FROM ended WHERE (queue, dead, keep_until, seq) > (?1, ?2, ?3, ?4) ORDER BY queue, dead, keep_until, seq LIMIT ?5',
  requests: 'SELECT seq FROM requests WHERE seq > ?1 ORDER BY seq LIMIT ?2',
  results: 'SELECT seq FROM results WHERE seq > ?1 ORDER BY seq LIMIT ?2',
  history: 'SELECT seq, hand_out FROM history WHERE (seq, hand_out) > (?1, ?2) ORDER BY seq, hand_out LIMIT ?3',
}

const SEQ_AT: Readonly<Record<Derived, number>> = {
  runnable: 0,
  keys: 2,
  blocked: 2,
  timers: 1,
  ended: 3,
  requests: 0,
  results: 0,
  history: 0,
}

/** Before all rows. */
const FIRST: Readonly<Record<Derived, Row>> = {
  runnable: [0, 0, 0, 0, null, null],
  keys: [-1, '', 0, 0],
  blocked: [-1, '', 0, 0],
  timers: [-1, 0],
  ended: [-1, 0, 0, 0],
  requests: [0],
  results: [0],
  history: [0, 0],
}

/** What `ended` says of it: in which of its lists it is, and its place there. undefined: nothing. */
function keptAs(record: JobRecord): readonly [list: number, rank: number] | undefined {
  if (placeOf(record) !== 'ended') return undefined
  if (record.followUpDue === true) return [FOLLOW_UP, endedAtOf(record)]
  return record.blocksKey === true ? undefined : [record.dead === undefined ? 0 : 1, keepUntilOf(record)]
}

function prepareAll<K extends string>(db: DatabaseSync, sql: Readonly<Record<K, string>>): Readonly<Record<K, StatementSync>> {
  const prepared = Object.entries<string>(sql).map(([name, text]) => {
    const statement = db.prepare(text)
    statement.setReturnArrays(true)
    return [name, statement] as const
  })
  return Object.fromEntries(prepared) as unknown as Readonly<Record<K, StatementSync>>
}
