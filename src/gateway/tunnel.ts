/**
 * WebSocket and other `Upgrade` requests (RFC 9110, section 7.8): passed to one server on a connection of their own. After its 101
 * the two sockets are joined, bytes both ways, each direction ended by itself; any other answer is an ordinary response.
 */
import { sendFailure } from '../api/problem.ts'
import type { RouteConfig } from '../config/config.ts'
import { type Failure, failure } from '../core/errors.ts'
import { forwardResponseHeaders, forwardTrailers } from '../core/headers/forward.ts'
import { listHas } from '../http1/fields.ts'
import { headerValues, type ResponseHead } from '../http1/message.ts'
import { clientCloseFrame, FrameTracker } from '../http1/websocket-frames.ts'
import { fieldLines, statusLine } from '../http1/write.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { Loan } from '../net/output.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Link, Server } from '../pools/server.ts'
import type { TryNote } from '../telemetry/call-trace.ts'
import { passHead } from './answer-head.ts'
import { tunnelFacts } from './observe.ts'
import type { Choice } from './choice.ts'
import type { CallContext } from './context.ts'
import { type End, type Goodbye, JoinedSockets } from './joined-sockets.ts'
import type { Tunnel, TunnelEnd } from './tunnels.ts'

export interface TunnelRequest {
  readonly route: RouteConfig
  readonly pool: Pool
  /** Where more than the number of tunnels decides where it goes. */
  readonly choice: Choice | undefined
  /** What it is asked for, where the route rewrites it. */
  readonly target: string | undefined
  /** For the server. */
  readonly headers: readonly string[]
}

export function openTunnel(call: DownstreamCall, request: TunnelRequest, context: CallContext): void {
  if (call.head.bodyLength !== 0) return sendFailure(call, failure('bad_request', 'an Upgrade request with a body is not accepted'))
  const { route } = request
  const place = context.tunnels.enter(route, () => context.clients.nameOf(call, route.bind))
  if (typeof place === 'object') return sendFailure(call, place)
  new Handshake(call, { ...request, leave: place }, context).start()
}

/** RFC 6455, section 7.4.1. */
const GOING_AWAY = 1001
const MASK_BYTES = 4

/** A server that could not be reached has done nothing: so many others are asked. */
const TRIES_MIN = 3

/** The exchange until it is known whether there will be a tunnel. Gives the tunnel's places back exactly once. */
class Handshake implements ResponseSink {
  readonly #call: DownstreamCall
  readonly #request: TunnelRequest & { readonly leave: () => void }
  readonly #context: CallContext
  #connection: UpstreamConnection | undefined
  #noted: TryNote | undefined
  /** Where it has a place. */
  #pool: Pool
  #server: Server | undefined
  #tried: Set<Server> | undefined
  #failed: Failure | undefined
  /** What the Connection fields of the answer said. */
  #answerConnection = ''

  constructor(call: DownstreamCall, request: TunnelRequest & { readonly leave: () => void }, context: CallContext) {
    this.#call = call
    this.#request = request
    this.#context = context
    this.#pool = request.pool
  }

  start(): void {
    this.#call.onGone(() => this.#abandon())
    this.#findServer()
  }

  #findServer(): void {
    const { headers } = this.#request
    const { head, log } = this.#call
    const server = this.#takePlace()
    const pool = this.#pool
    this.#server = server
    if (server === undefined) return this.#refuse(this.#failed ?? this.#noServer(pool))
    log.server = server.name
    this.#noted = log.trace?.begin(server)
    const connection = this.#context.upstream.dedicated(pool, server, this.#call.ends)
    this.#connection = connection
    this.#noted?.on(connection)
    const fields = fieldLines([...headers, 'Connection', 'Upgrade', 'Upgrade', head.upgrade])
    connection.begin(head.method, `${head.method} ${this.#request.target ?? head.target} HTTP/1.1\r\n${fields}\r\n`, this, {
      whole: new Uint8Array(0),
      chunked: false,
    })
  }

  #takePlace(): Server | undefined {
    const { choice } = this.#request
    if (choice === undefined) return this.#pool.acquireTunnel(this.#tried)
    const server = choice.acquireTunnel(this.#tried)
    this.#pool = choice.pool
    return server
  }

  #noServer(pool: Pool): Failure {
    if (pool.upServers().length === 0) return failure('no_server', `no server of pool ${pool.name} is up`)
    const { maxTunnels } = pool.config
    this.#context.telemetry.event({ type: 'limit-reached', limit: 'maxTunnels', where: pool.name, value: maxTunnels })
    return failure('too_many_tunnels', `each server of pool ${pool.name} has ${maxTunnels} tunnels`)
  }

  cork(): void {
    this.#call.cork()
  }

  uncork(): Loan | undefined {
    return this.#call.uncork()
  }

  head(head: ResponseHead): void {
    if (head.status >= 200 || head.status === 101) this.#noted?.head(head.status)
    if (head.status === 101) return this.#join(head)
    if (head.status >= 200) {
      this.#request.choice?.answered(this.#server as Server, head)
      this.#call.closeAfter()
    }
    this.#answerConnection = head.connection
    passHead(this.#call, head)
  }

  #join(head: ResponseHead): void {
    const connection = this.#connection as UpstreamConnection
    const protocol = headerValues(head.headers, 'upgrade').join(', ')
    if (!isOffered(protocol, this.#call.head.upgrade)) {
      connection.destroy()
      return this.fail({
        code: 'bad_response',
        detail: 'the server switched to a protocol that was not offered',
        sent: true,
        reused: false,
      })
    }
    this.#request.choice?.answered(this.#server as Server, head)
    const headers = forwardResponseHeaders(head.headers, head.connection)
    if (!head.hasDate) headers.push('Date', this.#call.date)
    if (this.#call.head.expectContinue) this.#call.sendInformational(100, 'Continue', [])
    // What was answered before goes first.
    this.#call.uncork()
    this.#noted?.ended('answered')
    const up = connection.detach()
    const down = this.#call.detach()
    const lines = fieldLines(headers)
    const edited = this.#call.editAnswer?.(lines, 101) ?? lines
    down.socket.write(`${statusLine(101, head.reason)}${edited}${fieldLines(['Connection', 'Upgrade', 'Upgrade', protocol])}\r\n`, 'latin1')
    this.#open(down, up, protocol.toLowerCase() === 'websocket' ? this.#goodbye() : undefined)
  }

  /** It goes away, as a client says that itself. */
  #goodbye(): Goodbye {
    const { random } = this.#context
    return { frames: new FrameTracker(), words: () => clientCloseFrame(GOING_AWAY, random.bytes(MASK_BYTES)) }
  }

  #open(down: End, up: End, goodbye: Goodbye | undefined): void {
    const { route } = this.#request
    const pool = this.#pool
    const { sweeper, tunnels, config } = this.#context
    const server = this.#server as Server
    let why: TunnelEnd = 'peer'
    const idleMs = route.tunnels?.idleMs ?? config.timeouts.tunnelMs
    const tell = this.#teller()
    const onClosed = (isIdle: boolean): void => {
      server.links.delete(link)
      const because = isIdle ? 'idle' : why
      tunnels.delete(tunnel, because)
      tell?.(joined, because)
      this.#release()
    }
    const joined = new JoinedSockets(down, up, { sweeper, idleMs, onClosed, goodbye })
    const tunnel: Tunnel = {
      pool,
      server,
      get ending() {
        return joined.ending
      },
      end: (because) => {
        if (!joined.ending) why = because
        joined.end()
      },
      close: joined.close,
    }
    // The time of a server that leaves its pool is over.
    const link: Link = { leave: () => undefined, cut: () => tunnel.end('left') }
    server.links.add(link)
    tunnels.add(tunnel)
  }

  /** Of its line in the access log. The request is not kept for that: a tunnel may be open for days. */
  #teller(): ((joined: JoinedSockets, why: TunnelEnd) => void) | undefined {
    const { telemetry, clock } = this.#context
    if (!telemetry.accessLog) return undefined
    const openedAt = clock.monotonic()
    const opened = tunnelFacts(this.#call, this.#context)
    const { pool, name: server } = this.#server as Server
    return ({ bytesIn, bytesOut }, why) => {
      const tookMs = clock.monotonic() - openedAt
      telemetry.tunnel({ ...opened, at: clock.now(), pool, server, tookMs, bytesIn, bytesOut, why })
    }
  }

  data(chunk: Buffer): boolean {
    if (this.#call.write(chunk)) return true
    this.#call.onDrain(() => this.#connection?.resume())
    return false
  }

  end(trailers: readonly string[]): void {
    this.#noted?.ended('answered')
    this.#release()
    this.#call.end(forwardTrailers(trailers, this.#answerConnection))
  }

  fail(failed: UpstreamFailure): void {
    this.#noted?.ended(failed.code)
    const server = this.#server as Server
    this.#failed = failure(failed.code, `${server.name}: ${failed.detail}`)
    if (!failed.sent && !this.#call.responseStarted && !this.#call.gone && this.#mayTryAnother(server)) {
      this.#pool.releaseTunnel(server)
      return this.#findServer()
    }
    this.#refuse(this.#failed)
  }

  #mayTryAnother(server: Server): boolean {
    this.#tried ??= new Set()
    this.#tried.add(server)
    return this.#tried.size < Math.max(TRIES_MIN, this.#request.choice?.servers ?? this.#pool.servers.length)
  }

  #refuse(failed: Failure): void {
    this.#release()
    // A client that did not wait may speak the new protocol already.
    this.#call.closeAfter()
    if (this.#call.responseStarted) this.#call.abort()
    else sendFailure(this.#call, failed)
  }

  #abandon(): void {
    this.#connection?.destroy()
    this.#release()
  }

  #release(): void {
    const server = this.#server
    this.#server = undefined
    if (server !== undefined) this.#pool.releaseTunnel(server)
    this.#request.leave()
  }
}

/** Each protocol of the list is one of those that the client named (RFC 9110, section 7.8). */
function isOffered(protocols: string, offered: string): boolean {
  return protocols !== '' && protocols.split(',').every((protocol) => listHas(offered, protocol.trim().toLowerCase()))
}
