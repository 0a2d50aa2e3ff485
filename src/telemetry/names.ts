/**
 * Every metric the gateway has, with its type, meaning and labels: the one place from which HELP and TYPE lines
 * and docs/reference/metrics.md are made. A test compares it with the names that the sources use.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface MetricSpec {
  readonly type: MetricType
  readonly help: string
  /** Names from `LABELS`, separated by spaces. */
  readonly labels?: string
  /** Of a histogram; default `DURATION_BUCKETS`. */
  readonly buckets?: readonly number[]
}

/** A family takes at most this many label sets; what comes later is counted under the label value `other`. */
export const SERIES_MAX = 2000

/** Upper bounds in seconds: from half a millisecond (a proxied call) to a minute (a held client). */
export const DURATION_BUCKETS: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
/** Upper bounds in seconds for what a job lives through: it may wait for a server all night. */
const DWELL_BUCKETS: readonly number[] = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400]
/** Upper bounds for how many operations share a sync. */
const COUNT_BUCKETS: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

/** A label means the same in every metric. */
const LABELS: Readonly<Record<string, string>> = {
  route: "the route's match as written; empty when none matched",
  mode: 'direct, queue or spill; `jobs` for the job endpoints, `api` for the queue API; of what a route does now: `direct`, `queue` or `refuse`',
  trigger: 'what made the route do so: `config`, `operator`, `no_server` or `capacity`',
  state: 'what is thought of a server: `unknown` (not checked yet), `up`, `down`, `ejected` or `draining`',
  code: 'status code of the answer; 499 when the client left before it had one',
  listener: 'the address of the listener as configured',
  certificate: 'the file of the certificate',
  pool: "the pool's name",
  server: 'the server as `host:port`',
  queue: "the queue's name",
  status: 'the job status',
  reason: 'why the job is dead: `attempts`, `expired`, `poison` or an error code',
  outcome:
    'of a request to a server: `1xx` to `5xx`, `abandoned` (nobody waited for it any more), `outrun` (another try was quicker), `server_busy` (429 or 503, and it became a job) or the code of an error; of a check: `passed` or `failed`; of a hand-out: how it was settled; of a submission: `created`, `duplicate`, `conflict` or `refused`; of a receive: `filled` or `empty`; of a retry: `sent` or `refused`; of a hedge: `sent`, `won` or `refused`; of a copy for another pool: `answered` or `failed`, or not sent: `body` (too long, or no room for it), `incomplete` (not all of it came), `busy` (no free slot), `no_server`; of a sticky request: `new` (nothing was known), `kept` (on the server where it was before) or `moved` (that one could not be used); of a wait: `served`, `time` (it was over), `old` (let go early), `room` (it made room for a more urgent one), `elsewhere` (another pool stands in), `full`, `shed` (it did not even get into the line); of a handshake: `done`, `resumed` (without a new session), `failed`, `left` (by the client) or `timeout`; of what a server says of itself: `heeded`, `garbled` or `too-soon` (a wish within a second after its last one was over); of a reload: `applied` or `refused`; of a webhook: `delivered`, `gone`, `handed-back` or the code of the error',
  error:
    'of a job: the code of its last error; of a call: the code, or `client-gone`, `timeout` (its body stopped coming), `bad-framing`; see [errors](errors.md)',
  limit:
    'of a queue: `jobs`, `bytes`, `finished` or `age`; of a submission also `wait` (it would expire before its turn) and `priority` (it is not urgent enough); of the store: `disk`',
  endpoint: "the webhook endpoint's name; `callback` for all that clients have named",
  operation: 'what came with a lease that was over: `settle`, `extend` or `progress`',
  why: 'a tunnel is over: `peer` (one of its ends ended it), `idle`, `drain` (the gateway stopped), `rebalance`, `left` (its server left the pool)',
  signal: '`loopDelay`, `memory` or `sockets`',
  priority: '0 to 9, 9 is the most urgent',
  cause: 'what happened to a server: `down` or `up`',
  type: 'the event type',
  name: "the metric's name",
  quantile: '0.5, 0.99 or 1 (the maximum)',
  kind: 'what it is to Node.js: `Timeout`, `TCPSocketWrap` …',
  report: 'what a server says of itself: `load` or `drain`',
  version: 'of Spillway',
  node: 'of Node.js',
}

const SPECS = {
  spillway_requests_total: {
    type: 'counter',
    help: 'Calls answered, by the status the client got.',
    labels: 'route mode code',
  },
  spillway_request_duration_seconds: {
    type: 'histogram',
    help: 'From the first byte of a call to the last byte of its answer, holding included.',
    labels: 'route mode',
  },
  spillway_request_bytes_total: { type: 'counter', help: 'Bodies that came from clients.', labels: 'route mode' },
  spillway_response_bytes_total: {
    type: 'counter',
    help: 'Heads and bodies that clients were sent, without tunnels.',
    labels: 'route mode',
  },
  spillway_request_errors_total: {
    type: 'counter',
    help: 'Calls that did not end well, by the code of the error or why the client is gone.',
    labels: 'route error',
  },
  spillway_server_up: {
    type: 'gauge',
    help: '1 when the server takes requests, 0 when it is down, ejected, draining or not checked yet.',
    labels: 'pool server',
  },
  spillway_server_draining: {
    type: 'gauge',
    help: '1 when the server is drained by an operator or by its own wish, or was taken out of the pool and what runs on it has not ended.',
    labels: 'pool server',
  },
  spillway_server_state: { type: 'gauge', help: 'Always 1; its label says what is thought of the server.', labels: 'pool server state' },
  spillway_server_weight: {
    type: 'gauge',
    help: 'Its share of requests now, compared with the others of the pool: less than configured while it starts slowly, less or more by the load that it tells.',
    labels: 'pool server',
  },
  spillway_server_slots: {
    type: 'gauge',
    help: 'Requests and attempts that it may have in flight now: `maxInFlight`, or less while it starts slowly, is on probation, or by what is learnt of it.',
    labels: 'pool server',
  },
  spillway_server_requests_total: {
    type: 'counter',
    help: 'Times that a direct request or an attempt of a job was given to the server, by how that ended.',
    labels: 'pool server outcome',
  },
  spillway_server_first_byte_seconds: {
    type: 'histogram',
    help: 'From a direct request to the head of its answer, connecting included where that was needed.',
    labels: 'pool server',
  },
  spillway_server_connect_seconds: { type: 'histogram', help: 'Opening a connection to the server.', labels: 'pool server' },
  spillway_server_connections: { type: 'gauge', help: 'Connections to the server, without those of tunnels.', labels: 'pool server' },
  spillway_server_idle_connections: { type: 'gauge', help: 'Of these, those that are kept for the next request.', labels: 'pool server' },
  spillway_server_connections_opened_total: {
    type: 'counter',
    help: 'Connections that were opened, or tried to be, for requests and attempts.',
    labels: 'pool server',
  },
  spillway_server_connections_reused_total: {
    type: 'counter',
    help: 'Requests and attempts that went on a kept connection.',
    labels: 'pool server',
  },
  spillway_checks_total: { type: 'counter', help: 'Health checks of the server.', labels: 'pool server outcome' },
  spillway_server_in_flight: {
    type: 'gauge',
    help: 'Requests and attempts the server works on.',
    labels: 'pool server',
  },
  spillway_server_tunnels: {
    type: 'gauge',
    help: 'Upgraded connections (WebSocket and others) to the server.',
    labels: 'pool server',
  },
  spillway_tunnels_closed_total: { type: 'counter', help: 'Tunnels that are over.', labels: 'pool why' },
  spillway_server_resting: {
    type: 'gauge',
    help: '1 while the server gets no new work because it answered 429 or 503.',
    labels: 'pool server',
  },
  spillway_server_load: {
    type: 'gauge',
    help: 'What the server says of its load (`Spillway-Load`), averaged; 1: all that it can do. Only of those that say it.',
    labels: 'pool server',
  },
  spillway_server_reports_total: {
    type: 'counter',
    help: 'Times that the server said something of itself (`load`, `drain`): what was heeded, and what was garbled and ignored.',
    labels: 'pool server report outcome',
  },
  spillway_ejections_total: {
    type: 'counter',
    help: 'Times that a server was taken out because its requests failed or were far slower than those of the others.',
    labels: 'pool server',
  },
  spillway_sticky_total: {
    type: 'counter',
    help: 'Answers to direct requests and upgrades of sticky routes, by how they came to their server.',
    labels: 'pool outcome',
  },
  spillway_failovers_total: {
    type: 'counter',
    help: 'Direct requests and tunnels of a pool that were given to one that stands in for it.',
    labels: 'pool',
  },
  spillway_pool_failover: {
    type: 'gauge',
    help: '1 while a pool with `failover` has no server up and another one stands in for it, else 0.',
    labels: 'pool',
  },
  spillway_retries_total: {
    type: 'counter',
    help: 'Direct requests that failed after they had reached a server and might be sent again: those that were, and those that the budget or busy servers forbade.',
    labels: 'pool outcome',
  },
  spillway_hedges_total: {
    type: 'counter',
    help: 'Direct requests that a server did not begin to answer for a while: those that were sent to a second one, those that this one answered first, and those that were not sent for want of a free server or of budget.',
    labels: 'pool outcome',
  },
  spillway_mirrored_total: {
    type: 'counter',
    help: 'Direct requests of which another pool was to get a copy, by what became of that.',
    labels: 'pool outcome',
  },
  spillway_stale_connections_total: {
    type: 'counter',
    help: 'Requests and attempts that met a kept connection which the server had just closed. What may be done twice goes out again at once; what must not is only put on connections that are known to stand.',
    labels: 'pool server',
  },
  spillway_route_mode: { type: 'gauge', help: 'Always 1; its labels say what the route does now, and why.', labels: 'route mode trigger' },
  spillway_route_mode_since_seconds: {
    type: 'gauge',
    help: 'Since when the route has done otherwise than its configuration says, in seconds since the epoch; 0 when it does as it says.',
    labels: 'route',
  },
  spillway_route_flips_total: {
    type: 'counter',
    help: 'Times that a spill route began to queue, or went direct again.',
    labels: 'route mode',
  },
  spillway_tls_handshakes_total: {
    type: 'counter',
    help: 'TLS handshakes of clients.',
    labels: 'listener outcome',
  },
  spillway_proxy_headers_refused_total: {
    type: 'counter',
    help: 'Connections that were refused because of the PROXY protocol: no header, a wrong one, or from an address that is none of the proxies.',
    labels: 'listener',
  },
  spillway_certificate_expiry_seconds: {
    type: 'gauge',
    help: 'How long a certificate is still valid; below 0 when it has expired.',
    labels: 'listener certificate',
  },
  spillway_waits_total: {
    type: 'counter',
    help: 'Direct requests that found no free slot, by what became of them.',
    labels: 'pool outcome',
  },
  spillway_pool_line_stands: {
    type: 'gauge',
    help: '1 while the requests that wait for a slot have waited too long for a while: the newest goes first, old ones are let go early.',
    labels: 'pool',
  },
  spillway_pool_wait_seconds: {
    type: 'histogram',
    help: 'In line for a slot, of direct requests that waited and got one.',
    labels: 'pool',
  },
  spillway_pool_waiting: { type: 'gauge', help: 'Direct requests that wait in memory for a free slot.', labels: 'pool' },
  spillway_jobs: { type: 'gauge', help: 'Jobs in the store.', labels: 'queue status' },
  spillway_queue_oldest_waiting_seconds: {
    type: 'gauge',
    help: 'Age of the oldest job that waits for a server; 0 when none waits.',
    labels: 'queue',
  },
  spillway_queue_oldest_running_seconds: {
    type: 'gauge',
    help: 'Age of the hand-out that has been running longest; 0 when none runs.',
    labels: 'queue',
  },
  spillway_queue_attempt_timeout_seconds: { type: 'gauge', help: 'How long one attempt may take, as configured.', labels: 'queue' },
  spillway_queue_scheduled: { type: 'gauge', help: 'Jobs that wait for time: a delay or the pause before a retry.', labels: 'queue' },
  spillway_queue_paused: { type: 'gauge', help: '1 while the queue is paused: it accepts and hands out nothing.', labels: 'queue' },
  spillway_queue_deferred: {
    type: 'gauge',
    help: 'Of the running jobs: those whose server has deferred the end and reports it later.',
    labels: 'queue',
  },
  spillway_queue_blocked_keys: {
    type: 'gauge',
    help: 'Keys whose jobs wait behind a failed one until somebody releases them.',
    labels: 'queue',
  },
  spillway_queue_bytes: { type: 'gauge', help: 'Request bytes of unfinished jobs.', labels: 'queue' },
  spillway_queue_finished_bytes: { type: 'gauge', help: 'Bytes of stored results.', labels: 'queue' },
  spillway_queue_limit: { type: 'gauge', help: 'What the queue may hold: jobs, or bytes.', labels: 'queue limit' },
  spillway_queue_buckets: { type: 'gauge', help: 'Buckets of the queue that a server owns.', labels: 'queue server' },
  spillway_buckets_moved_total: { type: 'counter', help: 'Buckets that went to another server.', labels: 'queue cause' },
  spillway_submissions_total: { type: 'counter', help: 'Requests that were to become a job.', labels: 'queue outcome' },
  spillway_submissions_refused_total: { type: 'counter', help: 'Of these, those refused, by what was full.', labels: 'queue limit' },
  spillway_job_start_seconds: {
    type: 'histogram',
    help: "From a job's submission to its first hand-out, a delay that its client asked for included.",
    labels: 'queue',
    buckets: DWELL_BUCKETS,
  },
  spillway_job_end_seconds: {
    type: 'histogram',
    help: "From a job's submission to its end, whatever the end.",
    labels: 'queue',
    buckets: DWELL_BUCKETS,
  },
  spillway_jobs_ended_total: { type: 'counter', help: 'Jobs that ended.', labels: 'queue status' },
  spillway_jobs_died_total: { type: 'counter', help: 'Jobs that became dead letters.', labels: 'queue reason error' },
  spillway_receives_total: { type: 'counter', help: 'Answers to pull consumers, with jobs or without.', labels: 'queue outcome' },
  spillway_stale_leases_total: {
    type: 'counter',
    help: 'Settlements, extensions and reports whose lease was over: they changed nothing.',
    labels: 'operation',
  },
  spillway_dead_letters: {
    type: 'gauge',
    help: 'Dead letters in the store.',
    labels: 'queue reason',
  },
  spillway_attempts_total: {
    type: 'counter',
    help: 'Hand-outs of jobs that ended.',
    labels: 'queue outcome',
  },
  spillway_webhook_deliveries_total: {
    type: 'counter',
    help: 'Attempts to deliver a webhook, by how they ended.',
    labels: 'endpoint outcome',
  },
  spillway_webhook_delivery_seconds: {
    type: 'histogram',
    help: 'Time of one attempt to deliver a webhook, from the connection to the end of the answer.',
    labels: 'endpoint',
  },
  spillway_webhook_endpoint_disabled: {
    type: 'gauge',
    help: '1 while an endpoint is disabled: what is for it becomes dead letters.',
    labels: 'endpoint',
  },
  spillway_webhook_endpoint_failing_seconds: {
    type: 'gauge',
    help: 'For how long an endpoint has taken nothing; 0 after a success.',
    labels: 'endpoint',
  },
  spillway_webhooks_in_flight: { type: 'gauge', help: 'Webhooks on their way.' },
  spillway_store_syncs_total: { type: 'counter', help: 'Commits that were synced to disk.' },
  spillway_store_sync_seconds: { type: 'histogram', help: 'Time of one commit with its sync.' },
  spillway_store_operations_total: {
    type: 'counter',
    help: 'Operations in synced commits; divided by the syncs it is the size of a group.',
  },
  spillway_store_sync_operations: { type: 'histogram', help: 'Operations that shared one sync.', buckets: COUNT_BUCKETS },
  spillway_store_disk_bytes: { type: 'gauge', help: 'Size of the store on disk.' },
  spillway_store_reusable_bytes: { type: 'gauge', help: 'Of that, what is free for its next use.' },
  spillway_store_free_bytes: { type: 'gauge', help: "Free on the store's disk." },
  spillway_store_floor_bytes: { type: 'gauge', help: 'With less than this free on the disk nothing is accepted.' },
  spillway_store_refusing: { type: 'gauge', help: '1 while submissions to all queues are refused.', labels: 'limit' },
  spillway_store_corrupt_records: { type: 'gauge', help: 'Records that failed their checks and were put aside since the start.' },
  spillway_ready: { type: 'gauge', help: '1 while `/readyz` says so.' },
  spillway_connections: { type: 'gauge', help: 'Open connections from clients.' },
  spillway_connections_waiting: {
    type: 'gauge',
    help: 'Connections that wait until they are let in, while the gateway has too much to do.',
  },
  spillway_guard_level: {
    type: 'gauge',
    help: 'How the gateway protects itself: 0 not at all, 1 new connections are let in slowly, 2 requests are refused, the least urgent first.',
  },
  spillway_guard_signal: {
    type: 'gauge',
    help: 'What the gateway itself has to do, as the guard sees it: `loopDelay` in seconds, `memory` and `sockets` as shares of their limits.',
    labels: 'signal',
  },
  spillway_guard_refused_total: {
    type: 'counter',
    help: 'Requests refused because the gateway itself had too much to do. Of priority 7 also looks at jobs.',
    labels: 'priority',
  },
  spillway_connections_limit: { type: 'gauge', help: '`limits.connections`.' },
  spillway_deadlines: { type: 'gauge', help: 'Connections, calls and attempts whose time is watched.' },
  spillway_job_watchers: { type: 'gauge', help: 'Held clients, long polls and event streams that wait for a job.' },
  spillway_streamed_answers: { type: 'gauge', help: 'Answers of jobs that are being handed on while they come.' },
  spillway_streamed_answer_readers: { type: 'gauge', help: 'Who reads them, the clients that are held among them.' },
  spillway_broken_answers_total: { type: 'counter', help: 'Answers that broke off after they had begun to be handed on.', labels: 'queue' },
  spillway_batches: { type: 'gauge', help: 'Batches that have not ended, or are still kept; `limits.batches` at most.' },
  spillway_batches_running: { type: 'gauge', help: 'Batches that have not ended.' },
  spillway_event_sockets: { type: 'gauge', help: 'WebSockets that are open for events of jobs.' },
  spillway_idle_server_connections: { type: 'gauge', help: 'Connections to servers that are kept for the next request.' },
  spillway_buffered_bytes: { type: 'gauge', help: 'Bytes of bodies held in memory, of `limits.buffered`.' },
  spillway_buffered_limit_bytes: { type: 'gauge', help: '`limits.buffered`.' },
  spillway_config_reloads_total: { type: 'counter', help: 'Times the configuration was read again.', labels: 'outcome' },
  spillway_config_refused: {
    type: 'gauge',
    help: '1 when the last reload was refused and the gateway runs on with the configuration before it.',
  },
  spillway_events_total: { type: 'counter', help: 'Events, printed or not.', labels: 'type' },
  spillway_events_suppressed_total: {
    type: 'counter',
    help: 'Events that were counted but not printed because too many of their type came within a second.',
    labels: 'type',
  },
  spillway_event_lines_dropped_total: { type: 'counter', help: 'Event lines lost because whoever reads them was too slow or gone.' },
  spillway_access_lines_dropped_total: {
    type: 'counter',
    help: 'Access and attempt lines lost because the disk or the reader was too slow or gone.',
  },
  spillway_metric_series_overflow_total: {
    type: 'counter',
    help: 'Label sets beyond the limit of their family, counted under `other` instead.',
    labels: 'name',
  },
  spillway_event_loop_delay_seconds: {
    type: 'gauge',
    help: 'How late the event loop is: the worse of the current and the previous 10 s window.',
    labels: 'quantile',
  },
  spillway_event_loop_active_seconds_total: { type: 'counter', help: 'Time the event loop was not idle.' },
  spillway_build_info: {
    type: 'gauge',
    help: 'Always 1; its labels say what runs.',
    labels: 'version node',
  },
  process_cpu_seconds_total: { type: 'counter', help: 'User and system CPU time of all threads.' },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident set size.' },
  process_open_fds: { type: 'gauge', help: 'Open file descriptors.' },
  process_max_fds: { type: 'gauge', help: 'File descriptors that the process may open.' },
  nodejs_active_resources: {
    type: 'gauge',
    help: 'Sockets, timers and requests to the system that keep the event loop busy.',
    labels: 'kind',
  },
  process_start_time_seconds: { type: 'gauge', help: 'When the process started, in seconds since the epoch.' },
  nodejs_heap_size_used_bytes: { type: 'gauge', help: 'Used JavaScript heap of the main thread.' },
  nodejs_heap_size_total_bytes: { type: 'gauge', help: 'Reserved JavaScript heap of the main thread.' },
  nodejs_external_memory_bytes: { type: 'gauge', help: 'Memory of buffers and other objects outside the JavaScript heap.' },
} as const

export type MetricName = keyof typeof SPECS
export const METRICS: Readonly<Record<MetricName, MetricSpec>> = SPECS

export function metricBuckets(spec: MetricSpec | undefined): readonly number[] {
  return spec?.buckets ?? DURATION_BUCKETS
}

/** What is known of a name, also one that comes from elsewhere. */
export function metricSpec(name: string): MetricSpec | undefined {
  return Object.hasOwn(SPECS, name) ? SPECS[name as MetricName] : undefined
}

function row(name: string, spec: MetricSpec): string {
  const labels = (spec.labels?.split(' ') ?? []).map((label) => `\`${label}\``)
  return `| \`${name}\` | ${spec.type} | ${labels.join(', ')} | ${spec.help} |`
}

/** The text of docs/reference/metrics.md. */
export function metricsReference(): string {
  const rows = Object.entries(METRICS).map(([name, spec]) => row(name, spec))
  return [
    '# Metrics',
    '',
    'Generated from `src/telemetry/names.ts`. Prometheus text format 0.0.4 at `/metrics` on the admin address.',
    '',
    '| name | type | labels | meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
    '| label | says |',
    '|---|---|',
    ...Object.entries(LABELS).map(([label, says]) => `| \`${label}\` | ${says} |`),
    '',
    `Histograms count up to ${DURATION_BUCKETS.join(', ')} and +Inf, with these exceptions:`,
    ...Object.entries<MetricSpec>(SPECS).flatMap(([name, { buckets }]) =>
      buckets === undefined ? [] : [`\`${name}\` up to ${buckets.join(', ')};`],
    ),
    '',
    `A family has at most ${SERIES_MAX} label sets. What exceeds it is counted in one series whose label values are all \`other\`,`,
    'and in `spillway_metric_series_overflow_total`.',
    '',
  ].join('\n')
}
