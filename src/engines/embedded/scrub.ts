/**
 * Looks for damage before it is met: a few jobs at a time, round and round, each against everything that the other tables must say of it.
 * A job that an index has lost would otherwise never run, and never be missed.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { formatJobId } from '../../core/jobs/job-id.ts'
import { holdsKey, type JobRecord, keepUntilOf, placeOf, timerOf } from '../../core/jobs/record.ts'
import { laneOf } from '../ledger/lanes.ts'
import { DAMAGED } from '../ledger/tables.ts'
import { keyColumn, parseRecord } from './sqlite-tables.ts'

export class Scrub {
  readonly #sql: Readonly<Record<keyof typeof SQL, StatementSync>>
  #after = 0

  constructor(db: DatabaseSync) {
    const prepared = Object.entries(SQL).map(([name, sql]) => {
      const statement = db.prepare(sql)
      statement.setReturnArrays(true)
      return [name, statement] as const
    })
    this.#sql = Object.fromEntries(prepared) as unknown as Record<keyof typeof SQL, StatementSync>
  }

  /** What is wrong with one of the next `count` jobs; undefined: nothing. After the last job the first is next. */
  step(count: number): string | undefined {
    const rows = this.#sql.page.all(this.#after, count) as unknown as [number, string, number][]
    this.#after = rows.at(-1)?.[0] ?? 0
    for (const [seq, text, crc] of rows) {
      const record = parseRecord(text, crc, seq)
      const wrong = record === DAMAGED ? 'its record fails its checks' : this.#wrongWith(record)
      if (wrong !== undefined) return `job ${formatJobId(seq)}: ${wrong}`
    }
    return undefined
  }

  #wrongWith(record: JobRecord): string | undefined {
    const queue = (this.#sql.queue.get(record.queue) as [number] | undefined)?.[0]
    if (queue === undefined) return 'its queue is not known'
    // Its record says what it was before it ran.
    const runs = this.#has('running', record.seq)
    const timer = runs ? undefined : timerOf(record)
    if (timer !== undefined && !this.#has('timer', timer, record.seq)) return 'its timer is missing'
    const place = placeOf(record)
    if (record.blocksKey === true)
      return this.#has('blocks', queue, keyColumn(record.key ?? ''), record.seq) ? undefined : 'it does not block its key'
    if (place === 'ended') {
      const dead = record.dead === undefined ? 0 : 1
      return this.#has('ended', queue, dead, keepUntilOf(record), record.seq) ? undefined : 'nothing says how long it is kept'
    }
    const holder = record.key === undefined ? record.seq : this.#holder(queue, record.key)
    if (holdsKey(record) && holder !== record.seq) return 'it does not hold its key'
    if (place === 'scheduled') return undefined
    if (holder !== record.seq) return this.#isBlocked(queue, record) && holder !== undefined ? undefined : 'it does not wait for its key'
    const lane = laneOf(record.bucket, record.key !== undefined)
    return this.#has('runnable', record.seq, queue, record.priority, lane) ? undefined : 'it is not where it can be handed out'
  }

  #holder(queue: number, key: string): number | undefined {
    return (this.#sql.holder.get(queue, keyColumn(key)) as [number] | undefined)?.[0]
  }

  #isBlocked(queue: number, { key = '', seq, priority }: JobRecord): boolean {
    return this.#has('blocked', queue, keyColumn(key), seq, priority)
  }

  #has(what: Exclude<keyof typeof SQL, 'page' | 'queue' | 'holder'>, ...values: readonly (number | string)[]): boolean {
    return this.#sql[what].get(...values) !== undefined
  }
}

const SQL = {
  page: 'SELECT seq, record, crc FROM jobs WHERE seq > ? ORDER BY seq LIMIT ?',
  queue: 'SELECT id FROM queues WHERE name = ?',
  timer: 'SELECT 1 FROM timers WHERE at = ? AND seq = ?',
  ended: 'SELECT 1 FROM ended WHERE queue = ? AND dead = ? AND keep_until = ? AND seq = ?',
  holder: 'SELECT seq FROM keys WHERE queue = ? AND key = ?',
  blocked: 'SELECT 1 FROM blocked WHERE queue = ? AND key = ? AND seq = ? AND priority = ?',
  running: 'SELECT 1 FROM runnable WHERE seq = ? AND server IS NOT NULL',
  blocks: 'SELECT 1 FROM keys WHERE queue = ? AND key = ? AND seq = ? AND blocked = 1',
  runnable: 'SELECT 1 FROM runnable WHERE seq = ? AND queue = ? AND priority = ? AND lane = ?',
} as const
