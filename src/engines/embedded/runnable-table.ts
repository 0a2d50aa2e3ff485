/**
 * The table of what can be handed out or runs. It is read only when the store is opened (in between the ledger has it in memory), so its
 * changes are collected and written at the end of a transaction: many rows in one statement, and nothing for what came and went within.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Runnable } from '../ledger/tables.ts'
import { fromKeyColumn, keyColumn } from './key-column.ts'

type Row = Omit<Runnable, 'mark'>

interface Change {
  /** The row that was there before the transaction goes. */
  removed: boolean
  /** A row comes. */
  row: Row | undefined
  /** undefined: as it is. */
  server: string | null | undefined
}

/** Rows in one insert. */
const INSERT_ROWS = 8
/** Read at once. */
const PAGE_ROWS = 10_000

export class RunnableTable {
  readonly #changes = new Map<number, Change>()
  readonly #page: StatementSync
  readonly #insertOne: StatementSync
  readonly #insertMany: StatementSync
  readonly #deleteAll: StatementSync
  readonly #markAll: StatementSync

  constructor(db: DatabaseSync) {
    const insert = (rows: number): StatementSync =>
      db.prepare(
        `INSERT INTO runnable (seq, queue, priority, lane, tenant, server) VALUES ${Array.from({ length: rows }, () => '(?, ?, ?, ?, ?, ?)').join(', ')}`,
      )
    this.#page = db.prepare(`SELECT seq, queue, priority, lane, tenant, server FROM runnable WHERE seq > ? ORDER BY seq LIMIT ${PAGE_ROWS}`)
    this.#page.setReturnArrays(true)
    this.#insertOne = insert(1)
    this.#insertMany = insert(INSERT_ROWS)
    this.#deleteAll = db.prepare('DELETE FROM runnable WHERE seq IN (SELECT value FROM json_each(?))')
    this.#markAll = db.prepare('UPDATE runnable SET server = ? WHERE seq IN (SELECT value FROM json_each(?))')
  }

  add(row: Row): void {
    const change = this.#of(row.seq)
    change.row = row
    change.server = null
  }

  mark(seq: number, server: string | null): void {
    this.#of(seq).server = server
  }

  remove(seq: number): void {
    const change = this.#of(seq)
    if (change.row === undefined) change.removed = true
    else change.row = undefined
    change.server = undefined
  }

  /** Takes back what is not written yet. */
  forget(): void {
    this.#changes.clear()
  }

  /** Before the commit. */
  write(): void {
    if (this.#changes.size === 0) return
    const removed: number[] = []
    const rows: (string | number | null)[][] = []
    const marked = new Map<string | null, number[]>()
    for (const [seq, { removed: gone, row, server }] of this.#changes) {
      if (gone) removed.push(seq)
      if (row !== undefined) rows.push(columns(row, server ?? null))
      else if (server !== undefined) {
        const same = marked.get(server)
        if (same === undefined) marked.set(server, [seq])
        else same.push(seq)
      }
    }
    this.#changes.clear()
    if (removed.length > 0) this.#deleteAll.run(JSON.stringify(removed))
    for (const [server, seqs] of marked) this.#markAll.run(server, JSON.stringify(seqs))
    for (let at = 0; at < rows.length; ) {
      const many = rows.length - at >= INSERT_ROWS
      const insert = many ? this.#insertMany : this.#insertOne
      const count = many ? INSERT_ROWS : 1
      insert.run(...rows.slice(at, at + count).flat())
      at += count
    }
  }

  /** In order of acceptance. Page by page: a cursor's step costs more than a page's row. */
  *rows(): Iterable<Runnable> {
    for (let after = 0; ; ) {
      const page = this.#page.all(after) as unknown as [number, number, number, number, string | null, string | null][]
      for (const [seq, queue, priority, lane, tenant, server] of page) {
        yield { seq, queue, priority, lane, tenant: tenant === null ? '' : fromKeyColumn(tenant), mark: server ?? undefined }
      }
      const last = page.at(-1)
      // In a damaged file they may not be in order, and never come to an end.
      if (page.length < PAGE_ROWS || last === undefined || last[0] <= after) return
      after = last[0]
    }
  }

  #of(seq: number): Change {
    let change = this.#changes.get(seq)
    if (change === undefined) {
      change = { removed: false, row: undefined, server: undefined }
      this.#changes.set(seq, change)
    }
    return change
  }
}

function columns({ seq, queue, priority, lane, tenant }: Row, server: string | null): (string | number | null)[] {
  return [seq, queue, priority, lane, tenant === '' ? null : keyColumn(tenant), server]
}
