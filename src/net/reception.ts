/**
 * What happens to a connection before its first request, where a listener asks for more than bytes: the PROXY protocol's header, then TLS. Each has
 * its time as a whole, so that nobody can stay here by sending a byte now and then. Failures are counted, and told of now and then.
 */
import type { BlockList } from 'node:net'
import type { ListenerProxyConfig } from '../config/config-tls.ts'
import { readClientHello } from '../core/tls/client-hello.ts'
import { type Endpoint, type ProxyHeader, readProxyHeader } from '../core/proxy-protocol/header.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { NetworkSocket } from '../ports/network.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import { isInside, networkList, plainAddress } from './networks.ts'
import type { SecuredSocket, ServerTls } from './server-tls.ts'
import { type Deadline, NEVER, type Sweepable, type Sweeper } from './sweeper.ts'

/** A connection that is ready for its first request. */
export interface Arrival {
  readonly socket: NetworkSocket
  /** What the PROXY protocol said. */
  readonly source?: Endpoint
  readonly destination?: Endpoint
  readonly secure: boolean
  readonly clientCert?: string
}

export interface Arriving {
  /** The gateway wants it no more. */
  abandon(): void
}

export interface Host {
  ready(arrival: Arrival): void
  /** It will never be ready. */
  gone(): void
}

/** Whatever stands before the first request. */
export interface Receiver {
  /** Nothing in the clear is understood there. */
  readonly isSecure: boolean
  receive(socket: NetworkSocket, host: Host): Arriving
  close(): void
}

export interface ReceptionOptions {
  readonly clock: Clock
  readonly sweeper: Sweeper
  readonly telemetry: Telemetry
  /** What metrics and events call the listener. */
  readonly listener: string
  readonly tls?: ServerTls
  readonly proxyProtocol?: ListenerProxyConfig
}

type Outcome = 'done' | 'resumed' | 'failed' | 'left' | 'timeout'

/** However many fail: a scan of ports is no news every time. */
const TOLD_EVERY_MS: Millis = 60_000

export class Reception implements Receiver {
  readonly options: ReceptionOptions
  readonly #proxies: BlockList | undefined
  readonly #handshakes: Readonly<Record<Outcome, Counter>>
  readonly #refused: Counter
  #toldAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  #untold = 0

  constructor(options: ReceptionOptions) {
    this.options = options
    const { telemetry, listener, proxyProtocol } = options
    this.#proxies = proxyProtocol === undefined ? undefined : networkList(proxyProtocol.from)
    const handshakes = (outcome: Outcome): Counter =>
      telemetry.metrics.counter('spillway_tls_handshakes_total', METRICS.spillway_tls_handshakes_total.help, { listener, outcome })
    this.#handshakes = {
      done: handshakes('done'),
      resumed: handshakes('resumed'),
      failed: handshakes('failed'),
      left: handshakes('left'),
      timeout: handshakes('timeout'),
    }
    this.#refused = telemetry.metrics.counter('spillway_proxy_headers_refused_total', METRICS.spillway_proxy_headers_refused_total.help, {
      listener,
    })
  }

  get isSecure(): boolean {
    return this.options.tls !== undefined
  }

  close(): void {
    this.options.tls?.close()
  }

  receive(socket: NetworkSocket, host: Host): Arriving {
    return new ArrivingConnection(socket, host, this)
  }

  /** How a peer is treated: by its address alone, never by what it sends. */
  treatmentOf(peer: string): 'header' | 'direct' | 'refuse' {
    const { proxyProtocol } = this.options
    if (this.#proxies === undefined || proxyProtocol === undefined) return 'direct'
    if (isInside(this.#proxies, peer)) return 'header'
    return proxyProtocol.others
  }

  headerRefused(peer: string, reason: string): void {
    this.#refused.inc()
    this.#tell(peer, `PROXY protocol: ${reason}`)
  }

  handshake(outcome: Outcome, peer: string, reason?: string): void {
    this.#handshakes[outcome].inc()
    if (reason !== undefined) this.#tell(peer, `TLS: ${reason}`)
  }

  #tell(peer: string, reason: string): void {
    const now = this.options.clock.monotonic()
    this.#untold++
    if (now - this.#toldAt < TOLD_EVERY_MS) return
    this.options.telemetry.event({ type: 'connections-refused', listener: this.options.listener, count: this.#untold, peer, reason })
    this.#toldAt = now
    this.#untold = 0
  }
}

class ArrivingConnection implements Arriving, Sweepable {
  deadlineAt: Deadline = NEVER
  readonly #socket: NetworkSocket
  readonly #host: Host
  readonly #reception: Reception
  readonly #peer: string
  #header: Extract<ProxyHeader, { kind: 'header' }> | undefined
  #input: Buffer | undefined
  #stage: 'header' | 'hello' | 'handshake' | 'over' = 'header'

  constructor(socket: NetworkSocket, host: Host, reception: Reception) {
    this.#socket = socket
    this.#host = host
    this.#reception = reception
    this.#peer = plainAddress(socket.remoteAddress ?? '')
    socket.on('error', () => socket.destroy())
    socket.on('close', this.#left)
    reception.options.sweeper.add(this)
    // Reset before anybody could ask who it was: checks of HAProxy end like that.
    const treatment = reception.treatmentOf(this.#peer)
    if (this.#peer === '') this.abandon()
    else if (treatment === 'refuse') this.#refuse(`${this.#peer} is none of the proxies (from)`)
    else if (treatment === 'direct') this.#secure()
    else this.#awaitHeader()
  }

  abandon(): void {
    if (this.#stage === 'over') return
    this.#over()
    this.#socket.destroy()
    this.#host.gone()
  }

  readonly #left = (): void => {
    // Who broke off the handshake is known to who does it.
    if (this.#stage === 'handshake') return
    if (this.#stage === 'hello') this.#reception.handshake('left', this.#peer)
    this.abandon()
  }

  onDeadline(): void {
    if (this.#stage === 'header') return this.#refuse('no whole header in time')
    this.#reception.handshake('timeout', this.#peer, 'the handshake took too long')
    this.abandon()
  }

  // --- the header

  #awaitHeader(): void {
    const { sweeper, proxyProtocol } = this.#reception.options
    this.deadlineAt = sweeper.in(proxyProtocol?.timeoutMs ?? 0)
    this.#listen()
  }

  #readHeader(input: Buffer, rules: ListenerProxyConfig): void {
    const header = readProxyHeader(input, rules)
    if (header.kind === 'more') return
    if (header.kind === 'wrong') return this.#refuse(header.why)
    this.#header = header
    this.#handBack(header.length < input.length ? input.subarray(header.length) : undefined)
    this.#secure()
  }

  #refuse(reason: string): void {
    this.#reception.headerRefused(this.#peer, reason)
    this.abandon()
  }

  // --- the handshake

  #secure(): void {
    const { tls, sweeper } = this.#reception.options
    if (tls === undefined) return this.#arrive({ socket: this.#socket, secure: false })
    this.#stage = 'hello'
    this.deadlineAt = sweeper.in(tls.handshakeMs)
    this.#listen()
  }

  #readHello(input: Buffer, tls: ServerTls): void {
    const hello = readClientHello(input)
    if (hello.kind === 'more') return
    if (hello.kind === 'wrong') return this.#failed(hello.why)
    this.#stage = 'handshake'
    this.#handBack(input)
    tls.secure(this.#socket, hello.serverName, {
      secured: (secured) => this.#secured(secured),
      failed: (reason) => this.#failed(reason),
    })
  }

  #secured({ socket, resumed, clientCert }: SecuredSocket): void {
    if (this.#stage === 'over') return void socket.destroy()
    this.#reception.handshake(resumed ? 'resumed' : 'done', this.#peer)
    this.#arrive({ socket, secure: true, ...(clientCert !== undefined && { clientCert }) })
  }

  #failed(reason: string | undefined): void {
    if (this.#stage === 'over') return
    this.#reception.handshake(reason === undefined ? 'left' : 'failed', this.#peer, reason)
    this.abandon()
  }

  // --- reading what is not for who comes after us

  #listen(): void {
    this.#socket.on('readable', this.#onReadable)
    this.#socket.on('end', this.#onEnd)
    // What came behind the header is there already.
    if (this.#socket.readableLength > 0) this.#onReadable()
  }

  readonly #onReadable = (): void => {
    const chunk = this.#socket.read() as Buffer | null
    if (chunk === null) return
    const input = this.#input === undefined ? chunk : Buffer.concat([this.#input, chunk])
    this.#input = input
    const { proxyProtocol, tls } = this.#reception.options
    if (this.#stage === 'header' && proxyProtocol !== undefined) this.#readHeader(input, proxyProtocol)
    else if (this.#stage === 'hello' && tls !== undefined) this.#readHello(input, tls)
  }

  readonly #onEnd = (): void => {
    // Looking whether somebody listens is no failure.
    if (this.#input === undefined || this.#stage !== 'header') this.#left()
    else this.#refuse('the connection ended in the middle of the header')
  }

  /** The next one reads from here. */
  #handBack(rest: Buffer | undefined): void {
    this.#socket.off('readable', this.#onReadable).off('end', this.#onEnd)
    this.#input = undefined
    if (rest !== undefined) this.#socket.unshift(rest)
  }

  // --- the end of arriving

  #arrive(arrival: Arrival): void {
    this.#over()
    this.#host.ready({
      ...arrival,
      ...(this.#header?.source && { source: this.#header.source }),
      ...(this.#header?.destination && { destination: this.#header.destination }),
    })
  }

  #over(): void {
    this.#stage = 'over'
    this.deadlineAt = NEVER
    this.#reception.options.sweeper.delete(this)
  }
}
