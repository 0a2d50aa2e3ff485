/** Requests one after the other on one kept-alive connection, at a fraction of what node:http costs: for tests that need very many of them. */
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'

export interface FastAnswer {
  readonly status: number
  /** Status line and fields. */
  readonly head: string
  readonly body: Buffer
}

export class FastClient {
  readonly socket: Socket
  #input: Buffer = Buffer.alloc(0)
  #waiting: PromiseWithResolvers<FastAnswer> | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => this.#waiting?.reject(new Error('the connection was closed before the answer')))
  }

  static async connect(port: number): Promise<FastClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const client = new FastClient(socket)
    await once(socket, 'connect')
    return client
  }

  /** `fields`: whole lines, each ended by CRLF. The answer must have a Content-Length. */
  send(method: string, target: string, fields = '', body: Uint8Array | string = ''): Promise<FastAnswer> {
    this.#waiting = Promise.withResolvers()
    const length = method === 'GET' ? '' : `Content-Length: ${body.length}\r\n`
    this.socket.cork()
    this.socket.write(`${method} ${target} HTTP/1.1\r\nHost: fast.example\r\n${fields}${length}\r\n`, 'latin1')
    if (body.length > 0) this.socket.write(body)
    this.socket.uncork()
    return this.#waiting.promise
  }

  close(): void {
    this.socket.destroy()
  }

  #read(chunk: Buffer): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk])
    const end = this.#input.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = this.#input.toString('latin1', 0, end + 2)
    const bodyEnd = end + 4 + Number(/^content-length: (\d+)/im.exec(head)?.[1])
    if (this.#input.length < bodyEnd) return
    const body = this.#input.subarray(end + 4, bodyEnd)
    this.#input = this.#input.subarray(bodyEnd)
    this.#waiting?.resolve({ status: Number(head.slice(9, 12)), head, body })
  }
}

/** Runs `work` so often, on so many connections at once. */
export async function repeat(
  port: number,
  times: number,
  connections: number,
  work: (client: FastClient, i: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    const client = await FastClient.connect(port)
    try {
      while (next < times) await work(client, next++)
    } finally {
      client.close()
    }
  }
  await Promise.all(Array.from({ length: connections }, one))
}
