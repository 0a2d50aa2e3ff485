/** The resolved configuration of TLS and the PROXY protocol; a part of `config.ts`. */
import type { ProxyVersion } from '../core/proxy-protocol/header.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { CertificateFiles } from './tls-files.ts'

export interface ListenerTlsConfig {
  /** The first one is the default. */
  readonly certificates: readonly CertificateFiles[]
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3'
  readonly ciphers?: string
  /** `ca`: an absolute path. */
  readonly clientAuth?: { readonly ca: string; readonly mode: 'require' | 'request' }
  /** Absent: no session is resumed. */
  readonly tickets?: { readonly lifetimeMs: Millis; readonly rotateMs: Millis }
  readonly unknownNames: 'serve' | 'refuse'
  readonly handshakeMs: Millis
  /** How often the files are looked at. */
  readonly pollMs: Millis
}

export interface ListenerProxyConfig {
  /** CIDR blocks or addresses. */
  readonly from: readonly string[]
  readonly versions: readonly ProxyVersion[]
  readonly others: 'refuse' | 'direct'
  readonly timeoutMs: Millis
  /** Of a header of version 2. */
  readonly bytesMax: Bytes
}

/** Absolute paths. */
export interface PoolTlsConfig {
  readonly ca?: string
  readonly clientCertificate?: CertificateFiles
  readonly serverName?: string
  readonly verify: boolean
}
