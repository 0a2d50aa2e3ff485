/** A disk that gives back other bytes than were written: it is noticed, said, and costs no more than what was hit. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { crc32 } from 'node:zlib'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { parseJobId } from '../../src/core/jobs/job-id.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { type EmbeddedRig, embeddedRig, tempFolder } from './embedded-rig.ts'
import { ANSWER, newJob, NO_LIMITS } from './rig.ts'

function damaged(name: string, run: (rig: EmbeddedRig, damage: (sql: string, id: string) => Promise<void>) => Promise<void>): void {
  it(name, async () => {
    const rig = embeddedRig()
    /** Closes the store, does this to one job's rows, and opens it again. */
    const damage = async (sql: string, id: string): Promise<void> => {
      await rig.store.close()
      const db = new DatabaseSync(join(rig.path, 'store.db'))
      db.function('crc32', (text) => crc32(String(text)))
      db.prepare(sql).run(parseJobId(id) ?? 0)
      db.close()
      await rig.open()
    }
    try {
      await rig.open()
      await run(rig, damage)
      assert.deepEqual(rig.fatal, [])
    } finally {
      await rig.dispose()
    }
  })
}

describe('a damaged', () => {
  damaged('record is put aside, and the rest goes on', async (rig, damage) => {
    const [a, b, c] = await rig.submitAll([{}, { key: 'k' }, {}])
    await damage(`UPDATE jobs SET record = replace(record, '"attempts":3', '"attempts":4') WHERE seq = ?`, a?.id ?? '')
    assert.deepEqual(await rig.leaseIds(), [b?.id, c?.id])
    assert.equal(rig.corrupt.length, 1)
    assert.match(rig.corrupt[0] ?? '', new RegExp(`job ${a?.id}: its record fails its checks`))
    assert.equal(await rig.read(a?.id ?? ''), undefined)
    const { counts, bytes } = await rig.stats()
    assert.deepEqual([counts.queued, counts.running], [0, 2], 'the figures are of what there is')
    await rig.reopen()
    assert.equal(rig.corrupt.length, 1, 'it is said once')
    assert.deepEqual(await rig.leaseIds(), [b?.id, c?.id])
    assert.ok(bytes > 0)
  })

  damaged('record of a key’s first job lets the next go', async (rig, damage) => {
    const [a, b, c] = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k' }])
    await damage("UPDATE jobs SET record = record || ' ' WHERE seq = ?", a?.id ?? '')
    assert.equal(await rig.read(a?.id ?? ''), undefined)
    const { ref } = await rig.leaseOne({ max: 9 })
    assert.equal(ref.id, b?.id)
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [c?.id])
  })

  damaged('record of an ended job is noticed when it is read', async (rig, damage) => {
    const { id } = await rig.submit()
    await rig.succeed((await rig.leaseOne()).ref)
    await damage('UPDATE jobs SET crc = crc + 1 WHERE seq = ?', id)
    assert.equal(await rig.read(id), undefined)
    assert.equal(rig.corrupt.length, 1)
    assert.equal((await rig.stats()).counts.succeeded, 0)
    await rig.pass(1e9)
  })

  damaged('index is noticed: a job that it names is not there', async (rig, damage) => {
    const [a, b] = await rig.submitAll([{}, {}])
    await damage('DELETE FROM jobs WHERE seq = ?', a?.id ?? '')
    assert.deepEqual(await rig.leaseIds(), [b?.id])
    assert.match(rig.corrupt.join(), /an index names it, but it has no record/)
  })

  damaged('counter is noticed when the store is opened, and counted anew', async (rig, damage) => {
    const { id } = await rig.submit()
    const wrong = `replace(counters, '"inLine":1', '"inLine":7')`
    await damage(`UPDATE queues SET counters = ${wrong}, counters_crc = crc32(${wrong}) WHERE ? > 0 AND name = 'q'`, id)
    assert.match(rig.corrupt.join(), /queue q: 7 jobs should be in its line, there are 1/)
    assert.equal((await rig.stats()).counts.queued, 1)
    await rig.reopen()
    assert.equal(rig.corrupt.length, 1)
    assert.deepEqual(await rig.leaseIds(), [id])
  })

  damaged('index is made anew: a job that it lost is not lost', async (rig, damage) => {
    const [a, b, c, d] = await rig.submitAll([{}, { key: 'k' }, { key: 'k' }, { key: 'l', delayMs: 5000 }])
    await rig.submit({ key: 'm' })
    await rig.retry((await rig.leaseOne()).ref, 4000)
    await damage('DELETE FROM runnable WHERE seq = ?', b?.id ?? '')
    assert.match(rig.corrupt.join(), /queue q: 3 jobs should be in its line, there are 2/)
    const { ref } = (await rig.lease())[0] ?? assert.fail()
    assert.equal(ref.id, b?.id)
    assert.equal((await rig.read(c?.id ?? ''))?.blockedBy, b?.id)
    await rig.succeed(ref)
    await rig.pass(5000)
    assert.deepEqual(await rig.leaseIds(), [a?.id, c?.id, d?.id])
  })

  for (const [what, sql] of [
    ['lost the one that waits for its key', 'DELETE FROM blocked WHERE seq <> ?1 AND ?1 > 0'],
    ['lost a key', 'DELETE FROM keys WHERE ? > 0'],
    ['lost a timer', 'DELETE FROM timers WHERE ? > 0'],
    ['has another lane for a job', 'UPDATE runnable SET lane = lane + 300 WHERE ? > 0'],
    ['has another time for a job', 'UPDATE timers SET at = at + 1000000000 WHERE ? > 0'],
    ['has another key for a job', "UPDATE blocked SET key = 'x' WHERE ? > 0"],
  ] as const) {
    damaged(`index that ${what} is found in passing`, async (rig, damage) => {
      const jobs = await rig.submitAll([{ key: 'k' }, { key: 'k' }, {}, { delayMs: 5000 }])
      await damage(sql, jobs[0]?.id ?? '')
      const { ready } = await rig.store.tick()
      assert.ok(rig.corrupt.length > 0)
      if (ready.length === 0) assert.match(rig.corrupt.join(), /should be in its line/)
      await rig.pass(5000)
      const [a, c, d] = await rig.lease()
      assert.deepEqual(
        [a, c, d].map((lease) => lease?.ref.id),
        [jobs[0]?.id, jobs[2]?.id, jobs[3]?.id],
      )
      await rig.succeed(a?.ref ?? assert.fail())
      assert.deepEqual(await rig.leaseIds(), [jobs[1]?.id])
    })
  }

  damaged('index that has a job in a wrong place stops nobody', async (rig, damage) => {
    const [a, b, c] = await rig.submitAll([{}, {}, { key: 'k' }])
    await damage('UPDATE runnable SET lane = (lane + 1) % 256 WHERE seq = ?', a?.id ?? '')
    const first = await rig.leaseOne()
    assert.equal(first.ref.id, a?.id)
    assert.deepEqual(await rig.leaseIds(), [b?.id, c?.id])
    assert.equal(rig.corrupt.length, 1)
    assert.match(rig.corrupt[0] ?? '', new RegExp(`job ${a?.id}: it is in the line, but cannot run; all indexes are made anew`))
    assert.equal((await rig.succeed(first.ref)).status, 'succeeded', 'its own attempt goes on')
    assert.equal((await rig.stats()).counts.running, 2)
    await rig.reopen()
    assert.equal(rig.corrupt.length, 1, 'it is mended')
  })

  damaged('index that names a job which has ended stops nobody', async (rig, damage) => {
    const ended = await rig.submit()
    await rig.succeed((await rig.leaseOne()).ref)
    const [a, b] = await rig.submitAll([{}, { key: 'k' }])
    await damage(`UPDATE runnable SET seq = ? WHERE seq = (SELECT min(seq) FROM runnable)`, ended.id)
    assert.deepEqual(await rig.leaseIds(), [a?.id, b?.id])
    assert.match(rig.corrupt.join(), new RegExp(`job ${ended.id}: it is in the line, but cannot run`))
    assert.equal((await rig.read(ended.id))?.status, 'succeeded')
  })

  damaged('record of a job that waits for its key is put aside when its turn comes', async (rig, damage) => {
    const jobs = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k', priority: 9 }])
    await damage("UPDATE jobs SET record = record || ' ' WHERE seq = ?", jobs[1]?.id ?? '')
    await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual(await rig.leaseIds(), [jobs[2]?.id])
    const { counts } = await rig.stats()
    assert.deepEqual([counts.queued, counts.running, counts.succeeded], [0, 1, 1])
    await rig.reopen()
    assert.equal(rig.corrupt.length, 1, `the figures are right: ${rig.corrupt.join()}`)
  })

  damaged('record of a job whose key an earlier one takes back is put aside', async (rig, damage) => {
    // Looked at with the first tick, so that the damage is met before it is looked for.
    await rig.submitAll(Array.from({ length: 40 }, () => ({ priority: 9 })))
    const [delayed, holder, last] = await rig.submitAll([{ key: 'k', delayMs: 5000 }, { key: 'k' }, { key: 'k' }])
    await damage("UPDATE jobs SET record = record || ' ' WHERE seq = ?", holder?.id ?? '')
    await rig.pass(5000)
    assert.equal(rig.corrupt.length, 1)
    assert.equal((await rig.lease({ max: 40 })).length, 40)
    const { ref } = await rig.leaseOne({ max: 9 })
    assert.equal(ref.id, delayed?.id)
    await rig.succeed(ref)
    assert.equal((await rig.stats()).counts.queued, 1)
    await rig.reopen()
    assert.equal(rig.corrupt.length, 1, `the figures are right: ${rig.corrupt.join()}`)
    assert.ok((await rig.leaseIds()).includes(last?.id ?? ''))
  })

  damaged('index is mended also when the first attempt at it was undone', async (rig, damage) => {
    const [a, b] = await rig.submitAll([{ delayMs: 5000 }, {}])
    await damage('UPDATE timers SET at = at + 1000000000 WHERE ? > 0', a?.id ?? '')
    await Promise.all([rig.store.tick(), assert.rejects(rig.submit({ queue: 'nowhere' }))])
    for (let tick = 0; tick < 3; tick++) await rig.store.tick()
    await rig.pass(5000)
    assert.deepEqual(await rig.leaseIds(), [a?.id, b?.id])
  })

  damaged('set of counters that cannot be read is counted anew', async (rig, damage) => {
    const { id } = await rig.submit()
    await damage("UPDATE queues SET counters = substr(counters, 2) WHERE ? > 0 AND name = 'q'", id)
    assert.equal(rig.corrupt.length, 1)
    assert.equal((await rig.stats()).counts.queued, 1)
    assert.deepEqual(await rig.leaseIds(), [id])
  })

  for (const [what, size, sql] of [
    ['request', 100, 'UPDATE requests SET data = zeroblob(length(data)) WHERE seq = ?'],
    ['request that is missing', 100, 'DELETE FROM requests WHERE seq = ?'],
    ['request whose head is said to be longer', 100, 'UPDATE requests SET head_bytes = head_bytes + 1 WHERE seq = ?'],
  ] as const) {
    damaged(`${what} makes its job a dead letter, and the rest goes on`, async (rig, damage) => {
      const [a, b] = await rig.submitAll([{ key: 'k', body: Buffer.alloc(size, 'x') }, { key: 'k' }])
      await damage(sql, a?.id ?? '')
      assert.deepEqual(await rig.leaseIds(), [b?.id])
      const { changed } = await rig.store.tick()
      assert.deepEqual(
        changed.map(({ id, status, dead, error }) => [id, status, dead, error?.code]),
        [[a?.id, 'failed', 'corrupt', 'corrupt']],
      )
      assert.match(rig.corrupt.join(), new RegExp(`job ${a?.id}: its request `))
    })
  }

  damaged('body file makes its job a dead letter', async (rig) => {
    const [a, b] = await rig.submitAll([{ body: Buffer.alloc(300_000, 'x') }, { body: Buffer.alloc(300_000, 'y') }])
    const file = join(rig.path, 'bodies', `${a?.id}.request`)
    writeFileSync(file, Buffer.alloc(300_000, 'z'))
    rmSync(join(rig.path, 'bodies', `${b?.id}.request`))
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual(
      (await rig.store.tick()).changed.map(({ dead }) => dead),
      ['corrupt', 'corrupt'],
    )
  })

  damaged('result is not given out as one', async (rig, damage) => {
    const { id } = await rig.submit()
    await rig.succeed((await rig.leaseOne()).ref)
    await damage("UPDATE results SET data = CAST(data || x'00' AS BLOB) WHERE seq = ?", id)
    const read = await rig.result(id)
    assert.deepEqual([read?.job.status, read?.job.hasAnswer, read?.answer], ['succeeded', false, undefined])
    assert.match(rig.corrupt.join(), new RegExp(`job ${id}: its result fails its checks`))
  })

  damaged('job does not pass for another one', async (rig, damage) => {
    const [a, b] = await rig.submitAll([{ body: Buffer.from('a') }, { body: Buffer.from('b') }])
    const other = parseJobId(b?.id ?? '')
    await damage(
      `UPDATE requests SET data = (SELECT data FROM requests WHERE seq = ${other}), crc = (SELECT crc FROM requests WHERE seq = ${other}) WHERE seq = ?`,
      a?.id ?? '',
    )
    assert.deepEqual(await rig.leaseIds(), [b?.id])
  })
})

const SEED = seedOf()
const TRIALS = Number(process.env['TRIALS'] ?? 60)

/** Hands out and settles until there is nothing more, or the store says that it cannot. What it hands out must be right. */
async function workOff(path: string): Promise<'said so' | 'all done'> {
  const corrupt: string[] = []
  const store = openInProcess({
    path,
    clock: systemClock,
    random: systemRandom,
    queues: [{ name: 'q', limits: NO_LIMITS }],
    diskFloorBytes: 0,
    unsafeNoSync: true,
    events: { onCorrupt: (what) => void corrupt.push(what) },
  })
  let done = 0
  try {
    for (;;) {
      const [leases = []] = await store.lease([
        { queue: 'q', server: 'a', buckets: allBuckets(), max: 20, stealUnkeyed: false, leaseMs: 60_000 },
      ])
      if (leases.length === 0) {
        // The store looks for damage with every tick; in so many it has seen all jobs.
        let found = false
        for (let tick = 0; tick < JOBS / 10 && !found; tick++) found = (await store.tick()).ready.length > 0
        if (found) continue
        break
      }
      for (const { ref, request } of leases) {
        assert.equal(createHash('sha256').update(request.body).digest('hex'), request.headers[1], `the request of ${ref.id} is what it was`)
      }
      await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
      done += leases.length
    }
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    return 'said so'
  } finally {
    await store.close()
  }
  return corrupt.length > 0 || done < JOBS
    ? (assert.ok(corrupt.length > 0, `${JOBS - done} jobs are missing and nobody said so`), 'said so')
    : 'all done'
}

const JOBS = 300

it(`random damage to the file never hands out what was not submitted, and never goes unsaid where a job is lost (SEED=${SEED})`, async () => {
  const random = new SeededRandom(SEED)
  const outcomes = new Map<string, number>()
  for (let trial = 0; trial < TRIALS; trial++) {
    const { path, dispose } = tempFolder()
    try {
      await fill(path, random)
      damageFile(join(path, 'store.db'), random)
      const outcome = await workOff(path).catch((error: unknown) => {
        if (error instanceof StoreOpenError) return 'refused to open'
        throw new Error(`SEED=${SEED}, trial ${trial}`, { cause: error })
      })
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    } finally {
      dispose()
    }
  }
  assert.ok((outcomes.get('said so') ?? 0) > 0, `some damage was met: ${JSON.stringify([...outcomes])}`)
})

async function fill(path: string, random: SeededRandom): Promise<void> {
  const store = openInProcess({
    path,
    clock: systemClock,
    random: systemRandom,
    queues: [{ name: 'q', limits: NO_LIMITS }],
    diskFloorBytes: 0,
    unsafeNoSync: true,
  })
  const jobs = Array.from({ length: JOBS }, (_, n) => {
    const body = random.bytes(random.integer(1500))
    return newJob({ body, headers: ['X-Hash', createHash('sha256').update(body).digest('hex')], ...(n % 2 === 0 && { key: `k${n % 20}` }) })
  })
  await store.submit(jobs)
  await store.close()
  assert.deepEqual(
    readdirSync(path).filter((name) => name.endsWith('-wal')),
    [],
    'all of it is in the database',
  )
}

/** A few bytes, a sector of zeros, or a sector that should be elsewhere. */
function damageFile(path: string, random: SeededRandom): void {
  const { size } = statSync(path)
  const file = openSync(path, 'r+')
  for (let hit = 0; hit <= random.integer(4); hit++) {
    const bytes = random.pick([Buffer.from([random.integer(256)]), random.bytes(8), Buffer.alloc(512), random.bytes(512)])
    writeSync(file, bytes, 0, bytes.length, random.integer(size - bytes.length))
  }
  closeSync(file)
}
