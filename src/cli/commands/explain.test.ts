/** What `explain` says of the pools of a route. Which route is taken is tested with the router. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { runInProcess } from '../../../test/support/run-command.ts'

async function explained(t: TestContext, config: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-explain-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'spillway.yaml')
  writeFileSync(file, config)
  const { out } = await runInProcess(['explain', 'POST', '/x', '--file', file])
  return out.split('\n')[1]?.trim() ?? ''
}

const POOLS = `pools:
  a: { servers: [http://a, { url: http://c, backup: true }], failover: { pool: b, when: full } }
  b: { servers: [http://b], failover: d }
  d: [http://d]
`

test('backups are named as such, and who stands in for whom', async (t) => {
  assert.equal(
    await explained(t, `${POOLS}routes: [{ match: /*, pool: a }]`),
    'mode direct; pool a (a:80, backup c:80); then pool b (b:80) when a is down or full, then pool d (d:80) when b is down',
  )
})

test('a queue has no other pool', async (t) => {
  assert.equal(
    await explained(t, `${POOLS}routes: [{ match: POST /x, mode: queue, pool: b }, { match: /*, pool: a }]`),
    'mode queue; pool b (b:80); queue x',
  )
})

test('a split, with the share of each pool and what binds a client to it', async (t) => {
  const route = (by: string): string => `${POOLS}routes: [{ match: /*, pool: [{ pool: d, weight: 2 }, { pool: b, weight: 1 }]${by} }]`
  assert.equal(
    await explained(t, route('')),
    'mode direct; pool d (d:80) 66.67 %, pool b (b:80) 33.33 %, drawn for each request; then pool d (d:80) when b is down',
  )
  assert.equal(
    await explained(t, route(', splitBy: cookie:s')),
    'mode direct; pool d (d:80) 66.67 %, pool b (b:80) 33.33 %, by cookie:s; then pool d (d:80) when b is down',
  )
})

test('what a client comes back by', async (t) => {
  const sticky = 'sticky: { keys: [{ id: k, secret: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" }] }\n'
  assert.equal(
    await explained(t, `${sticky}${POOLS}routes: [{ match: /*, pool: d, sticky: { cookie: srv } }]`),
    'mode direct; pool d (d:80); sticky by the cookie srv',
  )
  assert.equal(
    await explained(t, `${POOLS}routes: [{ match: /*, pool: d, sticky: { appCookie: SID } }]`),
    "mode direct; pool d (d:80); sticky by the application's cookie SID",
  )
})

test('how urgent it is, and how many tunnels it may have', async (t) => {
  const route = '{ match: /*, pool: d, priority: 7, tunnels: { max: 5 } }'
  assert.equal(await explained(t, `${POOLS}routes: [${route}]`), 'mode direct; pool d (d:80); priority 7; at most 5 tunnels')
})

test('what makes servers be asked more than once', async (t) => {
  const keys = 'timeout: 30s, retry: { on: [503, 429], attempts: 4 }, hedge: { after: p99.9 }, mirror: { pool: b, share: 2.5% }'
  assert.equal(
    await explained(t, `${POOLS}routes: [{ match: /*, pool: d, ${keys} }]`),
    'mode direct; pool d (d:80); over after 30 s; up to 4 tries; retried on 503, 429; hedged after p99.9; 2.5 % copied to pool b',
  )
  assert.equal(
    await explained(t, `${POOLS}routes: [{ match: /*, pool: d, timeout: none, retry: off }]`),
    'mode direct; pool d (d:80); one try',
  )
})
