/** The queue side of the client against a real gateway: what is sent comes as it was, in order, once, also when answers are lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PartialSendError, type ReceivedJob, type SendResult, SpillwayError } from '../../src/client/client.ts'
import { type QueueRig, startQueueRig } from '../support/queue-rig.ts'
import { until } from '../support/until.ts'

function isError(code: string, status?: number): (error: unknown) => boolean {
  return (error) => error instanceof SpillwayError && error.code === code && (status === undefined || error.status === status)
}

/** Of each request that sent jobs: how many. */
function batches(rig: QueueRig): number[] {
  const sends = rig.line.passed.filter(({ path, method }) => method === 'POST' && path.endsWith('/jobs'))
  return sends.map(({ body }) => (JSON.parse(body) as { jobs?: unknown[] }).jobs?.length ?? 1)
}

function ids(results: readonly SendResult[]): string[] {
  return results.map((result) => ('id' in result ? result.id : result.status))
}

async function receiveAll<Payload>(rig: QueueRig, queue: string): Promise<ReceivedJob<Payload>[]> {
  const all: ReceivedJob<Payload>[] = []
  for (;;) {
    const { jobs } = await rig.client.queue<Payload>(queue).receive({ max: 1000 })
    if (jobs.length === 0) return all
    all.push(...jobs)
  }
}

const numbered = (count: number): { payload: { n: number } }[] => Array.from({ length: count }, (_, n) => ({ payload: { n } }))

test('a job goes to the consumer as it was sent, and its result to whoever has the token', async () => {
  await using rig = await startQueueRig()
  const mail = rig.client.queue<{ to: string }, { sent: number }>('mail')
  const sent = await mail.send(
    { to: 'ä@example.com' },
    { key: 'a', priority: 3, tenant: 't', reference: 'r', headers: { 'X-One': ['1', '2'] }, target: '/x?y=1' },
  )
  assert.equal(sent.status, 'created')
  const { jobs } = await mail.receive({ max: 10, lease: '30s', consumer: 'tester' })
  const [job] = jobs
  assert.ok(job !== undefined && jobs.length === 1)
  assert.deepEqual(
    [job.id, job.payload, job.key, job.priority, job.tenant, job.reference, job.headers, job.target, job.attempt, job.attempts],
    [sent.id, { to: 'ä@example.com' }, 'a', 3, 't', 'r', { 'x-one': ['1', '2'] }, '/x?y=1', 1, 5],
  )
  const followed = mail.follow(sent.token)
  assert.equal((await followed.status()).status, 'running')
  await mail.progress(job.receipt, { percent: 10 })
  assert.deepEqual((await followed.status()).progress, { percent: 10 })
  assert.deepEqual(await mail.extend([job.receipt, 'x.1.1.y'], '40s'), [{ status: 'extended' }, { status: 'stale' }])
  const settlement = { receipt: job.receipt, outcome: 'succeed', result: { sent: 1 } } as const
  assert.deepEqual(await mail.settle([settlement]), [{ status: 'settled', job: 'succeeded' }])
  assert.deepEqual(await mail.settle([settlement]), [{ status: 'stale' }])
  assert.deepEqual(await followed.value(), { sent: 1 })
  await assert.rejects(mail.progress(job.receipt, 1), isError('lease_gone', 410))
})

test('payloads and results are JSON, texts or bytes, and come back as what they were', async () => {
  await using rig = await startQueueRig()
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 256)
  const kinds: readonly (readonly [payload: unknown, contentType?: string])[] = [
    [{ a: [1, 'ü', null] }],
    ['a JSON text'],
    [0],
    [false],
    [null],
    ['<a/>', 'application/xml'],
    ['plain', 'text/plain; charset=utf-8'],
    [bytes],
    [bytes.subarray(0, 3), 'image/png'],
  ]
  const queue = rig.client.queue('mail')
  for (const [payload, contentType] of kinds) {
    const sent = await queue.send(payload, contentType === undefined ? {} : { contentType })
    const { jobs } = await queue.receive()
    assert.deepEqual(jobs[0]?.payload, payload)
    const result = contentType === undefined ? { result: payload } : { result: payload, contentType }
    await queue.settle([{ receipt: jobs[0]?.receipt ?? '', outcome: 'succeed', ...result }])
    assert.deepEqual(await queue.follow(sent.token).value(), payload)
  }
  const sent = await queue.send(undefined)
  const { jobs } = await queue.receive()
  await queue.settle([{ receipt: jobs[0]?.receipt ?? '', outcome: 'succeed' }])
  assert.deepEqual([jobs[0]?.payload, await queue.follow(sent.token).value()], [undefined, undefined])
})

test('1,000 jobs are one request, 1,001 are two; results are in order', async () => {
  await using rig = await startQueueRig()
  const queue = rig.client.queue<{ n: number }>('mail')
  await queue.sendMany(numbered(1000))
  assert.deepEqual(batches(rig), [1000])
  await rig.client.queue('mail').sendMany(numbered(1001))
  assert.deepEqual(batches(rig), [1000, 1000, 1])
  assert.deepEqual(await queue.sendMany([]), [])
  const received = await receiveAll<{ n: number }>(rig, 'mail')
  assert.deepEqual(
    received.map(({ payload }) => payload.n),
    [...numbered(1000), ...numbered(1001)].map(({ payload }) => payload.n),
  )
})

test('a batch is split where its bytes are too many, and a single large job goes all the same', async () => {
  await using rig = await startQueueRig({ client: { batch: { bytes: 10_000 } } })
  const text = 'x'.repeat(4000)
  const results = await rig.client
    .queue('mail')
    .sendMany([{ payload: text }, { payload: text }, { payload: text }, { payload: text.repeat(4) }, { payload: 1 }])
  assert.deepEqual(batches(rig), [2, 1, 1, 1])
  assert.ok(results.every(({ status }) => status === 'created'))
})

test('each of many has a result of its own', async () => {
  await using rig = await startQueueRig({ queues: { mail: { limits: { jobs: 2 } } } })
  const results = await rig.client
    .queue('mail')
    .sendMany([
      { payload: 1, idempotencyKey: 'one' },
      { payload: 1, idempotencyKey: 'one' },
      { payload: 2, idempotencyKey: 'one' },
      { payload: 3, priority: 10 },
      { payload: 4 },
      { payload: 5 },
    ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['created', 'duplicate', 'conflict', 'invalid', 'created', 'refused'],
  )
  const refused = results[5]
  assert.ok(refused?.status === 'refused' && refused.limit === 'jobs' && (refused.retryAfterMs ?? 0) >= 1000)
})

test('one that is not accepted is an error that says why', async () => {
  await using rig = await startQueueRig({ queues: { mail: { limits: { jobs: 1 } }, other: {} }, client: { retry: false } })
  const mail = rig.client.queue('mail')
  await mail.send(1, { idempotencyKey: 'one' })
  assert.equal((await mail.send(1, { idempotencyKey: 'one' })).status, 'duplicate')
  await assert.rejects(mail.send(2, { idempotencyKey: 'one' }), isError('idempotency_conflict', 422))
  await assert.rejects(
    mail.send(3),
    (error: unknown) => isError('queue_full', 503)(error) && ((error as SpillwayError).retryAfterMs ?? 0) >= 1000,
  )
  await assert.rejects(mail.send(3, { priority: 10 }), isError('invalid_request', 400))
  await assert.rejects(rig.client.queue('missing').send(3), isError('no_such_queue', 404))
})

test('a full queue is asked again, until there is room', async () => {
  await using rig = await startQueueRig({ queues: { mail: { limits: { jobs: 1 } } }, client: { retry: { maxMs: 60_000 } } })
  const mail = rig.client.queue('mail')
  await mail.send(1)
  const second = mail.send(2)
  await until('it was refused', () => rig.line.passed.length >= 2)
  const { jobs } = await mail.receive()
  await mail.settle([{ receipt: jobs[0]?.receipt ?? '', outcome: 'succeed' }])
  assert.equal((await second).status, 'created')
})

test('a lost answer is asked for again and is the same job', async () => {
  await using rig = await startQueueRig()
  let lose = 1
  rig.line.fault = ({ path }) => (path.endsWith('/jobs') && lose-- > 0 ? 'lose-answer' : undefined)
  const mail = rig.client.queue('mail')
  assert.equal((await mail.send('one')).status, 'duplicate')
  lose = 1
  const results = await mail.sendMany([{ payload: 'two' }, { payload: 'three' }])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['duplicate', 'duplicate'],
  )
  assert.deepEqual(
    (await receiveAll(rig, 'mail')).map(({ payload }) => payload),
    ['one', 'two', 'three'],
  )
})

test('many that fail in the middle say which of them were answered', async () => {
  await using rig = await startQueueRig({ client: { retry: false } })
  let requests = 0
  rig.line.fault = () => (++requests > 2 ? 'lose-request' : undefined)
  const jobs = numbered(2500)
  await assert.rejects(rig.client.queue('mail').sendMany(jobs), (error: unknown) => {
    assert.ok(error instanceof PartialSendError && error.code === 'network')
    assert.deepEqual([error.results.length, batches(rig)], [2000, [1000, 1000, 500]])
    return true
  })
})

test('a receive whose answer is lost is not repeated: its jobs come back when their leases lapse', async () => {
  await using rig = await startQueueRig()
  const mail = rig.client.queue('mail')
  await mail.send('one')
  let lose = 1
  rig.line.fault = ({ path }) => (path.endsWith('/receive') && lose-- > 0 ? 'lose-answer' : undefined)
  await assert.rejects(mail.receive({ lease: '100ms' }), isError('network'))
  assert.equal(rig.line.passed.filter(({ path }) => path.endsWith('/receive')).length, 1)
  const { jobs } = await mail.receive({ wait: '10s' })
  assert.equal(jobs[0]?.payload, 'one')
})

test('a receive settles first, and ends with the signal of its caller', async () => {
  await using rig = await startQueueRig()
  const mail = rig.client.queue('mail')
  await mail.sendMany([
    { payload: 1, key: 'k' },
    { payload: 2, key: 'k' },
  ])
  const first = await mail.receive({ max: 2 })
  assert.deepEqual(
    first.jobs.map(({ payload }) => payload),
    [1],
  )
  const next = await mail.receive({
    max: 2,
    settlements: [{ receipt: first.jobs[0]?.receipt ?? '', outcome: 'fail', reason: 'no', deadLetter: false }],
  })
  assert.deepEqual([next.results, next.jobs.map(({ payload }) => payload)], [[{ status: 'settled', job: 'failed' }], [2]])
  const leaving = new AbortController()
  const waiting = assert.rejects(mail.receive({ wait: '20s', signal: leaving.signal }), /enough/)
  await until('it waits', () => rig.line.passed.filter(({ path }) => path.endsWith('/receive')).length === 3)
  leaving.abort(new Error('enough'))
  await waiting
})

test('looking: pages, what is next, counts', async () => {
  await using rig = await startQueueRig()
  const mail = rig.client.queue('mail')
  const sent = await mail.sendMany(numbered(25).map((job, i) => ({ ...job, reference: i % 2 === 0 ? 'even' : 'odd' })))
  const all: string[] = []
  for await (const { id } of mail.browse({}, { pageSize: 10 })) all.push(id)
  assert.deepEqual(all, ids(sent))
  assert.ok(rig.line.passed.filter(({ path }) => path.includes('limit=10')).length >= 3)
  const newest: string[] = []
  for await (const { id } of mail.browse({ reference: 'odd', status: ['queued', 'running'], since: new Date(0) }, { order: 'newest' }))
    newest.push(id)
  assert.deepEqual(
    newest,
    ids(sent)
      .filter((_, i) => i % 2 === 1)
      .toReversed(),
  )
  assert.deepEqual(
    (await mail.peek({ max: 3 })).map(({ id }) => id),
    ids(sent).slice(0, 3),
  )
  const stats = await mail.stats()
  assert.deepEqual([stats.name, stats.paused], ['mail', false])
})

test('mending: pause, keys, redrive, move, cancel, forget, purge', async () => {
  await using rig = await startQueueRig({ queues: { mail: { attempts: 1, onFailure: 'block' }, other: {} } })
  const mail = rig.client.queue('mail')
  await mail.pause()
  const [first, second] = ids(
    await mail.sendMany([
      { payload: 1, key: 'k' },
      { payload: 2, key: 'k' },
    ]),
  )
  assert.deepEqual((await mail.receive()).jobs, [])
  await mail.resume()
  const { jobs } = await mail.receive({ wait: '10s' })
  await mail.settle([{ receipt: jobs[0]?.receipt ?? '', outcome: 'retry', reason: 'not today' }])
  const [key] = await mail.keys({ blocked: true })
  assert.deepEqual([key?.key, key?.blocked, key?.waiting], ['k', true, 1])
  await mail.release('k')
  assert.deepEqual(await mail.keys({ blocked: true }), [])
  const next = await mail.receive({ wait: '10s' })
  assert.equal(next.jobs[0]?.id, second)
  await mail.settle([{ receipt: next.jobs[0]?.receipt ?? '', outcome: 'succeed' }])

  const job = rig.client.job(first ?? '')
  assert.equal((await job.read({ include: ['request', 'history'] })).status, 'failed')
  assert.equal(typeof (await mail.redrive({ dead: 'attempts' })).id, 'number')
  const again = await mail.receive({ wait: '10s' })
  assert.equal(again.jobs[0]?.id, first)
  await mail.settle([{ receipt: again.jobs[0]?.receipt ?? '', outcome: 'fail' }])
  await job.redrive({ payload: 'other', queue: 'other', delay: '1h' })
  assert.equal((await job.read()).queue, 'other')
  await job.move('mail')
  await job.cancel()
  assert.equal((await job.read()).status, 'cancelled')
  await job.forget()
  await assert.rejects(job.read(), isError('no_such_job', 404))
  await mail.purge()
  await until('the queue is empty', async () => (await mail.browse().next()).done === true)
  assert.ok(Array.isArray(await rig.client.tasks.list()))
})

test('topics and schedules', async () => {
  const topics = { orders: { subscriptions: { mail: { queue: 'mail', filter: { fields: { '/type': 'created' } } } } } }
  await using rig = await startQueueRig({ config: { topics } })
  const orders = rig.client.topic<{ type: string }>('orders')
  const published = await orders.publish({ type: 'created' })
  assert.deepEqual([published.status, published.copies.map(({ subscription }) => subscription)], ['published', ['mail']])
  const many = await orders.publishMany([{ payload: { type: 'created' } }, { payload: { type: 'paid' } }])
  assert.deepEqual(
    many.map((result) => ('copies' in result ? result.copies.length : -1)),
    [1, 0],
  )
  const streamed: string[] = []
  for await (const { status } of orders.publishStream([{ payload: { type: 'created' } }])) streamed.push(status)
  assert.deepEqual(streamed, ['published'])

  const { schedules } = rig.client
  await schedules.put('daily', {
    queue: 'mail',
    cron: '0 6 * * *',
    timeZone: 'Europe/Berlin',
    job: { payload: { daily: true } },
    paused: true,
  })
  assert.equal((await schedules.get('daily')).queue, 'mail')
  assert.deepEqual(
    (await schedules.list()).map(({ name }) => name),
    ['daily'],
  )
  await schedules.remove('daily')
  assert.deepEqual(await schedules.list(), [])
})

test('without a token, with a wrong one, without the right: errors, not repeated', async () => {
  await using rig = await startQueueRig({ client: { token: 'wrong-token-of-nobody' } })
  await assert.rejects(rig.client.queue('mail').stats(), (error: unknown) => error instanceof SpillwayError && error.status === 401)
  assert.equal(rig.line.passed.length, 1)
})

test('a batch is taken together or not at all, once, and followed as one', async () => {
  await using rig = await startQueueRig()
  const mail = rig.client.queue<{ n: number }, { sent: number }>('mail')
  let lose = 1
  rig.line.fault = ({ path }) => (path.endsWith('/batches') && lose-- > 0 ? 'lose-answer' : undefined)
  const batch = await mail.batch(numbered(3), { reference: 'r' })
  const waiting = await batch.status()
  assert.deepEqual([waiting.status, waiting.total, waiting.counts.queued, waiting.reference], ['running', 3, 3, 'r'])
  const ended = batch.wait({ timeout: '20s' })
  const received = await receiveAll<{ n: number }>(rig, 'mail')
  assert.equal(received.length, 3, 'its answer was lost, and its repeat made no others')
  await mail.settle(received.map(({ receipt, payload }) => ({ receipt, outcome: 'succeed', result: { sent: payload.n } })))
  assert.deepEqual((await ended).counts.succeeded, 3)
  const values: unknown[] = []
  for await (const { job } of rig.client.batch<{ sent: number }>(batch.token).jobs()) values.push(await job?.value())
  assert.deepEqual(values, [{ sent: 0 }, { sent: 1 }, { sent: 2 }])
  const other = await mail.batch(numbered(2))
  assert.equal((await other.cancel()).counts.cancelled, 2)
  await assert.rejects(other.wait({ timeout: '0ms' }), isError('timeout'))
  await assert.rejects(mail.batch([]), isError('invalid_request', 400))
  await assert.rejects(rig.client.batch('00000000001.x').status(), isError('no_such_batch', 404))
})

test('a job says where its result goes, and its status tells of the next', async () => {
  await using rig = await startQueueRig({ queues: { mail: {}, archive: {} } })
  const mail = rig.client.queue<string, string>('mail')
  const sent = await mail.send('in', { then: { queue: 'archive', target: '/kept' } })
  const [first] = (await mail.receive()).jobs
  await mail.settle([{ receipt: first?.receipt ?? '', outcome: 'succeed', result: 'out' }])
  await until('it is followed', async () => (await mail.follow(sent.token).status()).next !== undefined)
  const [next] = (await rig.client.queue('archive').receive()).jobs
  assert.deepEqual([next?.payload, next?.target, next?.parent], ['out', '/kept', first?.id])
  const { next: told } = await mail.follow(sent.token).status()
  assert.ok(told !== undefined && 'id' in told)
  assert.equal(told.id, next?.id)
})
