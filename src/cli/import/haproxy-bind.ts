/** `bind` of HAProxy, as listeners. */
import type { DraftRoute } from './draft.ts'
import type { Statement } from './haproxy-parse.ts'

export interface Bind {
  readonly line: Statement
  readonly addresses: readonly (string | undefined)[]
  readonly isTls: boolean
  readonly keys: DraftRoute['keys']
  readonly left: readonly string[]
  /** Why it is not listened on. */
  readonly unusable: string | undefined
}

/** What the global section and other lines say of all of them. */
export interface BindContext {
  readonly crtBase: string | undefined
  readonly caBase: string | undefined
  readonly defaults: readonly string[]
  readonly ciphers: string | undefined
  readonly suites: string | undefined
  /** Of `tcp-request connection expect-proxy`: whose connections begin with a header. */
  readonly proxies: readonly string[] | undefined
}

/** With how many words follow it. */
const NEEDLESS = new Map<string, number>([
  ...['name', 'backlog', 'maxconn', 'id', 'nbconn', 'process', 'thread', 'shards', 'tcp-ut', 'uid', 'user', 'gid', 'group', 'mode', 'level', 'severity-output', 'curves', 'ecdhe', 'ssl-max-ver', 'ca-sign-file', 'ca-sign-pass', 'mss'].map((word) => [word, 1] as const), // biome-ignore format: a table
  ...['transparent', 'defer-accept', 'tfo', 'v4v6', 'no-sslv3', 'no-tlsv10', 'no-tlsv11', 'prefer-client-ciphers', 'force-strict-sni', 'expose-fd'].map((word) => [word, 0] as const), // biome-ignore format: a table
])
const FLAGS = new Set(['ssl', 'accept-proxy', 'strict-sni', 'no-tls-tickets', 'force-tlsv12', 'force-tlsv13', 'no-tlsv12', 'v6only', 'no-alpn', 'generate-certificates', 'allow-0rtt']) // biome-ignore format: a table

export function readBind(line: Statement, context: BindContext): Bind {
  const [, where = '', ...words] = line.words
  const given = new Map<string, string[]>()
  for (const source of [context.defaults, words]) {
    for (let i = 0; i < source.length; i++) {
      const word = source[i] as string
      const needless = NEEDLESS.get(word)
      if (needless !== undefined) i += needless
      else given.set(word, FLAGS.has(word) ? [] : [...(given.get(word) ?? []), source[++i] ?? ''])
    }
  }
  const isTls = given.has('ssl')
  const left: string[] = []
  const tls = isTls ? tlsOf(given, context, left) : undefined
  const proxied = given.has('accept-proxy') ? ['0.0.0.0/0', '::/0'] : context.proxies
  const others = given.has('accept-proxy') ? '' : ', others: direct'
  const keys: DraftRoute['keys'] = [
    ...(typeof tls === 'object' ? [['tls', tls.text] as const] : []),
    ...(proxied === undefined
      ? []
      : [['proxyProtocol', `{ from: [${proxied.map((each) => JSON.stringify(each)).join(', ')}]${others} }`] as const]),
  ]
  const known = isTls ? TLS_WORDS : []
  const unknown = [...given.keys()].filter(
    (word) => word !== 'accept-proxy' && !known.includes(word) && !(context.defaults.includes(word) && !isTls),
  )
  const unusable = typeof tls === 'string' ? tls : unknown.length > 0 ? `not translated: ${unknown.join(' ')}` : undefined
  return { line, addresses: where.split(',').map(bindAddress), isTls, keys, left, unusable }
}

const TLS_WORDS = ['ssl', 'crt', 'ca-file', 'verify', 'alpn', 'npn', 'no-alpn', 'ciphers', 'ciphersuites', 'ssl-min-ver', 'force-tlsv13', 'force-tlsv12', 'no-tlsv12', 'strict-sni', 'no-tls-tickets'] // biome-ignore format: a table
/** Of TLS 1.3, which `ciphers` is not about. */
const SUITES = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'

/** Or why there is none. */
function tlsOf(
  given: ReadonlyMap<string, readonly string[]>,
  { crtBase, caBase, ciphers, suites }: BindContext,
  left: string[],
): { readonly text: string } | string {
  const crts = given.get('crt') ?? []
  if (crts.length === 0) return 'there is no certificate for it'
  if (crts.some((crt) => /\/$|^@/.test(crt))) return 'a certificate is a file here, and a folder is many: name each of them'
  const certificates = crts.map((crt) => based(crt, crtBase)).map((crt) => `{ cert: ${JSON.stringify(crt)}, key: ${JSON.stringify(crt)} }`)
  const parts = [`certificates: [${certificates.join(', ')}]`]
  const oldest = given.get('ssl-min-ver')?.at(-1)
  if (oldest === 'TLSv1.3' || given.has('force-tlsv13') || given.has('no-tlsv12')) parts.push('minVersion: TLSv1.3')
  else if (/^(SSLv3|TLSv1\.[01])$/.test(oldest ?? '')) left.push('TLS 1.2 is the oldest version that is spoken here')
  if (given.has('force-tlsv12')) left.push('TLS 1.3 is spoken here as well')
  const list = given.get('ciphers')?.at(-1) ?? ciphers
  const newer = given.get('ciphersuites')?.at(-1) ?? suites
  if (list !== undefined) parts.push(`ciphers: ${JSON.stringify(`${newer ?? SUITES}:${list}`)}`)
  else if (newer !== undefined) left.push('ciphers of TLS 1.3 are written together with those of 1.2 here: tls.ciphers')
  const verify = given.get('verify')?.at(-1) ?? 'none'
  const ca = given.get('ca-file')?.at(-1)
  if (verify !== 'none') {
    const mode = { required: 'require', optional: 'request' }[verify]
    if (mode === undefined || ca === undefined || ca.startsWith('@'))
      return 'whom clients are asked for certificates of is not said by a file'
    parts.push(`clientAuth: { ca: ${JSON.stringify(based(ca, caBase))}, mode: ${mode} }`)
  }
  if (given.has('strict-sni')) parts.push('unknownNames: refuse')
  if (given.has('no-tls-tickets')) parts.push('tickets: off')
  if (/\bh[23]/.test([...(given.get('alpn') ?? []), ...(given.get('npn') ?? [])].join()))
    left.push('HTTP/2 and HTTP/3 are not spoken here: clients speak HTTP/1.1')
  return { text: `{ ${parts.join(', ')} }` }
}

/** Relative names lie below the folder that is named for all. */
export function based(file: string, base: string | undefined): string {
  return base === undefined || file.startsWith('/') ? file : `${base.replace(/\/$/, '')}/${file}`
}

/** `:80`, `*:80`, `10.0.0.1:80`, `[::]:80`, `:::80`. */
function bindAddress(text: string): string | undefined {
  const found = /^(ipv[46]@)?(\[?[0-9a-f:.]*\]?|\*):(\d{1,5})$/i.exec(text)
  const port = Number(found?.[3])
  if (found === null || port < 1 || port > 65_535) return undefined
  const host = found[2] ?? ''
  if (host === '' || host === '*') return `0.0.0.0:${port}`
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return `${host}:${port}`
  return host.includes(':') ? `[${host.replaceAll(/[[\]]/g, '')}]:${port}` : undefined
}
