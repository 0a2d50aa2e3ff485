/**
 * What a gateway passes on, read by Node: each request that the gateway understood reaches the server once, as that request, in order, and
 * nothing else does. Real sockets from the client to the server; the server is Node's: what it gets is parsed by another hand.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createSocketServer } from 'node:net'
import { forwardTrailers } from '../../src/core/headers/forward.ts'
import { checkPath } from '../../src/core/routing/check-path.ts'
import { headerValue, headerValues } from '../../src/http1/message.ts'
import { parseAnswers, type RawAnswer } from '../support/raw-answers.ts'
import { type Reading, seenByNode, type SeenRequest } from './http1-readers.ts'

export interface Origin extends AsyncDisposable {
  readonly port: number
  /** In the order of their heads, from all connections. */
  readonly seen: readonly SeenRequest[]
  /** What Node could not parse. */
  readonly refusals: readonly string[]
}

/** The gateway broke off a request whose end it never saw: no fault of the bytes before. */
const BROKEN_OFF = ['HPE_INVALID_EOF_STATE', 'ECONNRESET', 'EPIPE']

export async function startOrigin(): Promise<Origin> {
  const seen: SeenRequest[] = []
  const refusals: string[] = []
  const server = createServer({ insecureHTTPParser: false, keepAliveTimeout: 600_000 }, (request, response) => {
    seen.push(seenByNode(request, () => response.end('ok')))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!BROKEN_OFF.includes(error.code ?? '')) refusals.push(error.code ?? error.message)
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    refusals,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Passes on what a gateway sends, changed, and back what the server answers. */
export async function startMeddler(port: number, change: (text: string) => string): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createSocketServer((socket) => {
    const up = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.on('data', (chunk) => up.write(change(chunk.toString('latin1')), 'latin1'))
    up.on('data', (chunk) => socket.write(chunk))
    for (const [here, there] of [
      [socket, up],
      [up, socket],
    ] as const)
      here.on('error', () => there.destroy()).on('close', () => there.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/** Only so that a gateway that neither answers nor closes is a fault with a seed, and not a test that hangs. */
const HANGING_MS = 20_000

/** Sends the pieces, waits for so many final answers or the end, then leaves. */
export async function exchange(port: number, pieces: readonly Buffer[], methods: readonly string[]): Promise<RawAnswer[]> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  const chunks: Buffer[] = []
  // One more than expected: an interim answer to a request that never ends, or one that nobody asked for.
  const reading = [...methods, 'GET']
  const answers = (closed = false): RawAnswer[] =>
    parseAnswers(Buffer.concat(chunks), { methods: reading, closed }).filter(({ status, complete }) => status >= 200 && complete)
  let leave: () => void
  const over = new Promise<void>((resolve) => (leave = resolve))
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    try {
      if (answers().length >= methods.length) leave()
    } catch {
      // Not an answer: the last line tells.
      leave()
    }
  })
  for (const event of ['end', 'error', 'close']) socket.on(event, () => leave())
  const hanging = setTimeout(() => socket.destroy(), HANGING_MS)
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  for (const piece of pieces) {
    if (socket.destroyed || socket.readableEnded) break
    socket.write(piece)
    await new Promise(setImmediate)
  }
  if (methods.length > 0) await over
  // The gateway reads what was written before it reads the end: when it has closed as well, it has seen all of it.
  socket.end()
  await closed
  clearTimeout(hanging)
  return answers(true)
}

/** What the gateway answers by itself, though it understood it. */
function isRefusedByGateway(request: SeenRequest): boolean {
  const [path = ''] = request.target.split('?')
  // `*` is about the gateway; and there is no TLS here.
  if (['TRACE', 'CONNECT'].includes(request.method) || path === '*' || request.https === true || checkPath(path) !== undefined) return true
  const { headers } = request
  return (
    isUpgrade(request) && (headerValue(headers, 'transfer-encoding') !== undefined || Number(headerValue(headers, 'content-length')) > 0)
  )
}

function isUpgrade({ headers, minor }: SeenRequest): boolean {
  return minor === 1 && headerValue(headers, 'upgrade') !== undefined && connectionNames(headers).includes('upgrade')
}

function connectionOf(headers: readonly string[]): string {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'connection').join(',')
}

function connectionNames(headers: readonly string[]): string[] {
  return connectionOf(headers)
    .split(',')
    .map((member) => member.trim().toLowerCase())
}

/** After these the gateway may close, so that fewer answers come than there are requests. */
function mayBeLast(request: SeenRequest): boolean {
  return isUpgrade(request) || isRefusedByGateway(request)
}

/** For how many answers a client waits, as methods: one for each request that was understood, one for what was refused. */
export function expectedAnswers(understood: Reading): string[] {
  const methods = understood.requests.filter(({ complete }) => complete).map(({ method }) => method)
  return understood.refusal === '' ? methods : [...methods, 'GET']
}

/** '' when the answers, and what the server saw since `from`, are those of what was understood. */
export function forwardingFault(understood: Reading, answers: readonly RawAnswer[], seen: readonly SeenRequest[]): string {
  const whole = understood.requests.filter(({ complete }) => complete)
  const passed: SeenRequest[] = []
  for (const [i, request] of whole.entries()) {
    const answer = answers[i]
    if (answer === undefined) {
      if (i > 0 && mayBeLast(whole[i - 1] as SeenRequest)) break
      return `request ${i} was not answered`
    }
    if ((answer.status === 200) === isRefusedByGateway(request)) return `request ${i} was answered with ${answer.status}`
    if (answer.status === 200) passed.push(request)
  }
  const [refusal, ...beyond] = answers.slice(whole.length)
  const partial = understood.requests[whole.length]
  const mayRefuse = understood.refusal !== '' || (partial !== undefined && isRefusedByGateway(partial))
  if (refusal !== undefined && (!mayRefuse || (refusal.status < 400 && refusal.status !== 204)))
    return `nothing was asked, but answered with ${refusal.status}`
  if (beyond.length > 0) return 'there were answers that nobody asked for'
  const reached = seen.filter(({ complete }) => complete)
  for (const [i, request] of passed.entries()) {
    const other = reached[i]
    if (other === undefined) return `request ${i} did not reach the server`
    const what = difference(request, other)
    if (what !== '') return `request ${i} reached the server with another ${what}`
  }
  if (reached.length > passed.length) return `the server saw ${reached.length} requests instead of ${passed.length}`
  const parts = seen.length - reached.length
  const partsMax = whole.length < understood.requests.length ? 1 : 0
  return parts > partsMax ? `the server saw the beginning of ${parts} requests that nobody sent` : ''
}

function difference(understood: SeenRequest, reached: SeenRequest): string {
  const connection = headerValues(understood.headers, 'connection').join(', ')
  if (understood.method !== reached.method) return 'method'
  if (understood.target !== reached.target) return 'target'
  if (understood.body !== reached.body) return 'body'
  if (JSON.stringify(forwardTrailers(understood.trailers, connection)) !== JSON.stringify(reached.trailers)) return 'trailers'
  // HTTP/1.0 has no need of a Host; towards the server there is one.
  const host = headerValue(understood.headers, 'host') ?? 'spillway'
  if (headerValue(reached.headers, 'host') !== host) return 'host'
  return JSON.stringify(endToEnd(understood.headers, understood.headers)) === JSON.stringify(endToEnd(reached.headers, understood.headers))
    ? ''
    : 'headers'
}

/** Fields that nobody on the way has anything to do with. */
function endToEnd(headers: readonly string[], connectionFrom: readonly string[]): string[] {
  const named = connectionOf(connectionFrom)
    .toLowerCase()
    .split(/[\s,]+/)
  return headers.filter((_, i) => {
    const name = headers[i - (i % 2)]?.toLowerCase() ?? ''
    return /^(?:accept|cookie$|x-(?!forwarded|real)|x!)/.test(name) && !named.includes(name)
  })
}
