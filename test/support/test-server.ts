/** A real HTTP server that counts what it is sent and does what a test tells it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Received {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface TestServer {
  readonly port: number
  /** Jobs and calls, not checks. */
  readonly received: Received[]
  /** Requests being worked on, and the most there ever were. */
  readonly inFlight: number
  readonly inFlightMax: number
  /** What checks are answered. */
  healthStatus: number
  healthHeaders: Readonly<Record<string, string>>
  handle: (received: Received, response: ServerResponse) => void | Promise<void>
  /** Breaks all connections and stops to listen. */
  kill(): Promise<void>
  /** Listens again at the same port. */
  revive(): Promise<void>
}

export async function startTestServer(handle: TestServer['handle'] = (_, response) => void response.end('done')): Promise<TestServer> {
  const received: Received[] = []
  let inFlight = 0
  let inFlightMax = 0
  const server = createServer((request, response) => {
    if (request.url === '/healthz') {
      response.statusCode = self.healthStatus
      for (const [name, value] of Object.entries(self.healthHeaders)) response.setHeader(name, value)
      return void response.end()
    }
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => undefined)
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request
      const one: Received = { method, url, headers, rawHeaders, body: Buffer.concat(chunks) }
      received.push(one)
      inFlight++
      inFlightMax = Math.max(inFlightMax, inFlight)
      response.on('close', () => inFlight--)
      void self.handle(one, response)
    })
  })
  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const self: TestServer = {
    port,
    received,
    get inFlight() {
      return inFlight
    },
    get inFlightMax() {
      return inFlightMax
    },
    healthStatus: 200,
    healthHeaders: {},
    handle,
    kill: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
    revive: () => listen(port),
  }
  return self
}
