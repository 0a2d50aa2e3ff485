/** Webhooks from end to end: a job ends, and real receivers are told, in a way that the libraries of Standard Webhooks and Svix verify. */
import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Webhook as StandardWebhook } from 'standardwebhooks'
import { Webhook as SvixWebhook } from 'svix'
import { ask } from '../support/http-client.ts'
import type { Document } from '../support/queue-api-rig.ts'
import type { Received } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { SECRET, startReceiver, startWebhookRig, type WebhookRig } from '../support/webhook-rig.ts'

/** The queue these tests send to, and as the API addresses it. */
const QUEUE = 'work'
const WORK_QUEUE = `/queues/${QUEUE}`

const OTHER_SECRET = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'
/** The seed of RFC 8032, test 1. */
const PRIVATE_KEY = 'whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='
const PUBLIC_KEY = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo='

function headersOf({ headers }: Received): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

const payloadOf = ({ body }: Received): Document => JSON.parse(body.toString()) as Document

async function first(rig: WebhookRig): Promise<Received> {
  return (await rig.received(1))[0] as Received
}

/** A webhook for something later has come: what was to come before is there. */
async function types(rig: WebhookRig, count: number): Promise<string[]> {
  return (await rig.received(count)).map((received) => payloadOf(received).type as string)
}

test('the end of a job is told of, and the libraries of Standard Webhooks and Svix verify it', async () => {
  await using rig = await startWebhookRig({
    config: { jobs: { publicUrl: 'https://api.example.com' } },
    handle: (_, response) => void response.setHeader('content-type', 'application/json').end('{"total": 12.50}'),
  })
  const id = await rig.submit('/work', { 'spillway-reference': 'order 7' })
  const webhook = await first(rig)
  const payload = new StandardWebhook(SECRET).verify(webhook.body, headersOf(webhook)) as Document
  new SvixWebhook(SECRET).verify(webhook.body, headersOf(webhook))
  assert.throws(() => new SvixWebhook(SECRET).verify(`${webhook.body.toString()} `, headersOf(webhook)))
  const { links, timestamp, submittedAt, finishedAt, ...rest } = payload
  assert.deepEqual(rest, {
    type: 'job.succeeded',
    id,
    reference: 'order 7',
    status: 'succeeded',
    queue: 'work',
    route: '/*',
    result: { status: 200, headers: { 'content-type': 'application/json' }, encoding: 'json', body: { total: 12.5 } },
  })
  assert.equal(timestamp, finishedAt)
  assert.ok(Date.parse(submittedAt) <= Date.parse(finishedAt))
  assert.match(links.result, /^https:\/\/api\.example\.com\/_spillway\/jobs\/[^/]+\/result$/)
  const answer = await ask(links.result.replace('https://api.example.com', rig.url))
  assert.equal(answer.text, '{"total": 12.50}')
  assert.match(webhook.headers['webhook-id'] as string, /^msg_[0-9a-z]+_0_\d+$/)
  assert.deepEqual(
    [webhook.method, webhook.headers['content-type'], webhook.headers['user-agent']],
    ['POST', 'application/json', 'Spillway-Webhooks'],
  )
})

test('the lines of the documentation that verify by hand do so', async () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'webhooks.md'), 'utf8')
  const code = /```js\n(import \{ createHmac[^]*?)```/.exec(page)?.[1] as string
  const module = `${code}\nconst SECRET = ${JSON.stringify(SECRET)}\nexport { isOurs }`
  const { isOurs } = (await import(`data:text/javascript,${encodeURIComponent(module)}`)) as {
    readonly isOurs: (headers: Readonly<Record<string, string>>, body: string) => boolean
  }
  await using rig = await startWebhookRig({ main: { secret: undefined, secrets: [OTHER_SECRET, SECRET] } })
  await rig.submit()
  const webhook = await first(rig)
  const headers = headersOf(webhook)
  assert.equal(isOurs(headers, webhook.body.toString()), true)
  assert.equal(isOurs(headers, `${webhook.body.toString()} `), false)
  assert.equal(isOurs({ ...headers, 'webhook-timestamp': '1614265330' }, webhook.body.toString()), false)
})

test('webhooks are made and sent on the memory engine, too', async () => {
  await using rig = await startWebhookRig({ config: { store: { engine: 'memory' } } })
  const id = await rig.submit()
  assert.equal(payloadOf(await first(rig)).id, id)
})

test('while a secret is changed, the old one and the new one verify; a third does not; v1a needs the public key only', async () => {
  await using rig = await startWebhookRig({ main: { secret: undefined, secrets: [OTHER_SECRET, SECRET, PRIVATE_KEY] } })
  await rig.submit()
  const webhook = await first(rig)
  for (const secret of [SECRET, OTHER_SECRET]) new StandardWebhook(secret).verify(webhook.body, headersOf(webhook))
  assert.throws(() => new StandardWebhook('whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA').verify(webhook.body, headersOf(webhook)))
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headersOf(webhook) as Record<string, string>
  const parts = (signatures as string).split(' ').map((each) => each.split(','))
  assert.deepEqual(
    parts.map(([version]) => version),
    ['v1', 'v1', 'v1a'],
  )
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(PUBLIC_KEY, 'base64')])
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), webhook.body])
  const signature = Buffer.from(parts[2]?.[1] as string, 'base64')
  assert.ok(verify(null, signed, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature))
})

test('every way to end is told of, with what is known of it', async () => {
  await using rig = await startWebhookRig({
    config: { queues: { work: { attempts: 1, expireAfter: '50ms', deadLetter: 'all' }, paused: { pool: 'api' } } },
    handle: ({ url }, response) => void (url === '/bad' ? response.writeHead(422).end('no') : response.end('fine')),
  })
  await rig.submit('/bad')
  const failed = payloadOf(await first(rig))
  assert.deepEqual(
    [failed.type, failed.status, failed.error.code, failed.error.serverStatus],
    ['job.failed', 'failed', 'server_error', 422],
  )
  assert.deepEqual(failed.result, { status: 422, headers: {}, encoding: 'text', body: 'no' })
  await rig.api('POST', `${WORK_QUEUE}/pause`)
  const { document } = await rig.api('POST', `${WORK_QUEUE}/jobs`, { delay: '1h' })
  await rig.api('DELETE', `/jobs/${document.id}`)
  assert.deepEqual(await types(rig, 2), ['job.failed', 'job.cancelled'])
  await rig.submit()
  assert.deepEqual(await types(rig, 3), ['job.failed', 'job.cancelled', 'job.expired'])
  assert.equal(rig.receiver.received.filter((received) => payloadOf(received).result !== undefined).length, 1)
})

test('an endpoint gets what it asks for: by type, by queue, by route', async () => {
  await using receiver = await startReceiver()
  const at = (path: string, rest: object): object => ({ url: `${receiver.url}/${path}`, secret: SECRET, ...rest })
  await using rig = await startWebhookRig({
    handle: ({ url }, response) => void response.writeHead(url.endsWith('bad') ? 422 : 200).end(),
    config: {
      queues: { work: {}, other: {} },
      routes: [
        { match: '/other/*', mode: 'queue', queue: 'other' },
        { match: '/*', mode: 'queue', queue: 'work' },
      ],
    },
    webhooks: {
      endpoints: {
        failures: at('failures', { events: ['job.failed'] }),
        others: at('others', { queues: ['oth*'] }),
        byRoute: at('by-route', { routes: ['/other/*'], events: ['job.succeeded'] }),
        none: at('none', { queues: ['elsewhere'] }),
      },
    },
  })
  for (const path of ['/work', '/bad', '/other/1', '/other/bad']) await rig.submit(path)
  await rig.received(4)
  const jobs = (await rig.deliveries()).length
  assert.equal(jobs, 4 + 2 + 2 + 1)
  const { received } = receiver
  await rig.gateway.drain()
  const got = (path: string): string[] =>
    received
      .filter(({ url }) => url === `/${path}`)
      .map((each) => `${payloadOf(each).queue} ${payloadOf(each).type}`)
      .sort()
  assert.deepEqual(got('failures'), ['other job.failed', 'work job.failed'])
  assert.deepEqual(got('others'), ['other job.failed', 'other job.succeeded'])
  assert.deepEqual(got('by-route'), ['other job.succeeded'])
  assert.deepEqual(got('none'), [])
})

test('nothing is kept or sent for queues of which nobody wants to hear, and nothing without the section', async () => {
  await using rig = await startWebhookRig({ main: { queues: ['elsewhere'] } })
  const id = await rig.submit()
  const hasEnded = async (job: string): Promise<boolean> => (await rig.api('GET', `/jobs/${job}`)).document.finishedAt !== undefined
  await until('it has ended', () => hasEnded(id))
  assert.equal((await rig.api('DELETE', `/jobs/${id}?forget=true`)).status, 204, 'nothing is still to follow from its end')
  assert.deepEqual(await rig.deliveries(), [])
  await rig.restart({ webhooks: undefined })
  const again = await rig.submit()
  await until('the next has ended', () => hasEnded(again))
  assert.equal((await rig.api('DELETE', `/jobs/${again}?forget=true`)).status, 204)
  assert.equal(rig.receiver.received.length, 0)
})

test('a result of 20 KiB is sent along, one of a byte more is behind the link', async () => {
  await using rig = await startWebhookRig({
    handle: ({ url }, response) => void response.end('x'.repeat(Number(url.slice(1)))),
    main: { order: 'key' },
  })
  for (const bytes of [20 * 1024, 20 * 1024 + 1, 200_000]) await rig.submit(`/${bytes}`, { 'spillway-key': 'one' })
  const bodies = (await rig.received(3)).map((received) => payloadOf(received).result?.body.length as number | undefined)
  assert.deepEqual(bodies, [20 * 1024, undefined, undefined])
})

test('headers of the endpoint are sent along, and its URL is filled in', async () => {
  await using rig = await startWebhookRig({ config: {} })
  await rig.restart({
    webhooks: {
      allow: ['127.0.0.1'],
      endpoints: {
        main: {
          url: `http://127.0.0.1:${rig.receiver.port}/in/{queue}/{reference}?status={status}`,
          secret: SECRET,
          headers: { Authorization: 'Bearer of-the-receiver' },
        },
      },
    },
  })
  await rig.submit('/work', { 'spillway-reference': 'a/b' })
  const webhook = await first(rig)
  assert.equal(webhook.url, `/in/${QUEUE}/a%2Fb?status=succeeded`)
  assert.equal(webhook.headers.authorization, 'Bearer of-the-receiver')
})

test('a client names its callback in the request, or in the document of a job, where that is allowed', async () => {
  await using receiver = await startReceiver()
  await using rig = await startWebhookRig({
    main: null,
    config: {
      routes: [
        { match: '/*', mode: 'queue', queue: 'work', allow: ['callback'] },
        { match: '/spill', mode: 'spill', queue: 'work', allow: ['callback'], wait: '10s' },
        { match: '/not', mode: 'queue', queue: 'work' },
      ],
    },
    webhooks: { callbacks: { urls: [`${receiver.url}/for/*`], secret: OTHER_SECRET } },
  })
  const callback = `${receiver.url}/for/me?x=1`
  const id = await rig.submit('/work', { 'spillway-callback': callback })
  await rig.submit('/work')
  const held = await rig.post('/spill', { 'spillway-callback': callback }, '{}')
  assert.deepEqual([held.status, held.headers['spillway-status'], held.text], [200, 'succeeded', 'done'])
  const sent = await rig.api('POST', `${WORK_QUEUE}/jobs`, { payload: 1, callback })
  assert.equal(sent.status, 201)
  const elsewhere = await rig.post('/work', { 'spillway-callback': `${receiver.url}/other` }, '{}')
  assert.equal(elsewhere.status, 400)
  assert.match(elsewhere.json()['detail'] as string, /^Spillway-Callback http:\/\/127\.0\.0\.1:\d+\/other matches none/)
  assert.match((await rig.post('/not', { 'spillway-callback': callback }, '{}')).text, /not allowed on this route/)
  const wrong = await rig.api('POST', `${WORK_QUEUE}/jobs`, { payload: 1, callback: 'https://example.com/' })
  assert.match(wrong.document.detail as string, /callback: .*matches none/)
  await until('all callbacks have come', () => receiver.received.length === 3)
  await rig.gateway.drain()
  const jobs = receiver.received.map((each) => new StandardWebhook(OTHER_SECRET).verify(each.body, headersOf(each)) as Document)
  assert.equal(jobs.length, 3)
  assert.ok(jobs.some((job) => job.id === id))
  assert.deepEqual([...new Set(receiver.received.map(({ url }) => url))], ['/for/me?x=1'])
})

test('endpoints that are added, changed and taken away by a reload hold at once, also the first one', async () => {
  await using rig = await startWebhookRig({ config: { webhooks: undefined } })
  await rig.submit('/before')
  const at = (path: string): Record<string, unknown> => ({ url: `http://127.0.0.1:${rig.receiver.port}/${path}`, secret: SECRET })
  const reload = async (endpoints: object): Promise<void> => {
    const outcome = await rig.reload({ webhooks: { allow: ['127.0.0.1'], endpoints } as Document })
    assert.equal(outcome.kind, 'applied')
  }
  await reload({ a: at('a') })
  await rig.submit('/one')
  await rig.received(1)
  await reload({ a: at('moved'), b: at('b') })
  await rig.submit('/two')
  await rig.received(3)
  await reload({})
  const last = await rig.submit('/three')
  await until('the last has ended', async () => (await rig.api('GET', `/jobs/${last}`)).document.finishedAt !== undefined)
  await reload({ a: at('a') })
  await rig.submit('/four')
  await rig.received(4)
  const urls = rig.receiver.received.map(({ url }) => url)
  assert.deepEqual([urls[0], urls.slice(1, 3).sort(), urls.slice(3)], ['/a', ['/b', '/moved'], ['/a']])
})

test('the end of a batch is told of once, after the ends of its jobs, to who asks for it', async () => {
  await using rig = await startWebhookRig({
    main: { events: ['job.succeeded', 'batch.ended'] },
    handle: (_, response) => void response.end('done'),
  })
  const requests = Array.from({ length: 3 }, () => ({ method: 'POST', target: '/work', text: 'x' }))
  const accepted = await rig.post(
    '/_spillway/batches',
    { 'content-type': 'application/json' },
    JSON.stringify({ reference: 'all', requests }),
  )
  assert.equal(accepted.status, 202, accepted.text)
  const told = await rig.received(4)
  const payloads = told.map((webhook) => new StandardWebhook(SECRET).verify(webhook.body, headersOf(webhook)) as Document)
  const ended = payloads.filter(({ type }) => type === 'batch.ended')
  assert.equal(ended.length, 1)
  const { status, reference, total, counts, links } = ended[0] as Document
  assert.deepEqual([status, reference, total, counts.succeeded], ['ended', 'all', 3, 3])
  assert.equal((await ask(rig.url + links.self)).json()['status'], 'ended')
  await until('all are delivered', async () => (await rig.deliveries()).every((job) => job.status === 'succeeded'))
  const sent = (await rig.deliveries()).find((job) => (job.reference as string).startsWith('msg_batch_'))
  const again = await rig.api('POST', '/webhooks/main/resend', { webhook: sent?.id })
  assert.deepEqual([again.status, again.document.detail], [409, 'It tells of no job, so it cannot be made again.'])
})

test('a small result that was streamed goes along, a large one is linked to', async () => {
  const large = 'x'.repeat(40_000)
  await using rig = await startWebhookRig({
    config: { routes: [{ match: '/*', mode: 'queue', queue: 'work', stream: true }] },
    handle: ({ url }, response) => void response.setHeader('content-type', 'text/plain').end(url === '/large' ? large : 'little by little'),
  })
  const answers = [await rig.post('/small', {}, 'x'), await rig.post('/large', {}, 'x')]
  assert.deepEqual(
    answers.map(({ text }) => text.length),
    [16, 40_000],
  )
  const payloads = (await rig.received(2)).map(payloadOf)
  const results = payloads.map(({ result }) => result?.body as unknown).toSorted()
  assert.deepEqual(results, ['little by little', undefined])
})

test('the end of a job whose streamed result is damaged is told of without it', async (t) => {
  const path = mkdtempSync(join(tmpdir(), 'spillway-webhooks-'))
  t.after(() => rmSync(path, { recursive: true }))
  const held: ServerResponse[] = []
  await using rig = await startWebhookRig({
    webhooks: { limits: { jobs: 1 } },
    config: { store: { path }, routes: [{ match: '/*', mode: 'queue', queue: 'work', stream: true }] },
    receive: (_, response) => void held.push(response),
    handle: (_, response) => void response.setHeader('content-type', 'text/plain').end('little by little'),
  })
  await rig.post('/first', {}, 'x')
  await rig.received(1)
  // There is no room for what tells of it: its result is read later.
  await rig.post('/second', {}, 'x')
  const bodies = join(path, 'bodies')
  for (const file of readdirSync(bodies).filter((name) => name.endsWith('.stream'))) {
    const bytes = readFileSync(join(bodies, file))
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
    writeFileSync(join(bodies, file), bytes)
  }
  held[0]?.end()
  const told = payloadOf((await rig.received(2))[1] as Received)
  assert.deepEqual([told.type, told.result], ['job.succeeded', undefined])
  held[1]?.end()
})
