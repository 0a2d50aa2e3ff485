/** Topics and schedules over the queue API and from the configuration. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Document, ENGINES, type QueueApiRig, startQueueApiRig } from '../support/queue-api-rig.ts'
import { until } from '../support/until.ts'

const texts = async (rig: QueueApiRig, queue: string): Promise<string[]> => {
  const { jobs } = (await rig.api('POST', `/queues/${queue}/receive`, { max: 100 })).document
  return jobs.map(({ text, payload }: Document) => text ?? JSON.stringify(payload))
}

for (const engine of ENGINES) {
  describe(`topics and schedules on the ${engine} engine`, () => {
    test('every matching subscription gets a copy, in a queue of its own or in one that is there', async () => {
      await using rig = await startQueueApiRig({ engine })
      assert.equal((await rig.api('PUT', '/topics/orders')).status, 201)
      assert.equal((await rig.api('PUT', '/topics/orders/subscriptions/all', { queue: 'inbox' })).status, 201)
      const filter = { headers: { 'X-Kind': ['a', 'b'] }, fields: { '/type': 'order.created', '/n': [1, 2, null] } }
      const made = await rig.api('PUT', '/topics/orders/subscriptions/some', { filter })
      assert.deepEqual([made.status, made.document.queue], [201, 'orders.some'])
      const publish = async (job: object): Promise<string[]> => {
        const answer = await rig.api('POST', '/topics/orders/publish', job)
        assert.deepEqual([answer.status, answer.document.status], [201, 'published'])
        return answer.document.copies.map(({ subscription, status }: Document) => `${subscription} ${status}`)
      }
      const both = ['all created', 'some created']
      const one = ['all created']
      assert.deepEqual(await publish({ payload: { type: 'order.created', n: 1 }, headers: { 'x-kind': 'b' } }), both)
      assert.deepEqual(await publish({ text: '{"type":"order.created","n":null}', headers: { 'X-KIND': 'a' } }), both)
      assert.deepEqual(await publish({ payload: { type: 'order.created', n: 3 }, headers: { 'x-kind': 'b' } }), one)
      assert.deepEqual(await publish({ payload: { type: 'order.created' }, headers: { 'x-kind': 'b' } }), one)
      assert.deepEqual(await publish({ payload: { type: 'order.created', n: 1 } }), one)
      assert.deepEqual(await publish({ text: 'no JSON', headers: { 'x-kind': 'b' } }), one)
      assert.equal((await texts(rig, 'inbox')).length, 6)
      assert.deepEqual(await texts(rig, 'orders.some'), ['{"type":"order.created","n":1}', '{"type":"order.created","n":null}'])
    })

    test('a batch and lines are published; a repeat gives the same copies; a full queue refuses its own', async () => {
      const limits = { jobs: 1, bytes: 1 << 20, finished: 1 << 20 }
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox' }, { name: 'small', limits }] })
      await rig.api('PUT', '/topics/t')
      await rig.api('PUT', '/topics/t/subscriptions/a', { queue: 'inbox' })
      await rig.api('PUT', '/topics/t/subscriptions/b', { queue: 'small' })
      const { results } = (
        await rig.api('POST', '/topics/t/publish', { jobs: [{ text: '1', idempotencyKey: 'i' }, { text: 2 }, { text: '3' }] })
      ).document
      assert.deepEqual(
        results.map(({ status, copies = [] }: Document) => [status, ...copies.map((copy: Document) => copy.status)]),
        [['published', 'created', 'created'], ['invalid'], ['published', 'created', 'refused']],
      )
      const lines = await rig.api('POST', '/topics/t/publish', '{"text":"1","idempotencyKey":"i"}\n{"text":"4"}', {
        'content-type': 'application/x-ndjson',
      })
      const [repeat, fourth] = lines.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Document)
      assert.deepEqual(
        repeat.copies.map(({ id }: Document) => id),
        results[0].copies.map(({ id }: Document) => id),
      )
      assert.deepEqual(
        fourth.copies.map(({ status }: Document) => status),
        ['created', 'refused'],
      )
      assert.deepEqual(await texts(rig, 'inbox'), ['1', '3', '4'])
    })

    test('topics outlive a restart, subscriptions and topics are dropped', async () => {
      await using rig = await startQueueApiRig({ engine: 'embedded' })
      await rig.api('PUT', '/topics/t')
      await rig.api('PUT', '/topics/t/subscriptions/a', {})
      await rig.restart()
      const { topics } = (await rig.api('GET', '/topics')).document
      assert.deepEqual(topics, [{ name: 't', definedIn: 'api', subscriptions: [{ name: 'a', queue: 't.a' }] }])
      assert.equal((await rig.api('POST', '/topics/t/publish', { text: 'x' })).document.copies.length, 1)
      assert.equal((await rig.api('DELETE', '/topics/t/subscriptions/a')).status, 204)
      assert.equal((await rig.api('DELETE', '/topics/t/subscriptions/a')).status, 404)
      assert.deepEqual((await rig.api('POST', '/topics/t/publish', { text: 'x' })).document.copies, [])
      assert.equal((await rig.api('DELETE', '/topics/t')).status, 204)
      assert.equal((await rig.api('POST', '/topics/t/publish', { text: 'x' })).document.code, 'no_such_topic')
      // Its queue still holds what was not worked off.
      assert.deepEqual(await texts(rig, 't.a'), ['x'])
    })

    test('a schedule makes a job each time it is due, and is shown, paused and dropped', async () => {
      await using rig = await startQueueApiRig({ engine })
      const put = await rig.api('PUT', '/schedules/beat', { queue: 'inbox', every: '200ms', job: { text: 'tick', key: 'k' } })
      assert.deepEqual([put.status, put.document.name, put.document.every, put.document.made], [201, 'beat', '200ms', 0])
      await until('it has made two', async () => (await rig.api('GET', '/schedules/beat')).document.made >= 2)
      const shown = (await rig.api('GET', '/schedules/beat')).document
      assert.equal((await rig.api('GET', `/jobs/${shown.lastJob}`)).document.route, 'schedule beat')
      const paused = await rig.api('PUT', '/schedules/beat', { queue: 'inbox', every: '200ms', job: { text: 'tick' }, paused: true })
      assert.deepEqual([paused.status, paused.document.paused], [200, true])
      assert.equal((await rig.api('DELETE', '/schedules/beat')).status, 204)
      assert.equal((await rig.api('GET', '/schedules/beat')).document.code, 'no_such_schedule')
      for (const [document, detail] of [
        [{}, 'queue: is missing.'],
        [{ queue: 'inbox' }, 'needs either cron or every.'],
        [{ queue: 'inbox', cron: '0 6 * * *', every: '1h' }, 'needs either cron or every.'],
        [{ queue: 'inbox', cron: '61 * * * *' }, 'cron: not a cron expression: Invalid value for minute: 61.'],
        [
          { queue: 'inbox', cron: '0 6 * * *', timeZone: 'Mars/X' },
          'timeZone: there is no time zone "Mars/X"; write it as in Europe/Berlin.',
        ],
        [{ queue: 'inbox', every: '1h', job: { text: 1 } }, 'job.text: must be a text.'],
        [
          { queue: 'inbox', every: '1h', job: { idempotencyKey: 'x' } },
          'job.idempotencyKey: has no meaning here: each due time makes one job.',
        ],
        [{ queue: 'inbox', every: '1h', mised: 'all' }, 'mised: unknown key (did you mean missed?).'],
      ] as const) {
        const answer = await rig.api('PUT', '/schedules/x', document)
        assert.deepEqual([answer.status, answer.document.detail], [400, detail])
      }
      assert.equal((await rig.api('PUT', '/schedules/x', { queue: 'nowhere', every: '1h' })).document.code, 'no_such_queue')
    })

    test('a cron expression is due in its time zone', async () => {
      await using rig = await startQueueApiRig({ engine })
      const put = await rig.api('PUT', '/schedules/daily', { queue: 'inbox', cron: '30 6 * * *', timeZone: 'Europe/Berlin' })
      const berlin = new Date(put.document.nextAt).toLocaleTimeString('de-DE', { timeZone: 'Europe/Berlin' })
      assert.equal(berlin, '06:30:00')
    })
  })
}

test('what stands in the configuration is put in place at the start, changed there only, and goes with it', async () => {
  const document = { queue: 'inbox', every: '1h', timeZone: 'UTC', missed: 'once', paused: false, job: { text: 'a' } } as const
  const schedules = [{ name: 'hourly', document }]
  const topics = [{ name: 'news', subscriptions: [{ name: 'a', queue: 'inbox' }] }]
  await using rig = await startQueueApiRig({ engine: 'embedded', config: { schedules, topics } })
  await rig.api('PUT', '/schedules/own', { queue: 'inbox', every: '1h' })
  const first = (await rig.api('GET', '/schedules/hourly')).document
  assert.equal(first.definedIn, 'file')
  for (const [method, path, body] of [
    ['PUT', '/schedules/hourly', document],
    ['DELETE', '/schedules/hourly', undefined],
    ['PUT', '/topics/news', {}],
    ['DELETE', '/topics/news', undefined],
    ['PUT', '/topics/news/subscriptions/b', {}],
  ] as const) {
    assert.equal((await rig.api(method, path, body)).document.code, 'defined_in_file', path)
  }
  await rig.restart()
  assert.equal((await rig.api('GET', '/schedules/hourly')).document.nextAt, first.nextAt)
  await rig.restart({ schedules: [{ name: 'hourly', document: { ...document, job: { text: 'b' } } }], topics: [] })
  const changed = (await rig.api('GET', '/schedules/hourly')).document
  assert.deepEqual([changed.nextAt, changed.job], [first.nextAt, { text: 'b' }])
  assert.deepEqual((await rig.api('GET', '/topics')).document.topics, [])
  await rig.restart({ schedules: [] })
  const { schedules: left } = (await rig.api('GET', '/schedules')).document
  assert.deepEqual(
    left.map(({ name }: Document) => name),
    ['own'],
  )
})

test('a topic has at most as many subscriptions as it may', async () => {
  await using rig = await startQueueApiRig({ limits: { subscriptions: 3 } })
  await rig.api('PUT', '/topics/t')
  const put = (i: number) => rig.api('PUT', `/topics/t/subscriptions/s${i}`, { queue: 'inbox' })
  for (let i = 1; i < 3; i++) await put(i)
  assert.equal((await put(3)).status, 201)
  assert.equal((await put(3)).status, 200)
  assert.equal((await put(4)).status, 400)
})
