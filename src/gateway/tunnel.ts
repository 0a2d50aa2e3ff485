/**
 * WebSocket and other `Upgrade` requests (RFC 9110, section 7.8): passed to one server on a connection of their own. After its 101
 * the two sockets are joined, bytes both ways, each direction ended by itself; any other answer is an ordinary response.
 */
import { sendFailure } from '../api/problem.ts'
import { failure } from '../core/errors.ts'
import { forwardResponseHeaders, forwardTrailers } from '../core/headers/forward.ts'
import { listHas } from '../http1/fields.ts'
import { headerValues, type ResponseHead } from '../http1/message.ts'
import { fieldLines, statusLine } from '../http1/write.ts'
import type { Millis } from '../lib/units.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { Deadline, Sweepable, Sweeper } from '../net/sweeper.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Link, Server } from '../pools/server.ts'
import type { NetworkSocket } from '../ports/network.ts'
import type { TryNote } from '../telemetry/call-trace.ts'
import { passHead } from './answer-head.ts'
import type { Choice } from './choice.ts'
import type { CallContext } from './context.ts'

/** Whose servers it may go to. */
export interface TunnelWay {
  readonly pool: Pool
  readonly choice: Choice | undefined
}

export function openTunnel(call: DownstreamCall, way: TunnelWay, headers: readonly string[], context: CallContext): void {
  if (call.head.bodyLength !== 0) return sendFailure(call, failure('bad_request', 'an Upgrade request with a body is not accepted'))
  const { choice } = way
  const server = choice === undefined ? way.pool.acquireTunnel() : choice.acquireTunnel()
  const pool = choice?.pool ?? way.pool
  if (server === undefined) {
    if (pool.upServers().length === 0) return sendFailure(call, failure('no_server', `no server of pool ${pool.name} is up`))
    context.telemetry.event({ type: 'limit-reached', limit: 'maxTunnels', where: pool.name, value: pool.config.maxTunnels })
    return sendFailure(call, failure('too_many_tunnels', `each server of pool ${pool.name} has ${pool.config.maxTunnels} tunnels`))
  }
  call.log.server = server.name
  const tried = call.log.trace?.begin(server)
  const handshake = new Handshake(call, pool, server, context)
  const connection = context.upstream.dedicated(pool, server, call.ends)
  handshake.connection = connection
  handshake.tried = tried
  tried?.on(connection)
  call.onGone(() => handshake.abandon())
  const fields = fieldLines([...headers, 'Connection', 'Upgrade', 'Upgrade', call.head.upgrade])
  connection.begin(call.head.method, `${call.head.method} ${call.head.target} HTTP/1.1\r\n${fields}\r\n`, handshake, {
    whole: new Uint8Array(0),
    chunked: false,
  })
}

/** The exchange until it is known whether there will be a tunnel. Gives the tunnel's place back exactly once. */
class Handshake implements ResponseSink {
  connection: UpstreamConnection | undefined
  tried: TryNote | undefined
  readonly #call: DownstreamCall
  readonly #pool: Pool
  readonly #server: Server
  readonly #context: CallContext
  #released = false
  /** What the Connection fields of the answer said. */
  #answerConnection = ''

  constructor(call: DownstreamCall, pool: Pool, server: Server, context: CallContext) {
    this.#call = call
    this.#pool = pool
    this.#server = server
    this.#context = context
  }

  cork(): void {
    this.#call.cork()
  }

  uncork(): boolean {
    return this.#call.uncork()
  }

  head(head: ResponseHead): void {
    if (head.status >= 200 || head.status === 101) this.tried?.head(head.status)
    if (head.status === 101) return this.#join(head)
    if (head.status >= 200) this.#call.closeAfter()
    this.#answerConnection = head.connection
    passHead(this.#call, head)
  }

  #join(head: ResponseHead): void {
    const connection = this.connection as UpstreamConnection
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
    const headers = forwardResponseHeaders(head.headers, head.connection)
    if (!head.hasDate) headers.push('Date', this.#call.date)
    if (this.#call.head.expectContinue) this.#call.sendInformational(100, 'Continue', [])
    // What was answered before goes first.
    this.#call.uncork()
    this.tried?.ended('answered')
    const up = connection.detach()
    const down = this.#call.detach()
    down.socket.write(
      `${statusLine(101, head.reason)}${fieldLines([...headers, 'Connection', 'Upgrade', 'Upgrade', protocol])}\r\n`,
      'latin1',
    )
    const idleMs = this.#context.config.timeouts.tunnelMs
    const { links } = this.#server
    const tunnel = new Tunnel(down, up, {
      sweeper: this.#context.sweeper,
      idleMs,
      onClosed: () => {
        links.delete(tunnel)
        this.#release()
      },
    })
    links.add(tunnel)
  }

  data(chunk: Buffer): boolean {
    if (this.#call.write(chunk)) return true
    this.#call.onDrain(() => this.connection?.resume())
    return false
  }

  end(trailers: readonly string[]): void {
    this.tried?.ended('answered')
    this.#release()
    this.#call.end(forwardTrailers(trailers, this.#answerConnection))
  }

  fail(failed: UpstreamFailure): void {
    this.tried?.ended(failed.code)
    this.#release()
    // A client that did not wait may speak the new protocol already.
    this.#call.closeAfter()
    if (this.#call.responseStarted) this.#call.abort()
    else sendFailure(this.#call, failure(failed.code, `${this.#server.name}: ${failed.detail}`))
  }

  abandon(): void {
    this.connection?.destroy()
    this.#release()
  }

  #release(): void {
    if (this.#released) return
    this.#released = true
    this.#pool.releaseTunnel(this.#server)
  }
}

/** Each protocol of the list is one of those that the client named (RFC 9110, section 7.8). */
function isOffered(protocols: string, offered: string): boolean {
  return protocols !== '' && protocols.split(',').every((protocol) => listHas(offered, protocol.trim().toLowerCase()))
}

interface End {
  readonly socket: NetworkSocket
  readonly rest: Buffer
}

interface TunnelOptions {
  readonly sweeper: Sweeper
  /** Without a byte either way. */
  readonly idleMs: Millis
  readonly onClosed: () => void
}

class Tunnel implements Sweepable, Link {
  deadlineAt: Deadline
  readonly #ends: readonly [NetworkSocket, NetworkSocket]
  readonly #options: TunnelOptions
  #closed = false

  constructor(down: End, up: End, options: TunnelOptions) {
    this.#options = options
    this.#ends = [down.socket, up.socket]
    this.deadlineAt = options.sweeper.in(options.idleMs)
    options.sweeper.add(this)
    if (down.rest.length > 0) up.socket.write(down.rest)
    if (up.rest.length > 0) down.socket.write(up.rest)
    this.#pump(down.socket, up.socket)
    this.#pump(up.socket, down.socket)
  }

  /** `pipe` would do, but the idle time must see each byte, and half-close must pass as it came. */
  #pump(from: NetworkSocket, to: NetworkSocket): void {
    from.on('data', (chunk: Buffer) => {
      this.deadlineAt = this.#options.sweeper.in(this.#options.idleMs)
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
    from.on('error', this.#close)
    from.on('close', () => {
      // Both its directions are over: the other side still gets what was sent to it, and nobody is left to hear it.
      if (!from.readableEnded || to.writableFinished || to.destroyed) this.#close()
      else to.on('finish', this.#close)
    })
    from.resume()
  }

  onDeadline(): void {
    this.#close()
  }

  /** A tunnel that is open is never idle. */
  leave(): void {}

  cut(): void {
    this.#close()
  }

  readonly #close = (): void => {
    if (this.#closed) return
    this.#closed = true
    this.#options.sweeper.delete(this)
    for (const socket of this.#ends) socket.destroy()
    this.#options.onClosed()
  }
}
