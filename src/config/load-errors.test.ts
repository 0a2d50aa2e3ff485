import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { loadText } from './load.ts'

function errors(text: string, environment: Record<string, string> = {}): readonly string[] {
  const result = loadText(text, { file: 'spillway.yaml', folder: '/srv/app' }, environment)
  return result.ok ? [] : result.errors.map((line) => line.replace('spillway.yaml:', ''))
}

/** One line to which a case adds its mistake. */
const BASE = 'pools: { api: [http://127.0.0.1:3001] }\n'
const ROUTE = 'routes: [{ match: /* }]\n'.replace('/*', '"/*"')

const SPILL = 'routes:\n  - { match: POST /a, mode: spill'
/** What a file adds to BASE, and the lines it gets. */
const BAD: Readonly<Record<string, readonly [text: string, ...lines: string[]]>> = {
  'an empty file': ['', '1:1  is empty; it needs at least routes, or queues'],
  'no mapping': ['- a\n', '1:1  must be a mapping, not a list'],
  'broken YAML': ['pools: {\n', '2:1  not valid YAML: Flow map in block collection must be sufficiently indented and end with a }'],
  'a key twice': [`${BASE}${ROUTE}name: a\nname: b\n`, '4:1  this key stands there twice'],
  'nothing needed': ['name: x\n', '1:1  there is nothing to do: it needs routes, or queues'],
  'an unknown key': [`${BASE}${ROUTE}limit: {}\n`, '3:1  limit  unknown key  (did you mean limits?)'],
  'an unknown key far from any other': [`${BASE}${ROUTE}zzz: {}\n`, '3:1  zzz  unknown key'],
  'an unknown key in a server': [
    'pools:\n  api:\n    servers:\n      - { url: http://a, wieght: 2 }\nroutes: [{ match: / }]\n',
    '4:26  pools.api.servers[0].wieght  unknown key  (did you mean weight?)',
  ],
  'an unknown key in a match': [
    `${BASE}routes: [{ match: { pathh: / } }]`,
    '2:21  routes[0].match.pathh  unknown key  (did you mean path?)',
  ],
  'a wrong type': [`${BASE}${ROUTE}limits: { headers: many }`, '3:20  limits.headers  must be a whole number, not text'],
  'a list where a mapping belongs': [`${BASE}${ROUTE}limits: []`, '3:9  limits  must be a mapping, not a list'],
  'nothing where a mapping belongs': [`${BASE}${ROUTE}limits:\n`, '3:8  limits  must be a mapping, not nothing'],
  'text where a list or mapping belongs': [`pools: { api: http://a }\n${ROUTE}`, '1:15  pools.api  must be a list or a mapping, not text'],
  'a fraction': [`${BASE}${ROUTE}limits: { headers: 1.5 }`, '3:20  limits.headers  must be a whole number, not 1.5'],
  'a number that is too small': [`${BASE}${ROUTE}limits: { headers: 0 }`, '3:20  limits.headers  must be at least 1, not 0'],
  'a number that is too large': [`${BASE}${ROUTE}limits: { headers: 10001 }`, '3:20  limits.headers  must be at most 10000, not 10001'],
  'an algorithm that is nearly one': [
    `pools: { a: { servers: [http://a], balance: peak_ewma } }\n${ROUTE}`,
    '1:45  pools.a.balance  must be round-robin or least-requests or random or peak-ewma or a mapping, not "peak_ewma"  (did you mean peak-ewma?)',
  ],
  'a hash of what is not known before the body': [
    `pools: { a: { servers: [http://a], balance: { hash: json:/id } } }\n${ROUTE}`,
    '1:53  pools.a.balance.hash  must be address, path, header:<name>, cookie:<name>, query:<name> or path:<parameter>, not "json:/id"',
  ],
  'a hash of nothing': [
    `pools: { a: { servers: [http://a], balance: { over: 10% } } }\n${ROUTE}`,
    '1:45  pools.a.balance.hash  is missing',
  ],
  'a bound that is too large': [
    `pools: { a: { servers: [http://a], balance: { hash: address, over: 101% } } }\n${ROUTE}`,
    '1:68  pools.a.balance.over  must be a share such as 20%, not "101%"',
  ],
  'a floor above the ceiling': [
    `pools: { a: { servers: [http://a], maxInFlight: 3, adaptive: { min: 4 } } }\n${ROUTE}`,
    '1:69  pools.a.adaptive.min  must be at most maxInFlight, which is 3, not 4',
  ],
  'more threads than there may be': [`${BASE}${ROUTE}workers: 65`, '3:10  workers  must be at most 64, not 65'],
  'no thread': [`${BASE}${ROUTE}workers: 0`, '3:10  workers  must be at least 1, not 0'],
  'a duration without unit': [
    `${BASE}${ROUTE}drainTimeout: 30`,
    '3:15  drainTimeout  must be a duration such as 500ms, 2s, 5m, 1h or 14d, not 30',
  ],
  'a duration of another kind': [
    `${BASE}${ROUTE}drainTimeout: 1 hour`,
    '3:15  drainTimeout  must be a duration such as 500ms, 2s, 5m, 1h or 14d, not "1 hour"',
  ],
  'a zero where time must pass': [
    `${BASE}${ROUTE}timeouts: { connect: 0s }`,
    '3:22  timeouts.connect  must be a duration such as 500ms, 2s, 5m, 1h or 14d, more than 0, not "0s"',
  ],
  'never where it is not allowed': [
    `${BASE}queues: { q: { keep: never } }\nroutes: [{ match: POST /a, mode: queue, queue: q }]`,
    '2:22  queues.q.keep  must be a duration such as 500ms, 2s, 5m, 1h or 14d, more than 0, not "never"',
  ],
  'a size of another kind': [
    `${BASE}${ROUTE}limits: { head: 32KB }`,
    '3:17  limits.head  must be a size such as 512B, 64KiB, 1MiB or 10GiB, more than 0, not "32KB"',
  ],
  'a chain to a queue that is not there': [
    `${BASE}queues: { translate: {} }\nroutes: [{ match: POST /a, mode: queue, then: translat }]`,
    '3:47  routes[0].then  there is no queue "translat"  (did you mean translate?)',
  ],
  'a chain to a route that is not there': [
    `${BASE}routes: [{ match: POST /a, mode: queue, then: POST /cc }, { match: POST /bcc, mode: queue }]`,
    '2:47  routes[0].then  there is no route "POST /cc"  (did you mean POST /bcc?)',
  ],
  'a chain to a route that keeps no jobs': [
    `${BASE}routes: [{ match: POST /a, mode: queue, then: { route: POST /b } }, { match: POST /b }]`,
    '2:56  routes[0].then.route  the route POST /b keeps no jobs; set mode: queue or mode: spill there',
  ],
  'a chain to many paths': [
    `${BASE}routes: [{ match: POST /a, mode: queue, then: "POST /b/{id}" }, { match: "POST /b/{id}", mode: queue }]`,
    '2:47  routes[0].then  needs a target, because /b/{id} stands for many paths',
  ],
  'a chain to nowhere': [
    `${BASE}routes: [{ match: POST /a, mode: queue, then: { target: /x } }]`,
    '2:47  routes[0].then  names either a queue or a route',
  ],
  'a chain with a header that is ours': [
    `${BASE}queues: { b: {} }\nroutes: [{ match: POST /a, mode: queue, then: { queue: b, headers: { spillway-job: x } } }]`,
    '3:84  routes[0].then.headers.spillway-job  is not passed on to servers; leave it out',
  ],
  'a chain of a direct route': [
    `${BASE}queues: { b: { pull: true } }\nroutes: [{ match: POST /a, then: b }]`,
    '3:34  routes[0].then  has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill',
  ],
  'a chain of a spill route': [
    `${BASE}queues: { b: { pull: true } }\nroutes: [{ match: POST /a, mode: spill, then: b }]`,
    '3:47  routes[0].then  on a spill route nothing would follow from what a server answers at once; set mode: queue',
  ],
  'a chain of a queue that a spill route fills': [
    `${BASE}queues: { b: { pull: true }, a: { then: b } }\nroutes: [{ match: POST /a, mode: spill }]`,
    '2:41  queues.a.then  the spill route POST /a fills it, and on a spill route nothing would follow from what a server answers at once; set mode: queue',
  ],
  'a chain that comes back to itself': [
    `${BASE}queues: { c: { pull: true, then: POST /a } }\nroutes: [{ match: POST /a, mode: queue, then: POST /b }, { match: POST /b, mode: queue, then: c }]`,
    '3:47  routes[0].then  the chain comes back to itself: POST /a → POST /b → queue c → POST /a',
  ],
  'a chain of a schedule to a queue that is not there': [
    `${BASE}queues: { q: { pool: api } }\nschedules: { s: { queue: q, every: 1h, job: { then: r } } }`,
    '3:53  schedules.s.job.then  there is no queue "r"  (did you mean q?)',
  ],
  'a word of several': [
    `${BASE}routes: [{ match: /, mode: qeue }]`,
    '2:28  routes[0].mode  must be direct or queue or spill, not "qeue"  (did you mean queue?)',
  ],
  'a client header that is none': [
    `${BASE}${SPILL}, allow: [prefer, delays] }`,
    '3:52  routes[0].allow[1]  must be prefer or idempotency-key or key or delay or priority or callback or reference, not "delays"  (did you mean delay?)',
  ],
  'an address without port': [
    `${BASE}${ROUTE}listeners: [localhost]`,
    '3:13  listeners[0]  must be an address with a port, such as 127.0.0.1:8080 or "[::1]:8080", not "localhost"',
  ],
  'a port that does not exist': [
    `${BASE}${ROUTE}listeners: [{ address: 127.0.0.1:65536 }]`,
    '3:24  listeners[0].address  must be an address with a port, such as 127.0.0.1:8080 or "[::1]:8080", not "127.0.0.1:65536"',
  ],
  'an address twice': [`${BASE}${ROUTE}listeners: [0.0.0.0:80, 0.0.0.0:80]`, '3:25  listeners[1]  0.0.0.0:80 is taken by listeners[0]'],
  'admin on the address of a listener': [
    `${BASE}${ROUTE}admin: { address: 127.0.0.1:8080 }`,
    '3:19  admin.address  127.0.0.1:8080 is taken by listeners[0]',
  ],
  'admin open to everybody': [
    `${BASE}${ROUTE}admin: { address: 0.0.0.0:9900 }`,
    '3:19  admin.address  0.0.0.0 is not loopback; set admin.token, so that not everybody gets in',
  ],
  'a pool without servers, where nobody may register': [
    `pools: { api: { servers: [] } }\n${ROUTE}`,
    '1:26  pools.api.servers  must have at least one entry, unless servers may register themselves (registration)',
  ],
  'a registration token that is short': [
    `pools: { api: { servers: [], registration: { tokens: [short] } } }\n${ROUTE}`,
    '1:55  pools.api.registration.tokens[0]  must have at least 16 characters; make one with: openssl rand -hex 32',
  ],
  'a registration token that opens everything': [
    `pools: { api: { servers: [], registration: { tokens: [one-token-for-all] } } }\n${ROUTE}admin: { token: one-token-for-all }`,
    '1:55  pools.api.registration.tokens[0]  is admin.token, which allows everything; make another one',
  ],
  'a shortest ttl above the longest': [
    `pools: { api: { servers: [], registration: { tokens: [tokens-of-servers], ttlMin: 2m, ttlMax: 1m } } }\n${ROUTE}`,
    '1:83  pools.api.registration.ttlMin  is more than ttlMax',
  ],
  'a pool without servers': [`pools: { api: [] }\n${ROUTE}`, '1:15  pools.api  must have at least one entry'],
  'a server without scheme': [
    `pools: { api: [127.0.0.1:3000] }\n${ROUTE}`,
    '1:16  pools.api[0]  must be a URL such as http://127.0.0.1:3000, not "127.0.0.1:3000"',
  ],
  'a server with a path': [
    `pools: { api: [{ url: http://a/v1 }] }\n${ROUTE}`,
    '1:23  pools.api[0].url  a server\'s URL ends after its port, requests keep their own path; leave out "/v1"',
  ],
  'a server twice': [
    `pools: { api: [http://a, http://A:80/] }\n${ROUTE}`,
    '1:26  pools.api[1]  a:80 stands in this pool twice; use weight to give it more',
  ],
  'a bad name': [
    `pools: { "a b": [http://a] }\n${ROUTE}`,
    '1:10  pools["a b"]  a name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit',
  ],
  'a pool that is not there': [
    `${BASE}routes: [{ match: /, pool: apu }]`,
    '2:28  routes[0].pool  there is no pool "apu"; there is api  (did you mean api?)',
  ],
  'a pool of a queue that is not there': [
    `${BASE}queues: { q: { pool: web } }\nroutes: [{ match: POST /a, mode: queue, queue: q, pool: api }]`,
    '2:22  queues.q.pool  there is no pool "web"; there is api',
    '3:48  routes[0].queue  the queue "q" is worked off by pool "web", but this route is for pool "api"',
  ],
  'a pool that must be named': [
    'pools: { a: [http://a], b: [http://b] }\nroutes: [{ match: / }]',
    '2:10  routes[0].pool  is missing; name one of a, b',
  ],
  'a queue that is not there': [
    `${BASE}queues: { reports: {} }\nroutes: [{ match: POST /a, mode: queue, queue: report }, { match: POST /b, mode: queue, queue: reports }]`,
    '3:48  routes[0].queue  there is no queue "report"; there is reports; define it under queues, or leave this key out  (did you mean reports?)',
  ],
  'a queue of another pool': [
    'pools: { a: [http://a], b: [http://b] }\nqueues: { q: { pool: a } }\nroutes: [{ match: POST /a, mode: queue, queue: q, pool: b }]',
    '3:48  routes[0].queue  the queue "q" is worked off by pool "a", but this route is for pool "b"',
  ],
  'an implied queue of two pools': [
    'pools: { a: [http://a], b: [http://b] }\nroutes:\n  - { match: POST /x, mode: queue, pool: a }\n  - { match: PUT /x, mode: queue, pool: b }\n',
    '4:41  routes[1].pool  the queue "x" is worked off by pool "a", but this route is for pool "b"',
  ],
  'keys of jobs on a direct route': [
    `${BASE}routes:\n  - match: /\n    queue: q\n    wait: 1s\n    patience: 1s\n    onWait: accept\n    key: path:id\n    redeliver: safe\n`,
    ...[
      '4:12  routes[0].queue',
      '5:11  routes[0].wait',
      '6:15  routes[0].patience',
      '7:13  routes[0].onWait',
      '8:10  routes[0].key',
      '9:16  routes[0].redeliver',
    ].map((start) => `${start}  has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill`),
  ],
  'what a client may not choose on a direct route': [
    `${BASE}routes: [{ match: /, allow: [priority, key] }]`,
    '2:40  routes[0].allow[1]  key has no meaning on a direct route, which keeps no jobs; only priority has; set mode: queue or mode: spill',
  ],
  'a priority above all': [`${BASE}routes: [{ match: /, priority: 10 }]`, '2:32  routes[0].priority  must be at most 9, not 10'],
  'tunnels on a queue route': [
    `${BASE}routes: [{ match: POST /, mode: queue, tunnels: { max: 1 } }]`,
    '2:49  routes[0].tunnels  has no meaning on a queue route, which opens no tunnels; set mode: direct or mode: spill',
  ],
  'a guard that begins where it ends': [
    `${BASE}${ROUTE}guard: { memory: { from: 95% } }`,
    '3:18  guard.memory.full  must be more than `from`',
  ],
  'patience on a queue route': [
    `${BASE}routes: [{ match: POST /, mode: queue, patience: 1s }]`,
    '2:50  routes[0].patience  has no meaning on a queue route, which never tries a server first; set mode: spill',
  ],
  'times of a spill route on a queue route': [
    `${BASE}routes: [{ match: POST /, mode: queue, spill: { leave: 1s } }]`,
    '2:47  routes[0].spill  has no meaning on a queue route, which never tries a server first; set mode: spill',
  ],
  'a share that is none': [
    'pools: { api: { servers: [http://a], reserve: 20 } }\nroutes: [{ match: / }]',
    '1:47  pools.api.reserve  must be a share such as 20%, not 20',
  ],
  'a share of nothing': [
    `${BASE}queues: { a: { sideline: { share: 0% } } }\n${SPILL} }`,
    '2:35  queues.a.sideline.share  must be a share such as 20%, more than 0%, not "0%"',
  ],
  'neither off nor a mapping': [
    `${BASE}queues: { a: { sideline: on } }\n${SPILL} }`,
    '2:26  queues.a.sideline  must be off or a mapping, not "on"',
  ],
  'a wait longer than any may be': [`${BASE}${SPILL}, wait: 61s }`, '3:42  routes[0].wait  is longer than jobs.waitMax'],
  'a key of a parameter that is not there': [
    `${BASE}routes: [{ match: "POST /a/{id}", mode: queue, key: path:ids }]`,
    '2:53  routes[0].key  the path /a/{id} has no parameter {ids}  (did you mean path:id?)',
  ],
  'a key from nowhere': [
    `${BASE}${SPILL}, key: body:x }`,
    '3:41  routes[0].key  must be header:<name>, path:<parameter>, query:<name>, cookie:<name> or json:<pointer>, not "body:x"',
  ],
  'a key with a bad pointer': [
    `${BASE}${SPILL}, key: json:id }`,
    '3:41  routes[0].key  "id" is no JSON pointer; write it as in json:/customer/id',
  ],
  'a match that is none': [
    `${BASE}routes: [{ match: POST reports }]`,
    '2:19  routes[0].match  must be a path, or methods and a path, such as POST /reports, not "POST reports"',
  ],
  'a path with * inside': [
    `${BASE}routes: [{ match: { path: /a/*/b } }]`,
    '2:27  routes[0].match.path  "*" may only stand alone at the end, as in /prefix/*',
  ],
  'a match of the wrong type': [`${BASE}routes: [{ match: 7 }]`, '2:19  routes[0].match  must be text or a mapping, not 7'],
  'a missing match': [`${BASE}routes: [{ mode: direct }]`, '2:10  routes[0].match  is missing'],
  'a host with a port': [
    `${BASE}routes: [{ match: { host: "a:80", path: / } }]`,
    '2:27  routes[0].match.host  must be a host name without a port, or *. and one, not "a:80"',
  ],
  'a method that never becomes a job': [
    `${BASE}routes: [{ match: /a, mode: queue, methods: [POST, HEAD] }]`,
    '2:52  routes[0].methods[1]  HEAD can never become a job',
  ],
  'a match whose methods do not become jobs': [
    `${BASE}routes: [{ match: GET /a, mode: queue }, { match: OPTIONS /a, mode: queue }]`,
    '2:19  routes[0].match  GET does not become a job here; name it in methods, or set mode: direct',
    '2:51  routes[1].match  OPTIONS does not become a job here; mode: direct is what it can have',
  ],
  'two routes for the same': [
    `${BASE}routes:\n  - { match: "GET,POST /a/{x}" }\n  - { match: { path: "/a/{y}", method: [post, get] } }\n`,
    '4:14  routes[1].match  matches the same requests as routes[0]',
  ],
  'a route below the job path': [
    `${BASE}routes: [{ match: /_spillway/x }, { match: / }]`,
    '2:19  routes[0].match  /_spillway is reserved for job URLs; jobs.path moves it',
  ],
  'a bad job path': [
    `${BASE}${ROUTE}jobs: { path: /jobs/ }`,
    '3:15  jobs.path  must be a path of plain segments without a slash at its end, such as /_spillway, not "/jobs/"',
  ],
  'credentials for everybody': [
    `${BASE}${ROUTE}cors: { origins: ["*"], credentials: true }`,
    '3:38  cors.credentials  credentials need exact origins: with * any site could act as the user',
  ],
  'an origin with a path': [
    `${BASE}${ROUTE}cors: { origins: [https://a/b] }`,
    '3:19  cors.origins[0]  must be an origin such as https://app.example.com, without a path, or *, not "https://a/b"',
  ],
  'a network that is none': [
    `${BASE}${ROUTE}trustedPeers: [10.0.0.0/33]`,
    '3:16  trustedPeers[0]  must be an address or a network such as 10.0.0.0/8, not "10.0.0.0/33"',
  ],
  'limits that contradict': [
    `${BASE}${ROUTE}limits: { head: 1KiB, jobBody: 1KiB, buffered: 1MiB }`,
    '3:9  limits.target  is more than limits.head',
    '3:9  limits.spillCopy  is more than limits.jobBody',
    '3:9  limits.result  is more than limits.buffered',
  ],
  'a backoff that contradicts': [
    `${BASE}queues: { a: { backoff: { base: 2s, max: 1s } } }\n${SPILL} }`,
    '2:33  queues.a.backoff.base  is longer than backoff.max',
  ],
  'a variable that is not set': [
    `${BASE}${ROUTE}name: \${NAM}\n`,
    '3:7  name  the environment has no NAM, and there is no default (${NAM:-…})  (did you mean NAME?)',
  ],
  'a variable that is none': [
    `${BASE}${ROUTE}name: "\${A B}"\nlog: { access: "\${X" }`,
    '3:7  name  ${A B} is no variable; write ${NAME} or ${NAME:-default}, or $${ for the characters themselves',
    '4:16  log.access  ${X is no variable; write ${NAME} or ${NAME:-default}, or $${ for the characters themselves',
  ],
  'an unquoted variable in a flow mapping': [
    `${BASE}${ROUTE}log: { access: \${X} }`,
    '3:17  not valid YAML: Unexpected flow-map-start at node end; inside of { } and [ ], write "${NAME}" with quotes',
  ],
  'text from the environment that is no number': [
    `${BASE}${ROUTE}limits: { headers: "\${NAME}" }`,
    '3:20  limits.headers  must be a whole number, not text',
  ],
  'a pull queue with a pool at its route': [
    `${BASE}queues: { q: { pull: true } }\nroutes: [{ match: POST /a, mode: queue, queue: q, pool: api }]`,
    '3:57  routes[0].pool  the queue "q" is worked off by pull consumers only; leave this key out, or name the pool at the queue',
  ],
  'a queue that nobody may work off': [
    `${BASE}${ROUTE}queues: { q: { pull: false } }`,
    '3:22  queues.q.pull  nobody may work it off: name a pool, a route that fills it, or leave this key out',
  ],
  'a route without any pool': ['routes: [{ match: / }]\n', '1:1  pools  is missing: a route needs servers'],
  'a rate that is none': [
    `${BASE}${ROUTE}queues: { q: { rate: 0/s } }`,
    '3:22  queues.q.rate  must be a rate such as 100/s, 10/1m or 5000/1h, not "0/s"',
  ],
  'a tenant of a parameter that is not there': [
    `${BASE}routes: [{ match: "POST /a/{id}", mode: queue, tenant: path:who }]`,
    '2:56  routes[0].tenant  the path /a/{id} has no parameter {who}',
  ],
  'a tenant on a direct route': [
    `${BASE}routes: [{ match: /, tenant: header:x }]`,
    '2:30  routes[0].tenant  has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill',
  ],
  'a streamed answer on a direct route': [
    `${BASE}routes: [{ match: /, stream: true }]`,
    '2:30  routes[0].stream  a direct route hands every answer on as it comes; leave this key out, or set mode: queue or mode: spill',
  ],
  'what breaks off without being streamed': [
    `${BASE}routes: [{ match: POST /, mode: queue, onPartial: restart }]`,
    '2:51  routes[0].onPartial  is about answers that are handed on while they come; set stream: true, or leave this key out',
  ],
  'a streamed answer for which no client is held': [
    `${BASE}routes: [{ match: POST /, mode: queue, stream: true, wait: 0s }]`,
    '2:60  routes[0].wait  is how long a client is held for the first byte, which stream: true is for; make it longer, or leave this key out',
  ],
  'a streamed answer of pull consumers': [
    `${BASE}queues: { q: { pull: true } }\nroutes: [{ match: POST /a, mode: queue, queue: q, stream: true }]`,
    '3:59  routes[0].stream  the queue "q" is worked off by pull consumers only, which give their results as a whole; name a pool at the queue, or leave this key out',
  ],
  'what a job cannot be bound to': [
    `${BASE}routes: [{ match: POST /x, mode: queue, bind: path:id }]`,
    '2:47  routes[0].bind  must be header:<name> or cookie:<name>, not "path:id"',
  ],
  'a job that is bound, where there are none': [
    `${BASE}routes: [{ match: POST /x, bind: header:Authorization }]`,
    '2:34  routes[0].bind  has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill',
  ],
  'a key of the store of another length': [
    `${BASE}${ROUTE}store: { encryption: { keys: [{ id: a, secret: c2hvcnQ= }] } }`,
    '3:48  store.encryption.keys[0].secret  must be 32 random bytes in base64 or hex; make them with: openssl rand -base64 32',
  ],
  'two keys of the store with one name': [
    `${BASE}${ROUTE}store: { encryption: { keys: [{ id: a, secret: ${'ab'.repeat(32)} }, { id: a, secret: ${'cd'.repeat(32)} }] } }`,
    '3:122  store.encryption.keys[1].id  there is another key a',
  ],
  'a secret for signing that is too short': [
    `${BASE}${ROUTE}signing: { keys: [{ id: a, secret: short }] }`,
    '3:36  signing.keys[0].secret  must have at least 24 bytes; make one with: echo whsec_$(openssl rand -base64 32)',
  ],
  'a secret for signing that is no base64': [
    `${BASE}${ROUTE}signing: { keys: [{ id: a, secret: whsec_no_base64 }] }`,
    '3:36  signing.keys[0].secret  must be base64 after whsec_',
  ],
  'two keys for signing with one name': [
    `${BASE}${ROUTE}signing: { keys: [{ id: a, secret: ${'x'.repeat(24)} }, { id: a, secret: ${'y'.repeat(24)} }] }`,
    '3:70  signing.keys[1].id  there is another key a',
  ],
  'no key of the store': [
    `${BASE}${ROUTE}store: { encryption: { keys: [] } }`,
    '3:30  store.encryption.keys  must have at least one entry',
  ],
  'an API key with a short token': [
    `${BASE}${ROUTE}api: { keys: [{ name: a, token: 0123456789abcde, queues: ["*"], can: [send] }] }`,
    '3:33  api.keys[0].token  must have at least 16 characters; make one with: openssl rand -hex 32',
  ],
  'API keys that are the same': [
    `${BASE}${ROUTE}api:\n  keys:\n    - &a { name: a, token: 0123456789abcdef, queues: ["*"], can: [send] }\n    - *a\n`,
    '5:18  api.keys[1].name  another key has this name',
    '5:28  api.keys[1].token  another key has this token',
  ],
  'a right that there is not, and a pattern that is none': [
    `${BASE}${ROUTE}api: { keys: [{ name: a, token: 0123456789abcdef, queues: ["*a"], can: [sned] }] }`,
    '3:60  api.keys[0].queues[0]  must be the name of a queue, with * at its end, or *, not "*a"',
    '3:73  api.keys[0].can[0]  must be send or receive or browse or manage, not "sned"  (did you mean send?)',
  ],
  'an API key with a pool that is not there': [
    `${BASE}${ROUTE}api: { keys: [{ name: a, token: 0123456789abcdef, queues: ["*"], can: [manage], pools: [apu] }] }`,
    '3:89  api.keys[0].pools[0]  there is no pool "apu"; there is api  (did you mean api?)',
  ],
  'an API body that has no room for a job': [
    `${BASE}${ROUTE}api: { body: 1MiB }`,
    '3:14  api.body  has no room for one job: limits.jobBody in base64, and limits.head',
  ],
  'a schedule without a time, and one with two': [
    `queues: { q: {} }\nschedules:\n  a: { queue: q }\n  b: { queue: q, every: 1h, cron: "* * * * *" }\n`,
    '3:3  schedules.a  needs either cron or every',
    '4:3  schedules.b  needs either cron or every',
  ],
  'a schedule that is wrong in every way': [
    `queues: { q: {} }\nschedules:\n  a: { queue: p, cron: "* * * *", job: { dealy: 1s } }\n  b: { queue: q, cron: "0 6 * * *", timeZone: Mars/X }\n`,
    '3:15  schedules.a.queue  there is no queue "p"; there is q; define it under queues  (did you mean q?)',
    '3:24  schedules.a.cron  a cron expression has five fields (minute, hour, day, month, weekday), or six with seconds in front, such as 0 6 * * mon-fri',
    '3:42  schedules.a.job.dealy  there is no such field (did you mean delay?)',
    '4:47  schedules.b.timeZone  there is no time zone "Mars/X"; write it as in Europe/Berlin',
  ],
  'a subscription of a queue that is not there, and a filter that is none': [
    `queues: { q: {} }\ntopics: { t: { subscriptions: { a: { queue: p }, b: { filter: { fields: { type: x } } } } } }\n`,
    '2:45  topics.t.subscriptions.a.queue  there is no queue "p"; there is q; define it under queues  (did you mean q?)',
    '2:75  topics.t.subscriptions.b.filter.fields.type  must be a JSON pointer (RFC 6901) such as /order/type, not "type"',
  ],
  'a subscription whose own queue would have too long a name': [
    `queues: { q: {} }\ntopics: { ${'t'.repeat(60)}: { subscriptions: { abc: {}, abcd: {} } } }\n`,
    `2:101  topics.${'t'.repeat(60)}.subscriptions.abcd  its queue ${'t'.repeat(60)}.abcd has more than 64 characters; name a queue`,
  ],
  'an alias of itself': [`pools: &a { x: *a }\n${ROUTE}`, '1:16  pools.x  this alias leads nowhere or to itself'],
}

describe('bad files get exactly these lines', () => {
  for (const [name, [text, ...lines]] of Object.entries(BAD)) {
    test(name, () => assert.deepEqual(errors(text, { NAME: 'x' }), lines))
  }

  for (const [key, write] of Object.entries({
    drainTimeout: (value: string) => `drainTimeout: ${value}`,
    'timeouts.head': (value: string) => `timeouts: { head: ${value} }`,
    'timeouts.call': (value: string) => `timeouts: { call: ${value} }`,
    'queues.q.expireAfter': (value: string) => `queues: { q: { expireAfter: ${value} } }`,
  })) {
    test(`${key} may be ten years, and not a second longer`, () => {
      for (const value of ['3650d', '315360000s']) assert.deepEqual(errors(`${BASE}${ROUTE}${write(value)}`), [])
      for (const value of ['315360001s', '3651d', '999999999d']) {
        const [line, ...more] = errors(`${BASE}${ROUTE}${write(value)}`)
        assert.deepEqual([line?.replace(/^\d+:\d+ {2}/, ''), ...more], [`${key}  must be at most 3650d, not "${value}"`])
      }
    })
  }

  test('what every object has is neither in the file nor in the environment', () => {
    for (const name of Object.getOwnPropertyNames(Object.prototype).filter((each) => !each.startsWith('_'))) {
      assert.deepEqual(errors(`${BASE}${ROUTE}${name}: 1\n`), [`3:1  ${name}  unknown key`])
      assert.deepEqual(errors(`${BASE}routes: [{ match: POST /a, mode: queue, queue: ${name} }]\n`), [
        `2:48  routes[0].queue  there is no queue "${name}"; define it under queues, or leave this key out`,
      ])
      assert.deepEqual(errors(`${BASE}routes: [{ match: /a, pool: ${name} }]\n`), [
        `2:29  routes[0].pool  there is no pool "${name}"; there is api`,
      ])
      assert.deepEqual(errors(`${BASE}${ROUTE}name: "\${${name}}"\n`), [
        `3:7  name  the environment has no ${name}, and there is no default (\${${name}:-…})`,
      ])
      const credentials = `cors: { origins: [https://a.example], credentials: "\${WORD}" }\n`
      assert.deepEqual(errors(`${BASE}${ROUTE}${credentials}`, { WORD: name }), ['3:52  cors.credentials  must be true or false, not text'])
    }
  })

  test('a text of 4 MiB is read, a longer one is not', () => {
    const room = 4 * 1024 * 1024
    const text = `${BASE}${ROUTE}#`
    assert.deepEqual(errors(text.padEnd(room, 'x')), [])
    assert.deepEqual(errors(text.padEnd(room + 1, 'x')), ['spillway.yaml  the file is larger than 4 MiB'])
  })

  test('100000 values are read, one more is not', () => {
    // The file, its two keys' values, and what stands in BASE and ROUTE: 8 values besides the networks.
    const file = (networks: number): string => `${BASE}${ROUTE}trustedPeers:${'\n- ::1'.repeat(networks)}\n`
    assert.deepEqual(errors(file(99_992)), [])
    assert.match(errors(file(99_993))[0] ?? '', /the file has more than 100000 values/)
  })

  test('all errors at once, of the form and of the sense, in the order of the file', () => {
    const text = `
admin: { adress: 1.2.3.4:1, address: 0.0.0.0:1 }
pools:
  api: [ftp://a, http://b]
  web: { servers: [http://c], maxInflight: 3 }
queues:
  q: { pool: wep, attempts: none }
routes:
  - { match: POST /a, mode: queue, queue: q, pool: api }
  - { match: PUT /b, pool: nowhere, key: header:x }
  - { match: 1 }
  - { match: PUT /b, pool: api, mode: direkt, wait: 1s }
`
    assert.deepEqual(errors(text), [
      '2:10  admin.adress  unknown key  (did you mean address?)',
      '4:9  pools.api[0]  must be a URL such as http://127.0.0.1:3000, not "ftp://a"',
      '5:31  pools.web.maxInflight  unknown key  (did you mean maxInFlight?)',
      '7:14  queues.q.pool  there is no pool "wep"; there are api, web  (did you mean web?)',
      '7:29  queues.q.attempts  must be a whole number, not text',
      '10:28  routes[1].pool  there is no pool "nowhere"; there are api, web',
      '10:42  routes[1].key  has no meaning on a direct route, which keeps no jobs; set mode: queue or mode: spill',
      '11:14  routes[2].match  must be text or a mapping, not 1',
      '12:14  routes[3].match  matches the same requests as routes[1]',
      '12:39  routes[3].mode  must be direct or queue or spill, not "direkt"  (did you mean direct?)',
    ])
  })
})
