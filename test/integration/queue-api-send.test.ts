/** Sending over the queue API: one job, batches, lines; what is wrong with a job is told to the field, and the others go on. */
import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { describe, test } from 'node:test'
import { ENGINES, type QueueApiRig, startQueueApiRig, TOKEN } from '../support/queue-api-rig.ts'
import { until } from '../support/until.ts'

type Result = {
  readonly status: string
  readonly id?: string
  readonly token?: string
  readonly detail?: string
  readonly retryAfter?: number
}

async function detailOf(rig: QueueApiRig, job: unknown): Promise<string> {
  const answer = await rig.api('POST', '/queues/inbox/jobs', job)
  assert.equal(answer.status, 400, answer.text)
  assert.equal(answer.document.code, 'invalid_request')
  assert.equal(answer.headers['content-type'], 'application/problem+json')
  return answer.document.detail as string
}

async function received(rig: QueueApiRig): Promise<Record<string, unknown>> {
  return (await rig.api('POST', '/queues/inbox/receive')).document.jobs[0] as Record<string, unknown>
}

for (const engine of ENGINES) {
  describe(`sending on the ${engine} engine`, () => {
    test('every field of a job arrives', async () => {
      await using rig = await startQueueApiRig({ engine })
      const job = {
        base64: Buffer.from([0, 255]).toString('base64'),
        contentType: 'image/x-test',
        headers: { 'X-One': '1', 'X-Many': ['a', 'b'] },
        method: 'PUT',
        target: '/a?b=c',
        ...{ key: 'k', tenant: 't', priority: 7, reference: 'r', attempts: 3, deadline: '1h', expireAfter: 60_000 },
      }
      await rig.api('POST', '/queues/inbox/jobs', job)
      const { base64, contentType, headers, method, target, key, tenant, priority, reference, attempts, deadlineAt } = await received(rig)
      assert.deepEqual([base64, contentType, method, target], ['AP8=', 'image/x-test', 'PUT', '/a?b=c'])
      assert.deepEqual(headers, { 'x-one': '1', 'x-many': ['a', 'b'] })
      assert.deepEqual([key, tenant, priority, reference, attempts], ['k', 't', 7, 'r', 3])
      assert.match(String(deadlineAt), /^\d{4}-/)
    })

    test('a body comes back as what it was: JSON to the digit, text, bytes, nothing', async () => {
      await using rig = await startQueueApiRig({ engine })
      const payload = '{"id":12345678901234567890,"amount":0.12345678901234567890,"name":"ä\\u2028"}'
      await rig.api('POST', '/queues/inbox/jobs', `{"payload":${payload}}`)
      const first = await rig.api('POST', '/queues/inbox/receive')
      assert.ok(first.text.includes('"id":12345678901234567890,"amount":0.12345678901234567890'), first.text)
      assert.equal(first.document.jobs[0].payload.name, 'ä\u2028')
      for (const [job, expected] of [
        [{ text: '{"a":1}' }, { text: '{"a":1}', contentType: 'text/plain; charset=utf-8' }],
        [
          { text: '{"a":1}', contentType: 'application/x+json' },
          { payload: { a: 1 }, contentType: 'application/x+json' },
        ],
        [
          { text: '{"a":', contentType: 'application/json' },
          { text: '{"a":', contentType: 'application/json' },
        ],
        [{ base64: 'aGk=' }, { text: 'hi', contentType: 'application/octet-stream' }],
        [{ payload: null }, { payload: null, contentType: 'application/json' }],
        [{}, {}],
      ] as const) {
        await rig.api('POST', '/queues/inbox/jobs', job)
        const { payload: json, text, base64, contentType } = await received(rig)
        const got = Object.fromEntries(
          Object.entries({ payload: json, text, base64, contentType }).filter(([, value]) => value !== undefined),
        )
        assert.deepEqual(got, expected)
      }
    })

    test('of a batch each has a result, in order, and a bad one does not stop the others', async () => {
      await using rig = await startQueueApiRig({ engine })
      const jobs = [
        { text: 'a' },
        { text: 1 },
        { text: 'b', idempotencyKey: 'i' },
        { text: 'b', idempotencyKey: 'i' },
        { text: 'c', idempotencyKey: 'i' },
      ]
      const answer = await rig.api('POST', '/queues/inbox/jobs', { jobs })
      assert.equal(answer.status, 200)
      const results = answer.document.results as Result[]
      assert.deepEqual(
        results.map(({ status }) => status),
        ['created', 'invalid', 'created', 'duplicate', 'conflict'],
      )
      assert.equal(results[1]?.detail, 'jobs[1].text: must be a text')
      assert.equal(results[3]?.id, results[2]?.id)
      assert.equal((await rig.api('GET', '/queues/inbox')).document.counts.queued, 2)
    })

    test('a repeat is answered with 200 and the same job, another request under its key with 422', async () => {
      await using rig = await startQueueApiRig({ engine })
      const send = (text: string) => rig.api('POST', '/queues/inbox/jobs', { text, idempotencyKey: 'once' })
      const first = await send('a')
      const repeat = await send('a')
      assert.deepEqual(
        [first.status, repeat.status, repeat.document.status, repeat.document.id],
        [201, 200, 'duplicate', first.document.id],
      )
      const other = await send('b')
      assert.deepEqual([other.status, other.document.code], [422, 'idempotency_conflict'])
    })

    test('another caller with the same idempotency key has a job of its own', async () => {
      const right = { queues: ['*'], can: ['send', 'browse'] } as const
      const keys = [
        { name: 'a', token: 'token-of-a-0123456789', ...right },
        { name: 'b', token: 'token-of-b-0123456789', ...right },
      ]
      await using rig = await startQueueApiRig({ engine, keys })
      const ids = []
      for (const { token } of keys) {
        const answer = await rig.api('POST', '/queues/inbox/jobs', { text: 'x', idempotencyKey: 'k' }, { authorization: `Bearer ${token}` })
        assert.equal(answer.status, 201)
        ids.push(answer.document.id)
      }
      assert.notEqual(ids[0], ids[1])
    })

    test('5,000 lines are answered in order, with bad ones among them', async () => {
      await using rig = await startQueueApiRig({ engine })
      const lines = Array.from({ length: 5000 }, (_, i) => (i % 1000 === 500 ? '{"text":' : JSON.stringify({ text: `${i}` })))
      const body = `${lines.join('\n')}\n\n  \n`
      const answer = await rig.api('POST', '/queues/inbox/jobs', body, { 'content-type': 'application/x-ndjson' })
      assert.equal(answer.status, 200)
      assert.equal(answer.headers['content-type'], 'application/x-ndjson')
      const results = answer.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Result)
      assert.equal(results.length, 5000)
      const invalid = results.flatMap((result, i) => (result.status === 'invalid' ? [i] : []))
      assert.deepEqual(invalid, [500, 1500, 2500, 3500, 4500])
      assert.equal(results[500]?.detail, 'line 501: is not valid JSON')
      const created = results.flatMap(({ id }) => (id === undefined ? [] : [id]))
      assert.deepEqual(created, created.toSorted())
      const seen: string[] = []
      while (seen.length < 4995) {
        const { jobs } = (await rig.api('POST', '/queues/inbox/receive', { max: 1000 })).document
        seen.push(...(jobs as { text: string }[]).map(({ text }) => text))
      }
      assert.deepEqual(
        seen,
        lines.flatMap((line) => (line === '{"text":' ? [] : [(JSON.parse(line) as { text: string }).text])),
      )
    })

    test('a result comes while the client is still sending', async () => {
      await using rig = await startQueueApiRig({ engine })
      const stream = openLines(rig)
      stream.request.write('{"text":"a"}\n')
      await until('the first result is there', () => stream.lines().length === 1)
      stream.request.write('{"text":"b"}\n{"te')
      await until('the second result is there', () => stream.lines().length === 2)
      stream.request.end('xt":"c"}')
      await stream.ended
      assert.deepEqual(
        stream.lines().map((line) => (JSON.parse(line) as Result).status),
        ['created', 'created', 'created'],
      )
    })

    test('a client that leaves in the middle of a line has sent the lines before it', async () => {
      await using rig = await startQueueApiRig({ engine })
      const stream = openLines(rig)
      stream.request.write('{"text":"a"}\n{"text":"b"}')
      await until('the first result is there', () => stream.lines().length === 1)
      stream.request.destroy()
      await stream.ended
      assert.equal((await rig.api('GET', '/queues/inbox')).document.counts.queued, 1)
    })

    test('a full queue refuses, says which limit, and when to come back', async () => {
      const limits = { jobs: 2, bytes: 1 << 20, finished: 1 << 20 }
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox', limits }] })
      const batch = await rig.api('POST', '/queues/inbox/jobs', { jobs: [{ text: '1' }, { text: '2' }, { text: '3' }] })
      const [first, second, third] = batch.document.results as (Result & { limit?: string })[]
      assert.deepEqual([first?.status, second?.status, third?.status, third?.limit], ['created', 'created', 'refused', 'jobs'])
      assert.ok((third?.retryAfter ?? 0) >= 1)
      const single = await rig.api('POST', '/queues/inbox/jobs', { text: '4' })
      assert.deepEqual([single.status, single.document.code], [503, 'queue_full'])
      assert.ok(Number(single.headers['retry-after']) >= 1)
      assert.equal(rig.events.filter((event) => event.type === 'limit-reached').length, 2)
    })

    test('a delayed job is received when it is due, not before', async () => {
      await using rig = await startQueueApiRig({ engine })
      await rig.api('POST', '/queues/inbox/jobs', { text: 'later', delay: '300ms' })
      assert.deepEqual((await rig.api('POST', '/queues/inbox/receive')).document.jobs, [])
      const { jobs } = (await rig.api('POST', '/queues/inbox/receive', { wait: '10s' })).document
      assert.equal(jobs[0]?.text, 'later')
    })
  })
}

test('what is wrong with a job is said to the field', async () => {
  await using rig = await startQueueApiRig({ limits: { jobBody: 100, head: 500, headers: 6, target: 40 } })
  for (const [job, detail] of [
    [[], 'a job is an object, such as { "payload": { } }.'],
    [{ dealy: '1s' }, 'dealy: there is no such field (did you mean delay?).'],
    [{ text: 'a', payload: 1 }, 'payload: a job has one of payload, text and base64.'],
    [{ text: '\ud800' }, 'text: has half of a surrogate pair, which has no UTF-8.'],
    [{ base64: 'a' }, 'base64: must be bytes in base64 (RFC 4648, section 4).'],
    [{ delay: 'soon' }, 'delay: must be a duration such as "30s", or milliseconds as a number, at most 366d.'],
    [{ delay: '367d' }, 'delay: must be a duration such as "30s", or milliseconds as a number, at most 366d.'],
    [{ expireAfter: 0 }, 'expireAfter: must be a duration such as "30s", or milliseconds as a number, more than 0 and at most 366d.'],
    [{ priority: 10 }, 'priority: must be a whole number from 0 to 9.'],
    [{ attempts: 0 }, 'attempts: must be a whole number from 1 to 1000.'],
    [{ key: '' }, 'key: must be a text of 1 to 255 characters.'],
    [{ key: 'x'.repeat(256) }, 'key: must be a text of 1 to 255 characters.'],
    [{ reference: 'x'.repeat(129) }, 'reference: must be a text of 1 to 128 characters.'],
    [{ method: 'HEAD' }, 'method: HEAD can never become a job.'],
    [{ target: 'x' }, 'target: must be a path, with a query where it has one, such as /reports?v=2.'],
    [{ target: '/a/../b' }, 'target: the path has a "." or ".." segment.'],
    [{ target: `/${'x'.repeat(40)}` }, 'target: is longer than 40 bytes (limits.target).'],
    [{ headers: { 'a b': 'x' } }, 'headers["a b"]: is no header name.'],
    [{ headers: { connection: 'x' } }, 'headers["connection"]: is not passed on to servers; leave it out.'],
    [{ headers: { 'Spillway-Job': 'x' } }, 'headers["Spillway-Job"]: is not passed on to servers; leave it out.'],
    [{ headers: { Spillway_Signature: 'x' } }, 'headers["Spillway_Signature"]: is not passed on to servers; leave it out.'],
    [{ headers: { a: 'x\r\nb: y' } }, 'headers["a"]: must be a text of printable Latin-1, or a list of such.'],
    [{ headers: { a: 'x'.repeat(500) } }, 'headers: are more than 500 bytes (limits.head).'],
    [{ headers: { a: ['1', '2', '3', '4', '5', '6', '7'] } }, 'headers: are more than 6 (limits.headers).'],
    [{ text: 'x'.repeat(101) }, 'the body is larger than 100 bytes (limits.jobBody).'],
  ] as const) {
    assert.equal(await detailOf(rig, job), detail, JSON.stringify(job))
  }
  for (const job of [
    { text: 'x'.repeat(100) },
    { delay: '366d', key: 'x'.repeat(255), reference: 'x'.repeat(128), attempts: 1000, priority: 9 },
    { target: `/${'x'.repeat(39)}`, headers: { a: ['1', '2', '3', '4', '5', '6'] } },
    { headers: { a: 'x'.repeat(495) } },
  ]) {
    assert.equal((await rig.api('POST', '/queues/inbox/jobs', job)).status, 201, JSON.stringify(job).slice(0, 80))
  }
})

test('JSON that is nested too deeply is refused, not fatal', async () => {
  await using rig = await startQueueApiRig()
  const deep = `{"payload":${'['.repeat(200_000)}${']'.repeat(200_000)}}`
  assert.equal(await detailOf(rig, deep), 'payload: is nested too deeply.')
  const digits = `{"payload":${'['.repeat(200_000)}12345678901234567890${']'.repeat(200_000)}}`
  assert.equal(await detailOf(rig, digits), 'payload: is nested too deeply.')
})

test('bodies that are no JSON, no UTF-8, of another type or too large are refused', async () => {
  await using rig = await startQueueApiRig({ limits: { jobBody: 1000, head: 1000 }, config: {} })
  assert.equal(await detailOf(rig, '{'), 'The body is not valid JSON.')
  const form = await rig.api('POST', '/queues/inbox/jobs', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' })
  assert.deepEqual([form.status, form.document.code], [415, 'unsupported_type'])
  const none = await rig.api('POST', '/queues/inbox/jobs', '{}', { 'content-type': '' })
  assert.equal(none.status, 415)
})

test('a body, and a line, may have as many bytes as api.body says, and not one more', async () => {
  const body = 2000
  await using rig = await startQueueApiRig({
    config: {
      api: {
        keys: [{ name: 'all', token: TOKEN, queues: ['*'], can: ['send', 'receive', 'browse'] }],
        receiveMax: 3,
        receiversMax: 10,
        queuesMax: 10,
        leaseMaxMs: 60_000,
        body,
      },
    },
  })
  const sized = (bytes: number): string => JSON.stringify({ text: 'x'.repeat(bytes - 11) })
  assert.equal(sized(body).length, body)
  assert.equal((await rig.api('POST', '/queues/inbox/jobs', sized(body))).status, 201)
  const large = await rig.api('POST', '/queues/inbox/jobs', sized(body + 1))
  assert.deepEqual([large.status, large.document.code], [413, 'body_too_large'])
  const lines = await rig.api('POST', '/queues/inbox/jobs', `${sized(body)}\n${sized(body + 1)}\n{"text":"a"}`, {
    'content-type': 'application/x-ndjson',
  })
  const results = lines.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Result)
  assert.deepEqual(
    results.map(({ status }) => status),
    ['created', 'invalid', 'created'],
  )
  assert.equal(results[1]?.detail, 'line 2: is longer than 2000 bytes (api.body)')
  const three = await rig.api('POST', '/queues/inbox/jobs', { jobs: [{}, {}, {}] })
  assert.equal(three.document.results.length, 3)
  assert.equal(await detailOf(rig, { jobs: [{}, {}, {}, {}] }), 'jobs: has 4 entries, at most 3 go in one call (api.receiveMax).')
  assert.equal(await detailOf(rig, { jobs: {} }), 'jobs: must be a list of jobs.')
  assert.equal(await detailOf(rig, { jobs: [], text: 'a' }), 'text: stands beside jobs, but belongs into each of them.')
})

test('a pool works off what is sent, with method, target, headers and a host of its own', async () => {
  const { startTestServer } = await import('../support/test-server.ts')
  const server = await startTestServer()
  await using rig = await startQueueApiRig({ servers: [server.port], queues: [{ name: 'inbox', pool: 'api' }] })
  const sent = await rig.api('POST', '/queues/inbox/jobs', { payload: { a: 1 }, method: 'PUT', target: '/x?y', headers: { 'X-A': 'b' } })
  await until('it has ended', async () => (await rig.api('GET', `/jobs/${sent.document.id}`)).document.status === 'succeeded')
  const [got] = server.received
  assert.deepEqual([got?.method, got?.url, got?.body.toString()], ['PUT', '/x?y', '{"a":1}'])
  assert.deepEqual(
    [got?.headers['x-a'], got?.headers['content-type'], got?.headers['host']],
    ['b', 'application/json', `127.0.0.1:${server.port}`],
  )
  await server.kill()
})

interface LineStream {
  readonly request: ReturnType<typeof httpRequest>
  readonly ended: Promise<void>
  lines(): string[]
}

function openLines(rig: QueueApiRig): LineStream {
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/x-ndjson' }
  const request = httpRequest(`http://127.0.0.1:${rig.port}/_spillway/api/queues/inbox/jobs`, { method: 'POST', headers, agent: false })
  let text = ''
  const ended = new Promise<void>((resolve) => {
    request.on('response', (response) => {
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('error', () => undefined)
      response.on('close', () => resolve())
    })
    request.on('error', () => resolve())
  })
  request.flushHeaders()
  return { request, ended, lines: () => text.split('\n').filter((line) => line !== '') }
}
