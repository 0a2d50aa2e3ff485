/** Chains: the result of a job is sent on as the next job, once, and its clients can follow it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type ConfigRig, type Document, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type Routes = NonNullable<ConfigFile['routes']>

const EXTRACT: Routes[number] = { match: 'POST /extract', mode: 'queue', then: 'POST /translate' }
const TRANSLATE: Routes[number] = { match: 'POST /translate', mode: 'queue' }
const TWO_ROUTES: Routes = [EXTRACT, TRANSLATE]

function poolOf({ port }: TestServer): ConfigFile['pools'] {
  return { api: [`http://127.0.0.1:${port}`] }
}

/** Says what it did to what it got. */
async function translator(): Promise<TestServer> {
  return startTestServer(({ url, body }, response) => {
    response.setHeader('Content-Type', 'text/x-notes; charset=utf-8')
    response.setHeader('Content-Language', 'de')
    response.end(`${url}(${body.toString()})`)
  })
}

async function chained(rig: ConfigRig, path: string, headers: Record<string, string> = {}): Promise<Document> {
  const accepted = await rig.ask(path, { method: 'POST', body: 'text', headers: { 'content-type': 'text/plain', ...headers } })
  assert.equal(accepted.status, 202, accepted.text)
  return rig.status(accepted.headers.location ?? '', 'it is followed', ({ next }) => next !== undefined)
}

test('the result of a job is the request of the next one, and whoever has the token can follow', async () => {
  await using server = await disposable(translator())
  const generous: Routes[number] = { ...EXTRACT, allow: ['reference', 'priority', 'key'] }
  await using rig = await startConfigRig({ pools: poolOf(server.it), routes: [generous, TRANSLATE] })
  const first = await chained(rig, '/extract', { 'spillway-reference': 'r1', 'spillway-priority': '7', 'spillway-key': 'k' })
  assert.equal(first.then, undefined)
  assert.equal(first.parent, undefined)
  const second = await rig.status(first.next.links.self, 'the next has ended', ({ status }) => status === 'succeeded')
  assert.deepEqual([second.parent, second.queue, second.reference, second.next], [{ id: first.id }, 'translate', 'r1', undefined])
  assert.equal((await rig.ask(first.next.links.result)).text, '/translate(/extract(text))')
  const [, received] = server.it.received
  assert.equal(received?.headers['spillway-parent'], first.id)
  assert.deepEqual([received?.headers['content-type'], received?.headers['content-language']], ['text/x-notes; charset=utf-8', 'de'])
  const { document: seen } = await rig.admin('GET', `jobs/${second.id}`)
  assert.deepEqual([seen.parent, seen.key, seen.priority], [first.id, 'k', 7])
  const { document: before } = await rig.admin('GET', `jobs/${first.id}`)
  assert.deepEqual(before.next, { id: second.id }, 'who looks into queues is shown no token')
  assert.ok(!server.it.received.some(({ headers }, i) => i === 0 && headers['spillway-parent'] !== undefined))
})

test('until it is followed, a status says what will follow, and that a look in a moment is worth it', async () => {
  await using server = await disposable(translator())
  const queues = { translate: { limits: { jobs: 1 }, pull: true } }
  const routes: Routes = [{ ...EXTRACT, then: 'translate' }]
  await using rig = await startConfigRig({ pools: poolOf(server.it), queues, routes })
  await rig.admin('POST', 'queues/translate/jobs', {})
  const accepted = await rig.ask('/extract', { method: 'POST', body: 'text' })
  const self = accepted.headers.location ?? ''
  const waiting = await rig.status(self, 'it has ended', ({ status }) => status === 'succeeded')
  assert.deepEqual([waiting.then, waiting.next], [{ queue: 'translate' }, undefined])
  const seen = await rig.ask(self)
  assert.equal(seen.headers['retry-after'], '1')
  assert.equal((await rig.ask(self, { headers: { 'if-none-match': seen.headers.etag ?? '' } })).status, 304)
  const [first] = (await rig.admin('GET', 'queues/translate/jobs')).document.jobs
  await rig.admin('DELETE', `jobs/${first.id}`)
  const followed = await rig.ask((await rig.status(self, 'it is followed', ({ next }) => next !== undefined)).links.self, {
    headers: { 'if-none-match': seen.headers.etag ?? '' },
  })
  assert.equal(followed.status, 200, 'a status with a next one is another one')
})

test('a job that did not succeed ends its chain', async () => {
  await using server = await disposable(startTestServer((_, response) => void response.writeHead(422).end('no')))
  await using rig = await startConfigRig({ pools: poolOf(server.it), routes: TWO_ROUTES })
  const accepted = await rig.ask('/extract', { method: 'POST', body: 'text' })
  const failed = await rig.status(accepted.headers.location ?? '', 'it has ended', ({ status }) => status === 'failed')
  assert.deepEqual([failed.then, failed.next], [undefined, undefined])
  await until('nothing is due', async () => (await rig.ask(accepted.headers.location ?? '')).headers['retry-after'] === undefined)
  assert.deepEqual((await rig.admin('GET', 'queues/translate/jobs')).document.jobs, [])
})

test('the route that is named says method, target, headers and key; a queue has its own chain', async () => {
  await using server = await disposable(startTestServer((_, response) => void response.end('{"account":"a7"}')))
  const headers = { 'X-From': 'chain', 'Content-Type': 'application/json' }
  const then = { route: 'notes.example/notes/{id}', method: 'PUT', target: '/notes/12?v=2', headers }
  await using rig = await startConfigRig({
    pools: poolOf(server.it),
    queues: { notes: { then: { queue: 'archive', target: '/archive' } }, archive: { pool: 'api' } },
    routes: [
      { match: 'POST /extract', mode: 'queue', then },
      { match: { host: 'notes.example', path: '/notes/{id}' }, mode: 'queue', queue: 'notes', key: 'json:/account' },
    ],
  })
  const first = await chained(rig, '/extract')
  const second = await rig.status(first.next.links.self, 'the second is followed', ({ next }) => next !== undefined)
  await rig.status(second.next.links.self, 'the third has ended', ({ status }) => status === 'succeeded')
  const [, note, archived] = server.it.received
  assert.deepEqual([note?.method, note?.url, note?.headers.host], ['PUT', '/notes/12?v=2', 'notes.example'])
  assert.deepEqual([note?.headers['x-from'], note?.headers['content-type']], ['chain', 'application/json'])
  assert.deepEqual([archived?.method, archived?.url, archived?.headers['spillway-parent']], ['POST', '/archive', second.id])
  const { document } = await rig.admin('GET', `jobs/${second.id}`)
  assert.deepEqual([document.key, document.route], ['a7', 'notes.example/notes/{id}'])
})

test('a chain has as many jobs as it may have, and no more', async () => {
  await using server = await disposable(translator())
  await using rig = await startConfigRig({
    pools: poolOf(server.it),
    limits: { chain: 2 },
    queues: { b: { pool: 'api', then: 'c' }, c: { pool: 'api' } },
    routes: [{ match: 'POST /a', mode: 'queue', then: 'b' }],
  })
  const first = await chained(rig, '/a')
  const second = await rig.status(first.next.links.self, 'the second is followed', ({ next }) => next !== undefined)
  assert.equal(second.next.error.code, 'chain_too_long')
  assert.match(second.next.error.detail, /limits\.chain/)
  const stopped = rig.events.filter(({ type }) => type === 'chain-stopped')
  assert.deepEqual(stopped, [{ type: 'chain-stopped', job: second.id, queue: 'b', detail: second.next.error.detail }])
})

test('a result that is as large as the next job may be is sent on, and a larger one stops the chain', async () => {
  let bytes = 1000
  await using server = await disposable(startTestServer((_, response) => void response.end(Buffer.alloc(bytes, 'x'))))
  await using rig = await startConfigRig({ pools: poolOf(server.it), limits: { jobBody: '1000B', spillCopy: '1000B' }, routes: TWO_ROUTES })
  assert.ok('id' in (await chained(rig, '/extract')).next)
  bytes = 1001
  const parent = await chained(rig, '/extract')
  assert.deepEqual([parent.status, parent.next.error.code], ['succeeded', 'chain_result_too_large'])
  assert.equal((await rig.ask(parent.links.result)).body.length, 1001, 'its result is there')
  assert.equal((await rig.admin('GET', `jobs/${parent.id}`)).document.next.error.code, 'chain_result_too_large')
})

test('a result for which the next queue never has room stops its chain, and nobody waits behind it', async () => {
  const results = ['x'.repeat(1000), 'small']
  await using server = await disposable(startTestServer((_, response) => void response.end(results.shift() ?? 'last')))
  await using rig = await startConfigRig({
    pools: poolOf(server.it),
    queues: { narrow: { pool: 'api', limits: { bytes: '1000B' } } },
    routes: [{ ...EXTRACT, then: 'narrow' }],
  })
  const parent = await chained(rig, '/extract')
  assert.deepEqual([parent.status, parent.next.error.code], ['succeeded', 'chain_result_too_large'])
  assert.match(parent.next.error.detail, /more than queue narrow may hold \(limits\.bytes\)/)
  assert.ok('id' in (await chained(rig, '/extract')).next)
})

test('a job that is sent by the queue API says itself where its result goes, where its key may send', async () => {
  await using server = await disposable(translator())
  const token = 'the-token-of-somebody'
  await using rig = await startConfigRig({
    pools: poolOf(server.it),
    queues: { one: { pool: 'api' }, two: { pool: 'api' }, secret: { pool: 'api' } },
    routes: TWO_ROUTES,
    api: { keys: [{ name: 'k', token, queues: ['one', 'two'], can: ['send', 'browse'] }] },
  })
  const send = (then: unknown): Promise<Document> =>
    rig.ask('/_spillway/api/queues/one/jobs', { method: 'POST', body: { text: 'x', then }, headers: { authorization: `Bearer ${token}` } })
  for (const then of ['two', { queue: 'two', target: '/t' }, 'POST /translate', { route: '/translate' }]) {
    const sent = await send(then)
    assert.equal(sent.status, 201, sent.text)
    const first = await rig.status(`/_spillway/jobs/${sent.document.token}`, 'it is followed', ({ next }) => next !== undefined)
    await rig.status(first.next.links.self, 'the next has ended', ({ status }) => status === 'succeeded')
  }
  const refused: readonly (readonly [unknown, RegExp])[] = [
    ['secret', /then\.queue: there is no queue "secret"/],
    ['twoo', /there is no queue "twoo" \(did you mean two\?\)/],
    ['POST /translat', /then\.route: there is no route "POST \/translat" \(did you mean POST \/translate\?\)/],
    [{ queue: 'two', route: 'POST /translate' }, /then: names either a queue or a route/],
    [{ queue: 'two', heders: {} }, /then\.heders: there is no such field \(did you mean headers\?\)/],
    [{ queue: 'two', headers: { 'spillway-job': 'x' } }, /then\.headers\["spillway-job"\]: is not passed on/],
    [{ route: 'POST /translate', method: 'PURGE' }, /then\.method: PURGE does not become a job/],
    [{ route: 'POST /translate', target: '/other' }, /then\.target: \/other does not match/],
    [7, /then: must be a queue, a route/],
  ]
  for (const [then, why] of refused) {
    const { status, document } = await send(then)
    assert.deepEqual([status, document.code], [400, 'invalid_request'])
    assert.match(document.detail, why)
  }
})

test('a queue that is made over the API has its chain, over a restart too', async () => {
  await using server = await disposable(translator())
  await using rig = await startConfigRig({ pools: poolOf(server.it), routes: [TRANSLATE] })
  const wrong = await rig.admin('PUT', 'queues/made', { pool: 'api', then: 'made-too' })
  assert.match(wrong.document.detail, /^then: there is no queue "made-too"/)
  assert.equal((await rig.admin('PUT', 'queues/made-too', { pool: 'api', then: 'POST /translate' })).status, 201)
  assert.equal((await rig.admin('PUT', 'queues/made', { pool: 'api', then: { queue: 'made-too', target: '/second' } })).status, 201)
  await rig.restart()
  const sent = await rig.admin('POST', 'queues/made/jobs', { text: 'x', target: '/first' })
  const first = await rig.status(`/_spillway/jobs/${sent.document.token}`, 'it is followed', ({ next }) => next !== undefined)
  const second = await rig.status(first.next.links.self, 'the next is followed', ({ next }) => next !== undefined)
  await rig.status(second.next.links.self, 'the last has ended', ({ status }) => status === 'succeeded')
  assert.equal((await rig.ask(second.next.links.result)).text, '/translate(/second(/first(x)))')
})

test('where the next queue is gone when a job ends, its status says so', async () => {
  await using server = await disposable(translator())
  const routes: Routes = [{ match: 'POST /a', mode: 'queue', then: 'later' }]
  await using rig = await startConfigRig({ pools: poolOf(server.it), queues: { later: {} }, routes })
  const release = Promise.withResolvers<void>()
  server.it.handle = async (_, response) => {
    await release.promise
    response.end('done')
  }
  const accepted = await rig.ask('/a', { method: 'POST', body: 'text' })
  await rig.status(accepted.headers.location ?? '', 'it runs', ({ status }) => status === 'running')
  await rig.restart({ pools: poolOf(server.it), routes: [{ match: 'POST /a', mode: 'queue' }] })
  release.resolve()
  const parent = await rig.status(accepted.headers.location ?? '', 'it is followed', ({ next }) => next !== undefined)
  assert.deepEqual([parent.status, parent.next.error.code], ['succeeded', 'chain_broken'])
})

test('a gateway that is killed between the end of a job and the next one makes the next one once', async () => {
  await using server = await disposable(translator())
  const folder = mkdtempSync(join(tmpdir(), 'spillway-chain-'))
  const config: ConfigFile = {
    pools: poolOf(server.it),
    queues: { next: { limits: { jobs: 1 }, pull: true } },
    routes: [{ match: 'POST /a', mode: 'queue', then: 'next' }],
  }
  const jobsOf = async (adminUrl: string): Promise<Document[]> => {
    const { jobs } = (await ask(`${adminUrl}/api/queues/next/jobs`)).json() as Document
    return jobs
  }
  const sent = async (url: string): Promise<string> => {
    const accepted = await ask(`${url}/a`, { method: 'POST', body: 'text' })
    return accepted.headers.location ?? ''
  }
  const next = async (url: string): Promise<Document> => (await ask(url)).json()['next']
  try {
    let gateway = await startGateway(config, { folder })
    const [first, second] = [await sent(gateway.url), await sent(gateway.url)]
    const followed = async (): Promise<Document[]> => {
      const all = await Promise.all([first, second].map((path) => next(`${gateway.url}${path}`)))
      return all.filter((each) => each !== undefined)
    }
    await until('one is followed, and there is no room for the other', async () => {
      const ended = await Promise.all([first, second].map(async (path) => (await ask(`${gateway.url}${path}`)).json()['status']))
      return (await followed()).length === 1 && ended.every((status) => status === 'succeeded')
    })
    await gateway.kill()
    gateway = await startGateway(config, { folder })
    const [held] = await jobsOf(gateway.adminUrl)
    assert.equal((await followed()).length, 1)
    await ask(`${gateway.adminUrl}/api/jobs/${held.id}`, { method: 'DELETE' })
    await until('both are followed', async () => (await followed()).length === 2)
    await gateway.kill()
    gateway = await startGateway(config, { folder })
    assert.equal((await jobsOf(gateway.adminUrl)).length, 2)
    assert.deepEqual(new Set((await followed()).map(({ id }) => id)), new Set((await jobsOf(gateway.adminUrl)).map(({ id }) => id)))
    await gateway.kill()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

async function disposable(server: Promise<TestServer>): Promise<AsyncDisposable & { readonly it: TestServer }> {
  const it = await server
  return { it, [Symbol.asyncDispose]: () => it.kill() }
}

test('a result that was streamed goes on as a whole; one that is too large stops the chain', async () => {
  const limits = { jobBody: '10KiB', spillCopy: '10KiB' }
  await using server = await disposable(
    startTestServer(({ url, body }, response) => {
      response.write(url === '/extract' && body.toString() === 'large' ? 'x'.repeat(20_000) : `${url}(`)
      setImmediate(() => response.end(`${body.toString()})`))
    }),
  )
  await using rig = await startConfigRig({ pools: poolOf(server.it), limits, routes: [{ ...EXTRACT, stream: true }, TRANSLATE] })
  const later = { method: 'POST', body: 'small', headers: { Prefer: 'respond-async' } }
  const followed = async (body: string): Promise<Document> =>
    rig.status((await rig.ask('/extract', { ...later, body })).headers.location ?? '', 'it is followed', ({ next }) => next !== undefined)
  const { next } = await followed('small')
  await rig.status(next.links.self, 'the next has ended', ({ status }) => status === 'succeeded')
  assert.equal((await rig.ask(next.links.result)).text, '/translate(/extract(small))')
  const stopped = await followed('large')
  assert.deepEqual([stopped.status, stopped.next.error.code], ['succeeded', 'chain_result_too_large'])
})

test('a result that is damaged while it waits for room stops the chain, and is not tried for ever', async () => {
  const path = mkdtempSync(join(tmpdir(), 'spillway-damaged-'))
  await using server = await disposable(
    startTestServer((_, response) => {
      response.write('a part, ')
      setImmediate(() => response.end('and the rest'))
    }),
  )
  await using rig = await startConfigRig({
    ...{ pools: poolOf(server.it), store: { path }, queues: { translate: { limits: { jobs: 1 }, pull: true } } },
    routes: [{ ...EXTRACT, stream: true, then: 'translate' }],
  })
  const filling = await rig.admin('POST', 'queues/translate/jobs', {})
  const accepted = await rig.ask('/extract', { method: 'POST', body: 'text', headers: { Prefer: 'respond-async' } })
  await until('it waits for room', () => rig.events.some((event) => event.type === 'warning' && /is late/.test(event.message)))
  const files = readdirSync(join(path, 'bodies')).map((name) => join(path, 'bodies', name))
  assert.equal(files.length, 1)
  for (const file of files) writeFileSync(file, Buffer.alloc(statSync(file).size))
  await rig.admin('DELETE', `jobs/${filling.document.id}`)
  const stopped = await rig.status(accepted.headers.location ?? '', 'it is followed', ({ next }) => next !== undefined)
  assert.deepEqual([stopped.status, stopped.next.error.code], ['succeeded', 'chain_broken'])
  rmSync(path, { recursive: true })
})
