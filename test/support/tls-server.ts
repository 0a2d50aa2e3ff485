/** A server that speaks TLS, and tells what it was sent and over what. */
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket, TlsOptions } from 'node:tls'

export interface TlsTestServer extends AsyncDisposable {
  readonly port: number
  /** One per connection. */
  readonly connections: { readonly serverName: string | false; readonly resumed: boolean; readonly client: string }[]
  /** Requests, checks included. */
  readonly paths: string[]
  answer: (socket: Socket, path: string) => void
  retune(options: TlsOptions): void
}

export async function startTlsServer(options: TlsOptions): Promise<TlsTestServer> {
  const self: Pick<TlsTestServer, 'answer' | 'connections' | 'paths'> = {
    connections: [],
    paths: [],
    answer: (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone'),
  }
  const server = createServer(options, (request, response) => {
    self.paths.push(request.url ?? '')
    // Who answers before all of it was read makes its client choose between sending and reading.
    if (request.url === '/raw') return void request.resume().on('end', () => self.answer(request.socket, '/raw'))
    response.end(`over TLS ${request.headers['x-forwarded-proto']}`)
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    const { servername } = socket as unknown as { readonly servername: string | false }
    const client = String(socket.getPeerX509Certificate()?.subject ?? '')
    self.connections.push({ serverName: servername, resumed: socket.isSessionReused(), client })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(self, {
    port: (server.address() as AddressInfo).port,
    retune: (change: TlsOptions) => server.setSecureContext(change),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}
