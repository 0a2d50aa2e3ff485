/**
 * A server that a test plays by hand, byte by byte. Keeps every byte that reached it. Connections that send nothing (the pool's TCP checks)
 * do not count.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { until } from './until.ts'

export class RawConnection {
  readonly socket: Socket
  #chunks: Buffer[] = []
  ended = false
  closed = false
  /** Requests begun on this connection, this one included. */
  requests = 0

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('end', () => {
      this.ended = true
    })
    socket.on('close', () => {
      this.closed = true
    })
  }

  add(chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  get received(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0] as Buffer
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  write(piece: string | Uint8Array): this {
    if (typeof piece === 'string') this.socket.write(piece, 'latin1')
    else this.socket.write(piece)
    return this
  }

  end(): void {
    this.socket.end()
  }

  reset(): void {
    this.socket.resetAndDestroy()
  }

  /** Throws when the connection ends before. */
  async untilText(text: string): Promise<void> {
    const soFar = (): string => `the server read ${JSON.stringify(text)} (so far: ${JSON.stringify(this.text.slice(-300))})`
    await until(soFar, () => this.text.includes(text) || this.ended || this.closed)
    if (!this.text.includes(text)) throw new Error(`the connection ended before ${soFar()}`)
  }

  async untilGone(): Promise<void> {
    await until('the connection to the server is closed', () => this.ended || this.closed)
  }
}

/** Finds the heads in a stream of well-formed requests: what the gateway sends. */
class RequestHeads {
  #rest = ''
  #bodyLeft = 0
  #chunked = false

  add(chunk: Buffer): string[] {
    const found: string[] = []
    this.#rest += chunk.toString('latin1')
    while (this.#skipBody()) {
      const end = this.#rest.indexOf('\r\n\r\n')
      if (end < 0) break
      const head = this.#rest.slice(0, end + 4)
      this.#rest = this.#rest.slice(end + 4)
      this.#bodyLeft = Number(fieldIn(head, 'content-length') ?? 0)
      this.#chunked = fieldIn(head, 'transfer-encoding') !== undefined
      found.push(head)
    }
    return found
  }

  /** True: a head comes next. */
  #skipBody(): boolean {
    if (this.#chunked) {
      const last = /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(this.#rest)
      if (last === null) return false
      this.#rest = this.#rest.slice(last.index + last[0].length)
      this.#chunked = false
      return this.#rest !== ''
    }
    const skipped = Math.min(this.#bodyLeft, this.#rest.length)
    this.#rest = this.#rest.slice(skipped)
    this.#bodyLeft -= skipped
    return this.#bodyLeft === 0 && this.#rest !== ''
  }
}

/** Called once per request, when its head is complete. `head`: from the request line to the empty line. */
export type RawHandler = (connection: RawConnection, head: string) => void | Promise<void>

export interface RawServer extends AsyncDisposable {
  readonly port: number
  /** Those that sent something, in order. */
  readonly connections: readonly RawConnection[]
  handle: RawHandler
  /** Heads of all requests. */
  readonly heads: readonly string[]
  /** Stops listening: connects are refused. */
  refuse(): Promise<void>
  listenAgain(): Promise<void>
}

export async function startRawServer(handle: RawHandler = answerOk): Promise<RawServer> {
  const connections: RawConnection[] = []
  const heads: string[] = []
  const open = new Set<Socket>()
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const connection = new RawConnection(socket)
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    const requests = new RequestHeads()
    socket.on('end', () => {
      if (connection.received.length === 0) socket.destroy()
    })
    socket.on('data', (chunk) => {
      if (!connections.includes(connection)) connections.push(connection)
      connection.add(chunk)
      for (const head of requests.add(chunk)) {
        connection.requests++
        heads.push(head)
        // A handler that waits for more when the connection ends has nothing left to do.
        void Promise.resolve(self.handle(connection, head)).catch((error: unknown) => {
          if (!connection.ended && !connection.closed) throw error
        })
      }
    })
  })
  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  const refuse = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      for (const socket of open) socket.destroy()
    })
  const self: RawServer = {
    port,
    connections,
    heads,
    handle,
    refuse,
    listenAgain: () => listen(port),
    async [Symbol.asyncDispose]() {
      if (server.listening) await refuse()
    },
  }
  return self
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

function answerOk(connection: RawConnection): void {
  connection.write(OK)
}

/** Value of a field in a head, or undefined. */
export function fieldIn(head: string, name: string): string | undefined {
  return fieldsIn(head, name)[0]
}

export function fieldsIn(head: string, name: string): string[] {
  return head
    .split('\r\n')
    .slice(1)
    .filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))
    .map((line) => line.slice(name.length + 1).trim())
}
