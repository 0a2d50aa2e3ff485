/** A job's deadline: past it, it is not begun (again); what runs may end. */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'
import { LEASE_MS } from './rig.ts'

export const deadlineCases: Cases = {
  async 'a job that nobody began by its deadline has expired'(rig) {
    const { id, deadlineAt } = await rig.submit({ deadlineMs: 5000 })
    assert.equal(deadlineAt, rig.clock.now() + 5000)
    assert.deepEqual(await rig.pass(4999), { nextMs: 1, ready: [], changed: [] })
    const { changed } = await rig.pass(1)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.dead, job.error?.code]),
      [[id, 'expired', 'deadline', 'job_deadline']],
    )
  },

  async 'it is handed out a moment before its deadline, and not at it, tick or not'(rig) {
    const [a, b] = await rig.submitAll([{ deadlineMs: 5000 }, { deadlineMs: 5001 }])
    rig.clock.advance(5000)
    assert.deepEqual(await rig.leaseIds(), [b?.id])
    assert.equal((await rig.read(a?.id ?? ''))?.dead, 'deadline')
    assert.deepEqual(
      (await rig.store.tick()).changed.map(({ id }) => id),
      [a?.id],
    )
  },

  async 'an attempt that was begun in time may end after it'(rig) {
    await rig.submit({ deadlineMs: 1000 })
    const { ref } = await rig.leaseOne()
    assert.deepEqual((await rig.pass(2000)).changed, [])
    assert.equal((await rig.succeed(ref)).status, 'succeeded')
  },

  async 'an attempt that fails after it was the last'(rig) {
    const { id } = await rig.submit({ deadlineMs: 1000 })
    const { ref } = await rig.leaseOne()
    await rig.pass(1000)
    const job = await rig.retry(ref, 0)
    assert.deepEqual([job.status, job.dead, job.attempt], ['failed', 'deadline', 1])
    assert.equal((await rig.read(id))?.status, 'failed')
  },

  async 'an attempt whose next would begin at it was the last, one whose next begins before it was not'(rig) {
    for (const [afterMs, expected] of [
      [999, 'retrying'],
      [1000, 'failed'],
    ] as const) {
      const { id } = await rig.submit({ deadlineMs: 1000, priority: 9 })
      const { ref } = await rig.leaseOne({ max: 1 })
      assert.equal(ref.id, id)
      assert.equal((await rig.retry(ref, afterMs)).status, expected)
    }
  },

  async 'a retrying job that is not begun again in time has failed'(rig) {
    const { id } = await rig.submit({ deadlineMs: 1000 })
    await rig.retry((await rig.leaseOne()).ref, 500)
    await rig.pass(500)
    const { changed } = await rig.pass(500)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.dead, job.error?.code]),
      [[id, 'failed', 'deadline', 'job_deadline']],
    )
  },

  async 'what is handed back after it is over, what is handed back before it is over at it'(rig) {
    const [late, early] = await rig.submitAll([{ deadlineMs: 1000 }, { deadlineMs: 1000 }])
    const leases = await rig.lease()
    await rig.pass(900)
    const back = await rig.handBack(leases[1]?.ref ?? assert.fail(), 5000)
    assert.equal(back.status, 'queued')
    const { changed } = await rig.pass(100)
    assert.deepEqual(
      changed.map(({ id, dead }) => [id, dead]),
      [[early?.id, 'deadline']],
    )
    const over = await rig.handBack(leases[0]?.ref ?? assert.fail())
    assert.deepEqual([over.id, over.status, over.dead], [late?.id, 'expired', 'deadline'])
  },

  async 'a lease that lapses after it ends the job'(rig) {
    const { id } = await rig.submit({ deadlineMs: LEASE_MS })
    await rig.leaseOne()
    const { changed } = await rig.pass(LEASE_MS)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.dead]),
      [[id, 'failed', 'deadline']],
    )
  },

  async 'a delay does not move it'(rig) {
    const { id, deadlineAt } = await rig.submit({ deadlineMs: 1000, delayMs: 5000 })
    assert.equal(deadlineAt, rig.clock.now() + 1000)
    await rig.pass(1000)
    assert.equal((await rig.read(id))?.dead, 'deadline')
  },

  async 'whichever comes first, expiry or deadline'(rig) {
    const [a, b] = await rig.submitAll([
      { deadlineMs: 1000, expireAfterMs: 2000 },
      { deadlineMs: 2000, expireAfterMs: 1000 },
    ])
    await rig.pass(1000)
    assert.deepEqual([(await rig.read(a?.id ?? ''))?.dead, (await rig.read(b?.id ?? ''))?.dead], ['deadline', 'expired'])
  },

  async 'one that waits behind its key leaves the line'(rig) {
    const [, waiting, next] = await rig.submitAll([{ key: 'k' }, { key: 'k', deadlineMs: 1000 }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    await rig.pass(1000)
    assert.equal((await rig.read(waiting?.id ?? ''))?.dead, 'deadline')
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [next?.id])
  },

  async 'one that holds its key gives it up'(rig) {
    const [, next] = await rig.submitAll([{ key: 'k', deadlineMs: 1000 }, { key: 'k' }])
    await rig.retry((await rig.leaseOne()).ref, 900)
    await rig.pass(1000)
    assert.deepEqual(await rig.leaseIds(), [next?.id])
  },

  async 'no time at all is no time'(rig) {
    const { id } = await rig.submit({ deadlineMs: 0 })
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.read(id))?.dead, 'deadline')
  },

  async 'it is kept over a restart'(rig) {
    const { id, deadlineAt } = await rig.submit({ deadlineMs: 1000 })
    await rig.restart()
    assert.equal((await rig.read(id))?.deadlineAt, deadlineAt)
    await rig.pass(1000)
    assert.equal((await rig.read(id))?.dead, 'deadline')
  },
}
