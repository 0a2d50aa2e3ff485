/** An address that we accept connections on, and the connections that came in there. */
import type { BlockList } from 'node:net'
import { ERRORS, problem } from '../core/errors.ts'
import { proxyStatus } from '../core/headers/proxy-status.ts'
import { fieldLines, reasonPhrase, statusLine } from '../http1/write.ts'
import type { Tally } from '../lib/tally.ts'
import type { ListeningSocket, Network, NetworkSocket } from '../ports/network.ts'
import type { Peer } from './call.ts'
import { DownstreamConnection, type DownstreamOptions } from './downstream-connection.ts'
import { Doorway } from './doorway.ts'
import { isInside, networkList, plainAddress } from './networks.ts'
import type { Arrival, Arriving, Receiver } from './reception.ts'

export interface ListenerOptions extends Omit<DownstreamOptions, 'onClosed'> {
  readonly network: Network
  readonly host: string
  readonly port: number
  /** CIDR blocks or addresses whose Forwarded and X-Forwarded-* are believed. */
  readonly trustedPeers: readonly string[]
  /** Shared by all listeners of a gateway. */
  readonly connections: ConnectionCount
  /** What comes before the first request. Absent: nothing. */
  readonly reception?: Receiver
  /** Other threads listen on the same address. */
  readonly shared?: 'first' | 'also' | undefined
  /** A connection that was served is gone, or somebody else's now. */
  readonly onLeft?: (peer: Peer) => void
}

/** How many client connections are open, and how many may be. */
export interface ConnectionCount {
  readonly open: Tally
  readonly max: number
  onFull(open: number): void
}

function busyAnswer(name: string): string {
  const { status, proxy } = ERRORS.too_many_connections
  const body = JSON.stringify(problem({ code: 'too_many_connections', detail: 'try again in a second' }))
  const headers = fieldLines([
    ...['Content-Type', 'application/problem+json', 'Content-Length', String(body.length), 'Retry-After', '1'],
    ...['Proxy-Status', proxyStatus(name, proxy), 'Connection', 'close'],
  ])
  return `${statusLine(status, reasonPhrase(status))}${headers}\r\n${body}`
}

const TURNING_AWAY_MAX = 256
const TURNING_AWAY_MS = 1_000
const BACKLOG = 4096

export class Listener {
  #listening: ListeningSocket | undefined
  readonly #connections = new Set<DownstreamConnection>()
  /** They count as connections, and have no request yet. */
  readonly #arriving = new Set<Arriving>()
  readonly #options: ListenerOptions
  /** One for all of them: thousands may be idle. */
  readonly #forConnections: DownstreamOptions
  readonly #trusted: BlockList
  readonly #busyAnswer: string
  #idleListener: (() => void) | undefined
  #turningAway = 0
  #draining = false
  #slow = false
  readonly #doorway = new Doorway()

  private constructor(options: ListenerOptions) {
    this.#options = options
    this.#forConnections = { ...options, onClosed: (connection) => this.#onClosed(connection) }
    this.#trusted = networkList(options.trustedPeers)
    this.#busyAnswer = busyAnswer(options.name)
  }

  /** Rejects when the address cannot be had (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
  static async open(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options)
    const { network, host, port, shared } = options
    listener.#listening = await network.listen({ host, port, backlog: BACKLOG, shared }, listener.#onConnection)
    return listener
  }

  get address(): { host: string; port: number } {
    return this.#listening?.address ?? { host: this.#options.host, port: this.#options.port }
  }

  /** Connections with a request that is not answered yet. */
  get busy(): number {
    let busy = 0
    for (const connection of this.#connections) if (!connection.idle) busy++
    return busy
  }

  /** How many wait until they are let in. */
  get waiting(): number {
    return this.#doorway.size
  }

  /** From now on connections wait until `letSomeIn`, or no more so. */
  letInSlowly(slow: boolean): void {
    this.#slow = slow
    if (!slow) for (const socket of this.#doorway.take(this.#doorway.size)) this.#letIn(socket)
  }

  letSomeIn(count: number): void {
    for (const socket of this.#doorway.take(count)) this.#letIn(socket)
  }

  /** Connections on which a request may be on its way. */
  get idle(): number {
    return this.#connections.size + this.#arriving.size - this.busy
  }

  /** Stops accepting; idle connections close soon, busy ones after their response. Resolves when all are gone. */
  drain(): Promise<void> {
    this.#draining = true
    this.#stopReceiving()
    for (const socket of this.#doorway.take(this.#doorway.size)) this.#turnAway(socket)
    for (const connection of this.#connections) connection.drain()
    if (this.#connections.size + this.#arriving.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idleListener = resolve
    })
  }

  close(): void {
    this.#stopReceiving()
    for (const arriving of this.#arriving) arriving.abandon()
    for (const socket of this.#doorway.take(this.#doorway.size)) socket.destroy()
    for (const connection of this.#connections) connection.destroy()
  }

  #stopReceiving(): void {
    this.#listening?.close()
    this.#options.reception?.close()
  }

  readonly #onConnection = (socket: NetworkSocket): void => {
    if (!this.#slow) this.#letIn(socket)
    else if (!this.#doorway.hold(socket)) this.#turnAway(socket)
  }

  #letIn(socket: NetworkSocket): void {
    const count = this.#options.connections
    if (!count.open.take(count.max)) {
      count.onFull(count.open.value)
      this.#turnAway(socket)
      return
    }
    const { reception } = this.#options
    if (reception === undefined) this.#serve({ socket, secure: false })
    else this.#receive(socket, reception)
  }

  #receive(socket: NetworkSocket, reception: Receiver): void {
    let isOver = false
    let forget = (): void => undefined
    const over = (): void => {
      isOver = true
      forget()
    }
    const arriving = reception.receive(socket, {
      ready: (arrival) => {
        over()
        this.#serve(arrival)
      },
      gone: () => {
        over()
        this.#options.connections.open.give()
        this.#lookWhetherIdle()
      },
    })
    if (isOver) return
    this.#arriving.add(arriving)
    forget = () => void this.#arriving.delete(arriving)
  }

  #serve({ socket, source, destination, secure, clientCert }: Arrival): void {
    const address = plainAddress(source?.address ?? socket.remoteAddress ?? '')
    const port = source?.port ?? socket.remotePort ?? 0
    const trusted = this.#options.trustedPeers.length > 0 && this.#isTrusted(address)
    const peer = { address, port, trusted, secure, clientCert, destination }
    const connection = new DownstreamConnection(socket, peer, this.#forConnections)
    this.#connections.add(connection)
    if (this.#draining) connection.drain()
  }

  /** Closing with its request unread would reset the connection before the client has read why. Only so many get this courtesy at once. */
  #turnAway(socket: NetworkSocket): void {
    socket.on('error', () => socket.destroy())
    // An answer in the clear is none to who waits for a handshake.
    if (this.#turningAway >= TURNING_AWAY_MAX || this.#options.reception?.isSecure === true) {
      socket.destroy()
      return
    }
    this.#turningAway++
    const timer = this.#options.clock.after(TURNING_AWAY_MS, () => socket.destroy())
    socket.on('close', () => {
      timer.cancel()
      this.#turningAway--
    })
    socket.on('end', () => socket.destroy())
    socket.resume()
    socket.end(this.#busyAnswer)
  }

  #onClosed(connection: DownstreamConnection): void {
    if (!this.#connections.delete(connection)) return
    this.#options.connections.open.give()
    this.#options.onLeft?.(connection.peer)
    this.#lookWhetherIdle()
  }

  #lookWhetherIdle(): void {
    if (this.#connections.size + this.#arriving.size === 0) this.#idleListener?.()
  }

  #isTrusted(address: string): boolean {
    return isInside(this.#trusted, address)
  }
}
