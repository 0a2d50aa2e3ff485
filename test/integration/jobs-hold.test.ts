import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { RouteConfig } from '../../src/config/config.ts'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Answer, type Asked, ask, blocks, open } from '../support/http-client.ts'
import { type JobsRig, type RigOptions, startJobsRig } from '../support/jobs-rig.ts'
import { testConfig, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

function rigWith(route: Partial<RouteConfig>, options: RigOptions = {}): Promise<JobsRig> {
  return startJobsRig({ ...options, routes: [testRoute({ name: '/*', ...route })] })
}

function post(rig: JobsRig, headers: Record<string, string> = {}, more: Asked = {}): Promise<Answer> {
  return ask(`${rig.url}/work?a=b`, { method: 'POST', body: 'input', headers, ...more })
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes in buffers that somebody refers to. */
function collected(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

function gate(): { handle: NonNullable<RigOptions['handle']>; waiting: ServerResponse[] } {
  const waiting: ServerResponse[] = []
  return { waiting, handle: (_, response) => void waiting.push(response) }
}

test('a held client gets the answer of the server as if it had waited there, cookies included', async () => {
  await using rig = await rigWith(
    { waitMs: 30_000 },
    { handle: (_, response) => void response.writeHead(201, 'Made', { 'Set-Cookie': 's=1' }).end('made') },
  )
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.reason, answer.text, answer.headers['set-cookie']], [201, 'Made', 'made', ['s=1']])
  assert.equal(answer.headers['spillway-status'], 'succeeded')
  assert.match(String(answer.headers['spillway-job']), /^[a-z0-9]{11}$/)
  assert.ok(!('cache-control' in answer.headers))
})

test('a held client of a job that failed for good gets that answer', async () => {
  await using rig = await rigWith({ waitMs: 30_000 }, { handle: (_, response) => void response.writeHead(422).end('why') })
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.text, answer.headers['spillway-status']], [422, 'why', 'failed'])
})

test('when the time is up the client is told where to look', async () => {
  const { handle, waiting } = gate()
  await using rig = await rigWith({ waitMs: 1000 }, { handle })
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.headers['spillway-status']], [202, 'running'])
  waiting[0]!.end('late')
  assert.equal((await ask(`${rig.url}${answer.headers.location}/result?wait=30s`)).text, 'late')
})

test('the client chooses how long: wait, respond-async, both, and is told what was applied', async () => {
  await using rig = await rigWith({ waitMs: 30_000 }, gate())
  const cases = [
    ['respond-async', 'respond-async'],
    ['wait=0', 'wait=0'],
    ['respond-async, wait=0', 'respond-async, wait=0'],
  ] as const
  for (const [prefer, applied] of cases) {
    const answer = await post(rig, { Prefer: prefer })
    assert.deepEqual([answer.status, answer.headers['preference-applied']], [202, applied])
  }
  const short = await startJobsRig({ ...gate(), config: { jobs: { path: '/_spillway', waitMaxMs: 100, heartbeatMs: 1000 } } })
  await using _ = short
  assert.equal((await post(short, { Prefer: 'wait=3600' })).headers['preference-applied'], 'wait=0')
})

test('a queue route answers at once, unless the client wants to be held', async () => {
  await using rig = await rigWith({ waitMs: 0 })
  assert.equal((await post(rig)).status, 202)
  const held = await post(rig, { Prefer: 'wait=30' })
  assert.deepEqual([held.status, held.text, held.headers['preference-applied']], [200, 'done', 'wait=30'])
})

test('the events of the job as the body of the 202', async () => {
  for (const [accept, separator] of [
    ['*/*', '\n\n'],
    ['application/x-ndjson', '\n'],
  ] as const) {
    await using rig = await rigWith({})
    const response = await open(`${rig.url}/work`, {
      method: 'POST',
      body: 'x',
      headers: { Prefer: 'respond-async, events', Accept: accept },
    })
    assert.equal(response.statusCode, 202)
    assert.equal(response.headers['preference-applied'], 'respond-async, events')
    assert.equal(response.headers['x-accel-buffering'], 'no')
    assert.match(String(response.headers['retry-after']), /^\d+$/)
    const events = []
    for await (const block of blocks(response, separator)) {
      const line = separator === '\n' ? block : (block.split('\n').find((each) => each.startsWith('data: ')) as string).slice(6)
      events.push(JSON.parse(line) as { event: string; links: { self: string } })
    }
    assert.equal(events[0]!.links.self, response.headers.location)
    assert.deepEqual([events[0]!.event, events.at(-1)!.event], ['status', 'end'])
  }
})

test('a repeat that has seen the end of its events gets 204, with what every job answer carries', async () => {
  await using rig = await rigWith({})
  const headers = { Prefer: 'respond-async, events', 'Idempotency-Key': 'a' }
  const id = /id: (\d+)\n(?!.*id: )/s.exec((await post(rig, headers)).text)?.[1]
  const answer = await post(rig, { ...headers, 'Last-Event-ID': String(id) })
  assert.deepEqual([answer.status, answer.headers['spillway-status']], [204, 'succeeded'])
  assert.match(String(answer.headers['spillway-job']), /^[a-z0-9]{11}$/)
})

test('onWait: cancel cancels what has not begun and says that nothing was done', async () => {
  await using rig = await rigWith({ waitMs: 50, onWait: 'cancel' })
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.json()['code'], answer.headers['spillway-status']], [503, 'wait_ended', 'cancelled'])
  assert.ok('retry-after' in answer.headers && !('location' in answer.headers))
  assert.match(String(answer.headers['proxy-status']), /^spillway; error=/)
  const withKey = { 'Idempotency-Key': 'a' }
  assert.equal((await post(rig, withKey)).status, 503)
  await rig.servers[0]!.revive()
  await until('it is up', () => rig.pool.upServers().length === 1)
  await sleep(100)
  assert.equal(rig.servers[0]!.received.length, 0)
  const again = await post(rig, withKey)
  assert.deepEqual([again.status, again.headers['idempotency-replayed']], [200, undefined], 'who was told so may try again')
})

test('onWait: cancel leaves what has begun, and says where its result will be', async () => {
  const { handle, waiting } = gate()
  await using rig = await rigWith({ waitMs: 1000, onWait: 'cancel' }, { handle })
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.json()['code'], answer.headers['spillway-status']], [504, 'wait_ended_begun', 'running'])
  waiting[0]!.end('done after all')
  assert.equal((await ask(`${rig.url}${answer.headers.location}/result?wait=30s`)).text, 'done after all')
  const async = await post(rig, { Prefer: 'respond-async, wait=0' })
  assert.equal(async.status, 202)
})

test('a client that leaves ends the wait, not the job', async () => {
  const { handle, waiting } = gate()
  await using rig = await rigWith({ waitMs: 30_000 }, { handle })
  const leave = new AbortController()
  const left = post(rig, {}, { signal: leave.signal })
  await until('it runs', () => waiting.length === 1 && rig.jobs.watchers === 1)
  const id = String(rig.servers[0]!.received[0]!.headers['spillway-job'])
  leave.abort()
  await assert.rejects(left)
  await until('nobody waits', () => rig.jobs.watchers === 0)
  waiting[0]!.end('done')
  assert.equal((await rig.ended(id)).status, 'succeeded')
})

test('with onWait: cancel a client that leaves takes what has not begun with it', async () => {
  await using rig = await rigWith({ waitMs: 30_000, onWait: 'cancel' })
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const leave = new AbortController()
  const left = post(rig, {}, { signal: leave.signal })
  await until('it is held', () => rig.jobs.watchers === 1)
  leave.abort()
  await assert.rejects(left)
  await until('it is cancelled', async () => (await rig.jobs.stats())[0]?.counts.cancelled === 1)
})

test('with onWait: cancel a repeat that waits for the same job is told as well that nothing was done', async () => {
  await using rig = await rigWith({ waitMs: 60_000, onWait: 'cancel' })
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const key = { 'Idempotency-Key': 'a' }
  const leave = new AbortController()
  const first = post(rig, key, { signal: leave.signal })
  await until('it is held', () => rig.jobs.watchers === 1)
  const repeat = post(rig, key)
  await until('both are held', () => rig.jobs.watchers === 2)
  leave.abort()
  await assert.rejects(first)
  const answer = await repeat
  assert.deepEqual([answer.status, answer.json()['code'], answer.headers['spillway-status']], [503, 'wait_ended', 'cancelled'])
  assert.deepEqual([answer.headers['idempotency-replayed'], answer.headers['retry-after'] !== undefined], ['true', true])
  await rig.servers[0]!.revive()
  await until('it is up', () => rig.pool.upServers().length === 1)
  assert.equal((await post(rig, key)).status, 200)
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('a repeat that waits for a job that somebody cancels is told so', async () => {
  await using rig = await rigWith({ waitMs: 60_000, onWait: 'cancel' })
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const key = { 'Idempotency-Key': 'a' }
  const accepted = await post(rig, { ...key, Prefer: 'respond-async' })
  const repeat = post(rig, key)
  await until('it is held', () => rig.jobs.watchers === 1)
  assert.equal((await ask(rig.url + accepted.headers.location, { method: 'DELETE' })).status, 200)
  const answer = await repeat
  assert.deepEqual([answer.status, answer.json()['code']], [410, 'job_cancelled'])
})

test('a held client leaves its request to the store: the gateway keeps none of it in memory', async () => {
  for (const mode of ['queue', 'spill'] as const) {
    await using rig = await rigWith({ mode, waitMs: 60_000 })
    await rig.servers[0]!.kill()
    await until('it is down', () => rig.pool.upServers().length === 0)
    const body = Buffer.alloc(1 << 20, 'b')
    const leave = new AbortController()
    const before = collected()
    const held = Array.from({ length: 100 }, () => post(rig, {}, { body, signal: leave.signal }).catch(() => undefined))
    await until('all are held', () => rig.jobs.watchers === 100)
    // The store's thread collects its own garbage as it makes more of it: some of the last batches are still there.
    await until('most bodies are gone', async () => {
      assert.equal((await post(rig, { Prefer: 'wait=0' }, { body })).status, 202)
      return collected() - before < 60 << 20
    })
    leave.abort()
    await Promise.all(held)
    await until('nobody waits', () => rig.jobs.watchers === 0)
  }
})

test('a held client whose answer finds no room in the budget for bodies is told where it is', async () => {
  const { limits } = testConfig({ pools: [], queues: [], routes: [] })
  await using rig = await rigWith({ waitMs: 30_000 }, { config: { limits: { ...limits, buffered: 15 << 20 } } })
  const key = { 'Idempotency-Key': 'a' }
  assert.equal((await post(rig, key)).status, 200)
  rig.servers[0]!.handle = (_, response) => void response.end(Buffer.alloc(12 << 20))
  const slow = await open(`${rig.url}/work`, { method: 'POST', body: 'input' })
  assert.equal(slow.statusCode, 200)
  const repeat = await post(rig, key)
  assert.deepEqual([repeat.status, repeat.headers['spillway-status']], [202, 'succeeded'])
  slow.destroy()
  await until('there is room', async () => (await ask(`${rig.url}${repeat.headers.location}/result`)).status === 200)
  assert.equal((await post(rig, key)).text, 'done')
})

test('hold and replay: plain requests against dead servers are answered when the servers are back, each run once', async () => {
  await using rig = await rigWith(
    { mode: 'spill', waitMs: 30_000 },
    { servers: 2, handle: (received, response) => void response.end(received.body) },
  )
  await Promise.all(rig.servers.map((server) => server.kill()))
  const posts = Array.from({ length: 50 }, (_, i) => post(rig, {}, { body: `${i}` }))
  await until('all are held', () => rig.jobs.watchers === 50)
  await Promise.all(rig.servers.map((server) => server.revive()))
  const answers = await Promise.all(posts)
  assert.deepEqual(new Set(answers.map((answer) => answer.status)), new Set([200]))
  assert.deepEqual(
    answers.map((answer) => answer.text),
    Array.from({ length: 50 }, (_, i) => `${i}`),
  )
  assert.equal(rig.servers.flatMap((server) => server.received).length, 50)
})

test('a repeat with the same key answers as the first would now, and runs nothing', async () => {
  const { handle, waiting } = gate()
  await using rig = await rigWith({ waitMs: 0 }, { handle })
  const key = { 'Idempotency-Key': 'k-1', Authorization: 'Bearer a' }
  const first = await post(rig, key)
  const again = await post(rig, { ...key, 'Idempotency-Key': '"k-1"' })
  assert.deepEqual([first.headers['idempotency-replayed'], again.headers['idempotency-replayed']], [undefined, 'true'])
  assert.equal(again.headers.location, first.headers.location)
  const held = post(rig, { ...key, Prefer: 'wait=30' })
  await until('it runs', () => waiting.length === 1)
  waiting[0]!.writeHead(200, { 'Set-Cookie': 's=1' }).end('once')
  const answer = await held
  assert.deepEqual(
    [answer.status, answer.text, answer.headers['idempotency-replayed'], answer.headers['set-cookie']],
    [200, 'once', 'true', undefined],
  )
  const other = await post(rig, key, { body: 'something else' })
  assert.deepEqual([other.status, other.json()['code']], [422, 'idempotency_conflict'])
  const stranger = await post(rig, { ...key, Authorization: 'Bearer b' })
  assert.notEqual(stranger.headers['spillway-job'], first.headers['spillway-job'])
  assert.ok(!('idempotency-replayed' in stranger.headers))
})

test('with a key a spill route runs once and gives one answer, also when clients repeat at the same time', async () => {
  await using rig = await rigWith({ mode: 'spill', waitMs: 30_000 })
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(rig, { 'Idempotency-Key': 'same' })))
  assert.ok(answers.every((answer) => answer.status === 200 && answer.text === 'done'))
  assert.equal(answers.filter((answer) => answer.headers['idempotency-replayed'] === 'true').length, 19)
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('a spill route without a key is served directly while a server is free', async () => {
  await using rig = await rigWith({ mode: 'spill', waitMs: 30_000 })
  const answer = await post(rig)
  assert.equal(answer.status, 200)
  assert.ok(!('spillway-job' in answer.headers))
  assert.equal(rig.calls.submit, 0)
})

test('what may not become a job is refused, as are headers that are not allowed or wrong', async () => {
  for (const mode of ['queue', 'spill'] as const) {
    await using rig = await rigWith({ mode })
    const refused = async (headers: Record<string, string>, method = 'POST'): Promise<unknown[]> => {
      const answer = await ask(`${rig.url}/work`, { method, headers, ...(method === 'POST' ? { body: 'x' } : {}) })
      return [answer.status, answer.text === '' ? undefined : answer.json()['code']]
    }
    assert.deepEqual(await refused({ 'Spillway-Priority': '5' }), [400, 'header_not_allowed'])
    assert.deepEqual(await refused({ 'Spillway-Callback': 'https://a.example' }), [400, 'header_not_allowed'])
    assert.deepEqual(await refused({ 'Spillway-Delay': 'soon' }), [400, 'bad_header'])
    if (mode === 'queue') {
      assert.deepEqual(await refused({}, 'GET'), [400, 'not_queueable'])
      assert.deepEqual((await refused({}, 'HEAD'))[0], 400)
    }
    assert.equal(rig.servers[0]!.received.length, 0)
  }
})

test('headers of ours never reach a server from a client', async () => {
  await using rig = await rigWith({ waitMs: 30_000 })
  await post(rig, { 'Spillway-Key': 'k', 'Spillway-Job': 'spoofed', 'Spillway-Fence': '1', Connection: 'close, x-hop', 'X-Hop': '1' })
  const { headers } = rig.servers[0]!.received[0]!
  assert.notEqual(headers['spillway-job'], 'spoofed')
  assert.ok(!('spillway-key' in headers) && !('x-hop' in headers))
})

test('a full queue refuses with 503 and says when to come back', async () => {
  await using rig = await rigWith({}, { ...gate(), queue: { limits: { jobs: 2, bytes: 1 << 20, finished: 1 << 20 } } })
  assert.equal((await post(rig)).status, 202)
  assert.equal((await post(rig)).status, 202)
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.json()['code']], [503, 'queue_full'])
  assert.match(String(answer.headers['retry-after']), /^\d+$/)
  assert.ok(rig.events.some((event) => event.type === 'limit-reached' && event.limit === 'jobs' && event.value === 2))
})

test('what the store did not take is not accepted', async () => {
  await using rig = await rigWith({})
  rig.failNext.submit = 1
  const answer = await post(rig)
  assert.deepEqual([answer.status, answer.json()['code']], [503, 'store_unavailable'])
  assert.equal((await post(rig)).status, 202)
})

test("the route's key outranks the client's", async () => {
  await using rig = await rigWith({ key: { from: 'header', name: 'x-account' } })
  const keyOf = async (headers: Record<string, string>): Promise<string | undefined> =>
    (await rig.status(String((await post(rig, headers)).headers['spillway-job']))).key
  assert.equal(await keyOf({ 'X-Account': '7', 'Spillway-Key': 'mine' }), '7')
  assert.equal(await keyOf({ 'Spillway-Key': 'mine' }), 'mine')
  assert.equal(await keyOf({}), undefined)
})

test('redeliver: safe marks what must not be sent twice', async () => {
  await using rig = await rigWith({ redeliver: 'safe', methods: ['POST', 'PUT'] })
  const sendOnce = async (method: string, headers: Record<string, string> = {}): Promise<boolean> => {
    const answer = await ask(`${rig.url}/work`, { method, headers, body: 'x' })
    return (await rig.status(String(answer.headers['spillway-job']))).sendOnce
  }
  assert.deepEqual(
    [await sendOnce('POST'), await sendOnce('PUT'), await sendOnce('POST', { 'Idempotency-Key': 'a' })],
    [true, false, false],
  )
})

test('at shutdown a held client whose job has not begun is told where to look', async () => {
  await using rig = await rigWith({ waitMs: 30_000 })
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const held = post(rig)
  await until('it is held', () => rig.jobs.watchers === 1)
  await rig.jobs.drain(1000)
  const answer = await held
  assert.deepEqual([answer.status, answer.headers['spillway-status']], [202, 'queued'])
})

test('at shutdown a held client whose job runs gets its answer', async () => {
  const { handle, waiting } = gate()
  await using rig = await rigWith({ waitMs: 30_000 }, { handle })
  const held = post(rig)
  await until('it runs', () => waiting.length === 1)
  const drained = rig.jobs.drain(10_000)
  await sleep(50)
  waiting[0]!.end('in time')
  const answer = await held
  assert.deepEqual([answer.status, answer.text], [200, 'in time'])
  await drained
})
