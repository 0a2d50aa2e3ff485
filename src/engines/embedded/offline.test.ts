/** A store that is only looked at: formats, what is not a store, and that a writer in between is noticed. Whole ways out: `test/integration/cli-export.test.ts`. */
import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, test } from 'node:test'
import { crc32 } from 'node:zlib'
import type { JobRecord } from '../../core/jobs/record.ts'
import { packRequest } from '../ledger/payload.ts'
import { openOffline } from './offline.ts'
import { holderOf } from './offline-folder.ts'
import { payloadRow } from './payload-row.ts'
import { APPLICATION_ID } from './schema.ts'

const NOW = 1_800_000_000_000
let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-offline-test-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** As format 1 had them. */
const FORMAT_1 = `
  CREATE TABLE queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, counters TEXT NOT NULL) STRICT;
  CREATE TABLE jobs (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
  CREATE TABLE requests (seq INTEGER PRIMARY KEY, head_bytes INTEGER NOT NULL, file INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  CREATE TABLE runnable (seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, lane INTEGER NOT NULL, running INTEGER NOT NULL) STRICT;
  CREATE TABLE keys (queue INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (queue, key)) STRICT, WITHOUT ROWID;
`

function record(seq: number, changes: Partial<JobRecord> = {}): JobRecord {
  return {
    ...{ seq, secret: 's', queue: 'q', route: 'r', method: 'POST', bucket: 0, priority: 0, attempts: 3, sendOnce: false },
    ...{ keepMs: 1, keepDeadMs: 1, requestBytes: 10, submittedAt: NOW - 60_000, status: 'queued', version: 1, counted: 0, handOuts: 0 },
    ...{ scheduled: false, ordinal: 1, resultBytes: -1 },
    ...changes,
  }
}

interface Made {
  readonly format?: number
  readonly application?: number
  readonly records?: readonly JobRecord[]
  readonly running?: readonly number[]
}

function makeStore({ format = 1, application = APPLICATION_ID, records = [], running = [] }: Made): void {
  const db = new DatabaseSync(join(folder, 'store.db'))
  db.exec(`PRAGMA journal_mode = WAL; ${FORMAT_1}; PRAGMA application_id = ${application}; PRAGMA user_version = ${format}`)
  for (const one of records) {
    const text = JSON.stringify(one)
    db.prepare('INSERT INTO jobs VALUES (?, ?, ?)').run(one.seq, text, crc32(text))
    const { head, body } = packRequest({ method: 'POST', target: `/${one.seq}`, headers: ['Host', 'a'], body: Buffer.from('body') })
    db.prepare('INSERT INTO requests VALUES (?, ?, ?, ?, ?)').run(one.seq, ...payloadRow(one.seq, 0, { head, body }))
  }
  for (const seq of running) db.prepare('INSERT INTO runnable VALUES (?, 1, 0, 0, 1)').run(seq)
  db.close()
}

test('format 1 is read: what ran goes back to the line, what expired has expired, requests are whole', () => {
  const records = [
    record(1),
    record(2),
    record(3, { expiresAt: NOW - 1 }),
    record(4, { sendOnce: true }),
    record(5, { scheduled: true, notBefore: NOW + 1 }),
  ]
  makeStore({ records, running: [2, 4] })
  const names = readdirSync(folder)
  const store = openOffline({ path: folder, now: NOW })
  const jobs = [...store.jobs()]
  assert.deepEqual(
    jobs.map(({ status, handOuts, dead }) => [status, handOuts, dead]),
    [
      ['queued', 0, undefined],
      ['queued', 1, undefined],
      ['expired', 0, 'expired'],
      ['failed', 1, 'outcome_unknown'],
      ['queued', 0, undefined],
    ],
  )
  assert.equal(jobs[4]?.notBefore, NOW + 1)
  assert.deepEqual(jobs[1]?.request(), { method: 'POST', target: '/2', headers: ['Host', 'a'], body: new Uint8Array(Buffer.from('body')) })
  assert.deepEqual(store.problems, [])
  assert.equal(store.hasChanged(), false)
  store.close()
  assert.deepEqual(readdirSync(folder), names)
})

test('a record that fails its checks is told and left out; the others are read', () => {
  makeStore({ records: [record(1), record(2)] })
  const db = new DatabaseSync(join(folder, 'store.db'))
  db.exec('UPDATE jobs SET crc = crc + 1 WHERE seq = 1')
  db.close()
  const store = openOffline({ path: folder, now: NOW })
  assert.equal([...store.jobs()].length, 1)
  assert.deepEqual(store.problems, ['job 00000000001: its record fails its checks'])
  store.close()
})

test('what is no store of ours, or of a later format, is refused with the reason', () => {
  const refused = (made: Made, reason: RegExp): void => {
    makeStore(made)
    assert.throws(() => openOffline({ path: folder, now: NOW }), reason)
    rmSync(join(folder, 'store.db'))
  }
  assert.throws(() => openOffline({ path: join(folder, 'x'), now: NOW }), /there is no such folder/)
  assert.throws(() => openOffline({ path: folder, now: NOW }), /there is no store\.db in it/)
  refused({ application: 7 }, /is a database of another program/)
  refused({ format: 3 }, /its format is 3, and this version of Spillway reads formats 1 to 2/)
  refused({ format: 0 }, /its format is 0/)
  writeFileSync(join(folder, 'store.db'), 'x'.repeat(8192))
  assert.throws(() => openOffline({ path: folder, now: NOW }), /is not a database, or is damaged at its beginning/)
})

test('a writer in between is noticed', () => {
  makeStore({ records: [record(1)] })
  const store = openOffline({ path: folder, now: NOW })
  appendFileSync(join(folder, 'store.db-wal'), 'x')
  assert.equal(store.hasChanged(), true)
  store.close()
})

test('a pid that is written there means nothing when that process does not have the database open', () => {
  makeStore({})
  writeFileSync(join(folder, 'gateway.pid'), `${process.pid}\n`)
  assert.equal(holderOf(folder), undefined)
  const db = new DatabaseSync(join(folder, 'store.db'))
  assert.equal(holderOf(folder), process.pid)
  db.close()
})
