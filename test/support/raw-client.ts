/** A client that writes exactly the bytes it is told to and keeps what comes back, with the moment the connection ended and how. */
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { parseAnswers, type RawAnswer } from './raw-answers.ts'
import { until } from './until.ts'

export interface RawClientOptions {
  /** Reads nothing until `read()`. */
  readonly paused?: boolean
  /** For a peer that is behind: smaller buffers are not to be had, but fewer reads are. */
  readonly localAddress?: string
}

export class RawClient {
  readonly socket: Socket
  #chunks: Buffer[] = []
  #bytes = 0
  /** The other side has ended (FIN). */
  ended = false
  closed = false
  /** `ECONNRESET` and its like. */
  error = ''

  private constructor(socket: Socket, options: RawClientOptions) {
    this.socket = socket
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message
    })
    socket.on('end', () => {
      this.ended = true
    })
    socket.on('close', () => {
      this.closed = true
    })
    if (options.paused === true) socket.pause()
    else this.read()
  }

  static async connect(port: number, options: RawClientOptions = {}): Promise<RawClient> {
    const { localAddress } = options
    const socket = connect({
      port,
      host: '127.0.0.1',
      allowHalfOpen: true,
      noDelay: true,
      ...(localAddress === undefined ? {} : { localAddress }),
    })
    const client = new RawClient(socket, options)
    await once(socket, 'connect')
    return client
  }

  read(): void {
    this.socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#bytes += chunk.length
    })
    this.socket.resume()
  }

  get bytes(): number {
    return this.#bytes
  }

  get received(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0] as Buffer
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  /** Strings are latin1. */
  write(...pieces: readonly (string | Uint8Array)[]): this {
    this.socket.cork()
    for (const piece of pieces) {
      if (typeof piece === 'string') this.socket.write(piece, 'latin1')
      else this.socket.write(piece)
    }
    this.socket.uncork()
    return this
  }

  /** FIN: nothing more will be written. */
  end(): void {
    this.socket.end()
  }

  reset(): void {
    this.socket.resetAndDestroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** What was answered so far to requests with these methods. Throws when the bytes are not valid answers. */
  answers(...methods: readonly string[]): RawAnswer[] {
    return parseAnswers(this.received, { methods, closed: this.ended || this.closed })
  }

  /** Waits for so many complete final answers. */
  async untilAnswered(...methods: readonly string[]): Promise<RawAnswer[]> {
    await until(
      () => `${methods.length} answers came (so far: ${JSON.stringify(this.text.slice(0, 300))})`,
      () => {
        const complete = this.answers(...methods).filter(({ status, complete }) => status >= 200 && complete)
        return complete.length === methods.length || this.closed
      },
    )
    return this.answers(...methods)
  }

  /** The final answer that begins after so many bytes, whole or broken off; undefined: none came before the connection ended. For many answers on one connection. */
  async nextAnswer(method: string, from: number): Promise<RawAnswer | undefined> {
    const answer = (): RawAnswer | undefined => {
      const closed = this.ended || this.closed
      return parseAnswers(this.received.subarray(from), { methods: [method], closed }).find(({ status }) => status >= 200)
    }
    let last = -1
    await until('the answer came', () => {
      if (this.#bytes === last && !this.ended && !this.closed) return false
      last = this.#bytes
      return this.ended || this.closed || answer()?.complete === true
    })
    return answer()
  }

  async untilText(text: string): Promise<void> {
    await until(
      () => `${JSON.stringify(text)} came (so far: ${JSON.stringify(this.text.slice(-300))})`,
      () => this.text.includes(text),
    )
  }

  /** Waits until the other side closed; closes this side too. */
  async untilClosed(): Promise<void> {
    await until(
      () => `the connection is closed (so far: ${JSON.stringify(this.text.slice(0, 300))})`,
      () => this.ended || this.closed,
    )
    this.destroy()
  }
}

/** One request, one final answer, connection closed by us. */
export async function rawAsk(port: number, request: string, method = request.slice(0, request.indexOf(' '))): Promise<RawAnswer> {
  const client = await RawClient.connect(port)
  client.write(request)
  const answers = await client.untilAnswered(method)
  client.destroy()
  const last = answers.at(-1)
  if (last === undefined || last.status < 200) throw new Error(`no answer: ${JSON.stringify(client.text.slice(0, 300))} ${client.error}`)
  return last
}
