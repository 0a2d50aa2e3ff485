/** What follows from the end of a job: made once, whatever fails in between, and late rather than never. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { QueueConfig } from '../../src/config/config.ts'
import type { EndedJob, FollowUp } from '../../src/jobs/follow-ups.ts'
import type { Bytes } from '../../src/lib/units.ts'
import type { NewJob, StoredJob } from '../../src/ports/job-store.ts'
import { newJob } from '../conformance/rig.ts'
import { type JobsRig, startJobsRig } from '../support/jobs-rig.ts'
import { testQueue } from '../support/test-config.ts'
import { until } from '../support/until.ts'

/** The job's answer is sent on to a queue that nobody works off. */
async function sendOn({ job, answer }: EndedJob): Promise<FollowUp | undefined> {
  if (job.followUp !== 'send on') return undefined
  const body = (await answer())?.body ?? Buffer.from(job.status)
  return { jobs: [{ name: 'next', job: newJob({ queue: 'next', body }) }], notes: [{ name: `done/${job.id}`, text: job.status }] }
}

/** Nobody works it off. */
function pulled(name: string, jobs: number, bytes: Bytes = 2 ** 30): QueueConfig {
  const { pool: _, ...queue } = testQueue({ name, pull: true, limits: { jobs, bytes, finished: 2 ** 30 } })
  return queue
}

const thenTo = (queue: string): Pick<NewJob, 'followUp'> => ({ followUp: JSON.stringify({ then: { queue } }) })

async function rigWith(limits: { readonly jobs?: number } = {}): Promise<JobsRig> {
  const rig = await startJobsRig({
    config: { queues: [testQueue({ name: 'work' }), pulled('next', limits.jobs ?? 1000)] },
    handle: (_request, response) => void response.end('made'),
  })
  rig.jobs.followUps.add(sendOn)
  return rig
}

/** With room for one job in `full`, which is there. */
async function rigWithFull(): Promise<JobsRig & { makeRoom(): Promise<unknown> }> {
  const rig = await startJobsRig({ config: { queues: [testQueue({ name: 'work' }), pulled('open', 1000), pulled('full', 1)] } })
  const filling = await rig.submit({ queue: 'full' })
  return Object.assign(rig, { makeRoom: () => rig.jobs.cancel(filling.id, false) })
}

async function jobsIn(rig: JobsRig, queue: string): Promise<readonly StoredJob[]> {
  return (await rig.store.browse({ filter: { queue }, max: 10 })).jobs
}

const BOTH = [
  { name: 'one', job: newJob({ queue: 'open' }) },
  { name: 'two', job: newJob({ queue: 'full' }) },
]

/** Somebody empties the queue; what is tried again a second later must not fill it. */
async function emptied(rig: JobsRig, queue: string): Promise<void> {
  const [made] = await jobsIn(rig, queue)
  await rig.jobs.cancel(made?.id ?? '', false)
  assert.equal((await rig.store.command([{ kind: 'forget', id: made?.id ?? '' }]))[0]?.kind, 'done')
}

async function bodies(rig: JobsRig): Promise<readonly string[]> {
  const { jobs } = await rig.store.browse({ filter: { queue: 'next' }, max: 100 })
  const reads = await rig.store.read(
    jobs.map(({ id }) => id),
    'request',
  )
  return reads.map((read) => Buffer.from(read?.request?.body ?? []).toString())
}

const isDone = async (rig: JobsRig, { id }: StoredJob): Promise<boolean> => (await rig.status(id)).followUpDue !== true

test('what follows from an end is made of it, and only of those that ask for it', async () => {
  await using rig = await rigWith()
  const asks = await rig.submit({ followUp: 'send on' })
  const other = await rig.submit()
  await Promise.all([asks, other].map(({ id }) => rig.ended(id)))
  await until('it is done', () => isDone(rig, asks))
  assert.deepEqual(await bodies(rig), ['made'])
  assert.deepEqual(await rig.store.notes('done/'), [{ name: `done/${asks.id}`, text: 'succeeded' }])
})

test('where what follows has no room it waits, and is made once there is some', async () => {
  await using rig = await rigWith({ jobs: 1 })
  const first = await rig.submit({ followUp: 'send on' })
  await rig.ended(first.id)
  await until('the first is done', () => isDone(rig, first))
  const second = await rig.submit({ followUp: 'send on' })
  await rig.ended(second.id)
  await until('it is told of', () =>
    rig.events.some((event) => event.type === 'warning' && /is late: .*as many as it may/.test(event.message)),
  )
  assert.equal((await rig.status(second.id)).followUpDue, true)
  const [held] = (await rig.store.browse({ filter: { queue: 'next' }, max: 1 })).jobs
  await rig.jobs.cancel(held?.id ?? '', false)
  await until('it is done', () => isDone(rig, second))
  assert.equal((await bodies(rig)).length, 2)
})

test('a maker that fails keeps its own waiting, not the others', async () => {
  await using rig = await rigWith()
  let failures = 0
  rig.jobs.followUps.add(({ job }) => {
    if (job.followUp !== 'fail' || ++failures > 1) return undefined
    throw new Error('a bug')
  })
  const failing = await rig.submit({ followUp: 'fail' })
  const fine = await rig.submit({ followUp: 'send on' })
  await Promise.all([failing, fine].map(({ id }) => rig.ended(id)))
  await until('the other is done', () => isDone(rig, fine))
  await until('the failing one is done', () => isDone(rig, failing))
  assert.ok(failures > 1)
})

test('made again, after the store has failed to hear that it is done, it is the same job', async () => {
  await using rig = await rigWith()
  const command = rig.store.command.bind(rig.store)
  let refused = 0
  rig.store.command = (commands) => {
    if (commands[0]?.kind !== 'followed' || ++refused > 1) return command(commands)
    return Promise.reject(new Error('injected'))
  }
  const job = await rig.submit({ followUp: 'send on' })
  await until('it is done', () => isDone(rig, job).then((done) => done && refused > 1))
  assert.deepEqual(await bodies(rig), ['made'])
})

test('where something else that follows has no room, the next job of the chain is made once, whatever becomes of it', async () => {
  await using rig = await startJobsRig({ config: { queues: [testQueue({ name: 'work' }), pulled('chained', 1000), pulled('full', 1)] } })
  rig.jobs.followUps.add(({ job }) => (job.queue === 'work' ? { jobs: [{ name: 'tell', job: newJob({ queue: 'full' }) }] } : undefined))
  const filling = await rig.submit({ queue: 'full' })
  const first = await rig.submit(thenTo('chained'))
  const made = async (): Promise<readonly StoredJob[]> => (await rig.store.browse({ filter: { queue: 'chained' }, max: 10 })).jobs
  await until('the next one is made', async () => (await made()).length === 1)
  const [next] = await made()
  await until('it is told of', async () => (await rig.status(first.id)).next !== undefined)
  assert.equal((await rig.status(first.id)).followUpDue, true)
  await rig.jobs.cancel(next?.id ?? '', false)
  assert.equal((await rig.store.command([{ kind: 'forget', id: next?.id ?? '' }]))[0]?.kind, 'done')
  await rig.jobs.cancel(filling.id, false)
  await until('all is done', () => isDone(rig, first))
  assert.deepEqual(await made(), [])
  assert.deepEqual((await rig.status(first.id)).next, { id: next?.id, secret: next?.secret })
})

test('ends that have to wait hide nothing behind them, however many they are, and those of their key wait as well', async () => {
  await using rig = await startJobsRig({
    queue: { concurrency: 64 },
    config: { queues: [testQueue({ name: 'work', concurrency: 64 }), pulled('full', 1), pulled('free', 1000)] },
  })
  const filling = await rig.submit({ queue: 'full' })
  const stuck = await Promise.all(Array.from({ length: 250 }, (_, i) => rig.submit({ ...thenTo('full'), key: `k${i}` })))
  await Promise.all(stuck.map(({ id }) => rig.ended(id)))
  const [behind, sameKey] = [await rig.submit(thenTo('free')), await rig.submit({ ...thenTo('free'), key: 'k7' })]
  await rig.ended(sameKey.id)
  const later = await rig.submit({ ...thenTo('free'), key: 'another' })
  await until('what can go on has gone on', async () => (await isDone(rig, behind)) && (await isDone(rig, later)))
  assert.equal(await isDone(rig, sameKey), false)
  await rig.store.command([{ kind: 'configure', queue: 'full', limits: { jobs: 1000, bytes: 2 ** 30, finished: 2 ** 30 } }])
  await until('all have gone on', async () => (await rig.store.followUps(1)).length === 0)
  const { jobs } = await rig.store.browse({ filter: { queue: 'full' }, max: 1000 })
  assert.equal(new Set(jobs.map(({ parent }) => parent?.id)).size, 251)
  assert.equal(jobs.length, 251, 'with what filled it')
  assert.ok(jobs.some(({ id }) => id === filling.id))
})

test('of the results that are sent on only so many are held in memory at a time', async () => {
  const body = Buffer.alloc(1024 * 1024 - 1024)
  await using rig = await startJobsRig({
    config: { queues: [testQueue({ name: 'work' }), pulled('full', 1), pulled('free', 1000)] },
    handle: (_, response) => void response.end(body),
  })
  await rig.jobs.followUps.close()
  for (let i = 0; i < 40; i++) await rig.ended((await rig.submit(thenTo('free'))).id)
  const { read, submit } = rig.store
  const held = { now: 0, most: 0 }
  rig.store.read = async (ids, want) => {
    const reads = await read(ids, want)
    held.now += reads.reduce((sum, each) => sum + (each?.answer?.body.length ?? 0), 0)
    held.most = Math.max(held.most, held.now)
    return reads
  }
  rig.store.submit = async (jobs) => {
    const submitted = await submit(jobs)
    held.now -= jobs.reduce((sum, { request }) => sum + request.body.length, 0)
    return submitted
  }
  rig.jobs.followUps.start()
  await until('all have gone on', async () => (await rig.store.followUps(1)).length === 0)
  assert.ok(held.most > body.length && held.most <= 16 * 1024 * 1024, `${held.most} bytes were held`)
})

test('where a result finds no room, what is smaller goes on', async () => {
  await using rig = await startJobsRig({
    config: { queues: [testQueue({ name: 'work' }), pulled('small', 1000, 10_000)] },
    handle: ({ url }, response) => void response.end(Buffer.alloc(Number(url.slice(1)))),
  })
  await rig.submit({ queue: 'small', request: { method: 'POST', target: '/', headers: [], body: Buffer.alloc(5000) } })
  const sized = async (bytes: number): Promise<StoredJob> => {
    const request = { method: 'POST', target: `/${bytes}`, headers: [], body: Buffer.alloc(0) }
    return rig.ended((await rig.submit({ ...thenTo('small'), request })).id)
  }
  const large = await sized(6000)
  await until('it is told of', () => rig.events.some((event) => event.type === 'warning' && /is late: .*as many bytes/.test(event.message)))
  for (let i = 0; i < 3; i++) {
    const small = await sized(100)
    await until('the small one is done', () => isDone(rig, small))
  }
  assert.equal(await isDone(rig, large), false)
  const never = await sized(10_001)
  await until('one that is larger than the queue is done', () => isDone(rig, never))
  assert.match(JSON.stringify((await rig.status(never.id)).next), /chain_result_too_large/)
})

test('where a part of what follows has no room, the other part is made once, whatever becomes of it', async () => {
  await using rig = await rigWithFull()
  rig.jobs.followUps.add(({ job }) => (job.queue === 'work' ? { jobs: BOTH } : undefined))
  const job = await rig.submit({ followUp: 'tell' })
  await until('what was made is kept', async () => (await rig.status(job.id)).followedBy?.includes('one') === true)
  await emptied(rig, 'open')
  await rig.makeRoom()
  await until('all is done', () => isDone(rig, job))
  assert.deepEqual([await jobsIn(rig, 'open'), (await jobsIn(rig, 'full')).length], [[], 2])
  assert.equal((await rig.status(job.id)).followedBy, undefined)
})

test('of what follows from the end of a batch, too, each part is made once', async () => {
  await using rig = await rigWithFull()
  rig.jobs.batches.onEnded(() => BOTH)
  const taken = await rig.jobs.batches.submit({ jobs: [newJob({ queue: 'work', followUp: JSON.stringify({ batch: { index: 0 } }) })] })
  const batch = 'batch' in taken ? taken.batch : assert.fail(taken.kind)
  await until('what was made is kept', async () => batch.head.followedBy?.includes('one') === true)
  await emptied(rig, 'open')
  await rig.makeRoom()
  await until('all is done', async () => batch.head.due === undefined)
  assert.deepEqual([await jobsIn(rig, 'open'), (await jobsIn(rig, 'full')).length], [[], 2])
  assert.equal(batch.head.followedBy, undefined)
})
