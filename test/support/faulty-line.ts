/**
 * The network between a client and a gateway, in the hands of a test: passes HTTP requests on, keeps what they were, and loses those that the
 * test says: before they arrive, or their answers after the gateway has done its work.
 */
import { createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'

export interface PassedRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  /** All that has come of it so far. */
  readonly body: string
}

export type Fault =
  /** Nothing is done with it. */
  | 'lose-request'
  /** The gateway did it, and nobody hears of it. */
  | 'lose-answer'
  /** The answer's head and first bytes come, then the connection breaks. */
  | 'break-answer'
  /** The answer is kept until it is whole, as some proxies do. */
  | 'hold-answer'
  /** A proxy that says no by itself. */
  | 'refuse'

export interface FaultyLine extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly passed: readonly PassedRequest[]
  /** Asked for every request; undefined: it passes. */
  fault: (request: PassedRequest) => Fault | undefined
  /** A gateway that has moved. */
  target: string
  /** Whoever is connected is cut off. */
  breakAll(): void
}

export async function startFaultyLine(target: string): Promise<FaultyLine> {
  const passed: PassedRequest[] = []
  const server = createServer((request, response) => {
    const seen = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body: '' }
    passed.push(seen)
    request.on('data', (chunk: Buffer) => (seen.body += chunk.toString()))
    pass(request, response, { target: line.target, fault: line.fault(seen) })
  })
  server.on('upgrade', (request, socket, head) => {
    passed.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body: '' })
    tunnel(request, socket, head, line.target)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const line: FaultyLine = {
    url: `http://127.0.0.1:${port}`,
    port,
    passed,
    fault: () => undefined,
    target,
    breakAll: () => server.closeAllConnections(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return line
}

/** What was upgraded is bytes from there on. */
function tunnel({ url = '/', rawHeaders }: IncomingMessage, client: Duplex, head: Buffer, target: string): void {
  const { hostname, port } = new URL(target)
  const gateway = connect({ host: hostname, port: Number(port), noDelay: true })
  const over = (): void => {
    client.destroy()
    gateway.destroy()
  }
  for (const socket of [client, gateway]) socket.on('error', over).on('close', over)
  const fields = Array.from({ length: rawHeaders.length / 2 }, (_, i) => `${rawHeaders[2 * i]}: ${rawHeaders[2 * i + 1]}\r\n`)
  gateway.write(`GET ${url} HTTP/1.1\r\n${fields.join('')}\r\n`)
  gateway.write(head)
  client.pipe(gateway).pipe(client)
}

function pass(
  request: IncomingMessage,
  response: ServerResponse,
  to: { readonly target: string; readonly fault: Fault | undefined },
): void {
  const { target, fault } = to
  const cut = (): void => void request.socket.destroy()
  if (fault === 'lose-request') return cut()
  if (fault === 'refuse') return void response.writeHead(403, { 'content-type': 'text/plain' }).end('not through here')
  const { method = 'GET', headers } = request
  const upstream = httpRequest(new URL(request.url ?? '/', target), { method, headers, agent: false }, (answer) => {
    if (fault === 'hold-answer') {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => response.writeHead(answer.statusCode ?? 0, answer.headers).end(Buffer.concat(chunks)))
    } else if (fault === undefined) {
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      response.flushHeaders()
      answer.pipe(response)
    } else if (fault === 'lose-answer') {
      answer.resume().on('end', cut)
    } else {
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.once('data', (first: Buffer) => response.write(first, cut))
    }
    answer.on('error', cut)
  })
  upstream.on('error', cut)
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}
