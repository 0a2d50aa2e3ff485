/** Parameters of `server` and `default-server` of HAProxy: what of them is the pool's here, and what keeps a server from being asked. */
import { based } from './haproxy-bind.ts'
import type { Statement } from './haproxy-parse.ts'

export type Parameters = ReadonlyMap<string, string>

const FLAGS = new Set(
  'agent-check allow-0rtt backup check check-send-proxy check-ssl check-via-socks4 disabled enabled force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 force-tlsv13 no-agent-check no-backup no-check no-check-send-proxy no-check-ssl no-send-proxy no-send-proxy-v2 no-send-proxy-v2-ssl no-ssl no-ssl-reuse no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 no-tls-tickets no-verifyhost no-tfo non-stick send-proxy send-proxy-v2 send-proxy-v2-ssl send-proxy-v2-ssl-cn ssl ssl-reuse stick tfo tls-tickets'.split(
    ' ',
  ),
)

/** Said for the pool, or of no importance here. */
const KNOWN = new Set(
  'check no-check backup no-backup enabled weight maxconn inter fall rise slowstart fastinter downinter stick non-stick ssl no-ssl check-ssl no-check-ssl init-addr cookie pool-max-conn pool-purge-delay pool-low-conn resolvers resolve-prefer resolve-opts resolve-net verify verifyhost sni ca-file crt port send-proxy no-send-proxy send-proxy-v2 no-send-proxy-v2 send-proxy-v2-ssl send-proxy-v2-ssl-cn check-send-proxy no-check-send-proxy observe error-limit on-error no-sslv3 no-tlsv10 no-tlsv11 ssl-reuse no-ssl-reuse tls-tickets no-tls-tickets tfo no-tfo no-agent-check id log-proto check-alpn'.split(
    ' ',
  ),
)

/** What is not done of the others, where it has a reason of its own. */
const LEFT: Readonly<Record<string, string>> = {
  'agent-check': 'servers say their load and that they leave in their answers here; see serverReports',
  'agent-port': 'servers say their load and that they leave in their answers here; see serverReports',
  'agent-inter': 'servers say their load and that they leave in their answers here; see serverReports',
  'agent-addr': 'servers say their load and that they leave in their answers here; see serverReports',
  addr: 'checks go to the address of the server here; its port can be another one',
  alpn: 'HTTP/1.1 is spoken with servers',
  'check-sni': 'checks name the server as requests do',
  maxqueue: 'there is one line for the pool here: maxWaiting',
  minconn: 'see adaptive',
  'on-marked-down': 'see failoverGrace',
  'on-marked-up': 'a server that is up again takes nothing away from those in reserve but new requests',
  track: 'each server of each pool is checked for itself here',
  redir: 'clients are not sent to servers here',
  ciphers: 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
  ciphersuites: 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
  'ssl-min-ver': 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
  'ssl-max-ver': 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
  'force-tlsv12': 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
  'force-tlsv13': 'Node.js chooses how servers are spoken to: with TLS 1.2 or 1.3',
}

/** Without them the server could not be asked, or not safely. */
const UNUSABLE: Readonly<Record<string, string>> = {
  proto: 'only HTTP/1.1 is spoken with servers',
  source: 'the address that servers are asked from is the choice of the system',
  'crl-file': 'revocation lists are not read here',
  socks4: 'servers are asked directly here',
}

export function parametersOf(words: readonly string[]): Map<string, string> {
  const parameters = new Map<string, string>()
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string
    const value = FLAGS.has(word) ? '' : (words[++i] ?? '')
    // What was said before, by default-server, is taken back.
    if (word.startsWith('no-')) parameters.delete(word.slice(3))
    parameters.set(word, value)
  }
  return parameters
}

export function unusableReason(parameters: Parameters): string | undefined {
  const name = [...parameters.keys()].find((each) => Object.hasOwn(UNUSABLE, each))
  return name === undefined ? undefined : `${name}: ${UNUSABLE[name]}`
}

/** A reason for each that is not translated. */
export function leftParameters(parameters: Parameters): string[] {
  const names = [...parameters.keys()].filter((name) => !KNOWN.has(name))
  return names.map((name) => `${name}: ${(Object.hasOwn(LEFT, name) ? LEFT[name] : undefined) ?? 'this import does not know it'}`)
}

export interface ServerContext {
  readonly crtBase: string | undefined
  readonly caBase: string | undefined
  /** Of `ssl-server-verify none`. */
  readonly isUnverified: boolean
}

/** `tls` of the pool; left: what is not quite the same. Or why it cannot be asked. */
export function serverTls(
  parameters: Parameters,
  { crtBase, caBase, isUnverified }: ServerContext,
): { readonly text: string; readonly left: readonly string[] } | string {
  const isVerified = (parameters.get('verify') ?? (isUnverified ? 'none' : 'required')) !== 'none'
  const parts = [`verify: ${isVerified}`]
  const left: string[] = []
  const ca = parameters.get('ca-file')
  if (isVerified && ca !== undefined && !ca.startsWith('@')) parts.push(`ca: ${JSON.stringify(based(ca, caBase))}`)
  const sni = parameters.get('sni')
  const name = sni === undefined ? undefined : /^str\(([\w-]+(?:\.[\w-]+)*)\)$/.exec(sni)?.[1]
  if (sni !== undefined && name === undefined)
    return 'sni: the name that servers are asked for is one for all requests here: tls.serverName'
  const host = parameters.get('verifyhost')
  if (host !== undefined && name !== undefined && host !== name) return 'verifyhost: it is the name of sni here'
  const serverName = name ?? host
  if (serverName !== undefined) parts.push(`serverName: ${JSON.stringify(serverName)}`)
  else if (isVerified) left.push('a certificate must have the name of its server here; see tls.serverName')
  const crt = parameters.get('crt')
  if (crt !== undefined) {
    const file = JSON.stringify(based(crt, crtBase))
    parts.push(`cert: ${file}`, `key: ${file}`)
  }
  return { text: `{ ${parts.join(', ')} }`, left }
}

/** `proxyProtocol` of the pool. */
export function serverProxy(parameters: Parameters): 'v1' | 'v2' | undefined {
  if (parameters.has('send-proxy-v2') || parameters.has('send-proxy-v2-ssl') || parameters.has('send-proxy-v2-ssl-cn')) return 'v2'
  return parameters.has('send-proxy') ? 'v1' : undefined
}

/** `server-template NAME 1-5 host:port …` is one host name with all its addresses here. */
export function asServer(line: Statement): Statement {
  return line.words[0] === 'server-template' ? { ...line, words: ['server', ...line.words.slice(1, 2), ...line.words.slice(3)] } : line
}
