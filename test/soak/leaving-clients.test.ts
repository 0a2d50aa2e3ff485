/**
 * A fifth of all clients leave at a random moment: while they send, wait, are held, or read. When all is quiet again nothing of them is
 * left: no connection, no descriptor, no timer, no slot, no watcher, no buffer, no memory.
 */
import assert from 'node:assert/strict'
import { Agent, createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after as afterAll, test } from 'node:test'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { FULL, mib, MIB, sized, tellFigures } from './form.ts'

const SECONDS = sized([300, 10])
/** Long enough for V8's heap to reach the size that this load asks for, so that what grows afterwards is what clients left behind. */
const WARM_UP_SECONDS = sized([180, 3])
const CLIENTS = 40
/** Of those that mean to leave some are served before: a fifth of all remain. */
const MEAN_TO_LEAVE = 0.45
const LEAVES_WITHIN_MS = 60
const MEMORY_SLACK = 16 * MIB
/** Longer than idle connections to servers, finished jobs and held clients stay. */
const QUIET_MS = 30_000

interface Kind {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Its answer names a job, whose events are read next. */
  readonly thenEvents?: boolean
}

const KINDS: readonly Kind[] = [
  { method: 'GET', path: '/direct/small' },
  { method: 'GET', path: '/direct/large' },
  { method: 'POST', path: '/direct/upload' },
  { method: 'POST', path: '/spill/work' },
  { method: 'POST', path: '/queue/work', thenEvents: true },
  { method: 'POST', path: '/held/work' },
  { method: 'POST', path: '/held/work', headers: { 'Spillway-Key': 'one' } },
  { method: 'POST', path: '/queue/work', headers: { Prefer: 'respond-async, events' } },
]

/** Works for up to 30 ms, is busy now and then, and answers a lot where it is asked to. */
function serve(random: SeededRandom, request: IncomingMessage, response: ServerResponse): void {
  request.resume()
  request.on('error', () => undefined)
  response.on('error', () => undefined)
  const large = request.url === '/direct/large'
  const busy = request.url?.startsWith('/spill') === true && random.chance(0.1)
  setTimeout(() => {
    if (busy) response.writeHead(503, { 'Retry-After': '0' })
    response.end(Buffer.alloc(large ? MIB : 100))
  }, random.integer(30))
}

interface Load {
  readonly random: SeededRandom
  readonly agent: Agent
  readonly url: string
  left: number
  finished: number
}

/** One request; resolves when it is over, whoever ended it. */
function ask(load: Load, kind: Kind): Promise<string | undefined> {
  return new Promise((resolve) => {
    const { random, agent, url } = load
    const leaves = random.chance(MEAN_TO_LEAVE)
    const headers = { ...kind.headers, ...(kind.method === 'POST' ? { 'Transfer-Encoding': 'chunked' } : {}) }
    const asked = httpRequest(url + kind.path, { method: kind.method, agent, headers })
    let location: string | undefined
    let left = false
    asked.on('response', (response) => {
      location = response.headers.location
      response.on('error', () => undefined)
      response.resume()
    })
    asked.on('error', () => undefined)
    asked.on('close', () => {
      clearTimeout(leaving)
      if (left) load.left++
      else load.finished++
      resolve(location)
    })
    const leaving = setTimeout(() => {
      left = leaves
      if (leaves) asked.destroy()
    }, random.integer(LEAVES_WITHIN_MS))
    if (kind.method === 'GET') return void asked.end()
    asked.write(Buffer.alloc(1 + random.integer(kind.path === '/direct/upload' ? 300_000 : 5000)))
    // Some are still sending when they leave.
    setTimeout(() => asked.end('end'), random.integer(20))
  })
}

async function loadFor(load: Load, seconds: number): Promise<void> {
  const endsAt = performance.now() + seconds * 1000
  const client = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      const kind = load.random.pick(KINDS)
      const location = await ask(load, kind)
      if (kind.thenEvents === true && location !== undefined) await ask(load, { method: 'GET', path: `${location}/events` })
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  load.agent.destroy()
}

/** Everything that a client could leave behind, each as a number that is the same whenever nothing is going on. */
async function remains(gateway: GatewayProcess): Promise<Record<string, number>> {
  const page = await gateway.metrics()
  const unfinished = ['direct', 'work'].map((queue) => page.unfinished(queue)).reduce((a, b) => a + b)
  return {
    connections: page.sum('spillway_connections'),
    inFlight: page.sum('spillway_server_in_flight'),
    waiting: page.sum('spillway_pool_waiting'),
    bufferedBytes: page.sum('spillway_buffered_bytes'),
    watchers: page.sum('spillway_job_watchers'),
    deadlines: page.sum('spillway_deadlines'),
    idleServerConnections: page.sum('spillway_idle_server_connections'),
    unfinishedJobs: unfinished,
    descriptors: page.sum('process_open_fds'),
    sockets: page.sum('nodejs_active_resources', 'kind="TCPSocketWrap"'),
    timers: page.sum('nodejs_active_resources', 'kind="Timeout"'),
  }
}

/** Looks until nothing is above what was there before, and gives the last look. */
async function quiet(gateway: GatewayProcess, before: Record<string, number>): Promise<Record<string, number>> {
  const endsAt = performance.now() + QUIET_MS
  for (;;) {
    const now = await remains(gateway)
    const above = Object.keys(now).some((name) => (now[name] as number) > (before[name] as number))
    if (!above || performance.now() > endsAt) return now
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

test('of clients that leave at a random moment nothing remains', async (t) => {
  const seed = seedOf()
  t.diagnostic(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  const server = createServer((request, response) => serve(random, request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  await using gateway = await startGatewayProcess(`
pools:
  api: { servers: ["http://127.0.0.1:${(server.address() as AddressInfo).port}"], maxInFlight: 16, health: { interval: 1h } }
queues: { work: { pool: api, keep: 2s, keepDead: 2s, concurrency: 8, backoff: { base: 10ms, max: 100ms } } }
routes:
  - { match: "/direct/*" }
  - { match: POST /spill/work, mode: spill, queue: work, wait: 1s, patience: 20ms, redeliver: always }
  - { match: POST /queue/work, mode: queue, queue: work }
  - { match: POST /held/work, mode: queue, queue: work, wait: 1s }
timeouts: { upstreamIdle: 500ms }
`)
  const load: Load = { random, agent: new Agent({ keepAlive: true }), url: gateway.url, left: 0, finished: 0 }
  const atRest = { ...(await remains(gateway)) }
  await loadFor({ ...load, agent: new Agent({ keepAlive: true }) }, WARM_UP_SECONDS)
  assert.deepEqual(atMost(await quiet(gateway, atRest), atRest), atRest)
  const before = gateway.rssAnonBytes()

  await loadFor(load, SECONDS)
  const now = await quiet(gateway, atRest)
  const growth = gateway.rssAnonBytes() - before
  tellFigures(
    t,
    `${load.left} of ${load.left + load.finished} clients left in ${SECONDS} s: ${Object.entries(now)
      .map(([name, value]) => `${name} ${atRest[name]} → ${value}`)
      .join(', ')}; RssAnon ${mib(before)} ${growth < 0 ? '' : '+'}${mib(growth)}`,
  )
  assert.deepEqual(atMost(now, atRest), atRest)
  if (FULL) assert.ok(growth < MEMORY_SLACK, `RssAnon grew by ${mib(growth)}`)
})

/** What is below its bound counts as equal: the first look may have seen a timer that is not always there. */
function atMost(now: Record<string, number>, bounds: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(now).map(([name, value]) => [name, Math.max(value, bounds[name] as number)]))
}
