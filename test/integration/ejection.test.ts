/** Servers that pass their checks and fail their requests, and checks that fail where requests would not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PoolConfig } from '../../src/config/config.ts'
import type { OutlierRules } from '../../src/core/health/outliers.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const RULES: OutlierRules = {
  ...{ consecutive: 5, failureRate: 0.5, volumeMin: 20, slowerThan: Number.POSITIVE_INFINITY, windowMs: 200 },
  ...{ ejectMs: 300, ejectMaxMs: 10_000, ejectedMax: 0.1 },
}

type Handle = TestServer['handle']

const well: Handle = (_, response) => void response.end('well')
const failing: Handle = (_, response) => {
  response.statusCode = 500
  response.end('failed')
}

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly servers: readonly TestServer[]
  /** Requests that reached the first server while so many were asked for. */
  reachedFirst(count: number): Promise<number>
  /** Asks, one after the other, until a server is taken out. */
  untilEjected(): Promise<void>
  readonly told: () => readonly string[]
}

async function scene(handles: readonly Handle[], rules: Partial<OutlierRules> = {}, pool: Partial<PoolConfig> = {}): Promise<Scene> {
  const servers = await Promise.all(handles.map((handle) => startTestServer(handle)))
  const rig = await startGatewayRig(
    servers.map(({ port }) => port),
    {
      pool: { balance: 'round-robin', outliers: { ...RULES, ...rules }, ...pool },
      routes: [
        testRoute({ name: '/spill', mode: 'spill', match: { path: '/spill', headers: [], query: [] } }),
        testRoute({ name: '/*', mode: 'direct' }),
      ],
    },
  )
  return {
    rig,
    servers,
    async reachedFirst(count) {
      const before = servers[0]?.received.length ?? 0
      for (let n = 0; n < count; n++) await ask(rig.url)
      return (servers[0]?.received.length ?? 0) - before
    },
    untilEjected: () =>
      until('a server is out', async () => {
        await ask(rig.url)
        return rig.events.some(({ type }) => type === 'server-ejected')
      }),
    told: () => rig.events.flatMap(({ type }) => (/^(server-ejected|server-on-probation|pool-)/.test(type) ? [type] : [])),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
}

test('a server that fails five requests in a row is taken out, tried again, and is one of them again when it is well', async () => {
  await using all = await scene([failing, well, well], { ejectMs: 3_000 })
  await all.untilEjected()
  assert.equal(all.servers[0]?.received.length, 5)
  const [first] = (await all.rig.pool()).servers
  assert.deepEqual([first?.state, first?.reason], ['ejected', '5 requests in a row failed'])
  assert.equal(await all.reachedFirst(20), 0)
  const [server] = all.servers as [TestServer]
  server.handle = well
  await until('it is tried again', async () => (await all.rig.pool()).servers[0]?.onProbation === true)
  await until('it is well', async () => {
    await ask(all.rig.url)
    const [now] = (await all.rig.pool()).servers
    return now?.state === 'up' && now.onProbation === undefined
  })
  assert.equal(await all.reachedFirst(30), 10)
  assert.deepEqual(all.told(), ['server-ejected', 'server-on-probation'])
})

test('one that fails on probation is out again, for longer', async () => {
  await using all = await scene([failing, well, well])
  await all.untilEjected()
  assert.equal(all.servers[0]?.received.length, 5)
  await until('it is out again', async () => {
    await ask(all.rig.url)
    return all.told().filter((type) => type === 'server-ejected').length === 2
  })
  const times = all.rig.events.flatMap((event) => (event.type === 'server-ejected' ? [[event.forMs, event.reason]] : []))
  assert.deepEqual(times, [
    [300, '5 requests in a row failed'],
    [600, 'a request failed on probation'],
  ])
})

test('by share of its requests: every second one fails, and failures in a row are not counted', async () => {
  let n = 0
  const halfWell: Handle = (received, response) => (n++ % 2 === 0 ? failing : well)(received, response)
  // Answers that overtake each other may fail five in a row; and in a window of a slow machine there must be enough of them.
  await using all = await scene([halfWell, well, well], { consecutive: 0, windowMs: 1000 })
  const reasons = (): readonly string[] => all.rig.events.flatMap((event) => (event.type === 'server-ejected' ? [event.reason] : []))
  await until('it is out', async () => {
    await Promise.all(Array.from({ length: 60 }, () => ask(all.rig.url)))
    return reasons().length > 0
  })
  assert.match(reasons()[0] ?? '', /^5\d % of \d+ requests failed$/)
})

for (const [what, handle] of [
  ['breaks connections off', (_: unknown, response: Parameters<Handle>[1]) => void response.destroy()],
  ['answers what is not HTTP', (_: unknown, response: Parameters<Handle>[1]) => void response.socket?.end('SSH-2.0-x\r\n\r\n')],
] as const) {
  test(`one that ${what} is taken out as well`, async () => {
    await using all = await scene([handle, well, well], {}, { retries: { budget: 1, minPerSecond: 1000 } })
    await all.untilEjected()
    assert.deepEqual(
      all.rig.events.flatMap((event) => (event.type === 'server-ejected' ? [event.server] : [])),
      [(await all.rig.pool()).servers[0]?.name],
    )
  })
}

test("a client's mistakes, and what no server can do, take nobody out", async () => {
  for (const status of [400, 404, 429, 501, 505]) {
    const refusing: Handle = (_, response) => {
      response.statusCode = status
      response.end()
    }
    await using all = await scene([refusing, well])
    await all.reachedFirst(30)
    assert.deepEqual(
      (await all.rig.pool()).servers.map(({ state }) => state),
      ['up', 'up'],
      String(status),
    )
  }
})

test('never the last one, and never more than the share where all fail', async () => {
  await using one = await scene([failing])
  assert.equal(await one.reachedFirst(20), 20)
  await using four = await scene([failing, failing, failing, failing], { ejectMs: 60_000 })
  await four.reachedFirst(60)
  assert.deepEqual((await four.rig.pool()).servers.map(({ state }) => state).sort(), ['ejected', 'up', 'up', 'up'])
})

test('more than the share where another one does well: nothing is sent any more to those that fail', async () => {
  await using all = await scene([failing, failing, failing, well], { ejectMs: 60_000, windowMs: 60_000 })
  await until('they are out', async () => {
    await all.reachedFirst(20)
    const states = (await all.rig.pool()).servers.map(({ state }) => state)
    return states.join(' ') === 'ejected ejected ejected up'
  })
  assert.equal((await ask(all.rig.url)).status, 200)
})

test('attempts of jobs count, and one that is taken out gets no jobs', async () => {
  await using all = await scene([failing, well], { ejectMs: 60_000 })
  const submitted = Array.from({ length: 30 }, () =>
    ask(`${all.rig.url}/spill`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async' } }),
  )
  assert.ok((await Promise.all(submitted)).every(({ status }) => status === 202))
  await until('it is out', async () => (await all.rig.pool()).servers[0]?.state === 'ejected')
  await until('all are done', () => (all.servers[1]?.received.length ?? 0) === 30)
  // Those that it had when it was taken out end there.
  assert.ok((all.servers[0]?.received.length ?? 0) < 5 + 8)
})

test('where the checks of all servers fail, requests that cannot wait go to them all the same, and jobs wait', async () => {
  await using all = await scene([well, well], {}, { health: { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 } })
  for (const server of all.servers) server.healthStatus = 500
  await until('both are down', async () => (await all.rig.pool()).servers.every(({ state }) => state === 'down'))
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(all.rig.url)))
  assert.ok(answers.every(({ status }) => status === 200))
  assert.ok(all.servers.every(({ received }) => received.length > 0))
  const later = await ask(`${all.rig.url}/spill`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async' } })
  assert.equal(later.status, 202)
  assert.ok(all.servers.every(({ received }) => received.every(({ method }) => method === 'GET')))
  for (const server of all.servers) server.healthStatus = 200
  await until('the job is done', () => all.servers.some(({ received }) => received.some(({ method }) => method === 'POST')))
  assert.deepEqual(all.told(), ['pool-panics', 'pool-calm'])
})

test('where no server can be reached there is nothing to hope for: 503, and no panic', async () => {
  await using all = await scene([well, well], {}, { waitMs: 100 })
  await Promise.all(all.servers.map((server) => server.kill()))
  await until('both are down', async () => (await all.rig.pool()).servers.every(({ state }) => state === 'down'))
  assert.equal((await ask(all.rig.url)).status, 503)
  assert.deepEqual(all.told(), [])
})

test('servers that come back with checks that fail are the last hope from then on, and those that go again are not', async () => {
  await using all = await scene(
    [well, well],
    {},
    { health: { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }, waitMs: 100 },
  )
  await Promise.all(all.servers.map((server) => server.kill()))
  await until('both are down', async () => (await all.rig.pool()).servers.every(({ state }) => state === 'down'))
  for (const server of all.servers) {
    server.healthStatus = 500
    await server.revive()
  }
  await until('they are served', async () => (await ask(all.rig.url)).status === 200)
  assert.deepEqual(all.told(), ['pool-panics'])
  await Promise.all(all.servers.map((server) => server.kill()))
  await until('there is no hope any more', () => all.told().at(-1) === 'pool-calm')
  assert.equal((await ask(all.rig.url)).status, 503)
})
