/** Requests to routes that may become jobs, through the client: what comes back, how long it waits, what it survives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Client, type ClientOptions, createClient, type JobEvent, SpillwayError } from '../../src/client/client.ts'
import { type RouteProcessRig, type RouteRig, sendJson, startRouteProcess, startRouteRig } from '../support/route-rig.ts'
import { until } from '../support/until.ts'

type WithClient = { readonly client: Client }

const RETRY = { baseMs: 10, maxMs: 2000 }

async function startRig(options: Partial<ClientOptions> = {}): Promise<RouteRig & WithClient> {
  const rig = await startRouteRig()
  return Object.assign(rig, { client: createClient({ url: rig.url, retry: RETRY, ...options }) })
}

async function startProcess(): Promise<RouteProcessRig & WithClient> {
  const rig = await startRouteProcess()
  return Object.assign(rig, { client: createClient({ url: rig.url, retry: RETRY }) })
}

function isError(code: string): (error: unknown) => boolean {
  return (error) => error instanceof SpillwayError && error.code === code
}

test('a request to a queue becomes a job, whose result is what the server answered', async () => {
  await using rig = await startRig()
  const job = await rig.client.submit<{ pages: number }>('/reports', { body: '{"title":"Q3"}' })
  assert.equal(job.answer, undefined)
  assert.match(job.token ?? '', /^[a-z0-9]+\.[\w-]{22}$/)
  assert.ok(job.token?.startsWith(`${job.id}.`))
  const waiting = job.wait()
  const response = await rig.nextOwed()
  assert.equal((await job.status()).status, 'running')
  sendJson(response, 201, { pages: 7 })
  assert.equal((await waiting).status, 'succeeded')
  const result = await job.result()
  assert.deepEqual([result.status, await result.json()], [201, { pages: 7 }])
  assert.deepEqual(await job.value(), { pages: 7 })
  // Whoever has the token can do the same.
  assert.deepEqual(await rig.client.follow(job.token as string).value(), { pages: 7 })
})

test('a request that a server answers at once is a handle with this answer, and nothing is asked any more', async () => {
  await using rig = await startRig()
  const submitted = rig.client.submit('/orders', { body: 'tea=1' }, { prefer: 'wait=10' })
  sendJson(await rig.nextOwed(), 200, { ok: true })
  const job = await submitted
  assert.deepEqual([job.id, job.token, job.answer?.status], [undefined, undefined, 200])
  assert.equal((await job.wait()).status, 'succeeded')
  assert.equal((await job.cancel()).status, 'succeeded')
  assert.deepEqual(await job.value(), { ok: true })
  const events: string[] = []
  for await (const { event } of job.events()) events.push(event)
  assert.deepEqual([events, rig.line.passed.length], [['end'], 1])
})

test('a client that was held until the job ended has the answer in its hands', async () => {
  await using rig = await startRig()
  const submitted = rig.client.submit('/reports', { body: '1' }, { prefer: 'wait=10' })
  sendJson(await rig.nextOwed(), 422, { wrong: 'title' })
  const job = await submitted
  assert.deepEqual([job.answer?.status, (await job.status()).status], [422, 'failed'])
  await assert.rejects(job.value(), isError('job_failed'))
})

test('the answer of a server that says no is a result; the no of the gateway is an error', async () => {
  await using rig = await startRig()
  const job = await rig.client.submit('/reports', { body: '1' })
  sendJson(await rig.nextOwed(), 400, { wrong: true })
  assert.equal((await job.result()).status, 400)
  await assert.rejects(job.value(), isError('job_failed'))

  await assert.rejects(rig.client.submit('/reports', { body: '1', headers: { 'Spillway-Priority': '9' } }), (error: unknown) => {
    assert.ok(error instanceof SpillwayError)
    assert.deepEqual([error.code, error.status], ['header_not_allowed', 400])
    return true
  })
  await assert.rejects(rig.client.follow('nothing.1234567890123456789012').status(), isError('no_such_job'))
})

test('a cancelled job has no result', async () => {
  await using rig = await startRig()
  const job = await rig.client.submit('/reports', { body: '1' })
  await rig.nextOwed()
  const result = assert.rejects(job.result(), isError('job_cancelled'))
  assert.equal((await job.cancel()).status, 'cancelled')
  assert.equal((await job.cancel()).status, 'cancelled')
  await result
})

test('events are snapshots to the end', async () => {
  await using rig = await startRig()
  const job = await rig.client.submit('/reports', { body: '1' })
  const response = await rig.nextOwed()
  const seen: JobEvent[] = []
  for await (const event of job.events()) {
    seen.push(event)
    if (seen.length === 1) await rig.report({ percent: 50 })
    if (event.event === 'progress') sendJson(response, 200, 'done')
  }
  assert.deepEqual(
    seen.map(({ event }) => event),
    ['status', 'progress', 'end'],
  )
  assert.deepEqual([seen[1]?.progress, seen[2]?.status], [{ percent: 50 }, 'succeeded'])
})

test('events go on after a broken connection and a restart of the gateway, and tell nothing twice', async () => {
  await using rig = await startProcess()
  const job = await rig.client.submit('/reports', { body: '1' })
  await rig.nextOwed()
  let breaks = 1
  rig.line.fault = ({ path }) => (path.endsWith('/events') && breaks-- > 0 ? 'break-answer' : undefined)
  const versions: number[] = []
  let last: JobEvent | undefined
  for await (const event of job.events()) {
    if (last === undefined) {
      assert.equal(breaks, 0)
      await rig.restart()
      void rig.nextOwed().then((response) => sendJson(response, 200, 'done'))
    }
    versions.push(event.version)
    last = event
  }
  assert.deepEqual([last?.event, last?.status], ['end', 'succeeded'])
  assert.deepEqual([...new Set(versions)], versions)
})

test('whoever waits for a result gets it over lost answers and a gateway that is killed', async () => {
  await using rig = await startProcess()
  const job = await rig.client.submit('/reports', { body: '1' })
  await rig.nextOwed()
  let asked = 0
  rig.line.fault = ({ path }) => (path.includes('/jobs/') && asked++ < 3 ? 'lose-request' : undefined)
  const value = job.value()
  await until('it was asked in vain', () => asked > 3)
  await rig.restart()
  let results = 0
  rig.line.fault = ({ path }) => (path.endsWith('/result') && results++ < 2 ? 'lose-answer' : undefined)
  sendJson(await rig.nextOwed(), 200, { late: true })
  assert.deepEqual(await value, { late: true })
  assert.equal(results, 3)
})

test('a form that is sent again under its key is the same request', async () => {
  await using rig = await startRig()
  let lose = 1
  rig.line.fault = ({ path }) => (path === '/reports' && lose-- > 0 ? 'lose-answer' : undefined)
  const body = new FormData()
  body.set('title', 'Q3')
  const job = await rig.client.submit('/reports', { body }, { idempotencyKey: true })
  sendJson(await rig.nextOwed(), 200, 'one')
  assert.equal(await job.value(), 'one')
  const [received, ...others] = rig.server.received
  assert.deepEqual([rig.line.passed.filter(({ path }) => path === '/reports').length, others], [2, []])
  const { body: sent, headers } = received ?? assert.fail('nothing came')
  const form = await new Response(new Uint8Array(sent), { headers: { 'content-type': String(headers['content-type']) } }).formData()
  assert.equal(form.get('title'), 'Q3')
})

test('a body that is made while it is sent is sent once: what is left of it is never taken for it', async () => {
  await using rig = await startRig()
  rig.line.fault = ({ path }) => (path === '/reports' ? 'lose-request' : undefined)
  async function* parts(): AsyncGenerator<Uint8Array> {
    for (const part of ['one ', 'two']) yield new TextEncoder().encode(part)
  }
  for (const body of [parts(), new Blob(['one two']).stream()]) {
    const before = rig.line.passed.length
    // Node asks for it, browsers know it.
    const init = { method: 'PUT', body, duplex: 'half' } as RequestInit
    await assert.rejects(rig.client.submit('/reports', init, { idempotencyKey: true }), isError('network'))
    assert.equal(rig.line.passed.length, before + 1)
  }
})

test('a lost answer to a submission: with an idempotency key it is sent again and is one job, without one it is an error', async () => {
  await using rig = await startRig()
  let lose = 1
  rig.line.fault = ({ path }) => (path === '/reports' && lose-- > 0 ? 'lose-answer' : undefined)
  const job = await rig.client.submit('/reports', { body: '1' }, { idempotencyKey: true })
  assert.equal(rig.line.passed.filter(({ path }) => path === '/reports').length, 2)
  sendJson(await rig.nextOwed(), 200, 'one')
  assert.equal(await job.value(), 'one')
  assert.deepEqual([rig.owed.length, rig.server.received.length], [0, 1])

  lose = 1
  await assert.rejects(rig.client.submit('/reports', { body: '2' }), isError('network'))
  assert.equal(rig.line.passed.filter(({ path, body }) => path === '/reports' && body === '2').length, 1)
})

test('what never reached a gateway is not repeated without a key, either: nobody can know', async () => {
  await using rig = await startRig()
  rig.line.fault = () => 'lose-request'
  await assert.rejects(rig.client.submit('/reports', { body: '1' }), isError('network'))
  assert.equal(rig.line.passed.length, 1)
})

test('waiting ends with the time that the caller gave, and with its signal', async () => {
  await using rig = await startRig()
  const job = await rig.client.submit('/reports', { body: '1' })
  await rig.nextOwed()
  await assert.rejects(job.wait({ timeout: '50ms' }), isError('timeout'))
  const leaving = new AbortController()
  const reason = new Error('enough')
  const events = job.events({ signal: leaving.signal })
  await events.next()
  const waits = [job.wait({ signal: leaving.signal }), job.result({ signal: leaving.signal }), events.next()]
  const all = waits.map((wait) => assert.rejects(wait, reason))
  leaving.abort(reason)
  await Promise.all(all)
  await assert.rejects(rig.client.submit('/reports', { body: '1', signal: leaving.signal }), reason)
})

test('an answer that does not come in time is an error of its own', async () => {
  await using rig = await startRig({ timeout: '50ms', retry: false })
  await assert.rejects(rig.client.submit('/orders', { body: '1' }, { prefer: 'wait=0' }), isError('timeout'))
})

test('the token of the API goes to the API only', async () => {
  await using rig = await startRig({ token: 'secret-of-the-api' })
  const job = await rig.client.submit('/reports', { body: '1' })
  sendJson(await rig.nextOwed(), 200, 'done')
  await job.value()
  for await (const event of job.events()) assert.equal(event.event, 'end')
  assert.ok(rig.line.passed.length >= 3)
  assert.deepEqual(
    rig.line.passed.filter(({ headers }) => headers.authorization !== undefined),
    [],
  )
  await assert.rejects(rig.client.queue('reports').stats(), SpillwayError)
  assert.equal(rig.line.passed.at(-1)?.headers.authorization, 'Bearer secret-of-the-api')
})
