/** Receiving over the queue API: who waits is woken, nobody is forgotten, what was taken for somebody who left comes back uncounted. */
import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { describe, test } from 'node:test'
import { type ApiAnswer, type Document, ENGINES, type QueueApiRig, startQueueApiRig, TOKEN } from '../support/queue-api-rig.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const receive = (rig: QueueApiRig, body: object = {}): Promise<ApiAnswer> => rig.api('POST', '/queues/inbox/receive', body)
const send = async (rig: QueueApiRig, job: object = { text: 'x' }): Promise<Document> =>
  (await rig.api('POST', '/queues/inbox/jobs', job)).document
const settle = async (rig: QueueApiRig, ...settlements: object[]): Promise<Document> =>
  (await rig.api('POST', '/queues/inbox/settle', { settlements })).document.results
const one = async (rig: QueueApiRig, body: object = {}): Promise<Document> => (await receive(rig, body)).document.jobs[0]
const show = async (rig: QueueApiRig, id: string, include = ''): Promise<Document> =>
  (await rig.api('GET', `/jobs/${id}?include=${include}`)).document
const untilWaiting = async (rig: QueueApiRig, count: number): Promise<void> =>
  until(`${count} receivers wait`, async () => (await rig.admin('GET', '/queues/inbox')).document.receivers === count)

for (const engine of ENGINES) {
  describe(`receiving on the ${engine} engine`, () => {
    test('who waits gets the job when it is sent, when its delay is over, when its retry is due, when its key is free', async () => {
      await using rig = await startQueueApiRig({ engine })
      const waiting = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      const { id } = await send(rig, { text: 'a', key: 'k' })
      const [first] = (await waiting).document.jobs
      assert.equal(first.id, id)
      await send(rig, { text: 'b', key: 'k' })
      const next = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      assert.deepEqual(await settle(rig, { receipt: first.receipt, outcome: 'retry', after: '100ms' }), [
        { status: 'settled', job: 'retrying' },
      ])
      const [again] = (await next).document.jobs
      assert.deepEqual([again.id, again.attempt], [id, 2])
      const last = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      await settle(rig, { receipt: again.receipt, outcome: 'succeed' })
      assert.equal((await last).document.jobs[0].text, 'b')
    })

    test('who waits longest is served first', async () => {
      await using rig = await startQueueApiRig({ engine })
      const order: string[] = []
      const wait = async (name: string): Promise<void> => {
        const [job] = (await receive(rig, { wait: '20s', consumer: name })).document.jobs
        order.push(`${name} ${job.text}`)
      }
      const all: Promise<void>[] = []
      for (const [i, name] of ['a', 'b', 'c'].entries()) {
        all.push(wait(name))
        await untilWaiting(rig, i + 1)
      }
      for (const text of ['1', '2', '3']) {
        await send(rig, { text })
        await until('it was taken', () => order.length === Number(text))
      }
      await Promise.all(all)
      assert.deepEqual(order, ['a 1', 'b 2', 'c 3'])
    })

    test('who waits at a paused queue goes on when it is resumed', async () => {
      await using rig = await startQueueApiRig({ engine })
      await rig.api('POST', '/queues/inbox/pause')
      await send(rig)
      const waiting = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      await rig.api('POST', '/queues/inbox/resume')
      assert.equal((await waiting).document.jobs.length, 1)
    })

    test('a receive whose time is up is empty', async () => {
      await using rig = await startQueueApiRig({ engine })
      assert.deepEqual((await receive(rig, { wait: '100ms' })).document, { jobs: [] })
    })

    test('what a consumer takes that vanishes while it waits comes back, and counts nothing', async () => {
      await using rig = await startQueueApiRig({ engine })
      const lost = abandon(rig, { wait: '20s', max: 10 })
      await untilWaiting(rig, 1)
      lost.destroy()
      await untilWaiting(rig, 0)
      const { id } = await send(rig)
      const job = await one(rig, { wait: '20s' })
      assert.deepEqual([job.id, job.attempt], [id, 1])
    })

    test('settlements in a receive come first: the key that they free is handed out in the same answer', async () => {
      await using rig = await startQueueApiRig({ engine })
      await send(rig, { text: 'a', key: 'k' })
      await send(rig, { text: 'b', key: 'k' })
      const first = await one(rig, { max: 10 })
      const settlements = [
        { receipt: first.receipt, outcome: 'succeed' },
        { receipt: 'nonsense', outcome: 'succeed' },
      ]
      const { document } = await receive(rig, { max: 10, settlements })
      assert.deepEqual(document.results, [
        { status: 'settled', job: 'succeeded' },
        { status: 'invalid', detail: 'settlements[1].receipt: must be one that a receive gave' },
      ])
      assert.equal(document.jobs[0].text, 'b')
    })

    test('the outcomes: succeed with a result, retry, release, fail, fail without a dead letter', async () => {
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox', attempts: 2, backoff: { baseMs: 1, maxMs: 2 } }] })
      const ids: string[] = []
      for (let i = 0; i < 4; i++) ids.push((await send(rig, { text: `${i}` })).id)
      const { jobs } = (await receive(rig, { max: 10 })).document
      const [a, b, c, d] = jobs.map(({ receipt }: Document) => receipt)
      const result = { payload: { n: 1 }, status: 201, headers: { 'X-A': 'b' } }
      assert.deepEqual(
        await settle(
          rig,
          { receipt: a, outcome: 'succeed', result },
          { receipt: b, outcome: 'retry', reason: 'busy' },
          { receipt: c, outcome: 'release' },
          { receipt: d, outcome: 'fail', reason: 'no', deadLetter: false },
        ),
        [
          { status: 'settled', job: 'succeeded' },
          { status: 'settled', job: 'retrying' },
          { status: 'settled', job: 'queued' },
          { status: 'settled', job: 'failed' },
        ],
      )
      const succeeded = await show(rig, ids[0] as string, 'result')
      assert.deepEqual(succeeded.result, { status: 201, headers: { 'x-a': 'b' }, contentType: 'application/json', payload: { n: 1 } })
      const failed = await show(rig, ids[3] as string, 'history')
      assert.deepEqual([failed.dead, failed.error.code, failed.error.detail], [undefined, 'consumer_failed', 'no'])
      const again: Document[] = []
      while (again.length < 2) again.push(await one(rig, { wait: '10s' }))
      const [retried, released] = again.toSorted((x, y) => (x.id < y.id ? -1 : 1))
      assert.deepEqual([retried.id, retried.attempt, released.id, released.attempt], [ids[1], 2, ids[2], 1])
      assert.deepEqual(await settle(rig, { receipt: retried.receipt, outcome: 'retry', reason: 'again' }), [
        { status: 'settled', job: 'failed' },
      ])
      assert.deepEqual((await show(rig, ids[1] as string)).dead, 'attempts')
    })

    test('a client that waits for its job gets the result of the consumer', async () => {
      await using rig = await startQueueApiRig({ engine })
      const { id, token } = await send(rig)
      const url = `http://127.0.0.1:${rig.port}/_spillway/jobs/${token}/result?wait=20s`
      const held = fetch(url)
      const job = await one(rig)
      await settle(rig, { receipt: job.receipt, outcome: 'succeed', result: { text: 'done' } })
      const answer = await held
      assert.deepEqual([answer.status, await answer.text(), answer.headers.get('spillway-job')], [200, 'done', id])
    })

    test('a lease lapses unless it is extended, and what comes after that is stale', async () => {
      await using rig = await startQueueApiRig({ engine })
      const { id } = await send(rig)
      const first = await one(rig, { lease: '400ms' })
      const extended = await rig.api('POST', '/queues/inbox/extend', { receipts: [first.receipt, 'x', 'a.1.1.b'], lease: '600ms' })
      assert.deepEqual(extended.document.results, [
        { status: 'extended' },
        { status: 'invalid', detail: 'receipts[1]: must be one that a receive gave' },
        { status: 'stale' },
      ])
      const second = await one(rig, { wait: '20s' })
      assert.deepEqual([second.id, second.attempt], [id, 2])
      assert.ok(second.fence > first.fence)
      assert.deepEqual(await settle(rig, { receipt: first.receipt, outcome: 'succeed' }), [{ status: 'stale' }])
      const progress = (receipt: string, value: unknown) => rig.api('POST', '/queues/inbox/progress', { receipt, progress: value })
      assert.equal((await progress(first.receipt, { percent: 1 })).document.code, 'lease_gone')
      assert.equal((await progress(second.receipt, { percent: 50 })).status, 204)
      assert.deepEqual((await show(rig, id)).progress, { percent: 50 })
      assert.equal((await progress(second.receipt, 'x'.repeat(16 * 1024 - 2))).status, 204)
      assert.equal((await progress(second.receipt, 'x'.repeat(16 * 1024 - 1))).status, 400)
    })

    test('a cancelled job is taken from its consumer', async () => {
      await using rig = await startQueueApiRig({ engine })
      const { id } = await send(rig)
      const job = await one(rig)
      await rig.api('DELETE', `/jobs/${id}`)
      assert.deepEqual(await settle(rig, { receipt: job.receipt, outcome: 'succeed' }), [{ status: 'stale' }])
    })

    test('when the gateway stops, who waits is answered, and what was settled is told', async () => {
      await using rig = await startQueueApiRig({ engine })
      await send(rig)
      const job = await one(rig)
      const waiting = receive(rig, { wait: '20s', settlements: [{ receipt: job.receipt, outcome: 'succeed' }] })
      await untilWaiting(rig, 1)
      const drained = rig.gateway.drain()
      const answer = await waiting
      assert.deepEqual(answer.document, { results: [{ status: 'settled', job: 'succeeded' }], jobs: [] })
      await drained
    })

    test('pull consumers and servers work on one queue: of a key one job at a time, in order, and every job once', async () => {
      const running = new Map<string, number>()
      const done: Document[] = []
      let overlaps = 0
      const work = async (job: Document): Promise<void> => {
        const before = running.get(job.key) ?? 0
        if (before > 0) overlaps++
        running.set(job.key, before + 1)
        await new Promise((resolve) => setTimeout(resolve, 3))
        running.set(job.key, (running.get(job.key) as number) - 1)
        done.push(job)
      }
      const server = await startTestServer(
        (received, response) => void work(JSON.parse(received.body.toString())).then(() => response.end('ok')),
      )
      await using rig = await startQueueApiRig({
        engine,
        servers: [server.port],
        queues: [{ name: 'inbox', pool: 'api', pull: true, concurrency: 2 }],
      })
      const keys = ['a', 'b', 'c', 'd', 'e', 'f']
      const total = 120
      const pull = async (): Promise<void> => {
        while (done.length < total) {
          const job = await one(rig, { wait: '200ms' })
          if (job === undefined) continue
          await work(job.payload)
          await settle(rig, { receipt: job.receipt, outcome: 'succeed' })
        }
      }
      const jobs = Array.from({ length: total }, (_, n) => ({ key: keys[n % keys.length], payload: { n, key: keys[n % keys.length] } }))
      await rig.api('POST', '/queues/inbox/jobs', { jobs })
      await Promise.all([pull(), pull()])
      assert.equal(overlaps, 0)
      assert.equal(done.length, total)
      for (const key of keys) {
        const numbers = done.filter((job) => job.key === key).map(({ n }) => n as number)
        assert.deepEqual(
          numbers,
          numbers.toSorted((x, y) => x - y),
        )
      }
      const served = server.received.length
      assert.ok(served > 0 && served < total, `the server did ${served}`)
      await server.kill()
    })

    test('as many run at once as the queue allows, and who waits goes on when one has ended', async () => {
      const rules = { onFailure: 'skip', overflow: 'refuse', maxRunning: 2 } as const
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox', rules }] })
      await rig.api('POST', '/queues/inbox/jobs', { jobs: [{ text: '1' }, { text: '2' }, { text: '3' }] })
      const { jobs } = (await receive(rig, { max: 10 })).document
      assert.equal(jobs.length, 2)
      const waiting = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      await settle(rig, { receipt: jobs[0].receipt, outcome: 'succeed' })
      assert.equal((await waiting).document.jobs[0].text, '3')
      await send(rig, { text: '4' })
      const last = receive(rig, { wait: '20s' })
      await untilWaiting(rig, 1)
      await rig.api('DELETE', `/jobs/${jobs[1].id}`)
      assert.equal((await last).document.jobs[0].text, '4')
    })

    test('no more are handed out than the rate allows, and who waits goes on when it does', async () => {
      const rules = { onFailure: 'skip', overflow: 'refuse', rate: { count: 2, perMs: 600 } } as const
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox', rules }] })
      await rig.api('POST', '/queues/inbox/jobs', { jobs: [{ text: '1' }, { text: '2' }, { text: '3' }] })
      assert.equal((await receive(rig, { max: 10 })).document.jobs.length, 2)
      assert.deepEqual((await receive(rig, { max: 10 })).document.jobs, [])
      assert.equal((await one(rig, { wait: '20s' })).text, '3')
    })
  })
}

test('as many may wait as api.receiversMax says, one more is refused', async () => {
  const keys = [{ name: 'all', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse'] as const }]
  await using rig = await startQueueApiRig({
    config: { api: { keys, receiveMax: 2, receiversMax: 2, queuesMax: 10, leaseMaxMs: 60_000, body: 1 << 20 } },
  })
  const waiting = [receive(rig, { wait: '20s' }), receive(rig, { wait: '20s' })]
  await untilWaiting(rig, 2)
  const refused = await receive(rig, { wait: '20s' })
  assert.deepEqual([refused.status, refused.document.code, refused.headers['retry-after']], [503, 'too_many_receivers', '1'])
  await rig.api('POST', '/queues/inbox/jobs', { jobs: [{}, {}] })
  await Promise.all(waiting)
})

test('what is wrong with a call is said to the field, and limits hold at n and n + 1', async () => {
  const keys = [{ name: 'all', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse'] as const }]
  const api = { keys, receiveMax: 2, receiversMax: 2, queuesMax: 10, leaseMaxMs: 60_000, body: 1 << 20 }
  await using rig = await startQueueApiRig({ config: { api }, limits: { result: 10, jobBody: 1000 } })
  const wrong = async (path: string, body: unknown): Promise<string> => {
    const answer = await rig.api('POST', `/queues/inbox/${path}`, body)
    assert.equal(answer.status, 400, answer.text)
    return answer.document.detail as string
  }
  for (const [path, body, detail] of [
    ['receive', { max: 3 }, 'max: must be a whole number from 1 to 2 (api.receiveMax).'],
    ['receive', { wait: 'x' }, 'wait: must be a duration such as "20s".'],
    ['receive', { lease: '61s' }, 'lease: must be a duration such as "60s", more than 0 and at most 60000 ms (api.leaseMax).'],
    ['receive', { lease: 0 }, 'lease: must be a duration such as "60s", more than 0 and at most 60000 ms (api.leaseMax).'],
    ['receive', { consumer: 'x'.repeat(65) }, 'consumer: must be a text of at most 64 printable ASCII characters.'],
    ['receive', { maximum: 1 }, 'maximum: there is no such field; there are max, wait, lease, consumer, settlements.'],
    ['receive', [], 'The body must be an object, such as { "max": 10, "wait": "20s" }.'],
    ['settle', {}, 'settlements: must be a list, such as [ { "receipt": "…", "outcome": "succeed" } ].'],
    ['settle', { settlements: [1, 2, 3] }, 'settlements: has 3 entries, at most 2 go in one call (api.receiveMax).'],
    ['extend', { receipts: ['a', 'b', 'c'] }, 'receipts: has 3 entries, at most 2 go in one call (api.receiveMax).'],
    ['extend', { receipts: 'a' }, 'receipts: must be a list of receipts.'],
    ['progress', { receipt: 'a.1.1.b' }, 'progress: must be JSON of at most 64 levels.'],
  ] as const) {
    assert.equal(await wrong(path, body), detail)
  }
  assert.equal((await receive(rig, { max: 2, lease: '60s', consumer: 'x'.repeat(64) })).status, 200)
  const { id } = await send(rig)
  const { receipt } = await one(rig)
  const invalid = async (settlement: object): Promise<unknown> => (await settle(rig, settlement))[0].detail as unknown
  for (const [settlement, detail] of [
    [1, 'settlements[0]: must be an object, such as { "receipt": "…", "outcome": "succeed" }'],
    [{ receipt, outcome: 'done' }, 'settlements[0].outcome: must be succeed, retry, release or fail'],
    [{ receipt, outcome: 'retry', after: 'x' }, 'settlements[0].after: must be a duration such as "30s", at most 366d'],
    [{ receipt, outcome: 'retry', reason: 'x'.repeat(1025) }, 'settlements[0].reason: must be a text of at most 1024 characters'],
    [{ receipt, outcome: 'fail', deadLetter: 1 }, 'settlements[0].deadLetter: must be true or false'],
    [
      { receipt, outcome: 'succeed', result: { text: 'x'.repeat(11) } },
      'settlements[0].result: the body is larger than 10 bytes (limits.result)',
    ],
    [{ receipt, outcome: 'succeed', result: { status: 600 } }, 'settlements[0].result.status: must be a whole number from 200 to 599'],
    [{ receipt, outcome: 'succeed', result: { text: 'x', status: 204 } }, 'settlements[0].result.status: an answer of 204 has no body'],
  ] as const) {
    assert.equal(await invalid(settlement as object), detail)
  }
  assert.deepEqual(await settle(rig, { receipt, outcome: 'succeed', result: { text: 'x'.repeat(10) } }), [
    { status: 'settled', job: 'succeeded' },
  ])
  assert.equal((await show(rig, id)).status, 'succeeded')
})

test('a queue of a pool has no pull consumers unless it says so', async () => {
  const server = await startTestServer()
  await using rig = await startQueueApiRig({ servers: [server.port], queues: [{ name: 'inbox', pool: 'api', pull: false }] })
  const answer = await receive(rig)
  assert.deepEqual([answer.status, answer.document.code], [409, 'not_pulled'])
  await server.kill()
})

test('bodies of received jobs count in limits.buffered; what does not fit is handed back', async () => {
  await using rig = await startQueueApiRig({ limits: { buffered: 64 * 1024, jobBody: 40 * 1024 }, config: {} })
  await send(rig, { text: 'x'.repeat(40 * 1024) })
  await send(rig, { text: 'y'.repeat(40 * 1024) })
  const first = (await receive(rig, { max: 2 })).document.jobs
  assert.equal(first.length, 1)
  const [second] = (await receive(rig, { max: 2, wait: '10s' })).document.jobs
  assert.deepEqual([second.text[0], second.attempt], ['y', 1])
})

/** A receive that its client does not wait for. */
function abandon(rig: QueueApiRig, body: object): { destroy(): void } {
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
  const request = httpRequest(`http://127.0.0.1:${rig.port}/_spillway/api/queues/inbox/receive`, { method: 'POST', headers, agent: false })
  request.on('error', () => undefined)
  request.end(JSON.stringify(body))
  return { destroy: () => void request.destroy() }
}
