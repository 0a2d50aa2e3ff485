/** `request()` over bad networks: each transport, proxies that let only some of them through, cut streams, gateways and servers that are killed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { follow, type JobDocument, type JobEvent, request, RequestError, type SpillwayRequestInit } from '../../src/client/client.ts'
import { startCuttingLine } from '../support/cutting-line.ts'
import type { Fault } from '../support/faulty-line.ts'
import { type RouteRig, sendJson, startRouteProcess, startRouteRig } from '../support/route-rig.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const retry = { baseMs: 10, maxMs: 200 }

type WayOfPath = 'sse' | 'long-poll' | 'poll' | 'result'

function wayOf(path: string): WayOfPath | undefined {
  if (!path.includes('/jobs/')) return undefined
  if (path.endsWith('/events')) return 'sse'
  if (path.endsWith('/result')) return 'result'
  return path.includes('wait=') ? 'long-poll' : 'poll'
}

function waysUsed(rig: RouteRig): readonly WayOfPath[] {
  return [...new Set(rig.line.passed.map(({ path }) => wayOf(path)).filter((way) => way !== undefined))]
}

/** One job from its request to its end: running, progress, result. Gives what was told of it. */
async function oneLife(rig: RouteRig, init: SpillwayRequestInit): Promise<string[]> {
  const told: string[] = []
  const asked = request(`${rig.url}/reports`, {
    method: 'POST',
    body: '1',
    retry,
    onStatus: ({ status }) => told.push(status),
    onProgress: (progress) => told.push(JSON.stringify(progress)),
    ...init,
  })
  const response = await rig.nextOwed()
  await until('it is seen running', () => told.includes('running'))
  await rig.report({ percent: 50 })
  await until('the progress is told', () => told.includes('{"percent":50}'))
  sendJson(response, 200, 'done')
  assert.equal(await (await asked).json(), 'done')
  return told.slice(told.indexOf('running'))
}

const LIFE = ['running', '{"percent":50}', 'succeeded']

const ALONE = { sse: ['sse'], 'long-poll': ['poll', 'long-poll'], poll: ['poll'] } as const

for (const [transport, ways] of Object.entries(ALONE)) {
  test(`by ${transport} alone`, async () => {
    await using rig = await startRouteRig()
    assert.deepEqual(await oneLife(rig, { transport: transport as keyof typeof ALONE }), LIFE)
    assert.deepEqual(waysUsed(rig), [...ways, 'result'])
  })
}

const BLOCKED: Readonly<Record<string, { readonly fault: Partial<Record<WayOfPath, Fault>>; readonly ends: WayOfPath }>> = {
  'streams are refused by a proxy: long polls': { fault: { sse: 'refuse' }, ends: 'long-poll' },
  'streams are kept back by a proxy, heartbeats and all: long polls': { fault: { sse: 'hold-answer' }, ends: 'long-poll' },
  'streams are broken before their head: long polls': { fault: { sse: 'lose-request' }, ends: 'long-poll' },
  'streams are refused and long polls are broken: polls': { fault: { sse: 'refuse', 'long-poll': 'lose-request' }, ends: 'poll' },
}

for (const [name, { fault, ends }] of Object.entries(BLOCKED)) {
  test(`where ${name}`, async () => {
    await using rig = await startRouteRig()
    rig.line.fault = ({ path }) => fault[wayOf(path) as WayOfPath]
    assert.deepEqual(await oneLife(rig, { heartbeat: '100ms' }), LIFE)
    assert.equal(rig.line.passed.map(({ path }) => wayOf(path)).at(-2), ends)
  })
}

test('a gateway that is away for a moment does not make a stream a poll', async () => {
  await using rig = await startRouteProcess()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry })
  await rig.nextOwed()
  await until('it streams', async () => (await asked.job)?.document?.status === 'running')
  const before = rig.line.passed.length
  rig.line.fault = () => 'lose-request'
  await rig.kill()
  await until('it was asked for in vain', () => rig.line.passed.length > before + 5)
  rig.line.fault = () => undefined
  await rig.restart()
  const again = await rig.nextOwed()
  await until('it streams again', () => rig.line.passed.slice(before).some(({ path }) => wayOf(path) === 'sse'))
  sendJson(again, 200, 'done')
  assert.equal(await (await asked).json(), 'done')
  assert.ok(!waysUsed(rig).includes('long-poll'))
})

test('the gateway is killed at every moment of a job, and the client changes nothing', async () => {
  await using rig = await startRouteProcess()
  // While it takes the request.
  let lose = 1
  rig.line.fault = ({ path }) => (path === '/reports' && lose-- > 0 ? 'lose-answer' : undefined)
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry: { ...retry, attempts: 100 } })
  await rig.nextOwed()
  await rig.restart()
  // While the server works.
  await rig.nextOwed()
  await asked.job
  await rig.restart()
  const response = await rig.nextOwed()
  // While the result is read.
  let results = 0
  rig.line.fault = ({ path }) => (wayOf(path) === 'result' && results++ < 3 ? 'lose-request' : undefined)
  sendJson(response, 200, 'done')
  await until('the result was asked for in vain', () => results >= 3)
  await rig.restart()
  assert.equal(await (await asked).json(), 'done')
  assert.equal((await asked).headers.get('spillway-status'), 'succeeded')
  const jobs = new Set(rig.server.received.map(({ headers }) => headers['spillway-job']))
  assert.equal(jobs.size, 1)
})

test('the server is killed in the middle: the job is tried again, and the client hears of it', async () => {
  await using rig = await startRouteRig()
  const attempts: unknown[] = []
  const asked = request(`${rig.url}/reports`, {
    method: 'POST',
    body: '1',
    retry,
    onStatus: ({ status, attempt }) => attempts.push([status, attempt]),
  })
  await rig.nextOwed()
  await until('it is seen running', () => attempts.length > 0)
  await rig.server.kill()
  await rig.server.revive()
  sendJson(await rig.nextOwed(), 200, 'second')
  assert.equal(await (await asked).json(), 'second')
  assert.deepEqual(attempts.at(-1), ['succeeded', 2])
  assert.ok(attempts.some((each) => (each as unknown[])[0] === 'retrying'))
})

test('an attempt that ended and another that began while nobody could hear of it are told as another attempt', async () => {
  await using rig = await startRouteRig()
  const told: string[] = []
  const onStatus = ({ status, attempt }: JobDocument): void => void told.push(`${status} ${attempt}`)
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry, onStatus })
  await until('it is seen running', () => told.includes('running 1'))
  rig.line.fault = ({ path }) => (path.includes('/jobs/') ? 'lose-request' : undefined)
  rig.line.breakAll()
  await rig.nextOwed()
  await rig.server.kill()
  await rig.server.revive()
  const response = await rig.nextOwed()
  rig.line.fault = () => undefined
  await until('the second is seen running', () => told.includes('running 2'))
  assert.ok(!told.includes('retrying 1'))
  sendJson(response, 200, 'done')
  assert.equal(await (await asked).json(), 'done')
})

test('on a spill route with nothing alive the request waits, held and then as a job, and has its answer when a server is back', async () => {
  await using rig = await startRouteRig({ routes: [{ match: 'POST /orders', mode: 'spill', wait: '1s', redeliver: 'always' }] })
  await rig.server.kill()
  // Held to the end.
  const held = request(`${rig.url}/orders`, { method: 'POST', body: 'tea', wait: '60s', retry })
  // Told that it will be later.
  const later = request(`${rig.url}/orders`, { method: 'POST', body: 'coffee', retry })
  const job = await later.job
  assert.ok(job !== undefined)
  await rig.server.revive()
  for (let i = 0; i < 2; i++) sendJson(await rig.nextOwed(), 200, 'served')
  for (const asked of [held, later]) assert.equal(await (await asked).json(), 'served')
  assert.equal(await held.job, undefined)
  assert.deepEqual(rig.server.received.map(({ body }) => body.toString()).sort(), ['coffee', 'tea'])
})

test('a gateway that never comes back is given up, and the error holds the job', async () => {
  await using rig = await startRouteProcess()
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry: { ...retry, followFailures: 5 } })
  const job = await asked.job
  await rig.nextOwed()
  rig.line.fault = () => 'lose-request'
  const lost = assert.rejects(asked, (error: unknown) => {
    assert.ok(error instanceof RequestError)
    assert.deepEqual([error.code, error.job], ['network', job])
    return true
  })
  await rig.restart()
  await lost
  rig.line.fault = () => undefined
  sendJson(await rig.nextOwed(), 200, 'done')
  assert.equal(await (await follow(job?.url as string)).json(), 'done')
})

const NOT_OURS: Readonly<Record<string, readonly [number, Record<string, string>, string]>> = {
  'the log-in page of a network': [200, { 'content-type': 'text/html' }, '<h1>Welcome to our network</h1>'],
  'JSON of somebody else': [200, { 'content-type': 'application/json', etag: '"12345678-9"' }, '{"maintenance":true}'],
}

for (const [what, [code, headers, page]] of Object.entries(NOT_OURS)) {
  for (const transport of ['auto', 'long-poll', 'poll'] as const) {
    test(`${what} is no news of the job, by ${transport}`, async () => {
      await using rig = await startRouteRig()
      const told = new Set<unknown>()
      const onStatus = ({ status }: JobDocument): void => void told.add(status)
      const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry, transport, onStatus })
      const response = await rig.nextOwed()
      await until('it is seen running', () => told.has('running'))
      const portal = await startTestServer((_, answer) => void answer.writeHead(code, headers).end(page))
      const before = rig.line.passed.length
      const gateway = rig.line.target
      rig.line.target = `http://127.0.0.1:${portal.port}`
      rig.line.breakAll()
      await until('it saw the page', () => rig.line.passed.length > before + 4)
      rig.line.target = gateway
      await portal.kill()
      sendJson(response, 200, 'done')
      assert.equal(await (await asked).json(), 'done')
      assert.ok(!told.has(undefined))
    })
  }
}

test('a result that leads elsewhere is followed there, as fetch does; the way to the log-in page of a network is none', async () => {
  await using rig = await startRouteRig()
  const gateway = rig.line.target
  let results = 0
  const portal = await startTestServer(({ url }, answer) => {
    if (url === '/login') return void answer.writeHead(200, { 'content-type': 'text/html' }).end('Welcome')
    if (!url.endsWith('/result') || ++results < 3) return void answer.writeHead(302, { location: '/login' }).end()
    // Somebody has logged in.
    rig.line.target = gateway
    answer.destroy()
  })
  const onStatus = ({ status }: JobDocument): void => {
    if (status === 'succeeded') rig.line.target = `http://127.0.0.1:${portal.port}`
  }
  const asked = request(`${rig.url}/reports`, { method: 'POST', body: '1', retry, onStatus })
  const response = await rig.nextOwed()
  await until('it streams', async () => (await asked.job)?.document?.status === 'running')
  response.writeHead(303, { location: '/made/7' }).end()
  sendJson(await rig.nextOwed(), 200, 'made')
  const answer = await asked
  assert.deepEqual([answer.status, await answer.json(), results], [200, 'made', 3])
  assert.deepEqual(
    rig.server.received.map(({ url }) => url),
    ['/reports', '/made/7'],
  )
  await portal.kill()
})

test('streams that are cut anywhere lose nothing and tell nothing twice', async (t) => {
  const seed = seedOf()
  t.diagnostic(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  await using rig = await startRouteProcess()
  await using line = await startCuttingLine(rig.gateway.url)
  const asked = request(`${rig.gateway.url}/reports`, { method: 'POST', body: '1' })
  const response = await rig.nextOwed()
  const kept = new URL((await asked.job)?.url as string)
  kept.port = String(line.port)
  // Sometimes within the head, sometimes after some events.
  line.bytesOfNext = () => (random.chance(0.8) ? 1 + random.integer(2500) : undefined)
  const again = follow(kept, { transport: 'sse', retry: { baseMs: 1, maxMs: 20, followFailures: 1000 } })
  const job = await again.job
  const seen: JobEvent[] = []
  const listening = (async () => {
    for await (const event of job.events()) seen.push(event)
  })()
  for (let percent = 1; percent <= 30; percent++) {
    await rig.report(percent)
    await until(`${percent} is told`, () => seen.at(-1)?.progress === percent)
    if (random.chance(0.3)) line.cutAll()
  }
  sendJson(response, 200, 'done')
  await listening
  assert.deepEqual(
    [...new Set(seen.map(({ progress }) => progress))].filter((progress) => progress !== undefined),
    Array.from({ length: 30 }, (_, i) => i + 1),
  )
  assert.deepEqual(
    seen.map(({ version }) => version),
    [...new Set(seen.map(({ version }) => version))].sort((a, b) => a - b),
  )
  assert.equal(seen.at(-1)?.event, 'end')
  assert.ok(line.cuts > 5)
  assert.equal(await (await again).json(), 'done')
  await asked
})
