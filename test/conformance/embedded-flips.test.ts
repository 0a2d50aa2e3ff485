/**
 * Bits that turn over in a store that was killed: in records, in pages, in the write-ahead log, in body files. Whatever is hit, the store is
 * refused with a clear line, or opens and says what is wrong while the rest is right; nothing is lost without a word, nothing is made up, and
 * opening it again fares no worse. From what is refused, `salvage` saves what can be read, and tells the rest.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, it } from 'node:test'
import { verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { salvage } from '../../src/engines/embedded/salvage.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { CopyRefused } from '../../src/engines/embedded/store-copy.ts'
import { FRAME_HEADER_BYTES, LOG_FILE, PAGE_BYTES, syncedFrames } from '../../src/engines/embedded/write-ahead-log.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import { tempFolder } from './embedded-rig.ts'
import { ANSWER, idempotency, leaseRequest, newJob, NO_LIMITS } from './rig.ts'

const SEED = seedOf()
const TRIALS = Number(process.env['TRIALS'] ?? 25)
const ROUNDS = 12

interface Known {
  readonly status: 'waiting' | 'succeeded'
  readonly hash: string
}

/** What was promised, by job. */
const known = new Map<string, Known>()
const { path: folder, dispose } = tempFolder()
const image = join(folder, 'image')
/** The same jobs, killed when all of the log was in the database. */
const merged = join(folder, 'merged')

before(async () => {
  const random = new SeededRandom(SEED)
  const live = join(folder, 'live')
  const store = open(live, [], 60)
  for (let round = 0; round < ROUNDS; round++) {
    const bodies = Array.from({ length: 12 }, (_, n) => random.bytes(n === 0 ? 300_000 : random.integer(1500)))
    const jobs = bodies.map((body, n) =>
      // Handed back until the log is merged, however often that is: none of them must come to be poison by it.
      newJob({
        attempts: 10_000,
        body,
        headers: ['X-Hash', hash(body)],
        ...(n % 3 === 0 && { key: `k${n}` }),
        ...idempotency(`${round} ${n}`),
      }),
    )
    for (const [n, outcome] of (await store.submit(jobs)).entries()) {
      if (outcome.kind === 'created') known.set(outcome.job.id, { status: 'waiting', hash: hash(bodies[n] ?? Buffer.alloc(0)) })
    }
    for (const { ref } of (await store.lease([leaseRequest({ max: 3 })])).flat()) {
      const body = random.bytes(random.integer(900))
      await store.settle([{ kind: 'succeed', lease: ref, answer: { ...ANSWER, body } }])
      known.set(ref.id, { status: 'succeeded', hash: hash(body) })
    }
  }
  // Where the last of it went into the database by chance, a little more is in the log alone.
  for (let mark = syncedFrames(live); mark === undefined || mark.merged || mark.frames <= 10; mark = syncedFrames(live)) {
    const body = random.bytes(1500)
    const [outcome] = await store.submit([newJob({ attempts: 10_000, body, headers: ['X-Hash', hash(body)] })])
    if (outcome?.kind === 'created') known.set(outcome.job.id, { status: 'waiting', hash: hash(body) })
  }
  // As a kill leaves it. Copied by another process: reading it in this one would end its locks.
  assert.equal(spawnSync('cp', ['-r', live, image]).status, 0)
  await store.close()
  const mark = syncedFrames(image)
  assert.ok(mark !== undefined && mark.frames > 10 && !mark.merged, 'some of it is in the log alone')
  const again = open(live, [], 200)
  while (syncedFrames(live)?.merged !== true) {
    const leases = (await again.lease([leaseRequest({ max: 5 })])).flat()
    await again.settle(leases.map(({ ref }) => ({ kind: 'handBack', lease: ref, afterMs: 0 })))
  }
  assert.equal(spawnSync('cp', ['-r', live, merged]).status, 0)
  await again.close()
  assert.ok((syncedFrames(merged)?.frames ?? 0) > 100)
})
after(dispose)

function open(path: string, corrupt: string[], checkpointPages = 1000): JobStore {
  return openInProcess({
    ...{ path, clock: systemClock, random: systemRandom, queues: [{ name: 'q', limits: NO_LIMITS }], diskFloorBytes: 0, checkpointPages },
    events: { onCorrupt: (what) => void corrupt.push(what) },
  })
}

function hash(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}

type Target = 'database' | 'log' | 'merged log' | 'body'

/** Single bits, or some bytes in a row, in what is used of the file. */
function damage(path: string, target: Target, random: SeededRandom): string {
  const name =
    target === 'database' ? 'store.db' : target !== 'body' ? LOG_FILE : `bodies/${random.pick(readdirSync(join(path, 'bodies')))}`
  const used =
    name === LOG_FILE ? 32 + (syncedFrames(path)?.frames ?? 0) * (FRAME_HEADER_BYTES + PAGE_BYTES) : statSync(join(path, name)).size
  const file = openSync(join(path, name), 'r+')
  const hits: number[] = []
  for (let hit = 0; hit <= random.integer(3); hit++) {
    const at = random.integer(used)
    const bytes = random.pick([1, 1, 8, 512])
    const was = Buffer.alloc(Math.min(bytes, used - at))
    readSync(file, was, 0, was.length, at)
    for (let n = 0; n < was.length; n++) was[n] = (was[n] ?? 0) ^ (bytes === 1 ? 1 << random.integer(8) : random.integer(256))
    writeSync(file, was, 0, was.length, at)
    hits.push(at)
  }
  closeSync(file)
  return `${name} at ${hits.join(', ')}`
}

/** Reads all, hands out all. Says which jobs are not what they were. `older`: some may be as they were before, and run again. */
async function wrongIn(store: JobStore, older = false): Promise<ReadonlySet<string>> {
  const wrong = new Set<string>()
  const ids = [...known.keys()]
  for (const [n, id] of ids.entries()) {
    const { status, hash: right } = known.get(id) as Known
    const [read] = await store.read([id], 'result').catch(() => [])
    if (
      read === undefined ||
      (status === 'succeeded' && (read.job.status !== 'succeeded' || hash(read.answer?.body ?? Buffer.alloc(0)) !== right))
    ) {
      wrong.add(ids[n] as string)
    }
  }
  const waiting = new Set(ids.filter((id) => known.get(id)?.status === 'waiting'))
  for (let idle = 0; idle < 60; ) {
    const leases = (await store.lease([leaseRequest({ max: 10 })]).catch(() => [])).flat()
    if (leases.length === 0) {
      idle += 1
      await store.tick().catch(() => undefined)
    }
    for (const { ref, request } of leases) {
      const again = older && known.get(ref.id)?.status === 'succeeded'
      assert.ok(waiting.delete(ref.id) || again, `job ${ref.id} was handed out, and is not one that waits`)
      if (again) wrong.add(ref.id)
      else assert.equal(hash(request.body), known.get(ref.id)?.hash, `the request of ${ref.id} is what it was`)
    }
    await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER }))).catch(() => undefined)
  }
  for (const id of waiting) wrong.add(id)
  return wrong
}

type Outcome = 'whole' | 'reported' | 'refused'

async function lifeOf(path: string): Promise<Outcome> {
  const corrupt: string[] = []
  let store: JobStore
  try {
    store = open(path, corrupt)
  } catch (error) {
    assert.ok(error instanceof StoreOpenError, String((error as Error).stack))
    assert.ok(error.reason.length > 10 && !error.reason.includes('\n'), error.reason)
    return 'refused'
  }
  try {
    const wrong = await wrongIn(store)
    // What is said of it comes by itself, and on a busy machine later than the answers.
    if (wrong.size > 0) await until(`somebody says that ${[...wrong].join(', ')} is lost`, () => corrupt.length > 0)
    return wrong.size > 0 || corrupt.length > 0 ? 'reported' : 'whole'
  } finally {
    await store.close()
  }
}

async function salvaged(path: string): Promise<void> {
  const to = `${path}-saved`
  let report: ReturnType<typeof salvage>
  try {
    report = salvage(path, to, { quarantine: true, now: Date.now() })
  } catch (error) {
    assert.ok(error instanceof CopyRefused, String((error as Error).stack))
    return
  }
  const corrupt: string[] = []
  const store = open(to, corrupt)
  try {
    const lost = new Set(report.lost)
    const wrong = await wrongIn(
      store,
      report.problems.some((problem) => problem.includes('may be as they were before')),
    )
    const untold = [...wrong].filter((id) => !lost.has(id) && report.problems.length === 0 && corrupt.length === 0)
    assert.deepEqual(untold, [], `lost, and nobody said so: ${JSON.stringify(report)}`)
  } finally {
    await store.close()
  }
}

for (const target of ['database', 'log', 'merged log', 'body'] as const) {
  it(`turned over in the ${target}: refused, or said, or of no consequence (SEED=${SEED})`, async () => {
    const random = new SeededRandom(SEED)
    const outcomes = new Map<Outcome, number>()
    for (let trial = 0; trial < TRIALS; trial++) {
      const path = join(folder, `${target.replace(' ', '-')}${trial}`)
      assert.equal(spawnSync('cp', ['-rp', target === 'merged log' ? merged : image, path]).status, 0)
      const where = damage(path, target, random)
      try {
        // The same after a copy of it: verification must not miss what the store itself says.
        const sound = await sounds(path)
        const outcome = await lifeOf(path)
        if (outcome !== 'whole') assert.ok(!sound, 'the store says that something is wrong, and verify does not')
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        if (outcome === 'refused') await salvaged(path)
        else await again(path)
      } catch (error) {
        throw new Error(`SEED=${SEED}, trial ${trial}: ${where}`, { cause: error })
      } finally {
        for (const each of [path, `${path}-saved`]) rmSync(each, { recursive: true, force: true })
      }
    }
    // What is in the database already is left out when it is damaged.
    if (target === 'merged log') return assert.deepEqual([...outcomes.keys()], ['whole'])
    // The canary: what does not hit anything would prove nothing.
    assert.ok((outcomes.get('reported') ?? 0) + (outcomes.get('refused') ?? 0) > 0, JSON.stringify([...outcomes]))
    if (target === 'log')
      assert.ok(
        (outcomes.get('reported') ?? 0) + (outcomes.get('whole') ?? 0) === 0,
        `what was synced counts: ${JSON.stringify([...outcomes])}`,
      )
  })
}

async function sounds(path: string): Promise<boolean> {
  try {
    return verifyFolder(path).ok
  } catch (error) {
    assert.ok(error instanceof StoreOpenError, String((error as Error).stack))
    return false
  }
}

/** No worse than before: no crash, and nothing else than an orderly refusal. */
async function again(path: string): Promise<void> {
  try {
    await open(path, []).close()
  } catch (error) {
    assert.ok(error instanceof StoreOpenError, String((error as Error).stack))
  }
}
