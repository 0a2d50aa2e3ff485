/**
 * A connection to a server: one exchange at a time, kept for the next when both messages ended cleanly. It knows what the retry rules
 * need to know about a failure: whether a byte of the request can have left, and whether a byte of an answer came.
 */
import type { OnReadOpts } from 'node:net'
import type { ErrorCode } from '../core/errors.ts'
import { tlsFailure } from '../core/tls/tls-failure.ts'
import { ChunkedDecoder } from '../http1/chunked.ts'
import { findHead } from '../http1/find-head.ts'
import type { FlatHeaders, ResponseHead } from '../http1/message.ts'
import { CHUNKED, parseResponseHead, UNTIL_CLOSE } from '../http1/parse-response.ts'
import { chunkHeader, lastChunk } from '../http1/write.ts'
import type { Bytes, Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { Network, NetworkSocket } from '../ports/network.ts'
import { endedByAlert, type Opening } from './dialling.ts'
import { type Loan, Output } from './output.ts'
import type { ReadBuffers } from './read-buffers.ts'
import { type Deadline, NEVER, type Sweepable, type Sweeper } from './sweeper.ts'

export interface UpstreamFailure {
  readonly code: ErrorCode
  readonly detail: string
  /** A byte of the request may have reached the server. */
  readonly sent: boolean
  /** The connection had served before, and broke before a byte of this answer: it may have been closed by the server while idle. */
  readonly reused: boolean
  /** What the system said, where it said something: `ECONNREFUSED`, `EMFILE`. */
  readonly errno?: string
}

/** Receives one answer. `head` with a 1xx status is informational; after 101 the connection belongs to whoever calls `detach`. */
export interface ResponseSink {
  /** Before and after the pieces that one read brought: a chance to write them together. Undefined: nobody needs their bytes any more. */
  cork(): void
  uncork(): Loan | undefined
  head(head: ResponseHead): void
  /** False: stop until `resume()`. The chunk's bytes are reused after `uncork`, or when they are returned: copy what is to stay. */
  data(chunk: Buffer): boolean
  end(trailers: readonly string[]): void
  fail(failed: UpstreamFailure): void
}

export interface SentBody {
  readonly whole?: Uint8Array
  readonly chunked: boolean
  /** From the end of the request to the head of the answer, where it is other than usual. */
  readonly firstByteMs?: Millis | undefined
}

export interface UpstreamOptions {
  readonly clock: Clock
  readonly network: Network
  readonly sweeper: Sweeper
  readonly buffers: ReadBuffers
  readonly headBytesMax: number
  readonly headersMax: number
  /** The socket will be handed out after 101: it reads in the ordinary way. */
  readonly detachable?: boolean
  /** What comes before the first request. Absent: a TCP connection is all. */
  readonly opening?: Opening | undefined
  readonly timeouts: { readonly connectMs: Millis; readonly firstByteMs: Millis; readonly stallMs: Millis; readonly idleMs: Millis }
}

/** Informational answers before the one that counts. */
const INFORMATIONAL_MAX = 32
/** How much earlier than the server says we let go of an idle connection. */
const IDLE_MARGIN_MS: Millis = 1_000

const CONNECTING = 0
const IDLE = 1
const AWAIT_HEAD = 2
const BODY = 3
const CLOSED = 4
const DETACHED = 5

export class UpstreamConnection implements Sweepable {
  deadlineAt: Deadline
  usedAt: MonotonicMillis = 0
  served = 0
  /** So long its server leaves it open when it is idle, as it says; 0: it says nothing. */
  promisedMs: Millis = 0
  /** Undefined: it is not open yet. */
  connectMs: Millis | undefined
  /** What came in the current exchange, or the last one. */
  bytesDown: Bytes = 0
  readonly #openedAt: MonotonicMillis
  readonly #socket: NetworkSocket
  readonly #options: UpstreamOptions
  readonly #out: Output
  readonly #isSecure: boolean
  #state = CONNECTING
  #sink: ResponseSink | undefined
  #method = ''
  #input: Buffer | undefined
  #decoder: ChunkedDecoder | undefined
  #left = 0
  #keep = false
  #idleMs: Millis
  /** Of this exchange. */
  #firstByteMs: Millis
  #requestEnded = true
  #informational = 0
  #chunkedRequest = false
  #sent = false
  #loan: Loan | undefined
  /** What it is read into; undefined: the stream does that. */
  #buffer: Buffer | undefined
  #writtenBefore: Bytes = 0
  #onIdle: ((connection: UpstreamConnection) => void) | undefined
  #onClosed: ((byServer: boolean) => void) | undefined
  drainListener: (() => void) | undefined
  /** Told when it is open, of how long that took. */
  openListener: ((tookMs: Millis) => void) | undefined
  /** Told of the fields of an answer, where something in them is for the gateway. */
  controlsListener: ((headers: FlatHeaders) => void) | undefined
  /** Told of every failed exchange, beside its sink. */
  failureListener: ((failed: UpstreamFailure) => void) | undefined

  constructor(host: string, port: number, options: UpstreamOptions) {
    this.#options = options
    this.#openedAt = options.clock.monotonic()
    this.#idleMs = options.timeouts.idleMs
    this.#firstByteMs = options.timeouts.firstByteMs
    this.deadlineAt = options.sweeper.in(options.timeouts.connectMs)
    const { opening } = options
    const streams = options.detachable === true || opening?.preamble !== undefined
    this.#socket = options.network.connect({
      ...{ host, port, noDelay: true, allowHalfOpen: true },
      ...(streams ? {} : { onread: this.#reading() }),
      ...(opening?.preamble && { preamble: opening.preamble }),
      ...(opening?.tls && { tls: opening.tls }),
    })
    this.#out = new Output(this.#socket)
    if (opening !== undefined) this.#open(opening)
    this.#isSecure = opening?.tls !== undefined
    this.#socket.on(this.#isSecure ? 'secureConnect' : 'connect', this.#onConnect).on('drain', this.#onDrain)
    if (streams) this.#socket.on('data', this.#onData)
    this.#socket.on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onClose)
    options.sweeper.add(this)
  }

  /** Nothing of a request goes to whom nobody has looked at yet. */
  #open(opening: Opening): void {
    opening.opened(this.#socket)
    if (opening.tls === undefined) return
    this.#socket.cork()
    this.#socket.once('secureConnect', () => this.#socket.uncork())
  }

  /** `onIdle`: it can serve again. `onClosed`: it never will; `byServer`: while it was idle, or before a byte of an answer to the next request. */
  listen(onIdle: (connection: UpstreamConnection) => void, onClosed: (byServer: boolean) => void): void {
    this.#onIdle = onIdle
    this.#onClosed = onClosed
  }

  /** A byte of the current request may have left. */
  get sent(): boolean {
    return this.#sent
  }

  /** What was written in the current exchange, or the last one. */
  get bytesUp(): Bytes {
    return this.#out.written - this.#writtenBefore
  }

  cork(): void {
    this.#out.cork()
  }

  uncork(): void {
    this.#out.uncork()
    // Only now it is known whether the server takes it.
    if (this.#sink !== undefined) this.#requestMoved()
  }

  /** What was written of `whole` is all that anybody keeps of it. */
  release(whole: Uint8Array): void {
    this.#out.release(whole)
  }

  // --- the request

  /** Sends a head and, when given, the whole body with it. Otherwise `write` and `end` follow. */
  begin(method: string, head: string, sink: ResponseSink, body: SentBody): void {
    this.#sink = sink
    this.#firstByteMs = body.firstByteMs ?? this.#options.timeouts.firstByteMs
    this.#method = method
    this.#sent = false
    this.bytesDown = 0
    this.#writtenBefore = this.#out.written
    this.#chunkedRequest = body.chunked
    this.#requestEnded = body.whole !== undefined
    if (this.#state === IDLE) this.#beginWaiting()
    if (body.whole === undefined || body.whole.length === 0) {
      this.#out.write(head)
      return
    }
    this.#out.cork()
    this.#out.write(head)
    this.#out.write(body.whole)
    this.#out.uncork()
  }

  #beginWaiting(): void {
    this.#state = AWAIT_HEAD
    this.#sent = true
    this.#informational = 0
    this.#awaitHead()
  }

  /** The server has `firstByte` from the end of the request. Before that it is the client's turn, unless the server takes no more of it. */
  #awaitHead(): void {
    const { stallMs } = this.#options.timeouts
    this.deadlineAt = this.#options.sweeper.in(this.#requestEnded ? this.#firstByteMs : this.#out.blocked ? stallMs : NEVER)
  }

  /** The server has asked for more time: at least so long from now. */
  awaitFor(ms: Millis): void {
    this.deadlineAt = Math.max(this.deadlineAt, this.#options.sweeper.in(ms))
  }

  /** The request moves: whatever is awaited next has its whole time from now. */
  #requestMoved(): void {
    if (this.#state === AWAIT_HEAD) this.#awaitHead()
    else if (this.#state === BODY && !this.#socket.isPaused()) this.#awaitMore()
  }

  /** False: wait for `drainListener`. `owned`: nobody else keeps the chunk. */
  write(chunk: Uint8Array, owned = false): boolean {
    if (this.#state === CLOSED || chunk.length === 0) return true
    if (!this.#chunkedRequest) {
      const flowing = owned ? this.#out.writeOwned(chunk) : this.#out.write(chunk)
      this.#requestMoved()
      return flowing
    }
    const { corked } = this.#out
    if (!corked) this.#out.cork()
    this.#out.write(chunkHeader(chunk.length))
    this.#out.write(chunk)
    this.#out.write('\r\n')
    if (!corked) this.#out.uncork()
    this.#requestMoved()
    return !this.#out.blocked
  }

  end(trailers: readonly string[]): void {
    this.#requestEnded = true
    if (this.#chunkedRequest && this.#state !== CLOSED) this.#out.write(lastChunk(trailers))
    this.#requestMoved()
  }

  readonly #onConnect = (): void => {
    this.connectMs = this.#options.clock.monotonic() - this.#openedAt
    this.openListener?.(this.connectMs)
    if (this.#sink === undefined) this.#becomeIdle()
    else this.#beginWaiting()
  }

  readonly #onDrain = (): void => {
    this.#requestMoved()
    this.drainListener?.()
  }

  // --- the answer

  /**
   * All reads go into one buffer of this connection, and what they bring is passed on before the next. Only when a slow client still
   * refers to it, the next read gets another one. So a stream costs neither copies nor garbage.
   */
  #reading(): OnReadOpts {
    const { buffers } = this.#options
    let next: Buffer | undefined = buffers.take()
    this.#buffer = next
    return {
      // Asked before the first read and after each: undefined keeps the buffer.
      buffer: () => {
        const buffer = next as Uint8Array
        next = undefined
        return buffer
      },
      callback: (bytes, buffer) => {
        this.#loan = undefined
        this.#onData((buffer as Buffer).subarray(0, bytes))
        if (this.#input !== undefined) this.#input = Buffer.from(this.#input)
        if (this.#loan !== undefined) {
          next = buffers.take()
          this.#lend(this.#loan, next)
        }
        return !this.#socket.isPaused()
      },
    }
  }

  #lend(loan: Loan, next: Buffer): void {
    const lent = this.#buffer as Buffer
    loan.onReturn = () => this.#options.buffers.give(lent)
    this.#buffer = next
  }

  readonly #onData = (chunk: Buffer): void => {
    const sink = this.#sink
    // Bytes that nobody asked for: this server's framing cannot be trusted.
    if (sink === undefined) return this.#close(this.#state === IDLE)
    this.bytesDown += chunk.length
    this.#input = this.#input === undefined ? chunk : Buffer.concat([this.#input, chunk])
    sink.cork()
    while (this.#input !== undefined && this.#sink === sink) {
      if (this.#state === AWAIT_HEAD ? !this.#readHead(this.#input, sink) : this.#state !== BODY || !this.#readBody(this.#input, sink))
        break
    }
    this.#loan = sink.uncork()
  }

  #readHead(input: Buffer, sink: ResponseSink): boolean {
    const text = findHead(input, 0, 0)
    const max = this.#options.headBytesMax
    if (text === undefined || text.length > max) {
      if (text !== undefined || input.length > max) this.#fail('bad_response', `the response head is longer than ${max} bytes`)
      return false
    }
    const head = parseResponseHead(text, this.#method, this.#options.headersMax)
    if (typeof head === 'string') {
      this.#fail('bad_response', head)
      return false
    }
    this.#input = text.length >= input.length ? undefined : input.subarray(text.length)
    if (head.status < 200 && head.status !== 101) {
      if (++this.#informational > INFORMATIONAL_MAX) {
        this.#fail('bad_response', `more than ${INFORMATIONAL_MAX} informational answers`)
        return false
      }
      sink.head(head)
      return true
    }
    if (head.hasControls) this.controlsListener?.(head.headers)
    this.#keep = head.keepAlive
    if (head.keepAliveTimeout >= 0) {
      this.promisedMs = head.keepAliveTimeout * 1000
      this.#idleMs = Math.min(this.#options.timeouts.idleMs, Math.max(0, this.promisedMs - IDLE_MARGIN_MS))
    }
    this.#left = head.bodyLength
    this.#state = BODY
    this.#awaitMore()
    if (head.bodyLength === CHUNKED) this.#decoder = new ChunkedDecoder({ trailerBytesMax: max, headersMax: this.#options.headersMax })
    sink.head(head)
    // The sink may have broken it off, or taken the socket.
    if (this.#sink !== sink) return false
    if (head.bodyLength === 0 && head.status !== 101) this.#finish(sink, [])
    return true
  }

  #readBody(input: Buffer, sink: ResponseSink): boolean {
    this.#input = undefined
    this.#awaitMore()
    if (this.#left === CHUNKED) return this.#readChunked(input, sink)
    if (this.#left === UNTIL_CLOSE) {
      this.#pass(sink, input)
      return true
    }
    const take = Math.min(this.#left, input.length)
    this.#left -= take
    if (take < input.length) this.#input = input.subarray(take)
    this.#pass(sink, take === input.length ? input : input.subarray(0, take))
    if (this.#left === 0 && this.#sink === sink) this.#finish(sink, [])
    return true
  }

  #readChunked(input: Buffer, sink: ResponseSink): boolean {
    let trailers: readonly string[] | undefined
    const stopped = (this.#decoder as ChunkedDecoder).read(input, 0, {
      data: (chunk) => this.#pass(sink, chunk),
      end: (fields) => {
        trailers = fields
      },
    })
    if (typeof stopped === 'string') {
      this.#fail('bad_response', stopped)
      return false
    }
    if (stopped < input.length) this.#input = input.subarray(stopped)
    if (trailers !== undefined && this.#sink === sink) this.#finish(sink, trailers)
    return true
  }

  #pass(sink: ResponseSink, chunk: Buffer): void {
    if (this.#sink !== sink || sink.data(chunk)) return
    this.deadlineAt = NEVER
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#socket.isPaused()) return
    this.#awaitMore()
    this.#socket.resume()
  }

  #awaitMore(): void {
    this.deadlineAt = this.#options.sweeper.in(this.#options.timeouts.stallMs)
  }

  #finish(sink: ResponseSink, trailers: readonly string[]): void {
    this.#sink = undefined
    this.#decoder = undefined
    this.drainListener = undefined
    this.served++
    const keep = this.#keep && this.#requestEnded && this.#input === undefined && this.#state !== CLOSED
    if (keep) this.#becomeIdle()
    sink.end(trailers)
    if (!keep) this.destroy()
  }

  #becomeIdle(): void {
    this.#state = IDLE
    this.usedAt = this.#options.clock.monotonic()
    this.deadlineAt = this.#options.sweeper.in(this.#idleMs)
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#onIdle?.(this)
  }

  // --- endings

  onDeadline(): void {
    if (this.#state === CONNECTING) this.#fail('connect_timeout', `no connection within ${this.#options.timeouts.connectMs} ms`)
    else if (this.#state === IDLE) this.destroy()
    else if (this.#state === AWAIT_HEAD) this.#fail('first_byte_timeout', 'no response head in time')
    else this.#fail('connection_reset', `the response stalled for ${this.#options.timeouts.stallMs} ms`)
  }

  readonly #onEnd = (): void => {
    const isWhole = this.#state === BODY && this.#left === UNTIL_CLOSE && (!this.#isSecure || endedByAlert(this.#socket))
    if (isWhole && this.#sink !== undefined) this.#finish(this.#sink, [])
    else this.#fail('connection_reset', this.#state === BODY ? 'closed in the middle of the response' : 'closed before the response')
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    const tls = this.#isSecure ? tlsFailure(error) : undefined
    if (tls !== undefined) this.#fail(tls.code, tls.detail, error.code)
    else if (this.#state === CONNECTING) this.#fail('connect_failed', `connection failed: ${error.code ?? error.message}`, error.code)
    else this.#fail('connection_reset', `connection broken: ${error.code ?? error.message}`, error.code)
  }

  readonly #onClose = (): void => {
    this.#fail('connection_reset', 'connection closed')
    if (this.#buffer !== undefined) this.#options.buffers.give(this.#buffer)
    this.#buffer = undefined
  }

  /** Nothing new shall go there: it closes, unless an exchange is under way. */
  leave(): void {
    if (this.#state === IDLE) this.destroy()
  }

  /** What is going on is broken off, and its sink told why. */
  cut(detail: string): void {
    this.#fail('connection_reset', detail)
  }

  /** Abandons what is going on, without telling its sink. */
  destroy(): void {
    this.#sink = undefined
    this.#close(false)
  }

  #fail(code: ErrorCode, detail: string, errno?: string): void {
    const sink = this.#sink
    this.#sink = undefined
    const isStale = code === 'connection_reset' && this.served > 0 && this.#isUnanswered()
    const failed = { code, detail, sent: this.#sent, reused: isStale, ...(errno !== undefined && { errno }) }
    this.#close(isStale || this.#state === IDLE)
    if (sink === undefined) return
    this.failureListener?.(failed)
    sink.fail(failed)
  }

  /** Nothing has come of an answer. */
  #isUnanswered(): boolean {
    return this.#state === AWAIT_HEAD && this.#input === undefined && this.#informational === 0
  }

  #close(byServer: boolean): void {
    if (this.#state === CLOSED || this.#state === DETACHED) return
    this.#state = CLOSED
    this.#input = undefined
    this.#options.sweeper.delete(this)
    this.#socket.destroy()
    this.#onClosed?.(byServer)
  }

  /** After 101: the raw socket and what was read behind the head. */
  detach(): { socket: NetworkSocket; rest: Buffer } {
    const socket = this.#socket
    socket.pause()
    socket
      .off('data', this.#onData)
      .off('drain', this.#onDrain)
      .off('end', this.#onEnd)
      .off('error', this.#onError)
      .off('close', this.#onClose)
    this.#options.sweeper.delete(this)
    this.#sink = undefined
    const rest = this.#input ?? Buffer.alloc(0)
    this.#input = undefined
    this.#state = DETACHED
    this.#onClosed?.(false)
    return { socket, rest }
  }
}
