/**
 * Looks for damage before it is met: a few jobs and a few rows of what is derived from them at a time, round and round. A job that an index
 * has lost would otherwise never run, and never be missed; a result whose record is gone would be missed only by who asks for it.
 */
import type { DatabaseSync } from 'node:sqlite'
import { DAMAGED } from '../ledger/tables.ts'
import { Checks, DERIVED, ofJob, seqOf } from './checks.ts'

type Row = ReturnType<Checks['rows']>[number]

export interface Wrong {
  readonly what: string
  /** The records are right and an index is not: made anew, it is. */
  readonly mendable: boolean
}

export class Scrub {
  readonly #checks: Checks
  #after = 0
  #table = 0
  #afterRow: Row | undefined

  constructor(db: DatabaseSync) {
    this.#checks = new Checks(db)
  }

  /**
   * What is wrong with one of the next `count` jobs, or of the next `count` rows; undefined: nothing. After the last the first is next.
   * Throws where the file cannot be read; then it begins anew, with the next table.
   */
  step(count: number): Wrong | undefined {
    try {
      return this.#nextJobs(count) ?? this.#nextRows(count)
    } catch (error) {
      this.#after = 0
      this.#nextTable()
      throw error
    }
  }

  #nextJobs(count: number): Wrong | undefined {
    const rows = this.#checks.records(this.#after, count)
    this.#after = rows.at(-1)?.[0] ?? 0
    for (const [seq, record] of rows) {
      const wrong = record === DAMAGED ? 'its record fails its checks' : this.#checks.wrongWith(record)
      if (wrong !== undefined) return { what: ofJob(seq, wrong), mendable: true }
    }
    return undefined
  }

  #nextRows(count: number): Wrong | undefined {
    const table = DERIVED[this.#table] ?? 'runnable'
    const rows = this.#checks.rows(table, this.#afterRow, count)
    this.#afterRow = rows.at(-1)
    if (rows.length < count) this.#nextTable()
    for (const row of rows) {
      const wrong = this.#checks.wrongWithRow(table, row)
      if (wrong !== undefined) return { what: ofJob(seqOf(table, row), wrong), mendable: !KEPT.has(table) }
    }
    return undefined
  }

  #nextTable(): void {
    this.#table = (this.#table + 1) % DERIVED.length
    this.#afterRow = undefined
  }
}

/** Not derived, but kept beside the record. */
const KEPT: ReadonlySet<string> = new Set(['requests', 'results', 'history'])
