/** Which pools `proxy_pass` asks: an upstream, one server, or shares of several by `split_clients`. */
import type { Draft, DraftPool } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { nearest, type Scope } from './nginx-scope.ts'
import { type Asking, hashSource, importUpstream, poolOfServer } from './nginx-upstream.ts'
import { quoted } from './write-draft.ts'

interface Asked {
  readonly authority: string
  readonly uri: string | undefined
  /** Of the route. */
  readonly keys: readonly [string, string][]
  /** As they are written. */
  readonly pools: readonly string[]
}

export class NginxPools {
  readonly used = new Set<Directive>()
  readonly #draft: Draft
  readonly #http: Scope
  /** By whom they ask, and how. */
  readonly #pools = new Map<string, DraftPool | undefined>()

  constructor(draft: Draft, http: Scope) {
    this.#draft = draft
    this.#http = http
  }

  /** Or why they cannot be asked. */
  of(pass: Directive, scope: Scope): Asked | string {
    const [, scheme = '', authority = '', uri] = /^(https?):\/\/(\$\w+|[^/$]+)(\/[^$?#]*)?$/.exec(pass.args[0] ?? '') ?? []
    if (authority.startsWith('$')) return this.#split(authority, uri, (name) => this.#pool(name, scheme, pass, scope))
    const pool = authority === '' ? undefined : this.#pool(authority, scheme, pass, scope)
    if (pool === undefined) return 'this address cannot be asked: it must be http or https, and known beforehand'
    return { authority, uri, keys: [['pool', quoted(pool.name)]], pools: [quoted(pool.name)] }
  }

  #pool(authority: string, scheme: string, pass: Directive, scope: Scope): DraftPool | undefined {
    const upstream = this.#http.directives.find(({ name, args }) => name === 'upstream' && args[0] === authority)
    if (upstream !== undefined) this.used.add(upstream)
    const tls = scheme === 'https' ? serverTls(scope, authority, upstream !== undefined, this.#draft) : undefined
    const key = `${scheme}://${authority} ${tls?.value ?? ''}`
    if (!this.#pools.has(key)) {
      const asking: Asking = { scheme, tls: tls && { path: ['tls'], value: tls.value, source: tls.source ?? pass } }
      const pool =
        upstream === undefined ? poolOfServer(authority, pass, this.#draft, asking) : importUpstream(upstream, this.#draft, asking)
      this.#pools.set(key, pool)
    }
    return this.#pools.get(key)
  }

  /** `split_clients` knows shares to a hundredth of a percent, as weights are written here. */
  #split(variable: string, uri: string | undefined, poolOf: (name: string) => DraftPool | undefined): Asked | string {
    const directive = this.#http.directives.find(({ name, args }) => name === 'split_clients' && args[1] === variable)
    if (directive === undefined) return 'which servers are asked must be known beforehand here: no variables, but those of split_clients'
    const by = splitBy(directive.args[0] ?? '')
    if (by === undefined) return 'clients are not told apart by such a text here; see splitBy'
    let rest = 10_000
    const shares: string[] = []
    const pools: string[] = []
    for (const { name, args } of directive.block ?? []) {
      const weight = name === '*' ? rest : Math.round(Number(/^(\d+(?:\.\d{1,2})?)%$/.exec(name)?.[1] ?? Number.NaN) * 100)
      const pool = poolOf(args[0] ?? '')
      if (!Number.isSafeInteger(weight) || weight < 0 || weight > rest || pool === undefined) return 'a share of it cannot be said here'
      // Whoever is sticky to a pool of several would have to be so by the route.
      if (pool.settings.some(({ path }) => path[0] === 'sticky')) return 'a pool of several is sticky; see sticky of a route'
      rest -= weight
      if (pools.includes(quoted(pool.name))) return 'a pool has one share here'
      pools.push(quoted(pool.name))
      shares.push(`{ pool: ${quoted(pool.name)}, weight: ${weight} }`)
    }
    // Who was in none of the shares got an empty name, and an error.
    if (rest > 0 || shares.length === 0) return 'the shares are not the whole'
    this.used.add(directive)
    const keys: [string, string][] = [['pool', `[${shares.join(', ')}]`]]
    if (by !== '') keys.push(['splitBy', quoted(by)])
    return { authority: variable, uri, keys, pools }
  }
}

/** '': each request draws. What stands beside the variable only makes another order of it. */
function splitBy(text: string): string | undefined {
  const variables = text.match(/\$\{?\w+\}?/g) ?? []
  const [variable = '', ...others] = variables.map((each) => each.replace(/[{}]/g, ''))
  if (variable === '$request_id') return ''
  const source = hashSource(variable)
  return others.length > 0 ? undefined : source
}

/** How servers with https are asked; without `proxy_ssl_verify on` any certificate does there. */
function serverTls(
  scope: Scope,
  authority: string,
  isUpstream: boolean,
  draft: Draft,
): { value: string; source: Directive | undefined } | undefined {
  const directive = (name: string): Directive | undefined => nearest(scope, name)[0]
  const value = (name: string): string | undefined => directive(name)?.args[0]
  const isVerified = value('proxy_ssl_verify') === 'on'
  const parts = [`verify: ${isVerified}`]
  const ca = value('proxy_ssl_trusted_certificate')
  if (isVerified && ca !== undefined) parts.push(`ca: ${JSON.stringify(ca)}`)
  const named = value('proxy_ssl_name')
  const isNamed = value('proxy_ssl_server_name') === 'on' || isVerified
  const host = authority.replace(/:\d+$/, '')
  const name = named ?? (isUpstream ? host : undefined)
  const source = directive('proxy_ssl_name') ?? directive('proxy_ssl_server_name')
  if (isNamed && name !== undefined && /^[\w-]+(\.[\w-]+)*$/.test(name)) parts.push(`serverName: ${JSON.stringify(name)}`)
  else if (isNamed && name !== undefined && source !== undefined)
    draft.left(source, 'servers have one name for all requests here: tls.serverName')
  const [cert, key] = [value('proxy_ssl_certificate'), value('proxy_ssl_certificate_key')]
  if (cert !== undefined && key !== undefined) parts.push(`cert: ${JSON.stringify(cert)}`, `key: ${JSON.stringify(key)}`)
  return { value: `{ ${parts.join(', ')} }`, source: directive('proxy_ssl_verify') ?? source }
}
