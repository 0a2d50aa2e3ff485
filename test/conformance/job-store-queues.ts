/** Queues as such: made, changed, paused, dropped; and jobs that are moved between them, or forgotten. */
import assert from 'node:assert/strict'
import type { QueueRules } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { atEachPlace, LEASE_MS, newJob, NO_LIMITS, NO_RULES, PLACES, type Rig } from './rig.ts'

const RULES: QueueRules = {
  onFailure: 'block',
  ageingMs: 60_000,
  maxRunning: 7,
  rate: { count: 10, perMs: 1000 },
  keyRate: { count: 1, perMs: 100 },
  tenantMaxRunning: 3,
  overflow: 'drop-oldest',
}

async function make(rig: Rig, queue = 'new'): Promise<void> {
  await rig.command({ kind: 'configure', queue, limits: NO_LIMITS })
}

const MOVED = ['waiting', 'delayed', 'waiting again', 'retrying'] as const
const isMoved = (place: string): boolean => (MOVED as readonly string[]).includes(place)
const hasEnded = (place: string): boolean => ['succeeded', 'failed', 'dead', 'cancelled', 'expired'].includes(place)
const isDead = (place: string): boolean => place === 'dead' || place === 'expired'

export const queueCases: Cases = {
  async 'a queue is made with its limits, its rules and what its maker wants to read again'(rig) {
    const limits = { jobs: 5, bytes: 6000, finished: 7000, age: 8000 }
    await rig.command({ kind: 'configure', queue: 'new', limits, rules: RULES, definition: '{"any":"thing"}' })
    await rig.restart()
    const stats = await rig.stats('new')
    assert.deepEqual([stats.limits, stats.rules, stats.definition, stats.paused], [limits, RULES, '{"any":"thing"}', false])
    await rig.command({ kind: 'configure', queue: 'new', limits: NO_LIMITS })
    await rig.restart()
    const after = await rig.stats('new')
    assert.deepEqual([after.limits, after.rules, after.definition], [NO_LIMITS, NO_RULES, undefined])
  },

  async 'a paused queue hands out nothing, takes everything, and its jobs that run may end'(rig) {
    await rig.submitAll([{}, { delayMs: 10 }, { expireAfterMs: 10 }])
    const { ref } = await rig.leaseOne({ max: 1 })
    assert.deepEqual(await rig.command({ kind: 'pause', queue: 'q' }), { kind: 'done' })
    assert.deepEqual(await rig.command({ kind: 'pause', queue: 'q' }), { kind: 'unchanged' })
    assert.equal((await rig.stats()).paused, true)
    await rig.submit()
    const { changed } = await rig.pass(10)
    assert.deepEqual(
      changed.map(({ status }) => status),
      ['expired'],
      'time goes on',
    )
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual(await rig.store.extend([ref], LEASE_MS), ['extended'])
    await rig.retry(ref, 0)
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.stats()).counts.queued, 2)
  },

  async 'a queue that goes on tells so, once'(rig) {
    await rig.command({ kind: 'pause', queue: 'q' })
    await rig.submit()
    await rig.store.tick()
    assert.deepEqual(await rig.command({ kind: 'resume', queue: 'q' }), { kind: 'done' })
    assert.deepEqual(await rig.command({ kind: 'resume', queue: 'q' }), { kind: 'unchanged' })
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.deepEqual((await rig.store.tick()).ready, [])
    assert.equal((await rig.lease()).length, 1)
  },

  async 'a pause is of one queue, and outlives a change of its limits and a restart'(rig) {
    await rig.command({ kind: 'pause', queue: 'q' })
    await rig.submitAll([{}, { queue: 'other' }])
    await rig.configure({})
    await rig.restart()
    assert.equal((await rig.stats()).paused, true)
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
    await rig.command({ kind: 'resume', queue: 'q' })
    await rig.restart()
    assert.equal((await rig.lease()).length, 1)
  },

  async 'a queue that is not there is neither paused nor dropped'(rig) {
    for (const kind of ['pause', 'resume', 'drop'] as const) {
      assert.deepEqual(await rig.command({ kind, queue: 'nowhere' }), { kind: 'missing' })
    }
  },

  async 'an empty queue is dropped, and is gone'(rig) {
    await make(rig)
    assert.deepEqual(await rig.command({ kind: 'drop', queue: 'new' }), { kind: 'done' })
    assert.deepEqual(await rig.command({ kind: 'drop', queue: 'new' }), { kind: 'missing' })
    await rig.restart()
    assert.deepEqual((await rig.store.stats()).map(({ queue }) => queue).toSorted(), ['other', 'q'])
    await assert.rejects(rig.store.submit([newJob({ queue: 'new' })]), /new/)
    assert.deepEqual(await rig.lease({ queue: 'new' }), [])
  },

  async 'a queue that was dropped can be made again, and knows nothing of before'(rig) {
    await make(rig)
    await rig.command({ kind: 'pause', queue: 'new' })
    const { id } = await rig.submit({ queue: 'new', key: 'k' })
    await rig.cancel(id)
    await rig.command({ kind: 'forget', id })
    await rig.command({ kind: 'drop', queue: 'new' })
    await make(rig)
    const stats = await rig.stats('new')
    assert.deepEqual([stats.paused, stats.bytes, stats.finishedBytes, Object.values(stats.counts)], [false, 0, 0, [0, 0, 0, 0, 0, 0, 0]])
    const again = await rig.submit({ queue: 'new', key: 'k' })
    assert.deepEqual([again.position, again.blockedBy], [1, undefined])
    await rig.restart()
    assert.deepEqual(await rig.leaseIds({ queue: 'new' }), [again.id])
  },

  ...atEachPlace(
    (place) => `a queue with a job that is ${place} is not dropped`,
    async (rig, { id }) => {
      const outcome = await rig.command({ kind: 'drop', queue: 'q' })
      assert.equal(outcome.kind === 'refused' && outcome.limit, 'queue')
      assert.ok(await rig.read(id))
    },
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} goes to another queue as it is`,
    async (rig, before, place) => {
      const job = await rig.done({ kind: 'move', id: before.id, queue: 'other' })
      const { queue, version, position: _, ...rest } = job
      const { queue: __, version: versionBefore, position: ___, ...restBefore } = before
      assert.deepEqual([queue, rest], ['other', restBefore])
      assert.ok(version > versionBefore)
      const [here, there] = [await rig.stats(), await rig.stats('other')]
      assert.deepEqual([here.counts.queued + here.counts.retrying, here.bytes, here.scheduled], [0, 0, 0])
      assert.deepEqual(
        [there.counts.queued + there.counts.retrying, there.bytes, there.scheduled],
        [1, job.requestBytes, place === 'delayed' || place === 'retrying' ? 1 : 0],
      )
      await rig.restart()
      await rig.pass(5000)
      assert.deepEqual(await rig.lease(), [])
      await rig.succeed((await rig.leaseOne({ queue: 'other' })).ref)
    },
    isMoved,
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} is not moved`,
    async (rig, job) => {
      assert.deepEqual(await rig.command({ kind: 'move', id: job.id, queue: 'other' }), { kind: 'unchanged', job })
      assert.deepEqual(await rig.read(job.id), job)
    },
    (place) => !isMoved(place) && !isDead(place),
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} is a dead letter, and is sent again where it is moved to`,
    async (rig, { id }) => {
      const job = await rig.done({ kind: 'move', id, queue: 'other' })
      assert.deepEqual([job.queue, job.status, job.redrives], ['other', 'queued', 1])
      assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [id])
    },
    isDead,
  ),

  async 'a job is moved where there is room for it, and where there is a queue'(rig) {
    const job = await rig.submit({ key: 'k' })
    await rig.submit({ queue: 'other' })
    await rig.configure({}, { jobs: 1 }, 'other')
    const full = await rig.command({ kind: 'move', id: job.id, queue: 'other' })
    assert.equal(full.kind === 'refused' && full.limit, 'jobs')
    const nowhere = await rig.command({ kind: 'move', id: job.id, queue: 'nowhere' })
    assert.equal(nowhere.kind === 'refused' && nowhere.limit, 'queue')
    assert.deepEqual(await rig.command({ kind: 'move', id: job.id, queue: 'q' }), { kind: 'unchanged', job })
    assert.deepEqual(await rig.command({ kind: 'move', id: '00000000000', queue: 'other' }), { kind: 'missing' })
    assert.deepEqual(await rig.read(job.id), job)
    await rig.configure({}, { jobs: 2 }, 'other')
    await rig.done({ kind: 'move', id: job.id, queue: 'other' })
  },

  async 'a job that is moved stands in the other line by its age, and both are told'(rig) {
    const [a, b] = await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    const younger = await rig.submit({ queue: 'other' })
    await rig.done({ kind: 'move', id: a?.id ?? '', queue: 'other' })
    assert.deepEqual((await rig.store.tick()).ready.toSorted(), ['other', 'q'], 'the next of its key can go, and so can it')
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [a?.id, younger.id])
    assert.deepEqual(await rig.leaseIds(), [b?.id])
  },

  async 'a job that is moved waits for the key there'(rig) {
    const older = await rig.submit({ key: 'k' })
    const [first, second] = await rig.submitAll([
      { key: 'k', queue: 'other' },
      { key: 'k', queue: 'other' },
    ])
    const { ref } = await rig.leaseOne({ queue: 'other' })
    assert.equal(ref.id, first?.id)
    assert.equal((await rig.done({ kind: 'move', id: older.id, queue: 'other' })).blockedBy, first?.id)
    await rig.succeed(ref)
    assert.equal((await rig.leaseOne({ queue: 'other', max: 9 })).ref.id, older.id, 'before the younger one')
    assert.equal((await rig.read(second?.id ?? ''))?.blockedBy, older.id)
  },

  async 'a job that had begun elsewhere waits for the key there too, also when it is due'(rig) {
    const older = await rig.submit({ key: 'k' })
    await rig.retry((await rig.leaseOne()).ref, 1000)
    const begun = await rig.submit({ key: 'k', queue: 'other' })
    const { ref } = await rig.leaseOne({ queue: 'other' })
    await rig.done({ kind: 'move', id: older.id, queue: 'other' })
    await rig.restart()
    const running = rig.durable ? (await rig.leaseOne({ queue: 'other' })).ref : ref
    assert.equal(running.id, begun.id)
    await rig.pass(1000)
    assert.equal((await rig.read(older.id))?.blockedBy, begun.id)
    assert.deepEqual(await rig.lease({ queue: 'other' }), [])
    await rig.succeed(running)
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [older.id])
    await rig.store.tick()
    assert.deepEqual(rig.corrupt, [])
  },

  ...atEachPlace(
    (place) => `a job that is ${place} is forgotten`,
    async (rig, { id }) => {
      assert.deepEqual(await rig.command({ kind: 'forget', id }), { kind: 'done' })
      assert.deepEqual(await rig.command({ kind: 'forget', id }), { kind: 'missing' })
      await rig.restart()
      for (const want of ['status', 'result', 'request', 'history'] as const) {
        assert.deepEqual(await rig.store.read([id], want), [undefined])
      }
      const { counts, bytes, finishedBytes, dead } = await rig.stats()
      assert.deepEqual([Object.values(counts).some((count) => count > 0), bytes, finishedBytes, dead], [false, 0, 0, {}])
      assert.deepEqual(await rig.browseIds(), [])
      assert.deepEqual(rig.corrupt, [])
    },
    hasEnded,
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} has not ended, and is not forgotten`,
    async (rig, job) => {
      assert.deepEqual(await rig.command({ kind: 'forget', id: job.id }), { kind: 'unchanged', job })
      assert.deepEqual(await rig.read(job.id), job)
    },
    (place) => !hasEnded(place),
  ),

  ...atEachPlace(
    (place) => `a job that is ${place} is cancelled as far as it can be`,
    async (rig, before, place) => {
      const outcome = await rig.cancel(before.id)
      assert.equal(outcome.kind, hasEnded(place) ? 'unchanged' : 'done')
      const after = await rig.read(before.id)
      assert.equal(after?.status, hasEnded(place) ? before.status : 'cancelled')
      assert.equal(outcome.kind === 'done' && outcome.aborted !== undefined, place === 'running')
      await rig.pass(5000)
      assert.deepEqual(await rig.lease(), [])
    },
  ),

  async 'commands of one batch are carried out one after another'(rig) {
    const { id } = await rig.submit()
    const outcomes = await rig.store.command([
      { kind: 'move', id, queue: 'other' },
      { kind: 'pause', queue: 'other' },
      { kind: 'cancel', id },
      { kind: 'forget', id },
      { kind: 'cancel', id },
    ])
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ['done', 'done', 'done', 'done', 'missing'],
    )
    assert.deepEqual(await rig.lease({ queue: 'other' }), [])
  },

  async 'every way of being is counted, and forgetting all leaves nothing'(rig) {
    // Each more urgent than those before, so that it is the next to be handed out.
    for (const [priority, make] of Object.values(PLACES).entries()) await make(rig, { priority })
    const { counts } = await rig.stats()
    assert.equal(
      Object.values(counts).reduce((sum, count) => sum + count),
      Object.keys(PLACES).length,
    )
    await rig.pass(LEASE_MS)
    for (const id of await rig.browseIds()) {
      await rig.cancel(id)
      await rig.command({ kind: 'forget', id })
    }
    const after = await rig.stats()
    assert.deepEqual([Object.values(after.counts), after.bytes, after.finishedBytes, after.scheduled], [[0, 0, 0, 0, 0, 0, 0], 0, 0, 0])
  },
}
