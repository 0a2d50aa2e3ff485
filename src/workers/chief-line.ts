/**
 * The way of a call from a worker to the chief, who has the store, the line of those who wait, and the tunnels. Each client connection that needs the
 * chief has one of its own to it, as long as both live: there the requests go on as they came, and the chief's answers come back as they are.
 */
import { sendFailure } from '../api/problem.ts'
import type { SpillHandOver } from '../gateway/direct-request.ts'
import { JoinedSockets } from '../gateway/joined-sockets.ts'
import { withoutFields } from '../core/actions/header-edits.ts'
import { failure } from '../core/errors.ts'
import type { HostPort } from '../config/config.ts'
import { headerValue, headerValues, type ResponseHead } from '../http1/message.ts'
import { fieldLines, statusLine } from '../http1/write.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { BodySink, Peer } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { handOverLine } from '../net/handed-over.ts'
import type { Loan } from '../net/output.ts'
import type { ReadBuffers } from '../net/read-buffers.ts'
import type { Sweeper } from '../net/sweeper.ts'
import { type ResponseSink, UpstreamConnection, type UpstreamFailure } from '../net/upstream-connection.ts'
import type { Clock } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'

export interface ChiefLineParts {
  readonly clock: Clock
  readonly network: Network
  readonly sweeper: Sweeper
  readonly buffers: ReadBuffers
  readonly address: HostPort
  readonly secret: string
  /** Of the head of an answer. */
  readonly headBytesMax: Bytes
  readonly headersMax: number
}

const CONNECT_MS: Millis = 5_000
/** A client that is silent for so long gets a new one. The chief waits longer. */
const IDLE_MS: Millis = 60_000
/** How long an answer takes is the chief's to say. */
const UNLIMITED_MS: Millis = Number.POSITIVE_INFINITY

export class ChiefLine {
  readonly #parts: ChiefLineParts
  /** Idle ones, by the client connections whose they are. */
  readonly #idle = new WeakMap<Peer, UpstreamConnection>()

  constructor(parts: ChiefLineParts) {
    this.#parts = parts
  }

  /** The chief answers it. `taken`: what was read of the body already. */
  take(call: DownstreamCall, taken?: SpillHandOver): void {
    // Its client has left since it was decided: nobody would hear what comes of it.
    if (call.gone) return
    // What the route does to calls, and what is told of them, is the chief's matter now.
    call.log.elsewhere = true
    Object.assign(call, { editAnswer: undefined, dropped: undefined, marks: undefined })
    new Relayed(call, this.#connectionFor(call), this.#parts.sweeper).start(taken)
  }

  /** The client is gone, and with it the need for a connection of its own. */
  left(peer: Peer): void {
    this.#idle.get(peer)?.destroy()
  }

  #connectionFor(call: DownstreamCall): UpstreamConnection {
    const { peer } = call
    const idle = this.#idle.get(peer)
    this.#idle.delete(peer)
    return idle ?? this.#open(call)
  }

  #open({ peer, ends }: DownstreamCall): UpstreamConnection {
    const { secret, address, headBytesMax, headersMax, ...ports } = this.#parts
    const { source, destination } = ends
    const preamble = handOverLine(secret, { source, destination, secure: peer.secure === true, clientCert: peer.clientCert })
    const connection = new UpstreamConnection(address.host, address.port, {
      ...ports,
      // The gateway's own answers may be a little longer than what servers may say.
      headBytesMax: headBytesMax * 2,
      headersMax: headersMax * 2,
      detachable: true,
      opening: { preamble, opened: () => undefined },
      timeouts: { connectMs: CONNECT_MS, firstByteMs: UNLIMITED_MS, stallMs: UNLIMITED_MS, idleMs: IDLE_MS },
    })
    connection.listen(
      () => void this.#idle.set(peer, connection),
      () => {
        if (this.#idle.get(peer) === connection) this.#idle.delete(peer)
      },
    )
    return connection
  }
}

/** One request at the chief. */
class Relayed implements ResponseSink {
  readonly #call: DownstreamCall
  readonly #connection: UpstreamConnection
  readonly #sweeper: Sweeper
  readonly #body: BodySink
  /** The client sends its body when it is told to: that is for the chief to say. */
  #awaitsContinue = false

  constructor(call: DownstreamCall, connection: UpstreamConnection, sweeper: Sweeper) {
    this.#call = call
    this.#connection = connection
    this.#sweeper = sweeper
    this.#body = bodyTo(connection)
  }

  start(taken: SpillHandOver | undefined): void {
    const { head } = this.#call
    this.#call.onGone(() => this.#connection.destroy())
    const hasBody = head.bodyLength !== 0
    const isUnread = taken === undefined || taken.untouched
    this.#awaitsContinue = isUnread && head.expectContinue
    const body = hasBody ? { chunked: head.bodyLength < 0 } : { chunked: false, whole: new Uint8Array(0) }
    this.#connection.begin(head.method, this.#headText(), this, body)
    if (!hasBody) return
    this.#connection.drainListener = () => this.#call.body.resume()
    if (!isUnread) this.#goOn(taken)
    else if (!this.#awaitsContinue) this.#call.body.start(this.#body)
  }

  /** As it came, as far as that is not settled. The Host is the one that was asked for, whoever said so. */
  #headText(): string {
    const { method, target, minor, headers, https } = this.#call.head
    const fields = fieldLines(this.#awaitsContinue ? headers : withoutFields(headers, NOT_SENT_LATE))
    const url = https ? `https://${headerValue(headers, 'host')}${target === '*' ? '' : target}` : target
    return `${method} ${url} HTTP/1.${minor}\r\n${fields}\r\n`
  }

  #goOn(taken: SpillHandOver): void {
    for (const chunk of taken.chunks) this.#connection.write(chunk)
    if (taken.complete) this.#connection.end(taken.trailers)
    else taken.rest = this.#body
  }

  // --- the answer

  cork(): void {
    this.#call.cork()
  }

  uncork(): Loan | undefined {
    return this.#call.uncork()
  }

  head(head: ResponseHead): void {
    if (head.status === 101) return this.#join(head)
    if (head.status === 100) return this.#continue()
    if (head.status >= 200 && !head.keepAlive) this.#call.closeAfter()
    relayHead(this.#call, head)
  }

  #continue(): void {
    if (!this.#awaitsContinue) return
    this.#awaitsContinue = false
    if (this.#call.head.bodyLength === 0) this.#call.sendInformational(100, 'Continue', [])
    else this.#call.body.start(this.#body)
  }

  #join(head: ResponseHead): void {
    const up = this.#connection.detach()
    this.#call.uncork()
    const down = this.#call.detach()
    const protocol = headerValues(head.headers, 'upgrade').join(', ')
    const fields = [...withoutFields(head.headers, OF_CONNECTION), 'Connection', 'Upgrade', 'Upgrade', protocol]
    down.socket.write(`${statusLine(101, head.reason)}${fieldLines(fields)}\r\n`, 'latin1')
    // Its idle time is the chief's to watch.
    new JoinedSockets(down, up, { sweeper: this.#sweeper, idleMs: UNLIMITED_MS, onClosed: () => undefined })
  }

  data(chunk: Buffer): boolean {
    if (this.#call.write(chunk)) return true
    this.#call.onDrain(() => this.#connection.resume())
    return false
  }

  end(trailers: readonly string[]): void {
    this.#call.end(trailers)
  }

  fail({ code }: UpstreamFailure): void {
    this.#call.closeAfter()
    if (this.#call.responseStarted) return this.#call.abort()
    sendFailure(this.#call, failure('internal', `the thread that has the store did not answer (${code})`))
  }
}

/** The client has been told already that its body is wanted. */
const NOT_SENT_LATE: ReadonlySet<string> = new Set(['expect'])

/** What is about the connection between two threads. */
const OF_CONNECTION: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade'])
const OF_FRAMED: ReadonlySet<string> = new Set([...OF_CONNECTION, 'content-length'])
const UPGRADE_REQUIRED = 426

/** To the letter, other than what comes from servers: the chief has had the last word about it. */
function relayHead(call: DownstreamCall, head: ResponseHead): void {
  const { status, reason, headers, bodyLength } = head
  if (status < 200) return call.sendInformational(status, reason, withoutFields(headers, OF_CONNECTION))
  const hasBody = call.head.method !== 'HEAD' && status !== 204 && status !== 304
  const fields = [...withoutFields(headers, hasBody ? OF_FRAMED : OF_CONNECTION)]
  if (status === UPGRADE_REQUIRED) fields.push('Connection', 'Upgrade', 'Upgrade', headerValues(headers, 'upgrade').join(', '))
  call.sendHead(status, reason, fields, hasBody ? (bodyLength >= 0 ? bodyLength : 'chunked') : 'none')
}

function bodyTo(connection: UpstreamConnection): BodySink {
  return {
    cork: () => connection.cork(),
    uncork: () => connection.uncork(),
    data: (chunk) => connection.write(chunk),
    end: (trailers) => connection.end(trailers),
    abort: () => connection.destroy(),
  }
}
