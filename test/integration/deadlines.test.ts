/** One deadline for a call as a whole: the servers are told of it, and nothing that the call does outlasts it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { type Handle, resets, retryScene, rules, saysNothing, status, well } from '../support/retry-scene.ts'
import { until } from '../support/until.ts'

test('a server is told when the call will be over, the same moment at each try; a client cannot say it', async () => {
  await using all = await retryScene([resets, well], { route: { timeoutMs: 30_000 } })
  const before = Date.now()
  await ask(all.rig.url, { headers: { 'Spillway-Deadline': '2000-01-01T00:00:00Z' } })
  const told = all.servers.map(({ received }) => String(received[0]?.headers['spillway-deadline']))
  assert.equal(told[0], told[1])
  assert.match(told[0] ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  const at = Date.parse(told[0] ?? '')
  assert.ok(at > before + 29_000 && at <= Date.now() + 30_000, told[0])
})

test('where a call has no deadline no server is told of one', async () => {
  await using all = await retryScene([well])
  await ask(all.rig.url, { headers: { 'Spillway-Deadline': '2000-01-01T00:00:00Z' } })
  assert.equal(all.servers[0]?.received[0]?.headers['spillway-deadline'], undefined)
})

test("the route's timeout goes before timeouts.call, and `none` frees it from that", async () => {
  const timeouts = { callMs: 60_000 }
  await using short = await retryScene([saysNothing], { timeouts, route: { timeoutMs: 50 } })
  const answer = await ask(short.rig.url)
  assert.equal(answer.status, 504)
  assert.match(String(answer.json()['detail']), /^the call took longer than 50 ms \(the route's timeout\); it was at 127\.0\.0\.1:\d+$/)
  assert.match(String(answer.headers['proxy-status']), /error=http_response_timeout/)
  await short.untilIdle()
  await using none = await retryScene([well], { timeouts, route: { timeoutMs: 0 } })
  await ask(none.rig.url)
  assert.equal(none.servers[0]?.received[0]?.headers['spillway-deadline'], undefined)
})

test('waiting for a slot ends with the deadline, and so does a pause before a retry', async () => {
  await using busy = await retryScene([saysNothing], { pool: { maxInFlight: 1, waitMs: 60_000 }, route: { timeoutMs: 200 } })
  const answers = await Promise.all([ask(busy.rig.url), ask(busy.rig.url)])
  const details = answers.map((answer) => String(answer.json()['detail']).replace(/^.*; /, ''))
  assert.deepEqual([answers.map((answer) => answer.status), details.includes('it was at nobody: it waited for a slot')], [[504, 504], true])
  assert.deepEqual(busy.counts(), [1])
  await busy.untilIdle()

  const retry = rules({ statuses: [503], backoff: { baseMs: 1e9, maxMs: 1e9 } })
  await using pausing = await retryScene([resets, well], { route: { timeoutMs: 5_000, retry } })
  assert.equal((await ask(pausing.rig.url)).status, 502, 'no retry begins that cannot end')
  assert.deepEqual(pausing.counts(), [1, 0])
})

test('no retry begins when servers take longer than what is left', async () => {
  const slowly: Handle = (_, response) => void setTimeout(() => response.end('slow'), 1_200)
  await using all = await retryScene([slowly, slowly], { pool: { balance: 'peak-ewma' }, route: { timeoutMs: 2_000 } })
  await until('both are known to take their time', async () => {
    await Promise.all([ask(all.rig.url), ask(all.rig.url)])
    return all.counts().every((count) => count > 0)
  })
  const before = all.counts().reduce((sum, count) => sum + count)
  for (const server of all.servers) server.handle = (_, response) => void setTimeout(() => response.socket?.resetAndDestroy(), 1_100)
  assert.equal((await ask(all.rig.url)).status, 502)
  assert.equal(all.counts().reduce((sum, count) => sum + count) - before, 1)
})

test('an answer that is there is given when the time for a better one is over', async () => {
  await using all = await retryScene([status(503), saysNothing], { route: { timeoutMs: 300, retry: rules({ statuses: [503] }) } })
  const answer = await ask(all.rig.url)
  assert.deepEqual([answer.status, answer.text, all.counts()], [503, 'failed 503', [1, 1]])
  await all.untilIdle()
})

test('on a spill route a request that waited in vain until its deadline becomes a job', async () => {
  const route = { mode: 'spill' as const, patienceMs: 60_000, timeoutMs: 200, waitMs: 0 }
  await using all = await retryScene([saysNothing], { pool: { maxInFlight: 1 }, route })
  const answers = await Promise.all([1, 2].map(() => ask(all.rig.url, { method: 'POST', body: 'x' })))
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [202, 504])
})

test('one try takes at most firstByte, the call goes on', async () => {
  await using all = await retryScene([saysNothing, well], {
    route: { firstByteMs: 100, timeoutMs: 30_000, retry: rules({ timeout: true }) },
  })
  assert.deepEqual([(await ask(all.rig.url)).text, all.counts()], ['well', [1, 1]])
})
