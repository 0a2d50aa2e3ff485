/**
 * The resolved configuration: what the rest of the program reads. Every default is filled in, every name points somewhere,
 * every duration is in milliseconds, every size in bytes. `schema.ts` says what a file may hold, `load.ts` turns one into the other.
 */
import type { GuardRules } from '../core/admission/guard.ts'
import type { AdaptiveRules } from '../core/admission/wait-list.ts'
import type { OutlierRules } from '../core/health/outliers.ts'
import type { ServerReportRules } from '../core/server-reports/rules.ts'
import type { Share } from '../core/balancing/split.ts'
import type { RouteActions } from '../core/actions/actions.ts'
import type { RetryRules } from '../core/retry/retry.ts'
import type { FailoverWhen } from '../core/routing/failover.ts'
import type { ModeTimes } from '../core/routing/route-mode.ts'
import type { ValueTest } from '../core/routing/value-test.ts'
import type { Then } from '../core/jobs/then.ts'
import type { UrlPattern } from '../core/webhooks/urls.ts'
import type { Rate } from '../lib/rate.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { OnPartial, QueueLimits, QueueRules } from '../ports/job-store.ts'
import type { ProxyVersion } from '../core/proxy-protocol/header.ts'
import type { HealthConfig } from './config-health.ts'
import type { RegistrationConfig } from './config-registration.ts'
import type { ListenerProxyConfig, ListenerTlsConfig, PoolTlsConfig } from './config-tls.ts'

export interface HostPort {
  readonly host: string
  /** 0 = any free port (tests). */
  readonly port: number
}

export type Mode = 'direct' | 'queue' | 'spill'
export type Balance = 'round-robin' | 'least-requests' | 'random' | 'peak-ewma' | HashBalance

/** Requests that show the same go to the same server. */
export interface HashBalance {
  readonly by: BalanceSource
  /** Nobody has more than so many times its share of the requests in flight; Infinity: no bound. Default 1.25. */
  readonly loadMax: number
}

export interface BalanceSource {
  /** `address`: of the client. `target`: the path as a whole, without the query. These two have no name. */
  readonly from: Exclude<KeySource['from'], 'json'> | 'address' | 'target'
  readonly name: string
}

export interface Config {
  /** The file it came from, for messages. */
  readonly file?: string
  readonly listeners: readonly ListenerConfig[]
  readonly admin: AdminConfig
  readonly store: StoreConfig
  readonly pools: readonly PoolConfig[]
  readonly queues: readonly QueueConfig[]
  /** In file order. */
  readonly routes: readonly RouteConfig[]
  readonly schedules: readonly ScheduleConfig[]
  readonly topics: readonly TopicConfig[]
  /** Absent: there are none. */
  readonly webhooks?: WebhooksConfig
  readonly api: ApiConfig
  /** What attempts of jobs are signed with; absent: they are not. */
  /** What cookies of ours are made with; the first makes new ones. Set where any route is sticky by such a cookie. */
  readonly sticky?: { readonly keys: readonly SigningKey[] }
  readonly signing?: { readonly keys: readonly SigningKey[] }
  readonly limits: LimitsConfig
  readonly timeouts: TimeoutsConfig
  readonly jobs: JobsConfig
  /** Peers (CIDR) whose Forwarded / X-Forwarded-* are believed. Empty: nobody. */
  readonly trustedPeers: readonly string[]
  /** Pseudonym in Via, Forwarded `by`, Proxy-Status. Default `spillway`. */
  readonly name: string
  /** Absent: calls have none. */
  readonly requestId?: RequestIdConfig
  /** Absent: what comes passes. */
  readonly tracing?: TracingConfig
  readonly cors?: CorsConfig
  readonly log: LogConfig
  readonly drainTimeoutMs: Millis
  /** Threads that serve the listeners, the one with the store among them. */
  readonly workers: number
  /** When the gateway itself has too much to do. Absent: that is not looked at. */
  readonly guard?: GuardRules
}

export interface ListenerConfig {
  readonly address: HostPort
  /** Absent: plain HTTP. */
  readonly tls?: ListenerTlsConfig
  /** Who tells the client's address in a header of the PROXY protocol. Absent: nobody. */
  readonly proxyProtocol?: ListenerProxyConfig
  /** Every request is sent to https at this port. */
  readonly redirect?: { readonly port: number; readonly status: 301 | 308 }
}

export interface AdminConfig {
  readonly address: HostPort
  /** Required unless the address is loopback. */
  readonly token?: string
  /** Of its API, at once. */
  readonly calls: number
}

export interface StoreConfig {
  readonly engine: 'embedded' | 'memory'
  /** Absolute folder; unused by `memory`. */
  readonly path: string
  /** With less than this free on its disk nothing is accepted. */
  readonly diskFloor: Bytes
  readonly encryption?: { readonly keys: readonly StoreKey[] }
}

/** The first of several encrypts, the others only read. */
export interface StoreKey {
  readonly id: string
  /** 32 bytes. Never shown. */
  readonly secret: Uint8Array
}

export interface SigningKey {
  readonly id: string
  /** Never shown. */
  readonly secret: Uint8Array
}

export interface ServerConfig {
  /** `host:port` as written, unique in its pool: its name in logs and metrics. */
  readonly name: string
  readonly host: string
  readonly port: number
  /** Of which the host is an address. */
  readonly hostName?: string
  readonly weight: number
  /** Asked over TLS; `name`: the host of its URL, whatever address it stands for. */
  readonly tls?: { readonly name: string }
  /** It gets something only while no other server can be used. */
  readonly backup?: true
}

export interface PoolConfig {
  readonly name: string
  readonly servers: readonly ServerConfig[]
  readonly balance: Balance
  readonly maxInFlight: number
  /** How many a server bears is learnt, from so many up to `maxInFlight`. Absent: it is always that. */
  readonly adaptiveMin?: number
  readonly maxTunnels: number
  /** How long a direct request may wait for a slot. */
  readonly waitMs: Millis
  /** How many may wait at once. Default 1024. */
  readonly maxWaiting: number
  /** When the line stands, and the newest goes first. Absent: first come first served, always. */
  readonly queueing?: AdaptiveRules
  /** How fast tunnels are ended so that a server that has come gets its share. Absent: they are not. */
  readonly rebalanceTunnels?: Rate
  readonly health: HealthConfig
  /** A server that came back takes its full share only after this long. Default 10s. */
  readonly slowStartMs: Millis
  /** After a failed check, attempts in flight are left alone this long. Default 10s. */
  readonly failoverGraceMs: Millis
  /** Which of those of a host name are servers. */
  readonly addresses: 'all' | 'ipv4' | 'ipv6'
  /** What runs on a server that was taken out may go on for so long; Infinity: as long as it takes. Default 5m. */
  readonly drainTimeoutMs: Millis
  /** Share of `maxInFlight` that jobs leave to direct requests while these come. Default 0.2. */
  readonly reserve: number
  readonly retries: RetryBudget
  /** When servers are taken out by how their requests end. Absent: never. */
  readonly outliers?: OutlierRules
  /** What is heeded of that which servers say of themselves. Absent: nothing. */
  readonly serverReports?: ServerReportRules
  /** How those of its servers are asked that speak TLS. Absent: none does. */
  readonly tls?: PoolTlsConfig
  /** Each connection begins with such a header. Absent: with the request. */
  readonly proxyProtocol?: ProxyVersion
  /** Who else may say that it is a server of this pool: itself. Absent: nobody. */
  readonly registration?: RegistrationConfig
  /** Who stands in for it. Absent: nobody. */
  readonly failover?: FailoverConfig
}

export interface FailoverConfig {
  readonly pool: string
  readonly when: FailoverWhen
}

export interface RetryBudget {
  /** Of first tries. Default 0.2. */
  readonly budget: number
  /** Allowed in any case. Default 3. */
  readonly minPerSecond: number
}

export interface QueueConfig {
  readonly name: string
  /** Whose servers work it off; absent: pull consumers only. */
  readonly pool?: string
  /** May pull consumers work it off? */
  readonly pull: boolean
  /** Jobs in flight per server. */
  readonly concurrency: number
  readonly attempts: number
  readonly backoff: { readonly baseMs: Millis; readonly maxMs: Millis }
  readonly timeoutMs: Millis
  /** How far servers may report the end of a job after their answer. */
  readonly defer: { readonly maxMs: Millis; readonly jobs: number }
  /** Absent: never. */
  readonly expireAfterMs?: Millis
  /** Absent: never. */
  readonly deadlineMs?: Millis
  readonly keepMs: Millis
  readonly keepDeadMs: Millis
  readonly deadLetter: 'exhausted' | 'all'
  readonly onUnauthorized: 'fail' | 'hold'
  readonly rules: QueueRules
  readonly limits: QueueLimits
  /** Jobs give way to direct requests. Absent: they do not. */
  readonly pace?: { readonly intervalMs: Millis }
  /** Share of a limit from which on low priorities are refused. Absent: never. */
  readonly shedFrom?: number
  /** Where the results of its jobs are sent on to, where neither the job nor its route says it. */
  readonly then?: Then
}

/** What makes jobs by the clock. The document is the one of the queue API: plain data. */
export interface ScheduleConfig {
  readonly name: string
  readonly document: ScheduleDocument
}

export interface ScheduleDocument {
  readonly queue: string
  /** Either this, in its time zone, or `every`. */
  readonly cron?: string
  readonly timeZone: string
  /** A duration as text. */
  readonly every?: string
  readonly missed: 'skip' | 'once' | 'all'
  readonly paused: boolean
  readonly job: Readonly<Record<string, unknown>>
}

export interface TopicConfig {
  readonly name: string
  readonly subscriptions: readonly SubscriptionConfig[]
}

export interface SubscriptionConfig {
  readonly name: string
  readonly queue: string
  readonly filter?: TopicFilter
}

/** Who is told when jobs end. */
export interface EndpointConfig {
  readonly name: string
  /** With parameters still in braces. */
  readonly url: string
  /** All of them sign. Never shown. */
  readonly secrets: readonly string[]
  readonly events: readonly string[]
  /** Names, or beginnings that end with `*`. Absent: all. */
  readonly queues?: readonly string[]
  readonly routes?: readonly string[]
  readonly order: 'none' | 'key'
  readonly timeoutMs: Millis
  /** Names in lower case. Values are never shown. */
  readonly headers: Readonly<Record<string, string>>
}

export interface CallbacksConfig {
  readonly urls: readonly UrlPattern[]
  readonly secrets: readonly string[]
  readonly timeoutMs: Millis
}

export interface WebhooksConfig {
  readonly endpoints: readonly EndpointConfig[]
  readonly callbacks?: CallbacksConfig
  /** Addresses, networks and host names. */
  readonly allow: readonly string[]
  readonly https: 'required' | 'optional'
  /** The name of the queue in which they wait; it is among `queues`. */
  readonly queue: string
  readonly retriesMs: readonly Millis[]
  readonly connectTimeoutMs: Millis
  /** At once, all together. */
  readonly concurrency: number
  readonly disableAfterMs: Millis
  /** Of a result that is sent along. */
  readonly inline: Bytes
  /** Of what a receiver answers, to be kept. */
  readonly answer: Bytes
  /** Made over the API. */
  readonly endpointsMax: number
}

export type Scalar = string | number | boolean | null

/** All conditions must hold; of a list, one value is enough. */
export interface TopicFilter {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** By JSON pointer into the payload. */
  readonly fields: Readonly<Record<string, Scalar | readonly Scalar[]>>
}

export type ApiRight = 'send' | 'receive' | 'browse' | 'manage'

export interface ApiKeyConfig {
  readonly name: string
  readonly token: string
  /** Names, or beginnings of names that end with `*`. */
  readonly queues: readonly string[]
  readonly can: readonly ApiRight[]
  /** That a queue which it makes may name. Absent: none. */
  readonly pools?: readonly string[] | undefined
}

/** The queue API. */
export interface ApiConfig {
  /** Without any, listeners do not serve it. */
  readonly keys: readonly ApiKeyConfig[]
  /** Items in one call. Default 1000. */
  readonly receiveMax: number
  /** Pull consumers that wait at once. Default 4096. */
  readonly receiversMax: number
  /** Queues that are made over the API. */
  readonly queuesMax: number
  /** Default 12h. */
  readonly leaseMaxMs: Millis
  /** One body, or one line of NDJSON. Default 16MiB. */
  readonly body: Bytes
}

/** Where a key's value comes from. */
export interface KeySource {
  readonly from: 'header' | 'path' | 'query' | 'cookie' | 'json'
  /** Header name in lower case, `{param}` name, query or cookie name, or a JSON pointer (RFC 6901). */
  readonly name: string
}

/** Where a caller's identity is. */
export interface BindSource {
  readonly from: 'header' | 'cookie'
  /** Header name in lower case, or cookie name. */
  readonly name: string
}

export interface MatchConfig {
  /** Lower case; `*.example.com` stands for any one or more labels. Absent: any. */
  readonly host?: string
  /** `/exact`, `/prefix/*`, with `{param}` segments. */
  readonly path: string
  /** Absent: any. Upper case. */
  readonly methods?: readonly string[]
  /** All must pass. Names in lower case. */
  readonly headers: readonly (readonly [name: string, test: ValueTest])[]
  readonly query: readonly (readonly [name: string, test: ValueTest])[]
  /** It matches these as well. */
  readonly moreHosts?: readonly string[]
  readonly morePaths?: readonly string[]
}

export type ClientHeader = 'prefer' | 'idempotency-key' | 'key' | 'delay' | 'priority' | 'callback' | 'reference'

/** What is absent has no limit, or the one of `timeouts.tunnel`. */
export interface TunnelLimits {
  readonly max?: number | undefined
  readonly perClient?: number | undefined
  readonly connectRate?: Rate | undefined
  readonly idleMs?: Millis
}

export interface RouteConfig {
  /** For logs and metrics: the match as written, unique. */
  readonly name: string
  readonly match: MatchConfig
  /** Absent: a queue route whose queue is worked off by pull consumers only. Of a split: the pool of its jobs, or the one of most weight. */
  readonly pool?: string
  /** Who was on a server comes back to it. From the route, or its pool. */
  readonly sticky?: StickyConfig
  /** Its requests are shared out among several pools. */
  readonly split?: SplitConfig
  readonly mode: Mode
  /** Set for `queue` and `spill`. */
  readonly queue?: string
  /** How long a client is held: 0 for `queue`, 25s for `spill` by default. */
  readonly waitMs: Millis
  /** spill: how long to look for a slot before the request is stored. */
  readonly patienceMs: Millis
  /** spill: when the route changes its mode. */
  readonly spill: ModeTimes
  readonly onWait: 'accept' | 'cancel'
  readonly key?: KeySource
  readonly tenant?: KeySource
  /** Its jobs open only for who shows the same. */
  readonly bind?: BindSource
  readonly allow: readonly ClientHeader[]
  /** 0 to 9, 9 first, where the client says nothing. Absent: 5 of direct requests, 0 of jobs. */
  readonly priority?: number
  readonly tunnels?: TunnelLimits
  /** Share of the pool's `maxWaiting` from which on low priorities are refused. Absent: never. */
  readonly shedFrom?: number
  /** What a callback may name; set where `allow` has it. */
  readonly callbacks?: readonly UrlPattern[]
  /** Methods that may become a job. */
  readonly methods: readonly string[]
  readonly redeliver: 'safe' | 'always'
  /** When a direct request is sent to a server again. Absent: `DEFAULT_RETRY`. */
  readonly retry?: RetryRules
  /** When a second server is asked while the first one is. Absent: never. */
  readonly hedge?: HedgeConfig
  /** Another pool gets a copy of its requests. Absent: none does. */
  readonly mirror?: MirrorConfig
  /** Of a direct call as a whole, and of one try until its head; 0 = none. Absent: as in `timeouts`. */
  readonly timeoutMs?: Millis
  readonly firstByteMs?: Millis
  /** Answers are handed on while they come, and stored meanwhile. Absent: no. */
  readonly stream?: { readonly onPartial: OnPartial }
  /** Header whose hash scopes idempotency keys, lower case. Default `authorization`. */
  readonly idempotencyScope: string
  /** From route or global `cors`. */
  readonly cors?: CorsConfig
  /** Absent: none. */
  readonly actions?: RouteActions
  /** Where the results of its jobs are sent on to. Instead of that of its queue. */
  readonly then?: Then
}

export interface MirrorConfig {
  readonly pool: string
  /** More than 0, up to 1. */
  readonly share: number
  /** Absent: all. */
  readonly methods?: readonly string[]
  /** Of a copy as a whole. */
  readonly timeoutMs: Millis
}

export interface StickyConfig {
  readonly cookie: OwnCookie | AppCookie
  /** For its own server, when that is full. 0: it does not wait. */
  readonly waitMs: Millis
}

/** Made by the gateway: it names pool and server. */
export interface OwnCookie {
  readonly by: 'gateway'
  readonly name: string
  /** Absent: as long as the browser is open. */
  readonly ttlMs?: Millis
  readonly path: string
  readonly secure: boolean
  readonly sameSite: 'Strict' | 'Lax' | 'None'
}

/** Made by the application: whose it is is learnt. */
export interface AppCookie {
  readonly by: 'application'
  readonly name: string
  /** Unused for so long, it is forgotten. */
  readonly ttlMs: Millis
}

/** Either of the two. */
export interface HedgeConfig {
  readonly afterMs?: Millis
  /** After as long as so many of the route's requests take: 0.95. */
  readonly quantile?: number
}

export interface SplitConfig {
  /** At least one has a weight. */
  readonly shares: readonly Share[]
  /** Absent: each request draws. */
  readonly by?: BalanceSource
}

export interface CorsConfig {
  /** Exact origins, or `*`. */
  readonly origins: readonly string[]
  readonly methods: readonly string[]
  readonly headers: readonly string[]
  readonly credentials: boolean
  readonly maxAgeMs: Millis
}

export interface LimitsConfig {
  /** Request line and header section of one message, in bytes. */
  readonly head: Bytes
  /** Header fields in one message. Default 100. */
  readonly headers: number
  /** A file that a route answers with. Default 1MiB. */
  readonly answer: Bytes
  /** Request target. Default 8KiB. */
  readonly target: Bytes
  /** Body of a direct request; a spillable or queued one obeys `jobBody`. Default: 0 = unlimited (it is streamed). */
  readonly body: Bytes
  readonly jobBody: Bytes
  readonly result: Bytes
  /** One that is handed on while it comes: it is on the disk, not in memory. Default 1GiB. */
  readonly streamedResult: Bytes
  readonly spillCopy: Bytes
  readonly buffered: Bytes
  /** Downstream connections at once. Default 16384. */
  readonly connections: number
  /** Open for events of jobs. */
  readonly eventSockets: number
  /** Of one client: unfinished jobs, and waits, streams and sockets; 0: no limit. */
  readonly perClient: { readonly jobs: number; readonly watchers: number }
  /** Jobs per event socket. */
  readonly watches: number
  readonly schedules: number
  /** Of all definitions of schedules together. */
  readonly scheduleBytes: Bytes
  /** Under way at once. */
  readonly tasks: number
  /** Per queue. */
  readonly rateKeys: number
  /** Of applications, whose server is remembered. */
  readonly stickySessions: number
  /** Per topic, over the API. */
  readonly subscriptions: number
  /** Per filter, over the API. */
  readonly filterValues: number
  /** Jobs of one chain. */
  readonly chain: number
  /** Jobs of one batch. */
  readonly batch: number
  /** Servers that operators have changed while it runs. */
  readonly serverChanges: number
  /** Batches that are kept. */
  readonly batches: number
}

export interface TimeoutsConfig {
  /** From the first byte of a request (or the accept) to the end of its head. 10s */
  readonly headMs: Millis
  /** Longest pause between two reads of a request body. 30s */
  readonly bodyMs: Millis
  /** Idle keep-alive connection of a client. 75s */
  readonly idleMs: Millis
  /** Connect to a server. 3s */
  readonly connectMs: Millis
  /** From the end of the request to the head of the answer. 60s */
  readonly firstByteMs: Millis
  /** A direct call as a whole; 0 = none. 0 */
  readonly callMs: Millis
  /** Longest pause in a response body, either side. 60s */
  readonly stallMs: Millis
  /** Idle pooled connection to a server. 4s: below the 5s after which many servers close. */
  readonly upstreamIdleMs: Millis
  /** Tunnel without a byte. 1h */
  readonly tunnelMs: Millis
}

export interface JobsConfig {
  /** Path prefix of the job URLs on every listener. Default `/_spillway`. */
  readonly path: string
  /** Put before links when set, without a slash at its end. */
  readonly publicUrl?: string
  /** Longest a client may be held by `wait`. Default 60s. */
  readonly waitMaxMs: Millis
  /** Between two heartbeats of an event stream. 15s */
  readonly heartbeatMs: Millis
}

export interface RequestIdConfig {
  /** Lower case. */
  readonly header: string
  /** Whose ids are taken over. */
  readonly accept: 'trusted' | 'anyone' | 'nobody'
}

export interface TracingConfig {
  /** Who comes without a trace begins one. */
  readonly start: boolean
  readonly accept: 'trusted' | 'anyone'
}

export interface LogConfig {
  readonly format: 'text' | 'json'
  /** Access log: `off`, `stdout`, or an absolute file path. Default `off`. */
  readonly access: string
  /** Its lines are for people. Absent: JSON. */
  readonly accessFormat?: 'text'
}
