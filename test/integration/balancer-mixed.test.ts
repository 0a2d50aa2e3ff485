/**
 * Everything of the balancer at once: sessions, failover, splits, retries, hedges, copies, deadlines, priorities, tunnels and actions, while servers
 * fail, clients leave, operators drain and files are read anew. Nothing is left behind: no slot, no waiter, no place of a tunnel, no byte, no deadline.
 */
import assert from 'node:assert/strict'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { seedOf, SeededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'

const REQUESTS = 1_500
const CLIENTS = 40
const SECRET = Buffer.alloc(32, 7).toString('base64')

function moody(random: SeededRandom): (response: ServerResponse) => void {
  return (response) => {
    const unit = random.unit()
    const answer = (): void => void (response.destroyed || response.end('x'.repeat(random.chance(0.5) ? 10 : 40_000)))
    if (unit < 0.5) answer()
    else if (unit < 0.75) setTimeout(answer, random.unit() * 60)
    else if (unit < 0.82) response.socket?.resetAndDestroy()
    else if (unit < 0.92) response.writeHead(503, random.chance(0.3) ? { 'retry-after': '0' } : {}).end('busy'.repeat(random.integer(9000)))
    else if (unit < 0.96) response.writeEarlyHints({ link: '</a>; rel=preload' }, () => setTimeout(answer, 20))
    else if (unit < 0.98) response.writeHead(200, { 'content-length': '90000' }).write('y', () => response.socket?.resetAndDestroy())
    else setTimeout(answer, 2_000).unref()
  }
}

/** The same pools and routes, but for what changes from one reload to the next. */
function fileOf(urls: readonly string[], random: SeededRandom): ConfigFile {
  const some = (from: readonly string[]): string[] => {
    const chosen = from.filter(() => random.chance(0.8))
    return chosen.length === 0 ? [from[0] as string] : chosen
  }
  const common = {
    health: { interval: '100ms', fall: 1, rise: 1 },
    slowStart: '0s',
    maxInFlight: 1 + random.integer(4),
    maxWaiting: random.pick([2, 8, 64]),
    maxTunnels: 3,
    drainTimeout: random.pick(['50ms', '300ms']),
    wait: random.pick(['30ms', '300ms']),
    rebalanceTunnels: '100/s',
  } as const
  const failover = { pool: 'c', when: random.pick(['down', 'full'] as const) }
  const hasB = random.chance(0.7)
  const retry = { on: ['connect-failure', 'reset', 'timeout', 503], attempts: 3, backoff: { base: '1ms', max: '20ms' } }
  const limits = { retry, timeout: random.pick(['100ms', '1s']), firstByte: '300ms' }
  return {
    requestId: {},
    sticky: { keys: [{ id: 'k', secret: SECRET }] },
    pools: {
      a: { servers: some(urls.slice(0, 3)), ...common, failover, shed: random.chance(0.5) ? {} : 'off' },
      ...(hasB && { b: { servers: some(urls.slice(2, 5)), ...common, balance: 'random' } }),
      c: { servers: [urls[5] as string], ...common },
    },
    routes: [
      { match: '/redirect', redirect: { to: 'https://example.com/' } },
      { match: '/answer', answer: { status: 200, body: 'here' } },
      { match: '/plain/*', pool: 'a', mode: 'direct', hedge: { after: '15ms' }, mirror: { pool: 'c', share: '50%' }, ...limits },
      { match: '/urgent/*', pool: 'a', mode: 'direct', priority: 9, sticky: { cookie: 'urgent', wait: '200ms' }, ...limits },
      { match: '/spill/*', pool: 'a', mode: 'spill', methods: ['POST'], ...limits },
      {
        match: '/*',
        pool: hasB
          ? [
              { pool: 'a', weight: 1 },
              { pool: 'b', weight: 1 },
            ]
          : 'a',
        mode: 'direct',
        sticky: { cookie: 'srv', wait: random.pick(['0s', '100ms']) },
        hedge: { after: '15ms' },
        ...limits,
      },
    ],
  } as ConfigFile
}

/** Its tunnels echo, and some of them it ends by itself. */
async function startServer(t: TestContext, random: SeededRandom): Promise<string> {
  const sockets = new Set<Socket>()
  const answer = moody(random)
  const server = createServer((request, response) => {
    request.resume().on('error', () => undefined)
    request.on('end', () => answer(response))
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (_, socket) => {
    if (random.chance(0.2)) return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
    if (random.chance(0.1)) return void socket.destroy()
    socket.on('error', () => undefined)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.on('data', (chunk: Buffer) => void (socket.writable && socket.write(chunk)))
    socket.on('end', () => socket.end())
    if (random.chance(0.3)) setTimeout(() => socket.end(), random.unit() * 100)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** An upgrade that lives for a moment, whatever comes of it. */
function tunnel(port: number, random: SeededRandom, cookie: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => undefined).on('close', () => resolve())
    socket.on('end', () => socket.end())
    socket.on('data', () => void (socket.writable && random.chance(0.3) && socket.write('ping')))
    socket.write(`GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nCookie: ${cookie}\r\n\r\n`)
    setTimeout(() => void (random.chance(0.5) ? socket.end() : socket.destroy()), random.unit() * 80)
    setTimeout(() => socket.destroy(), 400)
  })
}

interface Scene {
  readonly rig: ConfigRig
  readonly random: SeededRandom
  /** Cookies that answers have set. */
  readonly cookies: string[]
}

async function request({ rig, random, cookies }: Scene): Promise<void> {
  const method = random.pick(['GET', 'GET', 'GET', 'PUT', 'POST'])
  const path = random.pick(['/', '/', '/plain/x', '/plain/x', '/urgent/x', '/spill/x', '/redirect', '/answer'])
  const leaving = new AbortController()
  if (random.chance(0.15)) setTimeout(() => leaving.abort(), random.unit() * 80)
  const cookie = cookies.length > 0 && random.chance(0.6) ? { cookie: random.pick(cookies) } : {}
  const body = method === 'GET' ? {} : { body: 'b'.repeat(random.pick([1, 5_000, 300_000])) }
  const answer = await ask(`${rig.url}${path}`, { method, headers: cookie, signal: leaving.signal, ...body }).catch(() => undefined)
  if (answer === undefined) return
  assert.match(String(answer.headers['x-request-id']), /^[\w-]+$/, `${path} ${answer.status}`)
  assert.ok(answer.status < 500 || [502, 503, 504].includes(answer.status), answer.text)
  for (const line of answer.headers['set-cookie'] ?? []) if (cookies.length < 100) cookies.push(line.split(';')[0] as string)
}

async function change({ rig, random }: Scene, urls: readonly string[]): Promise<void> {
  if (random.chance(0.5)) {
    const outcome = await rig.reload(fileOf(urls, random))
    assert.equal(outcome.kind, 'applied', JSON.stringify(outcome))
    return
  }
  const pool = random.pick(['a', 'c'])
  const { document } = await rig.admin('GET', `v1/pools/${pool}`)
  const { name } = random.pick(document.servers as { name: string }[])
  await rig.admin('PATCH', `v1/pools/${pool}/servers/${name}`, { state: random.pick(['drain', 'maint', 'ready', 'ready']) })
}

test('whatever fails, leaves, is drained or read anew meanwhile: each answer is known by its id, and nothing is left behind', async (t) => {
  const seed = seedOf()
  t.diagnostic(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const urls = await Promise.all(Array.from({ length: 6 }, () => startServer(t, random)))
  const rig = await startConfigRig(fileOf(urls, random))
  t.after(() => rig[Symbol.asyncDispose]())
  const scene: Scene = { rig, random, cookies: [] }
  const port = rig.gateway.listeners[0]?.port as number
  let left = REQUESTS
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      if (random.chance(0.15)) await tunnel(port, random, scene.cookies.at(-1) ?? 'none=1')
      else await request(scene)
    }
  }
  const changes = async (): Promise<void> => {
    while (left > 0) {
      await change(scene, urls)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  await Promise.all([changes(), ...Array.from({ length: CLIENTS }, client)])
  await untilNothingIsLeft(rig)
  await until(
    () => `whoever was taken out is gone, or back: ${unfinished(rig).join(', ')}`,
    () => unfinished(rig).length === 0,
  )
  assert.deepEqual(
    rig.events.filter(({ type }) => type === 'warning'),
    [],
  )
})

/** Servers and pools that were taken out, and have neither come back nor gone. */
function unfinished({ events, gateway }: ConfigRig): string[] {
  const open = new Set<string>()
  for (const event of events) {
    if (event.type === 'server-removed') open.add(`${event.pool} ${event.server}`)
    else if (event.type === 'server-left' || event.type === 'server-added') open.delete(`${event.pool} ${event.server}`)
    else if (event.type === 'pool-removed') open.add(event.pool)
    else if (event.type === 'pool-left') open.delete(event.pool)
  }
  for (const { name } of gateway.config.pools) open.delete(name)
  return [...open]
}

/** By what the admin address tells. */
async function untilNothingIsLeft(rig: ConfigRig): Promise<void> {
  let left = ''
  const sum = (text: string, name: string): number =>
    [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'))].reduce((total, [, value]) => total + Number(value), 0)
  const names = ['server_in_flight', 'server_tunnels', 'pool_waiting', 'buffered_bytes', 'connections']
  await until(
    () => `nothing is left: ${left}`,
    async () => {
      const { text } = await ask(`${rig.adminUrl}/metrics`)
      const found = names.map((name) => [name, sum(text, `spillway_${name}`)] as const).filter(([, value]) => value > 0)
      // What is kept for the next request has one each.
      const deadlines = sum(text, 'spillway_deadlines') - sum(text, 'spillway_idle_server_connections')
      left = `${JSON.stringify(found)}, ${deadlines} deadlines`
      return found.length === 0 && deadlines === 0
    },
  )
}
