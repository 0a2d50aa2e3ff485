/** The worker against a real gateway: what becomes of jobs by what their handlers do, how many run at once, how it stops. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createWorker,
  Fail,
  type Handler,
  Release,
  RetryAfter,
  type Worker,
  WorkerError,
  type WorkerOptions,
} from '../../src/client/worker/worker.ts'
import { type QueueRig, startQueueProcess, startQueueRig } from '../support/queue-rig.ts'
import { until } from '../support/until.ts'

interface Reported {
  readonly code: string
  readonly job: string | undefined
}

interface WorkerUnderTest extends AsyncDisposable {
  readonly worker: Worker
  readonly reported: readonly Reported[]
}

function startWorker<Payload, Result>(
  rig: QueueRig,
  handler: Handler<Payload, Result>,
  options: Partial<WorkerOptions<Payload, Result>> = {},
): WorkerUnderTest {
  const reported: Reported[] = []
  const worker = createWorker<Payload, Result>({
    url: rig.url,
    token: rig.token,
    queue: 'mail',
    handler,
    wait: '300ms',
    backoff: { baseMs: 10, maxMs: 200 },
    onError: (error, { job }) => reported.push({ code: error instanceof WorkerError ? error.code : String(error), job: job?.id }),
    ...options,
  })
  return { worker, reported, [Symbol.asyncDispose]: async () => void (await worker.stop({ timeoutMs: 0, settleTimeoutMs: 0 })) }
}

/** A place where handlers wait until the test lets them go. */
function gate(): { readonly waiting: (() => void)[]; pass(): Promise<void>; open(): void } {
  const waiting: (() => void)[] = []
  let isOpen = false
  return {
    waiting,
    pass: () => (isOpen ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    open() {
      isOpen = true
      for (const go of waiting.splice(0)) go()
    },
  }
}

interface Entry {
  readonly outcome: string
}

async function historyOf(rig: QueueRig, id: string): Promise<readonly Entry[]> {
  return (await rig.read(id))['history'] as readonly Entry[]
}

test('a job is handled, and what the handler returns is its result', async () => {
  await using rig = await startQueueRig()
  await using started = startWorker<{ to: string }, { sent: string }>(rig, async (job, { progress, attempt, fence, signal }) => {
    await progress({ percent: 50 })
    assert.deepEqual([attempt, fence, signal.aborted], [1, job.fence, false])
    return { sent: job.payload.to }
  })
  const mail = rig.client.queue<{ to: string }, { sent: string }>('mail')
  const sent = await mail.send({ to: 'ann' })
  assert.deepEqual(await mail.follow(sent.token).value(), { sent: 'ann' })
  assert.deepEqual((await mail.follow(sent.token).status()).progress, { percent: 50 })
  assert.deepEqual(await started.worker.stop(), { released: 0, unsettled: 0 })
  assert.deepEqual(started.reported, [])
})

test('as many run at once as were asked for, and not one more', async () => {
  await using rig = await startQueueRig()
  const handlers = gate()
  await using started = startWorker(rig, () => handlers.pass(), { concurrency: 3 })
  await rig.client.queue('mail').sendMany(Array.from({ length: 10 }, (_, n) => ({ payload: n })))
  await until('three run', () => handlers.waiting.length === 3)
  await rig.untilJobs('mail', 'running', 3)
  assert.deepEqual([started.worker.running, (await rig.client.queue('mail').receive({ max: 1000, lease: '100ms' })).jobs.length], [3, 7])
  handlers.open()
  await rig.untilJobs('mail', 'succeeded', 10)
  await started.worker.stop()
})

test('what a handler throws decides: again, again later, back, or for good', async () => {
  await using rig = await startQueueRig()
  const seen: Record<string, number> = {}
  const throws: Record<string, () => Error> = {
    error: () => new Error('broken'),
    later: () => new RetryAfter('10ms', 'busy'),
    release: () => new Release(),
    fail: () => new Fail('never'),
    quiet: () => new Fail('never', { deadLetter: false }),
  }
  await using started = startWorker<string, string>(rig, ({ payload, attempt }) => {
    seen[payload] = (seen[payload] ?? 0) + 1
    if ((seen[payload] ?? 0) <= 2) throw (throws[payload] as () => Error)()
    return `${payload} ${attempt}`
  })
  const mail = rig.client.queue<string, string>('mail')
  const follow = async (payload: string): Promise<string> => mail.follow((await mail.send(payload)).token).value()
  // Two attempts failed; released ones are none.
  assert.deepEqual(await Promise.all([follow('error'), follow('later'), follow('release')]), ['error 3', 'later 3', 'release 1'])
  const failed = await mail.send('fail')
  const quiet = await mail.send('quiet')
  const [first, second] = await Promise.all([mail.follow(failed.token).wait(), mail.follow(quiet.token).wait()])
  assert.deepEqual([first.status, first.error?.detail, second.status], ['failed', 'never', 'failed'])
  assert.deepEqual([seen['fail'], seen['quiet']], [1, 1])
  const dead: string[] = []
  for await (const { id } of mail.browse({ dead: true })) dead.push(id)
  assert.deepEqual(dead, [failed.id])
  await started.worker.stop()
  assert.equal(started.reported.filter(({ code }) => code === 'Error: broken').length, 2)
  assert.ok(!started.reported.some(({ code }) => code.startsWith('Release')))
})

test("a result that is no JSON, or larger than may be kept, is the handler's failure, and is told", async () => {
  await using rig = await startQueueRig({
    queues: { mail: { attempts: 2, backoff: { base: '10ms' } } },
    config: { limits: { result: '64KiB' } },
  })
  const results: Record<string, unknown> = { number: 1n, large: 'x'.repeat(65 * 1024), fits: 'x'.repeat(63 * 1024) }
  await using started = startWorker<string, unknown>(rig, ({ payload }) => results[payload])
  const mail = rig.client.queue<string, unknown>('mail')
  const ended = await Promise.all(
    Object.keys(results).map(async (payload) => {
      const { status, attempt } = await mail.follow((await mail.send(payload)).token).wait()
      return [payload, status, attempt]
    }),
  )
  assert.deepEqual(ended, [
    ['number', 'failed', 2],
    ['large', 'failed', 1],
    ['fits', 'succeeded', 1],
  ])
  await started.worker.stop()
  assert.ok(started.reported.some(({ code }) => code === 'not_settled'))
})

test('a handler that takes longer than it may is told to end, and its job is tried again', async () => {
  await using rig = await startQueueRig()
  const aborted: unknown[] = []
  await using started = startWorker<number, string>(
    rig,
    ({ attempt }, { signal }) =>
      attempt > 1
        ? 'second'
        : new Promise((_, reject) => signal.addEventListener('abort', () => reject((aborted.push(signal.reason), signal.reason)))),
    { timeout: '100ms' },
  )
  const mail = rig.client.queue<number, string>('mail')
  assert.equal(await mail.follow((await mail.send(1)).token).value(), 'second')
  assert.ok(aborted[0] instanceof WorkerError && aborted[0].code === 'handler_timeout')
  assert.deepEqual(
    started.reported.map(({ code }) => code),
    ['handler_timeout'],
  )
  await started.worker.stop()
})

test('a handler gets no longer than its job has left', async () => {
  await using rig = await startQueueRig()
  const ended = gate()
  await using started = startWorker<number, void>(
    rig,
    (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(ended.open()))),
  )
  const mail = rig.client.queue<number>('mail')
  const sent = await mail.send(1, { deadline: '600ms' })
  assert.ok(['failed', 'expired'].includes((await mail.follow(sent.token).wait()).status))
  await ended.pass()
  await started.worker.stop()
  assert.ok(['handler_timeout', 'lease_lost'].includes(started.reported[0]?.code ?? ''))
})

test('a lease that is lost aborts the handler, and what it returns is not settled', async () => {
  await using rig = await startQueueRig()
  const handlers = gate()
  const reasons: unknown[] = []
  await using started = startWorker<number, string>(
    rig,
    async (_, { signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason))
      await handlers.pass()
      return 'too late'
    },
    { lease: '2s' },
  )
  const mail = rig.client.queue<number, string>('mail')
  const sent = await mail.send(1)
  await until('it runs', () => handlers.waiting.length === 1)
  await rig.client.job(sent.id).cancel()
  await until('the handler hears of it', () => reasons.length === 1)
  assert.ok(reasons[0] instanceof WorkerError && reasons[0].code === 'lease_lost')
  handlers.open()
  await until('the handler has ended', () => started.worker.running === 0)
  await started.worker.stop()
  assert.equal((await rig.client.job(sent.id).read()).status, 'cancelled')
  assert.deepEqual(
    started.reported.map(({ code }) => code),
    ['lease_lost'],
  )
  const settlements = rig.line.passed.filter(({ body }) => body.includes('too late'))
  assert.deepEqual(settlements, [])
})

test('a report of progress notices a lost lease before the heartbeat does; extend says so', async () => {
  await using rig = await startQueueRig()
  const told: unknown[] = []
  await using started = startWorker<number, void>(rig, async (job, { progress, extend, signal }) => {
    told.push(await extend('10m'))
    await rig.client.job(job.id).cancel()
    await progress(1)
    told.push(signal.aborted, await extend('10m'))
  })
  await rig.client.queue<number>('mail').send(1)
  await until('the handler has ended', () => told.length === 3)
  assert.deepEqual(told, [true, true, false])
  await started.worker.stop()
})

test('while a handler that has lost its lease still runs, the next hand-out of its key waits for it', async () => {
  await using rig = await startQueueRig()
  const handlers = gate()
  let running = 0
  let most = 0
  await using started = startWorker<number, void>(
    rig,
    async () => {
      most = Math.max(most, ++running)
      await handlers.pass()
      running--
    },
    { timeout: '200ms' },
  )
  const mail = rig.client.queue<number>('mail')
  await mail.send(1, { key: 'k' })
  await until('it runs', () => handlers.waiting.length === 1)
  // Handed out again after its time was over, while the handler takes no notice.
  await until('it was handed out again', () => started.worker.running === 2)
  handlers.open()
  await rig.untilJobs('mail', 'succeeded', 1)
  assert.equal(most, 1)
  await started.worker.stop()
})

test('stop: what runs may end, nothing more is received', async () => {
  await using rig = await startQueueRig()
  const handlers = gate()
  await using started = startWorker<number, void>(rig, () => handlers.pass(), { concurrency: 2 })
  await rig.client.queue<number>('mail').sendMany([1, 2, 3, 4].map((payload) => ({ payload })))
  await until('two run', () => handlers.waiting.length === 2)
  const stopped = started.worker.stop()
  handlers.open()
  assert.deepEqual(await stopped, { released: 0, unsettled: 0 })
  const receives = rig.line.passed.length
  await rig.untilJobs('mail', 'succeeded', 2)
  await rig.untilJobs('mail', 'queued', 2)
  assert.ok(rig.line.passed.slice(receives).every(({ path }) => !path.endsWith('/receive')))
})

test('stop with no more time: handlers are aborted, their jobs go back without an attempt', async () => {
  await using rig = await startQueueRig()
  const reasons: unknown[] = []
  await using started = startWorker<number, void>(
    rig,
    (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(void reasons.push(signal.reason)))),
  )
  const mail = rig.client.queue<number>('mail')
  await mail.sendMany([{ payload: 1 }, { payload: 2 }])
  await until('two run', () => started.worker.running === 2)
  assert.deepEqual(await started.worker.stop({ timeoutMs: 20 }), { released: 2, unsettled: 0 })
  assert.ok(reasons.every((reason) => reason instanceof WorkerError && reason.code === 'stopping') && reasons.length === 2)
  const { jobs } = await mail.receive({ max: 10, wait: '10s' })
  assert.deepEqual(
    jobs.map(({ attempt }) => attempt),
    [1, 1],
  )
})

test('jobs that a receive brings while the worker stops go back without an attempt', async () => {
  await using rig = await startQueueRig()
  let handled = 0
  await using started = startWorker<number, void>(rig, () => void handled++, { wait: '20s' })
  await until('it waits for jobs', () => rig.line.passed.some(({ path }) => path.endsWith('/receive')))
  const stopped = started.worker.stop()
  const mail = rig.client.queue<number>('mail')
  await mail.send(1)
  await stopped
  const { jobs } = await mail.receive({ wait: '10s' })
  assert.deepEqual([jobs[0]?.attempt, handled], [1, 0])
})

test('a worker that cannot reach its gateway stops all the same, and says what it could not tell', async () => {
  await using rig = await startQueueProcess()
  await using started = startWorker<number, void>(rig, async () => {
    await rig.kill()
  })
  await rig.client.queue<number>('mail').send(1)
  await until('the handler has ended', () => started.worker.running === 0 && started.reported.length > 0)
  assert.deepEqual(await started.worker.stop({ timeoutMs: 100, settleTimeoutMs: 200 }), { released: 0, unsettled: 1 })
  assert.equal(started.reported.at(-1)?.code, 'not_settled')
})

test('settlements ride along: many jobs are few requests', async () => {
  await using rig = await startQueueRig()
  await rig.client.queue<number>('mail').sendMany(Array.from({ length: 2000 }, (_, payload) => ({ payload })))
  const before = rig.line.passed.length
  await using started = startWorker<number, void>(rig, () => undefined, { concurrency: 100 })
  await until(
    'all are done',
    async () =>
      (
        await rig.client
          .queue('mail')
          .browse({ status: ['queued', 'running'] })
          .next()
      ).done === true,
  )
  const requests = rig.line.passed.slice(before).filter(({ method }) => method === 'POST')
  assert.ok(requests.length <= 2000 / 20, `${requests.length} requests for 2,000 jobs`)
  await started.worker.stop()
  await rig.untilJobs('mail', 'succeeded', 2000)
})

test('a lost answer to a settlement: it is told again, and the job is settled once', async () => {
  await using rig = await startQueueRig()
  let lose = 2
  rig.line.fault = ({ path, body }) =>
    /\/(receive|settle)$/.test(path) && (body.includes('settlements') || path.endsWith('settle')) && lose-- > 0 ? 'lose-answer' : undefined
  await using started = startWorker<number, string>(rig, () => 'done')
  const mail = rig.client.queue<number, string>('mail')
  const sent = await mail.send(1)
  assert.equal(await mail.follow(sent.token).value(), 'done')
  await started.worker.stop()
  assert.deepEqual(
    (await historyOf(rig, sent.id)).map(({ outcome }) => outcome),
    ['succeeded'],
  )
  assert.deepEqual(
    started.reported.filter(({ job }) => job !== undefined),
    [],
  )
})

test('an answer that is not of the gateway says nothing of a result: it is told again', async () => {
  await using rig = await startQueueRig()
  let made = false
  let refused = 0
  rig.line.fault = ({ path }) => (made && /\/(receive|settle)$/.test(path) && refused++ < 5 ? 'refuse' : undefined)
  const handler = (): string => ((made = true), 'made')
  await using under = startWorker(rig, handler, { concurrency: 1 })
  const sent = await rig.client.queue<number, string>('mail').send(1)
  assert.equal(await rig.client.queue<number, string>('mail').follow(sent.token).value(), 'made')
  assert.ok(refused > 5)
  assert.ok(!under.reported.some(({ code }) => code === 'not_settled'))
})

test('options that make no sense are refused when the worker is made', () => {
  const options = { url: 'http://127.0.0.1:1', queue: 'mail', handler: () => undefined }
  assert.throws(() => createWorker({ ...options, concurrency: 0 }), /concurrency/)
  assert.throws(() => createWorker({ ...options, lease: '0s' }), /lease/)
  assert.throws(() => createWorker({ ...options, timeout: 'soon' as '1s' }), /timeout/)
})
