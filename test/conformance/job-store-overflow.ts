/** Full queues: what counts, who is refused, and who goes where the oldest makes room (`overflow: drop-oldest`). */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'
import { idempotency, type Rig } from './rig.ts'

const DROP = { overflow: 'drop-oldest' } as const

async function statuses(rig: Rig, ids: readonly (string | undefined)[]): Promise<readonly (string | undefined)[]> {
  const reads = await rig.store.read(
    ids.map((id) => id ?? ''),
    'status',
  )
  return reads.map((read) => read?.job.dead ?? read?.job.status)
}

export const overflowCases: Cases = {
  async 'at the limit of jobs the oldest that waits becomes a dead letter, and that is told'(rig) {
    await rig.configure(DROP, { jobs: 3 })
    const jobs = await rig.submitAll([{ priority: 9 }, {}, {}])
    assert.deepEqual(await statuses(rig, [jobs[0]?.id]), ['queued'], 'as many as may be')
    const last = await rig.submit()
    const dropped = await rig.read(jobs[0]?.id ?? '')
    assert.deepEqual([dropped?.status, dropped?.dead, dropped?.error?.code], ['failed', 'overflow', 'queue_overflow'])
    assert.equal((await rig.request(dropped?.id ?? ''))?.body, 'in', 'it can be sent again')
    assert.deepEqual(
      (await rig.store.tick()).changed.map(({ id }) => id),
      [jobs[0]?.id],
    )
    assert.deepEqual(await rig.leaseIds(), [jobs[1]?.id, jobs[2]?.id, last.id])
  },

  async 'at the limit of bytes as many go as make room'(rig) {
    const size = (await rig.submit({ body: Buffer.alloc(1000) })).requestBytes
    await rig.configure(DROP, { bytes: 3 * size })
    const [, second] = [undefined, ...(await rig.submitAll([{ body: Buffer.alloc(1000) }, { body: Buffer.alloc(1000) }]))]
    const large = await rig.submit({ body: Buffer.alloc(1000 + size) })
    assert.equal((await rig.stats()).bytes, 3 * size)
    assert.equal((await rig.read(second?.id ?? ''))?.dead, 'overflow')
    assert.equal((await rig.read(large.id))?.status, 'queued')
  },

  async 'one large job pushes out as many small ones as it takes, and is not refused for it'(rig) {
    const small = (await rig.submit({ body: Buffer.alloc(10) })).requestBytes
    await rig.submitAll(Array.from({ length: 299 }, () => ({ body: Buffer.alloc(10) })))
    await rig.configure(DROP, { bytes: 300 * small })
    const large = await rig.submit({ body: Buffer.alloc(10 + 199 * small) })
    const { counts, bytes } = await rig.stats()
    assert.deepEqual([counts.queued, counts.failed, bytes], [101, 200, 300 * small])
    assert.equal((await rig.read(large.id))?.status, 'queued')
  },

  async 'where what runs may keep the room that is needed, only some are pushed out'(rig) {
    const large = (await rig.submit({ body: Buffer.alloc(20_000) })).requestBytes
    await rig.leaseOne({ max: 1 })
    await rig.submitAll(Array.from({ length: 400 }, () => ({})))
    const { bytes } = await rig.stats()
    await rig.configure(DROP, { bytes })
    const refused = await rig.trySubmit({ body: Buffer.alloc(bytes - large + 1000) })
    assert.equal(refused.kind === 'refused' && refused.limit, 'bytes')
    const { queued } = (await rig.stats()).counts
    assert.ok(queued > 20, `${queued} of 400 are left`)
  },

  async 'of very many that are too old some go with each that comes, which is taken all the same'(rig) {
    await rig.submitAll(Array.from({ length: 400 }, () => ({})))
    rig.clock.advance(5000)
    await rig.configure(DROP, { age: 5000 })
    const left: number[] = []
    // Where an engine fails, asking again makes more of them go.
    for (let n = 0; n < 8; n++) {
      await rig.submit()
      left.push((await rig.stats()).counts.queued)
    }
    assert.ok((left[0] ?? 0) > 20 && (left[0] ?? 0) < 340, `not all at once: ${left.join()}`)
    assert.ok((left.at(-1) ?? 0) < 30, `in the end all: ${left.join()}`)
  },

  async 'of very many that a lowered limit has no place for some go with each that comes, which is refused meanwhile'(rig) {
    await rig.submitAll(Array.from({ length: 400 }, () => ({})))
    await rig.configure(DROP, { jobs: 10 })
    const kinds: string[] = []
    while (kinds.at(-1) !== 'created' && kinds.length < 10) kinds.push((await rig.trySubmit()).kind)
    assert.deepEqual([kinds[0], new Set(kinds.slice(0, -1)).size, kinds.at(-1)], ['refused', 1, 'created'])
    assert.equal((await rig.stats()).counts.queued, 10)
  },

  async 'a job that is larger than the queue may hold is refused, and pushes nobody out'(rig) {
    const { id, requestBytes } = await rig.submit({ body: Buffer.alloc(1000) })
    await rig.configure(DROP, { bytes: requestBytes })
    const refused = await rig.trySubmit({ body: Buffer.alloc(1001) })
    assert.equal(refused.kind === 'refused' && refused.limit, 'bytes')
    assert.deepEqual(await statuses(rig, [id]), ['queued'])
    await rig.submit({ body: Buffer.alloc(1000) })
    assert.deepEqual(await statuses(rig, [id]), ['overflow'])
  },

  async 'what runs and what waits for time makes no room'(rig) {
    await rig.configure(DROP, { jobs: 3 })
    const [delayed, , retrying] = await rig.submitAll([{ delayMs: 5000 }, {}, {}])
    const [running, again] = await rig.lease({ max: 2 })
    await rig.retry(again?.ref ?? assert.fail(), 5000)
    assert.equal(again?.ref.id, retrying?.id)
    const refused = await rig.trySubmit()
    assert.equal(refused.kind === 'refused' && refused.limit, 'jobs')
    assert.deepEqual(await statuses(rig, [delayed?.id, running?.ref.id, again?.ref.id]), ['queued', 'running', 'retrying'])
  },

  async 'nobody is pushed out in vain'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 6 }, () => ({})))
    await rig.lease({ max: 3 })
    await rig.configure(DROP, { jobs: 3 })
    assert.equal((await rig.trySubmit()).kind, 'refused', 'three run, and there is no more room than that')
    assert.deepEqual(
      await statuses(
        rig,
        jobs.map(({ id }) => id),
      ),
      ['running', 'running', 'running', 'queued', 'queued', 'queued'],
    )
    await rig.configure(DROP, { jobs: 0 })
    assert.equal((await rig.trySubmit()).kind, 'refused')
    assert.equal((await rig.stats()).counts.queued, 3)
  },

  async 'a job that waits again after an attempt may be the oldest'(rig) {
    await rig.configure(DROP, { jobs: 1 })
    const { id } = await rig.submit()
    await rig.retry((await rig.leaseOne()).ref, 0)
    await rig.submit()
    const dropped = await rig.read(id)
    assert.deepEqual([dropped?.status, dropped?.dead, dropped?.attempt], ['failed', 'overflow', 1])
  },

  async 'one that waits behind its key is as old as it is, and its key goes on without it'(rig) {
    await rig.configure(DROP, { jobs: 3 })
    const [first, second, third] = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    const other = await rig.submit()
    assert.deepEqual(await statuses(rig, [first?.id, second?.id, third?.id, other.id]), ['running', 'overflow', 'queued', 'queued'])
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [third?.id, other.id])
  },

  async 'it never blocks a key'(rig) {
    await rig.configure({ ...DROP, onFailure: 'block' }, { jobs: 2 })
    const [first, second] = await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    await rig.submit()
    assert.deepEqual([(await rig.read(first?.id ?? ''))?.dead, (await rig.read(first?.id ?? ''))?.blocksKey], ['overflow', false])
    assert.equal((await rig.leaseOne({ max: 1 })).ref.id, second?.id)
    assert.equal((await rig.stats()).blockedKeys, 0)
  },

  async 'a repeated submission pushes nobody out'(rig) {
    await rig.configure(DROP, { jobs: 1 })
    const { id } = await rig.submit(idempotency('a'))
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'duplicate')
    assert.equal((await rig.trySubmit(idempotency('a', 'other'))).kind, 'conflict')
    assert.deepEqual(await statuses(rig, [id]), ['queued'])
  },

  async 'many at once push out one after another'(rig) {
    await rig.configure(DROP, { jobs: 5 })
    const jobs = await rig.submitAll(Array.from({ length: 200 }, () => ({})))
    const { counts, dead, bytes } = await rig.stats()
    assert.deepEqual([counts.queued, counts.failed, dead], [5, 195, { overflow: 195 }])
    assert.equal(bytes, 5 * (jobs[0]?.requestBytes ?? 0))
    assert.equal((await rig.settleTime()).length, 195)
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.slice(195).map(({ id }) => id),
    )
  },

  async 'a lowered limit lets the oldest go as new ones come'(rig) {
    await rig.submitAll(Array.from({ length: 20 }, () => ({})))
    await rig.configure(DROP, { jobs: 4 })
    await rig.submit()
    assert.equal((await rig.stats()).counts.queued, 4)
  },

  async 'what was pushed out weighs as other finished jobs do'(rig) {
    await rig.configure(DROP, { jobs: 1, finished: 3000 })
    const jobs = await rig.submitAll(Array.from({ length: 10 }, () => ({})))
    assert.ok((await rig.stats()).finishedBytes <= 3000)
    assert.equal(await rig.read(jobs[0]?.id ?? ''), undefined)
    assert.equal((await rig.read(jobs[8]?.id ?? ''))?.dead, 'overflow', 'never the one that ended just now')
  },

  async 'where the oldest has waited as long as it may, others are refused until it goes'(rig) {
    await rig.configure({}, { age: 5000 })
    await rig.submit()
    rig.clock.advance(4999)
    await rig.submit()
    rig.clock.advance(1)
    const refused = await rig.trySubmit()
    assert.equal(refused.kind === 'refused' && refused.limit, 'age')
    const { ref } = await rig.leaseOne({ max: 1 })
    assert.equal((await rig.trySubmit()).kind, 'created', 'what runs does not wait')
    await rig.retry(ref, 0)
    assert.equal((await rig.trySubmit()).kind, 'refused', 'what waits again does')
  },

  async 'waiting for time is not waiting for a server'(rig) {
    await rig.configure({}, { age: 5000 })
    await rig.submit({ delayMs: 50_000 })
    rig.clock.advance(20_000)
    assert.equal((await rig.trySubmit()).kind, 'created')
  },

  async 'one that waits for its key waits'(rig) {
    await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    await rig.configure({}, { age: 5000 })
    await rig.leaseOne()
    rig.clock.advance(5000)
    assert.equal((await rig.trySubmit()).kind, 'refused')
  },

  async 'at the limit of age the oldest go until none is too old'(rig) {
    const [a, b] = await rig.submitAll([{}, {}])
    rig.clock.advance(3000)
    const young = await rig.submit()
    await rig.configure(DROP, { age: 5000 })
    rig.clock.advance(2000)
    await rig.submit()
    assert.deepEqual(await statuses(rig, [a?.id, b?.id, young.id]), ['overflow', 'overflow', 'queued'])
  },

  async 'a queue that is full is full for schedules too, and pushes out for them'(rig) {
    await rig.configure(DROP, { jobs: 1 })
    const { id } = await rig.submit()
    await rig.schedule()
    const { changed } = await rig.pass(60_000)
    assert.deepEqual(
      changed.map((job) => job.id),
      [id],
      'told with the tick that did it',
    )
    assert.equal((await rig.scheduleState()).made, 1)
    assert.equal((await rig.stats()).counts.queued, 1)
  },
}
