/** Backups, what is made of them, and verification: of a store that goes on meanwhile, and of one that nobody works on. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { crc32 } from 'node:zlib'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { backupFolder, restoreBackup, verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { CopyRefused } from '../../src/engines/embedded/store-copy.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { makeBusy, seen } from '../support/busy-store.ts'
import { EmbeddedRig, tempFolder } from './embedded-rig.ts'
import { ANSWER } from './rig.ts'

interface Place {
  readonly rig: EmbeddedRig
  /** Beside the store: for backups and what is made of them. */
  readonly path: (name: string) => string
  open(path: string): Promise<EmbeddedRig>
}

function copying(name: string, run: (place: Place) => Promise<void>): void {
  it(name, async () => {
    const { path, dispose } = tempFolder()
    const rigs: EmbeddedRig[] = []
    const open = async (store: string): Promise<EmbeddedRig> => {
      const rig = new EmbeddedRig(store)
      rigs.push(rig)
      await rig.open()
      return rig
    }
    try {
      const rig = await open(join(path, 'store'))
      await run({ rig, path: (each) => join(path, each), open })
      for (const each of rigs) assert.deepEqual(each.fatal, [])
    } finally {
      for (const rig of rigs) await rig.dispose()
      dispose()
    }
  })
}

async function maintain(rig: EmbeddedRig, work: { kind: 'verify' } | { kind: 'backup'; path: string }) {
  return rig.store.maintain?.(work) ?? assert.fail('this engine has files')
}

describe('a backup', () => {
  copying('of a running store holds all of it, and becomes a store again', async ({ rig, path, open }) => {
    const jobs = await makeBusy(rig)
    const before = await seen(rig, jobs)
    const lease = await rig.leaseOne({ max: 1 })
    const report = await maintain(rig, { kind: 'backup', path: path('backup') })
    assert.deepEqual([report.problems, report.ok, report.jobs], [[], true, jobs.length])
    // What comes later is not in it, whatever it does to what is.
    await rig.succeed(lease.ref)
    await rig.submitAll([{}, {}])
    assert.deepEqual(verifyFolder(path('backup')).problems, [])
    const restored = restoreBackup(path('backup'), path('restored'), rig.clock.now())
    assert.deepEqual(restored.problems, [])
    const second = await open(path('restored'))
    second.clock.advance(rig.clock.now() - second.clock.now())
    const after = await seen(second, jobs)
    const running = (status: unknown): boolean => status === 'running'
    before.forEach((was, at) => {
      const is = after[at] as { status: string; dead?: string }
      // Whoever ran it is of another life.
      if (!running((was as { status: string }).status)) assert.deepEqual(is, was)
      else assert.ok(is.status === 'queued' || is.dead === 'outcome_unknown', JSON.stringify(is))
    })
    assert.deepEqual(await second.store.notes(''), [{ name: 'n', text: 'noted' }])
    assert.deepEqual(second.corrupt, [])
    assert.deepEqual(await maintain(second, { kind: 'verify' }).then(({ problems }) => problems), [])
  })

  copying('is of one moment, while jobs come and go', async ({ rig, path }) => {
    let submitted = 0
    let stop = false
    const load = (async () => {
      for (let n = 0; !stop; n++) {
        submitted += 1
        await rig.submit({ key: `k${n % 7}`, body: Buffer.alloc(n % 5 === 0 ? 300_000 : 1000, n) })
        if (n % 3 === 0)
          for (const { ref } of await rig.lease({ max: 2 })) await rig.succeed(ref, { ...ANSWER, body: Buffer.alloc(280_000, n) })
      }
    })()
    try {
      for (let n = 0; n < 5; n++) {
        const before = submitted
        const report = await maintain(rig, { kind: 'backup', path: path(`backup${n}`) })
        assert.deepEqual(report.problems, [])
        assert.ok(report.jobs >= before - 1 && report.jobs <= submitted, `${before} ${report.jobs} ${submitted}`)
        assert.deepEqual(await maintain(rig, { kind: 'verify' }).then(({ problems }) => problems), [])
        const verified = verifyFolder(path(`backup${n}`))
        assert.deepEqual([verified.problems, verified.jobs], [[], report.jobs])
      }
    } finally {
      stop = true
      await load
    }
    assert.deepEqual(
      readdirSync(join(path('store'))).filter((name) => name.includes('partial')),
      [],
    )
  })

  copying('that is restored gives fences and versions above all that the original gives', async ({ rig, path, open }) => {
    const { id } = await rig.submit()
    await maintain(rig, { kind: 'backup', path: path('backup') })
    for (let n = 0; n < 3; n++) await rig.reopen()
    const original = await rig.leaseOne()
    restoreBackup(path('backup'), path('restored'), rig.clock.now())
    const copy = await (await open(path('restored'))).leaseOne()
    assert.equal(copy.ref.id, id)
    assert.ok(copy.ref.fence > original.ref.fence)
    assert.ok(copy.job.version > original.job.version)
  })

  copying('is not opened as a store, nor is a half restored one', async ({ rig, path }) => {
    await rig.submit()
    await maintain(rig, { kind: 'backup', path: path('backup') })
    const options = { clock: systemClock, random: systemRandom, queues: [], events: {} }
    await assert.rejects(
      openEmbeddedStore({ ...options, path: path('backup') }),
      /it is a backup; make a store of it with: spillway restore/,
    )
    restoreBackup(path('backup'), path('half'), 0)
    writeFileSync(join(path('half'), 'restore.partial'), '')
    await assert.rejects(openEmbeddedStore({ ...options, path: path('half') }), /a restore into it did not come to its end/)
  })

  copying('is refused where something is, and one at a time', async ({ rig, path }) => {
    mkdirSync(path('there'))
    const there = await maintain(rig, { kind: 'backup', path: path('there') })
    assert.match(there.problems.join(), /there is there already/)
    mkdirSync(path('left.partial'))
    assert.match(
      (await maintain(rig, { kind: 'backup', path: path('left') })).problems.join(),
      /is left of a backup that did not come to its end/,
    )
    assert.match((await maintain(rig, { kind: 'backup', path: path('no/such/folder') })).problems.join(), /cannot be made/)
    const both = await Promise.all([maintain(rig, { kind: 'backup', path: path('a') }), maintain(rig, { kind: 'verify' })])
    assert.deepEqual(
      both.map(({ ok }) => ok),
      [true, false],
    )
    assert.match(both[1].problems.join(), /another backup or verification is under way/)
    assert.ok((await maintain(rig, { kind: 'verify' })).ok, 'and then it is free again')
  })

  copying('that is broken off by the end of the store has not its name', async ({ rig, path }) => {
    await rig.submitAll(Array.from({ length: 30 }, () => ({ body: Buffer.alloc(300_000) })))
    const report = maintain(rig, { kind: 'backup', path: path('backup') }).catch((error: Error) => error)
    await rig.store.close()
    const outcome = await report
    if (outcome instanceof Error) assert.ok(!existsSync(path('backup')), outcome.message)
    else assert.ok(existsSync(join(path('backup'), 'backup.json')))
    await rig.open()
  })

  copying('of a folder that nobody works on is the same, also after a kill', async ({ rig, path, open }) => {
    const jobs = await makeBusy(rig)
    const before = await seen(rig, jobs)
    // As a kill leaves it: the files of a store that is open, copied. Under our own locks, so by another process's hands.
    copyByOther(path('store'), path('killed'))
    await rig.store.close()
    assert.deepEqual(verifyFolder(path('killed')).problems, [])
    const manifest = backupFolder(path('killed'), path('backup'), 5)
    assert.deepEqual([manifest.jobs, manifest.format, manifest.takenAt], [jobs.length, 2, 5])
    assert.deepEqual(restoreBackup(path('backup'), path('restored'), 0).problems, [])
    const second = await open(path('restored'))
    assert.deepEqual(
      (await seen(second, jobs)).map((each) => (each as { id: string }).id),
      before.map((each) => (each as { id: string }).id),
    )
    await rig.open()
  })

  copying('of a folder that a gateway works on is refused with its pid', async ({ path }) => {
    assert.throws(() => backupFolder(path('store'), path('backup'), 0), new RegExp(`the gateway with pid ${process.pid} works on it`))
    assert.throws(() => verifyFolder(path('store')), StoreOpenError)
  })

  copying('that was changed is noticed, and not restored', async ({ rig, path }) => {
    await rig.submitAll(Array.from({ length: 50 }, () => ({})))
    await maintain(rig, { kind: 'backup', path: path('backup') })
    const file = join(path('backup'), 'store.db')
    const bytes = readFileSync(file)
    bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1
    writeFileSync(file, bytes)
    assert.match(verifyFolder(path('backup')).problems.join(), /store\.db is not what it was when the backup was made/)
    assert.throws(() => restoreBackup(path('backup'), path('restored'), 0), /is damaged: store\.db is not what it was/)
    writeFileSync(join(path('backup'), 'backup.json'), '{}')
    assert.throws(() => restoreBackup(path('backup'), path('restored'), 0), CopyRefused)
    assert.ok(!existsSync(path('restored')))
  })

  copying('is restored only into a folder that is new or empty', async ({ rig, path }) => {
    await maintain(rig, { kind: 'backup', path: path('backup') })
    mkdirSync(path('full'))
    writeFileSync(join(path('full'), 'x'), '')
    assert.throws(() => restoreBackup(path('backup'), path('full'), 0), /is not empty/)
    mkdirSync(path('empty'))
    assert.ok(restoreBackup(path('backup'), path('empty'), 0).ok)
    assert.equal(statSync(path('empty')).mode & 0o777, 0o755 & statSync(path('empty')).mode)
    assert.throws(() => restoreBackup(path('store'), path('other'), 0), /is no backup/)
  })
})

describe('verify', () => {
  const cases: readonly (readonly [what: string, sql: string, says: RegExp])[] = [
    ['a record', "UPDATE jobs SET record = record || ' ' WHERE seq = (SELECT max(seq) FROM jobs)", /its record fails its checks/],
    ['a request', 'UPDATE requests SET data = zeroblob(length(data)) WHERE file = 0', /its request fails its checks/],
    ['a request that is missing', 'DELETE FROM requests WHERE seq = (SELECT max(seq) FROM requests)', /its request is missing/],
    ['a result', 'UPDATE results SET crc = crc + 1', /its result fails its checks/],
    ['an orphaned result', "INSERT INTO results VALUES (77, 0, 0, 0, x'')", /results names it, but it has no record/],
    ['a lost timer', 'DELETE FROM timers WHERE at = (SELECT min(at) FROM timers)', /its timer is missing/],
    ['a timer too many', 'INSERT INTO timers SELECT at + 1, seq FROM timers LIMIT 1', /timers says of it what its record does not/],
    ['a job that cannot be handed out', 'DELETE FROM runnable WHERE server IS NULL', /it is not where it can be handed out/],
    ['another priority', 'UPDATE runnable SET priority = priority + 1 WHERE server IS NULL', /it is not where it can be handed out/],
    ['another tenant', "UPDATE runnable SET tenant = 'x' WHERE server IS NULL", /runnable says of it what its record does not/],
    ['a lost key', 'DELETE FROM keys', /it does not (hold|wait for|block) its key/],
    [
      'a key that is held for nobody',
      "INSERT INTO keys SELECT queue, 'zz', seq, 0 FROM keys LIMIT 1",
      /keys says of it what its record does not/,
    ],
    ['one that does not wait', 'DELETE FROM blocked', /it does not wait for its key/],
    ['another end', 'UPDATE ended SET keep_until = keep_until + 1', /nothing says how long it is kept/],
    ['a job that an index invents', 'INSERT INTO ended VALUES (1, 0, 5, 99)', /ended names it, but it has no record/],
    [
      'counters',
      `UPDATE queues SET counters = replace(counters, '"bytes":', '"bytes":1'), counters_crc = crc32(replace(counters, '"bytes":', '"bytes":1'))`,
      /bytes says \d+, and a count gives \d+/,
    ],
    ['counters without their checksum', 'UPDATE queues SET counters_crc = 0', /its figures fail their checks/],
    ['settings', 'UPDATE queues SET settings_crc = 0', /its limits and rules fail their checks/],
    ['a note', "UPDATE notes SET text = 'x'", /what is kept as \S+ fails its checks/],
    ['a generation', "UPDATE meta SET value = 7 WHERE name = 'generation'", /meta: generation fails its checks/],
    ['an idempotency key', 'DELETE FROM dedup', /its idempotency key would not be known again/],
    ['what was put aside', "INSERT INTO quarantine VALUES (5, '', 0)", /it was put aside before/],
  ]

  copying('finds nothing in a sound store, and every kind of damage in others', async ({ rig, path }) => {
    await makeBusy(rig)
    await rig.store.close()
    assert.deepEqual(verifyFolder(path('store')).problems, [])
    for (const [what, sql, says] of cases) {
      copyByOther(path('store'), path('copy'))
      const db = new DatabaseSync(join(path('copy'), 'store.db'))
      db.function('crc32', (text) => crc32(String(text)))
      const dedup = db.prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'dedup_*' LIMIT 1").get()
      db.exec(sql.replace('FROM dedup', `FROM ${String(dedup?.['name'])}`))
      db.close()
      const { ok, problems } = verifyFolder(path('copy'))
      assert.ok(!ok, what)
      assert.match(problems.join('\n'), says, what)
      rmSync(path('copy'), { recursive: true })
    }
    await rig.open()
  })

  copying('looks at every body, finds missing and changed ones, and tells at most a hundred things', async ({ rig, path }) => {
    const jobs = await rig.submitAll(Array.from({ length: 101 }, () => ({ body: Buffer.alloc(262_145) })))
    const file = (n: number): string => join(path('store'), 'bodies', `${jobs[n]?.id}.request`)
    rmSync(file(0))
    writeFileSync(file(1), Buffer.alloc(262_145, 'x'))
    const { problems } = await maintain(rig, { kind: 'verify' })
    assert.deepEqual(
      problems,
      [0, 1].map((n) => `job ${jobs[n]?.id}: its request fails its checks`),
    )
    for (let n = 2; n <= 100; n++) rmSync(file(n))
    assert.equal((await maintain(rig, { kind: 'verify' })).problems.length, 100)
  })

  copying('needs room for a copy, and says so', async ({ rig }) => {
    await rig.store.close()
    const store = await openEmbeddedStore({
      path: rig.path,
      clock: systemClock,
      random: systemRandom,
      queues: [],
      events: {},
      diskFloorBytes: 2 ** 60,
    })
    const report = (await store.maintain?.({ kind: 'verify' })) ?? assert.fail()
    assert.match(report.problems.join(), /a copy takes \d+ bytes; of \d+ free ones in .* are kept in reserve/)
    await store.close()
    await rig.open()
  })
})

/** The files of a store that this process may have open: reading them here would end its locks. */
function copyByOther(from: string, to: string): void {
  assert.equal(spawnSync('cp', ['-r', from, to]).status, 0)
}
