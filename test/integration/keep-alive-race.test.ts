/** Servers that close idle connections while requests are on their way: no client sees it, and what must not be done twice is not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startClosingServer } from '../support/closing-server.ts'
import { repeat } from '../support/fast-client.ts'
import { MetricsPage, startGatewayProcess } from '../support/gateway-process.ts'
import { type GatewayRig, type GatewayRigOptions, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { OK, type RawServer, startRawServer } from '../support/raw-server.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'

const REQUESTS = 20_000
const CLIENTS = 48
const METHODS = ['GET', 'POST', 'PUT', 'POST', 'DELETE', 'PATCH'] as const
const THINK_MAX_MS = 12

test('20,000 requests to servers that close idle connections after 0 to 50 ms: no error, and no POST or PATCH is executed twice', async (t) => {
  const seed = seedOf()
  t.diagnostic(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  await using first = await startClosingServer(50, seed)
  await using second = await startClosingServer(50, seed + 1)
  const servers = [first, second]
  const urls = servers.map(({ port }) => `http://127.0.0.1:${port}`)
  await using gateway = await startGatewayProcess(`{ pools: { api: [${urls.join(', ')}] }, routes: [{ match: "/*" }] }`)

  const wrong: string[] = []
  await repeat(gateway.port, REQUESTS, CLIENTS, async (client, i) => {
    const method = METHODS[i % METHODS.length] as string
    const { status, body } = await client.send(method, '/', `X-Id: ${i}\r\n`, method === 'GET' ? '' : 'what to do')
    if (status !== 200) wrong.push(`${method} ${status} ${String(body)}`)
    await new Promise((resolve) => setTimeout(resolve, random.unit() * THINK_MAX_MS))
  })
  assert.deepEqual(wrong, [])

  const reports = await Promise.all(servers.map((server) => server.report()))
  const times = (i: number): number => reports.reduce((sum, { executed }) => sum + (executed.get(String(i)) ?? 0), 0)
  for (let i = 0; i < REQUESTS; i++) {
    const method = METHODS[i % METHODS.length]
    if (method === 'POST' || method === 'PATCH') assert.equal(times(i), 1, `${method} ${i}`)
    else assert.ok(times(i) >= 1, `${method} ${i}`)
  }
  const stale = (await gateway.metrics()).sum('spillway_stale_connections_total')
  const closedIdle = reports.reduce((sum, report) => sum + report.closedIdle, 0)
  t.diagnostic(`figures: ${closedIdle} connections were closed while idle, ${stale} of them under a request`)
  assert.ok(stale > 0, 'the race was run')
})

const POST = { method: 'POST', body: 'what to do' }
const TELLS = 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok'

async function scene(answer: string, options: GatewayRigOptions = {}): Promise<{ rig: GatewayRig; server: RawServer } & AsyncDisposable> {
  const server = await startRawServer((connection) => void connection.write(answer))
  const rig = await startGatewayRig([server.port], options)
  return {
    rig,
    server,
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

test('a server that says how long it leaves connections open gets POSTs on one of them from the first answer on', async () => {
  await using all = await scene(TELLS)
  for (let n = 0; n < 20; n++) assert.equal((await ask(all.rig.url, POST)).status, 200)
  assert.equal(all.server.connections.length, 1)
})

test('of one that says nothing, POSTs share connections as soon as one has stood idle for long enough', async () => {
  await using all = await scene(OK, { timeouts: { upstreamIdleMs: 300 } })
  await ask(all.rig.url, POST)
  await ask(all.rig.url, POST)
  assert.equal(all.server.connections.length, 2, 'nothing is known yet')
  await until('they share them', async () => {
    const before = all.server.connections.length
    await ask(all.rig.url, POST)
    return all.server.connections.length === before
  })
})

test('one that closes early, whatever it says, gets each POST on a connection of its own; GETs share them still', async () => {
  await using all = await scene(TELLS)
  await ask(all.rig.url, POST)
  all.server.connections[0]?.end()
  await until('the gateway has seen it', async () => {
    const { text } = await ask(`http://127.0.0.1:${all.rig.gateway.admin.port}/metrics`)
    return new MetricsPage(text).sum('spillway_idle_server_connections') === 0
  })
  for (let n = 0; n < 3; n++) await ask(all.rig.url, POST)
  assert.equal(all.server.connections.length, 4)
  for (let n = 0; n < 3; n++) await ask(all.rig.url)
  assert.equal(all.server.connections.length, 4)
})

test('a body that may be too large to be sent again goes on a connection that is known to stand, whatever the method', async () => {
  await using all = await scene(OK, { limits: { spillCopy: 1000 } })
  const put = async (bytes: number): Promise<number> => {
    assert.equal((await ask(all.rig.url, { method: 'PUT', body: 'x'.repeat(bytes) })).status, 200)
    return all.server.connections.length
  }
  assert.deepEqual([await put(1000), await put(1000), await put(1001), await put(1000)], [1, 1, 2, 2])
})

test('connections that nobody trusts are not hoarded: as many are kept as can be in use', async () => {
  await using all = await scene(OK, { pool: { maxInFlight: 3 } })
  for (let n = 0; n < 10; n++) await ask(all.rig.url, POST)
  assert.equal(all.server.connections.length, 10)
  await until('the others are closed', () => all.server.connections.filter(({ ended }) => !ended).length === 3)
})

test('however many POSTs come: the oldest connection stands, and when that is proof they share the others', async () => {
  await using all = await scene(OK, { pool: { maxInFlight: 3 }, timeouts: { upstreamIdleMs: 300 } })
  await until('they share them', async () => {
    const before = all.server.connections.length
    for (let n = 0; n < 10; n++) await ask(all.rig.url, POST)
    return all.server.connections.length === before
  })
})
