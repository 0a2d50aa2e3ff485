/** What follows from the end of a job: made once, whatever fails in between, and late rather than never. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { QueueConfig } from '../../src/config/config.ts'
import type { EndedJob, FollowUp } from '../../src/jobs/follow-ups.ts'
import type { StoredJob } from '../../src/ports/job-store.ts'
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

async function rigWith(limits: { readonly jobs?: number } = {}): Promise<JobsRig> {
  const queue = testQueue({ name: 'next', pull: true, limits: { jobs: 1000, bytes: 2 ** 30, finished: 2 ** 30, ...limits } })
  const { pool: _, ...pulled } = queue
  const rig = await startJobsRig({
    config: { queues: [testQueue({ name: 'work' }), pulled] },
    handle: (_request, response) => void response.end('made'),
  })
  rig.jobs.followUps.add(sendOn)
  return rig
}

function pulled(name: string, jobs: number): QueueConfig {
  const { pool: _, ...queue } = testQueue({ name, pull: true, limits: { jobs, bytes: 2 ** 30, finished: 2 ** 30 } })
  return queue
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
  const first = await rig.submit({ followUp: JSON.stringify({ then: { queue: 'chained' } }) })
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
