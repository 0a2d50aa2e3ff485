/** The database's tables. What changes often (records, order) and what never does (bodies) are apart, so that a state change never rewrites a body. */
import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'

/** Stands in the database as `user_version`. */
export const FORMAT_VERSION = 2
/** 'Spwy': tells our databases from others'. */
export const APPLICATION_ID = 0x53707779

/** SQLite's number for it: free pages can be given back in steps. */
export const AUTO_VACUUM_INCREMENTAL = 2

export const TABLES = {
  meta: 'CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID',
  // counters, settings: JSON.
  queues: `CREATE TABLE queues (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, counters TEXT NOT NULL, counters_crc INTEGER NOT NULL, settings TEXT, settings_crc INTEGER
  ) STRICT`,

  // seq is the number that the job id is the text of. record: JSON. crc: CRC32 of the record.
  jobs: 'CREATE TABLE jobs (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, crc INTEGER NOT NULL) STRICT',
  // data: the head as JSON (head_bytes long), then the body. With file > 0 the body is a file: bodies/<job id>.<kind>, a later one with `.<file>`.
  // Of a result with file < 0: bodies/<job id>.stream, a later one with `.<-file>`; how to read it stands in the head.
  requests:
    'CREATE TABLE requests (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT',
  results:
    'CREATE TABLE results (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT',
  // Hand-outs that are over and did not end their job, as JSON.
  history:
    'CREATE TABLE history (seq INTEGER NOT NULL, hand_out INTEGER NOT NULL, entry TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (seq, hand_out)) STRICT, WITHOUT ROWID',
  // Schedules, tasks, and what the gateway wants to find again, as JSON.
  notes: 'CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID',

  // What can be handed out now, or runs (then server says where). Sorted by tenant and lane (bucket, + 256 for the first job of a key) it is in memory only.
  runnable: `CREATE TABLE runnable (
    seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL, tenant TEXT, server TEXT
  ) STRICT`,
  // The job that holds a key (blocked = 1: it has failed, and holds it until somebody releases it), and those that wait for it.
  keys: `CREATE TABLE keys (
    queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, blocked INTEGER NOT NULL, PRIMARY KEY (queue, key)
  ) STRICT, WITHOUT ROWID`,
  blocked_keys: 'CREATE INDEX blocked_keys ON keys (queue, key) WHERE blocked = 1',
  blocked: `CREATE TABLE blocked (
    queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, priority INTEGER NOT NULL,
    PRIMARY KEY (queue, key, seq)
  ) STRICT, WITHOUT ROWID`,
  blocked_by_age: 'CREATE INDEX blocked_by_age ON blocked (queue, seq)',

  timers: 'CREATE TABLE timers (at INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (at, seq)) STRICT, WITHOUT ROWID',
  // dead: 0, 1 for dead letters; 2 where something is still to follow from the end (then keep_until says when that was).
  ended: `CREATE TABLE ended (
    queue INTEGER NOT NULL, dead INTEGER NOT NULL, keep_until INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (queue, dead, keep_until, seq)
  ) STRICT, WITHOUT ROWID`,

  // What failed its checks, as it was found.
  quarantine: 'CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, record TEXT, crc INTEGER) STRICT',
} as const

/** A new store, within the transaction that is open. Its numbers begin at nothing. */
export function createTables(db: DatabaseSync): void {
  for (const sql of Object.values(TABLES)) db.exec(sql)
  writeMeta(db, 'generation', 0)
  writeMeta(db, 'last_sequence', 0)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${FORMAT_VERSION}`)
}

export type MetaName = 'generation' | 'last_sequence'

export const WRITE_META = 'INSERT OR REPLACE INTO meta (name, value, crc) VALUES (?, ?, ?)'

export function metaCrc(name: MetaName, value: number): number {
  return crc32(`${name}=${value}`)
}

export function writeMeta(db: DatabaseSync, name: MetaName, value: number): void {
  db.prepare(WRITE_META).run(name, value, metaCrc(name, value))
}

/** undefined: it is missing, or fails its checks. */
export function readMeta(db: DatabaseSync, name: MetaName): number | undefined {
  const row = db.prepare('SELECT value, crc FROM meta WHERE name = ?').get(name) as { value: number; crc: number } | undefined
  return row !== undefined && row.crc === metaCrc(name, row.value) ? row.value : undefined
}
