import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AdminStatus, PoolStatus, QueueStatus } from '../../admin/status.ts'
import { type Cause, causesOf } from './running.ts'

const POOL: PoolStatus = {
  name: 'api',
  balance: 'least-requests',
  waiting: 0,
  maxInFlight: 64,
  servers: [
    { name: 'a:1', weight: 1, state: 'up', inFlight: 0, tunnels: 0 },
    { name: 'b:1', weight: 1, state: 'up', inFlight: 0, tunnels: 0 },
  ],
}
const QUEUE: QueueStatus = {
  name: 'reports',
  pool: 'api',
  jobs: { queued: 0, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, expired: 0 },
  bytes: 0,
  finishedBytes: 0,
  scheduled: 0,
  paused: false,
  blockedKeys: 0,
  limits: { jobs: 1000, bytes: 1 << 20, finished: 1 << 20 },
  timeoutMs: 60_000,
  concurrency: 8,
  dead: {},
  buckets: {},
}
const STATUS: AdminStatus = {
  version: '1',
  pid: 1,
  uptimeMs: 1,
  ready: { ok: true, reason: 'ready' },
  listeners: [],
  config: { file: 'spillway.yaml', readAt: 0, needsRestart: [] },
  store: { engine: 'embedded', generation: 1, corrupt: 0, path: '/data', syncs: { count: 10, meanMs: 2, worstMs: 9 } },
  pools: [POOL],
  queues: [QUEUE],
  routes: [],
  webhooks: [],
  certificates: [],
}

interface Change {
  readonly status?: Partial<AdminStatus>
  readonly store?: Partial<AdminStatus['store']>
  readonly servers?: readonly Partial<PoolStatus['servers'][number]>[]
  readonly queue?: Partial<QueueStatus>
  readonly jobs?: Partial<QueueStatus['jobs']>
}

function causes({ status = {}, store = {}, servers = [], queue = {}, jobs = {} }: Change): readonly Cause[] {
  const changed = POOL.servers.map((server, i) => ({ ...server, ...servers[i] }))
  return causesOf({
    ...STATUS,
    store: { ...STATUS.store, ...store },
    pools: [{ ...POOL, servers: changed }],
    queues: [{ ...QUEUE, ...queue, jobs: { ...QUEUE.jobs, ...jobs } }],
    ...status,
  })
}

const lines = (change: Change): readonly string[] => causes(change).map(({ check, level, says }) => `${level} ${check}: ${says}`)

const DOWN = { state: 'down', reason: 'connection refused' }

/** What is broken, and the cause that is named. The eight failures of the runbook are among them. */
const CASES: Readonly<Record<string, readonly [change: Change, cause: string]>> = {
  'dead servers': [{ servers: [DOWN, DOWN] }, 'fail pool api: no server is up: connection refused'],
  'one dead server': [{ servers: [DOWN] }, 'warn pool api: 1 of 2 servers are not up (a:1): connection refused'],
  'servers that say 503': [
    { servers: [{ restsMs: 500 }, { restsMs: 900 }] },
    'warn pool api: every server that is up rests, because it answered 429 or 503',
  ],
  'poison job': [{ queue: { dead: { poison: 1, attempts: 2 } } }, 'note queue reports: dead letters: 1 poison, 2 attempts'],
  'blocked key': [{ queue: { blockedKeys: 1 } }, 'warn queue reports: 1 key waits behind a failed job'],
  'full disk': [
    { store: { refusing: { limit: 'disk', detail: '10 bytes are free' } } },
    'fail store: refuses every new job: disk, 10 bytes are free',
  ],
  'nearly full disk': [
    { store: { freeBytes: 3 * 1024, floorBytes: 1024 } },
    'warn store: 3 KiB are left on the disk; new jobs are refused below 1 KiB',
  ],
  'slow disk': [
    { store: { syncs: { count: 5, meanMs: 20, worstMs: 700 } } },
    'warn store: the disk is slow: 5 syncs of the last minute took 20 ms on average, the worst 700 ms',
  ],
  'evenly slow disk': [
    { store: { syncs: { count: 5, meanMs: 50, worstMs: 60 } } },
    'warn store: the disk is slow: 5 syncs of the last minute took 50 ms on average, the worst 60 ms',
  ],
  'damaged store': [{ store: { corrupt: 2 } }, 'fail store: 2 records failed their checks and were put aside'],
  'stuck consumer': [
    { queue: { oldestRunningMs: 120_001 } },
    'warn queue reports: a hand-out has been running for 2 min, an attempt may take 1 min',
  ],
  'paused queue': [{ queue: { paused: true, oldestWaitingMs: 900_000 } }, 'warn queue reports: paused: it accepts jobs and hands out none'],
  'full queue': [
    { jobs: { queued: 900, running: 100 } },
    'fail queue reports: full, new jobs are refused: it holds 1000 of 1000 jobs (limits.jobs)',
  ],
  'nearly full queue': [{ jobs: { retrying: 800 } }, 'warn queue reports: nearly full: it holds 800 of 1000 jobs (limits.jobs)'],
  'backlog, all places taken': [
    { queue: { oldestWaitingMs: 300_000 }, jobs: { running: 16 } },
    'warn queue reports: jobs have been waiting for 5 min: all 16 places are taken (8 per server, 2 up)',
  ],
  'backlog, servers full of direct requests': [
    { queue: { oldestWaitingMs: 300_000 }, servers: [{ inFlight: 64 }, { inFlight: 64 }] },
    'warn queue reports: jobs have been waiting for 5 min: every server has its maxInFlight of 64 requests',
  ],
  'backlog, nobody pulls': [
    { queue: { oldestWaitingMs: 300_000, pool: '' } },
    'warn queue reports: jobs have been waiting for 5 min: it has no pool, and no pull consumer takes them',
  ],
  'backlog that is still young': [
    { queue: { etaMs: 300_000 }, jobs: { running: 16 } },
    'warn queue reports: jobs wait that take about 5 min: all 16 places are taken (8 per server, 2 up)',
  ],
  'backlog, unknown': [
    { queue: { oldestWaitingMs: 300_000 } },
    'warn queue reports: jobs have been waiting for 5 min: the figures do not tell why',
  ],
  'bad reload': [
    { status: { config: { readAt: 0, needsRestart: [], refused: { at: 0, problems: ['x.yaml:3:1  pols  unknown key', 'more'] } } } },
    'warn reload: a reload was refused at 1970-01-01T00:00:00.000Z, the configuration before it goes on: x.yaml:3:1  pols  unknown key (and 1 more)',
  ],
  'not ready': [{ status: { ready: { ok: false, reason: 'store corrupt' } } }, 'fail gateway: not ready: store corrupt'],
}

for (const [name, [change, cause]] of Object.entries(CASES)) {
  test(`${name}: the cause is named`, () => assert.deepEqual(lines(change), [cause]))
}

test('a gateway that is well has no causes, at the last figure before each of them', () => {
  const well: Change = {
    servers: [{ restsMs: 500 }],
    store: { freeBytes: 4096, floorBytes: 1024, syncs: { count: 5, meanMs: 49, worstMs: 499 } },
    queue: { oldestRunningMs: 120_000, oldestWaitingMs: 299_999, etaMs: 299_999, bytes: (1 << 20) * 0.79 },
    jobs: { queued: 799 },
  }
  assert.deepEqual(lines(well), [])
})

test('every cause has something to do', () => {
  for (const [change] of Object.values(CASES)) {
    for (const { todo = '', says } of causes(change)) assert.ok(todo.length > 10, says)
  }
})

test('a gateway of an earlier version, that tells less, is understood', () => {
  const { config: _, store: __, ...earlier } = STATUS
  const { blockedKeys: ___, paused: ____, limits: _____, ...queue } = QUEUE
  assert.deepEqual(causesOf({ ...earlier, queues: [queue] } as unknown as AdminStatus), [])
})

test('a webhook endpoint that takes nothing is told of, and what to type when it is disabled', () => {
  const webhooks = [
    { name: 'good' },
    { name: 'slow', failingSince: Date.UTC(2030, 0, 1) },
    { name: 'gone', failingSince: Date.UTC(2030, 0, 1), disabledBecause: 'its receiver answered 410' },
  ]
  assert.deepEqual(
    causes({ status: { webhooks } }).map(({ check, says }) => [check, says]),
    [
      ['webhooks slow', 'nothing was delivered since 2030-01-01T00:00:00Z'],
      ['webhooks gone', 'disabled, and its webhooks become dead letters: its receiver answered 410'],
    ],
  )
})

test('a gateway that has too much to do says what, and how far it goes', () => {
  const found = (guard: AdminStatus['guard']): unknown[] =>
    causes({ status: guard === undefined ? {} : { guard } }).map(({ check, level, says }) => [check, level, says])
  assert.deepEqual(found(undefined), [])
  assert.deepEqual(found({ level: 'calm' }), [])
  assert.deepEqual(found({ level: 'slow', signal: 'loopDelay', value: 300 }), [
    ['guard', 'warn', 'the gateway has too much to do (loopDelay 300 ms): new connections are let in slowly'],
  ])
  assert.deepEqual(found({ level: 'shed', signal: 'sockets', value: 0.9 }), [
    ['guard', 'fail', 'the gateway has too much to do (sockets 90 %): requests are refused, the least urgent first'],
  ])
})
