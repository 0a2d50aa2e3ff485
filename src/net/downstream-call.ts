/**
 * One request of a client's connection with its response: what `Call` promises, carried out on the connection.
 * It keeps the message's framing right whatever its user does: a body that ends short breaks the connection instead of looking complete.
 */
import { withoutFields } from '../core/actions/header-edits.ts'
import type { RequestHead, ResponseHead } from '../http1/message.ts'
import { chunkHeader, fieldLines, lastChunk, reasonPhrase, statusLine } from '../http1/write.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { AnswerEditor, BodyFraming, BodySink, Call, CallLog, FieldEdits, Peer, RequestBody } from './call.ts'
import type { Ends } from './dialling.ts'
import type { DownstreamConnection } from './downstream-connection.ts'
import type { Loan, Output } from './output.ts'

const UNTIL_CLOSE = -2
const CHUNKED = -1
/** A long body goes out in pieces of this size: each that the client takes is a sign of life. */
const PIECE_BYTES = 64 * 1024

export class DownstreamCall implements Call, RequestBody {
  readonly head: RequestHead
  readonly receivedAt: MonotonicMillis
  readonly #connection: DownstreamConnection
  readonly #out: Output

  // The request's body.
  sink: BodySink | undefined
  paused = false
  complete: boolean
  bytesIn = 0

  // The response.
  responseStarted = false
  responseEnded = false
  status = 0
  bytesOut = 0
  gone = false
  #framing = 0
  #left = 0
  #bodyless = false
  #close = false
  #goneListener: (() => void) | undefined
  #endListener: (() => void) | undefined
  readonly log: CallLog = { route: '', mode: '' }
  drainListener: (() => void) | undefined
  editAnswer: AnswerEditor | undefined
  dropped: ReadonlySet<string> | undefined
  marks: FieldEdits | undefined

  constructor(connection: DownstreamConnection, head: RequestHead, out: Output, receivedAt: MonotonicMillis) {
    this.#connection = connection
    this.head = head
    this.#out = out
    this.receivedAt = receivedAt
    this.complete = head.bodyLength === 0
  }

  get peer(): Peer {
    return this.#connection.peer
  }

  /** The Date header of a message that is passed on now without one (RFC 9110, section 6.6.1). */
  get date(): string {
    return this.#connection.date
  }

  /** Between whom it is, as the client sees it. */
  get ends(): Ends {
    const { address, port, destination } = this.peer
    return { source: { address, port }, destination: destination ?? this.#connection.localEnd }
  }

  get gateway(): string {
    return this.#connection.name
  }

  get body(): RequestBody {
    return this
  }

  // --- RequestBody

  get length(): number | undefined {
    return this.head.bodyLength < 0 ? undefined : this.head.bodyLength
  }

  start(sink: BodySink): void {
    this.sink = sink
    if (this.complete) return sink.end([])
    if (this.head.expectContinue && !this.#connection.hasInput && !this.responseStarted) this.#out.write('HTTP/1.1 100 Continue\r\n\r\n')
    this.#connection.readBody()
  }

  pause(): void {
    this.paused = true
    this.#connection.pauseReading()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.#connection.readBody()
  }

  // --- the response

  onGone(listener: () => void): void {
    this.#goneListener = listener
  }

  onEnd(listener: () => void): void {
    const before = this.#endListener
    this.#endListener =
      before === undefined
        ? listener
        : () => {
            before()
            listener()
          }
  }

  #tellEnd(): void {
    const listener = this.#endListener
    this.#endListener = undefined
    listener?.()
  }

  /** The connection calls it once, when the client left before the end. */
  leave(reason: string): void {
    if (this.gone || this.responseEnded) return
    this.gone = true
    const sink = this.complete ? undefined : this.sink
    this.sink = undefined
    sink?.abort(reason)
    this.log.error ??= reason
    this.#goneListener?.()
    this.#tellEnd()
  }

  sendInformational(status: number, reason: string, headers: readonly string[]): void {
    if (this.gone || this.responseStarted || this.head.minor === 0 || this.#out.blocked) return
    const date = hasDate(headers) ? '' : `Date: ${this.date}\r\n`
    this.#out.write(`${statusLine(status, reason)}${fieldLines(headers)}${date}\r\n`)
  }

  send(status: number, headers: readonly string[], body: string | Uint8Array): void {
    const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body
    this.cork()
    this.sendHead(status, reasonPhrase(status), headers, status === 204 || status === 304 ? 'none' : bytes.length)
    if (bytes.length <= PIECE_BYTES) this.writeAll(bytes)
    this.uncork()
    if (bytes.length > PIECE_BYTES) this.writeAll(bytes)
  }

  sendHead(status: number, reason: string, headers: readonly string[], framing: BodyFraming): void {
    this.sendLines({ status, reason, verbatim: fieldLines(headers), hasDate: hasDate(headers) }, framing)
  }

  /** The same for a head whose lines are text already. */
  sendLines(head: Pick<ResponseHead, 'status' | 'reason' | 'verbatim' | 'hasDate'>, framing: BodyFraming): void {
    const { status } = head
    if (this.gone || this.responseStarted) return
    this.responseStarted = true
    this.status = status
    this.#bodyless = this.head.method === 'HEAD' || status === 204 || status === 304
    const lines = head.verbatim ?? ''
    let text = statusLine(status, head.reason) + (this.editAnswer === undefined ? lines : this.editAnswer(lines, status))
    if (!head.hasDate) text += `Date: ${this.date}\r\n`
    text += this.#frame(framing, status)
    this.bytesOut += text.length
    this.#out.write(text)
  }

  /** Decides how the body is delimited and whether the connection stays; returns the lines that say so. */
  #frame(framing: BodyFraming, status: number): string {
    // What is still to come of the request's body stands between this response and a next request.
    if (!this.head.keepAlive || this.#connection.closing || !this.complete) this.#close = true
    let lines = ''
    if (framing === 'chunked') {
      this.#framing = this.head.minor === 0 ? UNTIL_CLOSE : CHUNKED
      if (this.#framing === UNTIL_CLOSE) this.#close = true
      else if (status !== 204 && status !== 304) lines = 'Transfer-Encoding: chunked\r\n'
    } else if (framing !== 'none') {
      this.#framing = framing
      this.#left = framing
      lines = `Content-Length: ${framing}\r\n`
    }
    if (this.#close) lines += 'Connection: close\r\n'
    else if (this.head.minor === 0) lines += 'Connection: keep-alive\r\n'
    return `${lines}\r\n`
  }

  writeAll(body: Uint8Array, done?: () => void): void {
    let at = 0
    const more = (): void => {
      while (at < body.length) {
        const piece = body.subarray(at, at + PIECE_BYTES)
        at += piece.length
        if (!this.write(piece)) return
      }
      this.end()
      done?.()
    }
    this.onDrain(more)
    more()
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.gone || this.responseEnded) return true
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : chunk
    if (this.#bodyless || bytes.length === 0) return true
    this.bytesOut += bytes.length
    if (this.#framing === CHUNKED) {
      this.#out.write(chunkHeader(bytes.length))
      this.#out.write(bytes)
      return this.#afterWrite(this.#out.write('\r\n'))
    }
    if (this.#framing >= 0) {
      if (bytes.length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= bytes.length
    }
    return this.#afterWrite(this.#out.write(bytes))
  }

  #afterWrite(flowing: boolean): boolean {
    if (!flowing) this.#connection.awaitDrain()
    return flowing
  }

  onDrain(listener: () => void): void {
    this.drainListener = listener
  }

  end(trailers: readonly string[] = []): void {
    if (this.gone || this.responseEnded) return
    if (!this.#bodyless) {
      if (this.#framing === CHUNKED)
        this.#out.write(lastChunk(this.dropped === undefined ? trailers : withoutFields(trailers, this.dropped)))
      else if (this.#framing > 0 && this.#left > 0) return this.abort()
    }
    this.responseEnded = true
    this.#tellEnd()
    this.#connection.responseDone(this.#close)
  }

  abort(): void {
    if (this.responseEnded) return
    this.responseEnded = true
    this.sink = undefined
    this.#tellEnd()
    // Where only the end of the connection ends the body, an orderly end would make a part look like the whole.
    if (this.#framing === UNTIL_CLOSE) this.#connection.reset()
    else this.#connection.destroy()
  }

  closeAfter(): void {
    this.#close = true
  }

  cork(): void {
    this.#out.cork()
  }

  /** Of what was given to `write`, bytes that are still referred to. */
  uncork(): Loan | undefined {
    return this.#out.uncork()
  }

  /** The connection is no longer ours. */
  detach(): { socket: NetworkSocket; rest: Buffer } {
    this.status = 101
    this.responseStarted = true
    this.responseEnded = true
    this.#tellEnd()
    return this.#connection.detach()
  }
}

function hasDate(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 4 && name.toLowerCase() === 'date') return true
  }
  return false
}
