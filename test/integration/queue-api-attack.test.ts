/** What somebody with bad intentions, or with a part of the rights, may try on the queue API: each test is a way that is closed. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ApiKeyConfig } from '../../src/config/config.ts'
import { type ApiAnswer, type Document, ENGINES, type QueueApiRig, startQueueApiRig, TOKEN } from '../support/queue-api-rig.ts'

const KEYS: readonly ApiKeyConfig[] = [
  { name: 'all', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse', 'manage'] },
  { name: 'sender', token: 'sender-0123456789', queues: ['inbox'], can: ['send'] },
  { name: 'worker', token: 'worker-0123456789', queues: ['inbox'], can: ['receive'] },
  { name: 'reader', token: 'reader-0123456789', queues: ['inbox'], can: ['browse'] },
]
const LONG = '12345678901234567890'

function as(rig: QueueApiRig, name: string): (method: string, path: string, body?: unknown) => Promise<ApiAnswer> {
  const token = KEYS.find((key) => key.name === name)?.token
  return (method, path, body) => rig.api(method, path, body, { authorization: `Bearer ${token}` })
}

for (const engine of ENGINES) {
  describe(`attacks on the queue API on the ${engine} engine`, () => {
    test('a receipt is good for the queue that it came from, and stale to every other', async () => {
      await using rig = await startQueueApiRig({ engine, keys: KEYS, queues: [{ name: 'inbox' }, { name: 'secret' }] })
      await rig.api('POST', '/queues/secret/jobs', { text: 'x' })
      const [job] = (await rig.api('POST', '/queues/secret/receive')).document.jobs
      const { receipt } = job
      const worker = as(rig, 'worker')
      const settlements = [{ receipt, outcome: 'succeed' }]
      const stale = [{ status: 'stale' }]
      assert.deepEqual((await worker('POST', '/queues/inbox/settle', { settlements })).document.results, stale)
      assert.deepEqual((await worker('POST', '/queues/inbox/receive', { settlements })).document.results, stale)
      assert.deepEqual((await worker('POST', '/queues/inbox/extend', { receipts: [receipt], lease: '1ms' })).document.results, stale)
      assert.equal((await worker('POST', '/queues/inbox/progress', { receipt, progress: 1 })).status, 410)
      assert.equal((await rig.api('POST', '/queues/secret/progress', { receipt, progress: 1 })).status, 204)
      assert.equal((await rig.api('POST', '/queues/secret/settle', { settlements })).document.results[0].status, 'settled')
    })

    test('credentials in the job of a schedule are not shown, and stay where they are given back as shown', async () => {
      await using rig = await startQueueApiRig({ engine, keys: KEYS })
      const headers = { Authorization: 'Bearer of-the-schedule', 'x-kind': 'a' }
      const put = { queue: 'inbox', cron: '0 0 1 1 *', job: { text: 'x', headers } }
      const shown = { Authorization: '[redacted]', 'x-kind': 'a' }
      assert.deepEqual((await rig.api('PUT', '/schedules/yearly', put)).document.job.headers, shown)
      const reader = as(rig, 'reader')
      const seen = (await reader('GET', '/schedules/yearly')).document
      assert.deepEqual(seen.job.headers, shown)
      assert.ok(!(await reader('GET', '/schedules')).text.includes('of-the-schedule'))
      const { queue, job } = seen
      await rig.api('PUT', '/schedules/yearly', { queue, job, cron: '* * * * * *' })
      const received = (await rig.api('POST', '/queues/inbox/receive', { wait: '10s' })).document.jobs[0]
      assert.deepEqual(received.headers, { authorization: 'Bearer of-the-schedule', 'x-kind': 'a' })
    })

    test('a queue into which a subscription copies cannot be dropped', async () => {
      await using rig = await startQueueApiRig({ engine })
      await rig.api('PUT', '/topics/t')
      await rig.api('PUT', '/topics/t/subscriptions/a', {})
      const refused = await rig.api('DELETE', '/queues/t.a')
      assert.deepEqual([refused.status, refused.document.code], [409, 'not_empty'])
      await rig.api('DELETE', '/topics/t/subscriptions/a')
      assert.equal((await rig.api('DELETE', '/queues/t.a')).status, 204)
    })

    test('subscriptions that are made at the same time are all there afterwards', async () => {
      await using rig = await startQueueApiRig({ engine })
      await rig.api('PUT', '/topics/t')
      const names = Array.from({ length: 12 }, (_, i) => `s${i}`)
      const made = await Promise.all(names.map((name) => rig.api('PUT', `/topics/t/subscriptions/${name}`, { queue: 'inbox' })))
      assert.ok(made.every(({ status }) => status === 201))
      const { copies } = (await rig.api('POST', '/topics/t/publish', { text: 'x' })).document
      assert.deepEqual(copies.map(({ subscription }: Document) => subscription).toSorted(), names.toSorted())
    })

    test('payloads in schedules and results keep all their digits', async () => {
      await using rig = await startQueueApiRig({ engine })
      const put = await rig.api('PUT', '/schedules/s', `{"queue":"inbox","cron":"* * * * * *","job":{"payload":{"id":${LONG}}}}`)
      assert.ok(put.text.includes(LONG), put.text)
      const received = await rig.api('POST', '/queues/inbox/receive', { wait: '10s' })
      assert.ok(received.text.includes(`"payload":{"id":${LONG}}`), received.text)
      const { id, receipt } = received.document.jobs[0]
      const settlement = `{"receipt":"${receipt}","outcome":"succeed","result":{"payload":${LONG}}}`
      await rig.api('POST', '/queues/inbox/settle', `{"settlements":[${settlement}]}`)
      const { text } = await rig.api('GET', `/jobs/${id}?include=result`)
      assert.ok(text.includes(`"payload":${LONG}`), text)
    })
  })
}

test('a topic without subscriptions is changed, seen and published to by those only who have that right somewhere', async () => {
  await using rig = await startQueueApiRig({ keys: KEYS })
  await rig.api('PUT', '/topics/empty')
  const sender = as(rig, 'sender')
  assert.equal((await sender('DELETE', '/topics/empty')).status, 403)
  assert.equal((await sender('PUT', '/topics/empty')).status, 403)
  assert.deepEqual((await sender('GET', '/topics')).document.topics, [])
  assert.equal((await sender('POST', '/topics/empty/publish', { text: 'x' })).status, 201)
  assert.equal((await as(rig, 'reader')('POST', '/topics/empty/publish', { text: 'x' })).status, 403)
  assert.equal((await as(rig, 'reader')('GET', '/topics')).document.topics.length, 1)
  assert.equal((await rig.api('DELETE', '/topics/empty')).status, 204)
})

test('a server gets one host, which is one, and no method that answers without a body in whatever case', async () => {
  await using rig = await startQueueApiRig()
  const status = async (job: object): Promise<number> => (await rig.api('POST', '/queues/inbox/jobs', job)).status
  for (const host of ['a', 'api.example:8080', '10.0.0.1', '[::1]:80', 'a_b']) assert.equal(await status({ headers: { host } }), 201, host)
  for (const host of [['a', 'b'], ['a'], '', 'a b', 'a@b', 'a/b', 'a,b:c', 'a:99999999', '[::1', 'http://a'])
    assert.equal(await status({ headers: { Host: host } }), 400, String(host))
  for (const method of ['head', 'Connect', 'TRACE', 'oPTIONS']) assert.equal(await status({ method }), 400, method)
})

test('documents that are nested too deeply are refused as such', async () => {
  await using rig = await startQueueApiRig()
  await rig.api('PUT', '/topics/t')
  const deep = '['.repeat(200_000) + ']'.repeat(200_000)
  const documents = [
    ['/queues/q', `{"attempts":${deep}}`],
    ['/topics/t/subscriptions/s', `{"filter":${deep}}`],
    ['/schedules/s', `{"queue":"inbox","every":"1h","job":{"payload":${deep}}}`],
  ] as const
  for (const [path, document] of documents) assert.equal((await rig.api('PUT', path, document)).status, 400, path)
  assert.deepEqual(
    rig.events.filter(({ type }) => type === 'warning'),
    [],
  )
})

test('a filter that names a status many times is kept as one that names it once', async () => {
  await using rig = await startQueueApiRig()
  const status = Array.from({ length: 10_000 }, () => 'queued')
  const begun = await rig.api('POST', '/queues/inbox/tasks', { kind: 'cancel', filter: { status } })
  assert.deepEqual([begun.status, begun.document.filter.status], [202, ['queued']])
})

test('a filter names at most 1,000 values', async () => {
  await using rig = await startQueueApiRig()
  await rig.api('PUT', '/topics/t')
  const filter = (count: number): object => ({ headers: { 'x-a': 'a' }, fields: { '/a': Array.from({ length: count - 1 }, (_, i) => i) } })
  assert.equal((await rig.api('PUT', '/topics/t/subscriptions/a', { queue: 'inbox', filter: filter(1000) })).status, 201)
  const refused = await rig.api('PUT', '/topics/t/subscriptions/b', { queue: 'inbox', filter: filter(1001) })
  assert.deepEqual(
    [refused.status, refused.document.detail],
    [400, 'filter: names 1001 values, at most 1000 may be named (limits.filterValues).'],
  )
})
