/**
 * The certificates that a listener shows, as OpenSSL wants them. They follow their files: a new pair holds as soon as it is whole; one that is
 * broken or half written changes nothing, and is told of.
 */
import { createHash } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { ListenerTlsConfig } from '../config/config-tls.ts'
import { type CertificateFacts, type CertificateFiles, type CertificatePair, readAuthorities, readPair } from '../config/tls-files.ts'
import { ServerNames, type Shown } from '../core/tls/server-names.ts'

export interface ShownCertificate {
  readonly files: CertificateFiles
  readonly facts: CertificateFacts
}

/** Sessions are bound to this, too: who was let in by another authority begins anew. */
type Authorities = { readonly pem: string; readonly mode: 'require' | 'request' } | undefined

/** SSL_OP_NO_RENEGOTIATION: in TLS 1.2 a client could ask for handshakes without end. */
const NO_RENEGOTIATION = 0x4000_0000
/** SSL_OP_NO_TICKET */
const NO_TICKET = 0x4000

/** One state of the files. */
export class Certificates {
  readonly shown: readonly ShownCertificate[]
  readonly #config: ListenerTlsConfig
  readonly #pairs: readonly CertificatePair[]
  readonly #authorities: Authorities
  readonly #names: ServerNames

  private constructor(config: ListenerTlsConfig, pairs: readonly CertificatePair[], authorities: Authorities) {
    this.#config = config
    this.#pairs = pairs
    this.#authorities = authorities
    this.shown = pairs.map(({ facts }, i) => ({ files: config.certificates[i] as CertificateFiles, facts }))
    this.#names = new ServerNames(pairs.map(({ facts }) => facts))
    // What OpenSSL does not take is found here, not in a handshake.
    for (let i = 0; i < pairs.length; i++) createSecureContext(this.options([i]))
  }

  /** What cannot be read stays as it was in `before`, where it was; else it throws. `wrong`: what could not. */
  static read(
    config: ListenerTlsConfig,
    before?: Certificates,
  ): { readonly certificates: Certificates; readonly wrong: readonly string[] } {
    const wrong: string[] = []
    const pairs = config.certificates.map((files) => {
      const pair = readPair(files)
      if (!('wrong' in pair)) return pair
      const old = before?.pairOf(files)
      if (old === undefined) throw new Error(pair.wrong)
      wrong.push(pair.wrong)
      return old
    })
    const authorities = authoritiesOf(config, before, wrong)
    try {
      return { certificates: new Certificates(config, pairs, authorities), wrong }
    } catch (error) {
      if (before === undefined) throw error
      return { certificates: before, wrong: [...wrong, error instanceof Error ? error.message : String(error)] }
    }
  }

  pairOf({ cert, key }: CertificateFiles): CertificatePair | undefined {
    return this.#pairs[this.#config.certificates.findIndex((files) => files.cert === cert && files.key === key)]
  }

  authoritiesIn(file: string): string | undefined {
    return this.#config.clientAuth?.ca === file ? this.#authorities?.pem : undefined
  }

  get files(): readonly string[] {
    const { certificates, clientAuth } = this.#config
    return [...certificates.flatMap(({ cert, key }) => [cert, key]), ...(clientAuth === undefined ? [] : [clientAuth.ca])]
  }

  /** Undefined: the client asks for none. Nothing is shown where nothing may be: the handshake is refused with an alert. */
  shownTo(name: string | undefined): Shown {
    const found = name === undefined ? undefined : this.#names.find(name)
    if (found !== undefined) return found
    if (this.#config.unknownNames === 'refuse') return []
    const [first] = this.#pairs[0]?.facts.names ?? []
    const beside = first === undefined ? undefined : this.#names.find(first)
    return beside?.includes(0) === true ? beside : [0]
  }

  options(shown: Shown): SecureContextOptions {
    const { minVersion, ciphers, tickets } = this.#config
    const pairs = shown.map((i) => this.#pairs[i] as CertificatePair)
    return {
      ...(pairs.length > 0 && { cert: pairs.map(({ certPem }) => certPem), key: pairs.map(({ keyPem }) => keyPem) }),
      ...(this.#authorities && { ca: this.#authorities.pem }),
      ...(ciphers !== undefined && { ciphers }),
      minVersion,
      honorCipherOrder: true,
      secureOptions: tickets === undefined ? NO_RENEGOTIATION | NO_TICKET : NO_RENEGOTIATION,
      sessionIdContext: this.#sessionContext(),
      ...(tickets && { sessionTimeout: Math.max(1, Math.round(tickets.lifetimeMs / 1000)) }),
    }
  }

  #sessionContext(): string {
    const text = this.#authorities === undefined ? '' : `${this.#authorities.mode}\n${this.#authorities.pem}`
    return createHash('sha256').update(text).digest('hex').slice(0, 32)
  }
}

function authoritiesOf({ clientAuth }: ListenerTlsConfig, before: Certificates | undefined, wrong: string[]): Authorities {
  if (clientAuth === undefined) return undefined
  const { ca, mode } = clientAuth
  const read = readAuthorities(ca)
  if (typeof read === 'string') return { pem: read, mode }
  const old = before?.authoritiesIn(ca)
  if (old === undefined) throw new Error(read.wrong)
  wrong.push(read.wrong)
  return { pem: old, mode }
}
