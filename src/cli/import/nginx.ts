/**
 * Imports a configuration of nginx. What cannot be said here is noted, line by line; and where a request would go elsewhere, or past something
 * that was closed, because of what cannot be said, it is refused instead (`Draft.close`).
 */
import { type Draft, type DraftPool, durationText, type SourceLine, sizeText } from './draft.ts'
import type { Directive } from './nginx-parse.ts'
import { groupServers, importListeners, type NginxServer, readServer } from './nginx-server.ts'
import { importUpstream, poolOfServer } from './nginx-upstream.ts'
import { isClientsHost, isClosing, leftReason, needlessReason, nginxSize, nginxTime, pathsOf } from './nginx-words.ts'

/** What holds in a block, with the blocks around it. */
export interface Scope {
  readonly outer: Scope | undefined
  readonly directives: readonly Directive[]
}

/** Said of the file as a whole here, and by routes there. */
const SPANS: Readonly<Record<string, readonly string[]>> = {
  proxy_connect_timeout: ['timeouts', 'connect'],
  proxy_read_timeout: ['timeouts', 'firstByte'],
  client_header_timeout: ['timeouts', 'head'],
  client_body_timeout: ['timeouts', 'body'],
  keepalive_timeout: ['timeouts', 'idle'],
}
const BODY_DEFAULT = 1 << 20
/** Read where they matter, or above. */
const READ = new Set(['server', 'location', 'upstream', 'http', 'listen', 'server_name', 'proxy_pass', 'client_max_body_size'])

export function importNginx(directives: readonly Directive[], draft: Draft): void {
  const https = directives.filter(({ name }) => name === 'http')
  for (const directive of directives) if (https.length > 0 && directive.name !== 'http') noteMain(directive, draft)
  // A file of one site has no http block around it.
  const inside = https.length > 0 ? https.flatMap(({ block }) => block ?? []) : directives
  new Import(inside, draft).run()
}

function noteMain(directive: Directive, draft: Draft): void {
  const reason = needlessReason(directive)
  if (reason === undefined) draft.left(directive, leftReason(directive).reason)
  else draft.needless(directive, reason)
}

class Import {
  readonly #draft: Draft
  readonly #http: Scope
  /** By the name of the `upstream`; undefined: none of its servers can be used. */
  readonly #upstreams = new Map<string, DraftPool | undefined>()
  readonly #bodies: { readonly bytes: number; readonly source: SourceLine | undefined }[] = []

  constructor(inside: readonly Directive[], draft: Draft) {
    this.#draft = draft
    this.#http = { outer: undefined, directives: inside }
  }

  run(): void {
    const { directives } = this.#http
    for (const directive of directives)
      if (directive.name === 'upstream') this.#upstreams.set(directive.args[0] ?? '', importUpstream(directive, this.#draft))
    this.#notes(directives)
    const servers = directives.filter(({ name }) => name === 'server').map((server) => readServer(server, this.#draft))
    const { served, others } = groupServers(servers)
    for (const { source } of others)
      this.#draft.left(source, 'what listens elsewhere needs a gateway of its own: routes hold on all listeners')
    importListeners(served, this.#draft)
    for (const server of served) this.#server(server, served)
    this.#bodyLimit()
  }

  /** Each line once, whatever applies to it. */
  #notes(directives: readonly Directive[]): void {
    for (const directive of directives) {
      const { name, args } = directive
      if (READ.has(name) || (name === 'real_ip_header' && /^x-forwarded-for$/i.test(args[0] ?? ''))) continue
      const path = Object.hasOwn(SPANS, name) ? SPANS[name] : undefined
      if (path !== undefined) this.#span(directive, path)
      else if (name === 'set_real_ip_from' && /^[0-9a-fA-F.:/]+$/.test(args[0] ?? '')) this.#trust(directive)
      else noteMain(directive, this.#draft)
    }
  }

  #span(directive: Directive, path: readonly string[]): void {
    const value = durationText(nginxTime(directive.args[0] ?? '') ?? 0)
    if (value === undefined) return this.#draft.left(directive, 'not a time, or one that is not possible here')
    this.#draft.set({ path, value, source: directive })
    if (directive.name === 'proxy_read_timeout') this.#draft.set({ path: ['timeouts', 'stall'], value, source: directive })
  }

  #trust(directive: Directive): void {
    const network = JSON.stringify(directive.args[0])
    const { settings } = this.#draft
    const at = settings.findIndex(({ path }) => path[0] === 'trustedPeers')
    const before = at < 0 ? '' : `${settings[at]?.value.slice(1, -1)}, `
    if (at >= 0) settings.splice(at, 1)
    settings.push({ path: ['trustedPeers'], value: `[${before}${network}]`, source: directive })
  }

  // --- servers and locations

  #server(server: NginxServer, served: readonly NginxServer[]): void {
    const scope: Scope = { outer: this.#http, directives: server.directives }
    this.#notes(server.directives)
    const hosts = server.hostsAmong(served)
    let hasAll = false
    for (const location of locationsIn(scope)) {
      if (location.directive.args.at(-1) === '/') hasAll = true
      this.#location(location, hosts)
    }
    // Else they would go on to the server that takes all names; there they were answered with files.
    if (!hasAll && !server.isDefault) for (const host of hosts) this.#closed({ host, path: '/*' }, server.source, 'no location takes it')
    const closing = server.directives.find(isClosing)
    if (!hasAll && closing !== undefined) for (const host of hosts) this.#closed({ host, path: '/*' }, closing, leftReason(closing).reason)
  }

  #location({ directive, scope }: Location, hosts: readonly (string | undefined)[]): void {
    this.#notes(scope.directives)
    const { args } = directive
    const [modifier, path] = args.length === 1 ? ['', args[0] ?? ''] : [args[0] ?? '', args[1] ?? '']
    if (modifier.startsWith('~') || path.startsWith('@')) {
      const what = path.startsWith('@') ? 'named locations' : 'regular expressions'
      return this.#draft.left(directive, `${what} are not there; what it takes goes where the other routes say`)
    }
    const found = pathsOf(path, modifier === '=')
    if (found === undefined)
      return this.#draft.left(directive, 'such a path cannot be matched here; what it takes goes where the other routes say')
    if (found.differs !== undefined) this.#draft.left(directive, found.differs)
    const target = this.#target(scope, path)
    for (const host of hosts)
      for (const match of found.paths) {
        if (typeof target === 'string') this.#closed({ host, path: match }, directive, target)
        else this.#draft.routes.push({ match: matchOf(host, match), pool: target.name, more: [], source: directive, off: undefined })
      }
    if (typeof target !== 'string') this.#bodyOf(scope)
  }

  #closed(match: { readonly host: string | undefined; readonly path: string }, source: SourceLine, off: string): void {
    this.#draft.routes.push({ match: matchOf(match.host, match.path), pool: '', more: [], source, off })
  }

  /** Where its requests go, or why that cannot be said. */
  #target(scope: Scope, prefix: string): DraftPool | string {
    const closing = effective(scope, isClosing)
    if (closing !== undefined) return leftReason(closing).reason
    const pass = scope.directives.find(({ name }) => name === 'proxy_pass')
    if (pass === undefined) return 'nothing is asked for it'
    const found = /^http:\/\/([^/$]+)(\/[^$]*)?$/.exec(pass.args[0] ?? '')
    const pool = found === null ? undefined : this.#poolOf(found[1] ?? '', pass)
    if (found === null || pool === undefined) {
      const reason = 'this address cannot be asked: it must be http, and known beforehand'
      this.#draft.left(pass, reason)
      return reason
    }
    const uri = found[2]
    if (uri !== undefined && uri !== prefix) {
      const reason = `paths are not rewritten here: ${prefix} would become ${uri}`
      this.#draft.left(pass, reason)
      return reason
    }
    this.#lookAtHost(scope, pass)
    return pool
  }

  #poolOf(authority: string, pass: SourceLine): DraftPool | undefined {
    return this.#upstreams.has(authority) ? this.#upstreams.get(authority) : poolOfServer(authority, pass, this.#draft)
  }

  #lookAtHost(scope: Scope, pass: SourceLine): void {
    const headers = nearest(scope, 'proxy_set_header')
    const host = headers.find(({ args }) => args[0]?.toLowerCase() === 'host')
    if (host === undefined) this.#draft.left(pass, 'the servers get the Host of the client here, and the name in this line there')
    else if (!isClientsHost(host.args[1] ?? '')) this.#draft.left(host, 'the servers get the Host of the client here')
  }

  // --- the largest body, which is one for all

  #bodyOf(scope: Scope): void {
    const [directive] = nearest(scope, 'client_max_body_size')
    if (directive === undefined) this.#bodies.push({ bytes: BODY_DEFAULT, source: undefined })
    else this.#bodies.push({ bytes: nginxSize(directive.args[0] ?? '') ?? BODY_DEFAULT, source: directive })
  }

  #bodyLimit(): void {
    const [first] = this.#bodies
    if (first === undefined) return
    const isUnlimited = this.#bodies.some(({ bytes }) => bytes === 0)
    const most = isUnlimited ? 0 : Math.max(...this.#bodies.map(({ bytes }) => bytes))
    const value = most === 0 ? 'unlimited' : sizeText(most)
    const largest = this.#bodies.find(({ bytes }) => bytes === most)?.source
    const source = largest ?? this.#draft.routes[0]?.source
    if (value === undefined || source === undefined) return
    const remark = largest === undefined ? 'the default of nginx' : 'limits.body is one for all'
    this.#draft.settings.push({ path: ['limits', 'body'], value, source, remark })
    const smaller = new Set(this.#bodies.filter(({ bytes }) => bytes !== most).map((body) => body.source))
    for (const each of smaller) if (each !== undefined) this.#draft.left(each, `limits.body is one for all here, and is ${value}`)
  }
}

function matchOf(
  host: string | undefined,
  path: string,
): { host: string | undefined; path: string; methods: []; headers: Record<string, string> } {
  return { host, path, methods: [], headers: {} }
}

interface Location {
  readonly directive: Directive
  readonly scope: Scope
}

/** Also those within others. */
function locationsIn(outer: Scope): Location[] {
  return outer.directives
    .filter(({ name }) => name === 'location')
    .flatMap((directive) => {
      const scope: Scope = { outer, directives: directive.block ?? [] }
      return [{ directive, scope }, ...locationsIn(scope)]
    })
}

/** Those of the innermost block that has any. */
function nearest(scope: Scope, name: string): readonly Directive[] {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    const found = at.directives.filter((directive) => directive.name === name)
    if (found.length > 0) return found
  }
  return []
}

/** The first one, of all blocks around. */
function effective(scope: Scope, fits: (directive: Directive) => boolean): Directive | undefined {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    const found = at.directives.find(fits)
    if (found !== undefined) return found
  }
  return undefined
}
