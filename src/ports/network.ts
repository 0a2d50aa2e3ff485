/**
 * The system's sockets as a port: what the gateway needs of them, so that the simulator can hand out a network of its own.
 * `node:net` fulfils it as it is; nothing stands between the gateway and its sockets.
 */
import type { Millis } from '../lib/units.ts'
import type { OnReadOpts } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions } from 'node:tls'

/** A connection's end: a stream of bytes that can also be broken off so that the other side sees it. */
export interface NetworkSocket extends Duplex {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  /** Ends with a reset instead of an orderly end. */
  resetAndDestroy(): this
}

export interface ConnectOptions {
  readonly host: string
  readonly port: number
  readonly noDelay: boolean
  /** The other side's end does not end ours. */
  readonly allowHalfOpen?: boolean
  /** Reads go into the caller's own buffer and past the stream. Not where there is a preamble. */
  readonly onread?: OnReadOpts
  /** Bytes that go before everything else, TLS included. */
  readonly preamble?: Uint8Array
  /** With TLS: then the socket emits `secureConnect`, when the other side is who it should be. */
  readonly tls?: ConnectionOptions
}

export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly backlog: number
  /** Several sockets of this process listen there, each gets its share of the connections (SO_REUSEPORT). The first one finds out whether others do. */
  readonly shared?: 'first' | 'also' | undefined
}

export interface ListeningSocket {
  readonly address: { readonly host: string; readonly port: number }
  /** Accepts no more; connections that are open stay. */
  close(): void
}

export interface ResolvedAddress {
  readonly address: string
  readonly family: 4 | 6
  /** For so long the answer is good; absent: nobody says. */
  readonly ttlMs?: Millis
}

/** Names of hosts, where somebody wants to look at the addresses before anything is sent to them. */
export interface Resolver {
  /** In the order in which they are to be tried. Rejects where there are none. */
  resolve(host: string): Promise<readonly ResolvedAddress[]>
}

export interface Network {
  /** Emits `connect` (with TLS: `secureConnect`), or `error` with the system's code. */
  connect(options: ConnectOptions): NetworkSocket
  /** Rejects when the address cannot be had (EADDRINUSE, EACCES, EADDRNOTAVAIL). Sockets come with `noDelay` and half open. */
  listen(options: ListenOptions, onConnection: (socket: NetworkSocket) => void): Promise<ListeningSocket>
}
