/**
 * The program that is killed, or loses its power, in the middle of anything: every operation that changes a store, at random, and after each
 * one a line that says which it was, whether it promised to be kept, and what the whole store is now.
 * Arguments: folder, seed, rounds (0: until it is killed), `thread` (the engine as the gateway runs it), `inline` or `nosync`, and the time.
 */
import { createHash } from 'node:crypto'
import { fstatSync, ftruncateSync, mkdirSync, openSync, readdirSync, readSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import type { JobCommand, JobStore, Lease, NewJob } from '../../src/ports/job-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { digest, newJob } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { type Line, QUEUES } from './operations.ts'
import { allJobs, hashOf, stateOf } from './operations-state.ts'

/** More than a state ever has. */
const LINE_BYTES_MAX = 4 * 1024 * 1024

const [folder = '', seed = '0', rounds = '0', mode = 'inline', startedAt = '0'] = process.argv.slice(2)
const random = new SeededRandom(Number(seed))
const clock = new ManualClock(Number(startedAt))
mkdirSync(folder, { recursive: true })
const answers = openLines(join(folder, 'answers'))
const states = openLines(join(folder, 'states'))
const backups = join(folder, 'backups')
mkdirSync(backups, { recursive: true })

const common = { path: join(folder, 'store'), clock, random: systemRandom, queues: QUEUES, diskFloorBytes: 0 }
const store: JobStore =
  mode === 'thread'
    ? await openEmbeddedStore({ ...common, events: {} })
    : openInProcess({ ...common, checkpointPages: 20, unsafeNoSync: mode === 'nosync' })

let leases: Lease[] = []
/** To go on behind the last whole line: the life before may have been killed in the middle of one. */
function openLines(path: string): number {
  const file = openSync(path, 'a+')
  const { size } = fstatSync(file)
  const tail = Buffer.alloc(Math.min(size, LINE_BYTES_MAX))
  readSync(file, tail, 0, tail.length, size - tail.length)
  ftruncateSync(file, size - tail.length + tail.lastIndexOf(10) + 1)
  return file
}

let step = 0
let lastHash = ''

function someJob(): NewJob {
  const body = random.bytes(random.chance(0.03) ? 300_000 : random.pick([0, 10, 200, 1500]))
  // What expires is in a queue that nobody works off: a job that ran when the crash came would have expired by it.
  const queue = random.pick(['q', 'q', 'q', 'blocking', 'other'])
  return newJob({
    queue,
    body,
    headers: ['X-Hash', createHash('sha256').update(body).digest('hex')],
    attempts: 2,
    keepMs: 20_000,
    keepDeadMs: 60_000,
    ...(random.chance(0.6) && { key: `k${random.integer(6)}` }),
    ...(random.chance(0.3) && { tenant: `t${random.integer(3)}` }),
    ...(random.chance(0.1) && { delayMs: 3000 }),
    ...(queue === 'other' && random.chance(0.3) && { expireAfterMs: 5000 }),
    ...(queue === 'other' && random.chance(0.3) && { deadlineMs: 30_000 }),
    ...(random.chance(0.3) && {
      idempotency: { scopeKey: digest(`key ${random.integer(40)}`), fingerprint: digest('same'), keepMs: 10_000 },
    }),
  })
}

async function someId(): Promise<string> {
  const jobs = await allJobs(store)
  return jobs.length === 0 ? '0p1gwybq002' : random.pick(jobs).id
}

async function command(commands: readonly JobCommand[]): Promise<void> {
  await store.command(commands)
}

const error = { code: 'server_error', detail: 'it said 500', status: 500 }

async function settleSome(): Promise<void> {
  const batch = leases.slice(0, 4)
  leases = leases.slice(4)
  await store.settle(
    batch.map(({ ref: lease }) => {
      const dice = random.unit()
      const answer = { status: 200, reason: 'OK', headers: [], body: random.bytes(random.chance(0.05) ? 300_000 : 40) }
      if (dice < 0.5) return { kind: 'succeed', lease, answer }
      if (dice < 0.65) return { kind: 'retry', lease, afterMs: random.pick([0, 500]), error }
      if (dice < 0.75) return { kind: 'handBack', lease, afterMs: random.pick([0, 500]) }
      return { kind: 'fail', lease, error, deadLetter: random.chance(0.7) }
    }),
  )
}

async function leaseSome(): Promise<void> {
  const [taken = []] = await store.lease([
    { queue: random.pick(['q', 'blocking']), server: 'a', buckets: allBuckets(), max: 5, stealUnkeyed: false, leaseMs: 8000 },
  ])
  leases.push(...taken)
}

async function redriveSome(): Promise<void> {
  const body = random.bytes(50)
  const request = { method: 'POST', target: '/again', headers: ['X-Hash', createHash('sha256').update(body).digest('hex')], body }
  const id = await someId()
  await command([{ kind: 'redrive', id, ...(random.chance(0.3) && { request }), ...(random.chance(0.3) && { queue: 'other' }) }])
}

async function backUp(): Promise<void> {
  if (store.maintain === undefined) return
  for (const old of readdirSync(backups)) {
    // One that is half removed when we are killed must not look whole.
    const going = join(backups, 'going.partial')
    rmSync(going, { recursive: true, force: true })
    if (old !== 'going.partial') renameSync(join(backups, old), going)
    rmSync(going, { recursive: true, force: true })
  }
  await store.maintain({ kind: 'backup', path: join(backups, `b${step}`) })
}

interface Operation {
  readonly share: number
  /** What it did is kept, once it has answered. */
  readonly promises: boolean
  readonly run: () => Promise<unknown>
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  submit: { share: 14, promises: true, run: () => store.submit([someJob()]) },
  batch: { share: 8, promises: true, run: () => store.submit(Array.from({ length: 2 + random.integer(12) }, someJob)) },
  lease: { share: 14, promises: false, run: leaseSome },
  settle: { share: 20, promises: true, run: settleSome },
  cancel: { share: 4, promises: true, run: async () => command([{ kind: 'cancel', id: await someId() }]) },
  redrive: { share: 8, promises: true, run: redriveSome },
  move: { share: 6, promises: true, run: async () => command([{ kind: 'move', id: await someId(), queue: 'other' }]) },
  forget: { share: 3, promises: true, run: async () => command([{ kind: 'forget', id: await someId() }]) },
  release: { share: 4, promises: true, run: () => command([{ kind: 'release', queue: 'blocking', key: `k${random.integer(6)}` }]) },
  pause: { share: 1, promises: true, run: () => command([{ kind: 'pause', queue: 'other' }]) },
  resume: { share: 2, promises: true, run: () => command([{ kind: 'resume', queue: 'other' }]) },
  schedule: {
    share: 1,
    promises: true,
    run: () => {
      const when = { everyMs: 4000, startAt: clock.now() }
      // Its queue is worked off, so its jobs must not expire.
      const { expireAfterMs: _, deadlineMs: __, ...job } = someJob()
      return command([{ kind: 'schedule', schedule: { name: 'often', when, missed: 'all', job: { ...job, queue: 'q' }, paused: false } }])
    },
  },
  task: {
    share: 2,
    promises: true,
    run: () => {
      const kind = random.pick(['redrive', 'move', 'cancel', 'forget'] as const)
      return command([{ kind: 'begin', task: { kind, filter: { queue: 'q' }, to: 'other', ...(random.chance(0.5) && { perSecond: 3 }) } }])
    },
  },
  /** What lapses, is due, expires, is made by a schedule, done by a task, or swept away. */
  sweep: { share: 14, promises: false, run: () => store.tick() },
  backup: { share: 1, promises: true, run: backUp },
}
const DICE = Object.entries(OPERATIONS).flatMap(([name, { share }]) => Array.from({ length: share }, () => name))

while (rounds === '0' || step < Number(rounds)) {
  step += 1
  clock.advance(random.integer(400))
  const name = random.pick(DICE)
  const { promises, run } = OPERATIONS[name] as Operation
  if (mode === 'thread') writeSync(answers, `${JSON.stringify({ begins: name })}\n`)
  await run()
  const state = await stateOf(store)
  writeSync(states, `${JSON.stringify(state)}\n`)
  const hash = hashOf(state)
  // Where nothing was to be done, nothing is synced: whatever came before it may still be lost.
  const line: Line = { name, promises: promises && hash !== lastHash, hash, now: clock.now() }
  lastHash = hash
  writeSync(answers, `${JSON.stringify(line)}\n`)
}
// Not closed: closing would tidy up what a crash must find.
process.exit(0)
