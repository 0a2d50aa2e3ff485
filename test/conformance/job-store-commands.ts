/** Cancelling, reporting progress, and ids that name nothing. */
import assert from 'node:assert/strict'
import type { CommandOutcome, StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, atEachPlace, FAILURE, idempotency } from './rig.ts'

function doneJob(outcome: CommandOutcome): StoredJob {
  assert.equal(outcome.kind, 'done', JSON.stringify(outcome))
  assert.ok(outcome.job)
  return outcome.job
}

export const commandCases: Cases = {
  async 'a waiting job is cancelled and never runs'(rig) {
    const { id } = await rig.submit()
    const job = doneJob(await rig.cancel(id))
    assert.deepEqual([job.status, job.finishedAt, job.dead, job.position], ['cancelled', rig.clock.now(), undefined, undefined])
    assert.deepEqual(await rig.read(id), job)
    assert.deepEqual(await rig.lease(), [])
  },

  async 'a delayed and a retrying job are cancelled and never run'(rig) {
    const delayed = await rig.submit({ delayMs: 1000 })
    const { id } = await rig.submit()
    await rig.retry((await rig.leaseOne()).ref, 1000)
    assert.equal(doneJob(await rig.cancel(delayed.id)).status, 'cancelled')
    assert.equal(doneJob(await rig.cancel(id)).status, 'cancelled')
    assert.deepEqual((await rig.pass(1000)).ready, [])
    assert.deepEqual(await rig.lease(), [])
  },

  async 'cancelling a running job names the attempt to abort, which can no longer settle'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    const outcome = await rig.cancel(id)
    assert.equal(doneJob(outcome).status, 'cancelled')
    assert.deepEqual(outcome.kind === 'done' && outcome.aborted, ref)
    assert.deepEqual(await rig.settle({ kind: 'succeed', lease: ref, answer: ANSWER }), { kind: 'stale' })
    assert.deepEqual(await rig.settle({ kind: 'retry', lease: ref, afterMs: 0, error: FAILURE }), { kind: 'stale' })
    assert.equal((await rig.read(id))?.status, 'cancelled')
  },

  async 'a job that has ended is not cancelled'(rig) {
    const { id } = await rig.submit()
    const ended = await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual(await rig.cancel(id), { kind: 'unchanged', job: ended })
    const other = await rig.submit()
    const cancelled = doneJob(await rig.cancel(other.id))
    assert.deepEqual(await rig.cancel(other.id), { kind: 'unchanged', job: cancelled })
  },

  async 'a job that has not begun is cancelled even if only that is asked for'(rig) {
    const [waiting, handedBack] = await rig.submitAll([{ priority: 0 }, { priority: 9 }])
    await rig.handBack((await rig.leaseOne()).ref)
    assert.equal(doneJob(await rig.cancel(waiting?.id ?? '', true)).status, 'cancelled')
    assert.equal(
      doneJob(await rig.cancel(handedBack?.id ?? '', true)).status,
      'cancelled',
      'a hand-out that was no attempt is no beginning',
    )
  },

  async 'after it the same idempotency key makes a job again, one that is cancelled in the ordinary way still answers for it'(rig) {
    const first = await rig.submit(idempotency('a'))
    doneJob(await rig.cancel(first.id, true))
    const second = await rig.submit(idempotency('a'))
    assert.notEqual(second.id, first.id)
    doneJob(await rig.cancel(second.id))
    const third = await rig.trySubmit(idempotency('a'))
    assert.equal(third.kind, 'duplicate')
    assert.equal(third.job.id, second.id)
  },

  async 'a job that has begun is left alone if only an unbegun one may be cancelled'(rig) {
    const { id } = await rig.submit()
    const { ref, job } = await rig.leaseOne()
    assert.deepEqual(await rig.cancel(id, true), { kind: 'unchanged', job })
    const retrying = await rig.retry(ref, 0)
    assert.deepEqual(await rig.cancel(id, true), { kind: 'unchanged', job: { ...retrying } })
    await rig.succeed((await rig.leaseOne()).ref)
  },

  async 'progress is shown as the server said it'(rig) {
    const { id } = await rig.submit()
    const { ref, job } = await rig.leaseOne()
    const report = async (secret: string, progress: string): Promise<CommandOutcome | undefined> =>
      (await rig.store.command([{ kind: 'progress', id, secret, progress }]))[0]
    const reported = doneJob((await report(ref.secret, '{"percent": 40}')) ?? assert.fail())
    assert.equal(reported.progress, '{"percent": 40}')
    assert.ok(reported.version > job.version)
    assert.deepEqual(await rig.read(id), reported)
    assert.deepEqual(await report('x'.repeat(22), '1'), { kind: 'stale' })
    assert.deepEqual(await report(job.secret, '1'), { kind: 'stale' }, 'the client’s secret is not the attempt’s')
    assert.deepEqual(await rig.read(id), reported)
    assert.equal((await rig.succeed(ref)).progress, '{"percent": 40}')
    assert.deepEqual(await report(ref.secret, '1'), { kind: 'stale' })
  },

  ...atEachPlace(
    (place) => `of a job that is ${place} nobody reports progress but the server that works on it`,
    async (rig, job) => {
      for (const secret of ['', job.secret, 'x'.repeat(22)]) {
        assert.deepEqual(await rig.command({ kind: 'progress', id: job.id, secret, progress: '1' }), { kind: 'stale' })
      }
      assert.deepEqual(await rig.read(job.id), job)
    },
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} is cancelled as one that has not begun only if it has not`,
    async (rig, job, place) => {
      const unbegun = place === 'waiting' || place === 'delayed'
      const outcome = await rig.cancel(job.id, true)
      assert.equal(outcome.kind, unbegun ? 'done' : 'unchanged')
      assert.equal((await rig.read(job.id))?.status, unbegun ? 'cancelled' : job.status)
      if (!unbegun) assert.deepEqual(await rig.read(job.id), job)
    },
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} does not block its key where that is not the rule, and nobody releases it`,
    async (rig, job, place) => {
      const holds = ['waiting', 'running', 'waiting again', 'retrying'].includes(place)
      const expected = holds ? { kind: 'unchanged', job } : { kind: 'missing' }
      assert.deepEqual(await rig.command({ kind: 'release', queue: 'q', key: job.key ?? '' }), expected)
      assert.deepEqual(await rig.read(job.id), job)
    },
    () => true,
    { key: 'k' },
  ),

  async 'a new attempt begins without progress'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.store.command([{ kind: 'progress', id, secret: ref.secret, progress: '1' }])
    assert.equal((await rig.retry(ref, 0)).progress, undefined)
    assert.equal((await rig.leaseOne()).job.progress, undefined)
    assert.deepEqual(await rig.store.command([{ kind: 'progress', id, secret: ref.secret, progress: '2' }]), [{ kind: 'stale' }])
  },

  async 'ids that name nothing are missing'(rig) {
    const { id } = await rig.submit()
    const strange = ['', 'x', '00000000000', id.toUpperCase(), `${id} `, id.slice(1), `${id}0`, 'ilou0000000', "'; --", '💥']
    const unknown = strange.filter((each) => each !== id)
    assert.deepEqual(await rig.store.read([...unknown, id], 'status').then((reads) => reads.map((read) => read?.job.id)), [
      ...unknown.map(() => undefined),
      id,
    ])
    for (const each of unknown) {
      assert.deepEqual(await rig.cancel(each), { kind: 'missing' })
      assert.deepEqual(await rig.store.command([{ kind: 'progress', id: each, secret: 'x', progress: '1' }]), [{ kind: 'missing' }])
    }
  },

  async 'a queue may be configured at any time'(rig) {
    assert.deepEqual(await rig.store.command([{ kind: 'configure', queue: 'new', limits: { jobs: 1, bytes: 1000, finished: 1000 } }]), [
      { kind: 'done' },
    ])
    await rig.submit({ queue: 'new' })
    assert.equal((await rig.trySubmit({ queue: 'new' })).kind, 'refused')
    assert.equal((await rig.stats('new')).counts.queued, 1)
  },
}
