/** The rules of spill, 1 to 7: who waits for a server, for how long, in which order, and when that ends. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { HANDFUL } from '../../src/core/admission/wait-list.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { isJob, type SpillScene, spillScene } from '../support/spill-scene.ts'
import { testConfig } from '../support/test-config.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const LONG_MS = 60_000

/** Waits until so many stand in line. */
async function inLine(it: SpillScene, count: number): Promise<void> {
  await until(
    () => `${count} wait (so far: ${it.rig.pool.waiting})`,
    () => it.rig.pool.waiting === count,
  )
}

/** Direct requests, one behind the other. */
async function lineUp(it: SpillScene, names: readonly string[]): Promise<Promise<Answer>[]> {
  const answers: Promise<Answer>[] = []
  for (const name of names) {
    const before = it.rig.pool.waiting
    answers.push(it.send(name, { to: 'direct' }))
    await inLine(it, before + 1)
  }
  return answers
}

test('rule 1: a request is bound to a server only when a slot is its own, whichever becomes free first; nothing waits behind a server', async () => {
  await using it = await spillScene({ servers: 2 })
  const busy = [it.send('a', { to: 'direct' }), it.send('b', { to: 'direct' })]
  const [a, b] = [await it.at('a'), await it.at('b')]
  assert.notEqual(a.server, b.server)
  const waiting = await lineUp(it, ['first', 'second', 'third'])
  b.finish()
  assert.equal((await it.at('first')).server, b.server, 'the one that became free, although the other was asked first')
  assert.deepEqual(it.names, ['a', 'b', 'first'], 'the others are at no server')
  ;(await it.at('first')).finish()
  assert.equal((await it.at('second')).server, b.server)
  a.finish()
  assert.equal((await it.at('third')).server, a.server)
  for (const visit of it.visits) if (!visit.answered) visit.finish()
  for (const answer of await Promise.all([...busy, ...waiting])) assert.equal(answer.status, 200)
  assert.deepEqual(
    it.rig.servers.map(({ inFlightMax }) => inFlightMax),
    [1, 1],
  )
})

test('rule 1: the line is bounded: as many as may wait do, and one more is refused with a time to come back', async () => {
  await using it = await spillScene({ pool: { maxWaiting: 2 } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  const waiting = await lineUp(it, ['quick-1', 'quick-2'])
  const refused = await it.send('third', { to: 'direct' })
  assert.deepEqual([refused.status, refused.json()['code'], refused.headers['retry-after'] !== undefined], [503, 'too_many_waiting', true])
  ;(await it.at('busy')).finish()
  for (const answer of await Promise.all([busy, ...waiting])) assert.equal(answer.status, 200)
})

test('rule 2: a slot is free: served; one becomes free within `patience`: served; else it is stored, and that is never decided again', async () => {
  await using patient = await spillScene({ route: { patienceMs: LONG_MS } })
  const busy = patient.send('busy')
  await patient.at('busy')
  const waiting = patient.send('quick-waiting')
  await inLine(patient, 1)
  ;(await patient.at('busy')).finish()
  assert.deepEqual([isJob(await busy), isJob(await waiting)], [false, false])

  await using it = await spillScene({ route: { patienceMs: 0 } })
  const first = it.send('busy')
  await it.at('busy')
  const stored = it.send('quick-stored')
  await until('it is stored', async () => (await it.rig.store.stats())[0]?.counts.queued === 1)
  ;(await it.at('busy')).finish()
  assert.deepEqual([isJob(await first), isJob(await stored), (await stored).text], [false, true, 'quick-stored done'])
  assert.deepEqual(
    it.visits.map(({ name, job }) => [name, job]),
    [
      ['busy', false],
      ['quick-stored', true],
    ],
  )
})

test('rule 2: what may not become a job gets a 503 with Retry-After when the time is up, never a 202', async () => {
  await using it = await spillScene({ pool: { waitMs: 0 }, route: { patienceMs: 0, methods: ['POST'] } })
  const busy = it.send('busy')
  await it.at('busy')
  for (const method of ['GET', 'PUT']) {
    const answer = await it.send('refused', { method })
    assert.deepEqual([answer.status, answer.json()['code'], isJob(answer)], [503, 'no_capacity', false], method)
    assert.match(String(answer.headers['retry-after']), /^\d+$/)
  }
  ;(await it.at('busy')).finish()
  await busy
})

test('rule 2: an answer "not now" is stored, but not where the server says that it shall never be sent again', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 8 } })
  for (const status of [429, 503]) {
    const sent = it.send(`never-${status}`)
    ;(await it.at(`never-${status}`)).finish(status, { 'spillway-retry': 'never' })
    const answer = await sent
    assert.deepEqual([answer.status, answer.text, isJob(answer)], [status, `never-${status} done`, false])
    assert.equal(answer.headers['spillway-retry'], undefined)
  }
  const stored = it.send('later')
  ;(await it.at('later')).finish(503, { 'retry-after': '0' })
  await until('it comes again', () => it.visits.length === 4)
  it.visits[3]?.finish()
  assert.deepEqual([(await stored).status, isJob(await stored)], [200, true])
  assert.deepEqual(it.names, ['never-429', 'never-503', 'later', 'later'])
})

test('rule 2: what is too large to be stored waits for a server, and is told to come back, not that it is too large', async () => {
  const { limits } = testConfig({ pools: [], queues: [], routes: [] })
  const body = Buffer.alloc(5000)
  const config = { limits: { ...limits, jobBody: body.length - 1 } }
  await using it = await spillScene({ config, route: { patienceMs: 0 } })
  const busy = it.send('busy')
  await it.at('busy')
  const large = it.send('quick-large', { body })
  await inLine(it, 1)
  ;(await it.at('busy')).finish()
  assert.deepEqual([(await busy).status, (await large).status, isJob(await large)], [200, 200, false])

  await using none = await spillScene({ config, pool: { waitMs: 0 } })
  await none.killServers()
  const chunked = { 'transfer-encoding': 'chunked' }
  for (const headers of [{}, chunked]) {
    const refused = await none.send('large', { body, headers })
    assert.equal(refused.status, 503, refused.text)
    assert.match(String(refused.headers['retry-after']), /^[1-9]\d?$/)
  }
  assert.equal((await none.send('small', { body: body.subarray(1), headers: { prefer: 'wait=0', ...chunked } })).status, 202)
})

test('rule 3: the 202 comes after the durable append, and says where, when, and which preference was applied', async () => {
  await using it = await spillScene()
  const { store } = it.rig
  const submit = store.submit.bind(store)
  const gate = Promise.withResolvers<void>()
  let appended = false
  store.submit = async (jobs) => {
    const submitted = await submit(jobs)
    appended = true
    await gate.promise
    return submitted
  }
  await it.killServers()
  let answered = false
  const sent = it.send('one', { headers: { prefer: 'respond-async' } }).finally(() => (answered = true))
  await until('the store has it', () => appended)
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(answered, false, 'nothing is promised before the store has promised it')
  gate.resolve()
  const { status, headers } = await sent
  assert.deepEqual([status, headers['preference-applied']], [202, 'respond-async'])
  assert.match(String(headers.location), /^\/_spillway\/jobs\/.+/)
  assert.match(String(headers['retry-after']), /^[1-9]\d?$/)
})

test('rule 3: an append that fails is a 503, and no server sees the request', async () => {
  await using it = await spillScene()
  await it.killServers()
  it.rig.failNext.submit = 1
  const refused = await it.send('lost')
  assert.deepEqual([refused.status, refused.json()['code'], isJob(refused)], [503, 'store_unavailable', false])
  assert.equal((await it.send('kept', { headers: { prefer: 'wait=0' } })).status, 202)
  await it.reviveServers()
  ;(await it.at('kept')).finish()
  assert.deepEqual(it.names, ['kept'])
})

test('rule 4: who waits longer than its call may take gets no slot; the next in line does', async () => {
  const { timeouts } = testConfig({ pools: [], queues: [], routes: [] })
  await using it = await spillScene({ config: { timeouts: { ...timeouts, callMs: 400 } } })
  const busy = it.send('busy', { to: 'direct' })
  const waiting = await lineUp(it, ['quick-late'])
  const [first, late] = await Promise.all([busy, ...waiting])
  assert.deepEqual([first?.status, late?.status, late?.json()['code']], [504, 504, 'call_timeout'])
  assert.equal((await it.send('quick-next', { to: 'direct' })).status, 200)
  assert.deepEqual(it.names, ['busy', 'quick-next'])
})

test('rule 4: a job that must be cancelled when its client has waited enough does not begin when it could not end in time', async () => {
  const route = { mode: 'queue', onWait: 'cancel', waitMs: LONG_MS } as const
  await using it = await spillScene({ pool: { maxInFlight: 8 }, route })
  const workMs = 600
  const first = it.send('first', { headers: { prefer: 'wait=1' } })
  const visit = await it.at('first')
  await new Promise((resolve) => setTimeout(resolve, workMs))
  visit.finish()
  assert.equal((await first).status, 200, 'nothing was known of how long they take')
  await using short = await spillScene({ pool: { maxInFlight: 8 }, route: { ...route, waitMs: workMs - 100 } })
  const [begins, known] = [short.send('known', { headers: { prefer: 'wait=10' } }), await short.at('known')]
  await new Promise((resolve) => setTimeout(resolve, workMs))
  known.finish()
  assert.equal((await begins).status, 200, 'there is time enough for this one')
  const refused = await short.send('too-late')
  assert.deepEqual([refused.status, refused.json()['code']], [503, 'wait_ended'], 'a server is free, and yet')
  assert.deepEqual(short.names, ['known'])
  assert.equal((await short.rig.store.stats())[0]?.counts.cancelled, 1)
})

test('rule 4: servers that were too slow for a while are found to be quick again, without help', async () => {
  const workMs = 400
  await using it = await spillScene({ pool: { maxInFlight: 8 }, route: { mode: 'queue', onWait: 'cancel', waitMs: workMs - 100 } })
  const patient = it.send('slow', { headers: { prefer: 'wait=10' } })
  const slow = await it.at('slow')
  await new Promise((resolve) => setTimeout(resolve, workMs))
  slow.finish()
  assert.equal((await patient).status, 200)
  assert.equal((await it.send('quick-0')).status, 503, 'as slow as the one before it would end too late')
  let n = 1
  await until('one is served in time', async () => (await it.send(`quick-${n++}`)).status === 200)
  await until('and so are those after it', async () => (await it.send(`quick-${n++}`)).status === 200)
})

test('rule 4: a gateway that died over the wait begins nothing after it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-rule-4-'))
  const server = await startTestServer()
  await server.kill()
  const config = {
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms', fall: 1, rise: 1 } } },
    routes: [{ match: 'POST /orders', mode: 'spill', onWait: 'cancel', wait: '1s' }],
  } as ConfigFile
  let gateway = await startGateway(config, { folder })
  const counts = async (): Promise<Record<string, number>> => {
    const status = (await ask(`${gateway.adminUrl}/status`)).json() as { queues: { jobs: Record<string, number> }[] }
    return status.queues[0]?.jobs ?? {}
  }
  try {
    const sent = ask(`${gateway.url}/orders`, { method: 'POST', body: 'order' })
    await Promise.all([
      assert.rejects(sent, 'the gateway dies'),
      until('it is stored', async () => (await counts())['queued'] === 1).then(() => gateway.kill()),
    ])
    gateway = await startGateway(config, { folder })
    await until('its time is over', async () => (await counts())['expired'] === 1)
    await server.revive()
    await until('the server is up', () => gateway.of('server-up').length > 0)
    assert.equal((await ask(`${gateway.url}/orders`, { method: 'POST', body: 'next' })).status, 200)
    assert.deepEqual(
      server.received.map(({ body }) => body.toString()),
      ['next'],
    )
  } finally {
    await gateway.kill()
    await server.kill()
    rmSync(folder, { recursive: true })
  }
})

for (const [how, leave] of [
  ['ends its connection', (client: RawClient) => client.socket.end()],
  ['resets it', (client: RawClient) => client.socket.resetAndDestroy()],
] as const) {
  for (const [what, bytes, chunked] of [
    ['half of a small body', 5_000, false],
    ['half of a chunked body', 5_000, true],
  ] as const) {
    test(`rule 5: a client that has sent ${what} and ${how} waits no longer, and leaves nothing behind`, async () => {
      await using it = await spillScene({ pool: { waitMs: LONG_MS }, route: { patienceMs: LONG_MS } })
      const busy = it.send('busy', { to: 'direct' })
      await it.at('busy')
      const client = await RawClient.connect(it.rig.port)
      const framing = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${2 * bytes}`
      client.write(`POST /spill/gone HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`)
      if (chunked) client.write(`${(2 * bytes).toString(16)}\r\n`)
      client.socket.write(Buffer.alloc(bytes))
      await inLine(it, 1)
      leave(client)
      await inLine(it, 0)
      await until('no byte of it is held', () => it.rig.budget.used === 0)
      ;(await it.at('busy')).finish()
      assert.equal((await busy).status, 200)
      assert.equal((await it.send('quick-next', { to: 'direct' })).status, 200)
      assert.deepEqual(it.names, ['busy', 'quick-next'])
      client.destroy()
    })
  }
}

test('rule 5: one that has sent more of its body than is read ahead is noticed as soon as somebody reads on, at the latest when the wait is over', async () => {
  await using it = await spillScene({ pool: { waitMs: 300 }, route: { patienceMs: 300 } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  for (const path of ['/spill/gone', '/direct/gone']) {
    const client = await RawClient.connect(it.rig.port)
    client.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n`)
    client.socket.write(Buffer.alloc(2_000_000))
    await inLine(it, 1)
    client.socket.end()
    await inLine(it, 0)
    await until('no byte of it is held', () => it.rig.budget.used === 0)
    client.destroy()
  }
  ;(await it.at('busy')).finish()
  assert.equal((await busy).status, 200)
  assert.equal((await it.send('quick-next', { to: 'direct' })).status, 200)
  assert.deepEqual(it.names, ['busy', 'quick-next'])
})

test('rule 5: the job of a client that leaves goes on; where the route cancels, it does not', async () => {
  for (const onWait of ['accept', 'cancel'] as const) {
    await using it = await spillScene({ route: { onWait } })
    await it.killServers()
    const gone = new AbortController()
    const sent = it.send('quick-left', { signal: gone.signal })
    const counts = async () => (await it.rig.store.stats())[0]?.counts
    await until('it is stored', async () => (await counts())?.queued === 1)
    gone.abort()
    await assert.rejects(sent)
    if (onWait === 'cancel') await until('it is cancelled', async () => (await counts())?.cancelled === 1)
    await it.reviveServers()
    await until('nothing is left to do', async () => (await counts())?.queued === 0 && (await counts())?.running === 0)
    assert.deepEqual(it.names, onWait === 'accept' ? ['quick-left'] : [])
  }
})

test('rule 6: in a line that stands the newest goes first and old ones are let go; in one that does not, the oldest goes first', async () => {
  const queueing = { targetMs: 50, intervalMs: 50 }
  await using it = await spillScene({ pool: { queueing, waitMs: LONG_MS } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  const names = Array.from({ length: HANDFUL + 4 }, (_, n) => `n${n}`)
  const waiting = await lineUp(it, names)
  await new Promise((resolve) => setTimeout(resolve, queueing.targetMs + 20))
  ;(await it.at('busy')).finish()
  const oldest = await it.at('n0')
  await new Promise((resolve) => setTimeout(resolve, queueing.intervalMs + 20))
  oldest.finish()
  const newest = await it.at(names.at(-1) as string)
  await inLine(it, HANDFUL)
  for (const answer of await Promise.all(waiting.slice(1, 3))) {
    assert.deepEqual([answer.status, answer.json()['code'], answer.headers['retry-after'] !== undefined], [503, 'no_capacity', true])
  }
  newest.finish()
  const next = await it.at('n3')
  next.finish()
  for (const name of names.slice(4, -1)) (await it.at(name)).finish()
  assert.equal((await busy).status, 200)
  assert.deepEqual((await Promise.all(waiting)).filter(({ status }) => status === 200).length, names.length - 2)
})

test('rule 6: requests with a key stay in their order, whatever the line does', async () => {
  await using it = await spillScene({ route: { patienceMs: LONG_MS } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  const answers: Promise<Answer>[] = []
  for (const name of ['quick-1', 'quick-2', 'quick-3', 'quick-4']) {
    answers.push(it.send(name, { headers: { 'x-account': 'a' } }))
    await inLine(it, answers.length)
  }
  ;(await it.at('busy')).finish()
  for (const answer of await Promise.all(answers)) assert.deepEqual([answer.status, isJob(answer)], [200, false])
  await busy
  assert.deepEqual(it.names, ['busy', 'quick-1', 'quick-2', 'quick-3', 'quick-4'])
})

test('rule 7: while a key has queued jobs, a request of it waits behind them although a server is free; others do not', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 8 } })
  assert.equal((await it.send('one', { headers: { 'x-account': 'a', prefer: 'respond-async' } })).status, 202)
  await it.at('one')
  const behind = it.send('quick-two', { headers: { 'x-account': 'a' } })
  assert.ok(!isJob(await it.send('quick-other', { headers: { 'x-account': 'b' } })))
  ;(await it.at('one')).finish()
  assert.ok(isJob(await behind))
  assert.deepEqual(it.names, ['one', 'quick-other', 'quick-two'])
})

const OF_A = { headers: { 'x-account': 'a' } }
const PATIENT = { patienceMs: 1000, spill: { enterMs: LONG_MS, leaveMs: LONG_MS } }

/** Two of a key wait for the only slot; the first of them has waited long enough and is stored. A job has the slot: after it, it is no job's turn. */
async function oneStoredOneWaits(it: SpillScene, others: readonly string[] = []): Promise<Promise<Answer>[]> {
  assert.equal((await it.send('busy', { headers: { prefer: 'respond-async' } })).status, 202)
  await it.at('busy')
  const first = it.send('quick-first', OF_A)
  await inLine(it, 1)
  await new Promise((resolve) => setTimeout(resolve, PATIENT.patienceMs / 2))
  const second = it.send('quick-second', OF_A)
  await inLine(it, 2)
  await until('the first is stored', async () => (await it.rig.store.stats())[0]?.counts.queued === 1)
  assert.equal(it.rig.pool.waiting, 1, 'the second still waits')
  const behind = await lineUp(it, others)
  return [first, second, ...behind]
}

test('rule 7: a request that waits for a slot does not pass one of its key that was stored meanwhile', async () => {
  await using it = await spillScene({ route: PATIENT })
  const ofKey = await oneStoredOneWaits(it)
  ;(await it.at('busy')).finish()
  assert.deepEqual((await Promise.all(ofKey)).map(isJob), [true, true])
  assert.deepEqual(it.names, ['busy', 'quick-first', 'quick-second'])
  assert.equal(it.rig.servers[0]?.inFlightMax, 1)
})

test('rule 7: when the store cannot say what was stored meanwhile, the request is refused and its slot goes to the next', async () => {
  await using it = await spillScene({ route: PATIENT })
  const [first, second, next] = await oneStoredOneWaits(it, ['quick-next'])
  it.rig.failNext.held = 1
  ;(await it.at('busy')).finish()
  const refused = await second
  assert.deepEqual([refused?.status, refused?.json()['code']], [503, 'store_unavailable'])
  assert.deepEqual([(await first)?.status, (await next)?.status], [200, 200])
  assert.ok(!it.names.includes('quick-second'))
})
