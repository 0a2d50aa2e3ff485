/** Servers that answer 202 with Spillway-Defer and report the end of the job later, over real sockets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { QueueConfig } from '../../src/config/config.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { type Answer, ask, blocks, open } from '../support/http-client.ts'
import { type JobsRig, startJobsRig } from '../support/jobs-rig.ts'
import { testRoute } from '../support/test-config.ts'
import type { Received } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const DEFER_MS = 30_000

interface Deferring extends AsyncDisposable {
  readonly rig: JobsRig
  /** Waits until the server has been given so many jobs, and gives the address of the last one's report. */
  handedOut(times?: number): Promise<string>
  /** The job is deferred; its token. */
  deferred(headers?: Readonly<Record<string, string>>): Promise<{ readonly job: string; readonly report: string }>
}

/** The first `times` requests are deferred, the others answered. */
async function deferring(queue: Partial<QueueConfig> = {}, defer = '30s', times = 1): Promise<Deferring> {
  const rig = await startJobsRig({
    queue: { defer: { maxMs: DEFER_MS, jobs: 2 }, backoff: { baseMs: 1, maxMs: 5 }, ...queue },
    routes: [testRoute({ name: '/*', key: { from: 'header', name: 'x-key' }, waitMs: 20_000 })],
    handle: (_, response) => {
      if (rig.servers[0]!.received.length <= times) response.writeHead(202, { 'Spillway-Defer': defer }).end('working on it')
      else response.end('done at once')
    },
  })
  const handedOut = async (count = 1): Promise<string> => {
    await until(`${count} hand-outs`, () => rig.servers[0]!.received.length >= count)
    return reportOf(rig.servers[0]!.received.at(-1))
  }
  return {
    rig,
    handedOut,
    async deferred(headers = {}) {
      // The server may have it before the client has its 202.
      const next = rig.servers[0]!.received.length + 1
      const accepted = await ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async', ...headers } })
      assert.equal(accepted.status, 202)
      const job = `${rig.url}${String(accepted.headers.location)}`
      const report = await handedOut(next)
      await until('it is deferred', async () => (await ask(job)).json()['deferredUntil'] !== undefined)
      return { job, report }
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  }
}

function reportOf(received: Received | undefined): string {
  return String(received?.headers['spillway-report'])
}

function post(url: string, body: string | Uint8Array = '', headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return ask(url, { method: 'POST', body, headers })
}

test('a held client gets what the server reports as complete, with its status and what it says of its content', async () => {
  await using deferrals = await deferring()
  const { rig, handedOut } = deferrals
  const held = post(`${rig.url}/work`, 'input')
  const report = await handedOut()
  await until('the slot is free', () => rig.pool.servers[0]!.inFlight === 0)
  assert.equal(rig.jobs.inFlight, 0)
  const body = Buffer.from([0, 255, 10])
  const content = {
    'Content-Type': 'image/x',
    'Content-Language': 'eo',
    'Content-Disposition': 'inline',
    ETag: '"7"',
    'X-Own': 'no',
    Accept: '*/*',
  }
  const answered = await post(`${report}/complete?status=201`, body, content)
  assert.deepEqual([answered.status, answered.text], [204, ''])
  const answer = await held
  assert.deepEqual([answer.status, answer.body, answer.headers['spillway-status']], [201, body, 'succeeded'])
  const { headers } = answer
  assert.deepEqual(
    [headers['content-type'], headers['content-language'], headers['content-disposition'], headers.etag, headers['x-own'], headers.accept],
    ['image/x', 'eo', 'inline', '"7"', undefined, undefined],
  )
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('a deferred job is running, says until when, and its key waits; progress and the end reach whoever watches', async () => {
  await using deferrals = await deferring()
  const { rig, deferred } = deferrals
  const { job, report } = await deferred({ 'X-Key': 'k' })
  const status = (await ask(job)).json()
  assert.equal(status['status'], 'running')
  const left = Date.parse(String(status['deferredUntil'])) - Date.now()
  assert.ok(left > 0 && left <= DEFER_MS, String(left))
  const stream = await open(`${job}/events`, { headers: { Accept: 'application/x-ndjson' } })
  const events = blocks(stream, '\n')
  const nextJob = post(`${rig.url}/work`, 'next', { 'X-Key': 'k', Prefer: 'respond-async' })
  const next = await rig.status(String((await nextJob).headers['spillway-job']))
  assert.deepEqual([next.status, next.blockedBy], ['queued', status['id']])
  assert.equal((await post(report, '{"percent":50}')).status, 204)
  assert.deepEqual((await ask(job)).json()['progress'], { percent: 50 })
  assert.equal((await post(`${report}/complete`, 'done')).status, 204)
  const seen: string[] = []
  for await (const event of events) seen.push(event)
  assert.ok(seen.some((event) => event.includes('"percent":50')))
  assert.ok(seen.at(-1)?.includes('"succeeded"'))
  assert.equal((await rig.ended(next.id)).status, 'succeeded')
  assert.ok(rig.events.some((event) => event.type === 'job-deferred' && event.forMs === DEFER_MS))
})

test('a deferral lasts as long as its server said, however slowly the store takes it', async () => {
  await using deferrals = await deferring({ timeoutMs: 300, defer: { maxMs: 3_600_000, jobs: 2 } }, '1h')
  const { rig, handedOut } = deferrals
  const store = rig.store as { -readonly [K in keyof JobStore]: JobStore[K] }
  const { settle } = store
  const heard = Promise.withResolvers<void>()
  let deferredUntil: number | undefined
  store.settle = async (settlements) => {
    const outcomes = await settle(settlements)
    const [outcome] = outcomes
    if (settlements[0]?.kind !== 'defer' || outcome?.kind !== 'settled') return outcomes
    deferredUntil = outcome.job.deferredUntil
    await heard.promise
    return outcomes
  }
  const deferred = await rig.submit()
  await handedOut()
  await until('it is stored', () => deferredUntil !== undefined)
  // It is handed out by a tick that comes when the deferred attempt should have been over.
  await rig.submit({ delayMs: 600 })
  await handedOut(2)
  heard.resolve()
  await until('the slot is free', () => rig.pool.servers[0]!.inFlight === 0)
  assert.equal((await rig.status(deferred.id)).deferredUntil, deferredUntil)
})

test('completing twice is harmless, and who comes after the end is told that it is over', async () => {
  await using deferrals = await deferring()
  const { deferred } = deferrals
  const { job, report } = await deferred()
  assert.equal((await post(`${report}/complete`, 'first')).status, 204)
  assert.equal((await post(`${report}/complete`, 'second')).status, 204)
  assert.equal((await ask(`${job}/result`)).text, 'first')
  for (const late of ['', '/extend', '/fail']) {
    const answer = await post(`${report}${late}`, late === '/extend' ? '{"for":"1s"}' : '{}')
    assert.deepEqual([answer.status, answer.json()['code']], [410, 'lease_gone'], late)
  }
})

test('a deferral whose time is over was an attempt; the lease of before changes nothing any more', async () => {
  await using deferrals = await deferring({}, '1s')
  const { rig, deferred, handedOut } = deferrals
  const { job, report } = await deferred()
  assert.notEqual(await handedOut(2), report)
  const ended = await rig.ended(String((await ask(job)).json()['id']))
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 2])
  const late = await post(`${report}/complete`, 'too late')
  assert.deepEqual([late.status, late.json()['code']], [410, 'lease_gone'])
  assert.equal((await ask(`${job}/result`)).text, 'done at once')
  assert.ok(rig.events.some((event) => event.type === 'attempt-failed' && event.reason === 'attempt_timeout'))
})

test('a job that may be sent only once is of unknown outcome when its deferral is over', async () => {
  await using deferrals = await deferring({}, '1s')
  const { rig } = deferrals
  const job = await rig.submit({ sendOnce: true })
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.dead], ['failed', 'outcome_unknown'])
})

test('more time is given up to what the queue allows, and the server is told until when', async () => {
  await using deferrals = await deferring({}, '20s')
  const { deferred } = deferrals
  const { job, report } = await deferred()
  const before = Date.now()
  const extended = await post(`${report}/extend`, '{"for":"30s"}')
  assert.equal(extended.status, 204)
  const until = Date.parse(String(extended.headers['spillway-deadline']))
  assert.ok(until >= before + DEFER_MS, String(until - before))
  assert.ok(Date.parse(String((await ask(job)).json()['deferredUntil'])) >= until)
  const tooLong = await post(`${report}/extend`, '{"for":"30001ms"}')
  assert.deepEqual(
    [tooLong.status, tooLong.json()['code'], tooLong.json()['detail']],
    [400, 'invalid_request', 'for: at most 30000 ms at once (defer.max of the queue).'],
  )
  assert.equal((await post(`${report}/complete`, 'x')).status, 204)
})

test('a failure settles as the answer would that says the same', async () => {
  await using deferrals = await deferring({ defer: { maxMs: DEFER_MS, jobs: 100 }, attempts: 2 }, '30s', 1000)
  const { rig, deferred } = deferrals
  const failed = async (body: string): Promise<readonly unknown[]> => {
    const { job, report } = await deferred()
    assert.equal((await post(`${report}/fail`, body)).status, 204, body)
    const { status, error, dead } = await rig.status(String((await ask(job)).json()['id']))
    const result = await ask(`${job}/result`)
    return [
      status,
      error?.code,
      error?.detail,
      dead,
      result.status,
      result.headers['content-type'] === 'application/problem+json' ? result.json()['detail'] : '',
    ]
  }
  assert.deepEqual(await failed('{"detail":"no such account","status":422}'), [
    'failed',
    'server_error',
    'no such account',
    undefined,
    422,
    'no such account',
  ])
  assert.deepEqual(await failed('{"retry":"never"}'), [
    'failed',
    'server_error',
    'The server reported that it failed.',
    undefined,
    502,
    'The server reported that it failed.',
  ])
  assert.deepEqual((await failed('{"detail":"disk","retry":"300s"}')).slice(0, 3), ['retrying', 'server_error', 'disk'])
  assert.deepEqual((await failed('{"detail":"later","retry":"300s","status":503}')).slice(0, 3), ['queued', 'server_busy', 'later'])
})

test('a report that cannot be understood says what is wrong, and changes nothing', async () => {
  await using deferrals = await deferring()
  const { rig, deferred } = deferrals
  const { job, report } = await deferred()
  const wrong: readonly (readonly [string, string, string])[] = [
    ['/extend', '', 'for: must be a duration of more than 0, such as "10m".'],
    ['/extend', '{"for":"soon"}', 'for: must be a duration of more than 0, such as "10m".'],
    ['/extend', '{"for":"0s"}', 'for: must be a duration of more than 0, such as "10m".'],
    ['/extend', '{"for":"1m","by":1}', 'by: there is no such field; there are for.'],
    ['/extend', '[]', 'The body must be a JSON object with for.'],
    ['/fail', '{', 'The body must be a JSON object with detail, retry, status.'],
    ['/fail', '{"detail":1}', 'detail: must be a text of at most 1024 characters.'],
    ['/fail', `{"detail":"${'x'.repeat(1025)}"}`, 'detail: must be a text of at most 1024 characters.'],
    ['/fail', '{"retry":"soon"}', 'retry: must be "never", or a duration such as "30s".'],
    ['/fail', '{"status":200}', 'status: must be a whole number from 400 to 599.'],
    ['/fail', '{"status":422.5}', 'status: must be a whole number from 400 to 599.'],
    ['/complete?status=404', 'x', 'The query parameter `status` is a status from 200 to 399, such as 201.'],
    ['/complete?status=204', 'x', 'status: an answer of 204 has no body.'],
  ]
  for (const [path, body, detail] of wrong) {
    const answer = await post(report + path, body)
    assert.deepEqual([answer.status, answer.json()['code'], answer.json()['detail']], [400, 'invalid_request', detail], `${path} ${body}`)
  }
  assert.equal((await ask(job)).json()['status'], 'running')
  assert.deepEqual([(await ask(`${report}/complete`)).status, (await post(`${report}/more`)).status], [405, 404])
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('a result of as many bytes as a result may have is taken, one more is refused and the job goes on', async () => {
  await using deferrals = await deferring()
  const { rig, deferred } = deferrals
  const { job, report } = await deferred()
  const max = 16 * 1024 * 1024
  const tooLarge = await post(`${report}/complete`, Buffer.alloc(max + 1))
  assert.deepEqual([tooLarge.status, tooLarge.json()['detail']], [413, `A result has at most ${max} bytes (limits.result).`])
  assert.equal((await ask(job)).json()['status'], 'running')
  assert.equal((await post(`${report}/complete`, Buffer.alloc(max))).status, 204)
  assert.equal((await ask(`${job}/result`)).body.length, max)
  assert.equal(rig.budget.used, 0)
})

test('an address with another fence, secret or proof is the same 404 as one that never was', async () => {
  await using deferrals = await deferring()
  const { deferred } = deferrals
  const { job, report } = await deferred()
  const at = report.lastIndexOf('/') + 1
  const parts = report.slice(at).split('.')
  const forged = parts.map(
    (part, i) => report.slice(0, at) + parts.with(i, part.endsWith('0') ? `${part.slice(0, -1)}1` : `${part.slice(0, -1)}0`).join('.'),
  )
  const answers = await Promise.all([...forged, `${report}x`, `${report.slice(0, at)}a.b`].map((url) => post(`${url}/complete`, 'x')))
  for (const answer of answers) {
    assert.equal(answer.status, 404)
    assert.equal(answer.text, answers[0]?.text)
  }
  assert.equal((await ask(job)).json()['status'], 'running')
})

test('a cancelled job is over for its server, too', async () => {
  await using deferrals = await deferring()
  const { deferred } = deferrals
  const { job, report } = await deferred()
  assert.equal((await ask(job, { method: 'DELETE' })).json()['status'], 'cancelled')
  assert.equal((await post(`${report}/complete`, 'x')).status, 410)
  assert.equal((await ask(job)).json()['status'], 'cancelled')
})

test('as many jobs are deferred as may be; one more is handed back as if the server had said "not now"', async () => {
  await using deferrals = await deferring({}, '30s', 3)
  const { rig, deferred, handedOut } = deferrals
  const first = await deferred()
  await deferred()
  assert.equal((await rig.jobs.stats())[0]?.deferred, 2)
  const third = await rig.submit()
  await handedOut(3)
  await until('it is handed back', async () => (await rig.status(third.id)).error !== undefined)
  const { error, attempt } = await rig.status(third.id)
  assert.deepEqual(
    [error?.code, error?.detail, attempt],
    ['server_busy', 'As many jobs of work are deferred as may be (defer.jobs: 2).', 0],
  )
  await post(`${first.report}/complete`, 'x')
  assert.equal((await rig.ended(third.id)).status, 'succeeded')
})

for (const [defer, kind] of [
  ['30s', 'running'],
  ['30001ms', 'queued'],
] as const) {
  test(`a server may defer for as long as its queue says: ${defer}`, async () => {
    await using deferrals = await deferring({ backoff: { baseMs: 60_000, maxMs: 60_000 } }, defer, 5)
    const { rig, handedOut } = deferrals
    const job = await rig.submit()
    await handedOut(kind === 'running' ? 1 : 2)
    await until('it is settled', async () => rig.pool.servers[0]!.inFlight === 0 && (await rig.status(job.id)).status === kind)
    const { error, deferredUntil } = await rig.status(job.id)
    assert.equal(deferredUntil !== undefined, kind === 'running')
    const detail = 'The server deferred the job by 30001ms; the most that its queue allows is 30000 ms (defer.max).'
    assert.equal(error?.detail, kind === 'running' ? undefined : detail)
  })
}

test('a server may report the end of an attempt that is not deferred; its exchange is broken off then', async () => {
  let closed = 0
  await using rig = await startJobsRig({ handle: (_, response) => void response.on('close', () => closed++) })
  const job = await rig.submit()
  await until('it runs', () => rig.servers[0]!.received.length === 1)
  assert.equal((await post(`${reportOf(rig.servers[0]!.received[0])}/complete`, 'early')).status, 204)
  assert.equal((await rig.ended(job.id)).status, 'succeeded')
  await until('the exchange is over', () => closed === 1 && rig.pool.servers[0]!.inFlight === 0)
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('an attempt that is not deferred gets more time, too', async () => {
  const answers: (() => void)[] = []
  await using rig = await startJobsRig({
    queue: { timeoutMs: 1500 },
    handle: (_, response) => void answers.push(() => void response.end('late')),
  })
  const job = await rig.submit()
  await until('it runs', () => answers.length === 1)
  assert.equal((await post(`${reportOf(rig.servers[0]!.received[0])}/extend`, '{"for":"60s"}')).status, 204)
  await new Promise((resolve) => setTimeout(resolve, 2500))
  answers[0]!()
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.attempt, rig.servers[0]!.received.length], ['succeeded', 1, 1])
})

test('a deferral that the store does not take at first keeps its slot until it does', async () => {
  await using deferrals = await deferring({ concurrency: 1 })
  const { rig, handedOut } = deferrals
  rig.failNext.settle = 1
  const job = await rig.submit()
  await handedOut()
  await until('it was tried in vain', () => rig.failNext.settle === 0)
  assert.equal(rig.pool.servers[0]!.inFlight, 1)
  await until('it is deferred', async () => (await rig.status(job.id)).deferredUntil !== undefined)
  await until('the slot is free', () => rig.pool.servers[0]!.inFlight === 0)
})

test('an end that the store does not take now is refused with a hint when to come back, and taken then', async () => {
  await using deferrals = await deferring()
  const { rig, deferred } = deferrals
  const { report } = await deferred()
  rig.failNext.settle = 1
  const refused = await post(`${report}/complete`, 'x')
  assert.equal(refused.status, 503)
  assert.match(refused.headers['retry-after'] ?? '', /^[123]$/)
  assert.equal((await post(`${report}/complete`, 'x')).status, 204)
})

test('a 202 that defers nothing is a success, and one whose duration cannot be read is no success', async () => {
  let header: string | undefined
  await using rig = await startJobsRig({
    queue: { attempts: 1 },
    handle: (_, response) => void response.writeHead(202, header === undefined ? {} : { 'Spillway-Defer': header }).end('ok'),
  })
  assert.equal((await rig.ended((await rig.submit()).id)).status, 'succeeded')
  for (header of ['soon', '0s', '']) {
    const ended = await rig.ended((await rig.submit()).id)
    assert.deepEqual(
      [ended.status, ended.error?.detail],
      ['failed', `The server answered 202 with Spillway-Defer: ${header}, which is no duration such as 10m.`],
    )
  }
})
