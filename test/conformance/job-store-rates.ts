/** How fast and how many at once: `maxRunning`, `rate` and `keyRate`. What was held up is told when it no longer is. */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'
import { LEASE_MS, leaseRequest, type Rig } from './rig.ts'

const TWO_A_SECOND = { count: 2, perMs: 1000 }
const ONE_A_SECOND = { count: 1, perMs: 1000 }

async function submitMany(rig: Rig, count: number, keys?: number): Promise<void> {
  await rig.submitAll(Array.from({ length: count }, (_, n) => (keys === undefined ? {} : { key: `k${n % keys}` })))
}

async function count(rig: Rig, max = 100): Promise<number> {
  return (await rig.lease({ max })).length
}

export const rateCases: Cases = {
  async 'as many run at once as may, and not one more'(rig) {
    await rig.configure({ maxRunning: 3 })
    await submitMany(rig, 5)
    assert.equal(await count(rig, 2), 2)
    assert.equal(await count(rig), 1)
    assert.equal(await count(rig), 0)
    const stats = await rig.stats()
    assert.deepEqual([stats.counts.running, stats.counts.queued, stats.rules.maxRunning], [3, 2, 3])
  },

  async 'wherever they run'(rig) {
    await rig.configure({ maxRunning: 3 })
    await submitMany(rig, 9)
    const leases = await rig.store.lease(['a', 'b', 'c'].map((server) => leaseRequest({ server, max: 2 })))
    assert.deepEqual(
      leases.map((each) => each.length),
      [2, 1, 0],
    )
  },

  async 'a limit of none lets none go'(rig) {
    await rig.configure({ maxRunning: 0 })
    await submitMany(rig, 1)
    assert.equal(await count(rig), 0)
  },

  async 'one that no longer runs lets another go, however it ended, and that is told'(rig) {
    await rig.configure({ maxRunning: 1 })
    await submitMany(rig, 8)
    const ends: ((ref: Awaited<ReturnType<Rig['leaseOne']>>['ref']) => Promise<unknown>)[] = [
      (ref) => rig.succeed(ref),
      (ref) => rig.fail(ref, true),
      (ref) => rig.retry(ref, 50_000),
      (ref) => rig.retry(ref, 0),
      (ref) => rig.handBack(ref, 50_000),
      (ref) => rig.cancel(ref.id),
      () => rig.pass(LEASE_MS).then(({ ready }) => assert.deepEqual(ready, ['q'])),
    ]
    for (const [n, end] of ends.entries()) {
      const { ref } = await rig.leaseOne({ max: 9 })
      assert.equal(await count(rig), 0)
      await end(ref)
      if (n < ends.length - 1) assert.deepEqual((await rig.store.tick()).ready, ['q'], `end ${n}`)
    }
  },

  async 'who settles hears whether by that another can go'(rig) {
    await submitMany(rig, 1)
    const alone = await rig.settle({ kind: 'handBack', lease: (await rig.leaseOne()).ref, afterMs: 500 })
    if (!rig.unordered) assert.equal(alone.kind === 'settled' && alone.ready, undefined)
    await rig.configure({ maxRunning: 1 })
    await submitMany(rig, 2)
    const { ref } = await rig.leaseOne({ max: 9 })
    const outcome = await rig.settle({ kind: 'fail', lease: ref, error: { code: 'server_error', detail: '' }, deadLetter: false })
    assert.equal(outcome.kind === 'settled' && outcome.ready, true)
  },

  async 'a higher limit is told, and holds at once'(rig) {
    await rig.configure({ maxRunning: 1 })
    await submitMany(rig, 4)
    assert.equal(await count(rig), 1)
    await rig.configure({ maxRunning: 2 })
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await count(rig), 1)
    await rig.configure({})
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await count(rig), 2)
  },

  async 'a lower limit ends nothing that runs'(rig) {
    await submitMany(rig, 4)
    const leases = await rig.lease({ max: 3 })
    await rig.configure({ maxRunning: 2 })
    await rig.succeed(leases[0]?.ref ?? assert.fail())
    assert.equal(await count(rig), 0)
    await rig.succeed(leases[1]?.ref ?? assert.fail())
    assert.equal(await count(rig), 1)
  },

  async 'a rate lets its count go at once, and then one each time its share of the span is over'(rig) {
    await rig.configure({ rate: TWO_A_SECOND })
    await submitMany(rig, 9)
    assert.equal(await count(rig), 2)
    assert.equal((await rig.store.tick()).nextMs, 500)
    assert.deepEqual((await rig.pass(499)).ready, [])
    assert.equal(await count(rig), 0)
    assert.deepEqual((await rig.pass(1)).ready, ['q'])
    assert.equal(await count(rig), 1)
    await rig.pass(1000)
    assert.equal(await count(rig), 2)
    await rig.pass(3_600_000)
    assert.equal(await count(rig), 2, 'what is not used is not saved up beyond the count')
  },

  async 'a rate counts hand-outs, also those that were no attempt'(rig) {
    await rig.configure({ rate: TWO_A_SECOND })
    await submitMany(rig, 1)
    for (let n = 0; n < 2; n++) await rig.handBack((await rig.leaseOne()).ref)
    assert.equal(await count(rig), 0)
    await rig.pass(500)
    assert.equal(await count(rig), 1)
  },

  async 'a rate is of one queue, and time is not what the wall says'(rig) {
    await rig.configure({ rate: ONE_A_SECOND })
    await submitMany(rig, 3)
    await rig.submit({ queue: 'other' })
    assert.equal(await count(rig), 1)
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
    for (const jump of [3_600_000, -7_200_000]) {
      rig.clock.jump(jump)
      await rig.store.tick()
      assert.equal(await count(rig), 0)
    }
    await rig.pass(1000)
    assert.equal(await count(rig), 1)
  },

  async 'a higher rate is told, and holds at once; a lower one too'(rig) {
    await rig.configure({ rate: { count: 1, perMs: 3_600_000 } })
    await submitMany(rig, 9)
    assert.equal(await count(rig), 1)
    await rig.configure({ rate: ONE_A_SECOND })
    await rig.pass(1000)
    assert.equal(await count(rig), 1)
    await rig.configure({})
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await count(rig, 2), 2)
    await rig.configure({ rate: ONE_A_SECOND })
    await rig.pass(5000)
    assert.equal(await count(rig), 1)
  },

  async 'after a restart a rate begins anew'(rig) {
    await rig.configure({ rate: ONE_A_SECOND }, {}, 'other')
    await rig.command({ kind: 'configure', queue: 'own', limits: (await rig.stats()).limits, rules: (await rig.stats('other')).rules })
    await rig.submitAll([{ queue: 'own' }, { queue: 'own' }, { queue: 'own' }])
    assert.equal((await rig.lease({ queue: 'own' })).length, 1)
    await rig.restart()
    assert.equal((await rig.lease({ queue: 'own' })).length, rig.durable ? 1 : 0)
    assert.equal((await rig.lease({ queue: 'own' })).length, 0)
  },

  async 'each key has its own rate, and jobs without a key have none'(rig) {
    await rig.configure({ keyRate: ONE_A_SECOND })
    await rig.submitAll([{ key: 'a' }, { key: 'a' }, { key: 'b' }, {}, {}])
    const first = await rig.lease()
    assert.deepEqual(
      first.map(({ job }) => job.key),
      ['a', 'b', undefined, undefined],
    )
    for (const { ref } of first) await rig.succeed(ref)
    assert.equal(await count(rig), 0)
    assert.equal((await rig.store.tick()).nextMs, 1000)
    assert.deepEqual((await rig.pass(999)).ready, [])
    assert.equal(await count(rig), 0)
    assert.deepEqual((await rig.pass(1)).ready, ['q'])
    assert.equal(await count(rig), 1)
  },

  async 'a key that rests is in nobody’s way, whatever its priority'(rig) {
    await rig.configure({ keyRate: ONE_A_SECOND })
    await rig.submitAll([
      { key: 'a', priority: 9 },
      { key: 'a', priority: 9 },
    ])
    await rig.succeed((await rig.leaseOne()).ref)
    await rig.submitAll([{ priority: 0 }, { key: 'b', priority: 0 }])
    assert.equal(await count(rig), 2)
    assert.equal((await rig.stats()).counts.queued, 1)
    assert.equal((await rig.stats()).oldestWaitingAt, rig.clock.now(), 'it waits all the same')
  },

  async 'a job that rests can be cancelled and moved, and expires'(rig) {
    await rig.configure({ keyRate: { count: 1, perMs: 50_000 } })
    const jobs = await rig.submitAll(
      ['a', 'b', 'c'].flatMap((key) => [{ key }, { key, ...(key === 'c' && { expireAfterMs: 2000 }) }, { key }]),
    )
    const second = (n: number): string => jobs[3 * n + 1]?.id ?? ''
    for (const { ref } of await rig.lease()) await rig.succeed(ref)
    assert.equal(await count(rig), 0, 'all three rest')
    await rig.done({ kind: 'cancel', id: second(0) })
    await rig.done({ kind: 'move', id: second(1), queue: 'other' })
    await rig.pass(2000)
    assert.equal((await rig.read(second(2)))?.status, 'expired')
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [second(1)])
    assert.equal(await count(rig), 0, 'the third of each key rests as well')
    await rig.pass(48_000)
    assert.deepEqual(
      await rig.leaseIds(),
      [2, 5, 8].map((n) => jobs[n]?.id),
    )
  },

  async 'an older job of the key that becomes due while another rests goes first'(rig) {
    await rig.configure({ keyRate: ONE_A_SECOND })
    const [delayed] = await rig.submitAll([{ key: 'a', delayMs: 500 }, { key: 'a' }, { key: 'a' }])
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal(await count(rig), 0)
    await rig.pass(500)
    assert.equal(await count(rig), 0)
    await rig.pass(500)
    assert.deepEqual(await rig.leaseIds(), [delayed?.id])
  },

  async 'without its rate a key does not rest any longer'(rig) {
    await rig.configure({ keyRate: { count: 1, perMs: 3_600_000 } })
    await rig.submitAll([{ key: 'a' }, { key: 'a' }])
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal(await count(rig), 0)
    await rig.configure({})
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await count(rig), 1)
  },

  async 'all limits hold together'(rig) {
    await rig.configure({ maxRunning: 3, rate: { count: 4, perMs: 1000 }, keyRate: ONE_A_SECOND, tenantMaxRunning: 2 })
    await rig.submitAll([
      { key: 'a', tenant: 't' },
      { key: 'b', tenant: 't' },
      { key: 'c', tenant: 't' },
      { key: 'a', tenant: 'u' },
      { key: 'd', tenant: 'u' },
      { key: 'e', tenant: 'u' },
    ])
    const first = await rig.lease()
    assert.deepEqual(
      first.map(({ job }) => job.key),
      ['a', 'd', 'b'],
      'three at once, two of a tenant, a key once',
    )
    for (const { ref } of first) await rig.succeed(ref)
    const second = await rig.lease()
    assert.equal(second.length, 1, 'the fourth in this second')
    assert.notEqual(second[0]?.job.key, 'a')
    await rig.pass(1000)
    assert.equal(await count(rig), 2, 'three at once')
  },

  async 'a rate that is full when nothing waits lets what comes later go'(rig) {
    await rig.configure({ rate: ONE_A_SECOND })
    assert.equal(await count(rig), 0)
    await rig.pass(5)
    await submitMany(rig, 2)
    assert.equal(await count(rig), 1)
  },
}
