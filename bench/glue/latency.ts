/**
 * How long the way takes when nothing else is to be done: from a client's POST until its request reaches the server, and from the server's
 * answer until the client's event stream tells of the end. One job at a time; client and server are this process, so there is one clock.
 * Both speak HTTP over bare sockets: what a client library needs before it writes, and a server's before it calls back, is nobody's queue.
 */
import { once } from 'node:events'
import { closeSync, fdatasyncSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { Agent, request } from 'undici'

export interface Latency {
  readonly toServerMs: readonly number[]
  readonly toEventMs: readonly number[]
  /** One small write and its sync on this disk, as idle as it is between two jobs: the unit in which a durable step is to be seen. */
  readonly syncMs: readonly number[]
}

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ndone'

/** A request that has reached the server. */
interface Arrival {
  readonly at: number
  readonly answer: () => void
}

/** The server behind `/probe`: tells of each request, and answers when it is told to. */
export class ProbeServer {
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((socket) => this.#serve(socket))
  #waiting: ((arrival: Arrival) => void) | undefined

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  /** The next request. */
  next(): Promise<Arrival> {
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket))
    let text = ''
    let beganAt = 0
    socket.on('data', (chunk) => {
      if (text === '') beganAt = performance.now()
      text += chunk.toString('latin1')
      if (!isWhole(text)) return
      text = ''
      const waiting = this.#waiting
      this.#waiting = undefined
      const answer = (): void => void socket.write(ANSWER)
      if (waiting === undefined) answer()
      else waiting({ at: beganAt, answer })
    })
  }
}

/** Head and as much of a body as it promises. Of chunked ones, which nobody here sends, it would never be. */
function isWhole(text: string): boolean {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd < 0) return false
  return text.length >= headEnd + 4 + Number(headerOf(text, 'content-length') ?? '0')
}

function headerOf(text: string, name: string): string | undefined {
  return new RegExp(`^${name}: *([^\\r]*)`, 'im').exec(text)?.[1]
}

/** Posts on one connection, one at a time. */
class Poster {
  readonly #socket: Socket
  readonly #host: string
  #text = ''
  #waiting: { resolve(answer: string): void; reject(error: Error): void } | undefined

  constructor(url: string) {
    const { hostname, port, host } = new URL(url)
    this.#host = host
    this.#socket = connect(Number(port), hostname)
    this.#socket.setNoDelay(true)
    this.#socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1')
      if (!isWhole(this.#text)) return
      const answer = this.#text
      this.#text = ''
      this.#waiting?.resolve(answer)
    })
    this.#socket.on('error', () => undefined).on('close', () => this.#waiting?.reject(new Error('the connection was closed')))
  }

  async connected(): Promise<void> {
    if (this.#socket.connecting) await once(this.#socket, 'connect')
  }

  post(target: string, body: string): Promise<string> {
    const answer = new Promise<string>((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
    this.#socket.write(`POST ${target} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    return answer
  }

  close(): void {
    this.#socket.destroy()
  }
}

const PAUSE_MS = 5

export async function measureLatency(url: string, probe: ProbeServer, jobs: number, folder: string): Promise<Latency> {
  const agent = new Agent({ connections: 1, pipelining: 1 })
  const poster = new Poster(url)
  const disk = new Disk(folder)
  const latency = { toServerMs: [] as number[], toEventMs: [] as number[], syncMs: [] as number[] }
  try {
    await poster.connected()
    for (let i = 0; i < jobs; i++) {
      const arrival = probe.next()
      const sentAt = performance.now()
      const accepted = await poster.post('/probe', `job ${i}`.padEnd(200, '.'))
      if (!accepted.startsWith('HTTP/1.1 202 ')) throw new Error(`202 was expected, not ${accepted}`)
      const { at, answer } = await arrival
      latency.toServerMs.push(at - sentAt)
      latency.toEventMs.push(await untilEnd(`${url}${headerOf(accepted, 'location')}/events`, answer, agent))
      await pause()
      latency.syncMs.push(disk.sync())
      await pause()
    }
  } finally {
    poster.close()
    disk.close()
    await agent.close()
  }
  return latency
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}

/** Opens the stream, lets the server answer once the first event is there, and says how long the last one took from then. */
async function untilEnd(url: string, answer: () => void, agent: Agent): Promise<number> {
  const stream = await request(url, { headers: { accept: 'text/event-stream' }, dispatcher: agent })
  let answeredAt = 0
  let text = ''
  for await (const chunk of stream.body) {
    text += String(chunk)
    if (answeredAt === 0) {
      answeredAt = performance.now()
      answer()
    } else if (/^event: end$/m.test(text)) {
      const took = performance.now() - answeredAt
      // The stream is over with it; whoever does not end it is left.
      stream.body.destroy()
      return took
    }
  }
  throw new Error(`the stream ended without an end: ${text}`)
}

const BLOCK = Buffer.alloc(4096, 'x')
const BLOCKS = 256

/** Written over and over in a file that has its length, as a log is that begins anew: one that grows costs the file system more. */
class Disk {
  readonly #file: number
  #at = 0

  constructor(folder: string) {
    this.#file = openSync(path.join(folder, 'syncs'), 'w')
    writeSync(this.#file, Buffer.alloc(BLOCKS * BLOCK.length))
    fsyncSync(this.#file)
  }

  sync(): number {
    this.#at = (this.#at + 1) % BLOCKS
    const began = performance.now()
    writeSync(this.#file, BLOCK, 0, BLOCK.length, this.#at * BLOCK.length)
    fdatasyncSync(this.#file)
    return performance.now() - began
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** The same on a disk that is kept busy with it, one after the other. */
export function busySyncs(folder: string, count: number): readonly number[] {
  const disk = new Disk(folder)
  try {
    return Array.from({ length: count }, () => disk.sync())
  } finally {
    disk.close()
  }
}
