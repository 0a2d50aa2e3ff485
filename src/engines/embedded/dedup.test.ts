import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { DedupTables } from './dedup.ts'

const HOUR = 3_600_000
const NOW = 500_000 * HOUR

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

interface Rig {
  readonly db: DatabaseSync
  readonly alive: Set<number>
  readonly dedup: DedupTables
  readonly tables: () => readonly string[]
}

function rig(): Rig {
  const db = new DatabaseSync(':memory:')
  const alive = new Set<number>()
  const dedup = new DedupTables(db, (seq) => alive.has(seq))
  const tables = (): readonly string[] =>
    db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
      .all()
      .map(({ name }) => String(name))
  return { db, alive, dedup, tables }
}

function add({ alive, dedup }: Rig, seq: number, until: number, scope = `job ${seq}`): void {
  alive.add(seq)
  dedup.add(digest(scope), { seq, fingerprint: digest('f') }, until)
}

test('an entry is found while its job exists, in whatever table it lies', () => {
  const it = rig()
  for (let seq = 1; seq <= 50; seq++) add(it, seq, NOW + seq * HOUR)
  assert.equal(it.tables().length, 50)
  for (let seq = 1; seq <= 50; seq++) assert.deepEqual(it.dedup.find(digest(`job ${seq}`)), { seq, fingerprint: digest('f') })
  assert.equal(it.dedup.find(digest('never seen')), undefined)
  it.alive.delete(7)
  assert.equal(it.dedup.find(digest('job 7')), undefined)
})

test('a key that is used again names its new job, though the old entry lies in a later table', () => {
  const it = rig()
  add(it, 1, NOW + 9 * HOUR, 'again')
  it.alive.delete(1)
  add(it, 2, NOW + HOUR, 'again')
  assert.equal(it.dedup.find(digest('again'))?.seq, 2)
})

test('a table whose hour has come is dropped, and what is still needed lives on', () => {
  const it = rig()
  for (let seq = 1; seq <= 1200; seq++) add(it, seq, NOW)
  for (let seq = 1; seq <= 1200; seq++) if (seq % 100 !== 0) it.alive.delete(seq)
  const before = it.tables()
  const due = it.dedup.sweep(NOW) ?? 0
  assert.ok(due > NOW && due <= NOW + 3 * HOUR)
  assert.equal(it.dedup.sweep(due - 1), due, 'not before its time')
  let steps = 0
  while (it.tables().includes(before[0] ?? '')) {
    it.dedup.sweep(due)
    steps += 1
  }
  assert.equal(steps, 3, 'in steps of 500')
  for (let seq = 100; seq <= 1200; seq += 100) assert.equal(it.dedup.find(digest(`job ${seq}`))?.seq, seq)
  assert.equal(it.db.prepare(`SELECT count(*) AS n FROM ${it.tables()[0]}`).get()?.['n'], 12, 'and nothing else')
  it.alive.clear()
  for (let at = due; it.tables().length > 0; at += HOUR) it.dedup.sweep(at)
  assert.equal(it.dedup.sweep(due), undefined, 'nothing is left to do')
})

test('after a rollback it knows what the database knows', () => {
  const it = rig()
  add(it, 1, NOW)
  it.db.exec('BEGIN')
  add(it, 2, NOW + 5 * HOUR)
  it.db.exec('ROLLBACK')
  it.dedup.reload()
  assert.equal(it.dedup.find(digest('job 2')), undefined)
  add(it, 3, NOW + 5 * HOUR)
  assert.equal(it.dedup.find(digest('job 3'))?.seq, 3)
  it.db.exec('BEGIN')
  it.alive.clear()
  it.dedup.sweep(NOW + 9 * HOUR)
  it.db.exec('ROLLBACK')
  it.dedup.reload()
  it.alive.add(1)
  assert.equal(it.dedup.find(digest('job 1'))?.seq, 1)
})

test('opened again it finds what was there', () => {
  const it = rig()
  add(it, 1, NOW)
  const again = new DedupTables(it.db, (seq) => it.alive.has(seq))
  assert.equal(again.find(digest('job 1'))?.seq, 1)
})
