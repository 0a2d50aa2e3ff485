/** Handing jobs out: to whom, which first, until when. */
import assert from 'node:assert/strict'
import { addBucket, bucketOf } from '../../src/core/jobs/buckets.ts'
import type { Cases } from './job-store.ts'
import { LEASE_MS, leaseRequest, type Rig } from './rig.ts'

function only(...buckets: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(32)
  for (const bucket of buckets) addBucket(bitmap, bucket)
  return bitmap
}

async function versionOf(rig: Rig, id: string): Promise<number> {
  return (await rig.read(id))?.version ?? 0
}

export const leaseCases: Cases = {
  async 'a job that is handed out runs, on that server, in its first attempt'(rig) {
    const before = await rig.submit()
    rig.clock.advance(5)
    const { ref, job, stolen } = await rig.leaseOne({ server: 'b' })
    assert.equal(ref.id, before.id)
    assert.equal(stolen, false)
    assert.ok(job.version > before.version)
    const { position: _, ...rest } = before
    assert.deepEqual(job, {
      ...rest,
      status: 'running',
      version: job.version,
      attempt: 1,
      handOuts: 1,
      server: 'b',
      startedAt: rig.clock.now(),
    })
    assert.deepEqual(await rig.read(ref.id), job)
    assert.deepEqual(await rig.lease(), [], 'it is not handed out twice')
  },

  async 'no two jobs and no two attempts have the same secret, whatever comes together'(rig) {
    const secrets: string[] = []
    const submit = async (): Promise<void> =>
      void secrets.push(...(await rig.submitAll([{}, { expireAfterMs: 10 }])).map(({ secret }) => secret))
    const lease = async (): Promise<void> => void secrets.push(...(await rig.lease({ max: 1 })).map(({ ref }) => ref.secret))
    for (let round = 0; round < 20; round++) {
      // A call that fails may have the others done once more.
      const failing = round % 2 === 0 ? [] : [assert.rejects(rig.submit({ queue: 'nowhere' }))]
      await Promise.all([submit(), lease(), ...failing, submit(), lease()])
      rig.clock.advance(10)
    }
    assert.ok(secrets.length > 100, `${secrets.length} were seen`)
    assert.equal(new Set(secrets).size, secrets.length)
  },

  async 'the oldest goes first, over all buckets'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 50 }, (_, n) => (n % 3 === 0 ? { key: `k${n}` } : {})))
    assert.ok(new Set(jobs.map(({ bucket }) => bucket)).size > 20, 'they are in many buckets')
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.map(({ id }) => id),
    )
  },

  async 'no more than was asked for'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 5 }, () => ({})))
    assert.deepEqual(await rig.leaseIds({ max: 0 }), [])
    assert.deepEqual(
      await rig.leaseIds({ max: 2 }),
      jobs.slice(0, 2).map(({ id }) => id),
    )
    assert.deepEqual(
      await rig.leaseIds({ max: 9 }),
      jobs.slice(2).map(({ id }) => id),
    )
  },

  async 'a server gets jobs of its own buckets only'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 60 }, (_, n) => ({ key: `key ${n}` })))
    const mine = jobs[7]?.bucket ?? 0
    assert.equal(mine, bucketOf('key 7'))
    assert.deepEqual(
      await rig.leaseIds({ buckets: only(mine) }),
      jobs.filter(({ bucket }) => bucket === mine).map(({ id }) => id),
    )
    assert.deepEqual(await rig.leaseIds({ buckets: only() }), [])
  },

  async 'with nothing of its own it takes the oldest without a key from the others'(rig) {
    const [keyed, first, second] = await rig.submitAll([{ key: 'k' }, {}, {}])
    const none = { buckets: only(), stealUnkeyed: true }
    const leases = await rig.lease({ ...none, max: 1 })
    assert.deepEqual(
      leases.map(({ ref, stolen }) => [ref.id, stolen]),
      [[first?.id, true]],
    )
    assert.deepEqual(await rig.leaseIds(none), [second?.id], 'a key is never taken')
    assert.deepEqual(await rig.leaseIds(), [keyed?.id])
  },

  async 'its own come before what it may take from others'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 40 }, () => ({})))
    const mine = jobs[20]?.bucket ?? 0
    const own = jobs.filter(({ bucket }) => bucket === mine).map(({ id }) => id)
    const others = jobs.filter(({ bucket }) => bucket !== mine).map(({ id }) => id)
    const leases = await rig.lease({ buckets: only(mine), stealUnkeyed: true })
    assert.deepEqual(
      leases.map(({ ref }) => ref.id),
      [...own, ...others],
    )
    assert.deepEqual(
      leases.map(({ stolen }) => stolen),
      [...own.map(() => false), ...others.map(() => true)],
    )
  },

  async 'priority comes before age'(rig) {
    const jobs = await rig.submitAll([0, 4, 9, 4, 9, 0].map((priority) => ({ priority })))
    const expected = [2, 4, 1, 3, 0, 5].map((n) => jobs[n]?.id)
    assert.deepEqual(await rig.leaseIds(), expected)
  },

  async 'priority comes before age also when jobs are taken from others'(rig) {
    const jobs = await rig.submitAll([1, 8].map((priority) => ({ priority })))
    assert.deepEqual(await rig.leaseIds({ buckets: only(), stealUnkeyed: true }), [jobs[1]?.id, jobs[0]?.id])
  },

  async 'a job that came to a lane later but is older goes first'(rig) {
    const [early, late] = await rig.submitAll([{ delayMs: 1000 }, {}])
    await rig.pass(1000)
    assert.deepEqual(await rig.leaseIds(), [early?.id, late?.id])
  },

  async 'two requests of one batch never get the same job'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 6 }, () => ({})))
    const [a, b] = await rig.store.lease([leaseRequest({ server: 'a', max: 3 }), leaseRequest({ server: 'b', max: 9 })])
    assert.deepEqual(
      [...(a ?? []), ...(b ?? [])].map(({ ref }) => ref.id),
      jobs.map(({ id }) => id),
    )
    assert.deepEqual(
      b?.map(({ job }) => job.server),
      ['b', 'b', 'b'],
    )
  },

  async 'queues do not mix'(rig) {
    await rig.submit({ queue: 'other' })
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual(await rig.lease({ queue: 'nowhere' }), [])
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
  },

  async 'fences grow with every lease, and secrets are fresh'(rig) {
    const secrets = new Set<string>()
    let last = 0
    const job = await rig.submit()
    secrets.add(job.secret)
    for (let round = 1; round <= 20; round++) {
      const { ref } = await rig.leaseOne()
      assert.ok(Number.isSafeInteger(ref.fence) && ref.fence > last)
      assert.match(ref.secret, /^[\w-]{22}$/)
      last = ref.fence
      secrets.add(ref.secret)
      await rig.handBack(ref)
    }
    assert.equal(secrets.size, 21)
  },

  async 'a lease that is extended in time lives on'(rig) {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    for (let round = 0; round < 5; round++) {
      await rig.pass(LEASE_MS - 1)
      assert.deepEqual(await rig.store.extend([ref], LEASE_MS), ['extended'])
    }
    await rig.succeed(ref)
  },

  async 'only a live lease can be extended'(rig) {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    const forged = [
      { ...ref, fence: ref.fence + 1 },
      { ...ref, secret: 'x'.repeat(22) },
      { ...ref, id: 'nonsense' },
    ]
    assert.deepEqual(await rig.store.extend([...forged, ref], 1000), ['stale', 'stale', 'stale', 'extended'])
    await rig.succeed(ref)
    assert.deepEqual(await rig.store.extend([ref], 1000), ['stale'])
  },

  async 'a lease that lapses was an attempt, and the job is handed out again'(rig) {
    const { id } = await rig.submit()
    const first = await rig.leaseOne()
    const early = await rig.pass(LEASE_MS - 1)
    assert.deepEqual(early, { nextMs: 1, ready: [], changed: [] })
    const tick = await rig.pass(1)
    assert.deepEqual(tick.ready, ['q'])
    assert.deepEqual(
      tick.changed.map((job) => [job.id, job.status, job.attempt, job.error?.code]),
      [[id, 'retrying', 1, 'lease_lapsed']],
    )
    const second = await rig.leaseOne()
    assert.equal(second.job.attempt, 2)
    assert.deepEqual(await rig.settle({ kind: 'handBack', lease: first.ref, afterMs: 0 }), { kind: 'stale' })
    await rig.succeed(second.ref)
  },

  async 'a lease that lapses in the last attempt makes a dead letter'(rig) {
    const { id } = await rig.submit({ attempts: 1 })
    await rig.leaseOne()
    const { changed } = await rig.pass(LEASE_MS)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.dead, job.error?.code]),
      [[id, 'failed', 'attempts', 'lease_lapsed']],
    )
    assert.deepEqual(await rig.lease(), [])
  },

  async 'a lease that lapses on a job that may be sent once leaves its outcome unknown'(rig) {
    const { id } = await rig.submit({ sendOnce: true })
    await rig.leaseOne()
    const { changed } = await rig.pass(LEASE_MS)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.dead]),
      [[id, 'failed', 'outcome_unknown']],
    )
  },

  async 'a lease that is over but that nobody else has can still be settled'(rig) {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    rig.clock.advance(LEASE_MS + 1)
    await rig.succeed(ref)
  },

  async 'setting the wall clock neither ends nor prolongs a lease'(rig) {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    rig.clock.jump(3_600_000)
    assert.deepEqual((await rig.store.tick()).changed, [])
    rig.clock.jump(-7_200_000)
    assert.deepEqual((await rig.pass(LEASE_MS - 1)).changed, [])
    assert.equal((await rig.pass(1)).changed.length, 1)
    assert.deepEqual(await rig.settle({ kind: 'handBack', lease: ref, afterMs: 0 }), { kind: 'stale' })
  },

  async 'the version grows with every visible change'(rig) {
    const { id } = await rig.submit()
    const versions = [await versionOf(rig, id)]
    const note = async (): Promise<void> => void versions.push(await versionOf(rig, id))
    const first = await rig.leaseOne()
    await note()
    await rig.store.command([{ kind: 'progress', id, secret: first.ref.secret, progress: '1' }])
    await note()
    await rig.retry(first.ref)
    await note()
    await rig.pass(1000)
    const second = await rig.leaseOne()
    await note()
    await rig.succeed(second.ref)
    await note()
    versions.reduce((last, next) => (assert.ok(next > last, versions.join()), next))
  },

  async 'no more once the requests weigh as much as was asked for; at least one'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 6 }, () => ({ body: Buffer.alloc(10_000) })))
    const each = jobs[0]?.requestBytes ?? 0
    assert.equal((await rig.lease({ bytesMax: 2 * each })).length, 2)
    assert.equal((await rig.lease({ bytesMax: 2 * each + 1 })).length, 3)
    assert.equal((await rig.lease({ bytesMax: 1 })).length, 1)
  },
}
