/**
 * THE one path to a server, for live requests and for jobs alike: a pooled connection, one exchange on it, and what its end says about
 * the server. Slots are the caller's business; so is trying again.
 */
import { type ErrorCode, ERRORS } from '../core/errors.ts'
import { endToEndHeaders } from '../core/headers/forward.ts'
import { ownShortage } from '../core/health/health.ts'
import { isIdempotent } from '../core/retry/retry.ts'
import type { ResponseHead } from '../http1/message.ts'
import { fieldLines } from '../http1/write.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import { BudgetedBytes } from '../net/budgeted-bytes.ts'
import { type ResponseSink, UpstreamConnection, type UpstreamFailure, type UpstreamOptions } from '../net/upstream-connection.ts'
import type { Pool, Server } from '../pools/pool.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobAnswer } from '../ports/job-store.ts'

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
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string; readonly sent: boolean }

export interface Attempt {
  readonly outcome: Promise<AttemptOutcome>
  abort(code: ErrorCode, detail: string): void
  /** It may take so long from now on. */
  extend(forMs: Millis): void
}

/** How a request's body goes out: `whole` bytes with the head, or written later, sized or chunked. */
export type OutgoingBody = { readonly whole: Uint8Array } | { readonly bytes: number } | 'chunked' | 'none'

/** A request that is not idempotent goes only on a connection that worked this recently: a server's idle timeout cannot race it. */
const FRESH_MS: Millis = 1_000
/** A timer that is due is served before what has arrived: one turn of the loop more, so that a process that was stopped or busy reads first. */
const ONE_TURN_MS: Millis = 1
const EMPTY = new Uint8Array(0)

export class Upstream {
  readonly #idle = new Map<Server, UpstreamConnection[]>()
  readonly #options: UpstreamOptions
  readonly #budget: BufferBudget
  #closed = false

  constructor(options: UpstreamOptions, budget: BufferBudget) {
    this.#options = options
    this.#budget = budget
  }

  /** Sends `head` (request line and fields, no framing) to the server; the answer comes to `sink`. `fresh`: on a new connection. */
  exchange(
    pool: Pool,
    server: Server,
    request: { method: string; head: string; body: OutgoingBody; fresh: boolean },
    sink: ResponseSink,
  ): UpstreamConnection {
    const connection = (request.fresh ? undefined : this.#takeIdle(server, request.method)) ?? this.#open(server)
    watch(connection, pool, server)
    const { body } = request
    const framing = bodyFraming(request.method, body)
    const whole = body === 'none' ? EMPTY : typeof body === 'object' && 'whole' in body ? body.whole : undefined
    connection.begin(
      request.method,
      `${request.head}${framing}\r\n`,
      sink,
      whole === undefined ? { chunked: body === 'chunked' } : { whole, chunked: false },
    )
    return connection
  }

  /** One whole exchange in memory, for a job. The slot was reserved by the caller. */
  attempt(
    pool: Pool,
    server: Server,
    request: OutgoingRequest,
    options: { readonly timeoutMs: Millis; readonly resultBytesMax: Bytes },
  ): Attempt {
    const collector = new Collector(this.#budget, this.#options, options)
    const head = `${request.method} ${request.target} HTTP/1.1\r\n${fieldLines(request.headers)}`
    const body = request.body.length === 0 ? 'none' : { whole: request.body }
    collector.connection = this.exchange(pool, server, { method: request.method, head, body, fresh: false }, collector)
    return collector
  }

  /** A connection that will not be shared, for a tunnel. */
  dedicated(pool: Pool, server: Server): UpstreamConnection {
    const connection = new UpstreamConnection(server.config.host, server.config.port, { ...this.#options, detachable: true })
    connection.listen(
      () => connection.destroy(),
      () => undefined,
    )
    watch(connection, pool, server)
    return connection
  }

  get idleConnections(): number {
    let count = 0
    for (const list of this.#idle.values()) count += list.length
    return count
  }

  close(): void {
    this.#closed = true
    for (const list of this.#idle.values()) for (const connection of [...list]) connection.destroy()
    this.#idle.clear()
  }

  /** The most recently used idle connection that is safe for this method. */
  #takeIdle(server: Server, method: string): UpstreamConnection | undefined {
    const list = this.#idle.get(server)
    const last = list?.at(-1)
    if (last === undefined) return undefined
    if (!isIdempotent(method) && this.#options.clock.monotonic() - last.usedAt > FRESH_MS) return undefined
    return list?.pop()
  }

  #open(server: Server): UpstreamConnection {
    const connection = new UpstreamConnection(server.config.host, server.config.port, this.#options)
    connection.listen(
      () => this.#keep(server, connection),
      () => this.#forget(server, connection),
    )
    return connection
  }

  #keep(server: Server, connection: UpstreamConnection): void {
    let list = this.#idle.get(server)
    if (list === undefined) {
      list = []
      this.#idle.set(server, list)
    }
    list.push(connection)
    if (this.#closed) connection.destroy()
  }

  #forget(server: Server, connection: UpstreamConnection): void {
    const list = this.#idle.get(server)
    const at = list?.lastIndexOf(connection) ?? -1
    if (at >= 0) list?.splice(at, 1)
  }
}

/** What the end of an exchange says about the server goes to its pool, whoever asked for the exchange. */
function watch(connection: UpstreamConnection, pool: Pool, server: Server): void {
  connection.failureListener = (failed: UpstreamFailure): void => {
    if (failed.errno !== undefined && ownShortage(failed.errno) !== undefined) pool.connectLacked(failed.errno)
    else if (failed.code === 'connect_failed' || failed.code === 'connect_timeout') pool.connectFailed(server, failed.detail)
    else if (failed.code === 'connection_reset') pool.connectionBroke(server)
  }
}

/** Content-Length also where it is 0, for methods of which servers expect a body (RFC 9110, section 8.6). */
function bodyFraming(method: string, body: OutgoingBody): string {
  if (body === 'chunked') return 'Transfer-Encoding: chunked\r\n'
  if (body === 'none') return method === 'POST' || method === 'PUT' || method === 'PATCH' ? 'Content-Length: 0\r\n' : ''
  return `Content-Length: ${'whole' in body ? body.whole.length : body.bytes}\r\n`
}

/** Takes in one answer whole, within its limits of time and size. */
class Collector implements ResponseSink, Attempt {
  readonly outcome: Promise<AttemptOutcome>
  /** Until the outcome is known; then it serves others. */
  connection: UpstreamConnection | undefined
  readonly #limits: { readonly timeoutMs: Millis; readonly resultBytesMax: Bytes }
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #head: ResponseHead | undefined
  readonly #clock: Clock
  #timeoutMs: Millis
  #timer: Timer
  readonly #bytes: BudgetedBytes
  #ended = false

  constructor(budget: BufferBudget, ports: UpstreamOptions, limits: { readonly timeoutMs: Millis; readonly resultBytesMax: Bytes }) {
    this.#limits = limits
    this.#bytes = new BudgetedBytes(budget, () => this.#roomAgain())
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#clock = ports.clock
    this.#timeoutMs = limits.timeoutMs
    this.#timer = this.#startTimer()
  }

  #startTimer(): Timer {
    return this.#clock.after(this.#timeoutMs, () => {
      this.#timer = this.#clock.after(ONE_TURN_MS, this.#onTimeout)
    })
  }

  extend(forMs: Millis): void {
    if (this.#resolve === undefined) return
    this.#timer.cancel()
    this.#timeoutMs = forMs
    this.#timer = this.#startTimer()
    if (this.#head === undefined) this.connection?.awaitFor(forMs)
  }

  cork(): void {}

  uncork(): boolean {
    return false
  }

  head(head: ResponseHead): void {
    if (head.status === 101) this.abort('bad_response', 'the server switched protocols for a job')
    else if (head.status >= 200) this.#head = head
    if (head.bodyLength > this.#limits.resultBytesMax) this.#tooLarge()
  }

  data(chunk: Buffer): boolean {
    if (this.#bytes.length + chunk.length > this.#limits.resultBytesMax) this.#tooLarge()
    else return this.#bytes.add(chunk, true)
    return true
  }

  /** While the budget was full the server was not read from. The attempt's own time went on. */
  #roomAgain(): void {
    if (this.#ended) this.#complete()
    else this.connection?.resume()
  }

  #tooLarge(): void {
    this.abort('result_too_large', `the answer is larger than ${this.#limits.resultBytesMax} bytes (limits.result)`)
  }

  end(): void {
    this.#ended = true
    // It is idle now, or somebody else's.
    this.connection = undefined
    if (!this.#bytes.waiting) this.#complete()
  }

  #complete(): void {
    const head = this.#head as ResponseHead
    const { status, reason } = head
    const headers = endToEndHeaders(head.headers, head.connection)
    this.#finish({ kind: 'answer', answer: { status, reason, headers, body: this.#bytes.joined() } })
  }

  fail(failed: UpstreamFailure): void {
    this.#finish({ kind: 'failed', code: failed.code, detail: failed.detail, sent: failed.sent })
  }

  readonly #onTimeout = (): void => {
    this.abort('attempt_timeout', `the attempt took longer than ${this.#timeoutMs} ms`)
  }

  abort(code: ErrorCode, detail: string = ERRORS[code].title): void {
    if (this.#resolve === undefined) return
    const sent = this.connection?.sent ?? true
    this.connection?.destroy()
    this.#finish({ kind: 'failed', code, detail, sent })
  }

  #finish(outcome: AttemptOutcome): void {
    if (this.#resolve === undefined) return
    this.#timer.cancel()
    this.connection = undefined
    this.#bytes.free()
    this.#resolve(outcome)
    this.#resolve = undefined
  }
}
