/** `server` blocks of nginx: where they listen, for which names, and which of them can be served by one gateway. */
import { parseHostName } from './host-names.ts'
import type { Draft, SourceLine } from './draft.ts'
import type { Directive } from './nginx-parse.ts'

interface Listen {
  readonly address: string
  readonly port: number
  readonly isDefault: boolean
  readonly isTls: boolean
  readonly source: SourceLine
}

export class NginxServer {
  readonly source: SourceLine
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
    listens.push({ address: '0.0.0.0:80', port: 80, isDefault: false, isTls: false, source: directive })
  }
  return new NginxServer(directive, listens, [...new Set(names)])
}

const NEEDLESS_PARAMETERS =
  /^(default_server|default|reuseport|deferred|bind|so_keepalive.*|ssl|backlog=\d+|rcvbuf=.*|sndbuf=.*|fastopen=\d+|ipv6only=on)$/

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
    draft.left(directive, `not translated: ${unknown.join(' ')}`)
    if (unknown.some((each) => each === 'quic' || each === 'proxy_protocol')) return undefined
  }
  const address = `${host === '*' ? '0.0.0.0' : host}:${port}`
  const isDefault = parameters.includes('default_server') || parameters.includes('default')
  return { address, port, isDefault, isTls: parameters.includes('ssl'), source: directive }
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

/** An address for both kinds of IP is one here. */
export function importListeners(servers: readonly NginxServer[], draft: Draft): void {
  const all = servers.flatMap(({ listens }) => listens)
  const tls = tlsOf(servers)
  for (const { address, source, isTls } of all) {
    const isCovered = address.startsWith('0.0.0.0:') && all.some((other) => other.address === address.replace('0.0.0.0', '[::]'))
    if (isCovered) draft.needless(source, '[::] takes IPv4 as well')
    else if (!isTls) draft.listen(address, source)
    else if (tls === undefined) draft.left(source, 'there is no certificate for it, and it is not listened on')
    else draft.listen(address, source, [['tls', tls]])
  }
}

/** The default server's certificates first: they are for clients that name no host. Undefined: there is none. */
function tlsOf(servers: readonly NginxServer[]): string | undefined {
  const pairs = servers
    .toSorted((a, b) => Number(b.isDefault) - Number(a.isDefault))
    .flatMap(({ directives }) => {
      const valuesOf = (wanted: string): (string | undefined)[] =>
        directives.filter(({ name }) => name === wanted).map(({ args }) => args[0])
      const keys = valuesOf('ssl_certificate_key')
      return valuesOf('ssl_certificate').flatMap((cert, i) =>
        cert === undefined || keys[i] === undefined ? [] : [`{ cert: ${JSON.stringify(cert)}, key: ${JSON.stringify(keys[i])} }`],
      )
    })
  return pairs.length === 0 ? undefined : `{ certificates: [${[...new Set(pairs)].join(', ')}] }`
}

/** It does nothing but send everybody to https; how. */
export function httpsRedirectOf({ directives, listens }: NginxServer): string | undefined {
  const inside = directives.flatMap((each) => (each.name === 'location' && each.args.join(' ') === '/' ? (each.block ?? []) : [each]))
  const [only, ...others] = inside.filter(({ name }) => !/^(listen|server_name|access_log|error_log|server_tokens)$/.test(name))
  if (only === undefined || others.length > 0 || only.name !== 'return' || listens.some(({ isTls }) => isTls)) return undefined
  const [status = '', to = ''] = only.args
  if (!/^https:\/\/\$(host|http_host)\$request_uri$/.test(to)) return undefined
  return status === '308' ? 'https' : status === '301' ? '{ status: 301 }' : undefined
}
