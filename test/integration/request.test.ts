/** `request()`: what it resolves with, whether the answer comes now or later, and what the job in its hands can do. The gateway is a process of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClient, follow, type JobDocument, type JobEvent, request, RequestError } from '../../src/client/client.ts'
import { type RouteRig, sendJson, startRouteRig } from '../support/route-rig.ts'
import { until } from '../support/until.ts'

/** Short pauses, so that what is repeated is repeated soon. */
const retry = { baseMs: 10, maxMs: 2000 }

function pathsOf(rig: RouteRig): string[] {
  return rig.line.passed.map(({ method, path }) => `${method} ${path.replace(/jobs\/[^/?]+/, 'jobs/T')}`)
}

test('an answer that comes at once is the answer, and there is no job', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/hello?a=1`, { headers: { 'x-one': '1' } })
  sendJson(await rig.nextOwed(), 404, { hello: false })
  const response = await asked
  assert.ok(response instanceof Response)
  assert.deepEqual([response.status, await response.json(), await asked.job], [404, { hello: false }, undefined])
  const [received] = rig.server.received
  assert.deepEqual([received?.method, received?.url, received?.headers['x-one']], ['GET', '/hello?a=1', '1'])
  // What only reads has no key.
  assert.equal(received?.headers['idempotency-key'], undefined)
  assert.equal(rig.line.passed.length, 1)
})

test('a request that becomes a job resolves with its result, and tells how it goes', async () => {
  await using rig = await startRouteRig()
  const statuses: string[] = []
  const progress: unknown[] = []
  const asked = request(`${rig.url}/reports`, {
    method: 'POST',
    body: JSON.stringify({ title: 'Q3' }),
    headers: { 'content-type': 'application/json' },
    onStatus: ({ status }) => statuses.push(status),
    onProgress: (value, { attempt }) => progress.push([value, attempt]),
  })
  const response = await rig.nextOwed()
  const job = await asked.job
  assert.match(job?.url ?? '', new RegExp(`^${rig.url}/_spillway/jobs/${job?.id}\\.[\\w-]{22}$`))
  await until('it is seen running', () => statuses.includes('running'))
  await rig.report({ percent: 50 })
  await until('the progress is told', () => progress.length === 1)
  assert.deepEqual(job?.progress, { percent: 50 })
  assert.equal((await job?.status())?.status, 'running')
  sendJson(response, 201, { pages: 7 })
  const result = await asked
  assert.deepEqual([result.status, await result.json()], [201, { pages: 7 }])
  assert.equal(statuses.at(-1), 'succeeded')
  assert.deepEqual(progress, [[{ percent: 50 }, 1]])
  assert.equal(rig.server.received[0]?.body.toString(), '{"title":"Q3"}')
  // Again and again.
  assert.deepEqual(await (await job?.result())?.json(), { pages: 7 })
})

test('a client that was held has its answer with no further question', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', wait: '10s' })
  sendJson(await rig.nextOwed(), 200, 'done')
  assert.equal(await (await asked).json(), 'done')
  assert.deepEqual([await asked.job, pathsOf(rig)], [undefined, ['POST /reports']])
  assert.equal(rig.line.passed[0]?.headers['prefer'], 'wait=10')
})

test('it is decided by what the answer says of itself: a 202 of the server is an answer like any other', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/elsewhere`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  response.writeHead(202, { location: '/somewhere' }).end('later')
  assert.deepEqual([(await asked).status, await (await asked).text(), await asked.job], [202, 'later', undefined])
})

test('a job that fails resolves with the last answer, one that has none with a problem, as fetch does with any status', async () => {
  await using rig = await startRouteRig({
    queues: { reports: { attempts: 1, timeout: '100ms' } },
  })
  const post = { method: 'POST', body: '1', headers: { 'idempotency-key': 'mine' } } as const
  const refused = request(`${rig.url}/reports`, post)
  sendJson(await rig.nextOwed(), 422, { wrong: 'title' })
  assert.deepEqual([(await refused).status, await (await refused).json()], [422, { wrong: 'title' }])
  assert.equal((await refused).headers.get('spillway-status'), 'failed')
  assert.equal(rig.server.received[0]?.headers['idempotency-key'], 'mine')

  const late = await request(`${rig.url}/reports`, { method: 'POST', body: '2' })
  assert.deepEqual([late.status, late.headers.get('spillway-status')], [504, 'failed'])
  assert.equal(((await late.json()) as { code: string }).code, 'attempt_timeout')

  const gone = await follow(`${rig.url}/_spillway/jobs/nothing.1234567890123456789012`)
  assert.deepEqual([gone.status, ((await gone.json()) as { code: string }).code], [404, 'no_such_job'])
})

test('a job can be cancelled, and the answer says so', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1' })
  await rig.nextOwed()
  assert.equal((await (await asked.job)?.cancel())?.status, 'cancelled')
  assert.equal((await asked).status, 410)
})

test('all who listen to a job share one connection', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  const job = await asked.job
  assert.ok(job !== undefined)
  const listen = async (): Promise<string[]> => {
    const seen: string[] = []
    for await (const { event, version } of job.events()) seen.push(`${event} ${version}`)
    return seen
  }
  const first = listen()
  await until('it is seen running', () => job.document?.status === 'running')
  const second = listen()
  const leaving = new AbortController()
  const third = job.events({ signal: leaving.signal })
  assert.equal((await third.next()).value?.status, 'running')
  const left = assert.rejects(third.next(), new Error('enough'))
  leaving.abort(new Error('enough'))
  await left
  await rig.report(1)
  await until('the progress', () => job.progress === 1)
  sendJson(response, 200, 'done')
  await asked
  const seen = await first
  assert.deepEqual([seen.at(-2)?.split(' ')[0], seen.at(-1)?.split(' ')[0]], ['progress', 'end'])
  assert.deepEqual(await second, seen.slice(-3))
  assert.equal(pathsOf(rig).filter((path) => path.endsWith('/events')).length, 1)
  // It has ended: nothing is asked any more.
  assert.equal((await listen()).length, 1)
  assert.deepEqual(pathsOf(rig).slice(1), ['GET /_spillway/jobs/T/events', 'GET /_spillway/jobs/T/result'])
})

test('a reader that takes nothing is kept the newest hundred, and the end', async () => {
  await using rig = await startRouteRig()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  const job = await asked.job
  assert.ok(job !== undefined)
  const slow = job.events()
  assert.equal((await slow.next()).value?.event, 'status')
  for (let n = 1; n <= 120; n++) {
    await rig.report(n)
    await until(`${n} has come`, () => job.progress === n)
  }
  sendJson(response, 200, 'done')
  await asked
  const read: JobEvent[] = []
  for await (const event of slow) read.push(event)
  assert.deepEqual([read.length, read[0]?.progress, read.at(-2)?.progress, read.at(-1)?.event], [100, 22, 120, 'end'])
})

test('whoever keeps the address finds the job again: running, and ended', async () => {
  await using rig = await startRouteRig()
  const page = new AbortController()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', signal: page.signal })
  const kept = (await asked.job)?.url as string
  const response = await rig.nextOwed()
  page.abort()
  await assert.rejects(asked, { name: 'AbortError' })
  const seen: JobDocument[] = []
  const again = follow(kept, { onStatus: (document) => seen.push(document) })
  assert.equal((await again.job).url, kept)
  await until('it is seen running', () => seen.length > 0)
  sendJson(response, 200, 'done')
  assert.equal(await (await again).json(), 'done')
  assert.equal(await (await follow(kept)).json(), 'done')
  assert.equal(rig.server.received.length, 1)
})

test('a signal ends the waiting with its reason and leaves the job alone, unless it is to be cancelled', async () => {
  await using rig = await startRouteRig()
  const reason = new Error('enough')
  const before = AbortSignal.abort(reason)
  await assert.rejects(request(`${rig.url}/reports`, { method: 'POST', body: '1', signal: before }), reason)
  await assert.rejects(follow(`${rig.url}/_spillway/jobs/a.b`, { signal: before }), reason)
  assert.equal(rig.line.passed.length, 0)

  for (const cancelOnAbort of [false, true]) {
    const leaving = new AbortController()
    const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', signal: leaving.signal, cancelOnAbort })
    const job = await asked.job
    await rig.nextOwed()
    const left = assert.rejects(asked, reason)
    leaving.abort(reason)
    await left
    if (cancelOnAbort) await until('it is cancelled', async () => (await job?.status())?.status === 'cancelled')
    else assert.equal((await job?.status())?.status, 'running')
  }

  const direct = new AbortController()
  const held = request(new Request(`${rig.url}/hello`, { signal: direct.signal }))
  await rig.nextOwed()
  const left = assert.rejects(held, reason)
  direct.abort(reason)
  await left
})

test('who sends the request asks for the job as well, but no other origin hears of it', async () => {
  await using rig = await startRouteRig()
  const headers = {
    'x-account': 'ann',
    authorization: 'Bearer a',
    'content-type': 'text/plain',
    accept: 'text/csv',
    prefer: 'respond-async',
  }
  const post = { method: 'POST', body: '1', headers } as const
  const asked = request(`${rig.url}/reports`, post)
  sendJson(await rig.nextOwed(), 200, 'done')
  await asked
  const [, ...about] = rig.line.passed
  assert.ok(about.length >= 2)
  for (const { headers: sent } of about) {
    assert.deepEqual([sent['x-account'], sent.authorization], ['ann', 'Bearer a'])
    assert.deepEqual([sent['content-type'], sent['prefer'], sent['idempotency-key']], [undefined, undefined, undefined])
    assert.notEqual(sent.accept, 'text/csv')
  }
  const before = rig.line.passed.length
  const elsewhere = new URL((await asked.job)?.url as string)
  elsewhere.hostname = 'localhost'
  const moved: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init)
    const said = new Headers(answer.headers)
    const location = said.get('location')
    if (location === null) return answer
    said.set('location', new URL(location, elsewhere).href)
    return new Response(null, { status: answer.status, headers: said })
  }
  const other = request(`${rig.url}/reports`, { ...post, fetch: moved })
  sendJson(await rig.nextOwed(), 200, 'done')
  await other
  for (const { path, headers: sent } of rig.line.passed.slice(before)) {
    if (path !== '/reports') assert.deepEqual([sent['x-account'], sent.authorization], [undefined, undefined])
  }
})

test('what is wrong rejects as with fetch, and is not sent', async () => {
  await using rig = await startRouteRig()
  await assert.rejects(request('not a url'), TypeError)
  await assert.rejects(request(rig.url, { method: 'GET', body: 'x' }), TypeError)
  await assert.rejects(request(rig.url, { method: 'POST', wait: 'soon' as '1s' }), /wait: soon is not a duration/)
  await assert.rejects(request(rig.url, { method: 'POST', heartbeat: 'soon' as '1s' }), /heartbeat: soon is not a duration/)
  assert.equal(rig.line.passed.length, 0)
})

test('a request whose answer was lost is sent again under its key, and is done once', async () => {
  await using rig = await startRouteRig()
  let lose = 2
  rig.line.fault = ({ path }) => (path === '/reports' && lose > 0 ? (lose-- === 2 ? 'lose-request' : 'lose-answer') : undefined)
  const asked = request(new Request(`${rig.url}/reports`, { method: 'POST', body: 'once' }), { retry })
  sendJson(await rig.nextOwed(), 200, 'one')
  assert.equal(await (await asked).json(), 'one')
  const sent = rig.line.passed.filter(({ path }) => path === '/reports')
  assert.equal(sent.length, 3)
  const [key, ...others] = new Set(sent.map(({ headers }) => headers['idempotency-key']))
  assert.match(String(key), /^[0-9a-f]{32}$/)
  assert.deepEqual(others, [])
  assert.deepEqual(
    rig.server.received.map(({ body }) => body.toString()),
    ['once'],
  )
})

test('a repeat of what was done long ago has its result, also where the result has a Location of its own', async () => {
  await using rig = await startRouteRig()
  const post = { method: 'POST', body: '1', idempotencyKey: 'mine' } as const
  const first = request(`${rig.url}/reports`, post)
  const response = await rig.nextOwed()
  response.writeHead(201, { location: '/reports/1', 'content-type': 'text/plain' }).end('made')
  for (const asked of [first, request(`${rig.url}/reports`, post), request(`${rig.url}/reports`, { ...post, wait: '5s' })]) {
    const answer = await asked
    assert.deepEqual([answer.status, answer.headers.get('location'), await answer.text()], [201, '/reports/1', 'made'])
  }
  const client = createClient({ url: rig.url })
  const again = await client.submit('/reports', { body: '1' }, { idempotencyKey: 'mine' })
  assert.equal(await again.value(), 'made')
  assert.equal(rig.server.received.length, 1)
})

test('what has no key, or a body that can be read once, is sent once', async () => {
  await using rig = await startRouteRig()
  rig.line.fault = () => 'lose-answer'
  void rig.nextOwed().then((response) => sendJson(response, 200, 'hello'))
  for (const attempt of [
    () => request(`${rig.url}/hello`, { retry }),
    () => request(`${rig.url}/reports`, { method: 'POST', body: '1', idempotencyKey: false, retry }),
    () => {
      const body = new Blob(['1']).stream()
      // Node asks for it, browsers know it.
      return request(`${rig.url}/reports`, { method: 'POST', body, duplex: 'half', retry })
    },
  ]) {
    const before = rig.line.passed.length
    await assert.rejects(attempt(), (error: unknown) => {
      assert.ok(error instanceof RequestError && error instanceof TypeError)
      assert.deepEqual([error.code, error.job], ['network', undefined])
      return true
    })
    assert.equal(rig.line.passed.length, before + 1)
  }
})

test('attempts are bounded, and a failure of them all rejects both promises', async () => {
  await using rig = await startRouteRig()
  rig.line.fault = () => 'lose-request'
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry: { ...retry, attempts: 3 } })
  await assert.rejects(asked, RequestError)
  await assert.rejects(asked.job, RequestError)
  assert.equal(rig.line.passed.length, 3)
})

test('503 and 429 are asked again when they say, not before, and are the answer in the end', async () => {
  await using rig = await startRouteRig({
    // Full with one job.
    queues: { reports: { limits: { jobs: 1 } } },
  })
  const first = request(`${rig.url}/reports`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  const sentAt: number[] = []
  const statuses: number[] = []
  const watched: typeof fetch = async (...args) => {
    sentAt.push(performance.now())
    const answer = await fetch(...args)
    statuses.push(answer.status)
    return answer
  }
  const second = request(`${rig.url}/reports`, { method: 'POST', body: '2', retry: { baseMs: 1, maxMs: 60_000 }, fetch: watched })
  await until('it was refused', () => statuses[0] === 503)
  sendJson(response, 200, 'one')
  assert.equal(await (await first).json(), 'one')
  sendJson(await rig.nextOwed(), 200, 'two')
  assert.equal(await (await second).json(), 'two')
  // Retry-After has whole seconds; a timer may be a little early.
  assert.ok((sentAt[1] as number) - (sentAt[0] as number) > 950)

  const blocking = request(`${rig.url}/reports`, { method: 'POST', body: '3' })
  await blocking.job
  // Longer than it would wait.
  const refused = await request(`${rig.url}/reports`, { method: 'POST', body: '4', retry: { baseMs: 1, maxMs: 10 } })
  assert.deepEqual([refused.status, ((await refused.json()) as { code: string }).code], [503, 'queue_full'])
  sendJson(await rig.nextOwed(), 200, 'three')
  await blocking
})

test('a large result is streamed, a small one that was cut off is asked for again', async () => {
  await using rig = await startRouteRig()
  const large = Buffer.alloc(3 << 20, 'spillway ')
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  response.end(large)
  assert.ok(Buffer.from(await (await asked).arrayBuffer()).equals(large))

  let breaks = 1
  rig.line.fault = ({ path }) => (path.endsWith('/result') && breaks-- > 0 ? 'break-answer' : undefined)
  const small = Buffer.alloc(900_000, 'spill')
  const again = request(`${rig.url}/reports`, { method: 'POST', body: '2', retry })
  const second = await rig.nextOwed()
  second.end(small)
  assert.ok(Buffer.from(await (await again).arrayBuffer()).equals(small))
  assert.ok(breaks < 0)

  const empty = request(`${rig.url}/reports`, { method: 'POST', body: '3' })
  const third = await rig.nextOwed()
  third.writeHead(204).end()
  assert.deepEqual([(await empty).status, await (await empty).text()], [204, ''])
})
