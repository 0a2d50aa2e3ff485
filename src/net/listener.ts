/** An address that we accept connections on, and the connections that came in there. */
import type { BlockList } from 'node:net'
import { ERRORS, problem } from '../core/errors.ts'
import { proxyStatus } from '../core/headers/proxy-status.ts'
import { fieldLines, reasonPhrase, statusLine } from '../http1/write.ts'
import type { ListeningSocket, Network, NetworkSocket } from '../ports/network.ts'
import { DownstreamConnection, type DownstreamOptions } from './downstream-connection.ts'
import { Doorway } from './doorway.ts'
import { isInside, networkList, plainAddress } from './networks.ts'

export interface ListenerOptions extends Omit<DownstreamOptions, 'onClosed'> {
  readonly network: Network
  readonly host: string
  readonly port: number
  /** CIDR blocks or addresses whose Forwarded and X-Forwarded-* are believed. */
  readonly trustedPeers: readonly string[]
  /** Shared by all listeners of a gateway. */
  readonly connections: ConnectionCount
}

/** How many client connections are open, and how many may be. */
export interface ConnectionCount {
  open: number
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
  readonly #options: ListenerOptions
  readonly #trusted: BlockList
  readonly #busyAnswer: string
  #idleListener: (() => void) | undefined
  #turningAway = 0
  #slow = false
  readonly #doorway = new Doorway()

  private constructor(options: ListenerOptions) {
    this.#options = options
    this.#trusted = networkList(options.trustedPeers)
    this.#busyAnswer = busyAnswer(options.name)
  }

  /** Rejects when the address cannot be had (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
  static async open(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options)
    const { network, host, port } = options
    listener.#listening = await network.listen({ host, port, backlog: BACKLOG }, listener.#onConnection)
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
    return this.#connections.size - this.busy
  }

  /** Stops accepting; idle connections close soon, busy ones after their response. Resolves when all are gone. */
  drain(): Promise<void> {
    this.#listening?.close()
    for (const socket of this.#doorway.take(this.#doorway.size)) this.#turnAway(socket)
    for (const connection of this.#connections) connection.drain()
    if (this.#connections.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idleListener = resolve
    })
  }

  close(): void {
    this.#listening?.close()
    for (const socket of this.#doorway.take(this.#doorway.size)) socket.destroy()
    for (const connection of this.#connections) connection.destroy()
  }

  readonly #onConnection = (socket: NetworkSocket): void => {
    if (!this.#slow) this.#letIn(socket)
    else if (!this.#doorway.hold(socket)) this.#turnAway(socket)
  }

  #letIn(socket: NetworkSocket): void {
    const count = this.#options.connections
    if (count.open >= count.max) {
      count.onFull(count.open)
      this.#turnAway(socket)
      return
    }
    count.open++
    const address = plainAddress(socket.remoteAddress ?? '')
    const peer = { address, port: socket.remotePort ?? 0, trusted: this.#options.trustedPeers.length > 0 && this.#isTrusted(address) }
    const connection = new DownstreamConnection(socket, peer, { ...this.#options, onClosed: this.#onClosed })
    this.#connections.add(connection)
  }

  /** Closing with its request unread would reset the connection before the client has read why. Only so many get this courtesy at once. */
  #turnAway(socket: NetworkSocket): void {
    socket.on('error', () => socket.destroy())
    if (this.#turningAway >= TURNING_AWAY_MAX) {
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

  readonly #onClosed = (connection: DownstreamConnection): void => {
    if (!this.#connections.delete(connection)) return
    this.#options.connections.open--
    if (this.#connections.size === 0) this.#idleListener?.()
  }

  #isTrusted(address: string): boolean {
    return isInside(this.#trusted, address)
  }
}
