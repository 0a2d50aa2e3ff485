import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { describe, test } from 'node:test'
import type { Config } from './config.ts'
import { inPlace } from './in-place.ts'
import { loadText } from './load.ts'
import { withoutValues } from './problem.ts'

const BASE = {
  pools: { a: ['http://127.0.0.1:1'] },
  routes: [{ match: 'POST /a', mode: 'queue' }],
  queues: { q: { pull: true } },
}

function read(change: Record<string, unknown> = {}): Config {
  const loaded = loadText(JSON.stringify({ ...BASE, ...change }), { file: 'x.yaml', folder: '/x' }, {})
  assert.ok(loaded.ok, JSON.stringify(loaded))
  return loaded.config
}

describe('what holds at once and what after a restart', () => {
  const cases: Readonly<Record<string, readonly [change: Record<string, unknown>, needsRestart: readonly string[]]>> = {
    nothing: [{}, []],
    routes: [{ routes: [{ match: '/b' }] }, []],
    queues: [{ queues: { q: { pull: true, attempts: 3, limits: { jobs: 5 } }, r: { pool: 'a' } } }, []],
    schedules: [{ schedules: { s: { queue: 'q', every: '1h', job: { text: 'x' } } } }, []],
    topics: [{ topics: { t: { subscriptions: { s: { queue: 'q' } } } } }, []],
    cors: [{ cors: { origins: ['https://x.example'] } }, []],
    'a new pool': [{ pools: { ...BASE.pools, b: ['http://127.0.0.1:2'] }, routes: [{ match: '/b', pool: 'b' }] }, []],
    'keys and sizes of the API': [
      { api: { keys: [{ name: 'k', token: 'x'.repeat(20), queues: ['*'], can: ['send'] }], receiveMax: 5, leaseMax: '1h' } },
      [],
    ],
    'jobs and drainTimeout': [{ jobs: { waitMax: '50s', heartbeat: '9s', publicUrl: 'https://x.example' }, drainTimeout: '9s' }, []],
    'a pool that changes': [{ pools: { a: { servers: ['http://127.0.0.1:2'], maxInFlight: 3, balance: 'random', wait: '1s' } } }, []],
    'a pool that goes': [{ pools: { b: ['http://127.0.0.1:2'] }, routes: [{ match: '/b' }] }, []],
    listeners: [{ listeners: ['127.0.0.1:1'] }, ['listeners']],
    admin: [{ admin: { address: '127.0.0.1:1', token: 'x'.repeat(20) } }, ['admin.address', 'admin.token']],
    store: [{ store: { engine: 'memory', diskFloor: '1MiB' } }, ['store.engine', 'store.diskFloor']],
    limits: [{ limits: { connections: 5, head: '16KiB' } }, ['limits.head', 'limits.connections']],
    'limits that others follow from': [{ limits: { buffered: '8MiB', result: '1MiB' } }, ['limits.buffered', 'limits.result', 'api.body']],
    timeouts: [{ timeouts: { head: '9s', upstreamIdle: '1s' } }, ['timeouts.head', 'timeouts.upstreamIdle']],
    'api, what was reserved for it': [{ api: { receiversMax: 5, body: '8MiB' } }, ['api.receiversMax', 'api.body']],
    others: [
      { trustedPeers: ['10.0.0.0/8'], name: 'other', log: { format: 'json', access: 'stdout' }, jobs: { path: '/_x' } },
      ['jobs.path', 'trustedPeers', 'name', 'log.format', 'log.access'],
    ],
  }
  for (const [name, [change, needsRestart]] of Object.entries(cases)) {
    test(name, () => {
      const [running, wanted] = [read(), read(change)]
      const first = inPlace(running, wanted)
      assert.deepEqual([...first.needsRestart].sort(), [...needsRestart].sort())
      assert.deepEqual(inPlace(first.config, wanted).needsRestart, first.needsRestart, 'read once more, it is the same')
      assert.equal(isDeepStrictEqual(first.config, wanted), needsRestart.length === 0)
      assert.deepEqual(inPlace(first.config, running), { config: running, needsRestart: [] })
    })
  }
})

test('lines without values keep the place, the key and the names of queues and pools', () => {
  for (const [line, kept] of [
    [
      'x.yaml:1:2  pools.a[0]  must be a URL such as http://127.0.0.1:3000, not "http://u:p\\"w@h"',
      'x.yaml:1:2  pools.a[0]  must be a URL such as http://127.0.0.1:3000, not "…"',
    ],
    ['x.yaml  admin.token  must be text, not 123456', 'x.yaml  admin.token  must be text, not …'],
    ['x.yaml  admin  must be a mapping, not text', 'x.yaml  admin  must be a mapping, not text'],
    ['x.yaml  routes[0].queue  there is no queue "ab"; there is cd', 'x.yaml  routes[0].queue  there is no queue "ab"; there is cd'],
    ['x.yaml  limits.head  must be at least 1, not -5', 'x.yaml  limits.head  must be at least 1, not …'],
  ] as const)
    assert.equal(withoutValues(line), kept)
})
