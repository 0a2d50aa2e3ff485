/** `server` blocks of nginx: where they listen, for which names, and which of them can be served by one gateway. */
import { parseHostName } from './host-names.ts'
import type { Draft, SourceLine } from './draft.ts'
import type { Directive } from './nginx-parse.ts'

interface Listen {
  readonly address: string
  readonly port: number
  readonly isDefault: boolean
  readonly isTls: boolean
  /** It begins with a header of the PROXY protocol. */
  readonly isProxied: boolean
  readonly source: SourceLine
}

export class NginxServer {
  readonly source: Directive
  readonly directives: readonly Directive[]
  readonly listens: readonly Listen[]
  /** `*.` stands before those that take all below. */
  readonly names: readonly string[]
  /** It takes what no other one takes. */
  isDefault = false

  constructor(source: Directive, listens: readonly Listen[], names: readonly string[]) {
    this.source = source
    this.directives = source.block ?? []
    this.listens = listens
    this.names = names
  }

  /** For its routes; undefined: any. The default one names those that another one would take else. */
  hostsAmong(served: readonly NginxServer[]): readonly (string | undefined)[] {
    if (!this.isDefault) return this.names
    const wildcards = served.filter((other) => other !== this).flatMap(({ names }) => names.filter((name) => name.startsWith('*.')))
    return [undefined, ...this.names.filter((name) => wildcards.some((wildcard) => name.endsWith(wildcard.slice(1))))]
  }
}

export function readServer(directive: Directive, draft: Draft): NginxServer {
  const listens: Listen[] = []
  const names: string[] = []
  for (const inner of directive.block ?? []) {
    if (inner.name === 'listen') {
      const listen = readListen(inner, draft)
      if (listen !== undefined) listens.push(listen)
    }
    if (inner.name !== 'server_name') continue
    for (const name of inner.args) {
      const hosts = parseHostName(name)
      if (hosts === undefined) draft.left(inner, `the name ${name} cannot be matched here; give its routes a host`)
      else names.push(...hosts)
    }
  }
  if (!(directive.block ?? []).some(({ name }) => name === 'listen')) {
    listens.push({ address: '0.0.0.0:80', port: 80, isDefault: false, isTls: false, isProxied: false, source: directive })
  }
  return new NginxServer(directive, listens, [...new Set(names)])
}

const NEEDLESS_PARAMETERS =
  /^(default_server|default|reuseport|deferred|bind|so_keepalive.*|ssl|proxy_protocol|backlog=\d+|rcvbuf=.*|sndbuf=.*|fastopen=\d+|ipv6only=on)$/

function readListen(directive: Directive, draft: Draft): Listen | undefined {
  const [where = '', ...parameters] = directive.args
  const found = /^(?:(\[[0-9a-f:.]+\]|\*|[a-z0-9_.-]*[a-z_.-][a-z0-9_.-]*|\d+\.\d+\.\d+\.\d+):)?(\d{1,5})$/i.exec(where)
  const onlyHost = /^(\[[0-9a-f:.]+\]|\*|\d+\.\d+\.\d+\.\d+|localhost)$/i.exec(where)
  const host = found?.[1] ?? onlyHost?.[1] ?? '*'
  const port = Number(found?.[2] ?? 80)
  if ((found === null && onlyHost === null) || port < 1 || port > 65_535) {
    draft.left(directive, 'only addresses and ports can be listened on')
    return undefined
  }
  const unknown = parameters.filter((each) => !NEEDLESS_PARAMETERS.test(each))
  if (unknown.length > 0) {
    const isNewer = unknown.every((each) => each === 'http2' || each === 'quic')
    draft.left(
      directive,
      isNewer ? 'HTTP/2 and HTTP/3 are not spoken here: clients speak HTTP/1.1' : `not translated: ${unknown.join(' ')}`,
    )
    if (unknown.includes('quic')) return undefined
  }
  const address = `${host === '*' ? '0.0.0.0' : host}:${port}`
  const isDefault = parameters.includes('default_server') || parameters.includes('default')
  const isProxied = parameters.includes('proxy_protocol')
  return { address, port, isDefault, isTls: parameters.includes('ssl'), isProxied, source: directive }
}

/** Those that share a port with the first one that asks servers. */
export function groupServers(servers: readonly NginxServer[]): {
  readonly served: readonly NginxServer[]
  readonly others: readonly NginxServer[]
} {
  const reachable = servers.filter(({ listens }) => listens.length > 0)
  const first = reachable.find(({ directives }) => asks(directives)) ?? reachable[0]
  const ports = new Set(first?.listens.map(({ port }) => port))
  const served = reachable.filter(
    ({ listens }) =>
      listens.every(({ port }) => ports.has(port)) && [...ports].every((port) => listens.some((listen) => listen.port === port)),
  )
  const main = served.length > 0 ? served : reachable.slice(0, 1)
  const chosen = main.find(({ listens }) => listens.some(({ isDefault }) => isDefault)) ?? main[0]
  if (chosen !== undefined) chosen.isDefault = true
  return { served: main, others: servers.filter((server) => !main.includes(server)) }
}

function asks(directives: readonly Directive[]): boolean {
  return directives.some(({ name, block }) => name === 'proxy_pass' || (name === 'location' && asks(block ?? [])))
}

/** It does nothing but send everybody to https; how. */
export function httpsRedirectOf({ directives, listens }: NginxServer, draft: Draft): string | undefined {
  const inside = directives.flatMap((each) => (each.name === 'location' && each.args.join(' ') === '/' ? (each.block ?? []) : [each]))
  const rest = inside.filter(({ name }) => !/^(listen|server_name|access_log|error_log|server_tokens)$/.test(name))
  const byName = rest.filter((each) => each.name === 'if' && /^\( ?\$host = [\w.-]+ ?\)$/.test(each.args.join(' ')))
  const [only, ...others] = rest.filter((each) => !byName.includes(each))
  if (only === undefined || others.length > 0 || only.name !== 'return' || listens.some(({ isTls }) => isTls)) return undefined
  if (byName.length === 0) return redirectIn(only)
  // As certbot writes it: its names go to https, for others there is nothing.
  const found = byName.map(({ block = [] }) => (block.length === 1 && block[0] !== undefined ? redirectIn(block[0]) : undefined))
  if (only.args[0] !== '404' || found[0] === undefined || found.some((each) => each !== found[0])) return undefined
  draft.left(only, 'a listener that redirects sends everybody to https, whatever the name')
  return found[0]
}

/** `if ($scheme = http) { return 301 https://… }` of a server that listens with and without TLS. */
export function schemeRedirectOf({ name, args, block = [] }: Directive): string | undefined {
  if (name !== 'if' || !/^\( ?\$scheme (= "?http"?|!= "?https"?) ?\)$/.test(args.join(' '))) return undefined
  const [only, ...others] = block
  return only !== undefined && others.length === 0 ? redirectIn(only) : undefined
}

function redirectIn({ name, args }: Directive): string | undefined {
  const [status = '', to = ''] = name === 'rewrite' ? rewritten(args) : args
  if ((name !== 'return' && name !== 'rewrite') || !/^https:\/\/\$(host|http_host)\$request_uri$/.test(to)) return undefined
  return status === '308' ? 'https' : status === '301' ? '{ status: 301 }' : undefined
}

/** `rewrite ^ https://$host$request_uri? permanent`, as `return` says it. */
function rewritten([regex = '', to = '', flag = '']: readonly string[]): readonly string[] {
  if (flag !== 'permanent') return []
  if (/^\^\(\.\*\)\$?$/.test(regex) && to.endsWith('$1')) return ['301', `${to.slice(0, -2)}$request_uri`]
  return /^(\^|\.\*)$/.test(regex) && to.endsWith('?') ? ['301', to.slice(0, -1)] : []
}
