import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { type Answer, ask, blocks, open } from '../support/http-client.ts'
import { type JobsRig, type RigOptions, startJobsRig } from '../support/jobs-rig.ts'
import { testConfig, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

interface Links {
  readonly self: string
  readonly result: string
  readonly events: string
}

async function submit(rig: JobsRig, headers: Record<string, string> = {}, body = 'input'): Promise<Answer & { links: Links; id: string }> {
  const answer = await ask(`${rig.url}/work`, { method: 'POST', headers, body })
  assert.equal(answer.status, 202, answer.text)
  const { links, id } = answer.json() as { links: Links; id: string }
  return { ...answer, links, id }
}

/** Servers that answer only when the test says so. */
function gate(): { handle: NonNullable<RigOptions['handle']>; waiting: ServerResponse[] } {
  const waiting: ServerResponse[] = []
  return { waiting, handle: (_, response) => void waiting.push(response) }
}

test('a 202 says where the job is, and is for nobody else', async () => {
  await using rig = await startJobsRig(gate())
  const answer = await submit(rig)
  const document = answer.json()
  assert.match(answer.links.self, /^\/_spillway\/jobs\/[a-z0-9]+\.[\w-]{22}$/)
  assert.deepEqual(answer.links, { self: answer.links.self, result: `${answer.links.self}/result`, events: `${answer.links.self}/events` })
  assert.equal(answer.headers.location, answer.links.self)
  assert.equal(answer.headers['spillway-job'], answer.id)
  assert.equal(answer.headers['spillway-status'], 'queued')
  assert.equal(answer.headers['cache-control'], 'private, no-store')
  assert.equal(answer.headers['referrer-policy'], 'no-referrer')
  assert.equal(answer.headers['content-type'], 'application/json')
  assert.match(String(answer.headers['retry-after']), /^\d{1,2}$/)
  assert.deepEqual([document['status'], document['queue']], ['queued', 'work'])
  assert.ok(!Number.isNaN(Date.parse(String(document['submittedAt']))))
})

test('links begin with the public address where there is one', async () => {
  await using rig = await startJobsRig({
    config: { jobs: { path: '/-/jobs', publicUrl: 'https://a.example', waitMaxMs: 1000, heartbeatMs: 1000 } },
  })
  const answer = await submit(rig)
  assert.ok(answer.links.self.startsWith(`https://a.example/-/jobs/jobs/${answer.id}.`))
  assert.equal((await ask(rig.url + answer.links.self.slice('https://a.example'.length))).status, 200)
})

test('the status document follows the job to its end', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle })
  const { links, id } = await submit(rig)
  await until('it runs', () => waiting.length === 1)
  const running = await ask(rig.url + links.self)
  assert.equal(running.status, 200)
  const during = running.json()
  assert.deepEqual([during['id'], during['status'], during['attempt'], during['attempts']], [id, 'running', 1, 5])
  assert.ok('retry-after' in running.headers)
  const wait = ask(`${rig.url}${links.self}?wait=30s`)
  const prefer = ask(rig.url + links.self, { headers: { Prefer: 'wait=30' } })
  await sleep(20)
  waiting[0]!.writeHead(201, { 'x-one': '1' }).end('made')
  for (const ended of await Promise.all([wait, prefer])) {
    assert.equal(ended.headers['spillway-status'], 'succeeded')
    const document = ended.json()
    assert.deepEqual([document['status'], document['links']], ['succeeded', links])
    assert.ok(Date.parse(String(document['finishedAt'])) >= Date.parse(String(document['startedAt'])))
    assert.ok(!('retry-after' in ended.headers) && !('position' in document) && !('error' in document))
  }
  const head = await ask(rig.url + links.self, { method: 'HEAD' })
  assert.deepEqual([head.status, head.headers['spillway-status'], head.body.length], [200, 'succeeded', 0])
})

test('a wait that is over answers with what there is', async () => {
  await using rig = await startJobsRig(gate())
  const { links } = await submit(rig)
  await until('it runs', () => rig.servers[0]!.received.length === 1)
  const status = await ask(`${rig.url}${links.self}?wait=1ms`)
  assert.deepEqual([status.status, status.json()['status']], [200, 'running'])
  const result = await ask(`${rig.url}${links.result}?wait=1ms`)
  assert.deepEqual([result.status, result.headers['spillway-status'], result.json()['status']], [202, 'running', 'running'])
  const wrong = await ask(`${rig.url}${links.self}?wait=soon`)
  assert.deepEqual([wrong.status, wrong.json()['code']], [400, 'bad_request'])
})

test('the result is the answer as it was, whatever its status, less cookies and what was for us', async () => {
  const body = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))
  for (const [status, reason] of [
    [200, 'Fine'],
    [201, 'Made It'],
    [303, 'See Other'],
    [422, 'Nope'],
  ] as const) {
    await using rig = await startJobsRig({
      handle: (_, response) => {
        response.sendDate = false
        const headers = ['X-A', '1', 'x-a', '2', 'Set-Cookie', 's=1', 'Spillway-Whatever', 'x', 'Location', '/there', 'ETag', '"e"']
        response.writeHead(status, reason, headers).end(body)
      },
    })
    const { links, id } = await submit(rig)
    await rig.ended(id)
    const result = await ask(rig.url + links.result)
    assert.deepEqual([result.status, result.reason], [status, reason])
    assert.ok(result.body.equals(body))
    const fields = Array.from(
      { length: result.rawHeaders.length / 2 },
      (_, i) => `${result.rawHeaders[2 * i]}: ${result.rawHeaders[2 * i + 1]}`,
    )
    const ours = fields.filter((field) => !/^(Date|Content-Length|Connection): /.test(field))
    assert.deepEqual(ours, [
      'X-A: 1',
      'x-a: 2',
      'Location: /there',
      'ETag: "e"',
      'Cache-Control: no-store',
      `Spillway-Status: ${status < 400 ? 'succeeded' : 'failed'}`,
      `Spillway-Job: ${id}`,
    ])
    const head = await ask(rig.url + links.result, { method: 'HEAD' })
    assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [status, '100000', 0])
  }
})

test('a result without a body has none, and a cache rule of the server stands', async () => {
  await using rig = await startJobsRig({ handle: (_, response) => void response.writeHead(204, { 'cache-control': 'max-age=9' }).end() })
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const result = await ask(rig.url + links.result)
  assert.deepEqual([result.status, result.body.length, result.headers['cache-control']], [204, 0, 'max-age=9'])
  assert.ok(!('content-length' in result.headers))
})

test('a status that has not changed is not sent again; a wait that knows it ends with the next one', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle })
  const { links } = await submit(rig)
  await until('it runs', () => waiting.length === 1)
  const first = await ask(rig.url + links.self)
  const tag = String(first.headers.etag)
  assert.match(tag, /^W\/"\d+"$/)
  const knows = { headers: { 'If-None-Match': `"other", ${tag}` } }
  for (const method of ['GET', 'HEAD']) {
    const same = await ask(rig.url + links.self, { ...knows, method })
    assert.deepEqual([same.status, same.body.length, same.headers.etag, same.headers['spillway-status']], [304, 0, tag, 'running'])
    assert.ok('retry-after' in same.headers && !('content-type' in same.headers))
  }
  assert.equal((await ask(rig.url + links.self, { headers: { 'If-None-Match': 'W/"0"' } })).status, 200)
  const over = await ask(`${rig.url}${links.self}?wait=1ms`, { headers: { 'If-None-Match': tag } })
  assert.equal(over.status, 304, 'the time is up, and it is as it was')

  const next = ask(`${rig.url}${links.self}?wait=30s`, { headers: { 'If-None-Match': tag } })
  await until('it waits', () => rig.jobs.watchers > 0)
  const report = String(rig.servers[0]!.received[0]!.headers['spillway-report'])
  assert.equal((await ask(report, { method: 'POST', body: '{"done":50}' })).status, 204)
  const progressed = await next
  assert.deepEqual([progressed.status, progressed.json()['status'], progressed.json()['progress']], [200, 'running', { done: 50 }])
  const stale = await ask(`${rig.url}${links.self}?wait=30s`, { headers: { 'If-None-Match': tag } })
  assert.deepEqual([stale.status, stale.headers.etag], [200, progressed.headers.etag], 'what has changed already is not waited for')
  waiting[0]!.end('made')
  const ended = await ask(`${rig.url}${links.self}?wait=30s`)
  assert.equal(ended.json()['status'], 'succeeded')
  assert.equal((await ask(rig.url + links.self, { headers: { 'If-None-Match': String(ended.headers.etag) } })).status, 304)
})

test('a result is read in parts', async () => {
  const body = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i % 251))
  await using rig = await startJobsRig({ handle: (_, response) => void response.writeHead(200, { 'Content-Type': 'a/b' }).end(body) })
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const get = (headers: Record<string, string>, method = 'GET'): Promise<Answer> => ask(rig.url + links.result, { method, headers })
  for (const [range, first, last] of [
    ['bytes=0-0', 0, 0],
    ['bytes=65536-', 65_536, 69_999],
    ['bytes=-100', 69_900, 69_999],
    ['bytes=10-99999999', 10, 69_999],
  ] as const) {
    const part = await get({ Range: range })
    assert.deepEqual(
      [part.status, part.headers['content-range'], part.headers['content-type']],
      [206, `bytes ${first}-${last}/70000`, 'a/b'],
    )
    assert.ok(part.body.equals(body.subarray(first, last + 1)), range)
    assert.equal(part.headers['content-length'], String(last + 1 - first))
  }
  const outside = await get({ Range: 'bytes=70000-' })
  assert.deepEqual([outside.status, outside.headers['content-range'], outside.json()['code']], [416, 'bytes */70000', 'range_outside'])
  for (const headers of [
    { Range: 'bytes=0-1,5-6' },
    { Range: 'bytes=x' },
    { Range: 'bytes=0-1', 'If-Range': '"other"' },
    { 'If-None-Match': '"other"' },
  ]) {
    const whole = await get(headers)
    assert.deepEqual([whole.status, whole.body.length], [200, 70_000], JSON.stringify(headers))
  }
  assert.deepEqual((await get({ Range: 'bytes=0-1' }, 'HEAD')).status, 200, 'a range is for GET')
  await until('all is freed', () => rig.budget.used === 0)
})

test("a server's own tag and date say whether a part fits, and who has the result already", async () => {
  const headers = { ETag: '"theirs"', 'Last-Modified': 'Sat, 01 Jan 2028 00:00:00 GMT', 'Accept-Ranges': 'none' }
  await using rig = await startJobsRig({ handle: (_, response) => void response.writeHead(200, headers).end('0123456789') })
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const get = (more: Record<string, string>) => ask(rig.url + links.result, { headers: more })
  const part = await get({ Range: 'bytes=2-3', 'If-Range': headers['Last-Modified'] })
  assert.deepEqual([part.status, part.text, part.headers.etag, part.headers['accept-ranges']], [206, '23', '"theirs"', 'none'])
  assert.equal((await get({ Range: 'bytes=2-3', 'If-Range': 'Sun, 02 Jan 2028 00:00:00 GMT' })).status, 200)
  assert.equal((await get({ Range: 'bytes=2-3', 'If-Range': '"theirs"' })).status, 206)
  const had = await get({ 'If-None-Match': 'W/"theirs"', Range: 'bytes=2-3' })
  assert.deepEqual([had.status, had.body.length, had.headers.etag, had.headers['cache-control']], [304, 0, '"theirs"', 'no-store'])
  assert.ok(!('accept-ranges' in had.headers))
})

test('a repeated POST is answered with the whole result, whatever it says of parts and tags', async () => {
  await using rig = await startJobsRig({
    routes: [testRoute({ name: '/*', waitMs: 5000 })],
    handle: (_, response) => void response.writeHead(200, { etag: '"e"' }).end('0123456789'),
  })
  const headers = { 'Idempotency-Key': 'k', 'If-None-Match': '"e"', Range: 'bytes=0-1' }
  for (const replayed of [undefined, 'true']) {
    const answer = await ask(`${rig.url}/work`, { method: 'POST', body: 'input', headers })
    assert.deepEqual([answer.status, answer.text, answer.headers['idempotency-replayed']], [200, '0123456789', replayed])
  }
})

test('an answer that is no 200 has no parts', async () => {
  await using rig = await startJobsRig({ handle: (_, response) => void response.writeHead(201, { etag: '"e"' }).end('0123456789') })
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const answer = await ask(rig.url + links.result, { headers: { Range: 'bytes=0-1', 'If-None-Match': '"e"' } })
  assert.deepEqual([answer.status, answer.text, 'accept-ranges' in answer.headers], [201, '0123456789', false])
})

test('a job without an answer has a problem for a result: 502, 504 or 410', async () => {
  const broken = await startJobsRig({ queue: { attempts: 1 }, handle: (_, response) => void response.destroy() })
  await using _ = broken
  const reset = await submit(broken)
  await broken.ended(reset.id)
  const answer = await ask(broken.url + reset.links.result)
  assert.deepEqual([answer.status, answer.json()['code'], answer.headers['spillway-status']], [502, 'connection_reset', 'failed'])
  assert.match(String(answer.headers['proxy-status']), /^spillway; error=connection_terminated; details="/)
  assert.equal(answer.headers['content-type'], 'application/problem+json')

  const slow = await startJobsRig({ queue: { attempts: 1, timeoutMs: 50 }, handle: () => undefined })
  await using __ = slow
  const timeout = await submit(slow)
  await slow.ended(timeout.id)
  assert.deepEqual([(await ask(slow.url + timeout.links.result)).status], [504])

  const cancelled = await submit(slow)
  await ask(slow.url + cancelled.links.self, { method: 'DELETE' })
  const gone = await ask(slow.url + cancelled.links.result)
  assert.deepEqual([gone.status, gone.json()['code']], [410, 'job_cancelled'])
})

test('DELETE cancels, breaks the attempt off, and says the same again', async () => {
  await using rig = await startJobsRig(gate())
  const { links } = await submit(rig)
  await until('it runs', () => rig.servers[0]!.inFlight === 1)
  for (let times = 0; times < 2; times++) {
    const answer = await ask(rig.url + links.self, { method: 'DELETE' })
    assert.deepEqual([answer.status, answer.json()['status'], answer.headers['spillway-status']], [200, 'cancelled', 'cancelled'])
  }
  await until('the attempt is broken off', () => rig.servers[0]!.inFlight === 0)
})

test('a wrong secret, an unknown id and nonsense get the same 404', async () => {
  await using rig = await startJobsRig()
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const secret = links.self.split('.').at(-1) as string
  const wrong = `${secret.startsWith('A') ? 'B' : 'A'}${secret.slice(1)}`
  const tokens = [`${id}.${wrong}`, `${id}.${secret}x`, `${id}.`, id, `00000000001.${secret}`, `%2e.${secret}`, `${id}%2E${secret}`]
  const bodies = new Set<string>()
  for (const token of tokens) {
    for (const [method, rest] of [
      ['GET', ''],
      ['GET', '/result'],
      ['GET', '/events'],
      ['DELETE', ''],
      ['GET', '?wait=30s'],
    ] as const) {
      const answer = await ask(`${rig.url}/_spillway/jobs/${token}${rest}`, { method })
      assert.equal(answer.status, 404, `${method} ${token}${rest}`)
      bodies.add(answer.text)
      assert.equal(answer.headers['cache-control'], 'private, no-store')
    }
  }
  assert.equal(bodies.size, 1)
  assert.equal((await rig.status(id)).status, 'succeeded')
})

test('under the reserved path nothing reaches a server', async () => {
  await using rig = await startJobsRig()
  for (const path of ['', '/', '/jobs', '/jobs/', '/x', '/jobs/a.b/c', '/jobs/a.b/result/d', '/reports', '/reports/a.b/c', '/jobs//']) {
    assert.equal((await ask(`${rig.url}/_spillway${path}`, { method: 'POST' })).status, 404, path)
  }
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const cases = [
    ['', 'GET, HEAD, DELETE'],
    ['/result', 'GET, HEAD'],
    ['/events', 'GET, HEAD'],
  ] as const
  for (const [sub, allow] of cases) {
    const answer = await ask(rig.url + links.self + sub, { method: 'PUT' })
    assert.deepEqual([answer.status, answer.headers.allow, answer.json()['code']], [405, allow, 'method_not_allowed'])
  }
  const report = await ask(`${rig.url}/_spillway/reports/a.b`)
  assert.deepEqual([report.status, report.headers.allow], [405, 'POST'])
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('events as SSE: status, progress, end; after the end a reconnect gets 204', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle })
  const { links, id } = await submit(rig)
  const response = await open(rig.url + links.events)
  assert.equal(response.headers['content-type'], 'text/event-stream')
  assert.equal(response.headers['x-accel-buffering'], 'no')
  assert.equal(response.headers['spillway-job'], id)
  assert.equal(response.headers['cache-control'], 'private, no-store')
  const stream = blocks(response, '\n\n')
  const next = async (): Promise<{ event: string; id: string; data: Record<string, unknown> }> => {
    const block = (await stream.next()).value as string
    const fields = Object.fromEntries(
      block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
    )
    return {
      event: fields['event'] as string,
      id: fields['id'] as string,
      data: JSON.parse(fields['data'] as string) as Record<string, unknown>,
    }
  }
  let event = await next()
  assert.deepEqual([event.event, event.data['links']], ['status', links])
  while (event.data['status'] !== 'running') event = await next()
  await until('it runs', () => waiting.length === 1)
  const reportUrl = String(rig.servers[0]!.received[0]!.headers['spillway-report'])
  assert.equal((await ask(reportUrl, { method: 'POST', body: '{\n "percent": 40 }' })).status, 204)
  const progress = await next()
  assert.deepEqual([progress.event, progress.data['progress']], ['progress', { percent: 40 }])
  waiting[0]!.end('done')
  const end = await next()
  assert.deepEqual([end.event, end.data['status']], ['end', 'succeeded'])
  assert.ok(Number(end.id) > Number(progress.id) && Number(progress.id) > Number(event.id))
  assert.equal((await stream.next()).done, true)

  const again = await ask(rig.url + links.events, { headers: { 'Last-Event-ID': end.id } })
  assert.deepEqual([again.status, again.body.length], [204, 0])
  assert.deepEqual([again.headers['spillway-status'], again.headers['spillway-job']], ['succeeded', id])
  const earlier = await ask(rig.url + links.events, { headers: { 'Last-Event-ID': progress.id } })
  assert.match(earlier.text, /^event: end\n/)
  const head = await ask(rig.url + links.events, { method: 'HEAD' })
  assert.deepEqual([head.status, head.body.length], [200, 0])
})

test('events as NDJSON, and what is not spoken is said', async () => {
  await using rig = await startJobsRig()
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const answer = await ask(rig.url + links.events, { headers: { Accept: 'application/x-ndjson' } })
  assert.equal(answer.headers['content-type'], 'application/x-ndjson')
  assert.equal((JSON.parse(answer.text) as { event: string }).event, 'end')
  const html = await ask(rig.url + links.events, { headers: { Accept: 'text/html' } })
  assert.deepEqual([html.status, html.json()['code']], [406, 'not_acceptable'])
})

test('an idle stream is kept alive', async () => {
  const jobs = { path: '/_spillway', waitMaxMs: 60_000, heartbeatMs: 50 }
  await using rig = await startJobsRig({ ...gate(), config: { jobs } })
  const { links } = await submit(rig)
  const stream = blocks(await open(rig.url + links.events), '\n\n')
  let beats = 0
  for await (const block of stream) if (block === ': heartbeat' && ++beats === 3) break
  assert.equal(beats, 3)
  await until('the stream is forgotten', () => rig.jobs.watchers === 0)
})

test('a report is JSON of at most 16 KiB, from the attempt that runs', async () => {
  await using rig = await startJobsRig(gate())
  const { links } = await submit(rig)
  await until('it runs', () => rig.servers[0]!.received.length === 1)
  const url = String(rig.servers[0]!.received[0]!.headers['spillway-report'])
  const post = (target: string, body: string): Promise<Answer> => ask(target, { method: 'POST', body })
  assert.equal((await post(url, `"${'x'.repeat(16 * 1024 - 2)}"`)).status, 204)
  const large = await post(url, `"${'x'.repeat(16 * 1024 - 1)}"`)
  assert.deepEqual([large.status, large.json()['code']], [413, 'body_too_large'])
  const deep = `${'['.repeat(65)}${']'.repeat(65)}`
  for (const body of ['', '{', 'nope', '\xff', deep]) assert.equal((await post(url, body)).status, 400)
  const foreign = [
    `${url}x`,
    url.replace(/\.[^.]+$/, '.wrong'),
    url.replace(/reports\/\w+/, 'reports/00000000001'),
    `${rig.url}/_spillway/reports/${links.self.split('/').at(-1)}`,
  ]
  for (const target of foreign) assert.equal((await post(target, '1')).status, 404, target)
  assert.equal(((await ask(rig.url + links.self)).json()['progress'] as string).length, 16 * 1024 - 2)
})

test('results that clients are slow to take stay within the budget for bodies, and the next ones are told to come back', async () => {
  const body = Buffer.alloc(12 << 20, 'r')
  const { limits } = testConfig({ pools: [], queues: [], routes: [] })
  await using rig = await startJobsRig({
    handle: (_, response) => void response.end(body),
    config: { limits: { ...limits, buffered: 30 << 20 } },
  })
  const { links, id } = await submit(rig)
  await rig.ended(id)
  const slow = await Promise.all([open(rig.url + links.result), open(rig.url + links.result)])
  assert.deepEqual(
    slow.map((response) => response.statusCode),
    [200, 200],
  )
  const refused = await ask(rig.url + links.result)
  assert.deepEqual([refused.status, refused.json()['code']], [503, 'buffers_full'])
  assert.match(String(refused.headers['retry-after']), /^[123]$/)
  assert.equal((await ask(rig.url + links.self)).json()['status'], 'succeeded', 'its status takes no such room')
  slow[0]!.destroy()
  const again = async (): Promise<Answer> => {
    let answer = await ask(rig.url + links.result)
    await until('there is room again', async () => answer.status === 200 || (answer = await ask(rig.url + links.result)).status === 200)
    return answer
  }
  assert.ok((await again()).body.equals(body), 'one has gone')
  const chunks: Buffer[] = []
  for await (const chunk of slow[1]!) chunks.push(chunk as Buffer)
  assert.ok(Buffer.concat(chunks).equals(body))
  const both = await Promise.all([again(), again()])
  assert.ok(
    both.every((answer) => answer.body.equals(body)),
    'one has been taken whole',
  )
})

test('at shutdown polls are answered and streams end with a hint', async () => {
  await using rig = await startJobsRig(gate())
  const { links } = await submit(rig)
  await until('it runs', () => rig.servers[0]!.received.length === 1)
  const poll = ask(`${rig.url}${links.self}?wait=60s`)
  const stream = ask(rig.url + links.events)
  await until('both wait', () => rig.jobs.watchers === 2)
  const drained = rig.jobs.drain(100)
  assert.equal((await poll).json()['status'], 'running')
  assert.match((await stream).text, /retry: \d+\n\n$/)
  await drained
})

test('CORS: at its address a page may do with a job what any route lets its origin do, and no other origin more', async () => {
  const cors = { origins: ['*'], methods: ['POST'], headers: ['X-Open'], credentials: false, maxAgeMs: 0 }
  const own = { ...cors, origins: ['https://app.example'], headers: ['X-User'], credentials: true }
  const at = (path: string) => ({ path, methods: ['POST'], headers: [], query: [] })
  await using rig = await startJobsRig({
    routes: [testRoute({ name: 'open', match: at('/open'), cors }), testRoute({ name: 'own', match: at('/own'), cors: own })],
  })
  const allowed = async (origin: string): Promise<readonly unknown[]> => {
    const asked = { Origin: origin, 'Access-Control-Request-Method': 'GET' }
    const { headers } = await ask(`${rig.url}/_spillway/jobs/a.b`, { method: 'OPTIONS', headers: asked })
    const names = String(headers['access-control-allow-headers']).split(', ')
    const { 'access-control-allow-origin': who, 'access-control-allow-credentials': credentials, vary } = headers
    return [who, credentials, vary, names.includes('X-Open'), names.includes('X-User')]
  }
  assert.deepEqual(await allowed('https://app.example'), ['https://app.example', 'true', 'Origin', true, true])
  assert.deepEqual(await allowed('https://evil.example'), ['*', undefined, undefined, true, false])
  const looked = await ask(`${rig.url}/_spillway/jobs/a.b`, { headers: { Origin: 'https://app.example' } })
  assert.equal(looked.headers['access-control-allow-credentials'], 'true')
})

test('CORS: preflights of routes and job addresses, and what a page may read', async () => {
  const cors = { origins: ['https://app.example'], methods: ['GET', 'POST'], headers: ['X-Custom'], credentials: true, maxAgeMs: 600_000 }
  await using rig = await startJobsRig({
    routes: [testRoute({ name: 'POST /work', match: { path: '/work', methods: ['POST'], headers: [], query: [] }, cors })],
  })
  const origin = { Origin: 'https://app.example' }
  const preflight = { ...origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'x-custom, prefer' }
  const asked = await ask(`${rig.url}/work`, { method: 'OPTIONS', headers: preflight })
  assert.equal(asked.status, 204)
  assert.equal(asked.headers['access-control-allow-origin'], 'https://app.example')
  assert.equal(asked.headers['access-control-allow-methods'], 'GET, POST')
  assert.match(String(asked.headers['access-control-allow-headers']), /X-Custom.*Prefer.*Idempotency-Key/)
  assert.deepEqual(
    [asked.headers['access-control-max-age'], asked.headers['access-control-allow-credentials'], asked.headers.vary],
    ['600', 'true', 'Origin'],
  )

  const accepted = await submit(rig, origin)
  assert.equal(accepted.headers['access-control-allow-origin'], 'https://app.example')
  assert.match(String(accepted.headers['access-control-expose-headers']), /Location, Retry-After, .*Spillway-Status/)
  const job = await ask(rig.url + accepted.links.self, {
    method: 'OPTIONS',
    headers: { ...preflight, 'Access-Control-Request-Method': 'DELETE' },
  })
  assert.deepEqual([job.status, job.headers['access-control-allow-methods']], [204, 'GET, HEAD, DELETE'])
  const status = await ask(rig.url + accepted.links.self, { headers: origin })
  assert.equal(status.headers['access-control-allow-origin'], 'https://app.example')

  const stranger = await ask(rig.url + accepted.links.self, { headers: { Origin: 'https://evil.example' } })
  assert.ok(!('access-control-allow-origin' in stranger.headers) && stranger.headers.vary === 'Origin')
  const refused = await ask(`${rig.url}/work`, { method: 'OPTIONS', headers: { ...preflight, Origin: 'https://evil.example' } })
  assert.ok(refused.status === 204 && !('access-control-allow-origin' in refused.headers))
})
