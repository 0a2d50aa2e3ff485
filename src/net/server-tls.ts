/**
 * TLS of a listener: connections in the clear become secured ones. Certificates, authorities and everything else of its configuration may change
 * while it runs; sessions go on, since the keys of their tickets are its own. A handshake that has begun ends as it began.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { ListenerTlsConfig } from '../config/config-tls.ts'
import { timeProblem } from '../config/tls-files.ts'
import type { Shown } from '../core/tls/server-names.ts'
import { EXPIRES_SOON_MS } from '../core/tls/expiry.ts'
import { clientRefusal, handshakeReason } from '../core/tls/tls-failure.ts'
import type { EpochMillis, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { Certificates, type ShownCertificate } from './certificates.ts'
import { WatchedFiles } from './watched-files.ts'

/** What becomes of a handshake. */
export interface Securing {
  secured(socket: SecuredSocket): void
  /** Undefined: the client left. */
  failed(reason: string | undefined): void
}

export interface SecuredSocket {
  readonly socket: NetworkSocket
  readonly resumed: boolean
  /** Of the client, as RFC 9440 writes it. */
  readonly clientCert?: string
}

export interface ServerTlsParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** What events call the listener. */
  readonly listener: string
  /** Another thread makes them. */
  readonly ticketKeys?: Buffer | undefined
  /** There are others from now on. */
  readonly onTicketKeys?: ((keys: Buffer) => void) | undefined
}

const TICKET_KEY_BYTES = 48
const EXPIRY_TOLD_EVERY_MS: Millis = 86_400_000
/** The timeout of a handshake is ours; Node has one as well. */
const NODE_MARGIN_MS: Millis = 60_000

export class ServerTls {
  readonly #parts: ServerTlsParts
  #config: ListenerTlsConfig
  #certificates: Certificates
  /** By the certificates that they show. In one alone, Node would mix what is shown to some with what is shown to others. */
  #servers = new Map<string, Server>()
  readonly #pending = new Map<NetworkSocket, Securing>()
  #files: WatchedFiles
  #ticketKeys: Buffer
  #rotation: Timer | undefined
  /** By file. */
  readonly #expiryToldAt = new Map<string, EpochMillis>()

  /** Throws where a file is wrong. */
  constructor(config: ListenerTlsConfig, parts: ServerTlsParts) {
    this.#parts = parts
    this.#config = config
    this.#ticketKeys = parts.ticketKeys ?? randomBytes(TICKET_KEY_BYTES)
    this.#files = this.#watch(config)
    this.#certificates = Certificates.read(config).certificates
    this.#armRotation()
    this.#tellExpiry()
  }

  get shown(): readonly ShownCertificate[] {
    return this.#certificates.shown
  }

  get handshakeMs(): Millis {
    return this.#config.handshakeMs
  }

  /** For connections from now on; what cannot be read stays as it was. */
  retune(config: ListenerTlsConfig): void {
    this.#files.close()
    this.#config = config
    this.#files = this.#watch(config)
    this.#armRotation()
    this.#read()
  }

  close(): void {
    this.#files.close()
    this.#rotation?.cancel()
  }

  /** `raw` may hold bytes that were read already, put back with `unshift`; the first ones are those of the ClientHello, which is whole. */
  secure(raw: NetworkSocket, serverName: string | undefined, securing: Securing): void {
    this.#pending.set(raw, securing)
    // Why it was closed is told a moment later, if it was for a reason.
    raw.once('close', () => setImmediate(() => this.#take(raw)?.failed(undefined)))
    // Who ends its side in the middle of a handshake is gone. The secured one takes this over from it.
    raw.allowHalfOpen = false
    this.#serverFor(serverName).emit('connection', raw)
  }

  // --- files

  #watch(config: ListenerTlsConfig): WatchedFiles {
    const { certificates, clientAuth, pollMs } = config
    const files = new WatchedFiles(this.#parts.clock, pollMs, (changed) => {
      if (changed.size > 0) this.#read()
      this.#tellExpiry()
    })
    files.watch([...certificates.flatMap(({ cert, key }) => [cert, key]), ...(clientAuth === undefined ? [] : [clientAuth.ca])])
    return files
  }

  #read(): void {
    const { telemetry, listener } = this.#parts
    try {
      const { certificates, wrong } = Certificates.read(this.#config, this.#certificates)
      for (const reason of wrong) telemetry.event({ type: 'certificate-refused', listener, reason })
      if (certificates !== this.#certificates) {
        this.#certificates = certificates
        this.#servers = new Map()
        telemetry.event({ type: 'certificates-read', listener, names: certificates.shown.flatMap(({ facts }) => facts.names) })
      }
      this.#tellExpiry()
    } catch (error) {
      telemetry.event({ type: 'certificate-refused', listener, reason: error instanceof Error ? error.message : String(error) })
    }
  }

  /** Once a day. */
  #tellExpiry(): void {
    const now = this.#parts.clock.now()
    for (const { files, facts } of this.#certificates.shown) {
      const leftMs = facts.notAfter - now
      const toldAt = this.#expiryToldAt.get(files.cert) ?? Number.NEGATIVE_INFINITY
      if ((leftMs > EXPIRES_SOON_MS && timeProblem(facts, now) === undefined) || now - toldAt < EXPIRY_TOLD_EVERY_MS) continue
      this.#expiryToldAt.set(files.cert, now)
      const { telemetry, listener } = this.#parts
      telemetry.event({ type: 'certificate-expires', listener, file: files.cert, names: facts.names, leftMs })
    }
  }

  // --- tickets

  #armRotation(): void {
    this.#rotation?.cancel()
    const { tickets } = this.#config
    if (tickets === undefined || this.#parts.ticketKeys !== undefined) return
    this.#rotation = this.#parts.clock.after(tickets.rotateMs, () => {
      this.useTicketKeys(randomBytes(TICKET_KEY_BYTES))
      this.#parts.onTicketKeys?.(this.#ticketKeys)
      this.#armRotation()
    })
  }

  get ticketKeys(): Buffer {
    return this.#ticketKeys
  }

  /** Sessions of before are not gone on with. */
  useTicketKeys(keys: Uint8Array): void {
    this.#ticketKeys = Buffer.from(keys)
    for (const server of this.#servers.values()) server.setTicketKeys(this.#ticketKeys)
  }

  // --- handshakes

  #serverFor(name: string | undefined): Server {
    const shown = this.#certificates.shownTo(name)
    const key = shown.join()
    let server = this.#servers.get(key)
    if (server === undefined) this.#servers.set(key, (server = this.#createServer(shown)))
    return server
  }

  #createServer(shown: Shown): Server {
    const { clientAuth, handshakeMs } = this.#config
    const server = createServer({
      ...this.#certificates.options(shown),
      ticketKeys: this.#ticketKeys,
      ALPNProtocols: ['http/1.1'],
      requestCert: clientAuth !== undefined,
      rejectUnauthorized: clientAuth?.mode === 'require',
      handshakeTimeout: handshakeMs + NODE_MARGIN_MS,
    })
    const mustBeValid = clientAuth !== undefined
    server.on('secureConnection', (socket) => this.#secured(socket, mustBeValid))
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => this.#failed(socket, error))
    return server
  }

  #secured(socket: TLSSocket, mustBeValid: boolean): void {
    const raw = rawOf(socket)
    const securing = this.#take(raw)
    if (securing === undefined) return void socket.destroy()
    const certificate = mustBeValid ? socket.getPeerX509Certificate() : undefined
    if (certificate !== undefined && !socket.authorized) {
      socket.destroy()
      return securing.failed(clientRefusal(String(socket.authorizationError)))
    }
    const clientCert = certificate === undefined ? undefined : `:${certificate.raw.toString('base64')}:`
    const resettable = Object.assign(socket, {
      allowHalfOpen: true,
      resetAndDestroy: () => resetBelow(socket, raw),
    })
    securing.secured({ socket: resettable, resumed: socket.isSessionReused(), ...(clientCert !== undefined && { clientCert }) })
  }

  #failed(socket: TLSSocket, error: NodeJS.ErrnoException): void {
    const securing = this.#take(rawOf(socket))
    const { authorizationError } = socket
    socket.destroy()
    securing?.failed(authorizationError ? clientRefusal(String(authorizationError)) : handshakeReason(error))
  }

  #take(raw: NetworkSocket): Securing | undefined {
    const securing = this.#pending.get(raw)
    this.#pending.delete(raw)
    return securing
  }
}

/** The connection below: Node keeps it there, and has no other way to tell which one it was. */
function rawOf(socket: TLSSocket): NetworkSocket {
  return (socket as unknown as { readonly _parent: NetworkSocket })._parent
}

/** Without the alert that says that all was sent (close_notify): what was cut must not look whole. */
function resetBelow(socket: TLSSocket, raw: NetworkSocket): TLSSocket {
  raw.resetAndDestroy()
  return socket.destroy()
}
