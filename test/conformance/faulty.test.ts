/**
 * The conformance suite over both engines when they fail all the time (`test/support/faulty-store.ts`), seen by a client that asks again
 * as a correct one does. SEED repeats a run. And the proof that the suite can fail: engines that lie are found out.
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import type { JobStore, Settlement, SettleOutcome } from '../../src/ports/job-store.ts'
import { type FaultKind, faultyStore, InjectedFault } from '../support/faulty-store.ts'
import { ClientMemory, isRecoverable, retryingStore } from '../support/retrying-store.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { inProcessSource, tempFolder } from './embedded-rig.ts'
import { failures, groupsFor, jobStoreConformance } from './job-store.ts'
import { LEASE_MS, leaseRequest, newJob, one, type OpenOptions, Rig, type StoreSource } from './rig.ts'

const SEED = seedOf()
const FAULTS = { before: 0.1, after: 0.15, refused: 0.1, late: 0.3, mayLose: isRecoverable }
const seen = new Map<FaultKind, number>()
const count = (fault: FaultKind): void => void seen.set(fault, (seen.get(fault) ?? 0) + 1)

function memorySource(): StoreSource {
  return { open: async (options) => openMemoryStore({ ...options, random: systemRandom }), dispose() {} }
}

/** `change`: what is between the engine and its faults. */
function faulty(source: StoreSource, seed: number, change: (store: JobStore) => JobStore = (store) => store): StoreSource {
  const random = new SeededRandom(seed)
  const memory = new ClientMemory()
  return {
    ...source,
    unordered: true,
    open: async (options: OpenOptions) => retryingStore(faultyStore(change(await source.open(options)), random, FAULTS, count), memory),
    dispose: () => source.dispose(),
  }
}

let cases = 0
const next = (): number => SEED + (cases += 1)

describe(`SEED=${SEED}`, () => {
  jobStoreConformance('memory that fails', () => faulty(memorySource(), next()), groupsFor(false))
  jobStoreConformance('embedded that fails', () => faulty(inProcessSource(tempFolder().path), next()), groupsFor(true))
  after(() => {
    for (const fault of ['before', 'after', 'refused', 'late'] as const)
      assert.ok((seen.get(fault) ?? 0) > 100, `${fault}: ${seen.get(fault)}`)
  })
})

describe('an answer that is lost for good', () => {
  async function withRig(run: (rig: Rig, lose: () => void) => Promise<void>): Promise<void> {
    let losing = false
    const lossy = (store: JobStore): JobStore => {
      const faults = { before: 0, after: 1, refused: 0, late: 0, mayLose: () => losing }
      return faultyStore(store, new SeededRandom(SEED), faults, count)
    }
    const source = memorySource()
    const rig = new Rig({ ...source, open: async (options) => lossy(await source.open(options)) })
    await rig.open()
    await run(rig, () => {
      losing = !losing
    })
    await rig.dispose()
  }

  it('a lease that nobody heard of lapses, and was an attempt', async () => {
    await withRig(async (rig, lose) => {
      const { id } = await rig.submit()
      lose()
      await assert.rejects(rig.lease(), InjectedFault)
      lose()
      assert.deepEqual([(await rig.read(id))?.status, await rig.lease()], ['running', []])
      await rig.pass(LEASE_MS)
      assert.equal((await rig.leaseOne()).job.attempt, 2)
    })
  })

  it('what a tick told is found by looking', async () => {
    await withRig(async (rig, lose) => {
      const [expired, due] = await rig.submitAll([{ expireAfterMs: 10 }, { delayMs: 10 }])
      rig.clock.advance(10)
      lose()
      await assert.rejects(rig.store.tick(), InjectedFault)
      lose()
      assert.equal((await rig.read(expired?.id ?? ''))?.status, 'expired')
      assert.deepEqual(await rig.leaseIds(), [due?.id])
    })
  })

  it('a submission without an idempotency key that is made again makes two jobs', async () => {
    await withRig(async (rig, lose) => {
      lose()
      await assert.rejects(rig.store.submit([newJob()]), InjectedFault)
      lose()
      await rig.submit()
      assert.equal((await rig.stats()).counts.queued, 2)
    })
  })

  it('a settlement that is made again is stale, and was done', async () => {
    await withRig(async (rig, lose) => {
      const { id } = await rig.submit()
      const { ref } = await rig.leaseOne()
      const settlement: Settlement = { kind: 'fail', lease: ref, error: { code: 'server_error', detail: '' }, deadLetter: true }
      lose()
      await assert.rejects(rig.settle(settlement), InjectedFault)
      lose()
      assert.deepEqual(await rig.settle(settlement), { kind: 'stale' })
      assert.equal((await rig.read(id))?.dead, 'server_error')
    })
  })
})

/** Engines that lie, each in one way. */
const LIARS: Readonly<Record<string, (store: JobStore) => JobStore>> = {
  'forgets a settlement that it has confirmed': (store) => ({
    ...store,
    async settle(settlements) {
      const reads = await store.read(
        settlements.map(({ lease }) => lease.id),
        'status',
      )
      return reads.map(
        (read): SettleOutcome => (read === undefined ? { kind: 'stale' } : { kind: 'settled', job: { ...read.job, status: 'succeeded' } }),
      )
    },
  }),
  'takes a submission twice': (store) => ({
    ...store,
    async submit(jobs) {
      const submitted = await store.submit(jobs)
      await store.submit(jobs.map(({ idempotency: _, ...job }) => job))
      return submitted
    },
  }),
  'hands a job out twice': (store) => {
    const given = new Map<string, Awaited<ReturnType<JobStore['lease']>>[number][number]>()
    return {
      ...store,
      async lease(requests) {
        const batches = await store.lease(requests)
        const again = [...given.values()].slice(0, 1)
        for (const lease of batches.flat()) given.set(lease.ref.id, lease)
        return batches.map((leases) => (leases.length === 0 ? again : leases))
      },
    }
  },
  'does not do what it says it has': (store) => ({
    ...store,
    command: async (commands) => commands.map(() => ({ kind: 'done' })),
  }),
}

describe('an engine that lies fails the suite', () => {
  for (const [lie, change] of Object.entries(LIARS)) {
    it(lie, async () => {
      const failed = await failures(() => faulty(memorySource(), next(), change), ['submit', 'lease', 'keys', 'settle', 'commands'])
      assert.ok(failed.length > 5, failed.join('; '))
    })
  }

  it('and one that does not lie passes it', async () => {
    assert.deepEqual(await failures(() => faulty(memorySource(), next()), ['submit', 'lease', 'keys', 'settle', 'commands']), [])
    const store = openMemoryStore({ ...{ clock: new Rig(memorySource()).clock, random: systemRandom }, queues: [], events: {} })
    assert.deepEqual(one(await store.lease([leaseRequest()])), [])
    await store.close()
  })
})
