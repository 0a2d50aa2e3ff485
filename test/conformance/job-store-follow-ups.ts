/** What follows from the end of a job: an outbox, written with the end, emptied by `followed`. */
import assert from 'node:assert/strict'
import type { JobId, StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { PLACES, type Rig } from './rig.ts'

const DUE = { followUp: 'tell them' } as const

async function due(rig: Rig, max = 100): Promise<readonly JobId[]> {
  return (await rig.store.followUps(max)).map(({ id }) => id)
}

async function followed(rig: Rig, { id, version }: StoredJob): Promise<string> {
  return (await rig.command({ kind: 'followed', id, version })).kind
}

function endings(): Cases {
  const ends = Object.entries(PLACES).filter(([place]) => ['succeeded', 'failed', 'dead', 'cancelled', 'expired'].includes(place))
  return Object.fromEntries(
    ends.map(([place, make]) => [
      `something follows from the end of a job that is ${place}, once, also over a restart`,
      async (rig: Rig): Promise<void> => {
        const job = await make(rig, DUE)
        assert.deepEqual([job.followUp, job.followUpDue], ['tell them', true])
        assert.deepEqual(await due(rig), [job.id])
        await rig.restart()
        assert.deepEqual(await due(rig), [job.id])
        const [outboxed] = await rig.store.followUps(1)
        assert.ok(outboxed)
        assert.equal(await followed(rig, outboxed), 'done')
        assert.deepEqual(await due(rig), [])
        assert.equal((await rig.read(job.id))?.followUpDue, undefined)
        assert.equal(await followed(rig, outboxed), 'unchanged')
        await rig.restart()
        assert.deepEqual(await due(rig), [])
      },
    ]),
  )
}

export const followUpCases: Cases = {
  ...endings(),

  async 'nothing follows before the end, nor where nobody asked for it'(rig) {
    await rig.submit(DUE)
    await rig.submit(DUE)
    const lease = await rig.leaseOne()
    assert.equal(lease.job.followUpDue, undefined)
    assert.deepEqual(await due(rig), [])
    await PLACES['succeeded']?.(rig, { priority: 9 })
    assert.deepEqual(await due(rig), [])
  },

  async 'by the rules of its queue something follows from the end of any job, from then on'(rig) {
    const before = await PLACES['succeeded']?.(rig)
    await rig.configure({ followUps: true })
    const after = await PLACES['succeeded']?.(rig)
    assert.equal(before?.followUpDue, undefined)
    assert.deepEqual(await due(rig), [after?.id])
    await rig.configure({})
    assert.equal((await PLACES['succeeded']?.(rig))?.followUpDue, undefined)
    assert.deepEqual(await due(rig), [after?.id], 'what is due stays so')
  },

  async 'an end is the same one when its key is released before anything has followed from it'(rig) {
    await rig.configure({ onFailure: 'block' })
    await rig.submitAll([{ ...DUE, key: 'k' }, { key: 'k' }])
    const dead = await rig.fail((await rig.leaseOne()).ref, true)
    const [outboxed] = await rig.store.followUps(1)
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    assert.equal((await rig.store.followUps(1))[0]?.version, dead.version)
    assert.equal(await followed(rig, outboxed ?? assert.fail()), 'done')
    assert.deepEqual(await due(rig), [])
  },

  async 'they come in the order in which the jobs ended, so many at a time'(rig) {
    const [a, b, c] = await rig.submitAll([DUE, DUE, DUE])
    const leases = await rig.lease()
    const refOf = (job: StoredJob | undefined): (typeof leases)[number]['ref'] =>
      leases.find(({ ref }) => ref.id === job?.id)?.ref ?? assert.fail('it is leased')
    for (const job of [c, a, b]) {
      await rig.succeed(refOf(job))
      await rig.pass(1)
    }
    assert.deepEqual(await due(rig), [c?.id, a?.id, b?.id])
    assert.deepEqual(await due(rig, 2), [c?.id, a?.id])
    assert.deepEqual(await due(rig, 0), [])
  },

  async 'behind a place they go on, of its queue alone, whether or not the job of that place is there any more'(rig) {
    await rig.command({ kind: 'configure', queue: 'other', limits: { jobs: 100, bytes: 1e6, finished: 1e6 } })
    await PLACES['cancelled']?.(rig, { ...DUE, queue: 'other' })
    const jobs = await rig.submitAll([DUE, DUE, DUE, DUE])
    const leases = await rig.lease()
    const ended: StoredJob[] = []
    // The last two in one moment, the newer one first.
    for (const [i, pause] of [
      [2, 1],
      [0, 1],
      [3, 0],
      [1, 0],
    ] as const) {
      ended.push(await rig.succeed(leases.find(({ ref }) => ref.id === jobs[i]?.id)?.ref ?? assert.fail('it is leased')))
      await rig.pass(pause)
    }
    const behind = async ({ queue, id, finishedAt = 0 }: StoredJob, max = 100): Promise<readonly JobId[]> =>
      (await rig.store.followUps(max, [{ queue, id, endedAt: finishedAt }])).map((job) => job.id)
    const [c, a, d, b] = ended as [StoredJob, StoredJob, StoredJob, StoredJob]
    assert.deepEqual(await behind(c), [a.id, b.id, d.id])
    assert.deepEqual(await behind(c, 1), [a.id])
    assert.equal(await followed(rig, a), 'done')
    assert.deepEqual(await behind(a), [b.id, d.id])
    assert.deepEqual(await behind(d), [])
    assert.deepEqual(await rig.store.followUps(100, []), [])
    assert.deepEqual(await rig.store.followUps(100, [{ queue: 'nobody', id: a.id, endedAt: 0 }]), [])
  },

  async 'until then the job stays with its result, whatever its time and the room for ended ones; then it goes as others do'(rig) {
    const job = await PLACES['succeeded']?.(rig, { ...DUE, keepMs: 1000 })
    assert.ok(job)
    await rig.configure({}, { finished: 1 })
    for (let i = 0; i < 3; i++) await PLACES['succeeded']?.(rig)
    await rig.pass(100_000)
    await rig.settleTime()
    assert.equal(Buffer.from((await rig.result(job.id))?.answer?.body ?? []).toString(), 'done')
    assert.equal((await rig.command({ kind: 'forget', id: job.id })).kind, 'unchanged')
    assert.equal(await followed(rig, job), 'done')
    await rig.pass(1)
    await rig.settleTime()
    assert.equal(await rig.read(job.id), undefined)
  },

  async 'notes are written with it in one commit, or not at all'(rig) {
    const job = await PLACES['succeeded']?.(rig, DUE)
    assert.ok(job)
    const notes = [{ name: 'made', text: '1' }, { name: 'gone' }]
    await rig.command({ kind: 'note', name: 'gone', text: 'x' })
    const { id, version } = job
    assert.equal((await rig.command({ kind: 'followed', id, version: version + 1, notes })).kind, 'unchanged')
    assert.deepEqual(await rig.store.notes(''), [{ name: 'gone', text: 'x' }])
    assert.equal((await rig.command({ kind: 'followed', id, version, notes })).kind, 'done')
    assert.deepEqual(await rig.store.notes(''), [{ name: 'made', text: '1' }])
    assert.equal((await rig.command({ kind: 'followed', id, version, notes: [{ name: 'late', text: '2' }] })).kind, 'unchanged')
    assert.deepEqual(await rig.store.notes('late'), [])
    assert.equal((await rig.command({ kind: 'followed', id: 'nobody', version, notes })).kind, 'missing')
  },

  async 'a job keeps its parent, and what was made of it, over a restart; its version is its own'(rig) {
    const parent = { id: '0000000000a', depth: 2 }
    const job = await PLACES['succeeded']?.(rig, { ...DUE, parent })
    assert.ok(job)
    assert.deepEqual([job.parent, job.next], [parent, undefined])
    const { id, version } = job
    const next = { id: '0000000000b', secret: 'of its own' }
    assert.equal((await rig.command({ kind: 'followed', id, version: version + 1, next })).kind, 'unchanged')
    assert.equal((await rig.read(id))?.next, undefined)
    assert.equal((await rig.command({ kind: 'followed', id, version, next })).kind, 'done')
    await rig.restart()
    const kept = await rig.read(id)
    assert.deepEqual([kept?.parent, kept?.next, kept?.version], [parent, next, version])
  },

  async 'what has followed from an end is kept while something else is still to follow, over a restart too'(rig) {
    const job = await PLACES['succeeded']?.(rig, { ...DUE, keepMs: 1000 })
    assert.ok(job)
    const { id, version } = job
    const next = { id: '0000000000b', secret: 'of its own' }
    assert.equal((await rig.command({ kind: 'followed', id, version: version + 1, next, more: true })).kind, 'unchanged')
    assert.equal((await rig.command({ kind: 'followed', id, version, next, more: true })).kind, 'done')
    await rig.restart()
    await rig.pass(100_000)
    await rig.settleTime()
    const [outboxed] = await rig.store.followUps(1)
    assert.deepEqual([outboxed?.id, outboxed?.next, outboxed?.version], [id, next, version])
    assert.equal(await followed(rig, job), 'done')
    assert.deepEqual([await due(rig), (await rig.read(id))?.next], [[], next])
  },

  async 'a dead letter that is sent again tells of its next end, not of this one'(rig) {
    const job = await rig.deadLetter(DUE)
    await rig.redrive(job.id)
    assert.deepEqual(await due(rig), [])
    assert.equal(await followed(rig, job), 'unchanged')
    const again = await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual(await due(rig), [job.id])
    assert.equal(await followed(rig, again), 'done')
  },

  async 'one that blocks its key is told of as well, and stays until the key is released'(rig) {
    await rig.configure({ onFailure: 'block' })
    const job = await rig.deadLetter({ ...DUE, key: 'k', keepDeadMs: 1000 })
    assert.equal(job.blocksKey, true)
    assert.deepEqual(await due(rig), [job.id])
    assert.equal(await followed(rig, job), 'done')
    assert.deepEqual(await due(rig), [])
    await rig.pass(10_000)
    await rig.settleTime()
    assert.ok(await rig.read(job.id))
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    await rig.pass(1)
    await rig.settleTime()
    assert.equal(await rig.read(job.id), undefined)
  },

  async 'a key that is released before that: the job stays until it is told of'(rig) {
    await rig.configure({ onFailure: 'block' })
    const job = await rig.deadLetter({ ...DUE, key: 'k', keepDeadMs: 1000 })
    const released = await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    await rig.pass(10_000)
    await rig.settleTime()
    assert.deepEqual(await due(rig), [job.id])
    assert.equal(await followed(rig, released), 'done')
    await rig.pass(1)
    await rig.settleTime()
    assert.equal(await rig.read(job.id), undefined)
  },

  async 'a queue whose jobs are due cannot be dropped'(rig) {
    const job = await PLACES['succeeded']?.(rig, { ...DUE, queue: 'q', keepMs: 1 })
    await rig.pass(10)
    await rig.settleTime()
    assert.equal((await rig.command({ kind: 'drop', queue: 'q' })).kind, 'refused')
    assert.deepEqual(await due(rig), [job?.id])
  },
}
