/** Endpoints that are made over the API, and what can be done with all of them: rotate, switch, test, look, send again. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { ask } from '../support/http-client.ts'
import { ManualClock } from '../support/manual-clock.ts'
import type { Document } from '../support/queue-api-rig.ts'
import type { Received } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { SECRET, startReceiver, startWebhookRig, type WebhookRig } from '../support/webhook-rig.ts'

const WORK_QUEUE = '/queues/work'

const payloadOf = ({ body }: Received): Document => JSON.parse(body.toString()) as Document

function verified(received: Received, secret: string): Document {
  const headers = Object.fromEntries(Object.entries(received.headers).map(([name, value]) => [name, String(value)]))
  return new Webhook(secret).verify(received.body, headers) as Document
}

async function isVerifiedBy(received: Received, secret: string): Promise<boolean> {
  return Promise.resolve()
    .then(() => verified(received, secret))
    .then(
      () => true,
      () => false,
    )
}

const statuses = async (rig: WebhookRig): Promise<string[]> => (await rig.deliveries()).map((job) => job.status as string)

test('an endpoint that is made over the API is told, its secret shown once, and kept over a restart', async () => {
  await using receiver = await startReceiver()
  await using rig = await startWebhookRig({ main: null })
  const document = {
    url: `${receiver.url}/made`,
    queues: ['work'],
    events: ['job.succeeded'],
    order: 'key',
    headers: { 'X-Auth': 'of-the-receiver' },
  }
  const made = await rig.api('PUT', '/webhooks/made', document)
  assert.equal(made.status, 201)
  const { newSecrets, ...view } = made.document
  assert.match(newSecrets[0], /^whsec_[A-Za-z0-9+/]{43}=$/)
  assert.deepEqual(view, {
    name: 'made',
    definedIn: 'api',
    url: `${receiver.url}/made`,
    events: ['job.succeeded'],
    queues: ['work'],
    order: 'key',
    timeoutMs: 30_000,
    headers: ['x-auth'],
    secrets: [{ signature: 'v1' }],
    enabled: true,
  })
  await rig.submit()
  await until('it has come', () => receiver.received.length === 1)
  verified(receiver.received[0] as Received, newSecrets[0])
  await rig.restart()
  await rig.submit()
  await until('the next has come', () => receiver.received.length === 2)
  verified(receiver.received[1] as Received, newSecrets[0])
  // Changed, it keeps its secret, and tells nobody.
  const changed = await rig.api('PUT', '/webhooks/made', { url: `${receiver.url}/changed` })
  assert.deepEqual([changed.status, changed.document.newSecrets, changed.document.order], [200, undefined, 'none'])
  await rig.submit()
  await until('the third has come', () => receiver.received.length === 3)
  assert.equal(receiver.received[2]?.url, '/changed')
  verified(receiver.received[2] as Received, newSecrets[0])
  for (const path of ['/webhooks', '/webhooks/made', '/webhooks/made/deliveries']) {
    const { text } = await rig.api('GET', path)
    assert.ok(!text.includes(newSecrets[0].slice(6)) && !text.includes('of-the-receiver'), path)
  }
  assert.equal((await rig.api('DELETE', '/webhooks/made')).status, 204)
  assert.equal((await rig.api('GET', '/webhooks/made')).status, 404)
})

test('what is wrong with an endpoint is said, and nothing is made of it', async () => {
  await using rig = await startWebhookRig({ webhooks: { endpointsMax: 1 } })
  const cases: readonly (readonly [Document, RegExp])[] = [
    [{ url: 'http://example.com/' }, /url: must begin with https:\/\//],
    [{ url: 'https://10.0.0.1/' }, /url: is a private address; name it in webhooks\.allow/],
    [{ url: 'https://example.com/{token}' }, /no parameter \{token\}/],
    [{ url: 'https://u:p@example.com/' }, /password/],
    [{ url: 'nowhere' }, /no http or https URL/],
    [{}, /url: is missing/],
    [{ url: 'https://example.com/', secret: 'short' }, /secret: must be whsec_/],
    [{ url: 'https://example.com/', secret: SECRET, secrets: [SECRET] }, /secrets: there is a secret, too/],
    [{ url: 'https://example.com/', secret: SECRET, signature: 'v1a' }, /signature: is said by the secrets/],
    [{ url: 'https://example.com/', headers: { 'Webhook-Id': 'x' } }, /webhook-id: is said by Spillway itself/],
    [{ url: 'https://example.com/', headers: { 'X-A': 'a\r\nb: c' } }, /must be printable/],
    [{ url: 'https://example.com/', events: ['job.done'] }, /events/],
    [{ url: 'https://example.com/', order: 'random' }, /order/],
    [{ url: 'https://example.com/', queues: new Array<string>(101).fill('q') }, /queues/],
    [[], /object/],
  ]
  for (const [document, wrong] of cases) {
    const answer = await rig.api('PUT', '/webhooks/other', document)
    assert.equal(answer.status, 400, answer.text)
    assert.match(answer.document.detail as string, wrong)
    assert.ok(!answer.text.includes(SECRET.slice(6)))
  }
  const many = { url: 'https://example.com/', queues: new Array<string>(100).fill('q') }
  assert.equal((await rig.api('PUT', '/webhooks/many', many)).status, 201)
  assert.equal((await rig.api('DELETE', '/webhooks/many')).status, 204)
  assert.equal((await rig.api('PUT', '/webhooks/a!', { url: 'https://example.com/' })).status, 400)
  assert.equal((await rig.api('GET', '/webhooks')).document.endpoints.length, 1)
  assert.equal((await rig.api('PUT', '/webhooks/one', { url: 'https://example.com/' })).status, 201)
  const tooMany = await rig.api('PUT', '/webhooks/two', { url: 'https://example.com/' })
  assert.deepEqual([tooMany.status, tooMany.document.code], [409, 'too_many_webhooks'])
  assert.equal((await rig.api('PUT', '/webhooks/one', { url: 'https://example.com/changed' })).status, 200)
  for (const [method, path] of [
    ['PUT', ''],
    ['DELETE', ''],
    ['POST', '/rotate'],
  ] as const) {
    const answer = await rig.api(method, `/webhooks/main${path}`, method === 'PUT' ? { url: 'https://example.com/' } : undefined)
    assert.deepEqual([answer.status, answer.document.code], [409, 'defined_in_file'])
  }
})

test('where the configuration has no webhooks, the API says so', async () => {
  await using rig = await startWebhookRig({ config: { webhooks: undefined } })
  for (const [method, path] of [
    ['GET', ''],
    ['PUT', '/x'],
  ] as const) {
    const answer = await rig.api(method, `/webhooks${path}`, method === 'PUT' ? { url: 'https://example.com/' } : undefined)
    assert.deepEqual([answer.status, answer.document.code], [409, 'webhooks_off'])
  }
})

test('a secret that is rotated signs on beside the new one until its day is over', async () => {
  await using receiver = await startReceiver()
  await using rig = await startWebhookRig({ main: null })
  const made = (await rig.api('PUT', '/webhooks/main', { url: receiver.url, signature: 'both' })).document
  const [old] = made.newSecrets as readonly [string]
  assert.deepEqual(
    made.newSecrets.map((secret: string) => secret.split('_')[0]),
    ['whsec', 'whsk'],
  )
  assert.match(made.secrets[1].publicKey, /^whpk_/)
  const rotated = (await rig.api('POST', '/webhooks/main/rotate')).document
  const [fresh] = rotated.newSecrets as readonly [string]
  assert.equal(rotated.newSecrets.length, 2)
  assert.deepEqual(
    rotated.secrets.map(({ signature, until: at }: Document) => [signature, at !== undefined]),
    [
      ['v1', false],
      ['v1a', false],
      ['v1', true],
      ['v1a', true],
    ],
  )
  const inMs = Date.parse(rotated.secrets[2].until) - Date.now()
  assert.ok(inMs > 23.9 * 3_600_000 && inMs <= 24 * 3_600_000)
  await rig.submit()
  await until('it has come', () => receiver.received.length === 1)
  const [both] = receiver.received as [Received]
  assert.deepEqual([await isVerifiedBy(both, old), await isVerifiedBy(both, fresh)], [true, true])
  await rig.api('POST', '/webhooks/main/rotate', { overlap: '1ms' })
  await rig.submit()
  await until('the next has come', () => receiver.received.length === 2)
  const [, last] = receiver.received as [Received, Received]
  assert.deepEqual([await isVerifiedBy(last, old), await isVerifiedBy(last, fresh)], [false, false])
  assert.equal((await rig.api('POST', '/webhooks/main/rotate', { overlap: '31d' })).status, 400)
})

test('what failed while an endpoint was down is replayed when it is up: all of it, or one', async () => {
  await using rig = await startWebhookRig({ receive: (_, response) => void response.writeHead(500).end(), webhooks: { retries: ['1ms'] } })
  const ids = [await rig.submit(), await rig.submit(), await rig.submit()]
  await until('all are given up', async () => (await statuses(rig)).filter((status) => status === 'failed').length === 3)
  rig.receiver.handle = (_, response) => void response.end()
  const before = rig.receiver.received.length
  const [one] = (await rig.api('GET', '/webhooks/main/deliveries?dead=true&limit=1')).document.deliveries
  assert.deepEqual([one.status, one.dead, one.error.status], ['failed', 'attempts', 500])
  const resent = await rig.api('POST', '/webhooks/main/resend', { webhook: one.webhook })
  assert.deepEqual([resent.status, resent.document.webhook], [202, one.webhook])
  await rig.received(before + 1)
  assert.equal(payloadOf(rig.receiver.received.at(-1) as Received).id, ids[2])
  assert.equal((await rig.api('POST', '/webhooks/main/replay')).status, 202)
  await rig.received(before + 3)
  await until('all are delivered', async () => (await statuses(rig)).every((status) => status === 'succeeded'))
  const last = rig.receiver.received.slice(before).map((received) => payloadOf(received).id as string)
  assert.deepEqual([...last].sort(), [...ids].sort())
})

test('what was delivered is sent again under its old id: one, or all since a time, had or not', async () => {
  await using rig = await startWebhookRig({ main: { events: ['job.succeeded'] } })
  const ids = [await rig.submit(), await rig.submit()]
  const received = [...(await rig.received(2))]
  const first = received.find((each) => payloadOf(each).id === ids[0]) as Received
  await until('both are settled', async () => (await statuses(rig)).every((status) => status === 'succeeded'))
  const { deliveries } = (await rig.api('GET', `/webhooks/main/deliveries?reference=${String(first.headers['webhook-id'])}`)).document
  assert.equal(deliveries.length, 1)
  assert.equal((await rig.api('POST', '/webhooks/main/resend', { webhook: deliveries[0].webhook })).status, 202)
  const again = (await rig.received(3)).at(-1) as Received
  assert.deepEqual([again.headers['webhook-id'], again.body.toString()], [first.headers['webhook-id'], first.body.toString()])
  // An endpoint that comes later gets what it has missed.
  await using receiver = await startReceiver()
  await rig.api('PUT', '/webhooks/late', { url: receiver.url })
  const since = new Date(Date.now() - 60_000).toISOString()
  assert.deepEqual((await rig.api('POST', '/webhooks/late/replay', { all: true, since })).document, { sent: 2 })
  await until('they have come', () => receiver.received.length === 2)
  assert.deepEqual(receiver.received.map((each) => payloadOf(each).id as string).sort(), [...ids].sort())
  const future = new Date(Date.now() + 60_000).toISOString()
  assert.deepEqual((await rig.api('POST', '/webhooks/late/replay', { all: true, since: future })).document, { sent: 0 })
  assert.match((await rig.api('POST', '/webhooks/late/replay', { all: true })).document.detail as string, /^since: is needed/)
  assert.match((await rig.api('POST', '/webhooks/late/replay', { since: 'soon' })).document.detail as string, /^since: must be a time/)
  assert.equal((await rig.api('POST', '/webhooks/main/resend', { webhook: ids[0] })).status, 404)
})

test('what was delivered is sent again byte for byte, also with a result that was streamed', async () => {
  await using rig = await startWebhookRig({
    config: { routes: [{ match: '/*', mode: 'queue', queue: 'work', stream: true }] },
    handle: (_, response) => void response.setHeader('content-type', 'text/plain').end('little by little'),
  })
  await rig.post('/work', {}, 'x')
  await rig.received(1)
  await until('it is settled', async () => (await statuses(rig))[0] === 'succeeded')
  const [{ webhook }] = (await rig.api('GET', '/webhooks/main/deliveries')).document.deliveries
  await rig.api('POST', '/webhooks/main/resend', { webhook })
  const [first, again] = await rig.received(2)
  assert.equal(payloadOf(first as Received).result.body, 'little by little')
  assert.equal(again?.body.toString(), first?.body.toString())
})

test('a replay of all tells of no webhook, wherever it is to go on', async () => {
  await using rig = await startWebhookRig()
  await rig.submit()
  await rig.received(1)
  await until('it is settled', async () => (await statuses(rig))[0] === 'succeeded')
  const all = { all: true, since: new Date(Date.now() - 60_000).toISOString() }
  for (const after of ['a-queue-that-is-gone/0akvmv9ew00', 'webhooks', 'webhooks/00000000000']) {
    assert.deepEqual((await rig.api('POST', '/webhooks/main/replay', { ...all, after })).document, { sent: 1 }, after)
  }
})

test('the end of a job keeps its id when the job gives up its key', async () => {
  await using rig = await startWebhookRig({
    config: { queues: { work: { attempts: 1, onFailure: 'block' } } },
    handle: (_, response) => void response.writeHead(400).end(),
  })
  await rig.submit('/work', { 'spillway-key': 'a' })
  await rig.received(1)
  await until('it is settled', async () => (await statuses(rig))[0] === 'succeeded')
  const [sent] = await rig.deliveries()
  assert.equal((await rig.api('POST', `${WORK_QUEUE}/keys/release`, { key: 'a' })).document.released, true)
  assert.equal((await rig.api('POST', '/webhooks/main/resend', { webhook: sent?.id })).status, 202)
  await rig.received(2)
  const all = { all: true, since: new Date(Date.now() - 60_000).toISOString() }
  assert.equal((await rig.api('POST', '/webhooks/main/replay', all)).document.sent, 1)
  const ids = (await rig.received(3)).map(({ headers }) => headers['webhook-id'])
  assert.equal(new Set(ids).size, 1)
})

test('where there is no room to send all again, what there is room for goes, and the rest when it is asked for, each once', async () => {
  await using rig = await startWebhookRig({ main: null, webhooks: { limits: { jobs: 3 } } })
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push(await rig.submit())
  await until('all have ended', async () => (await rig.api('GET', '/queues/work')).document.counts.succeeded === 5)
  const held: ServerResponse[] = []
  await using receiver = await startReceiver((_, response) => void held.push(response))
  await rig.api('PUT', '/webhooks/late', { url: receiver.url })
  const all = { all: true, since: new Date(Date.now() - 60_000).toISOString() }
  const first = (await rig.api('POST', '/webhooks/late/replay', all)).document
  assert.deepEqual([first.sent, first.next], [3, `work/${ids[2]}`])
  const full = await rig.api('POST', '/webhooks/late/replay', { ...all, after: first.next })
  assert.deepEqual([full.status, full.document.code], [503, 'queue_full'])
  receiver.handle = (_, response) => void response.end()
  await until('three have come', () => held.length === 3)
  for (const response of held) response.end()
  await until('they are delivered', async () => (await statuses(rig)).every((status) => status === 'succeeded'))
  assert.deepEqual((await rig.api('POST', '/webhooks/late/replay', { ...all, after: first.next })).document, { sent: 2 })
  await until('all have come', () => receiver.received.length === 5)
  assert.deepEqual(receiver.received.map((each) => payloadOf(each).id as string).sort(), [...ids].sort())
})

test('an endpoint is disabled and enabled; what it missed is kept, and replayed', async () => {
  await using rig = await startWebhookRig()
  const disabled = (await rig.api('POST', '/webhooks/main/disable')).document
  assert.deepEqual([disabled.enabled, disabled.disabledBecause], [false, 'an operator disabled it'])
  await rig.submit()
  await until('it is a dead letter', async () => (await rig.deliveries())[0]?.dead === 'webhook_disabled')
  assert.equal((await rig.api('POST', '/webhooks/main/replay')).status, 409)
  // A test goes out all the same.
  assert.equal((await rig.api('POST', '/webhooks/main/test')).status, 202)
  const [received] = await rig.received(1)
  const payload = verified(received as Received, SECRET)
  assert.deepEqual([payload.type, payload.endpoint], ['webhook.test', 'main'])
  await rig.restart()
  assert.equal((await rig.api('GET', '/webhooks/main')).document.enabled, false)
  assert.equal((await rig.api('POST', '/webhooks/main/enable')).document.enabled, true)
  assert.equal((await rig.api('POST', '/webhooks/main/replay')).status, 202)
  await rig.received(2)
  assert.deepEqual(
    rig.events.map(({ type }) => type).filter((type) => type.startsWith('webhook-')),
    ['webhook-disabled', 'webhook-enabled'],
  )
})

test('an endpoint that has only failed for days is disabled; one success clears it', async () => {
  const clock = new ManualClock(Date.now())
  let status = 500
  await using rig = await startWebhookRig({
    main: { order: 'none' },
    webhooks: { disableAfter: '5d', retries: ['1h'] },
    receive: (_, response) => void response.writeHead(status).end(),
    options: { clock },
  })
  const DAY = 86_400_000
  /** One attempt at a time, with everything that follows from it. */
  const attempt = async (): Promise<void> => {
    const before = rig.receiver.received.length
    await rig.api('POST', '/webhooks/main/test')
    await until('an attempt was made', () => {
      clock.advance(10)
      return rig.receiver.received.length > before
    })
    await until('it is settled', async () => {
      clock.advance(10)
      return (await statuses(rig)).every((each) => each !== 'running' && each !== 'queued')
    })
  }
  const state = async (): Promise<Document> => (await rig.api('GET', '/webhooks/main')).document
  await attempt()
  assert.equal((await state()).failingSince !== undefined, true)
  status = 200
  await attempt()
  assert.equal((await state()).failingSince, undefined)
  status = 500
  await attempt()
  clock.jump(5 * DAY - 60_000)
  await attempt()
  assert.equal((await state()).enabled, true)
  clock.jump(60_000)
  await attempt()
  assert.equal((await state()).enabled, false)
  assert.match((await state()).disabledBecause, /disableAfter/)
})

test('an endpoint that may no longer be where it is stays, and gets what it has missed when it may again', async () => {
  await using receiver = await startReceiver()
  await using rig = await startWebhookRig({ main: null })
  await rig.api('PUT', '/webhooks/made', { url: receiver.url })
  await rig.restart({ webhooks: { retries: ['1ms'] } })
  assert.equal((await rig.api('GET', '/webhooks/made')).document.url, receiver.url)
  const id = await rig.submit()
  await until('it is given up', async () => (await rig.deliveries())[0]?.dead === 'attempts')
  assert.equal((await rig.deliveries())[0]?.error.code, 'webhook_refused_address')
  await rig.reload({ webhooks: { allow: ['127.0.0.0/8'] } })
  await rig.api('POST', '/webhooks/made/replay')
  await until('it has come', () => receiver.received.length === 1)
  assert.equal(payloadOf(receiver.received[0] as Received).id, id)
})

test('a key may make and change an endpoint only for queues that it may look into', async () => {
  const token = 'the-token-of-somebody'
  const keys = [{ name: 'some', token, queues: ['work', 'webhooks'], can: ['manage', 'browse'] as ('manage' | 'browse')[] }]
  await using rig = await startWebhookRig({ main: null, config: { api: { keys } } })
  const call = async (method: string, path: string, document: object): Promise<number> => {
    const body = JSON.stringify(document)
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'content-length': String(body.length) }
    return (await ask(`${rig.url}/_spillway/api/webhooks/${path}`, { method, headers, body })).status
  }
  const url = 'https://example.com/'
  assert.equal(await call('PUT', 'mine', { url }), 403)
  assert.equal(await call('PUT', 'mine', { url, queues: ['work', 'other'] }), 403)
  assert.equal(await call('PUT', 'mine', { url, queues: ['work*'] }), 403)
  assert.equal(await call('PUT', 'mine', { url, queues: ['work'] }), 201)
  await rig.api('PUT', '/webhooks/theirs', { url })
  assert.equal(await call('POST', 'theirs/rotate', {}), 403)
  // Not even where what it would be then is its own: the secrets, and what waits for it, are of others.
  assert.equal(await call('PUT', 'theirs', { url: 'https://example.com/mine', queues: ['work'] }), 403)
  assert.equal((await rig.api('GET', '/webhooks/theirs')).document.url, url)
})
