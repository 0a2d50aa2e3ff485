/** Servers that fail in each way, and what is sent to another one after that: only what may be, as often as it may be, as soon as it may be. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, open } from '../support/http-client.ts'
import { breaksOff, type Handle, noHttp, resets, retryScene, rules, saysNothing, status, well } from '../support/retry-scene.ts'
import { until } from '../support/until.ts'

const WAYS: readonly (readonly [string, Handle, number])[] = [
  ['breaks the connection', resets, 502],
  ['answers what is no HTTP', noHttp, 502],
  ['does not answer in time', saysNothing, 504],
  ['answers 503', status(503), 503],
  ['answers 500', status(500), 500],
  ['answers 429', status(429), 429],
]
const ALL = rules({ timeout: true, statuses: [429, 500, 502, 503, 504] })

for (const [what, handle, code] of WAYS) {
  test(`a server that ${what}: another one is asked, if the route says so; a POST is done once, unless the route names it`, async () => {
    await using all = await retryScene([handle, well, well], { route: { retry: ALL, firstByteMs: 100 } })
    const answer = await ask(all.rig.url)
    assert.deepEqual([answer.status, answer.text, all.counts()], [200, 'well', [1, 1, 0]])
    await all.untilIdle()

    await using once = await retryScene([handle, well], { route: { retry: ALL, firstByteMs: 100 } })
    const posted = await ask(once.rig.url, { method: 'POST', body: 'once' })
    assert.deepEqual([posted.status, once.counts()], [code, [1, 0]])
    await once.untilIdle()

    await using named = await retryScene([handle, well], { route: { retry: { ...ALL, methods: ['POST'] }, firstByteMs: 100 } })
    const repeated = await ask(named.rig.url, { method: 'POST', body: 'twice' })
    assert.deepEqual([repeated.status, named.counts()], [200, [1, 1]])
    assert.equal(named.servers[1]?.received[0]?.body.toString(), 'twice')
  })
}

test('a server that cannot be reached: also a POST goes to another one, with its body', async () => {
  await using all = await retryScene([well, well], {
    route: { retry: ALL },
    pool: { health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 } },
  })
  await all.servers[0]?.kill()
  const answer = await ask(all.rig.url, { method: 'POST', body: 'all of it' })
  assert.deepEqual([answer.status, all.counts()], [200, [0, 1]])
  assert.equal(all.servers[1]?.received[0]?.body.toString(), 'all of it')
})

test('without `retry` a timeout of what is idempotent is retried, no timeout of a POST, and no status; with `off` nothing is', async () => {
  for (const [handle, method, code, counts] of [
    [saysNothing, 'GET', 200, [1, 1]],
    [saysNothing, 'POST', 504, [1, 0]],
    [status(503), 'GET', 503, [1, 0]],
  ] as const) {
    await using all = await retryScene([handle, well], { route: { firstByteMs: 100 } })
    assert.deepEqual([(await ask(all.rig.url, { method })).status, all.counts()], [code, counts])
  }
  const off = { connectFailure: false, reset: false, timeout: false, statuses: [], tries: 1 }
  await using all = await retryScene([resets, well], { route: { retry: off } })
  assert.deepEqual([(await ask(all.rig.url)).status, all.counts()], [502, [1, 0]])
})

test('an answer that has begun is never retried: it breaks off', async () => {
  await using all = await retryScene([breaksOff, well], { route: { retry: ALL } })
  await assert.rejects(ask(all.rig.url), /aborted/)
  assert.deepEqual(all.counts(), [1, 0])
  await all.untilIdle()
})

test('so many tries, one more than servers where the route says so, each server before any of them twice', async () => {
  const order: number[] = []
  const failing =
    (n: number): Handle =>
    (received, response) => {
      order.push(n)
      return status(503)(received, response)
    }
  for (const tries of [3, 4]) {
    order.length = 0
    await using all = await retryScene([failing(0), failing(1), failing(2)], { route: { retry: rules({ statuses: [503], tries }) } })
    const answer = await ask(all.rig.url)
    assert.deepEqual([answer.status, answer.text], [503, 'failed 503'])
    assert.deepEqual([...order.slice(0, 3)].sort(), [0, 1, 2])
    assert.equal(order.length, tries)
    assert.notEqual(order[3], order[2])
    await all.untilIdle()
  }
})

test('when no other try can be made the client gets what the server said, whole, and not an error of ours', async () => {
  const retry = rules({ statuses: [503] })
  const long = 'x'.repeat(300_000)
  for (const [what, options] of [
    ['there is no other server', { handles: [status(503, {}, long)] }],
    ['the budget is used up', { handles: [status(503, {}, long), well], pool: { retries: { budget: 0, minPerSecond: 0 } } }],
    [
      'the call must end before',
      { handles: [status(503, {}, long), well], route: { timeoutMs: 5_000, retry: { ...retry, backoff: { baseMs: 1e9, maxMs: 1e9 } } } },
    ],
    ['the server forbids it', { handles: [status(503, { 'spillway-retry': 'never' }, long), well] }],
  ] as const) {
    await using all = await retryScene(options.handles, {
      route: { retry, ...('route' in options ? options.route : {}) },
      ...('pool' in options ? { pool: options.pool } : {}),
    })
    const answer = await ask(all.rig.url)
    assert.deepEqual([what, answer.status, answer.text === long], [what, 503, true])
    assert.equal(
      all.servers.reduce((sum, { received }) => sum + received.length, 0),
      1,
      what,
    )
    assert.equal(answer.headers['spillway-retry'], undefined)
    await all.untilIdle()
  }
})

test('a short answer is given also after other servers were asked in vain', async () => {
  await using all = await retryScene([status(503, { 'x-from': 'first' }), resets, resets], { route: { retry: rules({ statuses: [503] }) } })
  const answer = await ask(all.rig.url)
  assert.deepEqual([answer.status, answer.headers['x-from'], all.counts()], [503, 'first', [1, 1, 1]])
  await all.untilIdle()
})

test('while all others are busy an answer that is there is given at once', async () => {
  await using all = await retryScene([status(503), saysNothing], {
    route: { retry: rules({ statuses: [503] }) },
    pool: { maxInFlight: 1, waitMs: 60_000 },
  })
  const leaving = new AbortController()
  const first = assert.rejects(ask(all.rig.url, { signal: leaving.signal }))
  await until('the second server has it', () => all.counts()[1] === 1)
  assert.equal((await ask(all.rig.url)).status, 503)
  assert.deepEqual(all.counts(), [2, 1])
  leaving.abort()
  await first
  await all.untilIdle()
})

test('Retry-After: that server rests, unless it is the last one', async () => {
  await using all = await retryScene([status(503, { 'retry-after': '60' }), well], { route: { retry: rules({ statuses: [503] }) } })
  for (let n = 0; n < 5; n++) assert.equal((await ask(all.rig.url)).status, 200)
  assert.deepEqual(all.counts(), [1, 5])
  const [second] = all.servers.slice(1)
  if (second !== undefined) second.handle = status(503, { 'retry-after': '60' })
  for (let n = 0; n < 2; n++) assert.equal((await ask(all.rig.url)).text, 'failed 503')
  assert.deepEqual(all.counts(), [1, 7])
})

test('a client that leaves during the pause before a retry is not served any more', async () => {
  await using all = await retryScene([status(503, {}, 'x'.repeat(300_000)), well], {
    route: { retry: rules({ statuses: [503], backoff: { baseMs: 60_000, maxMs: 60_000 } }) },
  })
  const leaving = new AbortController()
  const asked = open(all.rig.url, { signal: leaving.signal })
  await until('the server has answered', () => all.counts()[0] === 1)
  await all.rig.untilInFlight(1)
  leaving.abort()
  await assert.rejects(asked)
  await all.untilIdle()
  assert.deepEqual(all.counts(), [1, 0])
})

test('bodies up to maxBody are sent again, longer ones are not', async () => {
  const retry = rules({ statuses: [503], bodyBytesMax: 100_000 })
  for (const [bytes, code] of [
    [100_000, 200],
    [100_001, 503],
  ] as const) {
    await using all = await retryScene([status(503), well], { route: { retry } })
    const answer = await ask(all.rig.url, { method: 'PUT', body: 'x'.repeat(bytes) })
    assert.equal(answer.status, code)
    assert.deepEqual(
      all.servers.map(({ received }) => received.map(({ body }) => body.length)),
      code === 200 ? [[bytes], [bytes]] : [[bytes], []],
    )
  }
})

test('on a spill route an answer 503 is retried first, and becomes a job when that cannot be; a 500 never does', async () => {
  const retry = rules({ statuses: [500, 503], methods: ['POST'] })
  const spill = { mode: 'spill' as const, retry, waitMs: 0 }
  await using all = await retryScene([status(503), status(503)], { route: spill })
  const accepted = await ask(all.rig.url, { method: 'POST', body: 'job' })
  assert.equal(accepted.status, 202)
  await using failing = await retryScene([status(500), status(500)], { route: spill })
  assert.equal((await ask(failing.rig.url, { method: 'POST', body: 'no job' })).status, 500)
  assert.deepEqual(failing.counts(), [1, 1])
})
