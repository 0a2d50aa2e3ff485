import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadText } from '../../config/load.ts'
import { configRisks } from './config-risks.ts'

/** The findings about a configuration that is right as far as `check` goes. */
function risks(yaml: string): readonly string[] {
  const result = loadText(yaml, { file: 'x.yaml', folder: '/srv' }, {})
  assert.ok(result.ok, JSON.stringify(result))
  return configRisks(result.config).map(({ check, level, says }) => `${level} ${check}: ${says}`)
}

const POOL = 'pools: { api: { servers: [http://127.0.0.1:1, http://127.0.0.1:2], health: { path: /healthz } } }\n'
const QUEUE = 'routes: [{ match: PUT /reports, mode: queue }]\n'

test('a configuration of defaults has notes at most, and one that thought of everything has none', () => {
  const defaults = risks('pools: { api: [http://127.0.0.1:1] }\nroutes: [{ match: POST /reports, mode: queue }, { match: /* }]\n')
  assert.deepEqual(defaults, [
    'note pool api: health.path is not set: a server that accepts connections and answers nothing counts as up',
    'note pool api: it has one server: while that one is away, direct requests fail',
    'note route POST /reports: POST may reach a server twice (redeliver: always)',
  ])
  assert.deepEqual(risks(`${POOL}${QUEUE}`), [])
  assert.deepEqual(risks(`${POOL}routes: [{ match: /* }]`), [])
})

/** Added to a configuration without findings: exactly this one comes of it. */
const CASES: Readonly<Record<string, readonly [yaml: string, finding: string]>> = {
  'an admin address that is not loopback': [
    `${POOL}${QUEUE}admin: { address: 10.0.0.1:9900, token: x }`,
    'note config: the admin address 10.0.0.1 is not loopback, and its token travels unencrypted',
  ],
  'a memory engine with a queue': [
    `${POOL}${QUEUE}store: { engine: memory }`,
    'warn config: store.engine is memory, and routes queue: their jobs are lost with the process',
  ],
  'everybody trusted': [
    `${POOL}${QUEUE}trustedPeers: [0.0.0.0/0]\njobs: { publicUrl: http://x }`,
    'warn config: trustedPeers has 0.0.0.0/0: any client can name another address as its own',
  ],
  'webhooks that may go everywhere': [
    `${POOL}${QUEUE}webhooks: { retries: [5s], allow: [0.0.0.0/0] }`,
    'warn webhooks: allow has 0.0.0.0/0: whoever may name a URL reaches what only this machine can reach',
  ],
  'webhooks without TLS': [
    `${POOL}${QUEUE}webhooks: { https: optional }`,
    'note webhooks: https is optional: webhooks hold results and tokens, and may travel unencrypted',
  ],
  'callbacks to anybody': [
    `${POOL}${QUEUE}webhooks: { callbacks: { urls: ["https://*/*"], secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw } }`,
    'note webhooks: callbacks.urls has https://*/*: clients let this gateway send to any public host',
  ],
  'a proxy in front and no public address': [
    `${POOL}${QUEUE}trustedPeers: [10.0.0.1]`,
    'note config: links to jobs are paths without a host; where the proxy in front changes paths, clients cannot follow them',
  ],
  'servers elsewhere that are told a loopback address': [
    'pools: { api: { servers: [http://10.0.0.2:1, http://10.0.0.3:1], health: { path: / } } }\nroutes: [{ match: PUT /x, mode: queue }]\nlisteners: [0.0.0.0:80]',
    'note config: servers of pool api on other machines are told to report progress to a loopback address',
  ],
  'slow detection': [
    'pools: { api: { servers: [http://127.0.0.1:1, http://127.0.0.1:2], health: { path: /, interval: 11s } } }\nroutes: [{ match: /* }]',
    'note pool api: a hung server is found out only after 33 s',
  ],
  'more concurrency than slots': [
    `${POOL}${QUEUE}queues: { reports: { concurrency: 65 } }`,
    'warn pool api: queue reports wants 65 jobs per server, and maxInFlight is 64',
  ],
  'queues that take every slot': [
    `${POOL}${QUEUE}queues: { reports: { concurrency: 64 } }`,
    'note pool api: its queues may take all 64 slots of a server together: direct requests wait behind jobs',
  ],
  'a long timeout': [
    `${POOL}${QUEUE}queues: { reports: { timeout: 16m } }`,
    'note queue reports: timeout is 16 min: a server that hangs holds a slot that long, and many servers cut requests off earlier',
  ],
  'attempts for many days': [
    `${POOL}${QUEUE}queues: { reports: { attempts: 200 } }`,
    'note queue reports: a job that cannot be done is tried for 4.1 days before it is a dead letter that somebody sees',
  ],
  'patience that a busy server outlasts': [
    `${POOL}${QUEUE}queues: { reports: { attempts: 3, backoff: { max: 2s } } }`,
    'warn queue reports: servers that answer 429 or 503 for 59 s turn waiting jobs into dead letters (poison)',
  ],
  'expiry within a restart': [
    `${POOL}${QUEUE}queues: { reports: { expireAfter: 59s } }`,
    'warn queue reports: expireAfter is 59 s: jobs die while the servers restart',
  ],
  'results that are gone before their job had to begin': [
    `${POOL}${QUEUE}queues: { reports: { expireAfter: 25h } }`,
    'note queue reports: expireAfter (25 h) is longer than keep (24 h): a result may be gone sooner than its job had to begin',
  ],
  'results that hardly stay': [
    `${POOL}${QUEUE}queues: { reports: { keep: 299s } }`,
    'note queue reports: results are kept for 5 min only: a client that polls later finds nothing',
  ],
  'dead letters that do not outlast a weekend': [
    `${POOL}${QUEUE}queues: { reports: { keepDead: 71h } }`,
    'note queue reports: dead letters are kept for 3 days only: those of a weekend are gone on Monday',
  ],
  'a key that a failing job holds for long': [
    `${POOL}routes: [{ match: "PUT /o/{id}", mode: queue, queue: o, key: path:id }]\nqueues: { o: { attempts: 24 } }`,
    'note queue o: a job that fails holds its key for up to 7 h; the jobs behind it wait',
  ],
  'clients held for longer than they stay': [
    `${POOL}routes: [{ match: PUT /r, mode: queue, wait: 31s }]`,
    'note route PUT /r: clients are held for 31 s; many give up after 30 s and do not see their answer',
  ],
  'a POST that may come twice': [
    `${POOL}routes: [{ match: "POST,PUT /r", mode: queue }]`,
    'note route POST,PUT /r: POST may reach a server twice (redeliver: always)',
  ],
}

for (const [name, [yaml, finding]] of Object.entries(CASES)) {
  test(`${name} is a finding`, () => assert.deepEqual(risks(yaml), [finding]))
}

test('at the last value before it is a risk, nothing is found', () => {
  const queue = 'concurrency: 63, timeout: 15m, expireAfter: 60s, keep: 300s, keepDead: 72h'
  assert.deepEqual(risks(`${POOL}routes: [{ match: PUT /reports, mode: queue, wait: 30s }]\nqueues: { reports: { ${queue} } }`), [])
  assert.deepEqual(risks(`${POOL}routes: [{ match: POST /r, mode: queue, redeliver: safe }]`), [])
})
