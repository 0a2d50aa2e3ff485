/** Servers that come and go while a pool works: by a reload of the configuration. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { AdminStatus } from '../../src/admin/status.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { MetricsPage } from '../support/gateway-process.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type PoolFile = Exclude<NonNullable<ConfigFile['pools']>[string], readonly unknown[]>

const QUICK = { interval: '100ms', timeout: '500ms', rise: 1 } as const

interface Scene extends AsyncDisposable {
  readonly rig: ConfigRig
  readonly servers: readonly [TestServer, TestServer, TestServer]
  /** The pool `api` has these servers, by number. */
  file(which: readonly number[], change?: Partial<PoolFile>, rest?: Partial<ConfigFile>): ConfigFile
  reload(which: readonly number[], change?: Partial<PoolFile>, rest?: Partial<ConfigFile>): Promise<void>
  status(): Promise<AdminStatus>
  metrics(): Promise<MetricsPage>
  of<T extends GatewayEvent['type']>(type: T): readonly Extract<GatewayEvent, { type: T }>[]
  name(which: number): string
  untilUp(...which: readonly number[]): Promise<void>
}

async function scene(which: readonly number[], change: Partial<PoolFile> = {}, rest: Partial<ConfigFile> = {}): Promise<Scene> {
  const servers = [await startTestServer(), await startTestServer(), await startTestServer()] as const
  const name = (at: number): string => `127.0.0.1:${servers[at]?.port}`
  const file: Scene['file'] = (at, poolChange = {}, more = {}) => ({
    pools: { api: { servers: at.map((one) => `http://${name(one)}`), health: QUICK, slowStart: '0s', ...poolChange } },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }],
    queues: { work: { concurrency: 1 } },
    ...more,
  })
  const rig = await startConfigRig(file(which, change, rest))
  const status = async (): Promise<AdminStatus> => (await ask(`${rig.adminUrl}/status`)).json() as unknown as AdminStatus
  const it: Scene = {
    rig,
    servers,
    file,
    name,
    status,
    async reload(at, poolChange = {}, more = {}) {
      const outcome = await rig.reload(file(at, poolChange, more))
      assert.deepEqual([outcome.kind, 'needsRestart' in outcome && outcome.needsRestart], ['applied', []])
    },
    metrics: async () => new MetricsPage((await ask(`${rig.adminUrl}/metrics`)).text),
    of: <T extends GatewayEvent['type']>(type: T) =>
      rig.events.filter((event): event is Extract<GatewayEvent, { type: T }> => event.type === type),
    untilUp: (...at) =>
      until('they are up', async () => {
        const { servers: all = [] } = (await status()).pools[0] ?? {}
        return at.every((one) => all.some((server) => server.name === name(one) && server.state === 'up'))
      }),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
  await it.untilUp(...which)
  return it
}

/** Answers when it is told to. */
function holding(server: TestServer): ServerResponse[] {
  const held: ServerResponse[] = []
  server.handle = (_, response) => void held.push(response)
  return held
}

test('a server that is taken out gets nothing new, ends what it has, loses its kept connections, and is gone; the new one serves at once', async () => {
  await using it = await scene([0])
  await ask(it.rig.url)
  const held = holding(it.servers[0])
  const running = ask(it.rig.url)
  await until('it is there', () => held.length === 1)
  const before = it.servers[0].received.length
  await it.reload([1])
  for (let n = 0; n < 5; n++) assert.equal((await ask(it.rig.url)).status, 200)
  assert.deepEqual([it.servers[0].received.length, it.servers[1].received.length], [before, 5])
  assert.deepEqual([it.of('server-removed')[0]?.inFlight, it.of('server-left')], [1, []])
  assert.equal((await it.metrics()).sum('spillway_server_draining'), 1)
  held[0]?.end('late')
  assert.equal((await running).text, 'late')
  await until('it is gone', () => it.of('server-left').length === 1)
  assert.equal(it.of('server-left')[0]?.cut, 0)
  await until('one connection is kept, to the new one', async () => (await it.metrics()).sum('spillway_idle_server_connections') === 1)
  const text = (await ask(`${it.rig.adminUrl}/metrics`)).text
  assert.ok(!text.includes(it.name(0)), 'no metric names it any more')
})

test('what is still under way when drainTimeout is over is broken off: a request, an attempt, a tunnel', async (t) => {
  const silent = await startSilent()
  t.after(() => silent.close())
  await using it = await scene([1])
  await it.reload([], { servers: [`http://127.0.0.1:${silent.port}`], drainTimeout: '200ms' })
  await until('it is up', async () => (await it.status()).pools[0]?.servers[0]?.state === 'up')
  const tunnel = await openTunnel(it.rig)
  t.after(() => tunnel.destroy())
  const closed = new Promise<void>((resolve) => tunnel.once('close', () => resolve()))
  const direct = it.rig.ask('/', { method: 'POST' })
  const { document: job } = await it.rig.ask('/work', { method: 'POST', body: 'x' })
  await until('all are there', () => silent.open() === 3)
  await it.reload([1], { drainTimeout: '200ms' })
  await until('it is gone', () => it.of('server-left').some(({ server }) => server.endsWith(`:${silent.port}`)))
  assert.equal(it.of('server-left').at(-1)?.cut, 3)
  await closed
  const { status, document } = await direct
  assert.deepEqual([status, document.code], [502, 'connection_reset'])
  assert.match(document.detail, /drainTimeout \(200 ms\) is over/)
  await it.rig.status(job.links.self, 'it is done by the other one', (now) => now.status === 'succeeded')
})

test('the same server, taken out and put in again while it drains, is one server: its limit counts what it still has', async () => {
  await using it = await scene([0], { maxInFlight: 1 })
  const held = holding(it.servers[0])
  const first = ask(it.rig.url)
  await until('it is there', () => held.length === 1)
  await it.reload([1], { maxInFlight: 1 })
  await it.reload([0], { maxInFlight: 1 })
  await it.untilUp(0)
  const second = ask(it.rig.url)
  await until('it waits', async () => (await it.status()).pools[0]?.waiting === 1)
  assert.equal(held.length, 1)
  held[0]?.end('first')
  assert.equal((await first).text, 'first')
  await until('it has its turn', () => held.length === 2)
  held[1]?.end('second')
  assert.equal((await second).text, 'second')
  assert.equal(it.servers[0].inFlightMax, 1)
})

test('jobs that wait for a server that is taken out go to others at once; its attempt runs on', async () => {
  await using it = await scene([0])
  const held = holding(it.servers[0])
  const post = (): Promise<string> =>
    it.rig.ask('/work', { method: 'POST', body: 'x' }).then(({ document }) => document.links.self as string)
  const jobs = [await post(), await post(), await post()]
  await until('one runs', () => held.length === 1)
  await it.reload([1])
  await until('the others are done', () => it.servers[1].received.length === 2)
  assert.equal(held.length, 1)
  held[0]?.end('done')
  for (const job of jobs) await it.rig.status(job, 'it has succeeded', ({ status }) => status === 'succeeded')
  assert.deepEqual([it.servers[0].received.length, it.servers[1].received.length], [1, 2], 'each once')
  const { buckets } = (await it.status()).queues[0] ?? {}
  assert.deepEqual(buckets, { [it.name(1)]: 256 })
})

test('limits, waiting, checks and ejection of a pool hold at once', async () => {
  await using it = await scene([0, 1], { maxInFlight: 1, eject: { failures: 1, time: '1h' }, balance: 'round-robin' })
  const busy = [holding(it.servers[0]), holding(it.servers[1])] as const
  const running = [ask(it.rig.url), ask(it.rig.url)]
  await until('both are busy', () => busy[0].length === 1 && busy[1].length === 1)
  const waits = ask(it.rig.url)
  await until('it waits', async () => (await it.status()).pools[0]?.waiting === 1)
  await it.reload([0, 1], { maxInFlight: 2, eject: { failures: 1, time: '1h' } })
  await until('who waited has a slot', () => busy[0].length + busy[1].length === 3)
  await it.reload([0, 1], { maxInFlight: 1, wait: '0s', maxWaiting: 0, eject: { failures: 1, time: '1h' } })
  assert.equal((await ask(it.rig.url)).status, 503)
  for (const response of busy.flat()) response.writeHead(500).end()
  for (const one of [...running, waits]) assert.equal((await one).status, 500)
  await until('one is out', async () => (await it.status()).pools[0]?.servers.some(({ state }) => state === 'ejected') ?? false)
  await it.reload([0, 1], { eject: 'off' })
  await it.untilUp(0, 1)
  it.servers[0].healthStatus = 500
  await it.reload([0, 1], { health: { ...QUICK, path: '/healthz', fall: 1 } })
  await until('the check is another one', async () => (await it.status()).pools[0]?.servers[0]?.state === 'down')
})

test('weights hold at once, for requests and for buckets', async () => {
  await using it = await scene([0, 1], { balance: 'round-robin' })
  const servers = [{ url: `http://${it.name(0)}`, weight: 3 }, { url: `http://${it.name(1)}` }]
  await it.reload([], { servers, balance: 'round-robin' })
  for (let n = 0; n < 40; n++) await ask(it.rig.url)
  assert.deepEqual([it.servers[0].received.length, it.servers[1].received.length], [30, 10])
  const { buckets = {} } = (await it.status()).queues[0] ?? {}
  assert.ok((buckets[it.name(0)] ?? 0) > 180, JSON.stringify(buckets))
})

test('a pool that is not configured any more serves who is in it, and goes', async () => {
  await using it = await scene([0])
  const held = holding(it.servers[0])
  const running = ask(it.rig.url)
  await until('it is there', () => held.length === 1)
  const other = { pools: { other: { servers: [`http://${it.name(1)}`], health: QUICK } }, queues: { work: { pool: 'other' } } }
  await it.reload([], {}, { ...other, routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }] })
  assert.equal((await ask(it.rig.url)).status, 200)
  assert.equal(it.servers[1].received.length, 1)
  assert.equal((await it.rig.ask('/work?wait', { method: 'POST', body: 'x' })).status, 202)
  await until('the job is with the other pool', () => it.servers[1].received.length === 2)
  assert.deepEqual(it.of('pool-left'), [])
  held[0]?.end('late')
  assert.equal((await running).text, 'late')
  await until('it is gone', () => it.of('pool-left').length === 1)
  assert.deepEqual(
    (await it.status()).pools.map(({ name }) => name),
    ['other'],
  )
})

test('a pool that comes back before it is gone is the one that it was', async () => {
  await using it = await scene([0], { maxInFlight: 1 })
  const held = holding(it.servers[0])
  const first = ask(it.rig.url)
  await until('it is there', () => held.length === 1)
  await it.reload([], {}, { pools: { other: [`http://${it.name(1)}`] }, queues: { work: { pool: 'other' } } })
  await it.reload([0], { maxInFlight: 1 })
  const second = ask(it.rig.url)
  await until('it waits for the same slot', async () => (await it.status()).pools[0]?.waiting === 1)
  held[0]?.end('first')
  assert.equal((await first).text, 'first')
  await until('its turn', () => held.length === 2)
  held[1]?.end('second')
  assert.equal((await second).text, 'second')
})

test('nothing is left of a thousand servers that came and went', async () => {
  await using it = await scene([0])
  await ask(it.rig.url)
  const size = async (): Promise<readonly number[]> => {
    const metrics = await ask(`${it.rig.adminUrl}/metrics`)
    const page = new MetricsPage(metrics.text)
    const lines = metrics.text.split('\n').filter((line) => /server="/.test(line)).length
    return [lines, page.sum('spillway_deadlines'), page.sum('spillway_idle_server_connections')]
  }
  const before = await size()
  for (let n = 0; n < 500; n++) {
    await it.reload(n % 2 === 0 ? [1, 2] : [0])
    if (n % 10 === 0) assert.equal((await ask(it.rig.url)).status, 200)
  }
  await it.reload([0])
  assert.equal(it.of('server-added').length, 750)
  await ask(it.rig.url)
  await until('it is as it was', async () => JSON.stringify(await size()) === JSON.stringify(before))
  assert.equal(it.of('server-left').length, it.of('server-removed').length)
})

/** Switches to a protocol where that is asked for, and answers nothing else. */
async function startSilent(): Promise<{ readonly port: number; open(): number; close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.once('data', (head) => {
      sockets.add(socket)
      if (!/upgrade: echo/i.test(head.toString())) return
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return { port: (server.address() as { port: number }).port, open: () => sockets.size, close }
}

async function openTunnel({ url }: ConfigRig): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write('GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  const head = await new Promise<string>((resolve) => socket.once('data', (bytes) => resolve(bytes.toString())))
  assert.match(head, /^HTTP\/1\.1 101 /)
  return socket
}
