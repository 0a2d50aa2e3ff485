/** Which server a direct request goes to, seen from the servers. The algorithms themselves have their properties in `src/core/balancing`. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Balance, BalanceSource } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const servers: TestServer[] = await Promise.all([1, 2, 3, 4].map(() => startTestServer(answerWithPort)))
const ports = servers.map(({ port }) => port)
after(() => Promise.all(servers.map((server) => server.kill())))

function answerWithPort(this: TestServer, _: unknown, response: { end(text: string): unknown }): void {
  response.end(String(this.port))
}

function hashRig(by: BalanceSource, loadMax = Number.POSITIVE_INFINITY): Promise<GatewayRig> {
  return startGatewayRig(ports, {
    pool: { balance: { by, loadMax } },
    routes: [testRoute({ name: '/users/{id}/*', mode: 'direct', match: { path: '/users/{id}/*', headers: [], query: [] } })],
  })
}

/** Keys of one kind, as a request shows them. */
const SHOWN: readonly { by: BalanceSource; request: (url: string, key: string) => Promise<{ readonly text: string }> }[] = [
  { by: { from: 'header', name: 'x-account' }, request: (url, key) => ask(`${url}/users/1/a`, { headers: { 'X-Account': key } }) },
  {
    by: { from: 'cookie', name: 'session' },
    request: (url, key) => ask(`${url}/users/1/a`, { headers: { Cookie: `a=b; session=${key}` } }),
  },
  { by: { from: 'query', name: 'account' }, request: (url, key) => ask(`${url}/users/1/a?other=${key}x&account=${key}`) },
  { by: { from: 'path', name: 'id' }, request: (url, key) => ask(`${url}/users/${key}/a?q=${Math.random()}`) },
  { by: { from: 'target', name: '' }, request: (url, key) => ask(`${url}/users/1/${key}?q=${Math.random()}`) },
]

for (const { by, request } of SHOWN) {
  test(`by hash of ${by.from}: the same goes to the same server, and others to others`, async () => {
    await using rig = await hashRig(by)
    const first = await Promise.all(Array.from({ length: 40 }, (_, n) => request(rig.url, `key${n}`)))
    const again = await Promise.all(Array.from({ length: 40 }, (_, n) => request(rig.url, `key${n}`)))
    assert.deepEqual(
      again.map(({ text }) => text),
      first.map(({ text }) => text),
    )
    assert.equal(new Set(first.map(({ text }) => text)).size, ports.length)
  })
}

test('by hash of the address: of the client, also behind a proxy that is trusted', async () => {
  const balance: Balance = { by: { from: 'address', name: '' }, loadMax: Number.POSITIVE_INFINITY }
  await using rig = await startGatewayRig(ports, { pool: { balance }, config: { trustedPeers: ['127.0.0.1'] } })
  const behind = async (n: number): Promise<string> => (await ask(rig.url, { headers: { 'X-Forwarded-For': `10.0.0.${n}` } })).text
  const first = await Promise.all(Array.from({ length: 40 }, (_, n) => behind(n)))
  assert.deepEqual(await Promise.all(Array.from({ length: 40 }, (_, n) => behind(n))), first)
  assert.equal(new Set(first).size, ports.length)
})

test('by hash of the address: what a client that is not trusted says of itself moves nothing', async () => {
  await using rig = await startGatewayRig(ports, {
    pool: { balance: { by: { from: 'address', name: '' }, loadMax: Number.POSITIVE_INFINITY } },
  })
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => ask(rig.url, { headers: { 'X-Forwarded-For': `10.0.0.${n}` } })))
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1)
})

test('by hash: of a server that is gone the keys go to the others, come back with it, and no other key moves', async () => {
  await using rig = await hashRig({ from: 'path', name: 'id' })
  const owners = async (): Promise<string[]> =>
    (await Promise.all(Array.from({ length: 60 }, (_, n) => ask(`${rig.url}/users/u${n}/a`)))).map(({ text }) => text)
  const before = await owners()
  const gone = servers[2] as TestServer
  await gone.kill()
  await until('it is down', async () => (await rig.pool()).servers[2]?.state === 'down')
  const without = await owners()
  for (const [n, owner] of before.entries()) {
    if (owner === String(gone.port)) assert.notEqual(without[n], owner)
    else assert.equal(without[n], owner)
  }
  await gone.revive()
  await until('it is up', async () => (await rig.pool()).servers[2]?.state === 'up')
  assert.deepEqual(await owners(), before)
})

test('by hash: who would have more than the bound over its share leaves its next ones to others', async (t) => {
  const held: { end(): unknown }[] = []
  const busy = await Promise.all([1, 2].map(() => startTestServer((_, response) => void held.push(response))))
  t.after(() => Promise.all(busy.map((server) => server.kill())))
  await using rig = await startGatewayRig(
    busy.map(({ port }) => port),
    { pool: { balance: { by: { from: 'target', name: '' }, loadMax: 1.25 } } },
  )
  const answers = Array.from({ length: 20 }, () => ask(`${rig.url}/the-same`))
  await until('all of them are there', () => held.length === 20)
  const most = Math.max(...busy.map(({ inFlight }) => inFlight))
  assert.ok(most > 10 && most <= Math.ceil((1.25 * 20) / 2), `one server has ${most} of 20`)
  for (const response of held) response.end()
  await Promise.all(answers)
})

for (const balance of ['peak-ewma', 'random', 'least-requests', 'round-robin'] as const) {
  test(`${balance}: every server gets some, and after a quiet time nobody holds a slot`, async () => {
    await using rig = await startGatewayRig(ports, { pool: { balance } })
    const answers = await Promise.all(Array.from({ length: 200 }, () => ask(rig.url)))
    assert.equal(new Set(answers.map(({ text }) => text)).size, ports.length)
    assert.equal((await rig.pool()).balance, balance)
    await rig.untilIdle()
  })
}

test('peak-ewma: of two servers the one that takes long to answer gets little', async (t) => {
  // Slower than the other one is on a machine that has much else to do.
  const slow = await startTestServer((_, response) => void setTimeout(() => response.end('slow'), 500))
  t.after(() => slow.kill())
  const quick = servers[0] as TestServer
  await using rig = await startGatewayRig([slow.port, quick.port], { pool: { balance: 'peak-ewma' } })
  const answers: string[] = []
  for (let n = 0; n < 100; n++) answers.push((await ask(rig.url)).text)
  const ofSlow = answers.filter((text) => text === 'slow').length
  assert.ok(ofSlow >= 1 && ofSlow <= 10, `the slow one got ${ofSlow} of 100`)
})

test('a server that came back has a tenth of its slots at first, and all of them in the end; one that is new has all', async (t) => {
  const held: { end(text: string): unknown }[] = []
  const server = await startTestServer((_, response) => void held.push(response))
  t.after(() => server.kill())
  await using rig = await startGatewayRig([server.port], { pool: { maxInFlight: 20, slowStartMs: 6_000, waitMs: 60_000 } })
  const asked: Promise<unknown>[] = []
  const fill = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) asked.push(ask(rig.url).catch(() => undefined))
    await until('all of them are somewhere', async () => server.inFlight + (await rig.pool()).waiting === count)
  }
  const letGo = (): Promise<void> =>
    until('nobody waits and nothing runs', async () => {
      for (const response of held.splice(0)) response.end('done')
      const { waiting, servers: known } = await rig.pool()
      return waiting + server.inFlight + (known[0]?.inFlight ?? 0) === 0
    })
  await fill(22)
  assert.equal(server.inFlight, 20)
  await letGo()
  await server.kill()
  await until('it is down', async () => (await rig.pool()).servers[0]?.state === 'down')
  await server.revive()
  await until('it is up', async () => (await rig.pool()).servers[0]?.state === 'up')
  await fill(22)
  const first = server.inFlight
  assert.ok(first >= 2 && first < 20, `${first} at first`)
  await until('slots come with time', async () => {
    await letGo()
    await fill(22)
    return server.inFlight === 20
  })
  await letGo()
  await Promise.all(asked)
})
