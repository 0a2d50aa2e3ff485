/**
 * The same bytes, cut the same way, read by the gateway's own connection and by Node's HTTP server: which requests does each see?
 * Both are the real thing; only the socket between them and the test is a stream in memory, which is what makes thousands of cases cheap.
 */
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Failure } from '../../src/core/errors.ts'
import { DownstreamConnection, type DownstreamOptions } from '../../src/net/downstream-connection.ts'
import { Sweeper } from '../../src/net/sweeper.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** A request as one of the two saw it. Strings are latin1. */
export interface SeenRequest {
  readonly method: string
  readonly target: string
  readonly minor: number
  /** Asked for as an https URL, as far as a reader tells. */
  readonly https?: boolean
  /** Name, value, name, value … */
  readonly headers: readonly string[]
  body: string
  trailers: readonly string[]
  /** The end of its body was seen. */
  complete: boolean
}

export interface Reading {
  /** In order, the last one possibly with a part of its body only. */
  readonly requests: readonly SeenRequest[]
  /** Why it would not read on; '' when it would have. */
  readonly refusal: string
  /** It would have read on: neither refused something nor closed after a request. */
  readonly open: boolean
}

export type Reader = (pieces: readonly Buffer[]) => Promise<Reading>

/** One end of a connection: the test pushes what the peer sent. What is written to it goes nowhere. */
class MemorySocket extends Duplex {
  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }

  resetAndDestroy(): this {
    return this.destroy()
  }

  get asSocket(): Socket {
    return this as unknown as Socket
  }
}

async function send(socket: MemorySocket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) socket.push(piece)
  // What is complete has to be served before the peer's end is told: it would count as a client that left.
  await new Promise(setImmediate)
  if (socket.destroyed) return
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.push(null)
  socket.resume()
  await closed
}

const LIMITS = { headersMax: 100, targetBytesMax: 8 * 1024, headBytesMax: 32 * 1024 } as const
const FAR_MS = 1_000_000

/** The gateway's side: `DownstreamConnection` as a listener makes it, with calls that read their body and are then answered. */
export function gatewayReader(): Reader {
  const clock = new ManualClock()
  const sweeper = new Sweeper(clock)
  const timeouts = { headMs: FAR_MS, bodyMs: FAR_MS, idleMs: FAR_MS, stallMs: FAR_MS }
  return async (pieces) => {
    const requests: SeenRequest[] = []
    let refusal = ''
    const onCall: DownstreamOptions['onCall'] = (call) => {
      const { method, target, minor, https, headers } = call.head
      const seen: SeenRequest = { method, target, minor, https, headers, body: '', trailers: [], complete: false }
      requests.push(seen)
      call.body.start({
        data(chunk) {
          seen.body += chunk.toString('latin1')
          return true
        },
        end(trailers) {
          seen.trailers = trailers
          seen.complete = true
          call.send(200, [], 'ok')
        },
        abort(reason) {
          if (reason === 'bad-framing') refusal = reason
        },
      })
    }
    const onRefused = (failed: Failure): undefined => {
      refusal = failed.detail ?? failed.code
      return undefined
    }
    const socket = new MemorySocket()
    const peer = { address: '127.0.0.1', port: 1, trusted: false }
    const told = { onCall, onRefused, onClosed: () => undefined }
    const options: DownstreamOptions = { name: 'spillway', clock, sweeper, timeouts, limits: LIMITS, ...told }
    const connection = new DownstreamConnection(socket.asSocket, peer, options)
    await send(socket, pieces)
    return { requests, refusal, open: refusal === '' && !connection.closing }
  }
}

/** Node's parser in its default, strict form, behind Node's own server. */
export function nodeReader(): Reader {
  const requests = new WeakMap<object, SeenRequest[]>()
  const refusals = new WeakMap<object, string>()
  const onRequest: RequestListener = (request, response) => {
    requests.get(request.socket)?.push(seenByNode(request, () => response.end('ok')))
  }
  const server = createServer({ insecureHTTPParser: false, maxHeaderSize: 2 * LIMITS.headBytesMax }, onRequest)
  // What it expects is understood or not above the parser; an empty Expect expects nothing.
  server.on('checkExpectation', onRequest)
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!refusals.has(socket)) refusals.set(socket, error.code ?? error.message)
    // What was complete before the fault is still on its way to us.
    setImmediate(() => socket.destroy())
  })
  return async (pieces) => {
    const socket = new MemorySocket()
    const seen: SeenRequest[] = []
    requests.set(socket, seen)
    server.emit('connection', socket)
    await send(socket, pieces)
    const refusal = refusals.get(socket) ?? ''
    return { requests: seen, refusal, open: refusal === '' }
  }
}

/** `onComplete`: its body has come. */
export function seenByNode(request: IncomingMessage, onComplete: () => void): SeenRequest {
  const seen: SeenRequest = {
    method: request.method ?? '',
    target: request.url ?? '',
    minor: request.httpVersionMinor,
    headers: request.rawHeaders,
    body: '',
    trailers: [],
    complete: false,
  }
  request.on('data', (chunk: Buffer) => {
    seen.body += chunk.toString('latin1')
  })
  request.on('error', () => undefined)
  request.on('end', () => {
    seen.trailers = request.rawTrailers
    seen.complete = request.complete
    if (seen.complete) onComplete()
  })
  return seen
}
