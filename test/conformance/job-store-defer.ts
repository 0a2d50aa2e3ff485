/** A server that has not finished defers the end: the lease goes on without the exchange, and over the end of the process. */
import assert from 'node:assert/strict'
import type { Deferral, Ending, LeaseRef, SettleOutcome } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, LEASE_MS, type Rig } from './rig.ts'

const FOR_MS = 10 * LEASE_MS

function deferral(lease: LeaseRef, change: Partial<Deferral> = {}): Deferral {
  return { kind: 'defer', lease, forMs: FOR_MS, retryMs: 500, jobsMax: 100, ...change }
}

function reported(lease: LeaseRef): Ending {
  return { kind: 'succeed', lease, answer: ANSWER, reported: true }
}

async function kindOf(outcome: Promise<SettleOutcome>): Promise<string> {
  return (await outcome).kind
}

/** Of queue q. */
async function deferred(rig: Rig): Promise<number> {
  return (await rig.stats()).deferred
}

export const deferCases: Cases = {
  async 'a deferred job runs on with the same lease, until its time is over'(rig) {
    const { id } = await rig.submit()
    const { ref, job: leased } = await rig.leaseOne()
    const job = await rig.settled(deferral(ref))
    assert.deepEqual([job.status, job.attempt, job.deferredUntil], ['running', 1, rig.clock.now() + FOR_MS])
    assert.ok(job.version > leased.version, 'watchers can see it')
    assert.equal(await deferred(rig), 1)
    await rig.pass(FOR_MS - 1)
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.succeed(ref)).id, id)
    assert.equal(await deferred(rig), 0)
  },

  async 'a deferral that is over was an attempt that took too long, and the next comes after its pause'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.settled(deferral(ref))
    const { changed } = await rig.pass(FOR_MS)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.attempt, job.error?.code, job.deferredUntil]),
      [[id, 'retrying', 1, 'attempt_timeout', undefined]],
    )
    assert.deepEqual(
      (await rig.history(id)).map(({ outcome, attempt }) => [outcome, attempt]),
      [['attempt_timeout', 1]],
    )
    assert.equal(await deferred(rig), 0)
    await rig.pass(499)
    assert.deepEqual(await rig.lease(), [])
    await rig.pass(1)
    const again = await rig.leaseOne()
    assert.equal(again.job.attempt, 2)
    assert.equal(await kindOf(rig.settle(reported(ref))), 'stale')
    assert.equal((await rig.settled(reported(again.ref))).status, 'succeeded')
  },

  async 'a deferral that is over in the last attempt, or of a job that is sent once, is its end'(rig) {
    const [last, once] = await rig.submitAll([{ attempts: 1 }, { sendOnce: true }])
    for (const { ref } of await rig.lease()) await rig.settled(deferral(ref))
    await rig.pass(FOR_MS)
    assert.deepEqual([(await rig.read(last?.id ?? ''))?.dead, (await rig.read(once?.id ?? ''))?.dead], ['attempts', 'outcome_unknown'])
  },

  async 'a deferred job holds its key'(rig) {
    const [first, second] = await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    await rig.settled(deferral(ref))
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.read(second?.id ?? ''))?.blockedBy, first?.id)
    await rig.settled(reported(ref))
    assert.deepEqual(await rig.leaseIds(), [second?.id])
  },

  async 'no more of a queue are deferred than may be, and one that is may be deferred again'(rig) {
    await rig.submitAll([{}, {}, {}])
    const [a, b, c] = (await rig.lease()).map(({ ref }) => ref)
    assert.ok(a && b && c)
    await rig.settled(deferral(a, { jobsMax: 2 }))
    await rig.settled(deferral(b, { jobsMax: 2 }))
    assert.deepEqual(await rig.settle(deferral(c, { jobsMax: 2 })), { kind: 'full' })
    assert.equal((await rig.read(c.id))?.deferredUntil, undefined)
    assert.equal((await rig.settled(deferral(a, { jobsMax: 2, forMs: 5 }))).deferredUntil, rig.clock.now() + 5)
    await rig.cancel(b.id)
    await rig.settled(deferral(c, { jobsMax: 2 }))
    assert.equal(await deferred(rig), 2)
  },

  async 'a deferred lease can be extended, and shortened'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.settled(deferral(ref))
    assert.deepEqual(await rig.store.extend([ref], 2 * FOR_MS), ['extended'])
    assert.equal((await rig.read(id))?.deferredUntil, rig.clock.now() + 2 * FOR_MS)
    assert.deepEqual((await rig.pass(2 * FOR_MS - 1)).changed, [])
    assert.deepEqual(await rig.store.extend([ref], 10), ['extended'])
    assert.equal((await rig.pass(10)).changed.length, 1)
  },

  async 'a cancelled job is deferred no longer'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.settled(deferral(ref))
    const outcome = await rig.cancel(id)
    assert.deepEqual(outcome.kind === 'done' && outcome.aborted, ref)
    assert.equal(await kindOf(rig.settle(reported(ref))), 'stale')
    assert.equal(await kindOf(rig.settle(deferral(ref))), 'stale')
    assert.equal(await deferred(rig), 0)
  },

  async 'an end that is reported twice is the same end'(rig) {
    const [done, failed, plain] = await rig.submitAll([{}, {}, {}])
    const [a, b, c] = (await rig.lease()).map(({ ref }) => ref)
    assert.ok(a && b && c)
    const failing: Ending = { kind: 'fail', lease: b, error: FAILURE, deadLetter: true, reported: true }
    await rig.settled(reported(a))
    await rig.settled(failing)
    await rig.succeed(c)
    await rig.restart()
    const before = await rig.read(done?.id ?? '')
    assert.deepEqual(await rig.settle(reported(a)), { kind: 'repeated', job: before })
    assert.equal(await kindOf(rig.settle(failing)), 'repeated')
    assert.deepEqual(await rig.read(done?.id ?? ''), before)
    // Neither another end, nor another secret or fence, nor an end that nobody reported.
    assert.equal(await kindOf(rig.settle({ ...failing, lease: a })), 'stale')
    assert.equal(await kindOf(rig.settle({ ...reported(b) })), 'stale')
    assert.equal(await kindOf(rig.settle(reported({ ...a, secret: 'x'.repeat(22) }))), 'stale')
    assert.equal(await kindOf(rig.settle(reported({ ...a, fence: a.fence + 1 }))), 'stale')
    assert.equal(await kindOf(rig.settle(reported(c))), 'stale')
    assert.equal(plain?.id, c.id)
    // Sent again it has not ended yet.
    await rig.redrive(failed?.id ?? '')
    assert.equal(await kindOf(rig.settle(failing)), 'stale')
  },
}

export const deferRestartCases: Cases = {
  async 'a deferred job runs on over a restart: same lease, its key held, its time anew'(rig) {
    const [first] = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { sendOnce: true }])
    const leases = await rig.lease()
    for (const { ref } of leases) await rig.settled(deferral(ref))
    const [{ ref } = assert.fail('leased'), once = assert.fail('leased')] = leases
    const before = await rig.read(ref.id)
    await rig.pass(FOR_MS / 2)
    await rig.reopen()
    const after = await rig.read(ref.id)
    assert.deepEqual([after?.status, after?.deferredUntil], ['running', rig.clock.now() + FOR_MS])
    assert.ok((after?.version ?? 0) > (before?.version ?? 0))
    assert.equal(await deferred(rig), 2)
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual((await rig.pass(FOR_MS - 1)).changed, [])
    assert.equal((await rig.settled(reported(once.ref))).status, 'succeeded')
    assert.equal((await rig.succeed(ref)).id, first?.id)
    assert.equal((await rig.lease()).length, 1)
  },

  async 'what the server of a deferred job has reported last is kept over restarts, until the next attempt'(rig) {
    const [job, once] = await rig.submitAll([{}, { sendOnce: true }])
    const leases = await rig.lease()
    const [{ ref } = assert.fail('leased'), other = assert.fail('leased')] = leases
    const report = (lease: LeaseRef, progress: string): Promise<unknown> =>
      rig.command({ kind: 'progress', id: lease.id, secret: lease.secret, progress })
    await report(ref, '1')
    for (const lease of leases) await rig.settled(deferral(lease.ref))
    await rig.reopen()
    assert.equal((await rig.read(ref.id))?.progress, '1', 'from before it was deferred')
    for (const progress of ['2', '3']) for (const lease of leases) await report(lease.ref, progress)
    await rig.store.extend([ref], FOR_MS)
    for (let restarts = 0; restarts < 2; restarts++) {
      await rig.reopen()
      assert.deepEqual([(await rig.read(job?.id ?? ''))?.progress, (await rig.read(once?.id ?? ''))?.progress], ['3', '3'])
    }
    assert.equal((await rig.settled(reported(other.ref))).progress, '3')
    await rig.pass(FOR_MS)
    assert.equal((await rig.read(ref.id))?.progress, undefined)
    await rig.reopen()
    await rig.pass(500)
    assert.equal((await rig.leaseOne()).job.progress, undefined)
  },

  async 'a deferral that is over after a restart is over for good'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.settled(deferral(ref))
    await rig.reopen()
    const { changed } = await rig.pass(FOR_MS)
    assert.deepEqual(
      changed.map((job) => [job.id, job.status, job.error?.code]),
      [[id, 'retrying', 'attempt_timeout']],
    )
    await rig.reopen()
    assert.equal(await kindOf(rig.settle(reported(ref))), 'stale')
    assert.equal(await deferred(rig), 0)
  },
}
