/** Rule 7 of spill: a request that could be served at once does not overtake queued ones of its key. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import type { KeySource, RouteConfig } from '../../src/config/config.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { type JobsRig, startJobsRig } from '../support/jobs-rig.ts'
import { testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

interface Scene {
  readonly rig: JobsRig
  /** Bodies, in the order in which they came to the server. */
  readonly order: string[]
  /** Those that the server has not answered. */
  readonly waiting: Map<string, ServerResponse>
  send(key: string, body: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
}

/** A server that holds whatever begins with `slow`, and a route that may spill. */
async function scene(key: KeySource | undefined, more: Partial<RouteConfig> = {}): Promise<Scene & AsyncDisposable> {
  const order: string[] = []
  const waiting = new Map<string, ServerResponse>()
  const route = testRoute({
    name: 'POST /orders',
    mode: 'spill',
    queue: 'work',
    waitMs: 20_000,
    ...(key !== undefined && { key }),
    ...more,
  })
  const rig = await startJobsRig({
    routes: [route],
    queue: { concurrency: 8 },
    handle: ({ body }, response) => {
      const text = body.toString()
      order.push(text)
      if (text.includes('slow')) waiting.set(text, response)
      else response.end('done')
    },
  })
  const send = (value: string, body: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> => {
    const own = key?.from === 'header' ? { 'x-account': value } : key === undefined && value !== '' ? { 'spillway-key': value } : {}
    const text = key?.from === 'json' ? JSON.stringify({ account: value, body }) : body
    const path = key?.from === 'query' ? `/orders?account=${value}` : '/orders'
    return ask(rig.url + path, { method: 'POST', body: text, headers: { ...own, ...headers } })
  }
  return { rig, order, waiting, send, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() }
}

const isJob = (answer: Answer): boolean => answer.headers['spillway-job'] !== undefined

for (const [name, key] of [
  ['a header', { from: 'header', name: 'x-account' }],
  ['the query', { from: 'query', name: 'account' }],
  ["the client's own header", undefined],
] as const) {
  test(`a live request waits behind queued ones of its key, others pass: the key is in ${name}`, async () => {
    await using it = await scene(key)
    assert.ok(!isJob(await it.send('a', 'first')), 'nothing is queued: it goes straight through')
    assert.equal((await it.send('a', 'slow one', { prefer: 'respond-async' })).status, 202)
    await until('it runs', () => it.waiting.size === 1)
    const behind = it.send('a', 'two')
    const [other, none] = [await it.send('b', 'other'), await it.send('', 'none')]
    assert.deepEqual([isJob(other), isJob(none)], [false, false], 'a server is free, and they have nobody to wait for')
    assert.deepEqual(it.order, ['first', 'slow one', 'other', 'none'])
    it.waiting.get('slow one')?.end('done')
    const answer = await behind
    assert.deepEqual([answer.status, answer.text, answer.headers['spillway-status']], [200, 'done', 'succeeded'])
    assert.deepEqual(it.order.slice(4), ['two'])
    assert.ok(!isJob(await it.send('a', 'last')), 'the key is free again')
  })
}

test('many of one key, sent while one is queued, come in the order in which they were accepted', async () => {
  await using it = await scene({ from: 'header', name: 'x-account' })
  await it.send('a', 'slow one', { prefer: 'respond-async' })
  await until('it runs', () => it.waiting.size === 1)
  const answers: Promise<Answer>[] = []
  for (let n = 0; n < 10; n++) {
    answers.push(it.send('a', `n${n}`))
    await until('it is accepted', async () => (await it.rig.store.stats())[0]?.counts.queued === n + 1)
  }
  it.waiting.get('slow one')?.end('done')
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200)
  assert.deepEqual(
    it.order.slice(1),
    Array.from({ length: 10 }, (_, n) => `n${n}`),
  )
})

test('a key in the body is not known before the body is read: while the queue has work, all of the route queue', async () => {
  await using it = await scene({ from: 'json', name: '/account' })
  assert.ok(!isJob(await it.send('a', 'first')))
  await it.send('a', 'slow one', { prefer: 'respond-async' })
  await until('it runs', () => it.waiting.size === 1)
  const behind = it.send('a', 'two')
  const other = await it.send('b', 'other')
  assert.deepEqual([other.status, isJob(other)], [200, true], 'queued, and done at once: its key is free')
  assert.ok(it.order.every((text) => !text.includes('two')))
  for (const response of it.waiting.values()) response.end('done')
  assert.equal((await behind).status, 200)
  await until('all is done', async () => (await it.rig.store.stats())[0]?.counts.running === 0)
  assert.ok(!isJob(await it.send('a', 'last')))
})

test('what never becomes a job has no order, and a client that may not name a key has none', async () => {
  await using it = await scene({ from: 'header', name: 'x-account' })
  await it.send('a', 'slow one', { prefer: 'respond-async' })
  await until('it runs', () => it.waiting.size === 1)
  const get = await ask(`${it.rig.url}/orders`, { headers: { 'x-account': 'a' } })
  assert.deepEqual([get.status, isJob(get)], [200, false])
})

test('when the store cannot say, nothing is sent out of order', async () => {
  await using it = await scene({ from: 'header', name: 'x-account' })
  it.rig.failNext.held = 1
  const refused = await it.send('a', 'one')
  assert.deepEqual([refused.status, refused.json()['code'], it.order], [503, 'store_unavailable', []])
  assert.equal((await it.send('a', 'one')).status, 200)
})

test('a client that leaves while the store is asked is not served', async () => {
  await using it = await scene({ from: 'header', name: 'x-account' })
  const gone = new AbortController()
  const sent = fetch(`${it.rig.url}/orders`, { method: 'POST', body: 'gone', headers: { 'x-account': 'a' }, signal: gone.signal })
  gone.abort()
  await assert.rejects(sent)
  assert.equal((await it.send('a', 'one')).status, 200)
  assert.deepEqual(it.order, ['one'])
})
