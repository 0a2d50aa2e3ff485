/** What only a durable engine can promise: all of it is there when the store is opened again, and nobody else has it open. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { prepareFolder, refuseRemote } from '../../src/engines/embedded/folder.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { formatJobId } from '../../src/core/jobs/job-id.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { type EmbeddedRig, embeddedRig, tempFolder } from './embedded-rig.ts'
import { ANSWER, created, FAILURE, idempotency, LEASE_MS, newJob, NO_LIMITS } from './rig.ts'

type Case = (rig: EmbeddedRig) => Promise<void>

function withStore(name: string, run: Case): void {
  it(name, async () => {
    const rig = embeddedRig()
    try {
      await rig.open()
      await run(rig)
      assert.deepEqual(rig.fatal, [])
    } finally {
      await rig.dispose()
    }
  })
}

describe('opening a store again', () => {
  withStore('jobs, results and figures are as they were', async (rig) => {
    const jobs = await rig.submitAll([
      { key: 'k' },
      { key: 'k', reference: 'r' },
      { priority: 9 },
      { delayMs: 5000 },
      { expireAfterMs: 9000 },
    ])
    await rig.succeed((await rig.leaseOne()).ref)
    await rig.retry((await rig.leaseOne()).ref, 1000, ANSWER)
    await rig.cancel(jobs[4]?.id ?? '')
    const reads = await rig.store.read(
      jobs.map(({ id }) => id),
      'result',
    )
    const stats = await rig.store.stats()
    await rig.reopen()
    assert.deepEqual(
      await rig.store.read(
        jobs.map(({ id }) => id),
        'result',
      ),
      reads,
    )
    assert.deepEqual(await rig.store.stats(), stats)
  })

  withStore('delays, retries, expiry and retention go on', async (rig) => {
    const [delayed, expiring, retried] = await rig.submitAll([
      { delayMs: 5000 },
      { expireAfterMs: 6000, priority: 0, delayMs: 1 },
      { priority: 9, keepMs: 1000 },
    ])
    await rig.retry((await rig.leaseOne()).ref, 4000)
    await rig.reopen()
    assert.deepEqual(await rig.lease(), [])
    await rig.pass(4000)
    await rig.succeed((await rig.leaseOne({ max: 1 })).ref)
    await rig.reopen()
    await rig.pass(1000)
    assert.equal(await rig.read(retried?.id ?? ''), undefined)
    assert.equal((await rig.leaseOne({ max: 1 })).ref.id, delayed?.id)
    await rig.pass(2000)
    assert.equal((await rig.read(expiring?.id ?? ''))?.status, 'expired')
  })

  withStore('the order of a key is kept', async (rig) => {
    const jobs = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k' }])
    await rig.handBack((await rig.leaseOne()).ref, 500)
    for (const job of jobs) {
      await rig.reopen()
      await rig.pass(500)
      const { ref } = await rig.leaseOne({ max: 10 })
      assert.equal(ref.id, job.id)
      await rig.succeed(ref)
    }
  })

  withStore('keys of any text are known', async (rig) => {
    const keys = ['\ud800', '\ud801', '\ufffd', '\ufffd"\\ud800"', 'k\0', '"k"', '💥']
    const jobs = await rig.submitAll([...keys, ...keys].map((key) => ({ key })))
    await rig.reopen()
    for (const round of [jobs.slice(0, keys.length), jobs.slice(keys.length)]) {
      const leases = await rig.lease()
      assert.deepEqual(
        leases.map(({ ref, job }) => [ref.id, job.key]),
        round.map(({ id, key }) => [id, key]),
      )
      await rig.store.tick()
      for (const { ref } of leases) await rig.succeed(ref)
    }
    assert.deepEqual(rig.corrupt, [], 'and they agree with all that is derived from them')
  })

  withStore('idempotency keys are known', async (rig) => {
    const job = await rig.submit(idempotency('a'))
    await rig.reopen()
    const again = await rig.trySubmit(idempotency('a'))
    assert.equal(again.kind === 'duplicate' && again.job.id, job.id)
    assert.equal((await rig.trySubmit(idempotency('a', 'other'))).kind, 'conflict')
  })

  withStore('the leases of the process before are void, and its jobs are handed out again at once', async (rig) => {
    const { id } = await rig.submit({ attempts: 1 })
    const first = await rig.leaseOne()
    await rig.reopen()
    assert.equal((await rig.read(id))?.status, 'queued')
    assert.equal((await rig.stats()).counts.running, 0)
    assert.deepEqual(await rig.settle({ kind: 'succeed', lease: first.ref, answer: ANSWER }), { kind: 'stale' })
    assert.deepEqual(await rig.store.extend([first.ref], LEASE_MS), ['stale'])
    const second = await rig.leaseOne()
    assert.deepEqual([second.ref.id, second.job.attempt, second.job.handOuts], [id, 1, 2], 'it was no attempt')
    assert.ok(second.ref.fence > first.ref.fence, 'fences grow over restarts')
    assert.ok(second.job.version > first.job.version, 'so do versions')
    assert.deepEqual(await rig.settle({ kind: 'succeed', lease: { ...first.ref, fence: second.ref.fence }, answer: ANSWER }), {
      kind: 'stale',
    })
    await rig.succeed(second.ref)
  })

  withStore('what may be sent once and was running is a dead letter, and the first tick says so', async (rig) => {
    const [once] = await rig.submitAll([{ sendOnce: true, key: 'k' }, { key: 'k' }])
    await rig.leaseOne()
    await rig.reopen()
    const { changed } = await rig.store.tick()
    assert.deepEqual(
      changed.map(({ id, status, dead }) => [id, status, dead]),
      [[once?.id, 'failed', 'outcome_unknown']],
    )
    assert.equal((await rig.lease()).length, 1, 'the next of its key goes')
  })

  withStore('a job that takes the gateway down with it every time is poison in the end', async (rig) => {
    const { id } = await rig.submit({ attempts: 1 })
    for (let round = 1; round <= 10; round++) {
      await rig.leaseOne()
      await rig.reopen()
      assert.equal((await rig.read(id))?.status, 'queued', `after ${round}`)
    }
    await rig.leaseOne()
    await rig.reopen()
    assert.deepEqual([(await rig.read(id))?.status, (await rig.read(id))?.dead], ['failed', 'poison'])
  })

  withStore('ids are never given twice, though all jobs are gone and the clock went back', async (rig) => {
    const { id } = await rig.submit({ keepMs: 0 })
    await rig.cancel(id)
    await rig.pass(1)
    assert.equal(await rig.read(id), undefined)
    rig.clock.jump(-86_400_000)
    await rig.reopen()
    assert.ok((await rig.submit()).id > id)
  })

  withStore('places in the line go on', async (rig) => {
    const jobs = await rig.submitAll([{}, {}, {}])
    await rig.leaseOne()
    await rig.reopen()
    assert.deepEqual(await Promise.all(jobs.map(async ({ id }) => (await rig.read(id))?.position)), [1, 2, 3])
    assert.equal((await rig.submit()).position, 4)
  })

  withStore('a queue that is no longer configured keeps its jobs', async (rig) => {
    await rig.store.command([{ kind: 'configure', queue: 'old', limits: NO_LIMITS }])
    const { id } = await rig.submit({ queue: 'old' })
    await rig.reopen()
    assert.equal((await rig.leaseOne({ queue: 'old' })).ref.id, id)
  })
})

describe('syncs', () => {
  withStore('callers of one moment share one', async (rig) => {
    rig.syncs.length = 0
    await Promise.all(Array.from({ length: 100 }, () => rig.store.submit([newJob()])))
    assert.deepEqual(rig.syncs, [100])
  })

  withStore('a thousand callers of one moment share one, the one after them has the next', async (rig) => {
    rig.syncs.length = 0
    await Promise.all(Array.from({ length: 1001 }, () => rig.store.submit([newJob()])))
    assert.deepEqual(rig.syncs, [1000, 1])
  })

  withStore('no more than eight mebibytes share one, but a single call may be larger', async (rig) => {
    const head = 200
    const body = (mebibytes: number): Buffer => Buffer.alloc(mebibytes * 1024 * 1024 - head)
    rig.syncs.length = 0
    await Promise.all(Array.from({ length: 9 }, () => rig.store.submit([newJob({ body: body(1) })])))
    assert.deepEqual(rig.syncs, [8, 1])
    await rig.store.submit([newJob({ body: body(12) })])
    assert.deepEqual(rig.syncs, [8, 1, 1])
  })

  withStore('a lease needs none, unless the job may be sent once', async (rig) => {
    await rig.submitAll([{}, { sendOnce: true, priority: 0 }])
    rig.syncs.length = 0
    const { ref } = await rig.leaseOne()
    await rig.store.extend([ref], LEASE_MS)
    await rig.read(ref.id)
    await rig.store.stats()
    await rig.store.tick()
    assert.deepEqual(rig.syncs, [])
    await rig.leaseOne()
    assert.equal(rig.syncs.length, 1)
  })

  withStore('a deferral needs one, and so does more time for it', async (rig) => {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    rig.syncs.length = 0
    assert.deepEqual(await rig.store.extend([ref], 1000), ['extended'])
    assert.equal(rig.syncs.length, 0)
    await rig.settled({ kind: 'defer', lease: ref, forMs: 1000, retryMs: 0, jobsMax: 1 })
    assert.equal(rig.syncs.length, 1)
    assert.deepEqual(await rig.store.extend([ref], 2000), ['extended'])
    assert.equal(rig.syncs.length, 2)
  })

  withStore('an end that time brought needs one', async (rig) => {
    await rig.submit({ expireAfterMs: 10 })
    rig.syncs.length = 0
    await rig.pass(10)
    assert.equal(rig.syncs.length, 1)
  })
})

describe('the data folder', () => {
  withStore('gives what was asked before it was closed, however large', async (rig) => {
    const jobs = await rig.submitAll(Array.from({ length: 10 }, () => ({})))
    for (const { ref } of await rig.lease()) await rig.succeed(ref, { ...ANSWER, body: Buffer.alloc(2_000_000, ref.id) })
    const reads = jobs.map(({ id }) => rig.result(id))
    await rig.store.close()
    for (const [n, read] of (await Promise.all(reads)).entries())
      assert.ok(Buffer.alloc(2_000_000, jobs[n]?.id).equals(read?.answer?.body ?? Buffer.alloc(0)))
    await rig.open()
  })

  withStore('does once what it has promised, also when a body that is no longer needed cannot be removed', async (rig) => {
    const { id } = await rig.submit({ body: Buffer.alloc(300_000) })
    const { ref } = await rig.leaseOne()
    const file = join(rig.path, 'bodies', `${id}.request`)
    rmSync(file)
    mkdirSync(file)
    assert.equal((await rig.succeed(ref)).status, 'succeeded')
    rmdirSync(file)
  })

  withStore('is for its owner only', async (rig) => {
    await rig.submit({ body: Buffer.alloc(300_000) })
    const mode = (path: string): number => statSync(path).mode & 0o777
    assert.equal(mode(rig.path), 0o700)
    assert.equal(mode(join(rig.path, 'bodies')), 0o700)
    const files = readdirSync(rig.path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    assert.ok(files.length >= 4, files.map(({ name }) => name).join())
    for (const { parentPath, name } of files) assert.equal(mode(join(parentPath, name)), 0o600, name)
  })

  withStore('holds large bodies as files for as long as they are needed', async (rig) => {
    const bodies = (): string[] => readdirSync(join(rig.path, 'bodies'))
    const { id } = await rig.submit({ body: Buffer.alloc(256 * 1024 + 1, 'x'), keepMs: 1000 })
    await rig.submit({ body: Buffer.alloc(256 * 1024, 'y'), priority: 0 })
    assert.deepEqual(bodies(), [`${id}.request`])
    await rig.succeed((await rig.leaseOne()).ref, { ...ANSWER, body: Buffer.alloc(300_000) })
    await rig.store.stats()
    assert.deepEqual(bodies(), [`${id}.result`])
    await rig.pass(1000)
    await rig.store.stats()
    assert.deepEqual(bodies(), [])
  })

  withStore('keeps the old body of a job until the new one counts', async (rig) => {
    const bodies = (): string[] => readdirSync(join(rig.path, 'bodies'))
    const { id } = await rig.submit({ body: Buffer.alloc(300_000, 'old') })
    await rig.fail((await rig.leaseOne()).ref, true)
    const request = newJob({ body: Buffer.alloc(300_000, 'new') }).request
    const redrive = { kind: 'redrive', id, request } as const
    // In one batch with a call that spoils it, so that it is undone and done again.
    await Promise.all([rig.store.command([redrive]), assert.rejects(rig.submit({ queue: 'nowhere' }))])
    assert.deepEqual(bodies(), [`${id}.request.2`])
    await rig.reopen()
    const lease = await rig.leaseOne()
    assert.ok(Buffer.alloc(300_000, 'new').equals(lease.request.body))
    await rig.fail(lease.ref, true)
    await rig.store.command([redrive])
    assert.deepEqual(bodies(), [`${id}.request`])
    assert.ok(Buffer.alloc(300_000, 'new').equals((await rig.leaseOne()).request.body))
  })

  withStore('is cleared of bodies that nothing refers to, and of nothing else', async (rig) => {
    const { id } = await rig.submit({ body: Buffer.alloc(300_000, 'x') })
    const folder = join(rig.path, 'bodies')
    const orphans = [`${formatJobId(4711)}.request`, `${formatJobId(4711)}.result`, `${id}.result`]
    for (const name of orphans) writeFileSync(join(folder, name), 'left over')
    writeFileSync(join(folder, 'notes.txt'), 'not ours')
    await rig.reopen()
    assert.deepEqual(readdirSync(folder).toSorted(), [`${id}.request`, 'notes.txt'].toSorted())
    assert.equal((await rig.leaseOne()).request.body.length, 300_000)
  })

  withStore('serves one gateway; another one is told which', async (rig) => {
    const second = openEmbeddedStore({ path: rig.path, clock: systemClock, random: systemRandom, queues: [], events: {} })
    await assert.rejects(second, (error) => {
      assert.ok(error instanceof StoreOpenError)
      assert.equal(error.message, `cannot open the store at ${rig.path}: it is in use by process ${process.pid}`)
      return true
    })
    await rig.submit()
  })

  withStore('is free again when its gateway is gone, whatever it left', async (rig) => {
    await rig.submit()
    await rig.store.close()
    writeFileSync(join(rig.path, 'gateway.pid'), `${process.pid}\n`)
    await rig.open()
    assert.equal((await rig.stats()).counts.queued, 1)
  })

  it('is made with all folders above it', async () => {
    const { path, dispose } = tempFolder()
    const store = await openEmbeddedStore({ path: join(path, 'a', 'b'), clock: systemClock, random: systemRandom, queues: [], events: {} })
    await store.close()
    assert.ok(existsSync(join(path, 'a', 'b', 'store.db')))
    dispose()
  })

  it('must not be on a network file system', () => {
    for (const type of [0x6969, 0x517b, 0xff534d42, 0xfe534d42, -0x1acb2be, 0x01021997]) {
      assert.throws(() => refuseRemote('/data', type), { name: 'StoreOpenError', message: /^cannot open the store at \/data: it is on / })
    }
    for (const local of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630]) refuseRemote('/data', local)
  })
})

describe('a store that cannot be opened says why in one line', () => {
  const refused = (name: string, prepare: (path: string) => string, reason: RegExp): void => {
    it(name, async (t) => {
      const { path, dispose } = tempFolder()
      try {
        const store = prepare(path)
        if (store === '') return t.skip('root may write everywhere')
        const opening = openEmbeddedStore({ path: store, clock: systemClock, random: systemRandom, queues: [], events: {} })
        await assert.rejects(opening, (error) => {
          assert.ok(error instanceof StoreOpenError, String(error))
          assert.ok(error.message.startsWith(`cannot open the store at ${store}: `), error.message)
          assert.match(error.reason, reason)
          assert.doesNotMatch(error.message, /\n/)
          return true
        })
      } finally {
        dispose()
      }
    })
  }

  refused(
    'a folder that may not be written',
    (path) => {
      if (process.getuid?.() === 0) return ''
      chmodSync(path, 0o500)
      return join(path, 'data')
    },
    /^permission denied$/,
  )
  refused(
    'a file in the place of the folder',
    (path) => {
      writeFileSync(join(path, 'data'), '')
      return join(path, 'data')
    },
    /it is a file, not a folder/,
  )
  refused(
    'a file in the place of a folder above',
    (path) => {
      writeFileSync(join(path, 'data'), '')
      return join(path, 'data', 'store')
    },
    /a part of the path is a file/,
  )
  refused(
    'a file that is no database',
    (path) => {
      writeFileSync(join(path, 'store.db'), 'not a database, but long enough to be looked at. '.repeat(200))
      return path
    },
    /store\.db is not a database/,
  )
  refused(
    'a database of another program',
    (path) => {
      const db = new DatabaseSync(join(path, 'store.db'))
      db.exec('CREATE TABLE t (x)')
      db.close()
      return path
    },
    /store\.db is a database of another program/,
  )
  refused(
    'a format of a later version',
    (path) => {
      prepareFolder(path)
      const db = new DatabaseSync(join(path, 'store.db'))
      db.exec('CREATE TABLE meta (x); PRAGMA application_id = 0x53707779; PRAGMA user_version = 99')
      db.close()
      return path
    },
    /its format is 99, and this version of Spillway reads format 2/,
  )
})

describe('a full disk', () => {
  it('refuses new jobs while there is still room for the rest', async () => {
    const { path, dispose } = tempFolder()
    const options = { path, clock: systemClock, random: systemRandom, queues: [{ name: 'q', limits: NO_LIMITS }], events: {} }
    const before = await openEmbeddedStore(options)
    const [accepted] = await before.submit([newJob(idempotency('a'))])
    await before.close()
    const full = await openEmbeddedStore({ ...options, diskFloorBytes: 2 ** 60 })
    const [fresh, known] = await full.submit([newJob(), newJob(idempotency('a'))])
    assert.equal(fresh?.kind === 'refused' && fresh.limit, 'disk')
    assert.equal(known?.kind, 'duplicate', 'a repeated one needs no room')
    const [leases] = await full.lease([
      { queue: 'q', server: 'a', buckets: new Uint8Array(32).fill(255), max: 9, stealUnkeyed: false, leaseMs: 1000 },
    ])
    const [settled] = await full.settle([{ kind: 'fail', lease: leases?.[0]?.ref ?? assert.fail(), error: FAILURE, deadLetter: false }])
    assert.equal(settled?.kind === 'settled' && settled.job.id, created(accepted ?? assert.fail()).id, 'work goes on')
    await full.close()
    dispose()
  })

  it('is met by a real one: what fits is kept, what does not is refused, nothing breaks', (t) => {
    const { path, dispose } = tempFolder()
    const script = join(import.meta.dirname, 'full-disk.ts')
    const inside = `mount -t tmpfs -o size=3m tmpfs '${path}' && exec '${process.execPath}' '${script}' '${path}'`
    const run = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', inside], { encoding: 'utf8' })
    dispose()
    if (run.error !== undefined || /unshare|mount/.test(run.stderr)) return t.skip('a file system of its own cannot be mounted here')
    assert.equal(run.stdout.trim().split('\n').at(-1), 'fine', run.stdout + run.stderr)
  })
})
