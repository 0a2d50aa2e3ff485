/** Who may do what over the queue API: keys on the listeners, the guard of the admin address, and pages of other origins. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ApiKeyConfig } from '../../src/config/config.ts'
import { type ApiAnswer, type Document, type QueueApiRig, startQueueApiRig } from '../support/queue-api-rig.ts'

const KEYS: readonly ApiKeyConfig[] = [
  { name: 'sender', token: 'sender-0123456789', queues: ['inbox'], can: ['send'] },
  { name: 'reader', token: 'reader-0123456789', queues: ['inbox', 'mail-*'], can: ['browse'] },
  { name: 'worker', token: 'worker-0123456789', queues: ['inbox'], can: ['receive'] },
  { name: 'owner', token: 'owner-01234567890', queues: ['*'], can: ['send', 'receive', 'browse', 'manage'] },
]
const QUEUES = ['inbox', 'mail-a', 'mail', 'secret'].map((name) => ({ name }))

function as(rig: QueueApiRig, name: string): (method: string, path: string, body?: unknown) => Promise<ApiAnswer> {
  const token = KEYS.find((key) => key.name === name)?.token ?? name
  return (method, path, body) => rig.api(method, path, body, { authorization: `Bearer ${token}` })
}

test('without any key the listeners do not serve it, the admin address does', async () => {
  await using rig = await startQueueApiRig({ keys: [] })
  assert.equal((await rig.api('GET', '/queues')).status, 404)
  assert.equal((await rig.admin('GET', '/queues')).status, 200)
})

test('no token and a wrong one get 401', async () => {
  await using rig = await startQueueApiRig({ keys: KEYS })
  for (const authorization of ['', 'Bearer', 'Bearer wrong', 'Basic sender-0123456789', `Bearer ${KEYS[0]?.token}x`]) {
    const answer = await rig.api('GET', '/queues', undefined, { authorization })
    assert.deepEqual(
      [answer.status, answer.document.code, answer.headers['www-authenticate']],
      [401, 'unauthorized', 'Bearer realm="spillway"'],
    )
  }
})

test('a right that is missing gets 403, a queue that the key may not see 404, as if it were not there', async () => {
  await using rig = await startQueueApiRig({ keys: KEYS, queues: QUEUES })
  const id = (await as(rig, 'owner')('POST', '/queues/secret/jobs', { text: 'x' })).document.id as string
  const calls: readonly (readonly [key: string, method: string, path: string, status: number, body?: unknown])[] = [
    ['sender', 'POST', '/queues/inbox/jobs', 201, { text: 'x' }],
    ['sender', 'GET', '/queues/inbox/jobs', 403],
    ['sender', 'POST', '/queues/inbox/receive', 403],
    ['sender', 'POST', '/queues/inbox/pause', 403],
    ['sender', 'POST', '/queues/secret/jobs', 404, { text: 'x' }],
    ['sender', 'POST', '/queues/nothing/jobs', 404, { text: 'x' }],
    ['worker', 'POST', '/queues/inbox/receive', 200],
    ['worker', 'POST', '/queues/inbox/settle', 200, { settlements: [] }],
    ['worker', 'POST', '/queues/inbox/extend', 200, { receipts: [] }],
    ['worker', 'POST', '/queues/inbox/jobs', 403, { text: 'x' }],
    ['worker', 'POST', '/queues/secret/settle', 404, { settlements: [] }],
    ['reader', 'GET', '/queues/inbox', 200],
    ['reader', 'GET', '/queues/mail-a', 200],
    ['reader', 'GET', '/queues/mail', 404],
    ['reader', 'GET', '/queues/inbox/peek', 200],
    ['reader', 'GET', '/queues/inbox/keys', 200],
    ['reader', 'GET', `/jobs/${id}`, 404],
    ['reader', 'DELETE', '/queues/inbox', 403],
    ['reader', 'PUT', '/queues/mail-b', 403, {}],
    ['reader', 'PUT', '/queues/other', 404, {}],
    ['reader', 'POST', '/queues/inbox/tasks', 403, { kind: 'cancel' }],
    ['reader', 'POST', '/queues/inbox/purge', 403, { confirm: 'inbox' }],
    ['owner', 'GET', `/jobs/${id}`, 200],
    ['owner', 'POST', `/jobs/${id}/move`, 200, { queue: 'inbox' }],
    ['reader', 'GET', `/jobs/${id}`, 200],
    ['reader', 'DELETE', `/jobs/${id}`, 403],
    ['reader', 'POST', `/jobs/${id}/redrive`, 403],
    ['reader', 'POST', `/jobs/${id}/move`, 403, { queue: 'mail-a' }],
  ]
  for (const [key, method, path, status, body] of calls) {
    const answer = await as(rig, key)(method, path, body)
    assert.equal(answer.status, status, `${key} ${method} ${path}: ${answer.text}`)
    if (status === 403) assert.equal(answer.document.code, 'forbidden')
  }
  const { queues } = (await as(rig, 'reader')('GET', '/queues')).document
  assert.deepEqual(
    queues.map(({ name }: Document) => name),
    ['inbox', 'mail-a'],
  )
})

test('a key lets only those pools work off a queue that it may name', async () => {
  const keys: readonly ApiKeyConfig[] = KEYS.map((key) => (key.name === 'worker' ? { ...key, can: ['manage'], pools: ['api'] } : key))
  await using rig = await startQueueApiRig({ keys, queues: QUEUES.slice(1), servers: [1] })
  const refused = await as(rig, 'owner')('PUT', '/queues/inbox', { pool: 'api' })
  assert.deepEqual(
    [refused.status, refused.document.detail],
    [403, 'This key may not let the pool api work off a queue; see api.keys.pools.'],
  )
  assert.equal((await as(rig, 'worker')('PUT', '/queues/inbox', { pool: 'api' })).status, 201)
  assert.equal((await as(rig, 'owner')('PUT', '/queues/inbox', { pool: 'api', attempts: 3 })).status, 200, 'as it is already')
  assert.equal((await rig.admin('PUT', '/queues/other', { pool: 'api' })).status, 201)
})

test('tasks, schedules and topics are shown and stopped by those who have the right on their queues', async () => {
  await using rig = await startQueueApiRig({ keys: KEYS, queues: QUEUES })
  const owner = as(rig, 'owner')
  const reader = as(rig, 'reader')
  const task = (await owner('POST', '/queues/secret/tasks', { kind: 'cancel', perSecond: 0.01 })).document.id as number
  await owner('POST', '/queues/inbox/tasks', { kind: 'cancel' })
  await owner('PUT', '/schedules/s', { queue: 'secret', every: '1h' })
  await owner('PUT', '/schedules/w', { queue: 'inbox', every: '1h' })
  await owner('PUT', '/topics/t')
  await owner('PUT', '/topics/t/subscriptions/a', { queue: 'inbox' })
  assert.equal((await as(rig, 'sender')('POST', '/topics/t/publish', { text: 'x' })).status, 201)
  await owner('PUT', '/topics/t/subscriptions/b', { queue: 'secret' })
  assert.deepEqual(
    (await reader('GET', '/tasks')).document.tasks.map(({ queue }: Document) => queue),
    ['inbox'],
  )
  assert.deepEqual(
    (await reader('GET', '/schedules')).document.schedules.map(({ name }: Document) => name),
    ['w'],
  )
  assert.deepEqual((await reader('GET', '/topics')).document.topics, [])
  for (const [method, path, status] of [
    ['DELETE', `/tasks/${task}`, 404],
    ['GET', '/schedules/s', 404],
    ['DELETE', '/schedules/w', 403],
    ['DELETE', '/topics/t', 403],
    ['POST', '/topics/t/publish', 403],
  ] as const) {
    assert.equal((await reader(method, path, method === 'POST' ? {} : undefined)).status, status, path)
  }
  assert.equal((await as(rig, 'sender')('POST', '/topics/t/publish', { text: 'x' })).status, 403)
})

test('the admin address: its token, or the name of this machine', async () => {
  await using open = await startQueueApiRig()
  assert.equal((await open.admin('GET', '/queues', undefined, { host: 'evil.example' })).status, 421)
  await using closed = await startQueueApiRig({
    config: { admin: { address: { host: '127.0.0.1', port: 0 }, token: 'admin-secret', calls: 48 } },
  })
  const none = await closed.admin('GET', '/queues')
  assert.deepEqual([none.status, none.document.code], [401, 'unauthorized'])
  assert.equal((await closed.admin('GET', '/queues', undefined, { authorization: 'Bearer admin-secret' })).status, 200)
})

test('a page of another origin cannot make the browser send anything to the admin address', async () => {
  await using rig = await startQueueApiRig()
  const host = `127.0.0.1:${rig.adminPort}`
  const pause = (headers: Record<string, string>): Promise<ApiAnswer> => rig.admin('POST', '/queues/inbox/pause', undefined, headers)
  const refused: readonly Record<string, string>[] = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://127.0.0.1:3000' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: `http://${host}`, 'sec-fetch-site': 'cross-site' },
  ]
  for (const headers of refused) {
    const answer = await pause(headers)
    assert.deepEqual([answer.status, answer.document.code], [403, 'foreign_page'], JSON.stringify(headers))
  }
  // What an old browser sends for a form that somebody's page submits: no origin, and never JSON.
  for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/plain']) {
    assert.equal((await pause({ 'content-type': type })).status, 415)
    assert.equal((await rig.admin('POST', '/queues/inbox/jobs', '{"text":"x"}', { 'content-type': type })).status, 415)
  }
  assert.equal((await rig.admin('GET', '/queues/inbox')).document.paused, false)
  for (const headers of [{}, { origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }]) {
    assert.equal((await pause(headers)).status, 200)
  }
})

test('addresses and methods that there are not', async () => {
  await using rig = await startQueueApiRig()
  for (const path of ['', '/', '/queue', '/queues/inbox/jobs/1', '/queues/inbox/keys/release/x', '/jobs', '/queues/inbox/']) {
    assert.equal((await rig.api('GET', path)).status, 404, path)
  }
  const wrong = await rig.api('DELETE', '/queues/inbox/jobs')
  assert.deepEqual([wrong.status, wrong.headers['allow']], [405, 'GET, POST, HEAD'])
  assert.deepEqual([(await rig.api('HEAD', '/queues')).status, (await rig.api('HEAD', '/queues')).text], [200, ''])
  assert.equal((await rig.api('GET', '/queues/constructor')).status, 404)
})
