/**
 * From an older format to this one, in one transaction: when it fails, the file is what it was. Records keep their meaning; what is derived
 * from them and has another shape now is copied into it.
 */
import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { type JobRecord, placeOf } from '../../core/jobs/record.ts'
import { FORMAT_VERSION, type MetaName, TABLES, writeMeta } from './schema.ts'

/** By the format that it begins with. */
const STEPS: Readonly<Record<number, (db: DatabaseSync) => void>> = { 1: from1to2 }

export function canUpgrade(format: number): boolean {
  return STEPS[format] !== undefined
}

export function upgrade(db: DatabaseSync, format: number): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    for (let at = format; at < FORMAT_VERSION; at++) STEPS[at]?.(db)
    db.exec(`PRAGMA user_version = ${FORMAT_VERSION}; COMMIT`)
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/**
 * Checksums over what had none; rules and tenants of queues; keys that a failed job blocks; the server that a job runs on. Format 1 kept
 * that only in the record, so the mark says no more than that it runs.
 */
function from1to2(db: DatabaseSync): void {
  const changed = ['meta', 'queues', 'runnable', 'keys'] as const
  for (const name of changed) db.exec(`ALTER TABLE ${name} RENAME TO old_${name}; ${TABLES[name]}`)
  for (const name of ['history', 'notes', 'blocked_keys'] as const) db.exec(TABLES[name])
  for (const row of db.prepare('SELECT name, value FROM old_meta').all()) writeMeta(db, row['name'] as MetaName, row['value'] as number)
  const scheduled = countScheduled(db)
  const putQueue = db.prepare('INSERT INTO queues (id, name, counters, counters_crc) VALUES (?, ?, ?, ?)')
  for (const row of db.prepare('SELECT id, name, counters FROM old_queues').all()) {
    const { id, name, counters } = row as { id: number; name: string; counters: string }
    const text = withScheduled(counters, scheduled.get(name) ?? 0)
    putQueue.run(id, name, text, crc32(text))
  }
  db.exec(`
    INSERT INTO runnable SELECT seq, queue, priority, lane, NULL, CASE running WHEN 1 THEN '' END FROM old_runnable;
    INSERT INTO keys SELECT queue, key, seq, 0 FROM old_keys`)
  for (const name of changed) db.exec(`DROP TABLE old_${name}`)
}

/** Format 1 did not count them. A record that cannot be read is found, and said, when the store looks for damage. */
function countScheduled(db: DatabaseSync): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const row of db.prepare('SELECT record, crc FROM jobs').iterate()) {
    const { record: text, crc } = row as { record: string; crc: number }
    if (crc32(text) !== crc) continue
    const record = JSON.parse(text) as JobRecord
    if (placeOf(record) === 'scheduled') counts.set(record.queue, (counts.get(record.queue) ?? 0) + 1)
  }
  return counts
}

/** What cannot be read stays so, and is counted anew when the store is opened. */
function withScheduled(counters: string, scheduled: number): string {
  try {
    return JSON.stringify({ dead: {}, ...(JSON.parse(counters) as object), scheduled, blockedKeys: 0 })
  } catch {
    return counters
  }
}
