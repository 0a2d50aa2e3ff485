/**
 * Batches over a store that fails, in gateways that die: whatever happens, a batch ends when its last job has ended, counts each by its last end,
 * is told of once, and is forgotten when its time is over. SEED repeats a run.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { followUpText } from '../../src/core/jobs/follow-up.ts'
import { JOB_STATUSES } from '../../src/core/jobs/record.ts'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { type Batch, Batches } from '../../src/jobs/batches.ts'
import { FollowUps } from '../../src/jobs/follow-ups.ts'
import { createLocalBus } from '../../src/jobs/local-bus.ts'
import type { CommandOutcome, JobStore, Lease, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { ANSWER, FAILURE, newJob, NO_LIMITS, NO_RULES } from '../conformance/rig.ts'
import { faultyStore } from '../support/faulty-store.ts'
import { recordingTelemetry } from '../support/jobs-rig.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'

const SEED = seedOf()
const RUNS = 60
const HOUR = 3_600_000
const NO_FAULTS = { before: 0, after: 0, refused: 0, late: 0 }
const FAULTS = { before: 0.15, after: 0.15, refused: 0, late: 0.2 }

/** One life of what is about batches in a gateway. The store under it outlives it. */
class Life {
  readonly batches: Batches
  readonly followUps: FollowUps
  readonly bus = createLocalBus()
  readonly events: GatewayEvent[] = []

  constructor(store: JobStore, clock: ManualClock, random: SeededRandom) {
    const telemetry = recordingTelemetry(this.events)
    const parts = { store, clock, random, telemetry, bus: this.bus }
    const submit = (jobs: readonly NewJob[]): ReturnType<JobStore['submit']> => store.submit(jobs)
    const submitWhole: JobStore['submitWhole'] = (jobs, note) => store.submitWhole(jobs, note)
    const cancel = async (id: string): Promise<CommandOutcome> => (await store.command([{ kind: 'cancel', id }]))[0] as CommandOutcome
    this.batches = new Batches({ ...parts, max: () => 10, submit, submitWhole, cancel })
    this.followUps = new FollowUps({ bodyBytesMax: () => 1024 * 1024, ...parts, submit })
    this.followUps.addKeeper(this.batches)
    this.batches.onEnded((batch) => [{ name: 'told', job: newJob({ queue: 'told', reference: batch.id }) }])
  }

  async begin(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.batches.restore()
        break
      } catch (error) {
        if (tries > 50) throw error
      }
    }
    this.batches.start()
    this.followUps.start()
  }

  /** It is killed: nothing that it does any more counts. */
  async end(): Promise<void> {
    await Promise.all([this.followUps.close(), this.batches.close()])
  }
}

function batchJobs(total: number): readonly NewJob[] {
  return Array.from({ length: total }, (_, index) => newJob({ followUp: followUpText({ batch: { index } }) ?? '' }))
}

async function turns(clock: ManualClock, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(200)
  }
}

/** Something happens to one job, and who listens hears of it, or does not. */
async function happen(store: JobStore, leases: Lease[], random: SeededRandom): Promise<StoredJob | undefined> {
  if (leases.length === 0 || random.chance(0.4)) {
    const request = { queue: 'q', server: 's', buckets: allBuckets(), max: 1 + random.integer(3), stealUnkeyed: true, leaseMs: 1000 * HOUR }
    const [given = []] = await store.lease([request])
    leases.push(...given)
    return given[0]?.job
  }
  const [lease] = leases.splice(random.integer(leases.length), 1)
  if (lease === undefined) return undefined
  const { ref } = lease
  const kind = random.pick(['succeed', 'fail', 'cancel', 'retry'] as const)
  if (kind === 'cancel') {
    const [cancelled] = await store.command([{ kind: 'cancel', id: ref.id }])
    return cancelled?.kind === 'done' ? cancelled.job : undefined
  }
  const [settled] = await store.settle([
    kind === 'succeed'
      ? { kind, lease: ref, answer: ANSWER }
      : kind === 'fail'
        ? { kind, lease: ref, error: FAILURE, deadLetter: true }
        : { kind, lease: ref, error: FAILURE, afterMs: 0 },
  ])
  return settled?.kind === 'settled' ? settled.job : undefined
}

function open(clock: ManualClock, random: SeededRandom): JobStore {
  const queues = ['q', 'told'].map((name) => ({ name, limits: NO_LIMITS, rules: NO_RULES }))
  return openMemoryStore({ clock, random, queues, events: {} })
}

async function run(seed: number): Promise<void> {
  const random = new SeededRandom(seed)
  const clock = new ManualClock()
  const store = open(clock, random)
  const faulty = faultyStore(store, random, FAULTS, () => undefined)
  const total = 1 + random.integer(30)
  let life = new Life(faulty, clock, random)
  await life.begin()
  const once = { scopeKey: 'a'.repeat(64), fingerprint: 'b'.repeat(64) }
  const submitted = async (): Promise<Batch> => {
    for (;;) {
      const outcome = await life.batches.submit({ jobs: batchJobs(total), once }).catch(() => undefined)
      if (outcome !== undefined && 'batch' in outcome) return outcome.batch
      assert.equal(outcome, undefined)
    }
  }
  const { id } = await submitted()
  const leases: Lease[] = []
  for (let i = 0; i < total * 4; i++) {
    const job = await happen(store, leases, random)
    if (job !== undefined && random.chance(0.8)) life.bus.publish({ kind: 'job', job })
    if (random.chance(0.15)) await turns(clock, 1 + random.integer(4))
    if (random.chance(0.05)) {
      await life.end()
      life = new Life(faulty, clock, random)
      await life.begin()
    }
    if (random.chance(0.05)) assert.equal((await submitted()).id, id)
  }
  await life.end()
  // All that is left is cancelled, and nothing fails any more.
  life = new Life(
    faultyStore(store, random, NO_FAULTS, () => undefined),
    clock,
    random,
  )
  await life.begin()
  const batch = (await life.batches.find(id)) as Batch
  await life.batches.cancel(batch)
  await turns(clock, 400)
  await check(store, batch)
  clock.advance(25 * HOUR)
  await turns(clock, 10)
  assert.equal(life.batches.kept, 0, 'it is forgotten')
  assert.deepEqual(await store.notes('batch/'), [])
  await life.end()
}

async function check(store: JobStore, batch: Batch): Promise<void> {
  const { jobs } = await store.browse({ filter: { queue: 'q' }, max: 100 })
  assert.equal(jobs.length, batch.state.total, 'all of them were taken, once')
  for (const status of JOB_STATUSES) assert.equal(batch.state.counts[status], jobs.filter((job) => job.status === status).length, status)
  assert.ok(batch.ended && batch.head.due === undefined)
  const told = await store.browse({ filter: { queue: 'told' }, max: 100 })
  assert.deepEqual(
    told.jobs.map(({ reference }) => reference),
    [batch.id],
    'its end is told of once',
  )
}

test(`whatever fails, a batch counts all its jobs, ends, and is told of once (SEED=${SEED})`, async () => {
  for (let i = 0; i < RUNS; i++) {
    await run(SEED + i).catch((error: unknown) => assert.fail(`SEED=${SEED + i}: ${error instanceof Error ? error.stack : String(error)}`))
  }
})

test('a batch whose submission was not answered is there all the same, and its repeat is it', async () => {
  const random = new SeededRandom(7)
  const clock = new ManualClock()
  const store = open(clock, random)
  let lost = true
  const losing: JobStore = {
    ...store,
    submitWhole: async (jobs, note) => {
      const outcome = await store.submitWhole(jobs, note)
      if (lost) throw new Error('injected')
      return outcome
    },
  }
  const life = new Life(losing, clock, random)
  await life.begin()
  const once = { scopeKey: 'c'.repeat(64), fingerprint: 'd'.repeat(64) }
  await assert.rejects(life.batches.submit({ jobs: batchJobs(2), once }), /injected/)
  lost = false
  const again = await life.batches.submit({ jobs: batchJobs(2), once })
  assert.equal(again.kind, 'duplicate')
  assert.equal((await store.browse({ filter: { queue: 'q' }, max: 10 })).jobs.length, 2)
  await life.end()
})

test('what is left of a batch without its head is cleared away', async () => {
  const random = new SeededRandom(7)
  const clock = new ManualClock()
  const store = open(clock, random)
  await store.command([
    { kind: 'note', name: 'batch/00000000001/0', text: 'sss' },
    { kind: 'note', name: 'batch/00000000002', text: 'no head' },
    { kind: 'note', name: 'mode/x', text: 'of somebody else' },
  ])
  const life = new Life(store, clock, random)
  await life.begin()
  assert.deepEqual(await store.notes(''), [{ name: 'mode/x', text: 'of somebody else' }])
  await life.end()
})
