/** What a configuration file may say about TLS and the PROXY protocol, on both sides. */
import * as z from 'zod'
import * as field from './fields.ts'

const certificate = z.strictObject({
  cert: field.file.describe('The certificate in PEM, then those that lead to its authority. Relative to the file.'),
  key: field.file.describe('Its private key in PEM, not encrypted. Relative to the file.'),
})

const clientAuth = z.strictObject({
  ca: field.file.describe("Authorities of clients' certificates, in PEM."),
  mode: z
    .enum(['require', 'request'])
    .default('require')
    .describe(
      '`require`: no connection without a valid certificate. `request`: clients may come without one; one that is not valid is refused.',
    ),
})

const tickets = z.strictObject({
  lifetime: field.span.prefault('1h').describe('How long a session may be resumed.'),
  rotate: field.span.prefault('12h').describe('Between two new keys; sessions of the key before begin anew.'),
})

const listenerTls = z.strictObject({
  certificates: z
    .array(certificate)
    .min(1)
    .describe(
      'Chosen by the name that the client asks for (SNI) and the names in them. The first one is for clients that ask for none, or for one that no certificate has.',
    ),
  minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('The oldest version that is spoken.'),
  ciphers: field.ciphers.optional().describe('For TLS 1.2 and 1.3, as OpenSSL writes them. Left out: those of Node.js.'),
  clientAuth: clientAuth.optional().describe('Clients have certificates (mTLS); servers get them as `Client-Cert` (RFC 9440).'),
  tickets: z
    .union([field.off, tickets])
    .prefault({})
    .describe('Clients that come back resume their session, also after a reload. `off`: never.'),
  unknownNames: z
    .enum(['serve', 'refuse'])
    .default('serve')
    .describe(
      'Clients that ask for no name, or for one that no certificate has: `serve` them with the first certificate, or `refuse` them.',
    ),
  handshakeTimeout: field.span.prefault('10s').describe('From the connection to the end of the handshake.'),
  poll: field.span.prefault('10s').describe('How often the files are looked at; what has changed holds for new connections.'),
})

const listenerProxyProtocol = z.strictObject({
  from: z.array(field.network).min(1).describe('The proxies in front: their connections must begin with a header.'),
  versions: z
    .array(z.enum(['v1', 'v2']))
    .min(1)
    .default(['v1', 'v2'])
    .describe('Which versions of the header.'),
  others: z
    .enum(['refuse', 'direct'])
    .default('refuse')
    .describe('Who comes from elsewhere: is refused, or is a client that sends no header (`direct`).'),
  timeout: field.span.prefault('3s').describe('From the connection to the end of the header.'),
  size: field.size.prefault('4KiB').describe('A header of version 2, with all that the proxy adds to it.'),
})

const redirect = z.strictObject({
  port: field.count(1, 65_535).default(443).describe('Where https is served, as clients reach it.'),
  status: z
    .union([z.literal(308), z.literal(301)])
    .default(308)
    .describe('308 keeps the method, 301 is what very old clients know.'),
})

export const listenerSchema = z.strictObject({
  address: field.address.describe('Where connections are accepted.'),
  tls: listenerTls.optional().describe('TLS ends here; see [TLS](../tls.md).'),
  proxyProtocol: listenerProxyProtocol
    .optional()
    .describe('Proxies in front tell the address of the client in a header of the PROXY protocol, before TLS.'),
  redirect: z
    .union([z.literal('https'), redirect])
    .optional()
    .describe('Nothing is served here: every request is sent to the same host and target with `https`.'),
})

export const poolTlsSchema = z.strictObject({
  ca: field.file.optional().describe("Authorities of the servers' certificates, in PEM, instead of those that Node.js knows."),
  cert: field.file.optional().describe('What the gateway shows servers that ask for a certificate (mTLS), in PEM.'),
  key: field.file.optional().describe('Its private key in PEM, not encrypted.'),
  serverName: field.serverName
    .optional()
    .describe('The name in the certificates of the servers, and in SNI. Left out: the host of each URL.'),
  verify: z
    .boolean()
    .default(true)
    .describe('`false`: any certificate will do. Whoever stands between the gateway and its servers can read and change everything.'),
})

export const poolProxyProtocol = z
  .union([field.off, z.enum(['v1', 'v2'])])
  .default('off')
  .describe(
    "Each connection begins with the client's address in a header of the PROXY protocol. Connections are not shared among clients then. Health checks and jobs say that they are the gateway's own.",
  )

export const REDIRECT_DEFAULTS: z.output<typeof redirect> = redirect.parse({})
export type ParsedListener = z.output<typeof listenerSchema>
export type ParsedPoolTls = z.output<typeof poolTlsSchema>
