/**
 * Imports a configuration of nginx. What cannot be said here is noted, line by line; and where a request would go elsewhere, or past something
 * that was closed, because of what cannot be said, it is refused instead.
 */
import type { Millis } from '../../lib/units.ts'
import { type Draft, type DraftRoute, durationText, refused, type SourceLine, sizeText } from './draft.ts'
import { type Doing, NginxLocations, RETRY_ON } from './nginx-location.ts'
import type { Directive } from './nginx-parse.ts'
import { type Location, locationsIn, nearest, type Scope } from './nginx-scope.ts'
import { groupServers, httpsRedirectOf, importListeners, type NginxServer, readServer } from './nginx-server.ts'
import { importUpstream } from './nginx-upstream.ts'
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
  'server location upstream http listen server_name proxy_pass client_max_body_size proxy_set_header add_header proxy_read_timeout proxy_next_upstream proxy_next_upstream_tries return ssl_certificate ssl_certificate_key'.split(
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

function noteOther(directive: Directive, draft: Draft): void {
  const reason = needlessReason(directive)
  if (reason === undefined) draft.left(directive, leftReason(directive).reason)
  else draft.needless(directive, reason)
}

class Import {
  readonly #draft: Draft
  readonly #http: Scope
  readonly #locations: NginxLocations
  /** Of the locations that ask servers. */
  readonly #asking: Scope[] = []

  constructor(inside: readonly Directive[], draft: Draft) {
    this.#draft = draft
    this.#http = { outer: undefined, directives: inside }
    this.#locations = new NginxLocations(draft)
  }

  run(): void {
    const { directives } = this.#http
    for (const directive of directives)
      if (directive.name === 'upstream') this.#locations.upstreams.set(directive.args[0] ?? '', importUpstream(directive, this.#draft))
    this.#notes(directives)
    const servers = directives.filter(({ name }) => name === 'server').map((server) => readServer(server, this.#draft))
    const { served, others } = groupServers(servers)
    importListeners(served, this.#draft)
    for (const other of others) this.#elsewhere(other)
    for (const server of served) this.#server(server, served)
    this.#bodyLimit()
    this.#stall()
    const [asked] = this.#draft.routes.filter(({ keys }) => keys[0]?.[0] === 'pool')
    if (asked !== undefined)
      this.#draft.set({ path: ['retry'], value: `{ on: [${RETRY_ON.join(', ')}] }`, source: asked.source, remark: 'the default of nginx' })
  }

  #elsewhere(server: NginxServer): void {
    const redirect = httpsRedirectOf(server)
    if (redirect === undefined || !this.#draft.listeners.some(({ keys }) => keys.length > 0)) {
      return this.#draft.left(server.source, 'what listens elsewhere needs a gateway of its own: routes hold on all listeners')
    }
    for (const { address, source } of server.listens) this.#draft.listen(address, source, [['redirect', redirect]])
  }

  /** Each line once, whatever applies to it. */
  #notes(directives: readonly Directive[]): void {
    for (const directive of directives) {
      const { name, args } = directive
      if (
        (READ.has(name) && (directive.block === undefined || BLOCKS.has(name))) ||
        (name === 'real_ip_header' && /^x-forwarded-for$/i.test(args[0] ?? ''))
      )
        continue
      const path = Object.hasOwn(SPANS, name) ? SPANS[name] : undefined
      if (path !== undefined) this.#span(directive, path)
      else if (name === 'set_real_ip_from' && isNetwork(args[0] ?? '')) this.#trust(directive)
      else if (name === 'deny' && args[0] === 'all') continue
      else noteOther(directive, this.#draft)
    }
  }

  #span(directive: Directive, path: readonly string[]): void {
    const value = durationText(nginxTime(directive.args[0] ?? '') ?? 0)
    if (value === undefined) return this.#draft.left(directive, 'not a time, or one that is not possible here')
    this.#draft.set({ path, value, source: directive })
  }

  #trust(directive: Directive): void {
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
    const own = server.directives.find(({ name }) => name === 'return')
    const locations = own === undefined ? locationsIn(scope) : []
    if (own !== undefined)
      for (const { directive } of locationsIn(scope)) this.#draft.needless(directive, 'the server answers everything by its return')
    if (own !== undefined) this.#add(hosts, '/*', own, this.#locations.returned(scope, own))
    for (const location of locations) this.#location(location, hosts)
    // Else they would go on to the server that takes all names; there they were answered with files.
    const hasAll = locations.some(({ directive }) => directive.args.at(-1) === '/')
    if (!hasAll && own === undefined && !server.isDefault) this.#add(hosts, '/*', server.source, refused('no location takes it'))
  }

  #location({ directive, scope }: Location, hosts: readonly (string | undefined)[]): void {
    this.#notes(scope.directives)
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
    for (const match of found.paths) {
      const doing = this.#locations.of(scope, match, path)
      if (doing.off === undefined && doing.keys[0]?.[0] === 'pool' && !this.#asking.includes(scope)) this.#asking.push(scope)
      this.#add(hosts, match, directive, doing)
    }
  }

  #add(hosts: readonly (string | undefined)[], path: string, source: SourceLine, doing: Doing): void {
    for (const host of hosts) {
      const route: DraftRoute = { match: { host, path, methods: [], headers: {} }, source, ...doing }
      this.#draft.route(route)
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
