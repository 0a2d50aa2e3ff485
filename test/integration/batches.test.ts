/** Batches: many requests with one token, taken together or not at all, counted until the last of them has ended. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type ConfigRig, type Document, startConfigRig, type Told } from '../support/config-rig.ts'
import { type Answer, ask, blocks, open } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

/** The queue these tests send to, as the API addresses it. */
const WORK_QUEUE = 'queues/work'

type Routes = NonNullable<ConfigFile['routes']>

const BATCHES = '/_spillway/batches'
const WORK: Routes[number] = { match: 'POST /work', mode: 'queue' }

interface World extends AsyncDisposable {
  readonly server: TestServer
  readonly rig: ConfigRig
}

/** Servers answer with the status that the body names, else with what they were sent; what is sent to /held waits for `release`. */
async function world(config: ConfigFile = {}): Promise<World & { release(): void }> {
  const released = Promise.withResolvers<void>()
  const server = await startTestServer(async ({ body, url }, response) => {
    const text = body.toString()
    if (url === '/held') await released.promise
    response.writeHead(/^\d{3}$/.test(text) ? Number(text) : 200).end(`did ${text}`)
  })
  const rig = await startConfigRig({ pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [WORK], ...config })
  return {
    server,
    rig,
    release: released.resolve,
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server.kill()
    },
  }
}

const work = (text: string, more: object = {}): object => ({ method: 'POST', target: '/work', text, ...more })

function send(
  rig: ConfigRig,
  requests: readonly unknown[],
  more: { readonly headers?: Record<string, string>; readonly reference?: string } = {},
): Promise<Told> {
  const { headers, ...others } = more
  return rig.ask(BATCHES, { method: 'POST', body: { ...others, requests }, ...(headers !== undefined && { headers }) })
}

async function sent(rig: ConfigRig, requests: readonly unknown[]): Promise<string> {
  const told = await send(rig, requests)
  assert.equal(told.status, 202, told.text)
  return told.headers.location ?? ''
}

const ended = (rig: ConfigRig, self: string): Promise<Document> =>
  rig.status(self, 'the batch has ended', ({ status }) => status === 'ended')

async function jobsOf(rig: ConfigRig, self: string): Promise<Document[]> {
  return (await rig.ask(`${self}/jobs?max=1000`)).document.jobs
}

const NO_COUNTS = { queued: 0, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, expired: 0 }

test('many requests have one token, and each is a job as if it had come alone', async () => {
  await using all = await world({
    routes: [
      { ...WORK, allow: ['key', 'priority', 'reference'] },
      { match: 'PUT /orders/{id}', mode: 'spill', key: 'path:id' },
    ],
  })
  const { rig, server } = all
  const told = await send(
    rig,
    [
      work('a', { headers: { 'Spillway-Key': 'k', 'Spillway-Reference': 'mine', 'X-Own': 'yes' } }),
      {
        method: 'PUT',
        target: '/orders/7?x=1',
        body: { n: 12345678901234567890n.toString() },
        headers: { Authorization: 'Bearer other', Host: 'orders.example' },
      },
      { method: 'POST', target: '/work', base64: 'AP8=' },
      work('422'),
    ],
    { reference: 'night run', headers: { authorization: 'Bearer caller' } },
  )
  assert.equal(told.status, 202, told.text)
  const { document } = told
  assert.deepEqual([document.status, document.total, document.reference], ['running', 4, 'night run'])
  assert.match(document.submittedAt, /^\d{4}-/)
  const self = told.headers.location ?? ''
  assert.deepEqual(document.links, { self, jobs: `${self}/jobs`, events: `${self}/events` })
  assert.equal(told.headers['cache-control'], 'private, no-store')
  const over = await ended(rig, self)
  assert.deepEqual(over.counts, { ...NO_COUNTS, succeeded: 3, failed: 1 })
  assert.ok(over.finishedAt >= over.submittedAt)
  const jobs = await jobsOf(rig, self)
  assert.deepEqual(
    jobs.map(({ index, status, reference }) => [index, status, reference]),
    [
      [0, 'succeeded', 'mine'],
      [1, 'succeeded', undefined],
      [2, 'succeeded', undefined],
      [3, 'failed', undefined],
    ],
  )
  assert.equal(document.id, jobs[0].id, 'a batch is called like its first job')
  assert.equal((await rig.ask(jobs[0].links.result)).text, 'did a')
  const first = (await rig.admin('GET', `jobs/${jobs[0].id}`)).document
  const order = (await rig.admin('GET', `jobs/${jobs[1].id}`)).document
  assert.deepEqual([first.key, first.queue, first.route, order.key, order.queue], ['k', 'work', 'POST /work', '7', 'orders'])
  assert.deepEqual([order.batch, (await rig.ask(jobs[1].links.self)).document.batch], Array(2).fill({ id: document.id, index: 1 }))
  const got = new Map(server.received.map((each) => [each.headers['spillway-job'], each]))
  const [a, b, c] = jobs.map(({ id }) => got.get(id))
  assert.deepEqual([a?.headers.authorization, a?.headers['x-own'], a?.headers['spillway-key']], ['Bearer caller', 'yes', undefined])
  assert.deepEqual([b?.headers.authorization, b?.headers.host, b?.url], ['Bearer other', 'orders.example', '/orders/7?x=1'])
  assert.deepEqual([b?.headers['content-type'], c?.body], ['application/json', Buffer.from([0, 255])])
  assert.match(String(a?.headers['x-forwarded-for']), /127\.0\.0\.1/)
})

test('one request that cannot be taken, and none is: each that is wrong is told by its place', async () => {
  await using all = await world({
    limits: { jobBody: '1KiB', spillCopy: '1KiB' },
    routes: [WORK, { match: '/direct' }, { match: 'POST /off', mode: 'queue' }],
  })
  const { rig, server } = all
  await rig.admin('PUT', `routes/${encodeURIComponent('POST /off')}/mode`, { mode: 'refuse' })
  const told = await send(rig, [
    work('fine'),
    { method: 'POST', target: '/direct' },
    { method: 'POST', target: '/nowhere' },
    work('x', { headers: { 'Spillway-Priority': '3' } }),
    { method: 'GET', target: '/work' },
    work('x'.repeat(1025)),
    { target: '/work', bodi: 1 },
    { method: 'POST', target: '/_spillway/batches', body: {} },
    { method: 'POST', target: '/../work' },
    'POST /work',
  ])
  assert.deepEqual([told.status, told.document.code], [400, 'batch_refused'])
  assert.match(told.document.detail, /^requests\[1\]: .* 9 of them cannot be taken\.$/)
  assert.deepEqual(
    told.document.errors.map(({ index, code }: Document) => [index, code]),
    [
      [1, 'not_queueable'],
      [2, 'not_found'],
      [3, 'header_not_allowed'],
      [4, 'not_found'],
      [5, 'invalid_request'],
      [6, 'invalid_request'],
      [7, 'not_found'],
      [8, 'invalid_request'],
      [9, 'invalid_request'],
    ],
  )
  assert.deepEqual((await rig.admin('GET', `${WORK_QUEUE}/jobs`)).document.jobs, [])
  assert.equal(server.received.length, 0)
})

test('where a queue has no room for all of them, none is taken, and the client is told when to come back', async () => {
  await using all = await world({ queues: { work: { limits: { jobs: 2 } } } })
  const { rig } = all
  await rig.admin('POST', `${WORK_QUEUE}/pause`)
  const refused = await send(rig, [work('a'), work('b'), work('c')])
  assert.deepEqual([refused.status, refused.document.code], [503, 'queue_full'])
  assert.ok(Number(refused.headers['retry-after']) >= 1)
  assert.deepEqual((await rig.admin('GET', `${WORK_QUEUE}/jobs`)).document.jobs, [])
  const self = await sent(rig, [work('a'), work('b')])
  assert.equal((await rig.ask(self)).document.counts.queued, 2)
})

test('a batch has as many requests, and there are as many batches, as there may be, and no more', async () => {
  await using all = await world({ limits: { batch: 2, batches: 2 } })
  const { rig } = all
  const [one, two, three] = [work('1'), work('2'), work('3')]
  const refused = await send(rig, [one, two, three])
  assert.deepEqual([refused.status, refused.document.code], [400, 'invalid_request'])
  assert.match(refused.document.detail, /at most 2 are one batch \(limits\.batch\)/)
  await sent(rig, [one, two])
  await sent(rig, [one])
  const full = await send(rig, [one])
  assert.deepEqual([full.status, full.document.code], [503, 'too_many_batches'])
  assert.match(full.document.detail, /limits\.batches/)
  assert.ok(rig.events.some((event) => event.type === 'limit-reached' && event.limit === 'batches'))
})

test('what is no batch is refused before anything of it is looked at', async () => {
  await using all = await world({ limits: { jobBody: '1KiB', spillCopy: '1KiB', head: '4KiB', target: '1KiB' }, api: { body: '8KiB' } })
  const { rig } = all
  const post = (body: unknown, headers: Record<string, string> = {}): Promise<Told> => rig.ask(BATCHES, { method: 'POST', body, headers })
  assert.equal((await post('{"requests":[')).status, 400)
  assert.equal((await post({ requests: [] })).status, 400)
  assert.equal((await post({ requests: [work('a')] }, { 'content-type': 'text/plain' })).status, 415)
  assert.equal((await post({ requests: [work('a')] }, { 'idempotency-key': '"' })).status, 400)
  assert.equal((await post({ requests: Array.from({ length: 20 }, () => work('x'.repeat(500))) })).status, 413)
  const get = await rig.ask(BATCHES)
  assert.deepEqual([get.status, get.headers.allow], [405, 'POST'])
})

test('a repeat with the same Idempotency-Key is the same batch, over a restart too; another batch under it is refused', async () => {
  await using all = await world()
  const { rig, server } = all
  const once = { headers: { 'idempotency-key': 'night-7' } }
  const first = await send(rig, [work('a'), work('b')], once)
  const again = await send(rig, [work('a'), work('b')], once)
  assert.deepEqual([again.status, again.headers.location], [202, first.headers.location])
  assert.deepEqual([first.headers['idempotency-replayed'], again.headers['idempotency-replayed']], [undefined, 'true'])
  await ended(rig, first.headers.location ?? '')
  await rig.restart()
  const later = await send(rig, [work('a'), work('b')], { headers: { ...once.headers, host: 'localhost' } })
  assert.equal(later.status, 422, 'another host may mean other routes')
  const same = async (): Promise<Told> => send(rig, [work('a'), work('b')], { headers: { 'idempotency-key': 'restarted' } })
  const before = await same()
  assert.equal((await same()).headers.location, before.headers.location)
  assert.equal((await send(rig, [work('a'), work('c')], { headers: { 'idempotency-key': 'restarted' } })).status, 422)
  const other = await send(rig, [work('a'), work('b')], { headers: { 'idempotency-key': 'restarted', authorization: 'Bearer b' } })
  assert.notEqual(other.headers.location, before.headers.location, 'another caller has keys of his own')
  await ended(rig, other.headers.location ?? '')
  assert.equal(server.received.length, 6)
})

test('two that come at once with the same key are one batch', async () => {
  await using all = await world()
  const { rig } = all
  const requests = Array.from({ length: 50 }, (_, i) => work(`${i}x`))
  const told = await Promise.all(Array.from({ length: 4 }, () => send(rig, requests, { headers: { 'idempotency-key': 'k' } })))
  assert.equal(new Set(told.map(({ headers }) => headers.location)).size, 1)
  await ended(rig, told[0]?.headers.location ?? '')
  assert.equal(all.server.received.length, 50)
})

test('a wrong token, an unknown one, and what is none are the same 404', async () => {
  await using all = await world()
  const { rig } = all
  const self = await sent(rig, [work('a')])
  const token = self.slice(BATCHES.length + 1)
  const [id = '', secret = ''] = token.split('.')
  const [job] = await jobsOf(rig, self)
  const jobToken = String(job.links.self).split('/').at(-1) ?? ''
  const bodies = new Set<string>()
  for (const wrong of [
    `${id}.${'A'.repeat(secret.length)}`,
    `${id}.`,
    `00000000001.${secret}`,
    `0.${secret}`,
    `b.${secret}`,
    jobToken,
    'x',
  ]) {
    for (const [sub, method] of [
      ['', 'GET'],
      ['', 'DELETE'],
      ['/jobs', 'GET'],
      ['/events', 'GET'],
    ] as const) {
      const told = await rig.ask(`${BATCHES}/${wrong}${sub}`, { method })
      assert.equal(told.status, 404, `${method} ${wrong}${sub}`)
      bodies.add(told.text)
    }
  }
  assert.equal(bodies.size, 1)
  assert.equal((await rig.ask(`/_spillway/jobs/${token}`)).status, 404, 'nor does it open a job')
  assert.equal((await rig.ask(self, { method: 'POST' })).status, 405)
})

test('a wait ends with the batch, or, for whoever knows a status, with another one', async () => {
  await using all = await world({
    routes: [{ match: 'POST /{name}', mode: 'queue', queue: 'work' }],
    // However long it takes until the server is well: not as much longer once it is.
    queues: { work: { backoff: { base: '50ms', max: '1s' } } },
  })
  const { rig } = all
  const self = await sent(rig, [work('a'), work('b', { target: '/held' })])
  const running = await rig.status(self, 'one has ended and one runs', ({ counts }) => counts.succeeded === 1 && counts.running === 1)
  assert.equal(running.finishedAt, undefined)
  const now = await rig.ask(self)
  assert.ok(Number(now.headers['retry-after']) >= 1)
  const tag = now.headers.etag ?? ''
  assert.equal((await rig.ask(self, { headers: { 'if-none-match': tag } })).status, 304)
  const changed = rig.ask(`${self}?wait=30s`, { headers: { 'if-none-match': tag } })
  const over = rig.ask(self, { headers: { prefer: 'wait=30' } })
  all.release()
  assert.equal((await over).document.status, 'ended')
  assert.equal((await changed).status, 200)
  const end = await rig.ask(`${self}?wait=30s`)
  assert.equal(end.headers['retry-after'], undefined)
  assert.equal((await rig.ask(`${self}?wait=30s`, { headers: { 'if-none-match': end.headers.etag ?? '' } })).status, 304)
  await rig.restart()
  assert.equal((await rig.ask(self, { headers: { 'if-none-match': end.headers.etag ?? '' } })).status, 304, 'also over a restart')
})

test('its events are whole statuses, and the last one is the end', async () => {
  await using all = await world({ routes: [{ match: 'POST /{name}', mode: 'queue', queue: 'work' }], queues: { work: {} } })
  const { rig } = all
  const self = await sent(rig, [work('a'), work('b', { target: '/held' })])
  const stream = await open(`${rig.url}${self}/events`, { headers: { accept: 'application/x-ndjson' } })
  const events: Document[] = []
  for await (const line of blocks(stream, '\n')) {
    if (line === '') continue
    events.push(JSON.parse(line))
    if (events.at(-1).counts?.running === 1) all.release()
  }
  const last = events.at(-1)
  assert.deepEqual([last.event, last.status, last.counts], ['end', 'ended', { ...NO_COUNTS, succeeded: 2 }])
  assert.ok(events.slice(0, -1).every(({ event }) => event === 'status'))
  const sse = await rig.ask(`${self}/events`)
  const id = /^event: end\nid: (\S+)\ndata: \{/.exec(sse.text)?.[1] ?? ''
  assert.equal((await rig.ask(`${self}/events`, { headers: { 'last-event-id': id } })).status, 204)
  assert.equal((await rig.ask(`${self}/events`, { headers: { accept: 'text/html' } })).status, 406)
})

test('whoever follows it is told to come back when the gateway stops', async () => {
  await using all = await world({
    routes: [{ match: 'POST /{name}', mode: 'queue', queue: 'work' }],
    queues: { work: {} },
    drainTimeout: '0s',
  })
  const { rig } = all
  const self = await sent(rig, [work('a', { target: '/held' })])
  await rig.status(self, 'it runs', ({ counts }) => counts.running === 1)
  const streams = await Promise.all(
    ['text/event-stream', 'application/x-ndjson'].map((accept) => open(`${rig.url}${self}/events`, { headers: { accept } })),
  )
  const waiting = rig.ask(`${self}?wait=60s`)
  const lines = streams.map(async (stream) => {
    const all: string[] = []
    for await (const line of blocks(stream, '\n')) all.push(line)
    return all
  })
  await rig.ask(self)
  await rig.gateway.drain()
  const [sse = [], ndjson = []] = await Promise.all(lines)
  assert.ok(sse.some((line) => /^retry: \d+$/.test(line)))
  assert.ok(ndjson.some((line) => line.includes('"event":"reconnect"')))
  assert.equal((await waiting).document.status, 'running')
  all.release()
})

test('with their headers the requests of a batch have room in memory, or it is refused', async () => {
  await using all = await world({
    limits: { buffered: '1MiB', jobBody: '64KiB', spillCopy: '1KiB', result: '64KiB' },
    api: { body: '512KiB' },
  })
  const { rig } = all
  const requests = (count: number): readonly object[] => Array.from({ length: count }, () => work('a'))
  const headers = { authorization: `Bearer ${'t'.repeat(8000)}` }
  const refused = await send(rig, requests(200), { headers })
  assert.deepEqual([refused.status, refused.document.code], [503, 'buffers_full'])
  assert.equal((await send(rig, requests(50), { headers })).status, 202)
})

test('its jobs are told in pages', async () => {
  await using all = await world()
  const { rig } = all
  const self = await sent(
    rig,
    Array.from({ length: 7 }, (_, i) => work(`${i}x`)),
  )
  await ended(rig, self)
  const indexes: number[] = []
  let next: number | undefined = -1
  while (next !== undefined) {
    const { document }: Told = await rig.ask(`${self}/jobs?max=3&after=${next}`)
    indexes.push(...document.jobs.map(({ index }: Document) => index))
    next = document.next
  }
  assert.deepEqual(indexes, [0, 1, 2, 3, 4, 5, 6])
  for (const query of ['max=0', 'max=1001', 'after=8', 'after=x', 'max=1e2'])
    assert.equal((await rig.ask(`${self}/jobs?${query}`)).status, 400, query)
})

test('to cancel it cancels what has not ended, and nothing else', async () => {
  await using all = await world({ routes: [{ match: 'POST /{name}', mode: 'queue', queue: 'work' }], queues: { work: { concurrency: 2 } } })
  const { rig } = all
  const self = await sent(rig, [
    work('a'),
    work('b', { target: '/held' }),
    ...Array.from({ length: 5 }, () => work('c', { target: '/held' })),
  ])
  await rig.status(self, 'two run', ({ counts }) => counts.succeeded === 1 && counts.running === 2)
  const told = await rig.ask(self, { method: 'DELETE' })
  assert.equal(told.status, 200)
  assert.deepEqual([told.document.status, told.document.counts], ['ended', { ...NO_COUNTS, succeeded: 1, cancelled: 6 }])
  assert.deepEqual((await rig.ask(self, { method: 'DELETE' })).document, told.document)
})

test('a batch is told of when it ends, and measured', async () => {
  await using all = await world()
  const { rig } = all
  const self = await sent(rig, [work('a'), work('422')])
  const { id } = await ended(rig, self)
  assert.deepEqual(
    rig.events.filter(({ type }) => type === 'batch-ended'),
    [{ type: 'batch-ended', batch: id, total: 2, succeeded: 1 }],
  )
  const metrics = await fetch(`${rig.adminUrl}/metrics`).then((answer) => answer.text())
  assert.match(metrics, /^spillway_batches 1$/m)
  assert.match(metrics, /^spillway_batches_running 0$/m)
})

test('a job that is sent again counts as it ended last', async () => {
  let status = 422
  await using all = await world({ queues: { work: { deadLetter: 'all' } } })
  const { rig, server } = all
  server.handle = (_, response) => void response.writeHead(status).end()
  const self = await sent(rig, [work('a'), work('b')])
  const before = await ended(rig, self)
  assert.deepEqual(before.counts, { ...NO_COUNTS, failed: 2 })
  status = 200
  const [, second] = await jobsOf(rig, self)
  await rig.admin('POST', `jobs/${second.id}/redrive`, {})
  const after = await rig.status(self, 'it counts anew', ({ counts }) => counts.succeeded === 1)
  assert.deepEqual([after.status, after.finishedAt, after.counts.failed], ['ended', before.finishedAt, 1])
  await rig.restart()
  assert.deepEqual((await rig.ask(self)).document, after)
})

test('over a restart a batch goes on, and says what its jobs do now', async () => {
  await using all = await world({ routes: [{ match: 'POST /{name}', mode: 'queue', queue: 'work' }], queues: { work: {} } })
  const { rig } = all
  const self = await sent(rig, [work('a'), work('b', { target: '/held' }), work('503')])
  await rig.status(self, 'one has ended', ({ counts }) => counts.succeeded === 1 && counts.running >= 1)
  await rig.restart()
  await rig.status(self, 'it is known what runs', ({ counts }) => counts.succeeded === 1 && counts.running === 1 && counts.queued === 1)
  all.release()
  all.server.handle = (_, response) => void response.end('done')
  assert.deepEqual((await ended(rig, self)).counts, { ...NO_COUNTS, succeeded: 3 })
})

test('a chain and a batch go together', async () => {
  await using all = await world({
    routes: [
      { ...WORK, then: 'POST /next' },
      { match: 'POST /next', mode: 'queue' },
    ],
  })
  const { rig } = all
  const self = await sent(rig, [work('a'), work('b')])
  await ended(rig, self)
  for (const { links } of await jobsOf(rig, self)) {
    const { next } = await rig.status(links.self, 'it is followed', (document) => document.next !== undefined)
    assert.equal((await rig.status(next.links.self, 'the next has ended', ({ status }) => status === 'succeeded')).queue, 'next')
  }
})

test('a batch ends with its jobs, also where what follows from them has to wait for room', async () => {
  await using all = await world({ routes: [{ ...WORK, then: 'full' }], queues: { full: { pull: true, limits: { jobs: 1 } } } })
  const { rig } = all
  await rig.admin('POST', 'queues/full/jobs', {})
  const self = await sent(rig, [work('a'), work('b'), work('c')])
  assert.equal((await ended(rig, self)).counts.succeeded, 3)
  const nexts = async (): Promise<number> => {
    const documents = await Promise.all((await jobsOf(rig, self)).map(({ links }) => rig.ask(links.self)))
    return documents.filter(({ document }) => document.next !== undefined).length
  }
  assert.equal(await nexts(), 0)
  for (let room = 1; room <= 3; room++) {
    const { jobs } = (await rig.admin('GET', 'queues/full/jobs?status=queued')).document
    await rig.admin('DELETE', `jobs/${jobs[0].id}`)
    await until('there is room for one', async () => (await nexts()) === room)
  }
  assert.equal((await rig.ask(self)).document.counts.succeeded, 3)
})

test('on the queue API a batch is jobs of one queue, by the rights of its key', async () => {
  const keys = ['sender-of-batches', 'looker-of-batches'].map((token, i) => ({
    name: `k${i}`,
    token,
    queues: ['work'],
    can: i === 0 ? (['send'] as const) : (['browse', 'manage'] as const),
  }))
  await using all = await world({
    api: { keys: keys.map(({ can, ...key }) => ({ ...key, can: [...can] })) },
    queues: { other: { pull: true } },
  })
  const { rig } = all
  const api = (method: string, path: string, token: string, body?: unknown): Promise<Told> =>
    rig.ask(`/_spillway/api/${path}`, { method, headers: { authorization: `Bearer ${token}` }, ...(body !== undefined && { body }) })
  const jobs = [{ text: 'a', target: '/x' }, { payload: { n: 1 } }]
  const made = await api('POST', `${WORK_QUEUE}/batches`, 'sender-of-batches', { jobs, reference: 'r', idempotencyKey: 'once' })
  assert.equal(made.status, 201, made.text)
  assert.deepEqual([made.document.total, made.document.reference], [2, 'r'])
  const again = await api('POST', `${WORK_QUEUE}/batches`, 'sender-of-batches', { jobs, reference: 'r', idempotencyKey: 'once' })
  assert.deepEqual([again.status, again.document.token], [200, made.document.token])
  await ended(rig, `${BATCHES}/${made.document.token}`)
  const { id } = made.document
  const seen = await api('GET', `batches/${id}`, 'looker-of-batches')
  assert.deepEqual([seen.document.status, seen.document.links, seen.document.token], ['ended', undefined, undefined])
  assert.equal((await api('GET', `batches/${id}`, 'sender-of-batches')).status, 403)
  assert.equal((await api('DELETE', `batches/${id}`, 'looker-of-batches')).document.status, 'ended')
  assert.equal((await api('GET', 'batches/nobody', 'looker-of-batches')).status, 404)
  assert.equal((await api('POST', `${WORK_QUEUE}/batches`, 'looker-of-batches', { jobs })).status, 403)
  assert.equal((await api('POST', 'queues/other/batches', 'sender-of-batches', { jobs })).status, 404)
  const wrong = await api('POST', `${WORK_QUEUE}/batches`, 'sender-of-batches', { jobs: [...jobs, { idempotencyKey: 'x' }] })
  assert.match(wrong.document.detail, /^jobs\[2\]\.idempotencyKey: has no meaning in a batch/)
  await until('nothing of it was taken', async () => (await rig.admin('GET', `${WORK_QUEUE}/jobs`)).document.jobs.length === 2)
})

test('a gateway that is killed again and again goes on with its batch, and counts every job of it', async () => {
  const total = 300
  const server = await startTestServer((_, response) => void setTimeout(() => response.end('done'), 5))
  const folder = mkdtempSync(join(tmpdir(), 'spillway-batch-'))
  const config: ConfigFile = { pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [WORK] }
  const body = JSON.stringify({ requests: Array.from({ length: total }, (_, i) => work(`${i}x`)) })
  const post = (url: string): Promise<Answer> =>
    ask(`${url}${BATCHES}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'k', host: 'gateway.example' },
      body,
    })
  try {
    let gateway = await startGateway(config, { folder })
    const self = (await post(gateway.url)).headers.location ?? ''
    const counts = async (): Promise<Document> => (await ask(`${gateway.url}${self}`)).json()['counts']
    for (const part of [0.2, 0.5, 0.8]) {
      await until('some more have ended', async () => (await counts()).succeeded >= total * part)
      await gateway.kill()
      gateway = await startGateway(config, { folder })
    }
    assert.equal((await post(gateway.url)).headers.location, self, 'a repeat is the same batch')
    await until('the batch has ended', async () => (await ask(`${gateway.url}${self}`)).json()['status'] === 'ended')
    assert.deepEqual(await counts(), { ...NO_COUNTS, succeeded: total })
    const { jobs } = (await ask(`${gateway.url}${self}/jobs?max=1000`)).json() as Document
    assert.equal(new Set(jobs.map(({ id }: Document) => id)).size, total)
    await gateway.kill()
  } finally {
    await server.kill()
    rmSync(folder, { recursive: true })
  }
})
