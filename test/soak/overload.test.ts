/**
 * Three times as much as servers can bear, for a while: nearly all of what they can do is done, nobody waits for more than the pool allows, everybody
 * is answered, memory stays, and after it nobody is refused. The figures with a time limit are those of the benchmark (`npm run bench -- --only overload`).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { impatientClients, type Visitor } from '../support/impatient-clients.ts'
import { startTimedServer } from '../support/timed-server.ts'
import { until } from '../support/until.ts'
import { FULL, MIB, mib, sampleMemory, sized, tellFigures } from './form.ts'

const SERVERS = 2
const SLOTS = 5
const WORK_MS = 100
const CAPACITY = (SERVERS * SLOTS * 1000) / WORK_MS
const OVERLOAD_MS = sized([30_000, 5000])
const CALM_MS = sized([5000, 1000])
const HEAP_SLACK = 64 * MIB
/** Of the capacity. The short form runs beside other tests, on servers whose timers are late then. */
const GOODPUT_MIN = FULL ? 0.85 : 0.4

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('three times as much as servers can bear: they do what they can, the others are told, and then it is over', {
  timeout: 4 * OVERLOAD_MS + 60_000,
}, async (t) => {
  const servers = await Promise.all(Array.from({ length: SERVERS }, () => startTimedServer(SLOTS, () => WORK_MS)))
  t.after(() => {
    for (const server of servers) server.close()
  })
  await using gateway = await startGatewayProcess(`
pools:
  api: { servers: [${servers.map(({ url }) => `"${url}"`).join(', ')}], maxInFlight: ${SLOTS}, health: { interval: 500ms, timeout: 10s, rise: 1 } }
routes:
  - { match: "/urgent", priority: 9 }
  - { match: "/*" }
`)
  await until('all servers are up', async () => (await gateway.metrics()).sum('spillway_server_up') === SERVERS)
  const come = (path: string, share: number): ReturnType<typeof impatientClients> =>
    impatientClients(gateway.url, { method: 'GET', path, perSecond: share * CAPACITY, patienceMs: 30_000, tries: 1 })
  const calm = come('/', 0.5)
  await pause(CALM_MS)
  const memory = sampleMemory(gateway)
  t.after(() => memory.end())
  const heap = async (): Promise<number> => (await gateway.metrics()).sum('nodejs_heap_size_used_bytes')
  const [rssBefore, heapBefore] = [gateway.rssAnonBytes(), await heap()]
  const [urgent, many] = [come('/urgent', 0.1), come('/many', 2.4)]
  await pause(OVERLOAD_MS)
  const heapGrowth = (await heap()) - heapBefore
  await Promise.all([urgent.stop(), many.stop()])
  await until('nobody waits', async () => (await gateway.metrics()).sum('spillway_pool_waiting') === 0)
  const from = performance.now()
  await pause(CALM_MS)
  await calm.stop()
  const growth = (await memory.stop()) - rssBefore

  const during = [...calm.all, ...urgent.all, ...many.all].filter(({ cameAt }) => cameAt < from)
  const after = calm.all.filter(({ cameAt }) => cameAt >= from)
  const share = (visitors: readonly Visitor[], status: number): number =>
    visitors.filter((each) => each.status === status).length / Math.max(1, visitors.length)
  const served = [...urgent.all, ...many.all].filter(({ status }) => status === 200).length
  const shares = { urgent: share(urgent.all, 200), many: share(many.all, 200) }
  // Of those who came all the time, all who came in the overload count as well: they had a sixth of it.
  const goodput =
    ((served + calm.all.filter(({ cameAt, status }) => cameAt < from && status === 200).length) * 1000) /
    (CAPACITY * (OVERLOAD_MS + CALM_MS))
  tellFigures(
    t,
    `goodput ${percent(goodput)}; served of the urgent ${percent(shares.urgent)}, of the others ${percent(shares.many)}; after it ${percent(share(after, 200))}; used heap ${mib(heapBefore)} + ${mib(heapGrowth)}, RssAnon + ${mib(growth)} at most`,
  )
  assert.ok(
    during.every(({ status }) => status === 200 || status === 503),
    'everybody is answered',
  )
  assert.ok(goodput > GOODPUT_MIN, percent(goodput))
  assert.ok(shares.urgent > shares.many, 'the more urgent are served first')
  assert.ok(share(after, 200) > 0.99, 'when it is over nobody is refused')
  assert.ok(heapGrowth < HEAP_SLACK, mib(heapGrowth))
  const page = await gateway.metrics()
  const refused = page.sum('spillway_waits_total', 'outcome="old"') + page.sum('spillway_waits_total', 'outcome="shed"')
  assert.ok(refused > 0, 'they are let go early')
})

function percent(value: number): string {
  return `${Math.round(value * 100)} %`
}
