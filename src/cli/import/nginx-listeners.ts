/** Where nginx listens, with TLS and the PROXY protocol: as listeners. Certificates are those of all servers at the address. */
import type { Draft, DraftRoute } from './draft.ts'
import { durationText } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { nearest, type Scope } from './nginx-scope.ts'
import { type NginxServer, schemeRedirectOf } from './nginx-server.ts'
import { isNetwork, nginxTime } from './nginx-words.ts'

/** They are read here, and noted here where they cannot be translated. */
export const TLS_NAMES: ReadonlySet<string> = new Set(
  'ssl_certificate ssl_certificate_key ssl_client_certificate ssl_verify_client ssl_verify_depth ssl_crl ssl_protocols ssl_ciphers ssl_session_tickets ssl_session_timeout ssl_reject_handshake'.split(
    ' ',
  ),
)

/** Gives the directives that are done by it, and so close nothing. */
export function importListeners(servers: readonly NginxServer[], http: Scope, draft: Draft): ReadonlySet<Directive> {
  const done = new Set<Directive>()
  const all = servers.flatMap(({ listens }) => listens)
  const scopes = servers
    .toSorted((a, b) => Number(b.isDefault) - Number(a.isDefault))
    .map(({ directives }): Scope => ({ outer: http, directives }))
  const hasTls = all.some(({ isTls }) => isTls)
  const tls = hasTls ? new ListenerTls(scopes, draft, done).text() : undefined
  const redirect = hasTls ? redirectOf(servers, done) : undefined
  for (const { address, source, isTls, isProxied } of all) {
    const isCovered = address.startsWith('0.0.0.0:') && all.some((other) => other.address === address.replace('0.0.0.0', '[::]'))
    const proxied = isProxied || all.some((other) => other.address === address && other.isProxied) ? proxyProtocolOf(scopes) : undefined
    const keys: DraftRoute['keys'] = [
      ...(isTls && tls !== undefined ? [['tls', tls] as const] : []),
      ...(typeof proxied === 'object' ? [['proxyProtocol', proxied.text] as const] : []),
      ...(!isTls && redirect !== undefined ? [['redirect', redirect] as const] : []),
    ]
    if (isCovered) draft.needless(source, '[::] takes IPv4 as well')
    else if (isTls && tls === undefined) draft.left(source, 'there is no certificate for it, and it is not listened on')
    else if (typeof proxied === 'string') draft.left(source, `${proxied}, and it is not listened on`)
    else draft.listen(address, source, keys)
    if (typeof proxied === 'object' && !isCovered)
      draft.left(source, 'who is none of set_real_ip_from is refused here, with a header or without')
  }
  return done
}

/** Where every server says so. */
function redirectOf(servers: readonly NginxServer[], done: Set<Directive>): string | undefined {
  const found = servers.map(({ directives }) => directives.find((each) => schemeRedirectOf(each) !== undefined))
  const [first] = found
  const how = first && schemeRedirectOf(first)
  if (how === undefined || found.some((each) => each === undefined || schemeRedirectOf(each) !== how)) return undefined
  for (const each of found) if (each !== undefined) done.add(each)
  return how
}

/** Who may say who calls; or why that is not known. */
function proxyProtocolOf(scopes: readonly Scope[]): { readonly text: string } | string {
  const [scope] = scopes
  if (scope === undefined) return 'there is no server'
  const networks = nearest(scope, 'set_real_ip_from').map(({ args }) => args[0] ?? '')
  if (nearest(scope, 'real_ip_header')[0]?.args[0] !== 'proxy_protocol' || networks.length === 0)
    return 'whom a header of the PROXY protocol is believed must be said here (proxyProtocol.from), as by set_real_ip_from there'
  if (!networks.every(isNetwork)) return 'set_real_ip_from names what is no network'
  return { text: `{ from: [${networks.map((network) => JSON.stringify(network)).join(', ')}] }` }
}

const OLD = /^(SSLv[23]|TLSv1(\.1)?)$/
/** Of TLS 1.3, which a list of nginx is not about. */
const NEW_CIPHERS = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'

/** One for all servers at an address here, which nginx mostly has as well: what the default one says holds. */
class ListenerTls {
  readonly #scopes: readonly Scope[]
  readonly #draft: Draft
  readonly #done: Set<Directive>

  constructor(scopes: readonly Scope[], draft: Draft, done: Set<Directive>) {
    this.#scopes = scopes
    this.#draft = draft
    this.#done = done
  }

  /** Undefined: there is no certificate. */
  text(): string | undefined {
    const certificates = this.#certificates()
    if (certificates === undefined) return undefined
    const parts = [`certificates: [${certificates.join(', ')}]`]
    const versions = this.#said('ssl_protocols')
    if (versions !== undefined) parts.push(...this.#versions(versions))
    const ciphers = this.#said('ssl_ciphers')
    if (ciphers !== undefined) parts.push(`ciphers: ${JSON.stringify(`${NEW_CIPHERS}:${ciphers.args[0] ?? ''}`)}`)
    const clientAuth = this.#clientAuth()
    if (clientAuth !== undefined) parts.push(`clientAuth: ${clientAuth}`)
    const tickets = this.#tickets()
    if (tickets !== undefined) parts.push(`tickets: ${tickets}`)
    if (this.#first('ssl_reject_handshake')?.args[0] === 'on') {
      parts.push('unknownNames: refuse')
      for (const each of this.#all('ssl_reject_handshake')) this.#done.add(each)
    }
    return `{ ${parts.join(', ')} }`
  }

  #certificates(): readonly string[] | undefined {
    const pairs = this.#scopes.flatMap((scope) => {
      const keys = nearest(scope, 'ssl_certificate_key')
      return nearest(scope, 'ssl_certificate').flatMap((directive, i) => {
        const [cert, key] = [directive.args[0], keys[i]?.args[0]]
        if (cert === undefined || key === undefined) return []
        if (!/[$]|^(data|engine|store):/.test(cert + key)) return [`{ cert: ${JSON.stringify(cert)}, key: ${JSON.stringify(key)} }`]
        this.#draft.left(directive, 'a certificate is a file here; for a name one is chosen by what stands in it')
        return []
      })
    })
    return pairs.length === 0 ? undefined : [...new Set(pairs)]
  }

  #versions(directive: Directive): string[] {
    if (directive.args.some((version) => OLD.test(version)))
      this.#draft.left(directive, 'TLS 1.2 is the oldest version that is spoken here')
    if (directive.args.includes('TLSv1.2') && !directive.args.includes('TLSv1.3'))
      this.#draft.left(directive, 'TLS 1.3 is spoken here as well')
    return directive.args.includes('TLSv1.3') && directive.args.every((version) => version === 'TLSv1.3') ? ['minVersion: TLSv1.3'] : []
  }

  /** Where all servers ask for the same: a request that names another host than the handshake did goes to another server here as well. */
  #clientAuth(): string | undefined {
    const asked = this.#scopes.map((scope) => {
      const of = (name: string): Directive | undefined => nearest(scope, name)[0]
      const mode = of('ssl_verify_client')?.args[0] ?? 'off'
      return { mode, ca: of('ssl_client_certificate')?.args[0], crl: of('ssl_crl') }
    })
    const [first] = asked
    const mode = { on: 'require', optional: 'request' }[first?.mode ?? '']
    const verifying = this.#all('ssl_verify_client')
    if (
      first === undefined ||
      mode === undefined ||
      first.ca === undefined ||
      asked.some(({ mode: other, ca, crl }) => other !== first.mode || ca !== first.ca || crl !== undefined)
    ) {
      for (const each of verifying.filter(({ args }) => args[0] !== 'off'))
        this.#draft.left(each, 'clients are asked for certificates by a listener here, of all servers alike, and without revocation lists')
      return undefined
    }
    for (const each of verifying) this.#done.add(each)
    return `{ ca: ${JSON.stringify(first.ca)}, mode: ${mode} }`
  }

  #tickets(): string | undefined {
    if (this.#said('ssl_session_tickets')?.args[0] === 'off') return 'off'
    const lifetime = durationText(nginxTime(this.#said('ssl_session_timeout')?.args[0] ?? '') ?? 0)
    return lifetime === undefined ? undefined : `{ lifetime: ${lifetime} }`
  }

  #first(name: string): Directive | undefined {
    const [scope] = this.#scopes
    return scope && nearest(scope, name)[0]
  }

  #all(name: string): readonly Directive[] {
    return [...new Set(this.#scopes.flatMap((scope) => nearest(scope, name)))]
  }

  /** What holds; others that say otherwise are left. */
  #said(name: string): Directive | undefined {
    const first = this.#first(name) ?? this.#all(name)[0]
    for (const each of this.#all(name))
      if (first !== undefined && each.args.join(' ') !== first.args.join(' '))
        this.#draft.left(each, 'one for all servers at an address here; what the default one says holds')
    return first
  }
}
