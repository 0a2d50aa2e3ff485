/** A store as the first format had it, with a job in every state that it knew. Made here, row by row, as that version wrote them. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { bucketOf } from '../../src/core/jobs/buckets.ts'
import { formatJobId } from '../../src/core/jobs/job-id.ts'

const TABLES = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, counters TEXT NOT NULL) STRICT;
  CREATE TABLE jobs (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
  CREATE TABLE requests (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  CREATE TABLE results (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  CREATE TABLE runnable (
    seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL, running INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE keys (queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (queue, key)) STRICT, WITHOUT ROWID;
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
  CREATE TABLE quarantine (seq INTEGER PRIMARY KEY, record TEXT, crc INTEGER) STRICT;
  CREATE TABLE dedup_99999999 (scope BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID`

export const LARGE_BODY: Buffer = Buffer.alloc(300_000, 'L')
export const SCOPE_KEY: string = '11'.repeat(32)
export const FINGERPRINT: string = '22'.repeat(32)

export type Format1Job = 'waiting' | 'first' | 'second' | 'delayed' | 'running' | 'once' | 'succeeded' | 'dead'

const NUMBERS: Readonly<Record<Format1Job, number>> = {
  waiting: 1001,
  first: 1002,
  second: 1003,
  delayed: 1004,
  running: 1005,
  once: 1006,
  succeeded: 1007,
  dead: 1008,
}

export function idOf(job: Format1Job): string {
  return formatJobId(NUMBERS[job])
}

interface Rows {
  readonly db: DatabaseSync
  readonly path: string
  readonly now: number
}

/** Its one queue is `q`, with number 1. */
export function makeFormat1(path: string, now: number): void {
  mkdirSync(join(path, 'bodies'), { recursive: true, mode: 0o700 })
  const db = new DatabaseSync(join(path, 'store.db'))
  db.exec(`PRAGMA journal_mode = WAL; ${TABLES}; PRAGMA application_id = 0x53707779; PRAGMA user_version = 1`)
  db.exec("INSERT INTO meta VALUES ('generation', 41), ('last_sequence', 1008)")
  const rows = { db, path, now }
  waiting(rows)
  running(rows)
  ended(rows)
  const counters = {
    counts: [4, 2, 0, 1, 1, 0, 0],
    bytes: unfinishedBytes(db),
    finishedBytes: endedBytes(db),
    entered: 7,
    inLine: 3,
    dead: { server_error: 1 },
  }
  db.prepare("INSERT INTO queues VALUES (1, 'q', ?)").run(JSON.stringify(counters))
  db.close()
}

function waiting(rows: Rows): void {
  const { db, now } = rows
  record(rows, 'waiting', { ordinal: 1, dedup: { scopeKey: SCOPE_KEY, until: now + 86_400_000 } })
  db.prepare('INSERT INTO dedup_99999999 VALUES (?, ?, ?)').run(
    Buffer.from(SCOPE_KEY, 'hex'),
    Buffer.from(FINGERPRINT, 'hex'),
    NUMBERS.waiting,
  )
  request(rows, 'waiting', LARGE_BODY)
  runnable(rows, 'waiting', undefined, 0)
  record(rows, 'first', { key: 'k', ordinal: 2 })
  request(rows, 'first')
  runnable(rows, 'first', 'k', 0)
  db.prepare("INSERT INTO keys VALUES (1, 'k', ?)").run(NUMBERS.first)
  record(rows, 'second', { key: 'k', ordinal: 3 })
  request(rows, 'second')
  db.prepare("INSERT INTO blocked VALUES (1, 'k', ?, 4)").run(NUMBERS.second)
  record(rows, 'delayed', { scheduled: true, notBefore: now + 5000 })
  request(rows, 'delayed')
  db.prepare('INSERT INTO timers VALUES (?, ?)').run(now + 5000, NUMBERS.delayed)
}

function running(rows: Rows): void {
  const lease = { fence: 41 * 2 ** 32 + 7, secret: 'AAAAAAAAAAAAAAAAAAAAAA' }
  for (const [job, ordinal, sendOnce] of [
    ['running', 4, false],
    ['once', 5, true],
  ] as const) {
    record(rows, job, {
      ordinal,
      sendOnce,
      status: 'running',
      version: 42_000_002,
      handOuts: 1,
      lease,
      server: 'a',
      startedAt: rows.now - 50,
    })
    request(rows, job)
    runnable(rows, job, undefined, 1)
  }
}

function ended(rows: Rows): void {
  const { db, now } = rows
  const over = { handOuts: 1, counted: 1, server: 'a', startedAt: now - 90, finishedAt: now - 50 }
  const answer = Buffer.from('[200,"OK",["Content-Type","text/plain"]]')
  record(rows, 'succeeded', { ...over, ordinal: 6, status: 'succeeded', resultBytes: answer.length + 4 })
  payload(rows, 'results', 'succeeded', { head: answer, body: Buffer.from('done') })
  db.prepare('INSERT INTO ended VALUES (1, 0, ?, ?)').run(now - 50 + 3_600_000, NUMBERS.succeeded)
  record(rows, 'dead', {
    ...over,
    ordinal: 7,
    status: 'failed',
    dead: 'server_error',
    error: { code: 'server_error', detail: 'it said 500', status: 500 },
  })
  request(rows, 'dead')
  db.prepare('INSERT INTO ended VALUES (1, 1, ?, ?)').run(now - 50 + 7_200_000, NUMBERS.dead)
}

const HEAD = Buffer.from('["POST","/reports?a=1",["Host","example.com"]]')

function record({ db, now }: Rows, job: Format1Job, more: Readonly<Record<string, unknown>> & { readonly key?: string }): void {
  const seq = NUMBERS[job]
  const text = JSON.stringify({
    ...{ seq, secret: `secret-of-${job}`, queue: 'q', route: 'POST /reports', method: 'POST' },
    ...{ bucket: bucketOf(more.key ?? formatJobId(seq)), priority: 4, attempts: 3, sendOnce: false },
    ...{ keepMs: 3_600_000, keepDeadMs: 7_200_000, submittedAt: now - 100 },
    requestBytes: HEAD.length + (job === 'waiting' ? LARGE_BODY.length : job.length),
    ...{ status: 'queued', version: 42_000_001, counted: 0, handOuts: 0, scheduled: false, ordinal: 0, resultBytes: -1 },
    ...more,
  })
  db.prepare('INSERT INTO jobs VALUES (?, ?, ?)').run(seq, text, crc32(text))
}

function request(rows: Rows, job: Format1Job, body: Buffer = Buffer.from(job)): void {
  payload(rows, 'requests', job, { head: HEAD, body })
}

function payload(
  { db, path }: Rows,
  table: 'requests' | 'results',
  job: Format1Job,
  { head, body }: { readonly head: Buffer; readonly body: Uint8Array },
): void {
  const seq = NUMBERS[job]
  const large = body.length > 262_144
  if (large) writeFileSync(join(path, 'bodies', `${formatJobId(seq)}.request`), body, { mode: 0o600 })
  const crc = crc32(body, crc32(head, (seq ^ head.length) >>> 0))
  const data = large ? head : Buffer.concat([head, body])
  db.prepare(`INSERT INTO ${table} VALUES (?, ?, ?, ?, ?)`).run(seq, head.length, large ? 1 : 0, crc, data)
}

function runnable({ db }: Rows, job: Format1Job, key: string | undefined, runs: 0 | 1): void {
  const seq = NUMBERS[job]
  const lane = bucketOf(key ?? formatJobId(seq)) + (key === undefined ? 0 : 256)
  db.prepare('INSERT INTO runnable VALUES (?, 1, 4, ?, ?)').run(seq, lane, runs)
}

function unfinishedBytes(db: DatabaseSync): number {
  return sum(
    db,
    "SELECT sum(json_extract(record, '$.requestBytes')) AS n FROM jobs WHERE json_extract(record, '$.status') IN ('queued', 'running')",
  )
}

/** 1 KiB each, results, and the request of a dead letter. */
function endedBytes(db: DatabaseSync): number {
  const results = sum(db, 'SELECT sum(length(data)) AS n FROM results')
  return 2048 + results + sum(db, `SELECT json_extract(record, '$.requestBytes') AS n FROM jobs WHERE seq = ${NUMBERS.dead}`)
}

function sum(db: DatabaseSync, sql: string): number {
  return Number(db.prepare(sql).get()?.['n'])
}
