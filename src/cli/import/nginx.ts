/**
 * Imports a configuration of nginx. What cannot be said here is noted, line by line; and where a request would go elsewhere, or past something
 * that was closed, because of what cannot be said, it is refused instead.
 */
import type { Millis } from '../../lib/units.ts'
import { type Draft, durationText, matchOf, sizeText } from './draft.ts'
import { allowedMethods, ifTest, returnedIn } from './nginx-if.ts'
import { importListeners, TLS_NAMES } from './nginx-listeners.ts'
import { NginxLocations } from './nginx-location.ts'
import type { Directive } from './nginx-parse.ts'
import { rewritesOf } from './nginx-rewrite.ts'
import { type Location, locationsIn, nearest, type Scope } from './nginx-scope.ts'
import { groupServers, httpsRedirectOf, type NginxServer, readServer } from './nginx-server.ts'
import { RETRY_ON } from './nginx-tries.ts'
import { isClosing, isNetwork, leftReason, needlessReason, nginxSize, nginxTime, pathsOf } from './nginx-words.ts'

/** Said of the file as a whole here. */
const SPANS: Readonly<Record<string, readonly string[]>> = {
  proxy_connect_timeout: ['timeouts', 'connect'],
  client_header_timeout: ['timeouts', 'head'],
  client_body_timeout: ['timeouts', 'body'],
  keepalive_timeout: ['timeouts', 'idle'],
}
const BODY_DEFAULT = 1 << 20
const STALL_DEFAULT_MS: Millis = 60_000
/** Read where they matter. */
const READ = new Set(
  'server location upstream http listen server_name proxy_pass client_max_body_size proxy_set_header proxy_hide_header add_header proxy_read_timeout proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout return break internal mirror mirror_request_body real_ip_header proxy_ssl_verify proxy_ssl_trusted_certificate proxy_ssl_name proxy_ssl_server_name proxy_ssl_certificate proxy_ssl_certificate_key'.split(
    ' ',
  ),
)

const BLOCKS = new Set(['server', 'location', 'upstream', 'http'])

export function importNginx(directives: readonly Directive[], draft: Draft): void {
  const https = directives.filter(({ name }) => name === 'http')
  for (const directive of directives) if (https.length > 0 && directive.name !== 'http') noteOther(directive, draft)
  // A file of one site has no http block around it.
  const inside = https.length > 0 ? https.flatMap(({ block }) => block ?? []) : directives
  new Import(inside, draft).run()
}

/** It became rules, beside what is noted of it there. */
function isTranslated(directive: Directive, isLocation: boolean): boolean {
  const { name, args } = directive
  if (name === 'if') return ifTest(directive) !== undefined && returnedIn(directive) !== undefined
  if (name === 'limit_except') return allowedMethods(directive) !== undefined
  if (name === 'rewrite') return rewritesOf(directive) !== undefined && (isLocation || args[2] !== 'break')
  // Whether anything uses it is known in the end.
  return name === 'split_clients'
}

function noteOther(directive: Directive, draft: Draft): void {
  const reason = needlessReason(directive)
  if (reason === undefined) draft.left(directive, leftReason(directive).reason)
  else draft.needless(directive, reason)
}

class Import {
  readonly #draft: Draft
  readonly #http: Scope
  #locations: NginxLocations
  /** Said of a listener: they close nothing. */
  #done: ReadonlySet<Directive> = new Set()
  #realIpHeader = 'X-Real-IP'
  /** Of the locations that ask servers. */
  readonly #asking: Scope[] = []

  constructor(inside: readonly Directive[], draft: Draft) {
    this.#draft = draft
    this.#http = { outer: undefined, directives: inside }
    this.#locations = new NginxLocations(draft, this.#http, this.#done)
  }

  run(): void {
    const { directives } = this.#http
    const servers = directives.filter(({ name }) => name === 'server').map((server) => readServer(server, this.#draft))
    const { served, others } = groupServers(servers)
    const headers = [...directives, ...served.flatMap((server) => server.directives)].filter(({ name }) => name === 'real_ip_header')
    this.#realIpHeader = headers[0]?.args[0] ?? this.#realIpHeader
    this.#done = importListeners(served, this.#http, this.#draft)
    this.#locations = new NginxLocations(this.#draft, this.#http, this.#done)
    this.#notes(directives)
    for (const other of others) this.#elsewhere(other)
    for (const server of served) this.#server(server, served)
    for (const upstream of this.#locations.unused()) this.#draft.left(upstream, 'it is not used by what was translated')
    this.#bodyLimit()
    this.#stall()
    const [asked] = this.#draft.routes.filter(({ keys }) => keys[0]?.[0] === 'pool')
    if (asked !== undefined)
      this.#draft.set({ path: ['retry'], value: `{ on: [${RETRY_ON.join(', ')}] }`, source: asked.source, remark: 'the default of nginx' })
  }

  #elsewhere(server: NginxServer): void {
    const redirect = httpsRedirectOf(server, this.#draft)
    if (redirect === undefined || !this.#draft.listeners.some(({ keys }) => keys.some(([key]) => key === 'tls'))) {
      return this.#draft.left(server.source, 'what listens elsewhere needs a gateway of its own: routes hold on all listeners')
    }
    for (const { address, source, isProxied } of server.listens) {
      if (isProxied) this.#draft.left(source, 'the PROXY protocol is not translated here, and it is not listened on')
      else this.#draft.listen(address, source, [['redirect', redirect]])
    }
  }

  /** Each line once, whatever applies to it. */
  #notes(directives: readonly Directive[], isLocation = false): void {
    for (const directive of directives) {
      const { name, args, block } = directive
      if (this.#done.has(directive) || (READ.has(name) && (block === undefined || BLOCKS.has(name)))) continue
      // What cannot be said of it is noted where it is read.
      if (TLS_NAMES.has(name) && needlessReason(directive) === undefined && this.#hasTls()) continue
      const path = Object.hasOwn(SPANS, name) ? SPANS[name] : undefined
      if (path !== undefined) this.#span(directive, path)
      else if (name === 'set_real_ip_from' && isNetwork(args[0] ?? '')) this.#trust(directive)
      else if (name === 'deny' && args[0] === 'all') continue
      else if (isTranslated(directive, isLocation)) continue
      else noteOther(directive, this.#draft)
    }
  }

  #hasTls(): boolean {
    return this.#draft.listeners.some(({ keys }) => keys.some(([key]) => key === 'tls'))
  }

  #span(directive: Directive, path: readonly string[]): void {
    const value = durationText(nginxTime(directive.args[0] ?? '') ?? 0)
    if (value === undefined) return this.#draft.left(directive, 'not a time, or one that is not possible here')
    this.#draft.set({ path, value, source: directive })
  }

  /** By which field they say who calls is said once, for all here. */
  #trust(directive: Directive): void {
    const header = this.#realIpHeader
    if (header === 'proxy_protocol') return
    if (!/^x-forwarded-for$/i.test(header))
      this.#draft.left(directive, `who calls is told by X-Forwarded-For of trusted peers here, not by ${header}`)
    const network = JSON.stringify(directive.args[0])
    const { settings } = this.#draft
    const at = settings.findIndex(({ path }) => path[0] === 'trustedPeers')
    const before = at < 0 ? '' : `${settings[at]?.value.slice(1, -1)}, `
    if (at >= 0) settings.splice(at, 1)
    settings.push({ path: ['trustedPeers'], value: `[${before}${network}]`, source: directive })
  }

  #server(server: NginxServer, served: readonly NginxServer[]): void {
    const scope: Scope = { outer: this.#http, directives: server.directives }
    this.#notes(server.directives)
    const hosts = server.hostsAmong(served)
    const all = locationsIn(scope)
    const own = server.directives.some(({ name }) => name === 'return')
    if (own) for (const { directive } of all) this.#draft.needless(directive, 'the server answers everything by its return')
    const locations = own ? [] : all
    const paths = new Set(
      locations.flatMap(({ directive }) => pathsOf(directive.args.at(-1) ?? '', directive.args[0] === '=')?.paths ?? []),
    )
    for (const location of locations) this.#location(location, hosts, paths)
    // Else they would go on to the server that takes all names; there they were answered with files.
    const isWhole = paths.has('/*')
    const hasRules = server.directives.some(({ name }) => name === 'if' || name === 'rewrite')
    if (!isWhole && (own || !server.isDefault || hasRules)) this.#rules(scope, server.source, { hosts, path: '/*', prefix: '/', paths })
  }

  #location({ directive, scope }: Location, hosts: readonly (string | undefined)[], paths: ReadonlySet<string>): void {
    this.#notes(scope.directives, true)
    const { args } = directive
    const [modifier, path] = args.length === 1 ? ['', args[0] ?? ''] : [args[0] ?? '', args[1] ?? '']
    if (modifier.startsWith('~') || path.startsWith('@')) {
      const what = path.startsWith('@') ? 'named locations' : 'regular expressions'
      const wasClosed = scope.directives.some(isClosing) ? '; it was closed there, and is open here' : ''
      return this.#draft.left(directive, `${what} are not there; what it takes goes where the other routes say${wasClosed}`)
    }
    const found = pathsOf(path, modifier === '=')
    if (found === undefined)
      return this.#draft.left(directive, 'such a path cannot be matched here; what it takes goes where the other routes say')
    if (found.differs !== undefined) this.#draft.left(directive, found.differs)
    for (const match of found.paths) this.#rules(scope, directive, { hosts, path: match, prefix: path, paths })
  }

  #rules(
    scope: Scope,
    source: Directive,
    place: {
      readonly hosts: readonly (string | undefined)[]
      readonly path: string
      readonly prefix: string
      readonly paths: ReadonlySet<string>
    },
  ): void {
    for (const host of place.hosts) {
      for (const rule of this.#locations.rulesOf(scope, source, { ...place, match: matchOf(host, place.path) })) {
        const isAsking = rule.off === undefined && rule.keys[0]?.[0] === 'pool'
        if (isAsking && !this.#asking.includes(scope)) this.#asking.push(scope)
        this.#draft.route(rule)
      }
    }
  }

  // --- what is one for all here

  #bodyLimit(): void {
    const bodies = this.#asking.map((scope) => {
      const [source] = nearest(scope, 'client_max_body_size')
      return { source, bytes: source === undefined ? BODY_DEFAULT : (nginxSize(source.args[0] ?? '') ?? BODY_DEFAULT) }
    })
    if (bodies.length === 0) return
    const most = bodies.some(({ bytes }) => bytes === 0) ? 0 : Math.max(...bodies.map(({ bytes }) => bytes))
    const value = most === 0 ? 'unlimited' : sizeText(most)
    const largest = bodies.find(({ bytes, source }) => bytes === most && source !== undefined)?.source
    const source = largest ?? this.#draft.routes[0]?.source
    if (source === undefined) return
    if (value === undefined) return this.#draft.left(source, 'such a size is not possible here')
    const remark = largest === undefined ? 'the default of nginx' : 'one for all'
    this.#draft.settings.push({ path: ['limits', 'body'], value, source, remark })
    const smaller = new Set(bodies.filter(({ bytes }) => bytes !== most).map((body) => body.source))
    for (const each of smaller) if (each !== undefined) this.#draft.left(each, `limits.body is one for all here, and is ${value}`)
  }

  /** The longest pause in an answer. */
  #stall(): void {
    const all = this.#asking.flatMap((scope) => nearest(scope, 'proxy_read_timeout').slice(0, 1))
    const most = Math.max(STALL_DEFAULT_MS, ...all.map(({ args }) => nginxTime(args[0] ?? '') ?? 0))
    const source = all.find(({ args }) => nginxTime(args[0] ?? '') === most)
    const value = durationText(most)
    if (source !== undefined && value !== undefined && most > STALL_DEFAULT_MS)
      this.#draft.set({ path: ['timeouts', 'stall'], value, source, remark: 'one for all' })
  }
}
