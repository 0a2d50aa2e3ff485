/**
 * A call as the gateway sees it: one request from a client with its response. The connection behind it implements this;
 * nobody above `net/` touches a socket.
 */
import type { Endpoint } from '../core/proxy-protocol/header.ts'
import type { RequestHead } from '../http1/message.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { CallTrace } from '../telemetry/call-trace.ts'

export interface Peer {
  readonly address: string
  readonly port: number
  /** May set Forwarded / X-Forwarded-*. */
  readonly trusted: boolean
  /** It came over TLS. */
  readonly secure?: boolean | undefined
  /** The certificate that it showed, as RFC 9440 writes it. */
  readonly clientCert?: string | undefined
  /** Where it wanted to go, where a proxy in front has said so. */
  readonly destination?: Endpoint | undefined
}

/** Receives a request body. Chunks are the sink's to keep: they are never reused. */
export interface BodySink {
  /** Around what one read of a chunked body brought: a chance to send its pieces together. */
  cork?(): void
  /** `spent`: the pieces were views of it, and its reader keeps nothing of it. */
  uncork?(spent: Buffer | undefined): void
  /** False: stop sending until `body.resume()`. */
  data(chunk: Buffer): boolean
  /** `trailers`: flat name, value list. */
  end(trailers: readonly string[]): void
  /** The client went away or broke the framing; nothing follows. A broken framing has been answered already. */
  abort(reason: string): void
}

export interface RequestBody {
  /** Known length, 0 when there is none, undefined when chunked. */
  readonly length: number | undefined
  /** Reading begins; sends `100 Continue` first where the client waits for it. At most once. */
  start(sink: BodySink): void
  pause(): void
  resume(): void
  /** Wholly received. */
  readonly complete: boolean
}

/** How a response body is delimited. A number is its content-length. */
export type BodyFraming = number | 'chunked' | 'none'

/** What is noted on the way for the access log and the metrics. */
export interface CallLog {
  route: string
  mode: string
  server?: string
  job?: string
  error?: string
  requestId?: string
  traceId?: string
  /** Another thread has it, and tells of it. */
  elsewhere?: boolean
  /** The gateway answered by itself. */
  by?: 'redirect' | 'answer'
  /** Only where somebody reads it. */
  trace?: CallTrace
}

/** From the field lines of an answer to those that the client gets. */
export type AnswerEditor = (lines: string, status: number) => string

/** Lower-case names of fields that go, and fields that come. */
export interface FieldEdits {
  readonly drop: ReadonlySet<string>
  readonly fields: readonly string[]
}

export interface Call {
  readonly head: RequestHead
  readonly peer: Peer
  /** What the gateway that has the call calls itself. */
  readonly gateway: string
  readonly receivedAt: MonotonicMillis
  readonly body: RequestBody
  /** The client's connection is gone: writing is pointless. */
  readonly gone: boolean
  /** Called once, when the client leaves before the response was complete. */
  onGone(listener: () => void): void
  /** Called once, when the response is complete, broken off, or pointless; each of those who ask, in order. */
  onEnd(listener: () => void): void
  readonly log: CallLog
  /** Has the last word about the field lines of every final answer, but for those that frame it. */
  editAnswer?: AnswerEditor | undefined
  /** Lower-case names of fields that are taken out of answers: they are not let in by trailers. */
  dropped?: ReadonlySet<string> | undefined
  /** What servers get beside what came: its id, its trace. */
  marks?: FieldEdits | undefined

  /** 1xx other than 101. Dropped for HTTP/1.0 clients. */
  sendInformational(status: number, reason: string, headers: readonly string[]): void
  /** A whole response at once. Content-Length is added; body bytes are withheld for HEAD, 204, 304 (length kept for HEAD). */
  send(status: number, headers: readonly string[], body: string | Uint8Array): void
  /** Head of a streamed response. `chunked` becomes close-delimited for HTTP/1.0. No framing headers in `headers`. */
  sendHead(status: number, reason: string, headers: readonly string[], framing: BodyFraming): void
  /** The whole body, however long, at the client's pace, and the end. `done`: nothing of it is needed any more, if the client stays. */
  writeAll(body: Uint8Array, done?: () => void): void
  /** False: hold back until the drain listener is called. */
  write(chunk: Uint8Array | string): boolean
  /** One listener; replaced by the next. */
  onDrain(listener: () => void): void
  end(trailers?: readonly string[]): void
  /** Break off: the client must not take what it has for complete. Closes the connection. */
  abort(): void
  /** Close the connection after this response. */
  closeAfter(): void

  readonly responseStarted: boolean
  readonly responseEnded: boolean
  readonly status: number
  /** For tunnels and WebSockets: hands over the socket and what was read behind the head. Whoever takes it answers with 101. */
  detach(): { readonly socket: NetworkSocket; readonly rest: Buffer }
  readonly bytesIn: number
  readonly bytesOut: number
}
