/** The database's tables. What changes often (records, order) and what never does (bodies) are apart, so that a state change never rewrites a body. */
import type { DatabaseSync } from 'node:sqlite'

/** Stands in the database as `user_version`. */
export const FORMAT_VERSION = 2
/** 'Spwy': tells our databases from others'. */
export const APPLICATION_ID = 0x53707779

const TABLES = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  -- counters, settings: JSON.
  CREATE TABLE queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, counters TEXT NOT NULL, settings TEXT) STRICT;

  -- seq is the number that the job id is the text of. record: JSON. crc: CRC32 of the record.
  CREATE TABLE jobs (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
  -- data: the head as JSON (head_bytes long), then the body, unless file = 1: then the body is bodies/<job id>.<kind>.
  CREATE TABLE requests (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  CREATE TABLE results (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  -- Hand-outs that are over and did not end their job, as JSON.
  CREATE TABLE history (seq INTEGER NOT NULL, hand_out INTEGER NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (seq, hand_out)) STRICT, WITHOUT ROWID;
  -- Schedules, tasks, and what the gateway wants to find again, as JSON.
  CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;

  -- What can be handed out now, or runs (then server says where). Sorted by tenant and lane (bucket, + 256 for the first job of a key) it is in memory only.
  CREATE TABLE runnable (
    seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL, tenant TEXT, server TEXT
  ) STRICT;
  -- The job that holds a key (blocked = 1: it has failed, and holds it until somebody releases it), and those that wait for it.
  CREATE TABLE keys (
    queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, blocked INTEGER NOT NULL, PRIMARY KEY (queue, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX blocked_keys ON keys (queue, key) WHERE blocked = 1;
  CREATE TABLE blocked (
    queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, priority INTEGER NOT NULL,
    PRIMARY KEY (queue, key, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX blocked_by_age ON blocked (queue, seq);

  CREATE TABLE timers (at INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (at, seq)) STRICT, WITHOUT ROWID;
  CREATE TABLE ended (
    queue INTEGER NOT NULL, dead INTEGER NOT NULL, keep_until INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (queue, dead, keep_until, seq)
  ) STRICT, WITHOUT ROWID;

  -- What failed its checks, as it was found.
  CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, record TEXT, crc INTEGER) STRICT;
`

export function createTables(db: DatabaseSync): void {
  db.exec(TABLES)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${FORMAT_VERSION}`)
}
