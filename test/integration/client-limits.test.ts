/** How much one client may have at once: unfinished jobs and watchers, at the limit and one above it. */
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import type { Config, RouteConfig } from '../../src/config/config.ts'
import { type Answer, ask, open } from '../support/http-client.ts'
import { type JobsRig, startJobsRig } from '../support/jobs-rig.ts'
import { testConfig, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

const { limits } = testConfig({ pools: [], queues: [], routes: [] })

interface Limited extends AsyncDisposable {
  readonly rig: JobsRig
  /** The server answers so many of those that wait. */
  answer(count: number): void
}

async function limited(
  perClient: { readonly jobs?: number; readonly watchers?: number },
  change: Partial<Config> = {},
  route: Partial<RouteConfig> = {},
): Promise<Limited> {
  const waiting: (() => void)[] = []
  const rig = await startJobsRig({
    routes: [testRoute({ name: '/*', bind: { from: 'header', name: 'authorization' }, ...route })],
    config: { limits: { ...limits, perClient: { jobs: 0, watchers: 0, ...perClient } }, ...change },
    handle: (_, response) => void waiting.push(() => void response.end('done')),
  })
  return {
    rig,
    answer: (count) => {
      for (const answer of waiting.splice(0, count)) answer()
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  }
}

function submit(rig: JobsRig, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers })
}

test('a client has as many unfinished jobs as it may; one more is refused until one has ended, others are not', async () => {
  await using bounded = await limited({ jobs: 2 })
  const { rig, answer } = bounded
  const mine = { Authorization: 'Bearer mine' }
  for (let n = 0; n < 2; n++) assert.equal((await submit(rig, mine)).status, 202)
  const refused = await submit(rig, mine)
  assert.deepEqual([refused.status, refused.json()['code'], refused.headers['retry-after']], [429, 'too_many_jobs', '5'])
  assert.deepEqual(rig.events.at(-1), { type: 'limit-reached', limit: 'perClient.jobs', where: '/*', value: 2 })
  for (const other of [{ Authorization: 'Bearer other' }, {}]) assert.equal((await submit(rig, other)).status, 202)
  await until('all run', () => rig.servers[0]!.received.length === 4)
  answer(1)
  await until('there is room again', async () => (await submit(rig, mine)).status === 202)
  assert.equal((await submit(rig, mine)).status, 429)
})

test('a cancelled job, and one that was there already, take no place', async () => {
  await using bounded = await limited({ jobs: 2 })
  const { rig } = bounded
  const first = await submit(rig, { 'Idempotency-Key': 'k' })
  assert.equal((await submit(rig, { 'Idempotency-Key': 'k' })).headers['spillway-job'], first.headers['spillway-job'])
  assert.equal((await submit(rig)).status, 202)
  assert.equal((await submit(rig)).status, 429)
  await ask(rig.url + String(first.headers.location), { method: 'DELETE' })
  assert.equal((await submit(rig)).status, 202)
})

test('who has as many jobs as it may gets those again that it has, by their keys', async () => {
  await using bounded = await limited({ jobs: 1 })
  const { rig } = bounded
  const again = (key: string, body = 'x'): Promise<Answer> =>
    ask(`${rig.url}/work`, { method: 'POST', body, headers: { 'Idempotency-Key': key } })
  const first = await again('k')
  const repeat = await again('k')
  assert.deepEqual([repeat.status, repeat.headers['idempotency-replayed'], repeat.headers.location], [202, 'true', first.headers.location])
  assert.equal((await again('k', 'y')).status, 422)
  const other = await again('other')
  assert.deepEqual([other.status, other.json()['code'], rig.events.at(-1)?.type], [429, 'too_many_jobs', 'limit-reached'])
  await ask(rig.url + String(first.headers.location), { method: 'DELETE' })
  assert.equal((await again('other')).headers['idempotency-replayed'], undefined)
})

test('what the store refuses takes no place', async () => {
  await using bounded = await limited({ jobs: 1 })
  const { rig } = bounded
  rig.failNext.submit = 3
  for (let n = 0; n < 3; n++) assert.equal((await submit(rig)).status, 503)
  assert.equal((await submit(rig)).status, 202)
})

test('many at once are no more than may be', async () => {
  await using bounded = await limited({ jobs: 5 })
  const { rig } = bounded
  const answers = await Promise.all(Array.from({ length: 20 }, () => submit(rig)))
  assert.equal(answers.filter(({ status }) => status === 202).length, 5)
})

test('without an identity a client is its address, behind proxies that are trusted', async () => {
  await using bounded = await limited({ jobs: 1 }, { trustedPeers: ['127.0.0.1', '10.0.0.0/8'] })
  const { rig } = bounded
  const from = async (forwarded: string): Promise<number> => (await submit(rig, { 'X-Forwarded-For': forwarded })).status
  assert.deepEqual([await from('1.1.1.1'), await from('1.1.1.1'), await from('forged, 1.1.1.1, 10.0.0.9')], [202, 429, 429])
  assert.deepEqual([await from('1.1.1.1, 2.2.2.2'), await from('2.2.2.2')], [202, 429])
})

test('nobody chooses an address who is not trusted', async () => {
  await using bounded = await limited({ jobs: 1 })
  const { rig } = bounded
  const from = async (forwarded: string): Promise<number> => (await submit(rig, { 'X-Forwarded-For': forwarded })).status
  assert.deepEqual([await from('1.1.1.1'), await from('2.2.2.2')], [202, 429])
})

test('waits, streams and sockets of a client are as many as may be; one more is refused, and there is room when one has gone', async () => {
  await using bounded = await limited({ watchers: 3 })
  const { rig, answer } = bounded
  const headers = { Authorization: 'Bearer mine' }
  const job = rig.url + String((await submit(rig, headers)).headers.location)
  const events = `${job.replace('http', 'ws')}/events`
  const leaving = new AbortController()
  const poll = ask(`${job}?wait=30s`, { headers, signal: leaving.signal }).catch(() => undefined)
  await until('it waits', () => rig.jobs.watchers === 1)
  const stream = await open(`${job}/events`, { headers })
  const socket = new WebSocket(events, { headers })
  await new Promise((resolve) => socket.once('open', resolve))
  for (const path of ['?wait=30s', '/result?wait=30s', '/events']) {
    const refused = await ask(job + path, { headers })
    assert.deepEqual([refused.status, refused.json()['code'], refused.headers['retry-after']], [429, 'too_many_watchers', '5'], path)
  }
  const response = await new Promise<IncomingMessage>((resolve) => {
    const one = new WebSocket(events, { headers })
    one.on('error', () => undefined)
    one.once('unexpected-response', (_, unexpected) => resolve(unexpected))
  })
  assert.equal(response.statusCode, 429)
  // A look is no watch, and others are others.
  assert.equal((await ask(job, { headers })).status, 200)
  const followed = { method: 'POST', body: 'x', headers: { Prefer: 'respond-async, events' } }
  const other = await open(`${rig.url}/work`, followed)
  assert.match(String(other.headers['content-type']), /event-stream/)
  // One that is accepted all the same is told of by its link.
  const plain = await ask(`${rig.url}/work`, { ...followed, headers: { ...followed.headers, ...headers } })
  assert.deepEqual([plain.status, plain.headers['preference-applied'], plain.json()['status']], [202, 'respond-async', 'queued'])
  const isFree = async (): Promise<boolean> => {
    const again = await open(`${job}/events`, { headers })
    const free = again.statusCode === 200
    again.destroy()
    return free
  }
  leaving.abort()
  await poll
  await until('the wait is over', isFree)
  stream.destroy()
  socket.close()
  await until('nobody watches but the other one', () => rig.jobs.watchers === 1)
  await until('the jobs run', () => rig.servers[0]!.received.length === 3)
  const three = await Promise.all(Array.from({ length: 3 }, () => open(`${job}/events`, { headers })))
  assert.deepEqual(
    three.map(({ statusCode }) => statusCode),
    [200, 200, 200],
  )
  answer(3)
  for (const one of three) for await (const _ of one);
  await until('streams that have ended are over', isFree)
  other.destroy()
})

test('who waits for a batch or follows its events watches as any other', async () => {
  await using bounded = await limited({ watchers: 2 })
  const { rig } = bounded
  const requests = [{ method: 'POST', target: '/work', text: 'x' }]
  const headers = { 'content-type': 'application/json' }
  const sent = await ask(`${rig.url}/_spillway/batches`, { method: 'POST', headers, body: JSON.stringify({ requests }) })
  const batch = rig.url + String(sent.headers.location)
  const stream = await open(`${batch}/events`)
  const leaving = new AbortController()
  const wait = ask(`${batch}?wait=30s`, { signal: leaving.signal }).catch(() => undefined)
  const codes = async (): Promise<readonly unknown[]> => {
    const answers = await Promise.all(['?wait=1ms', '/events'].map((path) => ask(batch + path)))
    return answers.map(({ status, json }) => [status, json()['code']])
  }
  const refused = [429, 'too_many_watchers']
  await until('both watch', async () => (await ask(`${batch}?wait=1ms`)).status === 429)
  assert.deepEqual(await codes(), [refused, refused])
  assert.equal((await ask(batch)).status, 200, 'a look is no watch')
  leaving.abort()
  await wait
  stream.destroy()
  await until('both have gone', async () => (await ask(`${batch}?wait=1ms`)).status === 200)
  await ask(batch, { method: 'DELETE' })
  for (let n = 0; n < 3; n++) assert.equal((await ask(`${batch}/events`)).status, 200, 'each is over with its end')
})

test('who waits for an answer that is handed on while it comes, or for its events, watches as any other', async () => {
  await using bounded = await limited({ watchers: 2 }, {}, { stream: { onPartial: 'fail' } })
  const { rig, answer } = bounded
  const job = rig.url + String((await submit(rig)).headers.location)
  const leaving = new AbortController()
  const wait = ask(`${job}/result?wait=30s`, { signal: leaving.signal }).catch(() => undefined)
  const events = await open(`${job}/result`, { headers: { Accept: 'application/x-ndjson' } })
  await until('both watch', async () => (await ask(`${job}/result?wait=1ms`)).status === 429)
  assert.equal((await ask(`${job}/result`, { headers: { Accept: 'text/event-stream' } })).json()['code'], 'too_many_watchers')
  assert.equal((await ask(`${job}/result`)).status, 202, 'a look is no watch')
  leaving.abort()
  await wait
  await until('one has gone', async () => (await ask(`${job}/result?wait=1ms`)).status === 202)
  await until('it runs', () => rig.servers[0]!.received.length === 1)
  answer(1)
  for await (const _ of events);
  const whole = await Promise.all(Array.from({ length: 4 }, () => ask(`${job}/result?wait=30s`)))
  assert.deepEqual(
    whole.map(({ status }) => status),
    [200, 200, 200, 200],
  )
})

test('whoever follows or awaits a streamed answer watches: by body, offset or events', async () => {
  let finish = (): void => undefined
  await using rig = await startJobsRig({
    routes: [testRoute({ name: '/*', stream: { onPartial: 'fail' } })],
    config: { limits: { ...limits, perClient: { jobs: 0, watchers: 3 } } },
    handle: (_, response) => {
      response.write('begun')
      finish = () => void response.end()
    },
  })
  const result = `${rig.url}${String((await submit(rig)).headers.location)}/result`
  const sse = { Accept: 'text/event-stream' }
  await until('it answers', () => rig.jobs.answers.size === 1)
  await until('it can be read', async () => (await ask(`${result}?offset=0`)).status === 200)
  const body = await open(result)
  const events = await open(result, { headers: sse })
  const rest = ask(`${result}?offset=1-5&wait=30s`)
  await until('all three read', () => rig.jobs.answers.readers === 3)
  for (const [query, headers] of [
    ['', {}],
    ['', sse],
    ['?offset=1-5&wait=30s', {}],
  ] as const) {
    const refused = await ask(result + query, { headers })
    assert.deepEqual([refused.status, refused.json()['code']], [429, 'too_many_watchers'], query)
  }
  assert.equal(rig.jobs.answers.readers, 3)
  assert.equal((await ask(`${result}?offset=1-2`)).text, 'gun', 'a look is no watch')
  body.destroy()
  await until('there is room when one has gone', async () => {
    const again = await open(result, { headers: sse })
    again.destroy()
    return again.statusCode === 200
  })
  finish()
  for await (const _ of events);
  assert.equal((await rest).headers['spillway-complete'], 'true')
  const after = await Promise.all(Array.from({ length: 3 }, () => open(result, { headers: sse })))
  assert.deepEqual(
    after.map(({ statusCode }) => statusCode),
    [200, 200, 200],
    'what has come to its end watches no more',
  )
  for (const one of after) for await (const _ of one);
})

test('who waits for a streamed answer to begin watches', async () => {
  await using rig = await startJobsRig({
    routes: [testRoute({ name: '/*', stream: { onPartial: 'fail' } })],
    config: { limits: { ...limits, perClient: { jobs: 0, watchers: 1 } } },
    handle: () => undefined,
  })
  const result = `${rig.url}${String((await submit(rig)).headers.location)}/result`
  const leaving = new AbortController()
  const waiting = ask(`${result}?wait=30s`, { signal: leaving.signal }).catch(() => undefined)
  await until('it waits', () => rig.jobs.watchers === 1)
  assert.equal((await ask(`${result}?wait=30s`)).status, 429)
  assert.equal((await ask(result)).status, 202, 'a look is no watch')
  leaving.abort()
  await waiting
  await until('there is room when it has gone', async () => (await ask(`${result}?wait=10ms`)).status === 202)
})

test('a batch takes a place for each of its jobs, or none', async () => {
  await using bounded = await limited({ jobs: 3 })
  const { rig, answer } = bounded
  const batch = (count: number, headers: Readonly<Record<string, string>> = {}): Promise<Answer> => {
    const requests = Array.from({ length: count }, () => ({ method: 'POST', target: '/work', text: 'x' }))
    return ask(`${rig.url}/_spillway/batches`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ requests }),
    })
  }
  const refused = await batch(4)
  assert.deepEqual([refused.status, refused.json()['code']], [429, 'too_many_jobs'])
  const key = { 'idempotency-key': 'k' }
  const taken = await batch(3, key)
  assert.equal(taken.status, 202, 'what was refused took no place')
  assert.equal((await batch(3, key)).headers.location, taken.headers.location, 'a repeat takes none')
  assert.deepEqual([(await batch(2, key)).status, (await batch(1)).status], [422, 429])
  assert.equal((await submit(rig)).status, 429)
  await until('all run', () => rig.servers[0]!.received.length === 3)
  answer(1)
  await until('there is room again', async () => (await submit(rig)).status === 202)
})

test('a batch that is repeated is the same one, also where its jobs have taken all places', async () => {
  await using bounded = await limited({ jobs: 3 })
  const send = (): Promise<Answer> =>
    ask(`${bounded.rig.url}/_spillway/batches`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'k' },
      body: JSON.stringify({ requests: Array.from({ length: 3 }, () => ({ target: '/work' })) }),
    })
  const first = await send()
  const again = await send()
  assert.deepEqual([first.status, again.status, again.headers['idempotency-replayed']], [202, 202, 'true'])
  assert.equal(again.headers.location, first.headers.location)
  assert.equal((await submit(bounded.rig)).status, 429, 'it has given no place back')
})
