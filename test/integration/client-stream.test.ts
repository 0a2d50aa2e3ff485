/** Streams of jobs: results while they are sent, in order, once each over broken connections, with bounded memory, and where nothing streams. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type NewJob, type SendResult, SpillwayError } from '../../src/client/client.ts'
import { type QueueRig, startQueueProcess, startQueueRig } from '../support/queue-rig.ts'
import { until } from '../support/until.ts'

interface Numbered {
  readonly n: number
}

// oxlint-disable-next-line require-await
async function* numbers(count: number, onNext: (n: number) => void = () => undefined): AsyncGenerator<NewJob<Numbered>> {
  for (let n = 0; n < count; n++) {
    onNext(n)
    yield { payload: { n } }
  }
}

/** The numbers that the queue holds, in its order. */
async function queued(rig: QueueRig): Promise<number[]> {
  const all: number[] = []
  for (;;) {
    const { jobs } = await rig.client.queue<Numbered>('mail').receive({ max: 1000 })
    if (jobs.length === 0) return all
    all.push(...jobs.map(({ payload }) => payload.n))
  }
}

function streams(rig: QueueRig): number {
  return rig.line.passed.filter(({ headers }) => headers['content-type'] === 'application/x-ndjson').length
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

test('a stream is one request, with a result for each job while it is sent', async () => {
  await using rig = await startQueueRig()
  let answered = 0
  const gate = { open: (): void => undefined }
  const opened = new Promise<void>((resolve) => (gate.open = resolve))
  const source = async function* (): AsyncGenerator<NewJob<Numbered>> {
    yield* numbers(100)
    // The rest comes only when the first hundred have been answered.
    await opened
    yield* numbers(5000)
  }
  const statuses = new Set<string>()
  for await (const { status } of rig.client.queue<Numbered>('mail').sendStream(source())) {
    statuses.add(status)
    if (++answered === 100) gate.open()
  }
  assert.deepEqual([answered, [...statuses], streams(rig)], [5100, ['created'], 1])
  assert.deepEqual(await queued(rig), [...upTo(100), ...upTo(5000)])
})

test('a stream that breaks goes on, and every job is there once and in order', async () => {
  await using rig = await startQueueRig()
  let faults = 0
  rig.line.fault = ({ headers }) => (headers['content-type'] === 'application/x-ndjson' && faults++ < 3 ? 'break-answer' : undefined)
  const results: SendResult[] = []
  for await (const result of rig.client.queue<Numbered>('mail').sendStream(numbers(4000), { unansweredMax: 500 })) results.push(result)
  assert.ok(faults > 3)
  assert.equal(results.length, 4000)
  assert.equal(new Set(results.map((result) => ('id' in result ? result.id : ''))).size, 4000)
  assert.deepEqual(await queued(rig), upTo(4000))
})

test('a stream survives a gateway that is killed and comes back', async () => {
  await using rig = await startQueueProcess({ client: { retry: { attempts: 100, baseMs: 20, maxMs: 200 } } })
  let restarted: Promise<void> | undefined
  let answered = 0
  for await (const result of rig.client.queue<Numbered>('mail').sendStream(numbers(3000), { unansweredMax: 200 })) {
    assert.ok('id' in result)
    if (++answered === 1000) restarted = rig.restart()
  }
  await restarted
  assert.equal(answered, 3000)
  assert.deepEqual(await queued(rig), upTo(3000))
})

test('no more jobs are under way than allowed: the source waits for the reader of the results', async () => {
  await using rig = await startQueueRig()
  let taken = 0
  const results = rig.client.queue<Numbered>('mail').sendStream(
    numbers(1000, () => taken++),
    { unansweredMax: 10 },
  )
  let answered = 0
  for await (const _ of results) {
    answered++
    // One more may have been looked at, and waits for its place.
    assert.ok(taken - answered <= 11, `${taken} taken, ${answered} answered`)
  }
  assert.equal(answered, 1000)
})

test('where a runtime cannot stream a request, the same goes in batches', async () => {
  const noStreams: typeof fetch = (input, init) =>
    init?.body instanceof ReadableStream ? Promise.reject(new TypeError('no streams here')) : fetch(input, init)
  await using rig = await startQueueRig({ client: { fetch: noStreams } })
  let answered = 0
  for await (const { status } of rig.client.queue<Numbered>('mail').sendStream(numbers(2500))) {
    assert.ok(status === 'created')
    answered++
  }
  assert.deepEqual([answered, streams(rig)], [2500, 0])
  assert.deepEqual(await queued(rig), upTo(2500))
})

test('what a source threw is thrown, after what it gave before was sent', async () => {
  await using rig = await startQueueRig()
  const source = async function* (): AsyncGenerator<NewJob<Numbered>> {
    yield* numbers(50)
    throw new Error('no more paper')
  }
  let answered = 0
  await assert.rejects(async () => {
    for await (const _ of rig.client.queue<Numbered>('mail').sendStream(source())) answered++
  }, /no more paper/)
  assert.equal(answered, 50)
  assert.deepEqual(await queued(rig), upTo(50))
})

test('whoever leaves the results, or aborts, closes the source', async () => {
  await using rig = await startQueueRig()
  let closed = 0
  const endless = async function* (): AsyncGenerator<NewJob<Numbered>> {
    try {
      for (let n = 0; ; n++) {
        yield { payload: { n } }
        await new Promise((resolve) => setImmediate(resolve))
      }
    } finally {
      closed++
    }
  }
  const mail = rig.client.queue<Numbered>('mail')
  for await (const _ of mail.sendStream(endless())) break
  await until('the source is closed', () => closed === 1)
  const leaving = new AbortController()
  let answered = 0
  await assert.rejects(async () => {
    for await (const _ of mail.sendStream(endless(), { signal: leaving.signal })) if (++answered === 3) leaving.abort(new Error('enough'))
  }, /enough/)
  await until('the source is closed', () => closed === 2)
})

test('a stream that is not accepted as a whole is an error at once', async () => {
  await using rig = await startQueueRig()
  const results = rig.client.queue<Numbered>('missing').sendStream(numbers(10))
  await assert.rejects(results.next(), (error: unknown) => error instanceof SpillwayError && error.code === 'no_such_queue')
  assert.equal(rig.line.passed.length, 1)
})
