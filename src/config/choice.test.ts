/** Backups, pools that stand in for others, and routes over several pools in a configuration. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from './config.ts'
import { loadText } from './load.ts'

const BASE = 'pools: { api: [http://127.0.0.1:3001] }\n'
const ROUTE = 'routes: [{ match: /* }]\n'
const OPTIONS = { file: 'x.yaml', folder: '/srv' }

function good(text: string): Config {
  const result = loadText(text, OPTIONS, {})
  assert.ok(result.ok, JSON.stringify(result))
  return result.config
}

const BAD: Readonly<Record<string, readonly [file: string, ...lines: string[]]>> = {
  'a pool of backups only': [
    `pools: { a: [{ url: http://a, backup: true }, { url: http://b, backup: true }] }\n${ROUTE}`,
    '1:13  pools.a  are all backups, which stand in for others; leave backup out where there is nobody else',
  ],
  'a failover to a pool that is not there': [
    `pools: { api: { servers: [http://a], failover: apo } }\n${ROUTE}`,
    '1:48  pools.api.failover  there is no pool "apo"; there is api  (did you mean api?)',
  ],
  'a pool that stands in for itself': [
    `pools: { api: { servers: [http://a], failover: api } }\n${ROUTE}`,
    '1:48  pools.api.failover  goes round in a circle: api, api; a pool that stands in for another must not need it',
  ],
  'pools that stand in for each other': [
    `pools: { a: { servers: [http://a], failover: b }, b: { servers: [http://b], failover: { pool: a } }, c: { servers: [http://c], failover: a } }\nroutes: [{ match: /*, pool: c }]`,
    '1:46  pools.a.failover  goes round in a circle: a, b, a; a pool that stands in for another must not need it',
    '1:87  pools.b.failover  goes round in a circle: b, a, b; a pool that stands in for another must not need it',
  ],
  'a split over a pool that is not there': [
    `${BASE}routes: [{ match: /*, pool: [{ pool: api, weight: 1 }, { pool: apo, weight: 1 }] }]`,
    '2:64  routes[0].pool[1].pool  there is no pool "apo"; there is api  (did you mean api?)',
  ],
  'a split over the same pool twice': [
    `${BASE}routes: [{ match: /*, pool: [{ pool: api, weight: 1 }, { pool: api, weight: 1 }] }]`,
    '2:64  routes[0].pool[1].pool  api stands in this list twice; use weight to give it more',
  ],
  'a split without a weight': [
    `${BASE}routes: [{ match: /*, pool: [{ pool: api, weight: 0 }] }]`,
    '2:29  routes[0].pool  has no pool with a weight: nobody would be served',
  ],
  'a weight that is too large': [
    `${BASE}routes: [{ match: /*, pool: [{ pool: api, weight: 10001 }] }]`,
    '2:51  routes[0].pool[0].weight  must be at most 10000, not 10001',
  ],
  'a split of a queue route': [
    `${BASE}routes: [{ match: POST /a, mode: queue, pool: [{ pool: api, weight: 1 }] }]`,
    '2:47  routes[0].pool  is a list, but the jobs of a queue go to one pool; name that one, or set mode: spill or mode: direct',
  ],
  'a split by a parameter that is not there': [
    `${BASE}routes: [{ match: "/x/{id}", pool: [{ pool: api, weight: 1 }], splitBy: path:ib }]`,
    '2:73  routes[0].splitBy  the path /x/{id} has no parameter {ib}  (did you mean path:id?)',
  ],
  'a way to split one pool': [
    `${BASE}routes: [{ match: /*, pool: api, splitBy: address }]`,
    '2:43  routes[0].splitBy  says who gets which of several pools; make pool a list, or leave this key out',
  ],
  'a split whose queue has yet another pool': [
    `pools: { a: [http://a], b: [http://b], c: [http://c] }\nqueues: { q: { pool: c } }\nroutes: [{ match: POST /x, mode: spill, queue: q, pool: [{ pool: a, weight: 1 }, { pool: b, weight: 2 }] }, { match: /*, pool: c }]`,
    '3:48  routes[0].queue  the queue "q" is worked off by pool "c", but this route is for pool "b"',
  ],
}

for (const [what, [file, ...lines]] of Object.entries(BAD)) {
  test(`refused: ${what}`, () => {
    const result = loadText(file, OPTIONS, {})
    assert.ok(!result.ok)
    assert.deepEqual(
      result.errors,
      lines.map((line) => `x.yaml:${line}`),
    )
  })
}

test('a route over several pools: its jobs are for the pool of its queue, or the one of most weight', () => {
  const config = good(
    `pools: { a: [http://a], b: [http://b] }
queues: { q: { pool: a } }
routes:
- { match: POST /q, mode: spill, queue: q, pool: [{ pool: a, weight: 0 }, { pool: b, weight: 2 }], splitBy: cookie:s }
- { match: POST /r, mode: spill, pool: [{ pool: a, weight: 1 }, { pool: b, weight: 2 }] }
- { match: /*, pool: [{ pool: a, weight: 1 }] }`,
  )
  const [q, r, direct] = config.routes
  assert.deepEqual([q?.pool, r?.pool, direct?.pool], ['a', 'b', 'a'])
  assert.deepEqual(q?.split, {
    shares: [
      { pool: 'a', weight: 0 },
      { pool: 'b', weight: 2 },
    ],
    by: { from: 'cookie', name: 's' },
  })
  assert.deepEqual(direct?.split, { shares: [{ pool: 'a', weight: 1 }] })
  assert.deepEqual(
    config.queues.map(({ name, pool }) => [name, pool]),
    [
      ['q', 'a'],
      ['r', 'b'],
    ],
  )
})
