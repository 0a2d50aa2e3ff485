/** Pools that stand in for one another while they have no server up, or no room. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { type PoolsRig, type PoolsRigOptions, startPoolsRig } from '../support/pools-rig.ts'
import { testQueue, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

const DIRECT = testRoute({ name: '/*', mode: 'direct', pool: 'a' })
const toB = { failover: { pool: 'b', when: 'down' } } as const

function rigOf(options: Partial<PoolsRigOptions> = {}): Promise<PoolsRig> {
  return startPoolsRig({ servers: { a: 2, b: 1 }, pools: { a: toB }, routes: [DIRECT], ...options })
}

function told({ rig }: PoolsRig): string[] {
  return rig.events.flatMap((event) => {
    if (event.type === 'failover-began') return [`${event.pool} -> ${event.to}`]
    return event.type === 'failover-ended' ? [`${event.pool} ${event.reason}`] : []
  })
}

test('while a pool has no server up another one gets its requests, and as soon as one is back nothing more', async () => {
  await using all = await rigOf()
  assert.deepEqual(await all.ask(4), ['a0', 'a1', 'a0', 'a1'])
  await all.kill('a0')
  assert.deepEqual(await all.ask(2), ['a1', 'a1'])
  await all.kill('a1')
  assert.deepEqual(await all.ask(2), ['b0', 'b0'])
  assert.deepEqual([(await all.statuses())[0]?.failover, (await all.statuses())[1]?.failover], ['b', undefined])
  await all.revive('a1')
  assert.deepEqual(await all.ask(2), ['a1', 'a1'])
  assert.deepEqual(told(all), ['a -> b', 'a back'])
  await until('it is logged', () => all.rig.access.length === 10)
  assert.deepEqual(
    all.rig.access.map(({ pool }) => pool),
    ['a', 'a', 'a', 'a', 'a', 'a', 'b', 'b', 'a', 'a'],
  )
  const metrics = (await ask(`http://127.0.0.1:${all.rig.gateway.admin.port}/metrics`)).text
  assert.match(metrics, /^spillway_failovers_total\{pool="a"\} 2$/m)
  assert.match(metrics, /^spillway_pool_failover\{pool="a"\} 0$/m)
})

test('along a chain the first that has a server up serves; where none has, its own pool answers 503', async () => {
  await using all = await rigOf({
    servers: { a: 1, b: 1, c: 1 },
    pools: { a: { ...toB, waitMs: 50 }, b: { failover: { pool: 'c', when: 'down' } } },
  })
  await all.kill('a')
  assert.deepEqual(await all.ask(1), ['b0'])
  await all.kill('b')
  assert.deepEqual(await all.ask(1), ['c0'])
  await all.kill('c')
  assert.deepEqual(await all.ask(1), ['503'])
  await all.revive('b')
  assert.deepEqual(await all.ask(1), ['b0'])
  assert.deepEqual(told(all), ['a -> b', 'a -> c', 'b -> c', 'a lost', 'b lost', 'a -> b'])
})

test('a request that finds the servers of its pool gone one after the other goes on with the pool that stands in', async () => {
  await using all = await rigOf({
    servers: { a: 4, b: 1 },
    pools: { a: { ...toB, health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 } } },
  })
  await Promise.all(['a0', 'a1', 'a2', 'a3'].map((name) => all.server(name).kill()))
  const { status, text } = await ask(all.url, { method: 'POST', body: 'x' })
  assert.deepEqual([status, text], [200, 'b0'])
})

test('who waits in the line of a pool goes on when its last server is gone', async () => {
  await using all = await rigOf({ servers: { a: 1, b: 1 }, pools: { a: { ...toB, maxInFlight: 1, waitMs: 10_000 } } })
  all.server('a0').handle = () => undefined
  const asked = Array.from({ length: 3 }, () => ask(all.url, { method: 'POST', body: 'x' }))
  await until('one is there', () => all.server('a0').inFlight === 1)
  await all.rig.untilWaiting(2)
  await all.kill('a')
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  assert.deepEqual(statuses.toSorted(), [200, 200, 502])
  assert.equal(all.received('b'), 2)
})

test('who waits in the line of a pool is not refused because checks fail at every pool of its chain', async () => {
  const health = { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }
  await using all = await rigOf({
    servers: { a: 1, b: 1 },
    pools: { a: { ...toB, maxInFlight: 1, waitMs: 20_000, health }, b: { health } },
  })
  const held: (() => void)[] = []
  all.server('a0').handle = (_, response) => void held.push(() => response.end('a0'))
  const busy = ask(all.url)
  await until('one is there', () => held.length === 1)
  const waiting = ask(all.url)
  await all.rig.untilWaiting(1)
  for (const pool of ['b', 'a']) {
    all.server(`${pool}0`).healthStatus = 500
    await until(`${pool} is lost`, async () =>
      (await all.statuses()).some(({ name, servers }) => name === pool && servers[0]?.state === 'down'),
    )
  }
  all.server('a0').handle = (_, response) => void response.end('a0')
  held[0]?.()
  assert.deepEqual([(await busy).text, (await waiting).text], ['a0', 'a0'])
})

test('`full`: a pool without a free slot sends to the other one; `down`: who finds none waits', async () => {
  for (const when of ['full', 'down'] as const) {
    await using all = await rigOf({ servers: { a: 1, b: 1 }, pools: { a: { failover: { pool: 'b', when }, maxInFlight: 1, waitMs: 50 } } })
    all.server('a0').handle = () => undefined
    const held = ask(all.url).catch(() => undefined)
    await until('it is there', () => all.server('a0').inFlight === 1)
    assert.deepEqual(await all.ask(1), [when === 'full' ? 'b0' : '503'])
    // Nothing is said of it: the pool has a server up.
    assert.deepEqual(told(all), [])
    await all.kill('a')
    await held
  }
})

test('a spill route tries the other pool before it stores, and the stored job waits for its own', async () => {
  const spill = testRoute({ name: 'POST /orders', mode: 'spill', pool: 'a', queue: 'work', waitMs: 30_000 })
  await using all = await rigOf({ servers: { a: 1, b: 1 }, routes: [spill], config: { queues: [testQueue({ name: 'work', pool: 'a' })] } })
  const order = (): Promise<{ status: number; text: string }> => ask(`${all.url}/orders`, { method: 'POST', body: 'tea' })
  await all.kill('a')
  assert.equal((await order()).text, 'b0')
  await all.kill('b')
  const held = order()
  await until('it is stored', () => all.rig.events.some(({ type }) => type === 'mode-flipped'))
  await all.revive('b')
  // Requests are served again, by the other pool; the job is not.
  await until('the route goes direct', async () => (await order()).text === 'b0')
  const served = all.received('b')
  await all.revive('a')
  assert.equal((await held).text, 'a0')
  assert.equal(all.received('b'), served)
})

test('an upgrade goes to the pool that stands in as well', async () => {
  await using all = await rigOf({ servers: { a: 1, b: 1 } })
  await all.kill('a')
  assert.deepEqual(await all.ask(1, { headers: { Connection: 'Upgrade', Upgrade: 'chat' } }), ['b0'])
})

test('a server of the other pool is found by that pool’s own hash', async () => {
  const hashed = { balance: { by: { from: 'header', name: 'x-user' }, loadMax: Number.POSITIVE_INFINITY } } as const
  await using all = await rigOf({ servers: { a: 1, b: 3 }, pools: { a: toB, b: hashed } })
  await all.kill('a')
  const perUser = await Promise.all(['x', 'y', 'z', 'u', 'v', 'w'].map((user) => all.ask(3, { headers: { 'X-User': user } })))
  for (const answered of perUser) assert.equal(new Set(answered).size, 1)
  assert.ok(new Set(perUser.flat()).size > 1)
})
