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

const SECRET = 'MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE='
const STICKY = `sticky: { keys: [{ id: k, secret: "${SECRET}" }] }\n`

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
  'a sticky cookie without a key': [
    `${BASE}routes: [{ match: /*, sticky: { cookie: srv } }]`,
    '2:41  routes[0].sticky.cookie  needs a key that signs it: sticky: { keys: [{ id: first, secret: "${STICKY_KEY}" }] } at the top of the file',
  ],
  'a key of another length': [
    `${BASE}${ROUTE}sticky: { keys: [{ id: k, secret: abc }] }`,
    '3:35  sticky.keys[0].secret  must be 32 random bytes in base64 or hex; make them with: openssl rand -base64 32',
  ],
  'two sticky keys of one name': [
    `${BASE}${ROUTE}sticky: { keys: [{ id: k, secret: "${SECRET}" }, { id: k, secret: "${SECRET}" }] }`,
    '3:91  sticky.keys[1].id  there is another key k',
  ],
  'sticky by nothing, and by two things': [
    `${BASE}${STICKY}routes: [{ match: /a, sticky: {} }, { match: /b, sticky: { cookie: a, appCookie: b } }]`,
    '3:31  routes[0].sticky  needs cookie or appCookie',
    '3:58  routes[1].sticky  has cookie and appCookie; one of them says who is who',
  ],
  'a name that no cookie can have': [
    `${BASE}${STICKY}routes: [{ match: /*, sticky: { cookie: "a b" } }]`,
    '3:41  routes[0].sticky.cookie  must be the name of a cookie, not "a b"',
  ],
  'cookies that browsers refuse': [
    `${BASE}${STICKY}routes:
  - { match: /a, sticky: { cookie: { name: a, sameSite: None } } }
  - { match: /b, sticky: { cookie: __Secure-b } }
  - { match: /c, sticky: { cookie: { name: __Host-c, secure: true, path: /c } } }`,
    '4:36  routes[0].sticky.cookie  sameSite: None needs secure: true, or browsers refuse the cookie',
    '5:36  routes[1].sticky.cookie  __Secure-b needs secure: true, or browsers refuse the cookie',
    '6:36  routes[2].sticky.cookie  __Host-c needs path: /, or browsers refuse the cookie',
  ],
  'a sticky queue route': [
    `${BASE}${STICKY}routes: [{ match: POST /x, mode: queue, sticky: { cookie: a } }]`,
    '3:49  routes[0].sticky  has no meaning on a queue route: which server gets a job is decided by its key',
  ],
  'one cookie for routes of different pools': [
    `${STICKY}pools: { a: { servers: [http://a], sticky: { cookie: srv } }, b: { servers: [http://b], sticky: { cookie: srv } } }
routes:
  - { match: { host: x.example, path: /a }, pool: a }
  - { match: { host: y.example, path: /b }, pool: b }
  - { match: /c, pool: b }`,
    '6:5  routes[2]  the sticky cookie of this route is also that of "x.example/a", which has other pools: they would overwrite each other; give one of them another name',
  ],
  'a sticky pool of several': [
    `pools: { a: { servers: [http://a], sticky: { appCookie: SID } }, b: [http://b] }\nroutes: [{ match: /*, pool: [{ pool: b, weight: 1 }, { pool: a, weight: 1 }] }]`,
    '2:29  routes[0].pool  pool "a" is sticky, and this route has several pools: set sticky here, which keeps the pool as well, or sticky: off',
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

test('a route is sticky as it says, or as its pool says', () => {
  const { routes, sticky } = good(`${STICKY}pools:
  a: { servers: [http://a], sticky: { cookie: srv, wait: 0s } }
  b: { servers: [http://b], sticky: { appCookie: SID } }
routes:
  - { match: /a, pool: a }
  - { match: /b, pool: b }
  - { match: /off, pool: a, sticky: off }
  - { match: /own, pool: b, sticky: { cookie: { name: __Host-x, ttl: 90s, secure: true, sameSite: Strict }, wait: 3s } }
  - { match: /app, pool: a, sticky: { appCookie: { name: S, ttl: 5m } } }
  - { match: POST /q, pool: a, mode: queue }`)
  const defaults = { by: 'gateway', path: '/', secure: false, sameSite: 'Lax' }
  assert.deepEqual(
    routes.map((route) => route.sticky),
    [
      { cookie: { ...defaults, name: 'srv' }, waitMs: 0 },
      { cookie: { by: 'application', name: 'SID', ttlMs: 1_800_000 }, waitMs: 1000 },
      undefined,
      { cookie: { ...defaults, name: '__Host-x', ttlMs: 90_000, secure: true, sameSite: 'Strict' }, waitMs: 3000 },
      { cookie: { by: 'application', name: 'S', ttlMs: 300_000 }, waitMs: 1000 },
      undefined,
    ],
  )
  assert.equal(Buffer.from(sticky?.keys[0]?.secret ?? []).toString('base64'), SECRET)
})
