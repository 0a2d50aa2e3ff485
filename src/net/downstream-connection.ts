/**
 * A client's connection: bytes in, calls out, one at a time and in order; pipelined requests wait unparsed in a bounded buffer.
 * Whatever cannot be understood is answered once and the connection is closed, so that nothing behind it can be taken for a request.
 */
import { ERRORS, type Failure, problem } from '../core/errors.ts'
import { proxyStatus } from '../core/headers/proxy-status.ts'
import type { Endpoint } from '../core/proxy-protocol/header.ts'
import { TOKEN } from '../http1/chars.ts'
import { ChunkedDecoder } from '../http1/chunked.ts'
import { findHead } from '../http1/find-head.ts'
import { type HeadLimits, isHeadError, parseRequestHead } from '../http1/parse-request.ts'
import { fieldLines, reasonPhrase, statusLine } from '../http1/write.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { AnswerEditor, Peer } from './call.ts'
import { DownstreamCall } from './downstream-call.ts'
import { httpDate } from './http-date.ts'
import { plainAddress } from './networks.ts'
import { Output } from './output.ts'
import { type Deadline, NEVER, type Sweepable, type Sweeper } from './sweeper.ts'

export interface DownstreamOptions {
  /** What the gateway calls itself. */
  readonly name: string
  readonly clock: Clock
  readonly sweeper: Sweeper
  readonly limits: HeadLimits & { readonly headBytesMax: Bytes }
  readonly timeouts: { readonly headMs: Millis; readonly bodyMs: Millis; readonly idleMs: Millis; readonly stallMs: Millis }
  readonly onCall: (call: DownstreamCall) => void
  /** A request that never became a call: for counting and the access log. What is returned names it in its answer. */
  readonly onRefused: (failed: Failure, peer: Peer) => RefusalMark | undefined
  readonly onClosed: (connection: DownstreamConnection) => void
}

/** The id of a request, and the field that it stands in. */
export interface RefusalMark {
  readonly name: string
  readonly id: string
}

interface RefusedRequest {
  /** Without content, also where the request is not worth more than its method (RFC 9110, section 9.3.2). */
  readonly toHead: boolean
  readonly requestId: string | undefined
  readonly edit: AnswerEditor
}

/** What may arrive behind a request while it is answered; more stays in the kernel. */
const PIPELINE_BYTES_MAX = 64 * 1024
/** After the last response: how much and how long we still read, so that the client sees it before a reset (RFC 9112, section 9.6). */
const LINGER_MS: Millis = 2_000
/** A request that was sent before its client can know that this connection is given up arrives within this time, nearly always. */
const ON_ITS_WAY_MS: Millis = 250
const LINGER_BYTES_MAX = 1024 * 1024
const HEAD_START = 'HEAD '
const EMPTY = Buffer.alloc(0)

export class DownstreamConnection implements Sweepable {
  readonly peer: Peer
  /** The earlier one of the two below. */
  deadlineAt: Deadline
  closing = false
  readonly #socket: NetworkSocket
  readonly #options: DownstreamOptions
  readonly #out: Output
  #input: Buffer | undefined
  #scanned = 0
  #call: DownstreamCall | undefined
  #decoder: ChunkedDecoder | undefined
  #bodyLeft = 0
  #advancing = false
  #lingering = false
  #lingerBytes = 0
  #detached = false
  #served = false
  /** By when something has to arrive, and by when something has to go out. */
  #readBy: Deadline
  #writeBy: Deadline = NEVER

  constructor(socket: NetworkSocket, peer: Peer, options: DownstreamOptions) {
    this.#socket = socket
    this.peer = peer
    this.#options = options
    this.#out = new Output(socket)
    this.#readBy = options.sweeper.in(options.timeouts.headMs)
    this.deadlineAt = this.#readBy
    socket.on('data', this.#onData)
    socket.on('drain', this.#onDrain)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    options.sweeper.add(this)
  }

  get name(): string {
    return this.#options.name
  }

  /** The Date header of an answer that begins now. */
  get date(): string {
    return httpDate(this.#options.clock.now())
  }

  /** Where the client has connected to. */
  get localEnd(): Endpoint {
    return { address: plainAddress(this.#socket.localAddress ?? ''), port: this.#socket.localPort ?? 0 }
  }

  get idle(): boolean {
    return this.#call === undefined && this.#input === undefined
  }

  get hasInput(): boolean {
    return this.#input !== undefined
  }

  /** One call at most: a busy connection closes after its response, an idle one when no request was on its way. */
  drain(): void {
    this.closing = true
    if (!this.idle || this.#lingering) return
    if (this.#socket.writableLength === 0) this.#readWithin(ON_ITS_WAY_MS)
    else this.#linger()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Ends so that the client cannot take it for an orderly end. */
  reset(): void {
    this.#socket.resetAndDestroy()
  }

  // --- reading

  readonly #onData = (chunk: Buffer): void => {
    if (this.#lingering) return this.#discard(chunk)
    // A line end too many behind the last request is no beginning of the next one (RFC 9112, section 2.2).
    if (this.#served && this.idle && chunk.length === 2 && chunk[0] === 13 && chunk[1] === 10) return
    if (this.#input === undefined) {
      this.#input = chunk
      if (this.#call === undefined) this.#startHead()
    } else this.#input = Buffer.concat([this.#input, chunk])
    this.#advance()
    if (this.#input !== undefined && this.#input.length > PIPELINE_BYTES_MAX && this.#call !== undefined) this.#socket.pause()
  }

  #startHead(): void {
    this.#scanned = 0
    this.#readWithin(this.#options.timeouts.headMs)
  }

  /** Goes on as far as input and the running call allow. Handlers may end their call inside: hence the guard. */
  #advance(): void {
    if (this.#advancing) return
    this.#advancing = true
    while (this.#input !== undefined && !this.#lingering && !this.#detached && !this.#socket.destroyed) {
      const call = this.#call
      if (call === undefined ? !this.#readHead(this.#input) : !this.#readBody(call, this.#input)) break
    }
    this.#advancing = false
  }

  /** False: more bytes are needed. */
  #readHead(input: Buffer): boolean {
    const at = leadingLineEnd(input)
    const text = findHead(input, at, this.#scanned)
    const max = this.#options.limits.headBytesMax
    if (text === undefined || text.length > max) {
      if (text !== undefined || input.length - at > max) {
        this.#refuse({ code: 'head_too_large', detail: `the request line and headers are longer than ${max} bytes` })
        return false
      }
      this.#scanned = input.length
      // A line that is wrong already need not be waited for; a bare LF would never end.
      if (input.length > at && !plausibleStart(input, at))
        this.#refuse({ code: 'bad_request', detail: 'the request line does not begin with a method, or a line ends in a bare LF' })
      return false
    }
    const head = parseRequestHead(text, this.#options.limits)
    if (isHeadError(head)) {
      this.#refuse(head)
      return false
    }
    this.#rest(input, at + text.length)
    this.#scanned = 0
    this.#readWithin(NEVER)
    const call = new DownstreamCall(this, head, this.#out, this.#options.clock.monotonic())
    this.#call = call
    this.#served = true
    this.#decoder =
      head.bodyLength === -1 ? new ChunkedDecoder({ trailerBytesMax: max, headersMax: this.#options.limits.headersMax }) : undefined
    this.#bodyLeft = Math.max(0, head.bodyLength)
    this.#options.onCall(call)
    return true
  }

  /** False: the call does not want (more of) its body now, or has all of it. */
  #readBody(call: DownstreamCall, input: Buffer): boolean {
    const sink = call.sink
    if (call.complete || sink === undefined || call.paused) return false
    this.#input = undefined
    if (this.#decoder === undefined) this.#readSized(call, input)
    else this.#readChunked(call, input, this.#decoder)
    return true
  }

  #readSized(call: DownstreamCall, input: Buffer): void {
    const take = Math.min(this.#bodyLeft, input.length)
    this.#rest(input, take)
    this.#bodyLeft -= take
    call.bytesIn += take
    const sink = call.sink
    if (this.#bodyLeft === 0) call.complete = true
    if (sink?.data(take === input.length ? input : input.subarray(0, take)) === false && !call.complete) call.pause()
    if (call.complete) {
      sink?.end([])
      this.#bodyDone(call)
    } else this.#awaitBody(call)
  }

  #readChunked(call: DownstreamCall, input: Buffer, decoder: ChunkedDecoder): void {
    const sink = call.sink
    let flowing = true
    let trailers: readonly string[] | undefined
    sink?.cork?.()
    const stopped = decoder.read(input, 0, {
      data(chunk) {
        call.bytesIn += chunk.length
        if (sink?.data(chunk) === false) flowing = false
      },
      end(fields) {
        trailers = fields
      },
    })
    if (typeof stopped === 'string') return this.#breakBody(call, stopped)
    this.#rest(input, stopped)
    if (trailers !== undefined) {
      call.complete = true
      sink?.end(trailers)
    }
    sink?.uncork?.(stopped === input.length ? input : undefined)
    if (call.complete) {
      this.#bodyDone(call)
    } else {
      if (!flowing) call.pause()
      this.#awaitBody(call)
    }
  }

  #breakBody(call: DownstreamCall, detail: string): void {
    const sink = call.sink
    call.sink = undefined
    this.closing = true
    if (call.responseStarted) this.destroy()
    else this.#refuseCall(call, { code: 'bad_request', detail })
    sink?.abort('bad-framing')
    call.leave('bad-framing')
  }

  /** The call is counted by its owner, with the status that we answered for it. */
  #refuseCall(call: DownstreamCall, failed: Failure): void {
    call.status = ERRORS[failed.code].status
    const { requestId } = call.log
    const edit: AnswerEditor = (lines, status) => call.editAnswer?.(lines, status) ?? lines
    this.#answerRefusal(failed, { toHead: call.head.method === 'HEAD', requestId, edit })
  }

  #awaitBody(call: DownstreamCall): void {
    this.#readWithin(call.paused ? NEVER : this.#options.timeouts.bodyMs)
  }

  #bodyDone(call: DownstreamCall): void {
    this.#readWithin(NEVER)
    if (call.responseEnded) this.#nextCall()
  }

  #rest(input: Buffer, from: number): void {
    this.#input = from >= input.length ? undefined : input.subarray(from)
  }

  pauseReading(): void {
    this.#readWithin(NEVER)
    this.#socket.pause()
  }

  readBody(): void {
    const call = this.#call
    if (call === undefined || this.#socket.destroyed) return
    this.#awaitBody(call)
    this.#advance()
    if (!call.paused) this.#socket.resume()
  }

  // --- responding

  awaitDrain(): void {
    this.#writeWithin(this.#options.timeouts.stallMs)
  }

  readonly #onDrain = (): void => {
    this.#writeWithin(NEVER)
    if (this.#call !== undefined) this.#call.drainListener?.()
    else this.#flushed()
  }

  /** Everything that was written is with the kernel: from here on it is the client's turn. */
  readonly #flushed = (): void => {
    this.#writeWithin(NEVER)
    if (this.#lingering) this.#readWithin(LINGER_MS)
    else if (this.idle) this.#readWithin(this.#options.timeouts.idleMs)
  }

  /** A client that still has to take what was written is neither idle nor lingering. */
  #awaitFlush(): void {
    this.#readWithin(NEVER)
    this.awaitDrain()
  }

  /** The call's response is written. Its request may not be wholly read: then the connection cannot be kept. */
  responseDone(close: boolean): void {
    const call = this.#call
    if (call === undefined) return
    if (close || this.closing || !call.complete) this.#linger()
    else this.#nextCall()
  }

  #nextCall(): void {
    this.#call = undefined
    this.#decoder = undefined
    if (this.closing) return this.#linger()
    if (this.#input === undefined) this.#readWithin(this.#options.timeouts.idleMs)
    else this.#startHead()
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#advance()
  }

  /** Sends FIN after what is written and reads on for a moment: closing at once would reset what the client has not read yet. */
  #linger(): void {
    this.closing = true
    this.#lingering = true
    this.#call = undefined
    this.#out.uncork()
    this.#input = undefined
    this.#socket.once('finish', this.#flushed).end()
    if (this.#socket.writableLength === 0) this.#flushed()
    else this.#awaitFlush()
    this.#socket.resume()
  }

  #discard(chunk: Buffer): void {
    this.#lingerBytes += chunk.length
    // To close now would take from it what it has not read yet of its answer. What it still sends waits with it, until its time is over.
    if (this.#lingerBytes > LINGER_BYTES_MAX) this.#socket.pause()
  }

  #refuse(failed: Failure): void {
    const mark = this.#options.onRefused(failed, this.peer)
    const input = this.#input ?? EMPTY
    const toHead = input.toString('latin1', leadingLineEnd(input), HEAD_START.length + 2).startsWith(HEAD_START)
    const edit: AnswerEditor = (lines) => (mark === undefined ? lines : `${lines}${mark.name}: ${mark.id}\r\n`)
    this.#answerRefusal(failed, { toHead, requestId: mark?.id, edit })
  }

  #answerRefusal(failed: Failure, { toHead, requestId, edit }: RefusedRequest): void {
    const kind = ERRORS[failed.code]
    const body = JSON.stringify(problem(failed, requestId === undefined ? {} : { requestId }))
    const said = ['Content-Type', 'application/problem+json', 'Cache-Control', 'private, no-store']
    const fields = edit(fieldLines([...said, 'Proxy-Status', proxyStatus(this.name, kind.proxy), 'Date', this.date]), kind.status)
    const framing = fieldLines(['Content-Length', String(Buffer.byteLength(body)), 'Connection', 'close'])
    this.#out.write(`${statusLine(kind.status, reasonPhrase(kind.status))}${fields}${framing}\r\n${toHead ? '' : body}`)
    this.#linger()
  }

  // --- endings

  #readWithin(ms: Millis): void {
    this.#readBy = this.#options.sweeper.in(ms)
    this.deadlineAt = Math.min(this.#readBy, this.#writeBy)
  }

  #writeWithin(ms: Millis): void {
    this.#writeBy = this.#options.sweeper.in(ms)
    this.deadlineAt = Math.min(this.#readBy, this.#writeBy)
  }

  onDeadline(): void {
    const call = this.#call
    const unsent = this.#socket.writableLength > 0
    if (this.#writeBy <= this.#readBy) return unsent ? this.destroy() : this.#flushed()
    if (this.idle && !this.#lingering && unsent) return this.#awaitFlush()
    if (this.#lingering || this.idle || call?.responseStarted === true) return this.destroy()
    if (call === undefined) return this.#refuse({ code: 'request_timeout', detail: 'the request head was not complete in time' })
    this.#refuseCall(call, { code: 'request_timeout', detail: 'the request body stopped arriving' })
    call.leave('timeout')
  }

  readonly #onEnd = (): void => {
    if (this.#lingering) return
    this.#call?.leave('client-gone')
    this.destroy()
  }

  readonly #onError = (): void => {
    this.destroy()
  }

  readonly #onClose = (): void => {
    this.#options.sweeper.delete(this)
    this.deadlineAt = NEVER
    const call = this.#call
    this.#call = undefined
    this.#input = undefined
    call?.leave('client-gone')
    this.#options.onClosed(this)
  }

  detach(): { socket: NetworkSocket; rest: Buffer } {
    this.#detached = true
    const socket = this.#socket
    socket.pause()
    socket
      .off('data', this.#onData)
      .off('drain', this.#onDrain)
      .off('end', this.#onEnd)
      .off('error', this.#onError)
      .off('close', this.#onClose)
    this.#options.sweeper.delete(this)
    this.#options.onClosed(this)
    const rest = this.#input ?? Buffer.alloc(0)
    this.#input = undefined
    return { socket, rest }
  }
}

/** Bytes of an empty line before the request line (RFC 9112, section 2.2). */
function leadingLineEnd(input: Buffer): number {
  return input[0] === 13 && input[1] === 10 ? 2 : 0
}

/** What there is of a head can still become one: it begins with a method's character and has no bare LF. */
function plausibleStart(input: Buffer, at: number): boolean {
  const first = input[at] as number
  if (first === 13 && at === 0) return input.length === 1
  if (TOKEN[first] !== 1) return false
  for (let lf = input.indexOf(10, at); lf >= 0; lf = input.indexOf(10, lf + 1)) if (input[lf - 1] !== 13) return false
  return true
}
