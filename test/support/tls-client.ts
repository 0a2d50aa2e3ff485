/** One request over TLS, with everything that TLS says about it. */
import { once } from 'node:events'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'

export interface TlsAnswer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** What followed the head, until the end of the connection. */
  readonly text: string
  readonly resumed: boolean
  readonly protocol: string
  readonly alpn: string | false | null
  /** Common name of the certificate that was shown. */
  readonly shown: string
  /** For the next connection. */
  readonly session: Buffer | undefined
}

/** Errors with a code, where the handshake or the answer comes to nothing. */
export async function askTls(
  port: number,
  options: ConnectionOptions & { readonly request?: string; readonly target?: string; readonly before?: Uint8Array } = {},
): Promise<TlsAnswer> {
  const { request, target = '/', ...connection } = options
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ALPNProtocols: ['http/1.1'], ...connection })
  let session: Buffer | undefined
  socket.on('session', (made: Buffer) => (session = made))
  try {
    await once(socket, 'secureConnect')
    socket.write(request ?? `GET ${target} HTTP/1.1\r\nHost: ${connection.servername || 'localhost'}\r\nConnection: close\r\n\r\n`)
    const bytes = await untilEnd(socket)
    const text = bytes.toString('latin1')
    const headEnd = text.indexOf('\r\n\r\n')
    if (headEnd < 0) throw new Error('the connection was closed without an answer')
    const [statusLine = '', ...lines] = text.slice(0, headEnd).split('\r\n')
    return {
      status: Number(statusLine.split(' ')[1]),
      headers: Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
      ),
      text: text.slice(headEnd + 4),
      resumed: socket.isSessionReused(),
      protocol: socket.getProtocol() ?? '',
      alpn: socket.alpnProtocol,
      shown: String(socket.getPeerX509Certificate()?.subject ?? '').replace('CN=', ''),
      session,
    }
  } finally {
    socket.destroy()
  }
}

function untilEnd(socket: TLSSocket): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('end', () => resolve(Buffer.concat(chunks)))
    socket.on('close', () => reject(new Error('the connection was closed without an end')))
  })
}
