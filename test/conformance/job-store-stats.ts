/** Figures: they are exact, and they are of now. */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, NO_LIMITS } from './rig.ts'

export const statsCases: Cases = {
  async 'every known queue has figures, also an empty one'(rig) {
    const none = { queued: 0, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, expired: 0 }
    assert.deepEqual(
      (await rig.store.stats()).toSorted((a, b) => (a.queue < b.queue ? -1 : 1)),
      ['other', 'q'].map((queue) => ({
        ...{ queue, counts: none, bytes: 0, finishedBytes: 0, dead: {} },
        ...{
          scheduled: 0,
          blockedKeys: 0,
          deferred: 0,
          paused: false,
          limits: NO_LIMITS,
          rules: { onFailure: 'skip', overflow: 'refuse' },
        },
      })),
    )
  },

  async 'every status is counted'(rig) {
    const jobs = await rig.submitAll(
      Array.from({ length: 12 }, (_, n) => (n === 11 ? { expireAfterMs: 10 } : n === 10 ? { delayMs: 99_999 } : {})),
    )
    const leases = (await rig.lease({ max: 7 })).map(({ ref }) => ref)
    const [a, b, c, d, e, f] = leases
    assert.ok(a && b && c && d && e && f)
    await rig.store.settle([
      { kind: 'succeed', lease: a, answer: ANSWER },
      { kind: 'retry', lease: b, afterMs: 99_999, error: FAILURE },
      { kind: 'fail', lease: c, error: FAILURE, deadLetter: false },
      { kind: 'fail', lease: d, error: FAILURE, deadLetter: true },
      { kind: 'fail', lease: e, error: { code: 'outcome_unknown', detail: '' }, deadLetter: true },
      { kind: 'handBack', lease: f, afterMs: 99_999 },
    ])
    await rig.cancel(jobs[8]?.id ?? '')
    await rig.pass(10)
    const { counts, dead } = await rig.stats()
    assert.deepEqual(counts, { queued: 4, running: 1, retrying: 1, succeeded: 1, failed: 3, cancelled: 1, expired: 1 })
    assert.deepEqual(dead, { [FAILURE.code]: 1, outcome_unknown: 1, expired: 1 })
  },

  async 'request bytes count until the end, results from then on'(rig) {
    await rig.submitAll([{ body: Buffer.alloc(5000) }, { body: Buffer.alloc(7000) }])
    const { bytes } = await rig.stats()
    assert.ok(bytes > 12_000 && bytes < 12_500, String(bytes))
    const [a, b] = await rig.lease()
    assert.ok(a && b)
    await rig.succeed(a.ref, { ...ANSWER, body: Buffer.alloc(100) })
    const one = await rig.stats()
    assert.ok(one.bytes > 7000 && one.bytes < 7250, String(one.bytes))
    assert.ok(one.finishedBytes > 100 && one.finishedBytes < 2000, String(one.finishedBytes))
    await rig.fail(b.ref, true)
    const both = await rig.stats()
    assert.equal(both.bytes, 0)
    assert.ok(both.finishedBytes > one.finishedBytes + 7000, 'a dead letter keeps its request, to be run again')
  },

  async 'the oldest that waits is the oldest that waits for a server'(rig) {
    assert.equal((await rig.stats()).oldestWaitingAt, undefined)
    const start = rig.clock.now()
    await rig.submit({ delayMs: 50_000 })
    assert.equal((await rig.stats()).oldestWaitingAt, undefined, 'a delayed job waits for time')
    await rig.submit({ key: 'k' })
    rig.clock.advance(1000)
    await rig.submit({ key: 'k', priority: 0 })
    rig.clock.advance(1000)
    await rig.submit({ priority: 9 })
    assert.equal((await rig.stats()).oldestWaitingAt, start)
    const urgent = await rig.leaseOne()
    assert.equal(urgent.job.priority, 9)
    const { ref } = await rig.leaseOne()
    assert.equal((await rig.stats()).oldestWaitingAt, start + 1000, 'the one that waits for its key')
    await rig.retry(ref, 500)
    assert.equal((await rig.stats()).oldestWaitingAt, start + 1000, 'a retrying one waits for time')
    await rig.pass(500)
    assert.equal((await rig.stats()).oldestWaitingAt, start)
  },

  async 'the oldest that waits is found below a higher priority'(rig) {
    const start = rig.clock.now()
    await rig.submit({ priority: 0 })
    rig.clock.advance(1000)
    await rig.submitAll(Array.from({ length: 50 }, () => ({ priority: 9 })))
    assert.equal((await rig.stats()).oldestWaitingAt, start)
  },

  async 'places in the line are exact when the first in is the first out'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 6 }, () => ({})))
    const places = async (): Promise<(number | undefined)[]> =>
      (
        await rig.store.read(
          jobs.map(({ id }) => id),
          'status',
        )
      ).map((read) => read?.job.position)
    assert.deepEqual(
      jobs.map(({ position }) => position),
      [1, 2, 3, 4, 5, 6],
    )
    const [first, second] = await rig.lease({ max: 2 })
    assert.ok(first && second)
    assert.deepEqual(await places(), [undefined, undefined, 1, 2, 3, 4])
    await rig.handBack(first.ref)
    assert.deepEqual(await places(), [1, undefined, 2, 3, 4, 5])
    await rig.leaseOne()
    await rig.lease({ max: 3 })
    assert.deepEqual(await places(), [undefined, undefined, undefined, undefined, undefined, 1])
    assert.equal((await rig.submit()).position, 2)
  },

  async 'a place is never less than one'(rig) {
    const jobs = await rig.submitAll([{}, {}, {}])
    await rig.cancel(jobs[2]?.id ?? '')
    await rig.cancel(jobs[1]?.id ?? '')
    assert.equal((await rig.read(jobs[0]?.id ?? ''))?.position, 1)
  },
}
