/**
 * THE one path to a server, for live requests and for jobs alike: a pooled connection, one exchange on it, and what its end says about
 * the server. Slots are the caller's business; so is trying again.
 */
import type { ErrorCode } from '../core/errors.ts'
import { ownShortage } from '../core/health/health.ts'
import { isIdempotent } from '../core/retry/retry.ts'
import { fieldLines } from '../http1/write.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Ends, Opening } from '../net/dialling.ts'
import { type ResponseSink, UpstreamConnection, type UpstreamFailure, type UpstreamOptions } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { ServerMeter } from '../pools/server-meter.ts'
import type { BlobRef } from '../ports/blobs.ts'
import type { AnswerHead, JobAnswer } from '../ports/job-store.ts'
import { Collector } from './collector.ts'
import { KeptConnections } from './kept-connections.ts'
import { TakenAnswer } from './taken-answer.ts'

export interface OutgoingRequest {
  readonly method: string
  readonly target: string
  /** Without framing and Connection. */
  readonly headers: readonly string[]
  readonly body: Uint8Array
}

export type AttemptOutcome =
  /** Its headers still hold what steers the gateway (`Spillway-Retry` …). */
  | { readonly kind: 'answer'; readonly answer: JobAnswer }
  /** `partial`: a taker has handed on a part of the answer. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string; readonly sent: boolean; readonly partial?: boolean }

export interface Attempt {
  readonly outcome: Promise<AttemptOutcome>
  abort(code: ErrorCode, detail: string): void
  /** It may take so long from now on. */
  extend(forMs: Millis): void
}

export interface AttemptLimits {
  /** For the whole answer; for one that is taken while it comes: to its head, and then between two of its bytes. */
  readonly timeoutMs: Millis
  readonly resultBytesMax: Bytes
}

export interface StreamedAttempt {
  readonly bytesMax: Bytes
  /** Asked with the head of the final answer, with the fields that steer the gateway. False: it is collected like any other. */
  wants(head: AnswerHead): boolean
  take(head: AnswerHead, giver: AnswerGiver): AnswerTaker
}

export interface AnswerGiver {
  readonly budget: BufferBudget
  /** It takes more. */
  resume(): void
  /** It cannot go on: the attempt is broken off. */
  failed(code: ErrorCode, detail: string): void
}

/** Takes one answer while it comes. */
export interface AnswerTaker {
  /** Somebody may have seen a part of it. */
  readonly begun: boolean
  /** The bytes are copied. False: no more until `resume`. */
  data(chunk: Uint8Array): boolean
  /** That was all. Resolved = durable. */
  end(): Promise<BlobRef>
  /** It came to nothing. */
  breakOff(): void
}

/** How a request's body goes out: `whole` bytes with the head, or written later, sized or chunked. */
export type OutgoingBody = { readonly whole: Uint8Array } | { readonly bytes: number } | 'chunked' | 'none'

const EMPTY = new Uint8Array(0)

export interface UpstreamParts extends UpstreamOptions {
  /** So much of a request's body is copied while it goes out. */
  readonly copyBytesMax: Bytes
}

export class Upstream {
  readonly #kept = new Map<Server, KeptConnections>()
  readonly #options: UpstreamParts
  readonly #budget: BufferBudget
  #closed = false

  constructor(options: UpstreamParts, budget: BufferBudget) {
    this.#options = options
    this.#budget = budget
  }

  /** Sends `head` (request line and fields, no framing) to the server; the answer comes to `sink`. `fresh`: on a new connection. */
  exchange(
    pool: Pool,
    server: Server,
    request: {
      method: string
      head: string
      body: OutgoingBody
      fresh: boolean
      firstByteMs?: Millis | undefined
      ends?: Ends | undefined
    },
    sink: ResponseSink,
  ): UpstreamConnection {
    const { body } = request
    const kept = this.#keptOf(pool, server)
    const meter = pool.meterOf(server)
    const shared = pool.dialling.shared
    const used = request.fresh || !shared ? undefined : kept.take(this.#isOnlyOnce(request.method, body))
    if (used !== undefined) meter.reused.inc()
    const connection =
      used ??
      this.#open({ kept: shared ? kept : undefined, opening: pool.dialling.opening(server.config, request.ends) }, { pool, server }, meter)
    const framing = bodyFraming(request.method, body)
    const whole = body === 'none' ? EMPTY : typeof body === 'object' && 'whole' in body ? body.whole : undefined
    const { firstByteMs } = request
    const sent = whole === undefined ? { chunked: body === 'chunked', firstByteMs } : { whole, chunked: false, firstByteMs }
    connection.begin(request.method, `${request.head}${framing}\r\n`, sink, sent)
    return connection
  }

  /** One whole exchange for a job, in memory, or handed on while it comes. The slot was reserved by the caller. */
  attempt(
    pool: Pool,
    server: Server,
    request: OutgoingRequest,
    options: AttemptLimits & { readonly streamed?: StreamedAttempt | undefined },
  ): Attempt {
    const parts = { budget: this.#budget, ports: this.#options, limits: options }
    const collector = options.streamed === undefined ? new Collector(parts) : new TakenAnswer(parts, options.streamed)
    const head = `${request.method} ${request.target} HTTP/1.1\r\n${fieldLines(request.headers)}`
    const body = request.body.length === 0 ? 'none' : { whole: request.body }
    collector.connection = this.exchange(pool, server, { method: request.method, head, body, fresh: false }, collector)
    return collector
  }

  /** A connection that will not be shared, for a tunnel. */
  dedicated(pool: Pool, server: Server, ends: Ends | undefined): UpstreamConnection {
    const { host, port } = server.config
    const opening = pool.dialling.opening(server.config, ends)
    const connection = new UpstreamConnection(host, port, { ...this.#options, detachable: true, opening })
    server.links.add(connection)
    connection.listen(
      () => connection.destroy(),
      () => server.links.delete(connection),
    )
    watch(connection, pool, server)
    return connection
  }

  get idleConnections(): number {
    let count = 0
    for (const kept of this.#kept.values()) count += kept.size
    return count
  }

  idleOf(server: Server): number {
    return this.#kept.get(server)?.size ?? 0
  }

  close(): void {
    this.#closed = true
    for (const kept of this.#kept.values()) kept.close()
    this.#kept.clear()
  }

  #keptOf(pool: Pool, server: Server): KeptConnections {
    let kept = this.#kept.get(server)
    if (kept === undefined) {
      kept = new KeptConnections(this.#options.clock, this.#options.timeouts.idleMs, () => (server.leaving ? 0 : pool.config.maxInFlight))
      if (!server.leaving) this.#remember(server, kept)
    }
    return kept
  }

  /** Until the server leaves its pool. */
  #remember(server: Server, kept: KeptConnections): void {
    this.#kept.set(server, kept)
    const link = {
      leave: () => {
        server.links.delete(link)
        this.#kept.delete(server)
      },
      cut: () => undefined,
    }
    server.links.add(link)
  }

  /** Should its connection turn out to be closed, it could not go out on another one: it must not be done twice, or its body is not at hand again. */
  #isOnlyOnce(method: string, body: OutgoingBody): boolean {
    if (!isIdempotent(method)) return true
    if (typeof body === 'string') return body === 'chunked'
    return 'bytes' in body && body.bytes > this.#options.copyBytesMax
  }

  /** Without `kept` it is for one request. */
  #open(
    { kept, opening }: { readonly kept: KeptConnections | undefined; readonly opening: Opening | undefined },
    { pool, server }: { readonly pool: Pool; readonly server: Server },
    meter: ServerMeter,
  ): UpstreamConnection {
    const { host, port } = server.config
    const connection = new UpstreamConnection(host, port, opening === undefined ? this.#options : { ...this.#options, opening })
    meter.opened.inc()
    server.connections++
    watch(connection, pool, server)
    connection.openListener = (tookMs) => meter.connect.observe(tookMs / 1000)
    server.links.add(connection)
    connection.listen(
      () => (this.#closed || kept === undefined ? connection.destroy() : kept.keep(connection)),
      (byServer) => {
        server.connections--
        server.links.delete(connection)
        kept?.ended(connection, byServer)
      },
    )
    return connection
  }
}

const NO_CONNECTION: ReadonlySet<ErrorCode> = new Set(['connect_failed', 'connect_timeout', 'tls_certificate', 'tls_alert', 'tls_failed'])

/** What an answer, or the end of an exchange, says about the server goes to its pool, whoever asked for the exchange. */
function watch(connection: UpstreamConnection, pool: Pool, server: Server): void {
  connection.controlsListener = (headers) => pool.heard(server, headers)
  connection.failureListener = (failed: UpstreamFailure): void => {
    if (failed.errno !== undefined && ownShortage(failed.errno) !== undefined) pool.connectLacked(failed.errno)
    else if (!failed.sent && NO_CONNECTION.has(failed.code)) pool.connectFailed(server, failed.detail)
    else if (failed.reused) pool.wasStale(server)
    else if (failed.code === 'connection_reset' || failed.code === 'tls_alert') pool.connectionBroke(server)
  }
}

/** Content-Length also where it is 0, for methods of which servers expect a body (RFC 9110, section 8.6). */
function bodyFraming(method: string, body: OutgoingBody): string {
  if (body === 'chunked') return 'Transfer-Encoding: chunked\r\n'
  if (body === 'none') return method === 'POST' || method === 'PUT' || method === 'PATCH' ? 'Content-Length: 0\r\n' : ''
  return `Content-Length: ${'whole' in body ? body.whole.length : body.bytes}\r\n`
}
