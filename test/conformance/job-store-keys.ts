/** Jobs of one key: one at a time, in order of acceptance, whatever happens to the one in front. */
import assert from 'node:assert/strict'
import { addBucket } from '../../src/core/jobs/buckets.ts'
import type { StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { LEASE_MS, type Rig } from './rig.ts'

/** Half a character has no UTF-8; the rest are what somebody might store in its place. */
const HALF_CHARACTERS = ['\ud800', '\ud801', 'a\udc00', '\ud800\ud800', '\ufffd', 'a\ufffd', '"\\ud800"', '\ufffd"\\ud800"']

async function three(rig: Rig): Promise<readonly [StoredJob, StoredJob, StoredJob]> {
  const [a, b, c] = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k' }])
  assert.ok(a && b && c)
  return [a, b, c]
}

export const keyCases: Cases = {
  async 'jobs of one key run one at a time, in order of acceptance'(rig) {
    for (const job of await three(rig)) {
      const { ref } = await rig.leaseOne({ max: 10 })
      assert.equal(ref.id, job.id)
      assert.deepEqual(await rig.lease(), [])
      await rig.succeed(ref)
    }
  },

  async 'a job that waits for its key says for which job'(rig) {
    const [a, b, c] = await three(rig)
    assert.equal(a.blockedBy, undefined)
    assert.equal(b.blockedBy, a.id)
    assert.equal(c.blockedBy, a.id)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal((await rig.read(b.id))?.blockedBy, undefined)
    assert.equal((await rig.read(c.id))?.blockedBy, b.id)
  },

  async 'a retrying job holds its key, and others pass'(rig) {
    const [a, b] = await three(rig)
    const other = await rig.submit({ key: 'l' })
    await rig.retry((await rig.leaseOne()).ref, 5000)
    assert.deepEqual(await rig.leaseIds(), [other.id])
    await rig.pass(5000)
    assert.deepEqual(await rig.leaseIds(), [a.id])
    assert.equal((await rig.read(b.id))?.blockedBy, a.id)
  },

  async 'a job that was handed back holds its key'(rig) {
    const [a] = await three(rig)
    await rig.handBack((await rig.leaseOne()).ref, 5000)
    assert.deepEqual(await rig.lease(), [])
    await rig.pass(5000)
    assert.deepEqual(await rig.leaseIds(), [a.id])
  },

  async 'a lease that lapses does not let the next of the key pass'(rig) {
    const [a] = await three(rig)
    await rig.leaseOne()
    await rig.pass(LEASE_MS)
    assert.deepEqual(await rig.leaseIds(), [a.id])
  },

  async 'a job that failed for good lets the next go'(rig) {
    const [, b, c] = await three(rig)
    await rig.fail((await rig.leaseOne()).ref, true)
    const second = await rig.leaseOne()
    assert.equal(second.ref.id, b.id)
    await rig.fail(second.ref)
    assert.deepEqual(await rig.leaseIds(), [c.id])
  },

  async 'cancelling the one in front lets the next go'(rig) {
    const [a, b, c] = await three(rig)
    await rig.cancel(a.id)
    const second = await rig.leaseOne()
    assert.equal(second.ref.id, b.id)
    await rig.cancel(b.id)
    assert.deepEqual(await rig.leaseIds(), [c.id], 'a running one too')
  },

  async 'cancelling one that waits in between leaves the order of the others'(rig) {
    const [a, b, c] = await three(rig)
    await rig.cancel(b.id)
    const first = await rig.leaseOne()
    assert.equal(first.ref.id, a.id)
    await rig.succeed(first.ref)
    assert.deepEqual(await rig.leaseIds(), [c.id])
  },

  async 'cancelling a retrying job frees its key'(rig) {
    const [a, b] = await three(rig)
    await rig.retry((await rig.leaseOne()).ref, 5000)
    await rig.cancel(a.id)
    assert.deepEqual(await rig.leaseIds(), [b.id])
  },

  async 'priority never reorders a key'(rig) {
    const [low, high, other] = await rig.submitAll([{ key: 'k', priority: 0 }, { key: 'k', priority: 9 }, { priority: 5 }])
    const leases = await rig.lease()
    assert.deepEqual(
      leases.map(({ ref }) => ref.id),
      [other?.id, low?.id],
    )
    await rig.succeed(leases[1]?.ref ?? assert.fail())
    assert.deepEqual(await rig.leaseIds(), [high?.id])
  },

  async 'the next of a key keeps its own priority among other keys'(rig) {
    const [, second] = await rig.submitAll([
      { key: 'k', priority: 9 },
      { key: 'k', priority: 9 },
    ])
    await rig.submit({ priority: 5 })
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal((await rig.leaseOne()).ref.id, second?.id)
  },

  async 'a delayed job does not hold its key until it is due'(rig) {
    const [delayed, next] = await rig.submitAll([{ key: 'k', delayMs: 5000 }, { key: 'k' }])
    assert.equal(next?.blockedBy, undefined)
    const lease = await rig.leaseOne()
    assert.equal(lease.ref.id, next?.id)
    await rig.pass(5000)
    assert.deepEqual(await rig.lease(), [], 'the one that has begun holds it now')
    assert.equal((await rig.read(delayed?.id ?? ''))?.blockedBy, next?.id)
    await rig.succeed(lease.ref)
    assert.deepEqual(await rig.leaseIds(), [delayed?.id])
  },

  async 'a delayed job that is due goes before later ones that have not begun'(rig) {
    const [delayed, ready, waiting] = await rig.submitAll([{ key: 'k', delayMs: 5000 }, { key: 'k' }, { key: 'k' }])
    await rig.pass(5000)
    for (const job of [delayed, ready, waiting]) {
      const { ref } = await rig.leaseOne({ max: 10 })
      assert.equal(ref.id, job?.id)
      await rig.succeed(ref)
    }
  },

  async 'a delayed job waits behind a later one that began and was handed back'(rig) {
    const [delayed, later] = await rig.submitAll([{ key: 'k', delayMs: 5000 }, { key: 'k' }])
    await rig.handBack((await rig.leaseOne()).ref)
    await rig.pass(5000)
    const { ref } = await rig.leaseOne({ max: 10 })
    assert.equal(ref.id, later?.id)
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [delayed?.id])
  },

  async 'the same key in two queues is two keys'(rig) {
    await rig.submitAll([{ key: 'k' }, { key: 'k', queue: 'other' }])
    assert.equal((await rig.lease()).length, 1)
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
  },

  async 'a key is held by who waits in the line, runs or waits to be sent again, not by who waits for time or has ended'(rig) {
    const isHeld = async (key = 'k', queue = 'q'): Promise<boolean | undefined> => (await rig.store.held([{ queue, key }]))[0]
    assert.equal(await isHeld(), false)
    await rig.submit({ key: 'k', delayMs: 5000 })
    assert.equal(await isHeld(), false, 'it takes its place when it is due')
    const { id } = await rig.submit({ key: 'k' })
    assert.deepEqual(
      await rig.store.held([
        { queue: 'q', key: 'k' },
        { queue: 'q', key: 'K' },
        { queue: 'other', key: 'k' },
        { queue: 'nowhere', key: 'k' },
      ]),
      [true, false, false, false],
    )
    const { ref } = await rig.leaseOne()
    assert.deepEqual([ref.id, await isHeld()], [id, true])
    await rig.retry(ref, 2000)
    assert.equal(await isHeld(), true, 'its turn is not over')
    await rig.pass(2000)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal(await isHeld(), false)
    await rig.pass(3000)
    assert.equal(await isHeld(), true, 'the delayed one is due')
  },

  async 'a key is held by the next one at once'(rig) {
    const [a, b] = await three(rig)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual(await rig.store.held([{ queue: 'q', key: 'k' }]), [true])
    assert.ok(a.id < b.id)
  },

  async 'a job that expires behind its key leaves the line'(rig) {
    const [a, b, c] = await rig.submitAll([{ key: 'k' }, { key: 'k', expireAfterMs: 1000 }, { key: 'k' }])
    const first = await rig.leaseOne()
    assert.equal(first.ref.id, a?.id)
    await rig.pass(1000)
    assert.equal((await rig.read(b?.id ?? ''))?.status, 'expired')
    await rig.succeed(first.ref)
    assert.deepEqual(await rig.leaseIds(), [c?.id])
  },

  async 'keys of any text are kept apart'(rig) {
    const keys = ['', ' ', 'a', 'A', 'a ', "'", '%', 'é', '💥', 'k\0', 'k\0k', 'x'.repeat(5000), `${'x'.repeat(4999)}y`]
    const jobs = await rig.submitAll(keys.flatMap((key) => [{ key }, { key }]))
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.filter((_, n) => n % 2 === 0).map(({ id }) => id),
    )
    assert.deepEqual(
      jobs.map(({ key }) => key),
      keys.flatMap((key) => [key, key]),
    )
  },

  async 'half a character in a key makes a key like any other'(rig) {
    const jobs = await rig.submitAll([...HALF_CHARACTERS, ...HALF_CHARACTERS, ...HALF_CHARACTERS].map((key) => ({ key })))
    assert.deepEqual(
      jobs.map(({ key }) => key),
      [...HALF_CHARACTERS, ...HALF_CHARACTERS, ...HALF_CHARACTERS],
    )
    for (let round = 0; round < 3; round++) {
      const leases = await rig.lease()
      const expected = jobs.slice(round * HALF_CHARACTERS.length, (round + 1) * HALF_CHARACTERS.length)
      assert.deepEqual(
        leases.map(({ ref }) => ref.id),
        expected.map(({ id }) => id),
        'one of each key, in order of acceptance',
      )
      for (const { ref } of leases) await rig.succeed(ref)
    }
    await rig.submit()
    assert.equal((await rig.lease()).length, 1, 'and nobody else is held up')
    assert.deepEqual(rig.corrupt, [])
  },

  async 'the next of a key waits in its own bucket, whoever was before it'(rig) {
    const keys = ['\ud800', '\ud801', 'k']
    const jobs = await rig.submitAll([...keys, ...keys].map((key) => ({ key })))
    for (const { ref } of await rig.lease()) await rig.succeed(ref)
    for (const job of jobs.slice(keys.length)) {
      const buckets = new Uint8Array(32)
      addBucket(buckets, job.bucket)
      assert.deepEqual(await rig.leaseIds({ buckets }), [job.id])
    }
  },

  async 'thousands of jobs behind one key are in nobody’s way'(rig) {
    const crowd = await rig.submitAll(Array.from({ length: 5000 }, () => ({ key: 'crowd' })))
    const other = await rig.submit({ key: 'other' })
    assert.deepEqual(await rig.leaseIds(), [crowd[0]?.id, other.id])
  },

  async 'a freed key is as if it had never been used'(rig) {
    for (let round = 0; round < 3; round++) {
      const job = await rig.submit({ key: 'k' })
      assert.equal(job.blockedBy, undefined)
      await rig.succeed((await rig.leaseOne()).ref)
    }
  },
}
