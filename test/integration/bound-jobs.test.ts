/** Jobs that are bound to their caller: a token opens them only together with what the request showed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import type { BindSource } from '../../src/config/config.ts'
import { type Document, startConfigRig } from '../support/config-rig.ts'
import { type Answer, ask, open } from '../support/http-client.ts'
import { type JobsRig, startJobsRig } from '../support/jobs-rig.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type Headers = Readonly<Record<string, string>>

function bound(bind: BindSource, changed: { readonly waitMs?: number } = {}): Promise<JobsRig> {
  return startJobsRig({ routes: [testRoute({ name: '/*', bind, ...changed })] })
}

async function submit(rig: JobsRig, headers: Headers): Promise<string> {
  const accepted = await ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async', ...headers } })
  assert.equal(accepted.status, 202)
  return String(accepted.headers.location)
}

/** All that a token opens. */
async function look(rig: JobsRig, job: string, headers: Headers): Promise<readonly Answer[]> {
  const asked = { headers: { ...headers, Accept: 'application/x-ndjson' } }
  const answers = []
  for (const path of ['', '?wait=1s', '/result', '/events']) answers.push(await ask(`${rig.url}${job}${path}`, asked))
  return [...answers, await ask(rig.url + job, { method: 'DELETE', ...asked })]
}

/** What a socket for many jobs says of this one. */
async function watch(rig: JobsRig, job: string, headers: Headers): Promise<unknown> {
  const socket = new WebSocket(`${rig.url.replace('http', 'ws')}/_spillway/events`, { headers })
  const said = new Promise((resolve) =>
    socket.once('message', (data: Buffer) => resolve((JSON.parse(data.toString()) as { event: string }).event)),
  )
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(JSON.stringify({ watch: job.split('/').at(-1) }))
  const event = await said
  socket.close()
  return event
}

/** The answer to the upgrade at the job's own address. */
async function upgrade(rig: JobsRig, job: string, headers: Headers): Promise<number> {
  const socket = new WebSocket(`${rig.url.replace('http', 'ws')}${job}/events`, { headers })
  return new Promise((resolve) => {
    socket.once('open', () => {
      socket.close()
      resolve(101)
    })
    socket.once('unexpected-response', (_, response) => resolve(response.statusCode ?? 0))
    socket.on('error', () => undefined)
  })
}

const CASES: Readonly<Record<string, { readonly bind: BindSource; readonly mine: Headers; readonly others: readonly Headers[] }>> = {
  'a header': {
    bind: { from: 'header', name: 'authorization' },
    mine: { Authorization: 'Bearer mine' },
    others: [{}, { Authorization: 'Bearer other' }, { Authorization: 'bearer mine' }, { Cookie: 'authorization=Bearer mine' }],
  },
  'a cookie': {
    bind: { from: 'cookie', name: 'session' },
    mine: { Cookie: 'a=b; session=mine; c=d' },
    others: [{}, { Cookie: 'session=other' }, { Cookie: 'Session=mine' }, { Cookie: 'session=' }, { Session: 'mine' }],
  },
}

for (const [what, { bind, mine, others }] of Object.entries(CASES)) {
  test(`a job that is bound to ${what} opens for nobody else, and says the same as a wrong token`, async () => {
    await using rig = await bound(bind)
    const job = await submit(rig, mine)
    const wrong = await look(rig, `${job.slice(0, -4)}AAAA`, mine)
    await rig.ended(job.split('/').at(-1)?.split('.')[0] ?? '')
    for (const headers of others) {
      const answers = await look(rig, job, headers)
      assert.deepEqual(
        answers.map(({ status, text }) => [status, text]),
        wrong.map(({ status, text }) => [status, text]),
        JSON.stringify(headers),
      )
      assert.deepEqual([await watch(rig, job, headers), await upgrade(rig, job, headers)], ['unknown', 404])
    }
    assert.deepEqual([await watch(rig, job, mine), await upgrade(rig, job, mine)], ['end', 101])
    assert.deepEqual(
      (await look(rig, job, mine)).map(({ status }) => status),
      [200, 200, 200, 200, 200],
    )
  })
}

test("a page of another origin opens no job with its reader's cookies over a socket, unless it may use them", async () => {
  const cors = { origins: ['https://app.example'], methods: ['POST'], headers: [], credentials: true, maxAgeMs: 0 }
  const open = testRoute({
    name: 'open',
    match: { path: '/open', headers: [], query: [] },
    cors: { ...cors, origins: ['*'], credentials: false },
  })
  await using rig = await startJobsRig({ routes: [open, testRoute({ name: '/*', bind: { from: 'cookie', name: 'session' }, cors })] })
  const mine = { Cookie: 'session=mine' }
  const job = await submit(rig, mine)
  await rig.ended(job.split('/').at(-1)?.split('.')[0] ?? '')
  const at = async (origin: string): Promise<readonly unknown[]> => {
    const headers = { ...mine, Origin: origin }
    return [await watch(rig, job, headers), await upgrade(rig, job, headers)]
  }
  for (const origin of [rig.url, 'https://app.example']) assert.deepEqual(await at(origin), ['end', 101], origin)
  for (const origin of ['https://evil.example', 'null', `${rig.url}1`, 'https://app.example:8443']) {
    assert.deepEqual(await at(origin), ['unknown', 404], origin)
  }
})

test('the binding holds over a change of the configuration, and is no secret in clear', async () => {
  await using rig = await bound({ from: 'header', name: 'x-user' })
  const job = await submit(rig, { 'X-User': 'somebody' })
  const { binding = '' } = await rig.status(job.split('/').at(-1)?.split('.')[0] ?? '')
  assert.match(binding, /^header:x-user:[\w-]{22}:[\w-]{43}$/)
  assert.ok(!binding.includes('somebody'))
  const other = await submit(rig, { 'X-User': 'somebody' })
  assert.notEqual((await rig.status(other.split('/').at(-1)?.split('.')[0] ?? '')).binding, binding)
})

test('a request that shows nothing makes a job that its token alone opens', async () => {
  await using rig = await bound({ from: 'header', name: 'authorization' })
  const job = await submit(rig, {})
  assert.equal((await ask(rig.url + job)).status, 200)
})

test("somebody else's repeat of an idempotency key is another job, also where keys are not told apart by who sends them", async () => {
  await using rig = await bound({ from: 'cookie', name: 'session' }, { waitMs: 20_000 })
  const send = (session: string): Promise<Answer> =>
    ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers: { 'Idempotency-Key': 'k', Cookie: `session=${session}` } })
  const [mine, again, other] = [await send('mine'), await send('mine'), await send('other')]
  assert.equal(again.headers['spillway-job'], mine.headers['spillway-job'])
  assert.equal(again.headers['idempotency-replayed'], 'true')
  assert.notEqual(other.headers['spillway-job'], mine.headers['spillway-job'])
})

test('who submits a job may follow it at once, with what they have shown', async () => {
  await using rig = await bound({ from: 'header', name: 'authorization' })
  const headers = { Authorization: 'Bearer mine', Prefer: 'respond-async, events', Accept: 'application/x-ndjson' }
  const stream = await open(`${rig.url}/work`, { method: 'POST', body: 'x', headers })
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  assert.match(text, /"event":"end"/)
})

test('what follows in a chain is bound to the same caller', async () => {
  const server = await startTestServer()
  await using _ = { [Symbol.asyncDispose]: () => server.kill() }
  await using rig = await startConfigRig({
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    routes: [
      { match: 'POST /extract', mode: 'queue', bind: 'header:X-User', then: 'POST /translate' },
      { match: 'POST /translate', mode: 'queue' },
    ],
  })
  const mine = { 'x-user': 'mine' }
  const { headers } = await rig.ask('/extract', { method: 'POST', headers: mine, body: 'text' })
  const see = async (path: string, as: Headers = {}): Promise<Document> => (await rig.ask(path, { headers: as })).document
  let next: string | undefined
  await until('it is followed', async () => (next = (await see(headers.location ?? '', mine)).next?.links.self) !== undefined)
  assert.equal((await see(next ?? '', mine)).queue, 'translate')
  for (const path of ['', '/result', '/events']) assert.equal((await see(`${next}${path}`)).code, 'no_such_job', path)
})

test("a batch's token neither opens nor cancels what is bound to somebody else", async () => {
  const done = Promise.withResolvers<void>()
  const server = await startTestServer(async (_, response) => {
    await done.promise
    response.end('done')
  })
  await using _ = { [Symbol.asyncDispose]: () => server.kill() }
  await using rig = await startConfigRig({
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    routes: [{ match: 'POST /work', mode: 'queue', bind: 'cookie:session', allow: ['reference'] }],
  })
  const work = (more: Headers = {}): object => ({ method: 'POST', target: '/work', headers: { 'Spillway-Reference': 'r', ...more } })
  const requests = [work(), work({ Cookie: 'session=other' })]
  const mine = { cookie: 'session=mine' }
  const { headers } = await rig.ask('/_spillway/batches', { method: 'POST', headers: mine, body: { requests } })
  const batch = headers.location ?? ''
  const shown = async (as: Headers): Promise<readonly unknown[]> => {
    const { jobs } = (await rig.ask(`${batch}/jobs`, { headers: as })).document
    return jobs.map(({ reference, links }: Document) => [reference, links !== undefined])
  }
  const [open, shut] = [
    ['r', true],
    [undefined, false],
  ]
  assert.deepEqual(
    [await shown({}), await shown(mine), await shown({ cookie: 'session=other' })],
    [
      [shut, shut],
      [open, shut],
      [shut, open],
    ],
  )
  const cancelled = async (as: Headers): Promise<number> =>
    (await rig.ask(batch, { method: 'DELETE', headers: as })).document.counts.cancelled
  assert.deepEqual([await cancelled({}), await cancelled(mine)], [0, 1])
  done.resolve()
  const { counts } = await rig.status(batch, 'it has ended', ({ status }) => status === 'ended')
  assert.deepEqual([counts.cancelled, counts.succeeded], [1, 1])
})
