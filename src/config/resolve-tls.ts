/** TLS and the PROXY protocol, from the parsed file to what the program reads: the files are read here, so that a wrong one is told with its place. */
import type { HostPort, ListenerConfig, ServerConfig } from './config.ts'
import type { ListenerTlsConfig, PoolTlsConfig } from './config-tls.ts'
import type { Path } from './problem.ts'
import { absolute, type Report, type ResolveOptions } from './report.ts'
import type { ParsedFile } from './schema.ts'
import { type ParsedListener, type ParsedPoolTls, REDIRECT_DEFAULTS } from './schema-tls.ts'
import { type CertificateFiles, readAuthorities, readPair, timeProblem, type WrongFile } from './tls-files.ts'

export function resolveListeners({ listeners }: ParsedFile, options: ResolveOptions): ListenerConfig[] {
  return listeners.map((listener, i) => (isAddress(listener) ? { address: listener } : resolveListener(listener, i, options)))
}

function isAddress(listener: HostPort | ParsedListener): listener is HostPort {
  return !('address' in listener)
}

function resolveListener(listener: ParsedListener, i: number, options: ResolveOptions): ListenerConfig {
  const { address, tls, proxyProtocol, redirect } = listener
  const path = ['listeners', i]
  if (tls !== undefined && redirect !== undefined) {
    const message = 'what comes here has come over https already; it is for a listener without tls'
    options.report.error({ path: [...path, 'redirect'], message })
  }
  return {
    address,
    ...(tls && { tls: resolveListenerTls(tls, [...path, 'tls'], options) }),
    ...(proxyProtocol && { proxyProtocol: resolveProxyProtocol(proxyProtocol) }),
    ...(redirect !== undefined && { redirect: redirect === 'https' ? REDIRECT_DEFAULTS : redirect }),
  }
}

function resolveProxyProtocol(read: NonNullable<ParsedListener['proxyProtocol']>): NonNullable<ListenerConfig['proxyProtocol']> {
  const { from, versions, others, timeout, size } = read
  return { from, versions, others, timeoutMs: timeout, bytesMax: size }
}

function resolveListenerTls(read: NonNullable<ParsedListener['tls']>, path: Path, options: ResolveOptions): ListenerTlsConfig {
  const { minVersion, ciphers, clientAuth, tickets, unknownNames, handshakeTimeout, poll } = read
  const certificates = read.certificates.map(({ cert, key }, i) => {
    const files = { cert: absolute(options.folder, cert), key: absolute(options.folder, key) }
    checkPair(files, [...path, 'certificates', i], options.report)
    return files
  })
  return {
    certificates,
    minVersion,
    ...(ciphers !== undefined && { ciphers }),
    ...(clientAuth && { clientAuth: { ...clientAuth, ca: authorities(clientAuth.ca, [...path, 'clientAuth', 'ca'], options) } }),
    ...(tickets !== 'off' && { tickets: { lifetimeMs: tickets.lifetime, rotateMs: tickets.rotate } }),
    unknownNames,
    handshakeMs: handshakeTimeout,
    pollMs: poll,
  }
}

/** Undefined: none of the servers speaks TLS. Where there are none yet, they will if it is said how. */
export function resolvePoolTls(
  { name, tls, servers }: { readonly name: string; readonly tls: ParsedPoolTls | undefined; readonly servers: readonly ServerConfig[] },
  options: ResolveOptions,
): PoolTlsConfig | undefined {
  const path = ['pools', name, 'tls']
  if (!servers.some((server) => server.tls !== undefined) && (servers.length > 0 || tls === undefined)) {
    if (tls !== undefined) options.report.error({ path, message: 'no server of this pool has a URL with https://' }, [['pools', name]])
    return undefined
  }
  if (tls === undefined) return { verify: true }
  const { ca, cert, key, serverName, verify } = tls
  if ((cert === undefined) !== (key === undefined)) options.report.error({ path, message: 'cert and key belong together; name both' })
  if (!verify) {
    if (ca !== undefined) options.report.error({ path: [...path, 'ca'], message: 'it says nothing where verify is false' })
    else options.report.warn({ path: [...path, 'verify'], message: 'false: nobody knows whether these are the servers that are meant' })
  }
  const clientCertificate =
    cert !== undefined && key !== undefined ? { cert: absolute(options.folder, cert), key: absolute(options.folder, key) } : undefined
  if (clientCertificate !== undefined) checkPair(clientCertificate, path, options.report)
  return {
    ...(ca !== undefined && { ca: authorities(ca, [...path, 'ca'], options) }),
    ...(clientCertificate && { clientCertificate }),
    ...(serverName !== undefined && { serverName }),
    verify,
  }
}

function authorities(file: string, path: Path, { folder, report }: ResolveOptions): string {
  const found = absolute(folder, file)
  const read = readAuthorities(found)
  if (typeof read !== 'string') tell(read, path, report)
  return found
}

function checkPair(files: CertificateFiles, path: Path, report: Report): void {
  const pair = readPair(files)
  if ('wrong' in pair) return tell(pair, [...path, pair.of], report)
  const wrongTime = timeProblem(pair.facts, Date.now())
  // An old one is better than none: those who refuse it are told why, and the others are served.
  if (wrongTime !== undefined) report.warn({ path: [...path, 'cert'], message: `${files.cert} ${wrongTime}` })
}

/** Whoever runs the gateway may be able to read what the one who asks about it may not. */
function tell({ wrong, unreadable }: WrongFile, path: Path, report: Report): void {
  if (unreadable === true) report.warn({ path, message: wrong })
  else report.error({ path, message: wrong })
}
