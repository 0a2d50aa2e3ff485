/**
 * How connections to the servers of a pool begin, where that is more than a TCP connection: with a header of the PROXY protocol, with TLS, or with
 * both. Authorities and the gateway's own certificate follow their files, sessions are resumed. What belongs to one pool only: nothing is shared.
 */
import { createSecureContext, checkServerIdentity, type ConnectionOptions, type SecureContext } from 'node:tls'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import type { PoolConfig, ServerConfig } from '../config/config.ts'
import type { PoolTlsConfig } from '../config/config-tls.ts'
import { readAuthorities, readPair } from '../config/tls-files.ts'
import { type Endpoint, type ProxyVersion, writeProxyHeader } from '../core/proxy-protocol/header.ts'
import type { Millis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { ConnectOptions, NetworkSocket } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { WatchedFiles } from './watched-files.ts'

/** Between whom a connection is, for the PROXY protocol. */
export interface Ends {
  readonly source: Endpoint
  readonly destination: Endpoint
}

/** What a connection needs beside an address. */
export interface Opening extends Pick<ConnectOptions, 'tls' | 'preamble'> {
  /** To be told of each socket that begins like this. */
  opened(socket: NetworkSocket): void
}

export type DialConfig = Pick<PoolConfig, 'name' | 'tls' | 'proxyProtocol'>
type Dialled = Pick<ServerConfig, 'name' | 'tls'>

/** Like that of listeners. */
const POLL_MS: Millis = 10_000

export class Dialling {
  readonly #parts: { readonly clock: Clock; readonly telemetry: Telemetry }
  #pool: string
  #tls: PoolTlsConfig | undefined
  #proxyProtocol: ProxyVersion | undefined
  #context: SecureContext | undefined
  #files: WatchedFiles | undefined
  /** The last session of each server. */
  readonly #sessions = new Map<string, Buffer>()

  /** Throws where a file is wrong. */
  constructor(config: DialConfig, parts: { readonly clock: Clock; readonly telemetry: Telemetry }) {
    this.#parts = parts
    this.#pool = config.name
    this.configure(config)
  }

  /** For connections from now on. False: as before. Throws where a file is wrong. */
  configure({ name, tls, proxyProtocol }: DialConfig): boolean {
    if (isDeepStrictEqual([tls, proxyProtocol], [this.#tls, this.#proxyProtocol])) return false
    const context = tls === undefined ? undefined : contextOf(tls)
    this.#pool = name
    this.#context = context
    this.#tls = tls
    this.#proxyProtocol = proxyProtocol
    this.#sessions.clear()
    this.#watch()
    return true
  }

  close(): void {
    this.#files?.close()
  }

  /** The server is gone. */
  forget(server: string): void {
    this.#sessions.delete(server)
  }

  /** A connection is not for one client alone. */
  get shared(): boolean {
    return this.#proxyProtocol === undefined
  }

  /** Undefined: with TCP alone. `ends`: whose request it is for; undefined: it is our own. */
  opening(server: Dialled, ends?: Ends): Opening | undefined {
    const tls = server.tls === undefined ? undefined : this.#tlsOf(server.name, server.tls.name)
    const version = this.#proxyProtocol
    if (tls === undefined && version === undefined) return undefined
    return {
      ...(tls && { tls }),
      ...(version && { preamble: writeProxyHeader(version, ends) }),
      opened: (socket) => {
        if (tls !== undefined) socket.on('session', (session: Buffer) => this.#sessions.set(server.name, session))
      },
    }
  }

  #tlsOf(server: string, host: string): ConnectionOptions {
    const { serverName = host, verify } = this.#tls ?? { verify: true }
    const session = this.#sessions.get(server)
    return {
      secureContext: this.#context,
      // An address is no name (RFC 6066, section 3).
      ...(isIP(serverName) === 0 && { servername: serverName }),
      rejectUnauthorized: verify,
      checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
      ALPNProtocols: ['http/1.1'],
      ...(session && { session }),
    }
  }

  #watch(): void {
    this.#files?.close()
    this.#files = undefined
    const files = this.#tls === undefined ? [] : filesOf(this.#tls)
    if (files.length === 0) return
    this.#files = new WatchedFiles(this.#parts.clock, POLL_MS, (changed) => {
      if (changed.size > 0) this.#read()
    })
    this.#files.watch(files)
  }

  #read(): void {
    if (this.#tls === undefined) return
    try {
      this.#context = contextOf(this.#tls)
      this.#sessions.clear()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#parts.telemetry.event({ type: 'certificate-refused', listener: `pool ${this.#pool}`, reason })
    }
  }
}

/** What keeps one of them from being dialled; undefined: nothing. */
export function wrongDialling(pools: readonly DialConfig[]): string | undefined {
  for (const { name, tls } of pools) {
    try {
      if (tls !== undefined) contextOf(tls)
    } catch (error) {
      return `pools.${name}.tls: ${error instanceof Error ? error.message : String(error)}`
    }
  }
  return undefined
}

function filesOf({ ca, clientCertificate }: PoolTlsConfig): string[] {
  const own = clientCertificate === undefined ? [] : [clientCertificate.cert, clientCertificate.key]
  return ca === undefined ? own : [ca, ...own]
}

function contextOf({ ca, clientCertificate }: PoolTlsConfig): SecureContext {
  const authorities = ca === undefined ? undefined : readAuthorities(ca)
  if (typeof authorities === 'object') throw new Error(authorities.wrong)
  const pair = clientCertificate === undefined ? undefined : readPair(clientCertificate)
  if (pair !== undefined && 'wrong' in pair) throw new Error(pair.wrong)
  return createSecureContext({
    ...(authorities !== undefined && { ca: authorities }),
    ...(pair && { cert: pair.certPem, key: pair.keyPem }),
    minVersion: 'TLSv1.2',
  })
}

/**
 * Did the other side say that this was all (close_notify), or was the connection just ended, by whomever? Node tells both alike; but after the
 * alert it goes on reading the connection below, and after a bare end there is nothing left to read there. Who cannot tell says no.
 */
export function endedByAlert(socket: NetworkSocket): boolean {
  const below = (socket as unknown as TlsInternals)._handle?._parent
  return below?.readStart?.() === ALREADY_READING
}

interface TlsInternals {
  readonly _handle?: { readonly _parent?: { readStart?(): number } } | null
}

const ALREADY_READING = -constants.errno.EALREADY
