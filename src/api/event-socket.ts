/**
 * Events over a WebSocket (RFC 6455): of one job at its own address, or of as many as the client names on one socket at `<jobs.path>/events`.
 * Each text frame is one JSON object, the same as a line of the NDJSON stream. A client names a job by its token:
 *
 *   {"watch":"<token>"}  {"unwatch":"<token>"}
 */
import type { IncomingMessage } from 'node:http'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { type Failure, failure } from '../core/errors.ts'
import { type FlatHeaders, headerValue } from '../http1/message.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import type { Deadline, Sweepable, Sweeper } from '../net/sweeper.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { boundBy, isCaller } from './binding.ts'
import type { Clients } from './clients.ts'
import { jobHeaders } from './document.ts'
import { eventDocument, type EventReader, type FollowParts, JobFollower, type JobEventName, reconnectMs } from './job-events.ts'
import { parseToken, secretMatches } from './token.ts'

/** What a client says is short. */
const MESSAGE_BYTES_MAX: Bytes = 1024
/** With so much unsent, a client is sent nothing more until it has caught up. */
const UNSENT_BYTES_MAX: Bytes = 64 * 1024
/** A client that does not close its side of a closed socket. */
const CLOSE_MS: Millis = 2000
/** RFC 6455, section 7.4.1, and the registry it made. */
const CLOSE = { done: 1000, away: 1001, wrong: 1008, failed: 1011, restart: 1012 } as const

export interface SocketParts extends FollowParts {
  readonly jobs: FollowParts['jobs'] & Pick<Jobs, 'read'>
  readonly sweeper: Sweeper
  readonly clients: Clients
}

interface Accepting {
  readonly extraHeaders: readonly string[]
  /** Of the headers of the handshake, those that say who is there. */
  readonly shown: FlatHeaders
}

/** All sockets of a gateway that are open for events. */
export class EventSockets {
  readonly #max: number
  // No path, no compression of ours: the messages are small, and a context for each would be most of what a socket costs.
  readonly #handshake = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MESSAGE_BYTES_MAX,
  })
  readonly #extraHeaders = new WeakMap<IncomingMessage, readonly string[]>()
  #open = 0

  constructor(max: number) {
    this.#max = max
    this.#handshake.on('headers', (lines, request) => {
      const extra = this.#extraHeaders.get(request) ?? []
      for (let i = 0; i < extra.length; i += 2) lines.push(`${extra[i]}: ${extra[i + 1]}`)
    })
  }

  get open(): number {
    return this.#open
  }

  /** `job`: the one that it is about; undefined: those that its client will name. A failure: nothing was begun. */
  accept(call: Call, parts: SocketParts, job: StoredJob | undefined, { extraHeaders, shown }: Accepting): Failure | undefined {
    const refused = this.#refused(call)
    if (refused !== undefined) return refused
    const leave = parts.clients.takeWatch(parts.clients.nameOf(call, job && boundBy(job)))
    if (typeof leave !== 'function') return leave
    const request = handshakeOf(call)
    // Only where a job may be bound to its caller they are of use, and they would be most of what a socket costs.
    const headers = parts.config.routes.some(({ bind }) => bind !== undefined) ? shown : []
    this.#extraHeaders.set(request, [...(job === undefined ? [] : jobHeaders(job)), ...extraHeaders])
    const { socket, rest } = call.detach()
    this.#open += 1
    socket.once('close', () => {
      this.#open -= 1
      leave()
    })
    this.#handshake.handleUpgrade(request, socket, rest, (webSocket) => {
      const events = new EventSocket(webSocket, socket, parts, { single: job !== undefined, headers })
      if (job !== undefined) events.follow(job, undefined)
      // It was handed over paused.
      socket.resume()
    })
    return undefined
  }

  /** Said before the upgrade, where a client can still read it. */
  #refused({ head }: Call): Failure | undefined {
    if (head.upgrade.toLowerCase() !== 'websocket' || head.method !== 'GET' || head.bodyLength !== 0)
      return failure('bad_request', 'Only a GET without a body is upgraded here, and only to websocket.')
    const key = headerValue(head.headers, 'sec-websocket-key') ?? ''
    if (!/^[A-Za-z0-9+/]{22}==$/.test(key))
      return failure('bad_request', 'Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455, section 4.1).')
    if (headerValue(head.headers, 'sec-websocket-version') !== '13')
      return failure('bad_request', 'Sec-WebSocket-Version must be 13 (RFC 6455, section 4.1).')
    if (this.#open < this.#max) return undefined
    return failure('too_many_sockets', `${this.#max} WebSockets are open for events, as many as there may be (limits.eventSockets).`)
  }
}

/** What the library looks at of a request. */
function handshakeOf({ head }: Call): IncomingMessage {
  const names = ['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol', 'sec-websocket-extensions']
  const headers = Object.fromEntries(names.flatMap((name) => [[name, headerValue(head.headers, name)]]))
  return { method: 'GET', url: head.target, headers: { ...headers, upgrade: 'websocket' } } as unknown as IncomingMessage
}

interface Opened {
  readonly single: boolean
  readonly headers: FlatHeaders
}

class EventSocket implements Sweepable {
  deadlineAt: Deadline
  readonly #socket: WebSocket
  readonly #parts: SocketParts
  /** Ends with its only job. */
  readonly #single: boolean
  /** Of the handshake: who is there. */
  readonly #headers: FlatHeaders
  readonly #followers = new Map<string, JobFollower>()
  /** Nothing came since the last ping. */
  #silent = false
  /** What the client has said, done one after another. As long as there is any, nothing more is read from it: so there is little. */
  readonly #asked: Asked[] = []
  #isDoing = false

  constructor(socket: WebSocket, stream: { on(event: 'drain', listener: () => void): unknown }, parts: SocketParts, opened: Opened) {
    this.#socket = socket
    this.#parts = parts
    this.#single = opened.single
    this.#headers = opened.headers
    this.deadlineAt = parts.sweeper.in(parts.config.jobs.heartbeatMs)
    parts.sweeper.add(this)
    stream.on('drain', () => {
      if (!this.#hasRoom()) return
      for (const follower of [...this.#followers.values()]) follower.drained()
      void this.#doAsked()
    })
    socket.on('pong', () => void (this.#silent = false))
    socket.on('ping', () => void (this.#silent = false))
    socket.on('message', (data, isBinary) => this.#said(data, isBinary))
    socket.on('error', () => socket.terminate())
    socket.on('close', () => this.#left())
    parts.jobs.closing.addEventListener('abort', this.#shutDown, { once: true })
    if (parts.jobs.closing.aborted) this.#shutDown()
  }

  /** `token`: by which the client named it. */
  follow(job: StoredJob, token: string | undefined): void {
    const name = token ?? job.id
    const follower = new JobFollower(this.#parts, this.#readerOf(name))
    this.#followers.set(name, follower)
    follower.start(job)
  }

  /** A beat without a sign of life from the other side is one too many. */
  onDeadline(): void {
    if (this.#silent) return this.#socket.terminate()
    this.#silent = true
    this.deadlineAt = this.#parts.sweeper.in(this.#parts.config.jobs.heartbeatMs)
    this.#socket.ping()
  }

  #readerOf(name: string): EventReader {
    return {
      event: (event: JobEventName, job: StoredJob) => this.#send(eventDocument(this.#parts, event, job)),
      // The socket has a beat of its own.
      beat: () => this.#hasRoom(),
      // So has its end.
      reconnect: () => undefined,
      end: () => {
        this.#followers.delete(name)
        if (this.#single) this.#close(CLOSE.done, 'the job has ended')
      },
      breakOff: () => this.#close(CLOSE.failed, 'an event could not be written'),
    }
  }

  #said(data: RawData, isBinary: boolean): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#silent = false
    if (this.#single) return
    // One piece: `binaryType` is left as it is.
    const asked = isBinary ? undefined : askedOf((data as Buffer).toString())
    if (asked === undefined) return this.#close(CLOSE.wrong, 'say {"watch":"<token>"} or {"unwatch":"<token>"}')
    // However fast it talks, it waits for its own questions to the store, and takes the answers before it asks more.
    this.#socket.pause()
    this.#asked.push(asked)
    void this.#doAsked()
  }

  async #doAsked(): Promise<void> {
    if (this.#isDoing) return
    this.#isDoing = true
    while (this.#asked.length > 0 && this.#hasRoom()) await this.#do(this.#asked.shift() as Asked)
    this.#isDoing = false
    if (this.#asked.length === 0) this.#socket.resume()
  }

  async #do({ kind, token }: Asked): Promise<void> {
    if (kind === 'unwatch') {
      this.#followers.get(token)?.leave()
      this.#followers.delete(token)
      return
    }
    const { watches } = this.#parts.config.limits
    if (this.#followers.has(token)) return
    if (this.#followers.size >= watches)
      return void this.#send({ event: 'refused', token, detail: `a socket watches at most ${watches} jobs` })
    const parts = parseToken(token)
    try {
      const found = parts === undefined ? undefined : await this.#parts.jobs.read(parts.id, 'status')
      if (this.#socket.readyState !== this.#socket.OPEN) return
      const isTheirs = found !== undefined && secretMatches(found.job, parts?.secret ?? '') && isCaller(found.job, this.#headers)
      if (!isTheirs) this.#send({ event: 'unknown', token })
      else this.follow(found.job, token)
    } catch {
      this.#send({ event: 'refused', token, detail: 'the store cannot be asked now' })
    }
  }

  #send(document: object): boolean {
    this.#socket.send(JSON.stringify(document))
    return this.#hasRoom()
  }

  #hasRoom(): boolean {
    return this.#socket.bufferedAmount < UNSENT_BYTES_MAX
  }

  /** Clients come back spread over some seconds, to its successor. */
  readonly #shutDown = (): void => {
    this.#send({ event: 'reconnect', retryMs: reconnectMs(this.#parts.random) })
    this.#close(CLOSE.restart, 'the gateway stops')
  }

  #close(code: number, reason: string): void {
    this.#leaveAll()
    this.#socket.close(code, reason)
    // What is read now is its side of the end.
    this.#asked.length = 0
    this.#socket.resume()
    this.#silent = true
    this.deadlineAt = this.#parts.sweeper.in(CLOSE_MS)
  }

  #leaveAll(): void {
    this.#parts.jobs.closing.removeEventListener('abort', this.#shutDown)
    for (const follower of this.#followers.values()) follower.leave()
    this.#followers.clear()
  }

  #left(): void {
    this.#parts.sweeper.delete(this)
    this.#asked.length = 0
    this.#leaveAll()
  }
}

interface Asked {
  readonly kind: 'watch' | 'unwatch'
  readonly token: string
}

function askedOf(text: string): Asked | undefined {
  let said: unknown
  try {
    said = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof said !== 'object' || said === null) return undefined
  for (const kind of ['watch', 'unwatch'] as const) {
    const token: unknown = (said as Record<string, unknown>)[kind]
    if (typeof token === 'string') return { kind, token }
  }
  return undefined
}
