/**
 * Streamed answers in the files of the embedded engine: what damage does to them, what copies hold, what is left after a crash, and what can be
 * read of them by whoever has the disk.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { formatJobId } from '../../src/core/jobs/job-id.ts'
import { storedBytes } from '../../src/engines/embedded/blob-format.ts'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { backupFolder, restoreBackup, verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { rekey } from '../../src/engines/embedded/rekey.ts'
import { salvage } from '../../src/engines/embedded/salvage.ts'
import { Sealer, type SealingKey } from '../../src/engines/ledger/sealed.ts'
import type { BlobSource } from '../../src/ports/blobs.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import { EmbeddedRig, tempFolder } from './embedded-rig.ts'
import { answered, answering, LARGE, readAll, RESTART, stored } from './job-store-blobs.ts'
import { Rig } from './rig.ts'

const SEED = seedOf()
const A: SealingKey = { id: 'a', secret: Buffer.alloc(32, 'a') }

interface Place {
  readonly rig: EmbeddedRig
  readonly path: (name: string) => string
  open(name: string): Promise<EmbeddedRig>
}

function inFiles(name: string, run: (place: Place) => Promise<void>): void {
  it(name, async () => {
    const { path, dispose } = tempFolder()
    const rigs: EmbeddedRig[] = []
    const open = async (store: string): Promise<EmbeddedRig> => {
      const rig = new EmbeddedRig(join(path, store))
      rigs.push(rig)
      await rig.open()
      return rig
    }
    try {
      await run({ rig: await open('store'), path: (each) => join(path, each), open })
      for (const { fatal } of rigs) assert.deepEqual(fatal, [])
    } finally {
      for (const rig of rigs) await rig.dispose()
      dispose()
    }
  })
}

function streamFiles(store: string): readonly string[] {
  return readdirSync(join(store, 'bodies')).filter((name) => name.includes('.stream'))
}

async function bytesOf(rig: Rig, id: string): Promise<Buffer> {
  const source = await stored(rig, id)
  assert.ok(source, 'it is there')
  const bytes = await readAll(source)
  source.close()
  return bytes
}

/** What can be read before something is found wrong. */
async function prefixOf(source: BlobSource): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  try {
    for (let at = 0; at < source.length; ) {
      const piece = await source.read(at)
      pieces.push(piece)
      at += piece.length
    }
  } catch {}
  return Buffer.concat(pieces)
}

describe('a streamed answer on the disk', () => {
  inFiles(
    `that is damaged anywhere gives what was written up to there, is said once, and never other bytes (SEED=${SEED})`,
    async ({ rig, path }) => {
      const random = new SeededRandom(SEED)
      const { job } = await answered(rig, LARGE)
      const [name = ''] = streamFiles(path('store'))
      const file = join(path('store'), 'bodies', name)
      const sound = readFileSync(file)
      assert.equal(sound.length, storedBytes(LARGE.length))
      for (let round = 0; round < 60; round++) {
        const harmed = Buffer.from(sound)
        const at = random.integer(harmed.length)
        harmed[at] = (harmed[at] as number) ^ (1 << random.integer(8))
        writeFileSync(file, harmed)
        const source = await stored(rig, job.id)
        assert.ok(source)
        const got = await prefixOf(source)
        assert.ok(got.length < LARGE.length && got.equals(LARGE.subarray(0, got.length)), `a flip at ${at}`)
        source.close()
        assert.match(rig.corrupt.splice(0).join(), /^job \S+: its result fails its checks$/)
      }
      for (const length of [0, 1, 65_556, sound.length - 1]) {
        writeFileSync(file, sound)
        truncateSync(file, length)
        assert.equal(await stored(rig, job.id), undefined, `cut at ${length}`)
        assert.match(rig.corrupt.splice(0).join(), /its result has \d+ bytes in its file/)
      }
      writeFileSync(file, Buffer.concat([sound, sound]))
      assert.equal(await stored(rig, job.id), undefined)
      writeFileSync(file, sound)
      assert.ok((await bytesOf(rig, job.id)).equals(LARGE))
    },
  )

  inFiles('is in backups, taken offline and online, and in what is restored of them', async ({ rig, path, open }) => {
    const { job } = await answered(rig, LARGE)
    const under = await answering(rig, RESTART)
    under.blob.append(LARGE)
    const online = await rig.store.maintain?.({ kind: 'backup', path: path('online') })
    assert.deepEqual(online?.problems, [])
    under.blob.close()
    await rig.store.close()
    backupFolder(path('store'), path('offline'), rig.clock.now())
    for (const backup of ['online', 'offline']) {
      assert.deepEqual(streamFiles(path(backup)).length, 1, 'what is no result is in none')
      assert.deepEqual(verifyFolder(path(backup)).problems, [])
      assert.deepEqual(restoreBackup(path(backup), path(`of-${backup}`), rig.clock.now()).problems, [])
      assert.ok((await bytesOf(await open(`of-${backup}`), job.id)).equals(LARGE))
    }
  })

  inFiles('is looked at when the store is verified', async ({ rig, path }) => {
    const { job } = await answered(rig, LARGE)
    const [name = ''] = streamFiles(path('store'))
    const file = join(path('store'), 'bodies', name)
    assert.deepEqual((await rig.store.maintain?.({ kind: 'verify' }))?.problems, [])
    await rig.store.close()
    const sound = readFileSync(file)
    for (const [harm, says] of [
      [
        () => writeFileSync(file, Buffer.concat([sound.subarray(0, 70_000), Buffer.from([1, 2]), sound.subarray(70_002)])),
        'fails its checks',
      ],
      [() => truncateSync(file, sound.length - 1), 'has another size than its record says'],
    ] as const) {
      writeFileSync(file, sound)
      harm()
      assert.deepEqual(verifyFolder(path('store')).problems, [`job ${job.id}: the file of its result ${says}`])
    }
  })

  inFiles('is salvaged where it is whole, and said to be lost where it is not', async ({ rig, path, open }) => {
    const whole = await answered(rig, LARGE)
    const harmed = await answered(rig, LARGE)
    await rig.store.close()
    const file = join(path('store'), 'bodies', `${harmed.job.id}.stream`)
    truncateSync(file, 70_000)
    const report = salvage(path('store'), path('salvaged'), { quarantine: false, now: rig.clock.now() })
    assert.deepEqual([report.saved, report.problems], [2, [`job ${harmed.job.id}: its result has another size than its record says`]])
    assert.ok((await bytesOf(await open('salvaged'), whole.job.id)).equals(LARGE))
  })

  inFiles('goes from the disk with its job, and counts until then', async ({ rig, path }) => {
    const before = (await rig.store.info()).diskBytes ?? 0
    const { job } = await answered(rig, LARGE)
    assert.ok(((await rig.store.info()).diskBytes ?? 0) >= before + LARGE.length)
    await rig.reopen()
    assert.ok(((await rig.store.info()).diskBytes ?? 0) >= before + LARGE.length)
    await rig.command({ kind: 'forget', id: job.id })
    assert.deepEqual(streamFiles(path('store')), [])
    const under = await answering(rig, RESTART)
    under.blob.append(LARGE)
    await rig.store.close()
    assert.equal(streamFiles(path('store')).length, 1)
    await rig.open()
    assert.deepEqual(streamFiles(path('store')), [], 'what nothing names is removed when the store is opened')
  })

  inFiles('cannot be read by who has the file, and stays as it is when keys change', async ({ rig, path }) => {
    const { job } = await answered(rig, LARGE)
    await rig.store.close()
    const [name = ''] = streamFiles(path('store'))
    const file = readFileSync(join(path('store'), 'bodies', name))
    assert.ok(!file.includes('every byte counts'))
    assert.equal(rekey(path('store'), new Sealer([A], systemRandom), [A]).changed, 1, 'the key of the file is sealed with the result')
    assert.ok(readFileSync(join(path('store'), 'bodies', name)).equals(file))
    assert.deepEqual(verifyFolder(path('store')).problems, [])
    const sealed = new Rig({
      open: (options) => openEmbeddedStore({ ...options, path: path('store'), random: systemRandom, encryption: { keys: [A] } }),
      dispose: () => undefined,
    })
    await sealed.open()
    assert.ok((await bytesOf(sealed, job.id)).equals(LARGE))
    const second = await answered(sealed, LARGE)
    assert.ok((await bytesOf(sealed, second.job.id)).equals(LARGE))
    await sealed.dispose()
    assert.deepEqual(verifyFolder(path('store')).problems, [])
    await rig.open().catch(() => undefined)
  })
})

it('with less room on the disk than is kept in reserve no answer is begun', async () => {
  const { path, dispose } = tempFolder()
  const rig = new Rig({
    open: (options) => openEmbeddedStore({ ...options, path, random: systemRandom, diskFloorBytes: 2 ** 60 }),
    dispose,
  })
  await rig.open()
  const creating = rig.store.blobs.create({ id: formatJobId(1), number: 1 }, { onDrain() {}, onFailed() {} })
  await assert.rejects(creating, /bytes are free on the disk; \d+ are kept in reserve/)
  await rig.dispose()
})

it('who writes faster than the disk takes is held up, and goes on', async () => {
  const { path } = tempFolder()
  const rig = new EmbeddedRig(path)
  await rig.open()
  await rig.submit(RESTART)
  const { ref } = await rig.leaseOne()
  const { id } = await rig.done({ kind: 'answer', lease: ref })
  let drained = 0
  const blob = await rig.store.blobs.create({ id, number: 1 }, { onDrain: () => void drained++, onFailed: assert.fail })
  assert.equal(blob.append(LARGE.subarray(0, 100_000)), true)
  assert.equal(blob.append(LARGE), false, 'too much of it waits for the disk')
  await until('there is room again', () => drained === 1)
  const expected = Buffer.concat([LARGE.subarray(0, 100_000), LARGE])
  assert.ok((await readAll(blob)).equals(expected))
  await blob.finish()
  assert.ok((await readAll(blob)).equals(expected))
  blob.close()
  await rig.dispose()
})

it(`whatever is written in whatever pieces, readers get it from wherever they begin, while it comes and after (SEED=${SEED})`, async () => {
  const random = new SeededRandom(SEED)
  const { path } = tempFolder()
  const rig = new EmbeddedRig(path)
  await rig.open()
  for (let round = 0; round < 12; round++) {
    const { job, ref, blob } = await answering(rig, RESTART)
    const all = random.bytes(random.integer(random.pick([10, 70_000, 500_000])))
    const readers: Promise<void>[] = []
    const readFrom = async (from: number): Promise<void> => {
      for (let at = from; at < all.length; ) {
        await until('there is more', () => blob.length > at)
        const piece = await blob.read(at)
        assert.ok(piece.length > 0 && all.subarray(at, at + piece.length).equals(piece), `at ${at} of ${all.length}`)
        at += piece.length
      }
    }
    for (let at = 0; at < all.length; ) {
      const bytes = 1 + random.integer(random.pick([3, 5000, 200_000]))
      blob.append(all.subarray(at, at + bytes))
      at += bytes
      if (random.chance(0.1)) readers.push(readFrom(random.integer(all.length)))
      if (random.chance(0.05)) await new Promise((resolve) => setImmediate(resolve))
    }
    const kept = await blob.finish()
    await rig.succeed(ref, { status: 200, reason: 'OK', headers: [], body: Buffer.alloc(0), blob: kept })
    await Promise.all([...readers, readFrom(0)])
    blob.close()
    const source = await stored(rig, job.id)
    assert.ok(source)
    for (const from of [0, random.integer(all.length + 1), Math.max(0, all.length - 1)]) {
      assert.ok((await readAll(source, from)).equals(all.subarray(from)), `stored, from ${from}`)
    }
    source.close()
  }
  assert.deepEqual(rig.corrupt, [])
  await rig.dispose()
})
