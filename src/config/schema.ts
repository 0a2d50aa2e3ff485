/**
 * What a configuration file may hold: the one source of its types, its validation, its defaults, its JSON Schema and its reference page.
 * A key's description is its documentation. What depends on more than one key is checked in `resolve.ts`.
 */
import * as z from 'zod'
import * as field from './fields.ts'
import {
  failoverSchema,
  poolOfRouteSchema,
  splitBySchema,
  stickyKeysSchema,
  stickyOfPoolSchema,
  stickyOfRouteSchema,
} from './schema-choice.ts'
import { actionKeys, explainKeys, matchSchema } from './schema-actions.ts'
import { hedgeSchema, mirrorSchema, retrySchema } from './schema-retries.ts'
import { apiSchema, queueSchema, scheduleSchema, thenSchema, topicSchema } from './schema-queues.ts'
import { health } from './schema-health.ts'
import { listenerSchema, poolProxyProtocol, poolTlsSchema } from './schema-tls.ts'
import { memberKeys } from './schema-members.ts'
import { registrationSchema } from './schema-registration.ts'
import { serverReports } from './schema-server-reports.ts'
import { guard, poolShed, priority, queueing, rebalanceTunnels, routeTunnels } from './schema-overload.ts'
import { webhooksSchema } from './schema-webhooks.ts'

const MILLION = 1_000_000

const admin = z.strictObject({
  address: field.address.prefault('127.0.0.1:9900').describe('Where health, readiness, metrics and status are served.'),
  token: z
    .string()
    .min(1)
    .optional()
    .describe('What a caller must send as `Authorization: Bearer …`. Required when the address is not loopback.'),
  calls: field.count(1, 10_000).default(48).describe('Calls of its API at once. Health, metrics and status have 16 connections more.'),
})

const storeKey = z.strictObject({
  id: field.name.describe('What it is called in the store, so that it is found again. Never use one twice for different secrets.'),
  secret: field.storeSecret.describe('32 random bytes in base64 or hex: `"${STORE_KEY}"`, made by `openssl rand -base64 32`.'),
})

const encryption = z.strictObject({
  keys: z.array(storeKey).min(1).describe('The first encrypts what is written from now on; the others are for reading what they wrote.'),
})

const store = z.strictObject({
  engine: z
    .enum(['embedded', 'memory'])
    .default('embedded')
    .describe(
      'What makes jobs durable. `embedded`: a store on this disk, synced before a job is accepted. `memory`: nothing survives the process.',
    ),
  path: z.string().min(1).default('./data').describe('Folder of the embedded store, relative to the file.'),
  diskFloor: field.size
    .prefault('64MiB')
    .describe('With less than this free on the disk nothing is accepted; what was accepted is worked off.'),
  encryption: encryption
    .optional()
    .describe('Requests and answers, heads and bodies, are encrypted on the disk; see docs/store.md for what is not.'),
})

const server = z.strictObject({
  url: field.serverUrl.describe(
    '`http://host:port` or `https://host:port`. A host name stands for all its addresses, looked up again every 5s; `localhost` is one server.',
  ),
  weight: field.count(1, 1000).default(1).describe('Its share of requests and buckets, compared with the other servers of the pool.'),
  backup: z
    .boolean()
    .default(false)
    .describe('Gets requests and jobs only while no server of the pool that is no backup is up; several share what there is then.'),
})

const serverList = z.array(z.union([field.serverUrl, server]))

const retries = z.strictObject({
  budget: field.percent.prefault('20%').describe('Of the requests that a server was asked for the first time.'),
  min: field.count(0, MILLION).default(3).describe('So many in a second are allowed in any case.'),
})

const eject = z.strictObject({
  failures: field.count(0, 1000).default(5).describe('Failures in a row until a server is ejected. 0: these are not counted.'),
  rate: z.union([field.off, field.share]).prefault('50%').describe('Share of its requests in a `window` that failed, or `off`.'),
  volume: field.count(1, MILLION).default(50).describe('Fewer requests in a window say nothing about `rate` and `slower`.'),
  slower: z
    .union([field.off, field.count(2, 1000)])
    .default('off')
    .describe('So many times slower until it begins to answer than the middle one of the others. Needs `balance: peak-ewma`.'),
  window: field.span.prefault('10s').describe('What `rate` and `slower` look back on.'),
  time: field.span.prefault('30s').describe('How long it is out; the second time in a row twice as long, and so on.'),
  maxTime: field.span.prefault('5m').describe('At most so long.'),
  max: field.percent
    .prefault('10%')
    .describe('Share of the pool that may be out. One server may in any case, more while another one does well, but never the last one.'),
})

const adaptive = z.strictObject({
  min: field.count(1, MILLION).default(4).describe('At least so many requests in flight, however long they take. At most `maxInFlight`.'),
})

const hash = z.strictObject({
  hash: field.balanceSource.describe(
    'Requests that show the same go to the same server: `address` (of the client), `path`, `header:X-Account`, `cookie:session`, `query:id`, or `path:id` for a parameter of the route. Who shows nothing goes where there is least to do.',
  ),
  over: field.percent
    .prefault('25%')
    .describe('How much more than its share of the requests in flight a server may have; then its next ones go to others.'),
})

const pool = z.strictObject({
  servers: serverList.describe('URLs, or mappings with `url`, `weight` and `backup`. May be empty where servers register themselves.'),
  balance: z
    .union([z.enum(['round-robin', 'least-requests', 'random', 'peak-ewma']), hash])
    .default('peak-ewma')
    .describe(
      'Which server takes a direct request. `peak-ewma`: of two drawn by weight, the one that would answer sooner. `random`: of two, the one with less to do. `least-requests`: of all, the one with least to do. `round-robin`: in turns. Or `{ hash: header:X-Account }`: always the same one.',
    ),
  maxInFlight: field.count(1, MILLION).default(64).describe('Requests in flight per server, direct ones and jobs together.'),
  adaptive: z
    .union([field.off, adaptive])
    .default('off')
    .describe(
      'How many requests a server bears is learnt from how long direct ones take until they are answered: between `min` and `maxInFlight`. `off`: always `maxInFlight`.',
    ),
  maxTunnels: field
    .count(0, MILLION)
    .default(1024)
    .describe('Tunnels (WebSocket and other upgrades) per server; they do not count as requests in flight.'),
  rebalanceTunnels,
  wait: field.duration.prefault('2s').describe('How long a direct request may wait for a slot before it is answered with 503.'),
  maxWaiting: field.count(0, MILLION).default(1024).describe('How many direct requests may wait at once.'),
  queueing,
  shed: poolShed,
  reserve: field.percent
    .prefault('20%')
    .describe("Of each server's `maxInFlight`: what jobs leave to direct requests as long as these come. Without them jobs take it, too."),
  retries: retries
    .prefault({})
    .describe(
      'How many direct requests may be sent to a server a second time, where the first try reached one and failed or (`hedge`) is slow.',
    ),
  health: health.prefault({}).describe('How servers are checked.'),
  eject: z
    .union([field.off, eject])
    .prefault({})
    .describe(
      'Which servers are taken out for a while although their checks pass: by how requests and attempts end. Failures are broken connections, timeouts, answers that are not HTTP, and 5xx but 501 and 505 (a job that is answered 503 is no failure: its server rests). Or `off`.',
    ),
  serverReports,
  failover: failoverSchema.optional(),
  sticky: stickyOfPoolSchema.optional(),
  slowStart: field.duration.prefault('10s').describe('A server that came back takes its full share only after this long.'),
  failoverGrace: field.duration
    .prefault('10s')
    .describe('After failed checks, attempts in flight on a server are left alone this long, then aborted.'),
  tls: poolTlsSchema.optional().describe('How servers with `https://` are asked; see [TLS](../tls.md#servers).'),
  proxyProtocol: poolProxyProtocol,
  registration: registrationSchema
    .optional()
    .describe(
      'Servers may register themselves at the admin address, with tokens of their own; see [pools](../pools.md#by-the-servers-themselves).',
    ),
  ...memberKeys,
})

const cors = z.strictObject({
  origins: z.array(field.origin).min(1).describe('Origins that may call: exact ones, or `*`.'),
  methods: z.array(field.method).prefault(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']).describe('Methods that a preflight allows.'),
  headers: z
    .array(field.headerName)
    .prefault(['authorization', 'content-type'])
    .describe('Request headers that a preflight allows. The client headers of Spillway itself are always allowed.'),
  credentials: z.boolean().default(false).describe('May the page send cookies? Needs exact origins.'),
  maxAge: field.duration.prefault('10m').describe('How long a browser may remember a preflight.'),
})

const spill = z.strictObject({
  enter: field.duration
    .prefault('100ms')
    .describe(
      'When requests have waited for a slot in vain for so long, the route queues: the next ones no longer wait for `patience`, but for one at a time.',
    ),
  leave: field.span.prefault('5s').describe('It goes direct again when that has not been so for so long.'),
})

const clientHeader = z.enum(['prefer', 'idempotency-key', 'key', 'delay', 'priority', 'callback', 'reference'])

const route = z.strictObject({
  match: z.union([field.matchText, matchSchema]).describe('Which requests: `POST /reports`, `/prefix/*`, or a mapping.'),
  mode: z
    .enum(['direct', 'queue', 'spill'])
    .default('direct')
    .describe(
      '`direct`: to a server now. `queue`: stored, answered with 202, worked off later. `spill`: direct while there is capacity, stored when there is none.',
    ),
  pool: poolOfRouteSchema.optional(),
  splitBy: splitBySchema.optional(),
  sticky: stickyOfRouteSchema.optional(),
  queue: z.string().optional().describe('Where jobs go. Left out: a queue that is named after the path.'),
  wait: field.duration.optional().describe('How long a client is held for its answer. Default: `0s` for queue, `25s` for spill.'),
  patience: field.duration.optional().describe('spill: how long to look for a slot before the request is stored. Default: `250ms`.'),
  spill: spill.optional().describe('spill: when the route changes between serving at once and queueing.'),
  onWait: z
    .enum(['accept', 'cancel'])
    .optional()
    .describe(
      'When the wait is over. `accept` (default): 202 with a token. `cancel`: a job that has not begun is cancelled and answered with 503.',
    ),
  key: field.keySource
    .optional()
    .describe(
      'Jobs of one key run one at a time, in order: `header:X-Account`, `path:id`, `query:id`, `cookie:session`, `json:/customer/id`. Outranks `Spillway-Key`.',
    ),
  tenant: field.keySource
    .optional()
    .describe('Whose job it is, written like `key`: tenants that share a queue take turns, and `tenantMaxRunning` limits each.'),
  bind: field.bindSource
    .optional()
    .describe(
      'Its jobs open only for who shows the same as the request did, beside the token: `header:Authorization`, `cookie:session`. An EventSource can send cookies, but no headers. A request that has none makes a job that its token alone opens.',
    ),
  allow: z
    .array(clientHeader)
    .optional()
    .describe(
      'What clients may choose by header. Default: `prefer`, `idempotency-key`, `key`, `delay`. A header of this list that is not allowed is refused with 400.',
    ),
  priority,
  tunnels: routeTunnels,
  methods: z.array(field.method).min(1).optional().describe('Methods that may become a job. Default: POST, PUT, PATCH, DELETE.'),
  redeliver: z
    .enum(['safe', 'always'])
    .optional()
    .describe(
      '`safe` (default for spill): a request that is not idempotent is sent again only if nothing reached a server. `always` (default for queue): it is sent again.',
    ),
  retry: retrySchema.optional().describe('Instead of the global `retry`, as a whole. Or `off`.'),
  hedge: hedgeSchema
    .optional()
    .describe(
      'A second server is asked when the first one is slow; who answers first wins, the other try is broken off. Only requests that are idempotent, and within the budget of `retries`.',
    ),
  mirror: mirrorSchema
    .optional()
    .describe(
      'Another pool gets a copy of requests that are served at once; what it answers is thrown away. Bodies up to `maxBody` of `retry`; nobody waits for it.',
    ),
  timeout: field.spanOrNone
    .optional()
    .describe(
      'A direct call as a whole, with waiting and all tries. Servers are told by `Spillway-Deadline` when it will be over. Default: `timeouts.call`.',
    ),
  firstByte: field.span.optional().describe('One try of a direct call, until the server begins to answer. Default: `timeouts.firstByte`.'),
  stream: z
    .boolean()
    .optional()
    .describe(
      'Answers of jobs are handed on while they come, and stored at the same time: the client is held until the first byte (`wait`, 25s by default), then streamed to; whoever was cut off goes on where it was.',
    ),
  onPartial: z
    .enum(['fail', 'restart'])
    .optional()
    .describe(
      'stream: when an answer breaks off after it began. `fail` (default): the job has failed, a dead letter. `restart`: another attempt, as `attempts` and `redeliver` allow; whoever reads is told, and begins anew.',
    ),
  idempotency: z
    .strictObject({
      scope: field.headerName
        .default('authorization')
        .describe('Header whose value separates the callers: a key never yields the job of another one.'),
    })
    .optional()
    .describe('How idempotency keys are told apart.'),
  ...actionKeys,
  cors: cors.optional().describe('Instead of the global `cors`.'),
  then: thenSchema
    .optional()
    .describe('Only queue routes: where the result of a job goes when it has succeeded. Instead of that of its queue.'),
})

const signingKey = z.strictObject({
  id: field.name.describe('What it is called in messages.'),
  secret: field.signingSecret.describe('Which the servers know, too: `"${SIGNING_KEY}"`, made by `echo whsec_$(openssl rand -base64 32)`.'),
})

const signing = z.strictObject({
  keys: z
    .array(signingKey)
    .min(1)
    .max(8)
    .describe('Every one signs, so that a secret can be changed: add the new one, tell the servers, take the old one out.'),
})

const perClient = z.strictObject({
  jobs: field
    .count(0, MILLION)
    .default(0)
    .describe('Unfinished jobs that one client has submitted on routes; one more is refused with 429. 0: no limit.'),
  watchers: field
    .count(0, MILLION)
    .default(0)
    .describe(
      'Long polls, event streams, WebSockets and readers of answers under way, of one client; one more is refused with 429. 0: no limit.',
    ),
})

const limits = z.strictObject({
  head: field.size.prefault('32KiB').describe('Request line and header section of one message.'),
  headers: field.count(1, 10_000).default(100).describe('Header fields in one message.'),
  target: field.size.prefault('8KiB').describe('Request target.'),
  body: field.sizeOrUnlimited.prefault('unlimited').describe('Body of a direct request. It is streamed, not held.'),
  jobBody: field.size
    .prefault('1MiB')
    .describe('Body of a request that becomes a job. On a spill route a larger one is passed on, but never stored.'),
  result: field.size.prefault('16MiB').describe("A job's result."),
  answer: field.size.prefault('1MiB').describe('A file that a route answers with (`answer.file`): it is held in memory.'),
  streamedResult: field.size
    .prefault('1GiB')
    .describe('A result of a route with `stream: true`: it goes to the disk while it comes, and is never held in memory as a whole.'),
  spillCopy: field.size
    .prefault('64KiB')
    .describe('How much of a spillable request is copied while it streams to a server; past it, it can no longer spill.'),
  buffered: field.size.prefault('256MiB').describe('All bodies that the gateway holds in memory. Above it reading stops, then 503.'),
  connections: field.count(1, MILLION).default(16_384).describe('Client connections at once.'),
  eventSockets: field
    .count(0, MILLION)
    .default(8192)
    .describe('WebSockets that are open for events of jobs; one more is refused with 503 before the upgrade.'),
  perClient: perClient
    .prefault({})
    .describe(
      'A client is who shows the same as `bind` of a route names, or who comes from the same address. Counted from the start of the gateway.',
    ),
  watches: field.count(1, MILLION).default(1000).describe('Jobs that one WebSocket may watch at once.'),
  schedules: field.count(0, MILLION).default(10_000).describe('Schedules, those of this file and those made over the API together.'),
  scheduleBytes: field.size.prefault('16MiB').describe('All their definitions together: they are held in memory.'),
  tasks: field.count(1, 10_000).default(100).describe('Redrives, moves, purges and cancellations of many jobs that are under way at once.'),
  rateKeys: field
    .count(1, 10 * MILLION)
    .default(100_000)
    .describe('Keys of one queue whose rate is remembered; beyond it the rate of those that were used longest ago begins anew.'),
  stickySessions: field
    .count(1, 10 * MILLION)
    .default(100_000)
    .describe(
      'Sessions of `appCookie` whose server is remembered: so many that were used last, and up to twice as many; of those that clients show and no answer has set, a tenth.',
    ),
  subscriptions: field.count(1, 10_000).default(100).describe('Subscriptions of one topic that are made over the API.'),
  filterValues: field.count(1, MILLION).default(1000).describe('Values that the filter of one subscription may name, over the API.'),
  chain: field.count(1, 10_000).default(32).describe('Jobs of one chain (`then`), the first one included; then it stops.'),
  batch: field.count(1, 100_000).default(10_000).describe('Jobs of one batch.'),
  serverChanges: field
    .count(0, MILLION)
    .default(1000)
    .describe(
      'Servers that are added, taken out, drained or weighed otherwise over the API, of all pools; these changes hold over restarts.',
    ),
  batches: field
    .count(0, MILLION)
    .default(10_000)
    .describe('Batches that have not ended, or that ended lately; one more is refused with 503.'),
})

const timeouts = z.strictObject({
  head: field.span.prefault('10s').describe('From the first byte of a request, or the connection, to the end of its head.'),
  body: field.span.prefault('30s').describe('Longest pause between two reads of a request body.'),
  idle: field.span.prefault('75s').describe('Kept-alive connection of a client without a request.'),
  connect: field.span.prefault('3s').describe('Connecting to a server.'),
  firstByte: field.span.prefault('60s').describe("From the end of a request to the head of the server's answer."),
  call: field.spanOrNone
    .prefault('none')
    .describe('A direct call as a whole; `timeout` of a route goes before it. Servers are told by `Spillway-Deadline`.'),
  stall: field.span.prefault('60s').describe('Longest pause in a response body, on either side.'),
  upstreamIdle: field.span.prefault('4s').describe('Idle connection to a server. Below the 5s after which many servers close.'),
  tunnel: field.span.prefault('1h').describe('Tunnel without a byte.'),
})

const jobs = z.strictObject({
  path: field.jobsPath
    .prefault('/_spillway')
    .describe('Path under which job URLs live on every listener and host. Reserved: no route gets it.'),
  publicUrl: field.publicUrl.optional().describe('Put before links, where clients reach the gateway under another address.'),
  waitMax: field.span.prefault('60s').describe('Longest a client may be held, whatever it or a route asks for.'),
  heartbeat: field.span.prefault('15s').describe('Between two signs of life on an event stream.'),
})

const log = z.strictObject({
  format: z.enum(['text', 'json']).default('text').describe('Event lines: for people, or one JSON object per line.'),
  access: z
    .string()
    .min(1)
    .default('off')
    .describe('One line per call, per attempt of a job and per tunnel that is over: `off`, `stdout`, or a file, relative to this one.'),
  accessFormat: z.enum(['json', 'text']).default('json').describe('Its lines: one JSON object each, or for people.'),
})

/** More than any machine that this was tried on has cores. */
const WORKERS_MAX = 64

export const configSchema = z.strictObject({
  listeners: z
    .array(z.union([field.address, listenerSchema]))
    .min(1)
    .prefault(['127.0.0.1:8080'])
    .describe('Addresses on which connections are accepted.'),
  admin: admin.prefault({}).describe('The admin address.'),
  store: store.prefault({}).describe('Where jobs are kept.'),
  pools: z
    .record(field.name, z.union([serverList.min(1), pool]))
    .prefault({})
    .describe('Servers that do the same work, by name. A list of URLs is enough.'),
  queues: z
    .record(field.name, queueSchema)
    .prefault({})
    .describe('Durable lines of jobs, by name. A queue of a route needs to stand here only to change a default.'),
  routes: z
    .array(route)
    .prefault([])
    .describe('Which requests go where, and how. Order matters only between equally specific routes. A file needs routes, or queues.'),
  schedules: z.record(field.name, scheduleSchema).prefault({}).describe('What makes jobs by the clock, by name.'),
  topics: z.record(field.name, topicSchema).prefault({}).describe('Names under which one job is sent to several queues.'),
  webhooks: webhooksSchema
    .optional()
    .describe('Who is told when jobs end, and how. Without this section, even an empty one, there are none.'),
  api: apiSchema.prefault({}).describe('The [queue API](../queue-api.md).'),
  sticky: stickyKeysSchema.optional().describe('What cookies of `sticky` are signed with.'),
  signing: signing.optional().describe('Attempts of jobs carry `Spillway-Signature`; see [servers](../servers.md#the-signature).'),
  retry: retrySchema
    .optional()
    .describe(
      'When a direct request is sent to a server again, on routes that do not say it themselves. Left out: after connect failures and broken connections, at once. Or `off`.',
    ),
  limits: limits.prefault({}).describe('How large things may become.'),
  timeouts: timeouts.prefault({}).describe('How long things may take.'),
  jobs: jobs.prefault({}).describe("The clients' side of jobs."),
  trustedPeers: z.array(field.network).prefault([]).describe('Peers whose `Forwarded` and `X-Forwarded-*` are believed.'),
  name: field.pseudonym.prefault('spillway').describe('What the gateway calls itself in `Via`, `Forwarded` and `Proxy-Status`.'),
  ...explainKeys,
  cors: cors.optional().describe('Which other origins may call from a browser.'),
  log: log.prefault({}).describe('What is written to standard output.'),
  guard,
  workers: z
    .union([z.literal('auto'), z.int().min(1).max(WORKERS_MAX)])
    .prefault(1)
    .describe(
      'Threads that serve the listeners: one per core of the machine, or `auto`. One of them has the store, the others hand over to it what needs the store, and what has to wait.',
    ),
  drainTimeout: field.duration.prefault('30s').describe('How long a stopping gateway lets calls and attempts in flight finish.'),
})

/** A queue, pool or spill route of which nothing is written: the defaults. */
export const QUEUE_DEFAULTS: ParsedQueue = queueSchema.parse({})
export const SPILL_DEFAULTS: z.output<typeof spill> = spill.parse({})
export const POOL_DEFAULTS: Omit<z.output<typeof pool>, 'servers'> = pool.omit({ servers: true }).parse({})

/** What people write, in a file or in `defineConfig()`. */
export type ConfigFile = z.input<typeof configSchema>
/** The same with defaults filled in and values parsed. */
export type ParsedFile = z.output<typeof configSchema>
export type ParsedRoute = ParsedFile['routes'][number]
export type ParsedPool = ParsedFile['pools'][string]
export type ParsedPoolMapping = Exclude<ParsedPool, readonly unknown[]>
export type ParsedQueue = ParsedFile['queues'][string]
export type ParsedCors = NonNullable<ParsedFile['cors']>

/** Gives the configuration back; lets an editor complete and check it. */
export function defineConfig(config: ConfigFile): ConfigFile {
  return config
}
