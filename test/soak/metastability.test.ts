/**
 * Overload that must not outlive its trigger. Servers whose capacity is set by timers get an open load of 70 % of it: clients come whether or not
 * those before them were answered, give up after a while, and try again. Then the trigger: servers ten times slower, and later as fast as
 * before. Nobody helps: the gateway has to find back by itself, with everything done that it accepted, and with no more memory than before.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { impatientClients, type Visitor } from '../support/impatient-clients.ts'
import { startTimedServer } from '../support/timed-server.ts'
import { until } from '../support/until.ts'
import { FULL, MIB, mib, sampleMemory, sized, tellFigures } from './form.ts'

const SERVERS = 2
const SLOTS = 5
const WORK_MS = sized([100, 200])
const SLOWER = 10
/** Requests in a second, all servers together. */
const CAPACITY = (SERVERS * SLOTS * 1000) / WORK_MS
const TRIGGER_MS = sized([20_000, 4000])
const CALM_MS = sized([20_000, 2000])
const BACK_WITHIN_MS = 10_000
const DRAIN_LIMIT_MS = sized([900_000, 60_000])
/** Of the used heap, garbage included. What V8 reserves for its young generation under such a load is more, and is only told. */
const HEAP_SLACK = 64 * MIB
/** Of the quick requests: those that wait for a slot share the slots that become free with the slow ones. */
const GOODPUT_MIN = FULL ? 0.2 : 0.1

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface Bench extends AsyncDisposable {
  readonly gateway: GatewayProcess
  done(): ReadonlySet<string>
  /** 1 or 0. */
  mode(mode: string): Promise<number>
}

async function bench(workMs: (path: string) => number, concurrency: number): Promise<Bench> {
  const servers = await Promise.all(Array.from({ length: SERVERS }, () => startTimedServer(SLOTS, workMs)))
  const gateway = await startGatewayProcess(`
pools:
  api: { servers: [${servers.map(({ url }) => `"${url}"`).join(', ')}], maxInFlight: ${SLOTS}, health: { interval: 500ms, timeout: 10s, rise: 1 } }
queues: { orders: { pool: api, concurrency: ${concurrency} } }
routes:
  - { match: POST /orders, mode: spill }
  - { match: "/*" }
`)
  const end = async (): Promise<void> => {
    await gateway[Symbol.asyncDispose]()
    for (const server of servers) server.close()
  }
  await until('all servers are up', async () => (await gateway.metrics()).sum('spillway_server_up') === SERVERS).catch(
    async (error: unknown) => {
      await end()
      throw error
    },
  )
  return {
    gateway,
    done: () => new Set(servers.flatMap(({ jobs }) => [...jobs])),
    mode: async (mode) => (await gateway.metrics()).sum('spillway_route_mode', 'route="POST /orders"', `mode="${mode}"`),
    [Symbol.asyncDispose]: end,
  }
}

function share(visitors: readonly Visitor[], isGood: (visitor: Visitor) => boolean): number {
  return visitors.filter(isGood).length / Math.max(1, visitors.length)
}

async function heapUsed(gateway: GatewayProcess): Promise<number> {
  return (await gateway.metrics()).sum('nodejs_heap_size_used_bytes')
}

const servedAtOnce = ({ status, tries, job }: Visitor): boolean => status === 200 && tries === 1 && job === ''

test('servers ten times slower for a while, under clients that retry: when that is over all is as before, without help', {
  timeout: 2 * DRAIN_LIMIT_MS,
}, async (t) => {
  let workMs = WORK_MS
  await using it = await bench(() => workMs, SLOTS)
  const { gateway } = it
  const load = { perSecond: 0.35 * CAPACITY, patienceMs: 1000, tries: 3 }
  await using posts = impatientClients(gateway.url, { ...load, method: 'POST', path: '/orders' })
  await using gets = impatientClients(gateway.url, { ...load, method: 'GET', path: '/read' })
  await pause(CALM_MS)
  const calm = [...posts.all, ...gets.all].filter(({ tries, status }) => tries > 1 || status !== 0)
  /** The trigger, and its end. Says how long it took until all was as before. */
  const episode = async (): Promise<number> => {
    workMs = SLOWER * WORK_MS
    await pause(TRIGGER_MS)
    assert.equal(await it.mode('queue'), 1, 'the trigger is strong enough')
    workMs = WORK_MS
    const over = performance.now()
    await until('the route goes direct again', async () => (await it.mode('direct')) === 1, BACK_WITHIN_MS)
    return performance.now() - over
  }
  const [before, heapBefore] = [gateway.rssAnonBytes(), await heapUsed(gateway)]
  const memory = sampleMemory(gateway)
  t.after(() => memory.end())
  const backMs = await episode()
  const backlog = (await gateway.metrics()).unfinished('orders')
  const from = performance.now()
  await pause(CALM_MS)
  await Promise.all([posts.stop(), gets.stop()])
  const after = [...posts.all, ...gets.all].filter(({ cameAt }) => cameAt >= from)
  await until('all that was accepted is done', async () => (await gateway.metrics()).unfinished('orders') === 0, DRAIN_LIMIT_MS)
  const growth = (await memory.stop()) - before
  const heapGrowth = (await heapUsed(gateway)) - heapBefore

  const page = await gateway.metrics()
  const jobs = page.sum('spillway_submissions_total', 'outcome="created"')
  tellFigures(
    t,
    `direct again ${(backMs / 1000).toFixed(1)} s after the trigger, with ${backlog} of ${jobs} jobs still to do; served at once: ${percent(share(calm, servedAtOnce))} before, ${percent(share(after, servedAtOnce))} after; used heap ${mib(heapBefore)} + ${mib(heapGrowth)}, RssAnon + ${mib(growth)} at most`,
  )
  const done = it.done()
  assert.deepEqual(
    [...posts.told].filter((job) => !done.has(job)),
    [],
    'accepted and not done',
  )
  assert.equal(page.sum('spillway_jobs', 'status="succeeded"'), jobs)
  assert.equal(page.sum('spillway_route_flips_total', 'mode="queue"'), page.sum('spillway_route_flips_total', 'mode="direct"'))
  assert.ok(share(after, ({ status }) => status === 200 || status === 202) > 0.9, 'clients are served as before')
  assert.ok(heapGrowth < HEAP_SLACK, mib(heapGrowth))
})

const SLOW_MS = sized([30_000, 3000])
const GIVE_UP_MS = sized([1000, 300])
const FLOOD_MS = sized([60_000, 5000])
const QUICK_MS = 5

test('clients that give up long before the servers are done, at twice the load: memory stays, and what is quick is served', {
  timeout: 10 * FLOOD_MS,
}, async (t) => {
  await using it = await bench((path) => (path === '/quick' ? QUICK_MS : SLOW_MS), 1)
  const { gateway } = it
  const perSecond = (2 * SERVERS * SLOTS * 1000) / GIVE_UP_MS
  await using slow = impatientClients(gateway.url, { method: 'POST', path: '/orders', perSecond, patienceMs: GIVE_UP_MS, tries: 1 })
  await using quick = impatientClients(gateway.url, { method: 'GET', path: '/quick', perSecond: 20, patienceMs: 1000, tries: 1 })
  await pause(FLOOD_MS / 4)
  const [before, heapBefore] = [gateway.rssAnonBytes(), await heapUsed(gateway)]
  const memory = sampleMemory(gateway)
  t.after(() => memory.end())
  await pause((3 * FLOOD_MS) / 4)
  const growth = (await memory.stop()) - before
  const heapGrowth = (await heapUsed(gateway)) - heapBefore
  await Promise.all([slow.stop(), quick.stop()])
  const quarters = [0, 1, 2, 3].map((n) => quick.all.slice((n * quick.all.length) / 4, ((n + 1) * quick.all.length) / 4))
  const goodput = quarters.map((each) => share(each, ({ status }) => status === 200))
  await until('nobody waits', async () => (await gateway.metrics()).sum('spillway_pool_waiting') === 0)
  const page = await gateway.metrics()
  tellFigures(
    t,
    `${slow.all.length} slow requests, ${slow.all.filter(({ status }) => status === 0).length} gave up, ${page.unfinished('orders')} jobs wait; of ${quick.all.length} quick ones served, by quarters of the time: ${goodput.map(percent).join(', ')}; used heap ${mib(heapBefore)} + ${mib(heapGrowth)}, RssAnon + ${mib(growth)} at most`,
  )
  assert.ok(
    goodput.every((each) => each > GOODPUT_MIN),
    goodput.map(percent).join(', '),
  )
  assert.equal(page.sum('spillway_buffered_bytes'), 0)
  assert.ok(heapGrowth < HEAP_SLACK, mib(heapGrowth))
})

function percent(value: number): string {
  return `${Math.round(value * 100)} %`
}
