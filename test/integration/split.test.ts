/** Requests of a route that are shared out among several pools. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BalanceSource, RouteConfig } from '../../src/config/config.ts'
import { ask } from '../support/http-client.ts'
import { type PoolsRig, startPoolsRig } from '../support/pools-rig.ts'
import { testQueue, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

function route(weights: readonly [stable: number, canary: number], by?: BalanceSource, change: Partial<RouteConfig> = {}): RouteConfig {
  const shares = [
    { pool: 'stable', weight: weights[0] },
    { pool: 'canary', weight: weights[1] },
  ]
  return testRoute({ name: '/*', mode: 'direct', pool: 'stable', split: { shares, ...(by && { by }) }, ...change })
}

const SESSION: BalanceSource = { from: 'cookie', name: 'session' }

function rigOf(...routes: readonly RouteConfig[]): Promise<PoolsRig> {
  return startPoolsRig({ servers: { stable: 1, canary: 1 }, routes })
}

/** What each of these clients is answered by. */
async function sides(all: PoolsRig, clients: number): Promise<string[]> {
  const answers = Array.from({ length: clients }, (_, n) => all.ask(1, { headers: { Cookie: `session=c${n}` } }))
  return (await Promise.all(answers)).flat()
}

test('a draw for each request gives each pool its share, and the access log names the pool', async () => {
  await using all = await rigOf(route([90, 10]))
  const answers = await Promise.all(Array.from({ length: 500 }, () => all.ask(1)))
  const canary = answers.flat().filter((name) => name === 'canary0').length
  assert.ok(canary > 15 && canary < 100, `${canary} of 500`)
  await until('all are logged', () => all.rig.access.length === 500)
  assert.equal(all.rig.access.filter(({ pool }) => pool === 'canary').length, canary)
})

test('who shows the same stays on its side, also when another gateway answers, and moves only with the changed share', async () => {
  await using all = await rigOf(route([70, 30], SESSION))
  const before = await sides(all, 100)
  assert.deepEqual(await sides(all, 100), before)
  assert.ok(before.includes('stable0') && before.includes('canary0'))
  await using other = await rigOf(route([50, 50], SESSION))
  const after = await sides(other, 100)
  const moved = after.flatMap((name, n) => (name === before[n] ? [] : [name]))
  assert.ok(moved.length > 5 && moved.length < 40 && moved.every((name) => name === 'canary0'), JSON.stringify(moved))
})

test('a pool of weight 0 gets nobody, and who shows nothing draws', async () => {
  await using all = await rigOf(route([1, 0], SESSION))
  assert.ok((await sides(all, 50)).every((name) => name === 'stable0'))
  await using half = await rigOf(route([1, 1], SESSION))
  assert.equal(new Set(await half.ask(50)).size, 2)
})

test('a side that has no server up answers 503, unless another pool stands in for it', async () => {
  await using all = await startPoolsRig({
    servers: { stable: 1, canary: 1 },
    routes: [route([0, 1])],
    pools: { canary: { waitMs: 20 } },
  })
  await all.kill('canary')
  assert.deepEqual(await all.ask(1), ['503'])
  await using safe = await startPoolsRig({
    servers: { stable: 1, canary: 1 },
    routes: [route([0, 1])],
    pools: { canary: { failover: { pool: 'stable', when: 'down' } } },
  })
  await safe.kill('canary')
  assert.deepEqual(await safe.ask(1), ['stable0'])
})

test('upgrades are shared out as well', async () => {
  await using all = await rigOf(route([0, 1]))
  assert.deepEqual(await all.ask(1, { headers: { Connection: 'Upgrade', Upgrade: 'chat' } }), ['canary0'])
})

test('a request that spills becomes a job of the pool of the queue, whatever its side was', async () => {
  const spill = route([1, 1], SESSION, { name: 'POST /*', mode: 'spill', queue: 'work', waitMs: 30_000 })
  await using all = await startPoolsRig({
    servers: { stable: 1, canary: 1 },
    routes: [spill],
    config: { queues: [testQueue({ name: 'work', pool: 'stable' })] },
  })
  const client = async (n: number): Promise<string> =>
    (await ask(all.url, { method: 'POST', body: 'x', headers: { Cookie: `session=c${n}` } })).text
  const before = await Promise.all(Array.from({ length: 20 }, (_, n) => client(n)))
  const ofCanary = before.indexOf('canary0')
  await all.kill('canary')
  assert.equal(await client(ofCanary), 'stable0')
  assert.equal(all.rig.events.filter(({ type }) => type === 'mode-flipped').length, 1)
})
