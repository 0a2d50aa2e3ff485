/** A second try beside a slow first one: one answer, whole, of one server; nothing done twice that may not be; nothing left behind. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { ask } from '../support/http-client.ts'
import {
  breaksOff,
  type Handle,
  resets,
  type RetryScene,
  retryScene,
  rules,
  saysNothing,
  type SceneOptions,
  status,
  well,
} from '../support/retry-scene.ts'
import { until } from '../support/until.ts'

const HEDGE = { afterMs: 50 }

function scene(handles: readonly Handle[], { route, ...options }: SceneOptions = {}): Promise<RetryScene> {
  return retryScene(handles, { ...options, route: { hedge: HEDGE, ...route } })
}

/** A server whose answers the test gives. */
function owing(): { handle: Handle; owed: ServerResponse[]; left: () => number } {
  const owed: ServerResponse[] = []
  let left = 0
  const handle: Handle = (_, response) => {
    owed.push(response)
    response.on('close', () => void (response.writableEnded || left++))
  }
  return { handle, owed, left: () => left }
}

const hedges = async (all: RetryScene): Promise<number[]> =>
  Promise.all(['sent', 'won', 'refused'].map((outcome) => all.metric('spillway_hedges_total', outcome)))

test('the second server answers first: its answer is passed on, the first one is broken off and has its slot back', async () => {
  const slow = owing()
  await using all = await scene([slow.handle, well])
  const answer = await ask(all.rig.url)
  assert.deepEqual([answer.text, all.counts()], ['well', [1, 1]])
  await until('the first server sees that nobody waits', () => slow.left() === 1)
  await all.untilIdle()
  assert.deepEqual(await hedges(all), [1, 1, 0])
  const states = (await all.rig.pool()).servers.map(({ state }) => state)
  assert.deepEqual(states, ['up', 'up'], 'being slower is no failure')
})

test('the first server answers after all: the second one is broken off', async () => {
  const [slow, slower] = [owing(), owing()]
  await using all = await scene([slow.handle, slower.handle])
  const asked = ask(all.rig.url)
  await until('both have it', () => slow.owed.length + slower.owed.length === 2)
  slow.owed[0]?.end('first')
  assert.equal((await asked).text, 'first')
  await until('the second server sees that nobody waits', () => slower.left() === 1)
  await all.untilIdle()
  assert.deepEqual(await hedges(all), [1, 0, 0])
})

test('both answer at once: one answer, whole, of one of them; and the connections that are kept serve the next requests', async () => {
  const bodies = ['a'.repeat(200_000), 'b'.repeat(200_000)]
  const [one, other] = [owing(), owing()]
  await using all = await scene([one.handle, other.handle])
  for (let n = 0; n < 20; n++) {
    const asked = ask(all.rig.url)
    await until('both have it', () => one.owed.length > 0 && other.owed.length > 0)
    for (const [i, each] of [one, other].entries()) each.owed.shift()?.end(bodies[i])
    const { text } = await asked
    assert.ok(bodies.includes(text), `${text.length} bytes: ${[...new Set(text)].join(', ')}`)
  }
  await all.untilIdle()
})

test('only what is idempotent and has no order; a POST is done once, however slow', async () => {
  const late: Handle = (_, response) => void setTimeout(() => response.end('late'), 300)
  await using all = await scene([late, well], { route: { retry: rules({ methods: ['POST', 'GET'] }) } })
  assert.equal((await ask(all.rig.url, { method: 'POST', body: 'once' })).text, 'late')
  assert.deepEqual(all.counts(), [1, 0])
  await using narrow = await scene([late, well], { route: { retry: rules({ methods: ['GET'] }) } })
  assert.equal((await ask(narrow.rig.url, { method: 'DELETE' })).text, 'late')
  assert.deepEqual(narrow.counts(), [1, 0], 'the route says what may be done twice')
})

test('a body within the copy goes along, a longer one is not sent twice', async () => {
  const late: Handle = (_, response) => void setTimeout(() => response.end('late'), 300)
  for (const [bytes, twice] of [
    [10_000, true],
    [10_001, false],
  ] as const) {
    await using all = await scene([late, well], { limits: { spillCopy: 10_000 } })
    const answer = await ask(all.rig.url, { method: 'PUT', body: 'x'.repeat(bytes) })
    assert.equal(answer.text, twice ? 'well' : 'late')
    assert.deepEqual(
      all.servers.map(({ received }) => received.map(({ body }) => body.length)),
      twice ? [[bytes], [bytes]] : [[bytes], []],
    )
  }
})

test('a failure is no answer while the other one is under way, whichever it is', async () => {
  for (const fails of [status(500), status(503), resets]) {
    const slow = owing()
    // The second server fails: the first one is waited for.
    await using first = await scene([slow.handle, fails])
    const asked = ask(first.rig.url)
    await until('the second server has failed', () => first.counts()[1] === 1)
    await first.rig.untilInFlight(1)
    slow.owed[0]?.end('first')
    assert.equal((await asked).text, 'first')
    await first.untilIdle()
    // The first one fails, late: the second one is waited for.
    const second = owing()
    const late: Handle = (received, response) => void setTimeout(() => void fails(received, response), 150)
    await using other = await scene([late, second.handle])
    const askedToo = ask(other.rig.url)
    await until('the first server has failed', async () => second.owed.length === 1 && (await other.rig.pool()).servers[0]?.inFlight === 0)
    second.owed[0]?.end('second')
    assert.equal((await askedToo).text, 'second')
    await other.untilIdle()
    assert.deepEqual(other.counts(), [1, 1])
  }
})

test('a second server that says when to come back is left alone until then', async () => {
  const slow = owing()
  await using all = await scene([slow.handle, status(503, { 'retry-after': '60' }), well], {
    route: { hedge: HEDGE, retry: rules({ statuses: [503] }) },
  })
  const asked = ask(all.rig.url)
  await until('the second server rests', async () => (await all.rig.pool()).servers[1]?.restsMs !== undefined)
  slow.owed[0]?.end('first')
  assert.equal((await asked).text, 'first')
  await all.untilIdle()
})

test('both fail: the client gets what a server said', async () => {
  const late: Handle = (received, response) => void setTimeout(() => void status(500, {}, 'first')(received, response), 150)
  await using all = await scene([late, (_, response) => void setTimeout(() => response.socket?.resetAndDestroy(), 200)])
  const answer = await ask(all.rig.url)
  assert.deepEqual([answer.status, answer.text, all.counts()], [500, 'first', [1, 1]])
  await all.untilIdle()
})

test('an answer that has begun is the one, also when it breaks off', async () => {
  await using all = await scene([saysNothing, breaksOff])
  await assert.rejects(ask(all.rig.url), /aborted/)
  assert.deepEqual(all.counts(), [1, 1])
  await all.untilIdle()
})

test('informational answers of two are not mixed: while both are under way none is passed on', async () => {
  const hints: Handle = (_, response) => {
    setTimeout(() => response.writeEarlyHints({ link: '</first.css>; rel=preload' }), 120)
  }
  const second = owing()
  await using all = await scene([hints, second.handle])
  const informed: number[] = []
  const { request } = await import('node:http')
  const text = new Promise<string>((resolve, reject) => {
    const asked = request(all.rig.url, { agent: false }, (response) => {
      response.setEncoding('utf8').once('data', resolve)
    })
    asked.on('information', ({ statusCode }) => void informed.push(statusCode))
    asked.on('error', reject).end()
  })
  await until('both have it', () => second.owed.length === 1)
  setTimeout(() => second.owed[0]?.end('second'), 200)
  assert.deepEqual([await text, informed], ['second', []])
})

test('a client that leaves takes both with it', async () => {
  const [one, other] = [owing(), owing()]
  await using all = await scene([one.handle, other.handle])
  const leaving = new AbortController()
  const asked = assert.rejects(ask(all.rig.url, { signal: leaving.signal }))
  await until('both have it', () => one.owed.length + other.owed.length === 2)
  leaving.abort()
  await asked
  await all.untilIdle()
  await until('both servers see it', () => one.left() + other.left() === 2)
})

test('the deadline of the call ends both', async () => {
  await using all = await scene([saysNothing, saysNothing], { route: { timeoutMs: 300 } })
  assert.equal((await ask(all.rig.url)).status, 504)
  assert.deepEqual(all.counts(), [1, 1])
  await all.untilIdle()
})

test('at most as many as the budget allows, and then the first server is waited for', async () => {
  const late: Handle = (_, response) => void setTimeout(() => response.end('late'), 300)
  await using all = await scene([late, late, late], { pool: { retries: { budget: 0, minPerSecond: 2 } } })
  await Promise.all([1, 2, 3].map(() => ask(all.rig.url)))
  assert.equal(
    all.counts().reduce((sum, count) => sum + count),
    5,
  )
  assert.deepEqual(
    (await hedges(all)).filter((_, i) => i !== 1),
    [2, 1],
  )
})

test('not when every other server is busy, and not before those who wait for a slot', async () => {
  const [one, other] = [owing(), owing()]
  await using all = await scene([one.handle, other.handle], { pool: { maxInFlight: 1, waitMs: 60_000 } })
  const asked = [ask(all.rig.url), ask(all.rig.url), ask(all.rig.url)]
  await all.rig.untilWaiting(1)
  await until('two were not sent', async () => (await hedges(all))[2] === 2)
  assert.deepEqual(all.counts(), [1, 1])
  one.owed[0]?.end('one')
  await until('the one that waited has the slot', () => one.owed.length === 2)
  for (const each of [...one.owed, ...other.owed]) if (!each.writableEnded) each.end('done')
  await Promise.all(asked)
  await all.untilIdle()
})

test('no backup is used because a server is slow', async () => {
  const late: Handle = (_, response) => void setTimeout(() => response.end('late'), 200)
  await using backed = await scene([late, well], { backups: [1] })
  assert.equal((await ask(backed.rig.url)).text, 'late')
  assert.deepEqual(backed.counts(), [1, 0])
})

test('p95: what takes longer than nearly all requests of its route did is sent to a second server', async () => {
  let slow = false
  const now: Handle = (_, response) => void (slow ? undefined : response.end('quick'))
  await using all = await scene([now, well], { route: { hedge: { quantile: 0.95 } } })
  for (let n = 0; n < 10; n++) await Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(() => ask(all.rig.url)))
  slow = true
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask(all.rig.url)))
  assert.deepEqual(
    answers.map(({ text }) => text),
    ['well', 'well', 'well', 'well'],
  )
})

test('a session stays with its server, however slow that is', async () => {
  const sticky = { cookie: { by: 'gateway', name: 'srv', path: '/', secure: false, sameSite: 'Lax' }, waitMs: 0 } as const
  const keys = [{ id: 'one', secret: new Uint8Array(32).fill(1) }]
  await using all = await scene([well, well], { route: { hedge: HEDGE, sticky }, config: { sticky: { keys } } })
  const [cookie = ''] = (await ask(all.rig.url)).headers['set-cookie'] ?? []
  const own = all.counts().indexOf(1)
  const [server] = all.servers.slice(own)
  if (server !== undefined) server.handle = (_, response) => void setTimeout(() => response.end('late'), 200)
  const answer = await ask(all.rig.url, { headers: { Cookie: String(cookie.split(';')[0]) } })
  assert.equal(answer.text, 'late')
  assert.deepEqual([all.counts()[own], all.counts()[1 - own]], [2, 0])
})

test('a 503 that must not be repeated is given to the client, not stored, also where the other try came to nothing', async () => {
  const [first, second] = [owing(), owing()]
  const route = { mode: 'spill' as const, waitMs: 0, retry: rules({ tries: 2 }) }
  await using all = await scene([first.handle, second.handle], { route })
  const answer = ask(all.rig.url, { method: 'PUT', body: 'once' })
  await until('both are asked', () => first.owed.length + second.owed.length === 2)
  first.owed[0]?.writeHead(503, { 'spillway-retry': 'never' }).end('not now, nor later')
  await until('the first answer is held', async () => (await all.rig.pool()).servers[0]?.inFlight === 0)
  second.owed[0]?.socket?.destroy()
  const { status: code, text } = await answer
  assert.deepEqual([code, text], [503, 'not now, nor later'])
  await all.untilIdle()
})
