/** Tunnels (WebSocket and other upgrades) when there are many: who is let in, where they go, and how they end. */
import assert from 'node:assert/strict'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { PoolConfig, RouteConfig } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { testRoute } from '../support/test-config.ts'
import type { TunnelLine } from '../../src/telemetry/telemetry.ts'
import { until } from '../support/until.ts'

const UPGRADE = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n'
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'

interface EchoServer {
  readonly port: number
  readonly tunnels: Set<Socket>
  listen(): Promise<void>
  stop(): void
}

/** Says `bye` when it hears the end, and ends; or, where it is deaf, goes on as if it had heard nothing. */
async function startEchoServer(t: TestContext, { deaf = false }: { deaf?: boolean } = {}): Promise<EchoServer> {
  const tunnels = new Set<Socket>()
  const all = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    all.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => {
      all.delete(socket)
      tunnels.delete(socket)
    })
    socket.on('data', (chunk: Buffer) => {
      if (tunnels.has(socket)) return void socket.write(chunk)
      tunnels.add(socket)
      socket.write(SWITCHED)
    })
    socket.on('end', () => {
      if (!deaf || !tunnels.has(socket)) socket.end(tunnels.has(socket) ? 'bye' : '')
    })
  })
  let port = 0
  const listen = (): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  const stop = (): void => {
    server.close()
    for (const socket of all) socket.destroy()
  }
  await listen()
  port = (server.address() as AddressInfo).port
  t.after(stop)
  return { port, tunnels, listen, stop }
}

interface Scene {
  readonly rig: GatewayRig
  readonly servers: readonly EchoServer[]
  open(fields?: string): Promise<RawClient>
  tunnelsOf(): Promise<readonly number[]>
}

interface SceneOptions {
  readonly servers?: number
  readonly deaf?: boolean
  readonly pool?: Partial<PoolConfig>
  readonly tunnels?: RouteConfig['tunnels']
  readonly route?: Partial<RouteConfig>
}

async function scene(t: TestContext, { servers: count = 1, deaf = false, pool, tunnels, route }: SceneOptions = {}): Promise<Scene> {
  const servers = await Promise.all(Array.from({ length: count }, () => startEchoServer(t, { deaf })))
  const routes = [testRoute({ name: '/*', mode: 'direct', ...(tunnels !== undefined && { tunnels }), ...route })]
  const rig = await startGatewayRig(
    servers.map(({ port }) => port),
    { routes, pool: { health: { intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }, ...pool } },
  )
  t.after(() => rig.gateway.close())
  return {
    rig,
    servers,
    async open(fields = '') {
      const client = await RawClient.connect(rig.port)
      t.after(() => client.destroy())
      client.write(`${UPGRADE}${fields}\r\n`)
      await until('it is answered', () => client.text.includes('\r\n\r\n'))
      return client
    },
    tunnelsOf: async () => (await rig.pool()).servers.map((server) => server.tunnels),
  }
}

const statusOf = ({ text }: RawClient): number => Number(text.slice(9, 12))
const isOpen = (client: RawClient): boolean => statusOf(client) === 101 && !client.ended && !client.closed

test('a route has as many tunnels as it may, one more is told when to come back, and who goes makes room', async (t) => {
  const it = await scene(t, { tunnels: { max: 2 } })
  const [first, second] = [await it.open(), await it.open()]
  assert.deepEqual([statusOf(first), statusOf(second)], [101, 101])
  const refused = await it.open()
  assert.equal(statusOf(refused), 503)
  assert.match(refused.text, /too_many_tunnels/)
  assert.match(refused.text, /\r\nRetry-After: [1-9]\d?\r\n/)
  assert.equal(it.servers[0]?.tunnels.size, 2, 'no server was asked')
  first.destroy()
  await until('there is room', async () => isOpen(await it.open()))
})

test('a client has as many as it may, whoever else has some', async (t) => {
  const it = await scene(t, { tunnels: { perClient: 1 }, route: { bind: { from: 'header', name: 'authorization' } } })
  const who = (name: string): string => `Authorization: Bearer ${name}\r\n`
  const a = await it.open(who('a'))
  assert.equal(statusOf(a), 101)
  const refused = await it.open(who('a'))
  assert.equal(statusOf(refused), 429)
  assert.match(refused.text, /too_many_client_tunnels/)
  assert.equal(statusOf(await it.open(who('b'))), 101)
  a.destroy()
  await until('there is room', async () => isOpen(await it.open(who('a'))))
})

test('they are opened no faster than the route says', async (t) => {
  const it = await scene(t, { tunnels: { connectRate: { count: 2, perMs: 3_600_000 } } })
  const clients = [await it.open(), await it.open(), await it.open()]
  assert.deepEqual(clients.map(statusOf), [101, 101, 503])
  assert.match(clients[2]?.text ?? '', /tunnels_too_fast/)
  assert.match(clients[2]?.text ?? '', /\r\nRetry-After: [1-9]\d\r\n/)
})

test('when a tunnel is over a line says how long it was open, how much went each way, and why it ended', async (t) => {
  const it = await scene(t)
  const client = await it.open()
  assert.equal(it.rig.tunnels.length, 0)
  client.write('hello')
  await client.untilText('\r\n\r\nhello')
  client.socket.end()
  const over: readonly TunnelLine[] = it.rig.tunnels
  await until('it is over', () => over.length > 0)
  const { at, tookMs, ...line } = over[0] as TunnelLine
  assert.ok(tookMs > 0 && tookMs < Date.now() - at + 60_000)
  const server = `127.0.0.1:${it.servers[0]?.port}`
  const facts = { peer: '127.0.0.1', path: '/chat', route: '/*', pool: 'api', server, requestId: undefined, traceId: undefined }
  assert.deepEqual(line, { ...facts, bytesIn: 5, bytesOut: 8, why: 'peer' }, 'hello, and hello and bye')
})

test('an answer that is no 101 takes no place', async (t) => {
  const it = await scene(t, { tunnels: { max: 1 } })
  const [server] = it.servers as [EchoServer]
  server.stop()
  await until('it is down', async () => (await it.rig.pool()).servers[0]?.state === 'down')
  for (let n = 0; n < 3; n++) assert.equal(statusOf(await it.open()), 503)
  await server.listen()
  await until('it is up', async () => (await it.rig.pool()).servers[0]?.state === 'up')
  assert.ok(isOpen(await it.open()))
  assert.equal(statusOf(await it.open()), 503)
})

test('a server that cannot be reached is passed over: the next one gets the upgrade', async (t) => {
  const it = await scene(t, { servers: 2, pool: { health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 } } })
  const [first, second] = it.servers as [EchoServer, EchoServer]
  first.stop()
  const clients = [await it.open(), await it.open()]
  assert.deepEqual(clients.map(statusOf), [101, 101])
  assert.equal(second.tunnels.size, 2)
  second.stop()
  assert.ok([502, 503].includes(statusOf(await it.open())), 'nobody is left')
  for (const client of clients) client.destroy()
  await it.rig.untilIdle()
})

test('where the checks of all servers fail, tunnels are opened all the same', async (t) => {
  const it = await scene(t, {
    pool: { health: { path: '/healthz', intervalMs: 50, timeoutMs: 200, fall: 1, rise: 1 } },
  })
  await until('it looks bad, and nobody looks better', () => it.rig.events.some(({ type }) => type === 'pool-panics'))
  assert.ok(isOpen(await it.open()))
})

test('a tunnel is idle for as long as its route says', async (t) => {
  const it = await scene(t, { tunnels: { idleMs: 200 } })
  const client = await it.open()
  client.write('ping')
  await until('it is open', () => client.text.endsWith('ping'))
  await until('it is closed', () => client.closed || client.ended)
  await it.rig.untilIdle()
})

test('when the gateway stops tunnels are ended gently: the server hears it first, and its last words reach the client', async (t) => {
  const it = await scene(t)
  const clients = await Promise.all(Array.from({ length: 10 }, () => it.open()))
  for (const client of clients) client.socket.on('end', () => client.socket.end())
  await it.rig.gateway.drain()
  for (const client of clients) {
    await until('it has heard the end', () => client.ended || client.closed)
    assert.deepEqual([client.text.endsWith('bye'), client.error], [true, ''])
  }
  assert.equal(it.servers[0]?.tunnels.size, 0)
})

test('an upgrade that the server answers while the gateway stops is a tunnel that is ended, too', async (t) => {
  const slow = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.on('end', () => socket.end())
    socket.on('data', () => (asked = () => void socket.write(SWITCHED)))
  })
  let asked: (() => void) | undefined
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
  t.after(() => slow.close())
  const rig = await startGatewayRig([(slow.address() as AddressInfo).port], { routes: [testRoute({ name: '/*', mode: 'direct' })] })
  t.after(() => rig.gateway.close())
  const client = await RawClient.connect(rig.port)
  t.after(() => client.destroy())
  client.socket.on('end', () => client.socket.end())
  client.write(`${UPGRADE}\r\n`)
  await until('the server is asked', () => asked !== undefined)
  const drained = rig.gateway.drain()
  asked?.()
  await drained
  await until('it has heard the end', () => client.ended || client.closed)
  assert.equal(statusOf(client), 101)
})

test('who does not hear the end is cut off after a while', async (t) => {
  const it = await scene(t, { deaf: true })
  const client = await it.open()
  await it.rig.gateway.drain()
  await until('it is over', () => client.closed || client.ended)
})

test('a server that comes back gets its share of the tunnels, the oldest of the others, and no more than that', async (t) => {
  const it = await scene(t, { servers: 2, pool: { rebalanceTunnels: { count: 100, perMs: 1000 } } })
  const [, second] = it.servers as [EchoServer, EchoServer]
  second.stop()
  await until('it is down', async () => (await it.rig.pool()).servers[1]?.state === 'down')
  const clients: RawClient[] = []
  for (let n = 0; n < 6; n++) clients.push(await it.open())
  await second.listen()
  await until('three have to go', () => clients.filter(isOpen).length === 3)
  assert.deepEqual(clients.map(isOpen), [false, false, false, true, true, true], 'the oldest')
  for (const client of clients.slice(0, 3)) client.destroy()
  for (let n = 0; n < 3; n++) await it.open()
  assert.deepEqual(await it.tunnelsOf(), [3, 3])
})
