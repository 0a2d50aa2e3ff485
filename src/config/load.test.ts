import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Config } from './config.ts'
import type { LoadResult } from './load.ts'
import { LONG, SERVER_REPORTS, SHORT } from '../../test/support/config-texts.ts'
import { loadConfig, loadText } from './load.ts'

const OPTIONS = { file: 'spillway.yaml', folder: '/srv/app' }

function load(text: string, environment: Record<string, string> = {}): LoadResult {
  return loadText(text, OPTIONS, environment)
}

function good(text: string, environment?: Record<string, string>): Config {
  const result = load(text, environment)
  if (!result.ok) assert.fail(result.errors.join('\n'))
  return result.config
}

/** One line to which a case adds its mistake. */
const BASE = 'pools: { api: [http://127.0.0.1:3001] }\n'
const ROUTE = 'routes: [{ match: /* }]\n'.replace('/*', '"/*"')

describe('good files', () => {
  test('the short form of the handbook', () => {
    const config = good(SHORT)
    assert.deepEqual(
      config.routes.map(({ name, mode, pool, queue, key, waitMs, redeliver }) => ({ name, mode, pool, queue, key, waitMs, redeliver })),
      [
        { name: 'POST /reports', mode: 'queue', pool: 'api', queue: 'reports', key: undefined, waitMs: 0, redeliver: 'always' },
        {
          name: 'POST /orders/{id}',
          mode: 'spill',
          pool: 'api',
          queue: 'orders',
          key: { from: 'path', name: 'id' },
          waitMs: 25_000,
          redeliver: 'safe',
        },
        { name: '/*', mode: 'direct', pool: 'api', queue: undefined, key: undefined, waitMs: 0, redeliver: 'always' },
      ],
    )
    assert.deepEqual(
      config.queues.map((queue) => [queue.name, queue.pool]),
      [
        ['reports', 'api'],
        ['orders', 'api'],
      ],
    )
    assert.deepEqual(config.pools[0]?.servers, [
      { name: '127.0.0.1:3001', host: '127.0.0.1', port: 3001, weight: 1 },
      { name: '127.0.0.1:3002', host: '127.0.0.1', port: 3002, weight: 1 },
    ])
    assert.deepEqual(config.listeners, [{ address: { host: '127.0.0.1', port: 8080 } }])
    assert.equal(config.store.path, '/srv/app/data')
  })

  test('the long form of the handbook, which spells out the defaults', () => {
    const health = { path: '/healthz', intervalMs: 2000, timeoutMs: 1000, fall: 3, rise: 2 }
    const queueing = { targetMs: 100, intervalMs: 500 }
    const pool = { balance: 'least-requests' as const, maxInFlight: 64, maxTunnels: 1024, waitMs: 2000, maxWaiting: 1024, queueing }
    const outliers = {
      ...{ consecutive: 5, failureRate: 0.5, volumeMin: 50, slowerThan: Number.POSITIVE_INFINITY, windowMs: 10_000 },
      ...{ ejectMs: 30_000, ejectMaxMs: 300_000, ejectedMax: 0.1 },
    }
    assert.deepEqual(good(LONG), {
      file: 'spillway.yaml',
      listeners: [{ address: { host: '127.0.0.1', port: 8080 } }],
      admin: { address: { host: '127.0.0.1', port: 9900 }, calls: 48 },
      store: { engine: 'embedded', path: '/srv/app/data', diskFloor: 67_108_864 },
      pools: [
        {
          name: 'api',
          servers: [{ name: '127.0.0.1:3001', host: '127.0.0.1', port: 3001, weight: 1 }],
          ...pool,
          health,
          outliers,
          slowStartMs: 10_000,
          addresses: 'all',
          drainTimeoutMs: 300_000,
          failoverGraceMs: 10_000,
          reserve: 0.2,
          ...{ retries: { budget: 0.2, minPerSecond: 3 }, serverReports: SERVER_REPORTS },
        },
      ],
      queues: [
        {
          name: 'reports',
          pool: 'api',
          pull: false,
          concurrency: 8,
          attempts: 20,
          backoff: { baseMs: 1000, maxMs: 1_800_000 },
          timeoutMs: 60_000,
          defer: { maxMs: 86_400_000, jobs: 1000 },
          keepMs: 86_400_000,
          keepDeadMs: 1_209_600_000,
          deadLetter: 'exhausted',
          onUnauthorized: 'fail',
          rules: { onFailure: 'skip', overflow: 'refuse' },
          limits: { jobs: 1_000_000, bytes: 10 * 1024 ** 3, finished: 10 * 1024 ** 3 },
          shedFrom: 0.5,
        },
      ],
      routes: [
        {
          name: 'POST /reports',
          match: { path: '/reports', methods: ['POST'], headers: [], query: [] },
          pool: 'api',
          mode: 'queue',
          queue: 'reports',
          waitMs: 0,
          patienceMs: 0,
          spill: { enterMs: 100, leaveMs: 5000 },
          onWait: 'accept',
          key: { from: 'header', name: 'x-account' },
          allow: ['prefer', 'idempotency-key', 'key', 'delay'],
          methods: ['POST', 'PUT', 'PATCH', 'DELETE'],
          redeliver: 'always',
          idempotencyScope: 'authorization',
        },
      ],
      schedules: [],
      topics: [],
      api: { keys: [], receiveMax: 1000, receiversMax: 4096, queuesMax: 1000, leaseMaxMs: 43_200_000, body: 16_777_216 },
      limits: {
        head: 32_768,
        headers: 100,
        target: 8192,
        body: 0,
        jobBody: 1_048_576,
        streamedResult: 1024 * 1024 * 1024,
        answer: 1_048_576,
        result: 16_777_216,
        spillCopy: 65_536,
        buffered: 268_435_456,
        connections: 16_384,
        eventSockets: 8192,
        perClient: { jobs: 0, watchers: 0 },
        watches: 1000,
        schedules: 10_000,
        scheduleBytes: 16_777_216,
        tasks: 100,
        rateKeys: 100_000,
        stickySessions: 100_000,
        subscriptions: 100,
        filterValues: 1000,
        chain: 32,
        batch: 10_000,
        serverChanges: 1000,
        batches: 10_000,
      },
      timeouts: {
        headMs: 10_000,
        bodyMs: 30_000,
        idleMs: 75_000,
        connectMs: 3000,
        firstByteMs: 60_000,
        callMs: 0,
        stallMs: 60_000,
        upstreamIdleMs: 4000,
        tunnelMs: 3_600_000,
      },
      jobs: { path: '/_spillway', waitMaxMs: 60_000, heartbeatMs: 15_000 },
      trustedPeers: [],
      name: 'spillway',
      log: { format: 'text', access: 'off' },
      drainTimeoutMs: 30_000,
      workers: 1,
      guard: { loopDelay: { from: 200, full: 800 }, memory: { from: 0.8, full: 0.95 }, sockets: { from: 0.8, full: 0.95 } },
    } satisfies Config)
  })

  test('every key at another value than its default', () => {
    const config = good(`
listeners: [0.0.0.0:80, { address: "[::1]:8080" }]
admin: { address: 0.0.0.0:9900, token: secret }
store: { engine: memory, path: /var/lib/spillway }
pools:
  a: { servers: ["http://A.example:80/", { url: "http://[::1]:3000", weight: 3 }, { url: http://c, backup: true }], failover: { pool: b, when: full }, balance: round-robin, eject: off, maxInFlight: 1, maxTunnels: 0, wait: 0s,
       maxWaiting: 0, health: { interval: 500ms, timeout: 100ms, fall: 1, rise: 1 }, slowStart: 0s, failoverGrace: 0s,
       reserve: 0%, retries: { budget: 2.5%, min: 0 } }
  b: [http://b.example]
queues:
  q: { pool: b, concurrency: 1, attempts: 1, backoff: { base: 1ms, max: 2ms }, timeout: 1s, expireAfter: 1h, keep: 1m, keepDead: 1m, deadLetter: all,
       sideline: { after: 5s, share: 50% }, pace: { interval: 1s }, shed: { from: 80% },
       limits: { jobs: 1, bytes: 1B, finished: 1KiB } }
routes:
  - { match: { host: "*.Example.com", path: "/a/{x}/*", method: [post, GET, post], headers: { X-A: "1" }, query: { v: "2" } }, mode: spill, pool: b,
      queue: q, wait: 1s, patience: 1ms, spill: { enter: 0ms, leave: 1s }, onWait: cancel, key: json:/a~1b/0, allow: [], methods: [POST, GET], redeliver: always,
      idempotency: { scope: X-Tenant }, cors: { origins: ["*"] } }
  - { match: "GET,HEAD /b", pool: a }
limits: { head: 9KiB, headers: 1, target: 1KiB, body: 1GiB, jobBody: 2KiB, result: 3KiB, spillCopy: 1KiB, buffered: 4KiB, connections: 1 }
timeouts: { head: 1s, body: 2s, idle: 3s, connect: 4s, firstByte: 5s, call: 6s, stall: 7s, upstreamIdle: 8s, tunnel: 9s }
jobs: { path: /jobs/v1, publicUrl: https://api.example.com/x/, waitMax: 1m, heartbeat: 1s }
trustedPeers: [10.0.0.0/8, "::1", "fd00::/8"]
name: edge-1
cors: { origins: [https://app.example.com], methods: [post], headers: [X-A], credentials: true, maxAge: 0s }
log: { format: json, access: access.log, accessFormat: text }
drainTimeout: 0s
`)
    const [spill, direct] = config.routes
    assert.deepEqual(spill?.match, {
      host: '*.example.com',
      path: '/a/{x}/*',
      methods: ['POST', 'GET'],
      headers: [['x-a', '1']],
      query: [['v', '2']],
    })
    assert.equal(spill?.name, 'POST,GET *.example.com/a/{x}/* x-a=1 ?v=2')
    assert.deepEqual(spill?.key, { from: 'json', name: '/a~1b/0' })
    assert.equal(spill?.idempotencyScope, 'x-tenant')
    assert.deepEqual(spill?.cors?.origins, ['*'])
    assert.deepEqual(direct?.cors, {
      origins: ['https://app.example.com'],
      methods: ['POST'],
      headers: ['x-a'],
      credentials: true,
      maxAgeMs: 0,
    })
    assert.deepEqual(direct?.match.methods, ['GET', 'HEAD'])
    assert.equal(config.pools[0]?.outliers, undefined)
    assert.deepEqual(config.pools[0]?.servers, [
      { name: 'a.example:80', host: 'a.example', port: 80, weight: 1 },
      { name: '[::1]:3000', host: '::1', port: 3000, weight: 3 },
      { name: 'c:80', host: 'c', port: 80, weight: 1, backup: true },
    ])
    assert.deepEqual(config.pools[0]?.failover, { pool: 'b', when: 'full' })
    assert.deepEqual(config.pools[1]?.servers[0], { name: 'b.example:80', host: 'b.example', port: 80, weight: 1 })
    assert.equal(config.queues[0]?.expireAfterMs, 3_600_000)
    const [q] = config.queues
    assert.deepEqual([q?.rules.sideline, q?.pace, q?.shedFrom], [{ afterMs: 5000, share: 0.5 }, { intervalMs: 1000 }, 0.8])
    assert.deepEqual([config.pools[0]?.reserve, config.pools[0]?.retries], [0, { budget: 0.025, minPerSecond: 0 }])
    assert.deepEqual(spill?.spill, { enterMs: 0, leaveMs: 1000 })
    assert.deepEqual(config.log, { format: 'json', access: '/srv/app/access.log', accessFormat: 'text' })
    assert.equal(config.jobs.publicUrl, 'https://api.example.com/x')
    assert.equal(config.store.path, '/var/lib/spillway')
  })

  test('a queue is named after the path, and a queue of that name gives its settings and its pool', () => {
    const names = ['/a/{id}/b/*', '/', '/{x}', '/a~b%20c', '/.hidden'].map((path) => {
      const config = good(`${BASE}routes: [{ match: "POST ${path}", mode: queue }]`)
      return config.routes[0]?.queue
    })
    assert.deepEqual(names, ['a-b', 'default', 'default', 'a-b-20c', 'hidden'])
    const config = good(
      'pools: { a: [http://a], b: [http://b] }\nqueues: { x: { pool: b, attempts: 3 } }\nroutes: [{ match: POST /x, mode: queue }, { match: /, pool: a }]',
    )
    assert.deepEqual([config.routes[0]?.pool, config.queues[0]?.attempts], ['b', 3])
  })

  test('a queue that a spill route fills stands back behind live requests, unless it says otherwise', () => {
    const config = good(`
pools: { a: [http://a] }
queues: { off: { sideline: off, pace: off, shed: off }, on: { pool: a, sideline: {}, pace: {} } }
routes: [{ match: POST /s, mode: spill }, { match: POST /off, mode: spill }, { match: POST /q, mode: queue }, { match: POST /on, mode: queue }]
`)
    const back = { sideline: { afterMs: 30_000, share: 0.2 }, pace: { intervalMs: 500 }, shedFrom: 0.5 }
    const none = { sideline: undefined, pace: undefined }
    const queues = config.queues.map(({ name, rules: { sideline }, pace, shedFrom }) => [name, { sideline, pace, shedFrom }])
    assert.deepEqual(Object.fromEntries(queues), {
      off: { ...none, shedFrom: undefined },
      on: back,
      s: back,
      q: { ...none, shedFrom: 0.5 },
    })
  })

  test('how requests wait follows from `wait`, unless the pool says it, and where nobody waits there is no order', () => {
    const config = good(`
pools:
  a: { servers: [http://a], wait: 10s }
  b: { servers: [http://b], queueing: fifo }
  c: { servers: [http://c], queueing: { target: 20ms } }
  d: { servers: [http://d], wait: 0s }
routes: [{ match: /a, pool: a }, { match: /b, pool: b }, { match: /c, pool: c }, { match: /d, pool: d }]
`)
    assert.deepEqual(
      config.pools.map(({ queueing }) => queueing),
      [{ targetMs: 500, intervalMs: 2500 }, undefined, { targetMs: 20, intervalMs: 500 }, undefined],
    )
  })

  test('what the guard does not look at is not there', () => {
    const guards = ['off', '{ loopDelay: off, memory: off, sockets: off }', '{ memory: off, sockets: off, loopDelay: { full: 2s } }']
    assert.deepEqual(
      guards.map((guard) => good(`${BASE}${ROUTE}guard: ${guard}`).guard),
      [undefined, undefined, { loopDelay: { from: 200, full: 2000 } }],
    )
  })

  test('tunnels have the limits that are written, and no others', () => {
    const config = good(`
pools: { a: { servers: [http://a], rebalanceTunnels: 10/s }, b: [http://b] }
routes:
  - { match: /a, pool: a, tunnels: { max: 100, perClient: 2, connectRate: 50/s, idle: 5m } }
  - { match: /b, pool: b, tunnels: {} }
  - { match: /c, pool: b }
`)
    assert.deepEqual(
      config.routes.map(({ tunnels }) => tunnels),
      [{ max: 100, perClient: 2, connectRate: { count: 50, perMs: 1000 }, idleMs: 300_000 }, {}, undefined],
    )
    assert.deepEqual(
      config.pools.map(({ rebalanceTunnels }) => rebalanceTunnels),
      [{ count: 10, perMs: 1000 }, undefined],
    )
  })

  test('where one route of a pool has a priority, all of them are refused by priority, unless the pool says otherwise', () => {
    const config = good(`
pools: { a: [http://a], b: { servers: [http://b], shed: off }, c: { servers: [http://c], shed: { from: 80% } }, d: [http://d] }
routes:
  - { match: /a, pool: a, priority: 2 }
  - { match: /a2, pool: a }
  - { match: /b, pool: b, priority: 2 }
  - { match: /c, pool: c, allow: [priority] }
  - { match: /d, pool: d }
`)
    assert.deepEqual(
      config.routes.map(({ priority, shedFrom }) => [priority, shedFrom]),
      [
        [2, 0.5],
        [undefined, 0.5],
        [2, undefined],
        [undefined, 0.8],
        [undefined, undefined],
      ],
    )
    const split = good(`
pools: { a: [http://a], b: [http://b] }
routes: [{ match: /s, pool: [{ pool: a, weight: 1 }, { pool: b, weight: 1 }], priority: 2 }, { match: /b, pool: b }]
`)
    assert.deepEqual(
      split.routes.map(({ shedFrom }) => shedFrom),
      [0.5, 0.5],
    )
  })

  test('the environment fills in values, numbers too', () => {
    const config = good(
      `name: \${NAME}\nstore: { path: "\${DIR:-/var/x}/data" }\nadmin: { token: "\${TOKEN}" }\nlimits: { headers: "\${N}" }
cors: { origins: ["https://\${EMPTY:-app}.example.com"], credentials: "\${YES}" }\njobs: { publicUrl: "http://x/$\${y}" }\n${BASE}${ROUTE}`,
      { NAME: 'gw', TOKEN: '123456', N: '7', EMPTY: '', YES: 'true' },
    )
    assert.equal(config.name, 'gw')
    assert.equal(config.store.path, '/var/x/data')
    assert.equal(config.admin.token, '123456')
    assert.equal(config.limits.headers, 7)
    assert.deepEqual(config.cors?.origins, ['https://app.example.com'])
    assert.equal(config.cors.credentials, true)
    assert.equal(config.jobs.publicUrl, 'http://x/${y}')
  })

  test('a streamed answer holds its client, and fails in part unless it is to begin anew', () => {
    const config = good(
      `${BASE}jobs: { waitMax: 20s }\nroutes:\n  - { match: POST /a, mode: queue, stream: true }\n  - { match: POST /b, mode: spill, stream: true, onPartial: restart, wait: 3s }\n  - { match: POST /c, mode: queue, stream: false }`,
    )
    assert.deepEqual(
      config.routes.map(({ stream, waitMs }) => [stream, waitMs]),
      [
        [{ onPartial: 'fail' }, 20_000],
        [{ onPartial: 'restart' }, 3000],
        [undefined, 0],
      ],
    )
  })

  test('anchors and aliases work', () => {
    const config = good(
      `pools: { a: &p { servers: [http://a], wait: 5s }, b: *p }\nroutes: [{ match: /, pool: a }, { match: /b, pool: b }]`,
    )
    assert.deepEqual(
      config.pools.map((pool) => pool.waitMs),
      [5000, 5000],
    )
  })
})

describe('queues, the queue API, schedules and topics', () => {
  test('every key of a queue at another value than its default', () => {
    const config = good(`
pools: { a: [http://a] }
queues:
  q: { pool: a, pull: true, deadline: 1h, onFailure: block, ageing: 10s, maxRunning: 3, rate: 100/s, keyRate: 10/1m, tenantMaxRunning: 2,
       limits: { age: 5m, overflow: drop-oldest } }
  alone: {}
  asked: { pull: true }
routes: [{ match: POST /x, mode: queue, queue: q, tenant: "json:/who" }, { match: POST /y, mode: queue, queue: asked }]
store: { diskFloor: 1GiB }
`)
    const [q, alone, asked] = ['q', 'alone', 'asked'].map((name) => config.queues.find((queue) => queue.name === name))
    assert.deepEqual([q?.pool, q?.pull, q?.deadlineMs], ['a', true, 3_600_000])
    assert.deepEqual(q?.rules, {
      onFailure: 'block',
      ageingMs: 10_000,
      maxRunning: 3,
      rate: { count: 100, perMs: 1000 },
      keyRate: { count: 10, perMs: 60_000 },
      tenantMaxRunning: 2,
      overflow: 'drop-oldest',
    })
    assert.equal(q?.limits.age, 300_000)
    assert.deepEqual([alone?.pool, alone?.pull, asked?.pool, asked?.pull], [undefined, true, undefined, true])
    assert.deepEqual(
      config.routes.map(({ pool }) => pool),
      ['a', undefined],
    )
    assert.deepEqual(config.routes[0]?.tenant, { from: 'json', name: '/who' })
    assert.equal(config.store.diskFloor, 1024 ** 3)
  })

  test('a file may have queues only, and nothing to serve but them', () => {
    const config = good('queues: { mails: {} }\napi: { keys: [{ name: a, token: "0123456789abcdef", queues: ["*"], can: [send] }] }\n')
    assert.deepEqual([config.pools, config.routes, config.queues[0]?.pull], [[], [], true])
    assert.deepEqual(config.api.keys, [{ name: 'a', token: '0123456789abcdef', queues: ['*'], can: ['send'] }])
  })

  test('secrets for signing are base64 after whsec_, or text as it is', () => {
    const keys = `[{ id: a, secret: "\${A}" }, { id: b, secret: twenty-four-characters-ab }]`
    const config = good(`${BASE}${ROUTE}signing: { keys: ${keys} }`, { A: `whsec_${Buffer.alloc(24, 7).toString('base64')}` })
    assert.deepEqual(
      config.signing?.keys.map(({ id, secret }) => [id, Buffer.from(secret)]),
      [
        ['a', Buffer.alloc(24, 7)],
        ['b', Buffer.from('twenty-four-characters-ab')],
      ],
    )
  })

  test('keys of the store are read from base64 and from hex', () => {
    const secret = Buffer.alloc(32, 7)
    const config = good(`${BASE}${ROUTE}store: { encryption: { keys: [{ id: k2, secret: "\${A}" }, { id: k1, secret: "\${B}" }] } }`, {
      A: secret.toString('base64'),
      B: secret.toString('hex'),
    })
    const keys = config.store.encryption?.keys ?? []
    assert.deepEqual(
      keys.map(({ id, secret: bytes }) => [id, Buffer.from(bytes).equals(secret)]),
      [
        ['k2', true],
        ['k1', true],
      ],
    )
  })

  test('schedules and topics become what the queue API would make of them', () => {
    const config = good(`
queues: { reports: {}, all: {} }
schedules:
  nightly: { queue: reports, cron: "0 3 * * *", timeZone: Europe/Berlin, job: { payload: { kind: nightly }, key: k } }
  beat: { queue: reports, every: 15m, missed: all, paused: true }
topics:
  orders: { subscriptions: { audit: { queue: all }, mail: { filter: { headers: { X-Kind: a }, fields: { /type: [created, 1, null] } } } } }
`)
    assert.deepEqual(config.schedules, [
      {
        name: 'nightly',
        document: {
          queue: 'reports',
          timeZone: 'Europe/Berlin',
          missed: 'once',
          paused: false,
          job: { payload: { kind: 'nightly' }, key: 'k' },
          cron: '0 3 * * *',
        },
      },
      { name: 'beat', document: { queue: 'reports', timeZone: 'UTC', missed: 'all', paused: true, job: {}, every: '15m' } },
    ])
    assert.deepEqual(config.topics, [
      {
        name: 'orders',
        subscriptions: [
          { name: 'audit', queue: 'all' },
          { name: 'mail', queue: 'orders.mail', filter: { headers: { 'x-kind': 'a' }, fields: { '/type': ['created', 1, null] } } },
        ],
      },
    ])
    const own = config.queues.find(({ name }) => name === 'orders.mail')
    assert.deepEqual([own?.pull, own?.attempts], [true, 20])
  })

  test('the API has room for one job, whatever limits.jobBody is', () => {
    assert.equal(good(`${BASE}${ROUTE}limits: { jobBody: 30MiB }`).api.body, 40 * 1024 ** 2 + 32 * 1024)
    assert.equal(good(`${BASE}${ROUTE}limits: { buffered: 16MiB, jobBody: 2MiB }`).api.body, 16 * 1024 ** 2)
  })
})

describe('names that every object has are names like any other', () => {
  const names = Object.getOwnPropertyNames(Object.prototype).filter((name) => !name.startsWith('_'))

  test('of queues that routes imply', () => {
    const routes = names.map((name) => `  - { match: POST /${name}, mode: queue }`)
    const config = good(`pools: { api: [http://a] }\nroutes:\n${routes.join('\n')}\n  - { match: POST /__proto__, mode: queue }\n`)
    assert.deepEqual(
      config.queues.map(({ name }) => name),
      [...names, 'proto__'],
    )
    for (const queue of config.queues) assert.deepEqual([queue.concurrency, queue.attempts], [8, 20])
  })

  test('of pools and queues that stand in the file, of headers, queries and parameters', () => {
    for (const name of names) {
      const config = good(`
pools: { ${name}: { servers: [http://a], maxInFlight: 3 }, api: [http://b] }
queues: { ${name}: { attempts: 7 } }
routes:
  - match: { method: POST, path: "/{${name}}", headers: { ${name}: a }, query: { ${name}: b } }
    pool: ${name}
    mode: queue
    queue: ${name}
    key: path:${name}
`)
      assert.equal(config.pools[0]?.maxInFlight, 3)
      assert.deepEqual([config.queues[0]?.name, config.queues[0]?.attempts, config.queues[0]?.pool], [name, 7, name])
      assert.deepEqual(config.routes[0]?.match.query, [[name, 'b']])
    }
  })
})

describe('warnings', () => {
  test('a memory store under a route that keeps jobs, pools and queues that nobody uses', () => {
    const result = load(
      'store: { engine: memory }\npools: { a: [http://a], b: [http://b] }\nqueues: { q: {} }\nroutes: [{ match: POST /x, mode: queue, pool: a }]',
    )
    assert.equal(result.ok, true)
    assert.deepEqual(result.warnings, [
      'spillway.yaml:1:18  store.engine  memory: jobs are lost when the process ends, and these routes keep jobs: POST /x',
      'spillway.yaml:2:28  pools.b  no route uses this pool',
    ])
  })

  test('none for the examples of the handbook', () => {
    assert.deepEqual([load(SHORT).warnings, load(LONG).warnings], [[], []])
  })
})

describe('files and modules', () => {
  let folder = ''
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-config-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  async function loadFile(name: string, text?: string): Promise<LoadResult> {
    if (text !== undefined) writeFileSync(join(folder, name), text)
    return await loadConfig(join(folder, name), {})
  }

  test('relative paths are relative to the file', async () => {
    const result = await loadFile('a.yaml', `${BASE}${ROUTE}log: { access: ./log/access.log }`)
    assert.ok(result.ok)
    assert.deepEqual([result.config.store.path, result.config.log.access], [join(folder, 'data'), join(folder, 'log/access.log')])
  })

  test('a module exports its configuration', async () => {
    const module = new URL('./schema.ts', import.meta.url).href
    const text = `import { defineConfig } from '${module}'\nexport default defineConfig({ pools: { api: ['http://a'] }, routes: [{ match: '/*' }] })`
    const result = await loadFile('good.ts', text)
    assert.ok(result.ok, JSON.stringify(result))
    assert.equal(result.config.routes[0]?.pool, 'api')
  })

  test('what is wrong with a module has a path but no line', async () => {
    const result = await loadFile(
      'bad.mjs',
      `export default { pools: { api: ['http://a'] }, routes: [{ match: '/*', pool: 'x' }], nam: 1 }`,
    )
    assert.deepEqual(result.ok ? [] : result.errors, [
      `${join(folder, 'bad.mjs')}  nam  unknown key  (did you mean name?)`,
      `${join(folder, 'bad.mjs')}  routes[0].pool  there is no pool "x"; there is api`,
    ])
  })

  test('a module without default export, one that throws, one that exports a function', async () => {
    const results = [
      await loadFile('none.mjs', 'export const a = 1'),
      await loadFile('throws.mjs', 'throw new Error("no luck")'),
      await loadFile('function.mjs', 'export default () => {}'),
    ]
    assert.deepEqual(
      results.map((result) => (result.ok ? [] : result.errors.map((line) => line.slice(folder.length + 1)))),
      [
        ['none.mjs  has no default export; write: export default defineConfig({ … })'],
        ['throws.mjs  cannot be loaded: no luck'],
        ['function.mjs  cannot be loaded: () => {} could not be cloned.'],
      ],
    )
  })

  test('a file that is not there', async () => {
    const result = await loadFile('missing.yaml')
    assert.deepEqual(result.ok ? [] : result.errors, [
      `${join(folder, 'missing.yaml')}  cannot be read: there is no such file; \`spillway init\` writes one`,
    ])
  })
})
