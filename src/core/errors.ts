/**
 * Every error that Spillway itself answers or records: one registry, from which the documentation is generated and checked.
 * `code` is stable; `type` is a URI reference made of it (RFC 9457); `proxy` is the error type of Proxy-Status (RFC 9209, section 2.3).
 */

export type ErrorSource = 'downstream' | 'upstream' | 'store' | 'gateway'

export interface ErrorKind {
  /** HTTP status of the answer; for errors that only stand in a job's record, the status its result URL answers with. */
  readonly status: number
  readonly title: string
  readonly source: ErrorSource
  /** May the client send the same again? `later`: after Retry-After. */
  readonly retry: 'no' | 'yes' | 'later'
  readonly proxy: string
}

const REGISTRY = {
  // The client's message is not acceptable.
  bad_request: { status: 400, title: 'The request is not valid HTTP/1.1', source: 'downstream', retry: 'no', proxy: 'http_request_error' },
  bad_path: {
    status: 400,
    title: 'The path has dot segments or characters that are not allowed',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  header_not_allowed: {
    status: 400,
    title: 'This route does not allow that header',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  bad_header: {
    status: 400,
    title: 'A header has a value that cannot be understood',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  not_queueable: { status: 400, title: 'This method cannot become a job', source: 'downstream', retry: 'no', proxy: 'http_request_denied' },
  not_found: { status: 404, title: 'No route matches', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  no_such_job: { status: 404, title: 'There is no such job', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  method_not_allowed: {
    status: 405,
    title: 'This method is not allowed here',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  switched_off: { status: 503, title: 'The route is switched off', source: 'gateway', retry: 'later', proxy: 'http_request_denied' },
  no_such_route: { status: 404, title: 'There is no such route', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  too_many_sockets: {
    status: 503,
    title: 'There are too many WebSockets',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },
  answer_reset: {
    status: 409,
    title: 'The offset is of an answer that broke off',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  too_many_jobs: {
    status: 429,
    title: 'This client has too many unfinished jobs',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  too_many_watchers: {
    status: 429,
    title: 'This client watches too much at once',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  range_outside: {
    status: 416,
    title: 'There is nothing of it in the range',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  not_acceptable: {
    status: 406,
    title: 'None of the formats that the client accepts is spoken here',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  request_timeout: {
    status: 408,
    title: 'The request did not arrive in time',
    source: 'downstream',
    retry: 'yes',
    proxy: 'http_request_error',
  },
  length_required: { status: 411, title: 'A content-length is required', source: 'downstream', retry: 'no', proxy: 'http_request_error' },
  body_too_large: { status: 413, title: 'The request body is too large', source: 'downstream', retry: 'no', proxy: 'http_request_error' },
  target_too_long: { status: 414, title: 'The request target is too long', source: 'downstream', retry: 'no', proxy: 'http_request_error' },
  expectation_failed: {
    status: 417,
    title: 'Only the expectation 100-continue is understood',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  batch_refused: {
    status: 400,
    title: 'A request of the batch cannot be taken, so none is',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  too_many_batches: {
    status: 503,
    title: 'There are too many batches',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  no_such_batch: { status: 404, title: 'There is no such batch', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  // The queue API.
  invalid_request: {
    status: 400,
    title: 'The request is not what this call takes',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  unauthorized: { status: 401, title: 'Valid credentials are required', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  forbidden: { status: 403, title: 'This key may not do that', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  foreign_page: {
    status: 403,
    title: 'Pages of other origins may not do that',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  foreign_host: {
    status: 421,
    title: 'The admin address is asked for under another name',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  no_such_pool: { status: 404, title: 'There is no such pool', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  no_such_server: { status: 404, title: 'The pool has no such server', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  precondition_failed: { status: 412, title: 'It is not as If-Match says', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  not_by_registration: { status: 409, title: 'It has not registered itself', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  too_many_registered: { status: 409, title: 'Too many are registered', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  too_many_server_changes: {
    status: 409,
    title: 'Too many servers are changed',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  no_such_queue: { status: 404, title: 'There is no such queue', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  no_such_schedule: { status: 404, title: 'There is no such schedule', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  no_such_topic: { status: 404, title: 'There is no such topic', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  no_such_task: { status: 404, title: 'There is no such task', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  defined_in_file: {
    status: 409,
    title: 'It is defined in the configuration, and only changed there',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  config_refused: {
    status: 422,
    title: 'The configuration is refused, and the one before it goes on',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  upgrade_refused: {
    status: 409,
    title: 'No other process takes over, and this one goes on',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  too_many_queues: { status: 409, title: 'There are too many queues', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  not_empty: { status: 409, title: 'It is not empty', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  not_pulled: {
    status: 409,
    title: 'The queue has no pull consumers',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  wrong_state: {
    status: 409,
    title: 'The job is not where that could be done with it',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  lease_gone: { status: 410, title: 'The lease is gone', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  unsupported_type: {
    status: 415,
    title: 'The content type is none that this call takes',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  too_many_receivers: {
    status: 503,
    title: 'Too many pull consumers are waiting',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },

  misdirected: {
    status: 421,
    title: 'This connection is not the one for that address',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  idempotency_conflict: {
    status: 422,
    title: 'This Idempotency-Key was used for a different request',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  head_too_large: { status: 431, title: 'The request head is too large', source: 'downstream', retry: 'no', proxy: 'http_request_error' },
  not_implemented: {
    status: 501,
    title: 'This method or transfer coding is not implemented',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  version_not_supported: {
    status: 505,
    title: 'Only HTTP/1.0 and HTTP/1.1 are understood here',
    source: 'downstream',
    retry: 'no',
    proxy: 'http_request_error',
  },
  loop: {
    status: 508,
    title: 'The request has been through this gateway before',
    source: 'downstream',
    retry: 'no',
    proxy: 'proxy_loop_detected',
  },

  // The gateway cannot take it now.
  no_capacity: {
    status: 503,
    title: 'No server had a free slot in time',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },
  no_server: { status: 503, title: 'No server is up', source: 'gateway', retry: 'later', proxy: 'destination_unavailable' },
  too_many_waiting: {
    status: 503,
    title: 'Too many requests are waiting for this pool',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },
  too_many_tunnels: {
    status: 503,
    title: 'The pool has no free tunnel',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },
  overloaded: {
    status: 503,
    title: 'The gateway has more to do than it can',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  tunnels_too_fast: {
    status: 503,
    title: 'Tunnels are opened too fast on this route',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  too_many_client_tunnels: {
    status: 429,
    title: 'This client has too many tunnels',
    source: 'downstream',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  too_many_connections: {
    status: 503,
    title: 'Too many connections are open',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_limit_reached',
  },
  buffers_full: {
    status: 503,
    title: 'The gateway holds as many bodies in memory as it may',
    source: 'gateway',
    retry: 'later',
    proxy: 'proxy_internal_error',
  },
  queue_full: { status: 503, title: 'The queue is full', source: 'store', retry: 'later', proxy: 'proxy_internal_error' },
  shed: {
    status: 503,
    title: 'There is too much to do for requests of this priority',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  store_unavailable: {
    status: 503,
    title: 'The request could not be stored',
    source: 'store',
    retry: 'later',
    proxy: 'proxy_internal_error',
  },
  shutting_down: {
    status: 503,
    title: 'The gateway is shutting down',
    source: 'gateway',
    retry: 'later',
    proxy: 'destination_unavailable',
  },
  internal: { status: 500, title: 'An unexpected error in the gateway', source: 'gateway', retry: 'later', proxy: 'proxy_internal_error' },
  wait_ended: {
    status: 503,
    title: 'Not done in time; the job was cancelled and nothing was done',
    source: 'gateway',
    retry: 'later',
    proxy: 'connection_timeout',
  },
  wait_ended_begun: {
    status: 504,
    title: 'Not done in time; the work had begun and goes on',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_response_timeout',
  },

  // The server failed the call, or an attempt of a job.
  connect_failed: {
    status: 502,
    title: 'The server refused the connection',
    source: 'upstream',
    retry: 'yes',
    proxy: 'connection_refused',
  },
  connect_timeout: {
    status: 504,
    title: 'The server did not accept the connection in time',
    source: 'upstream',
    retry: 'yes',
    proxy: 'connection_timeout',
  },
  tls_certificate: {
    status: 502,
    title: 'The certificate of the server is not accepted',
    source: 'upstream',
    retry: 'yes',
    proxy: 'tls_certificate_error',
  },
  tls_alert: { status: 502, title: 'The server refused the TLS handshake', source: 'upstream', retry: 'yes', proxy: 'tls_alert_received' },
  tls_failed: {
    status: 502,
    title: 'The TLS handshake with the server failed',
    source: 'upstream',
    retry: 'yes',
    proxy: 'tls_protocol_error',
  },
  connection_reset: {
    status: 502,
    title: 'The server closed the connection before its answer was complete',
    source: 'upstream',
    retry: 'no',
    proxy: 'connection_terminated',
  },
  first_byte_timeout: {
    status: 504,
    title: 'The server did not answer in time',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_timeout',
  },
  call_timeout: { status: 504, title: 'The call took longer than it may', source: 'upstream', retry: 'no', proxy: 'http_response_timeout' },
  bad_response: {
    status: 502,
    title: 'The server answered with invalid HTTP',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_protocol_error',
  },
  result_too_large: {
    status: 502,
    title: 'The result is larger than may be stored',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_body_size',
  },
  attempt_timeout: {
    status: 504,
    title: 'The attempt took longer than it may',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_timeout',
  },
  failover: {
    status: 502,
    title: 'The server failed its checks while it worked on the attempt',
    source: 'upstream',
    retry: 'no',
    proxy: 'destination_unavailable',
  },

  // How a job ended without (or beside) an answer.
  consumer_failed: {
    status: 502,
    title: 'The pull consumer could not do it',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_incomplete',
  },
  server_error: {
    status: 502,
    title: 'The server answered with an error',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_incomplete',
  },
  server_busy: {
    status: 503,
    title: 'The server cannot take it now',
    source: 'upstream',
    retry: 'later',
    proxy: 'destination_unavailable',
  },
  poison: {
    status: 502,
    title: 'Handed out too often without an attempt',
    source: 'gateway',
    retry: 'no',
    proxy: 'destination_unavailable',
  },
  answer_broken: {
    status: 502,
    title: 'The answer broke off after it had begun',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_response_incomplete',
  },
  outcome_unknown: {
    status: 502,
    title: 'It may have been done; sending it again would not be safe',
    source: 'gateway',
    retry: 'no',
    proxy: 'connection_terminated',
  },
  lease_lapsed: {
    status: 502,
    title: 'The gateway that worked on it did not settle it in time',
    source: 'gateway',
    retry: 'no',
    proxy: 'proxy_internal_error',
  },
  corrupt: {
    status: 500,
    title: 'The stored job is damaged and cannot be run',
    source: 'store',
    retry: 'no',
    proxy: 'proxy_internal_error',
  },
  webhook_gone: {
    status: 502,
    title: 'The receiver of the webhook wants no more of them',
    source: 'upstream',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  webhook_refused_address: {
    status: 502,
    title: 'The webhook would go to an address that is not allowed',
    source: 'gateway',
    retry: 'no',
    proxy: 'destination_ip_prohibited',
  },
  webhook_disabled: {
    status: 502,
    title: 'The endpoint of the webhook is disabled',
    source: 'gateway',
    retry: 'no',
    proxy: 'destination_unavailable',
  },
  no_such_webhook: {
    status: 404,
    title: 'There is no such webhook endpoint',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  webhooks_off: { status: 409, title: 'Webhooks are not configured', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
  too_many_webhooks: {
    status: 409,
    title: 'There are too many webhook endpoints',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  job_expired: {
    status: 410,
    title: 'The job expired before a server took it',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  job_deadline: {
    status: 504,
    title: 'The job was not done by its deadline',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_response_timeout',
  },
  queue_overflow: {
    status: 502,
    title: 'The job was dropped because its queue was full',
    source: 'gateway',
    retry: 'later',
    proxy: 'http_request_denied',
  },
  chain_too_long: {
    status: 502,
    title: 'The chain has as many jobs as it may have',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  chain_result_too_large: {
    status: 502,
    title: 'The result is too large to be sent on',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  chain_broken: {
    status: 502,
    title: 'The result could not be sent on',
    source: 'gateway',
    retry: 'no',
    proxy: 'http_request_denied',
  },
  job_cancelled: { status: 410, title: 'The job was cancelled', source: 'gateway', retry: 'no', proxy: 'http_request_denied' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof REGISTRY
export const ERRORS: Readonly<Record<ErrorCode, ErrorKind>> = REGISTRY

/** An expected failure as a value. */
export interface Failure {
  readonly code: ErrorCode
  /** For the person who reads it: what was wrong and what to do. Never holds a secret. */
  readonly detail: string
  /** Seconds, for `Retry-After`. */
  readonly retryAfterSeconds?: number
}

export function failure(code: ErrorCode, detail: string, retryAfterSeconds?: number): Failure {
  return retryAfterSeconds === undefined ? { code, detail } : { code, detail, retryAfterSeconds }
}

export function isFailure(value: object): value is Failure {
  return 'code' in value
}

/** The RFC 9457 document of a failure, as an object. */
export function problem(failed: Failure, extra: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const kind = ERRORS[failed.code]
  return {
    type: `urn:spillway:error:${failed.code}`,
    title: kind.title,
    status: kind.status,
    code: failed.code,
    detail: failed.detail,
    ...extra,
  }
}
