/**
 * A request served now: a slot, a server, the request streamed up, the answer streamed down. One object per call decides what follows from how
 * each try (`try.ts`) ended: it tries again only where that is safe, and hands over to `spill` when the request may become a job and no server
 * can take it.
 */
import { sendFailure } from '../api/problem.ts'
import type { RouteConfig } from '../config/config.ts'
import { type ErrorCode, type Failure, failure } from '../core/errors.ts'
import { forbidsRetry, parseRetryAfter } from '../core/jobs/settlement.ts'
import { fillMaxOf } from '../core/admission/shedding.ts'
import { mayTryAgain } from '../core/retry/retry.ts'
import type { SpillCause } from '../core/routing/route-mode.ts'
import { headerValue, type ResponseHead } from '../http1/message.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { BodySink } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { type Deadline, NEVER, type Sweepable } from '../net/sweeper.ts'
import type { UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { WaitEnd, Waiter } from '../pools/line.ts'
import type { KeyRef } from '../ports/job-store.ts'
import type { OutgoingBody } from '../upstream/upstream.ts'
import type { Choice } from './choice.ts'
import type { CallContext } from './context.ts'
import { RequestStream } from './request-stream.ts'
import { Try, type Trier } from './try.ts'

export interface DirectRequest {
  readonly route: RouteConfig
  readonly pool: Pool
  /** Field lines for the server, without framing. */
  readonly fields: string
  /** Set when the route answers for CORS: replaces what the server says about it. */
  readonly cors: readonly string[] | undefined
  /** Hash of what binds it to a server, where the pool balances by that. */
  readonly keyHash: number | undefined
  /** Where more than balancing decides which pool and which server it gets. */
  readonly choice: Choice | undefined
  /** Who waits longest for a slot, and is refused first: 0 before 9. */
  readonly priority: number
  /** Of its key others must not pass it, nor it them; the store had none of them when it was asked. */
  readonly order: KeyRef | undefined
  /** Set when the request may become a job: takes over, with the whole or the beginning of the body. */
  readonly spill: ((handOver: SpillHandOver) => void) | undefined
}

export interface SpillHandOver {
  /** `queueing`: not for lack of a server, but because the route or its key queues. */
  readonly cause: SpillCause | 'queueing'
  readonly reason: string
  /** What was read of the body so far. */
  readonly chunks: readonly Uint8Array[]
  /** The body's end was read. */
  readonly complete: boolean
  /** Where the rest of the body goes; set by the taker unless `complete`. */
  rest: BodySink | undefined
  /** The body was never started: the taker reads it by itself. */
  readonly untouched: boolean
}

const TRIES_MIN = 3
const BUSY_PAUSE_MS = 1_000

export class DirectCall implements Trier, Waiter, Sweepable {
  deadlineAt: Deadline = NEVER
  readonly #call: DownstreamCall
  readonly #request: DirectRequest
  readonly #context: CallContext
  readonly #head: string
  /** It has a slot, and perhaps a part of the answer. */
  #try: Try | undefined
  /** Whose servers it is for now. */
  #pool: Pool
  /** It waits for a slot although its route queues. */
  #probes = false
  /** Of the call as a whole. */
  #endsAt: MonotonicMillis = Number.POSITIVE_INFINITY
  #leaveLine: (() => void) | undefined
  /** Time has passed since the store was asked for others of its key. */
  #late = false
  #tried: Set<Server> | undefined
  #tries = 0
  /** A kept connection had gone stale: no other one is trusted. */
  #onlyFresh = false
  #ended = false
  #failed: Failure | undefined
  #body: RequestStream | undefined

  constructor(call: DownstreamCall, request: DirectRequest, context: CallContext) {
    this.#call = call
    this.#request = request
    this.#pool = request.pool
    this.#context = context
    this.#head = `${call.head.method} ${call.head.target} HTTP/1.1\r\n${request.fields}`
  }

  start(): void {
    const { callMs } = this.#context.config.timeouts
    this.#call.onGone(() => this.#clientGone())
    if (this.#call.head.bodyLength !== 0) this.#body = new RequestStream(this.#call, this.#context, () => this.#bodyTooLarge())
    if (callMs > 0) {
      this.#endsAt = this.#context.clock.monotonic() + callMs
      this.deadlineAt = this.#context.sweeper.in(callMs)
      this.#context.sweeper.add(this)
    }
    this.#findServer()
  }

  // --- a server with a free slot

  #findServer(): void {
    const { route } = this.#request
    const spillable = this.#canSpill()
    const server = this.#acquire(spillable)
    const pool = this.#pool
    if (server !== undefined) {
      if (this.#request.spill !== undefined && this.#tries === 0) this.#context.routeModes.served(route)
      return this.#take(server)
    }
    this.#late = true
    if (spillable && pool.isLost) return this.#spill('no server is up')
    if (spillable && !this.#mayWait()) return this.#spill('the route queues', 'queueing')
    if (this.#hasTriedAll()) return this.#noServer('no_server', 'every server of the pool was tried')
    this.#wait(spillable ? route.patienceMs : pool.config.waitMs)
  }

  #wait(forMs: Millis): void {
    const pool = this.#pool
    const { route, order, priority } = this.#request
    const key = order === undefined ? undefined : `${order.queue}\n${order.key ?? ''}`
    const fillMax = route.shedFrom === undefined ? 1 : fillMaxOf(priority, route.shedFrom)
    const joined = pool.wait(this, { forMs, excluded: this.#tried, key, priority, fillMax })
    if (joined === 'full') this.#noServer('too_many_waiting', `${pool.config.maxWaiting} requests wait for pool ${pool.name} already`)
    else if (joined === 'shed')
      this.#noServer('shed', `so many requests wait for pool ${pool.name} that none of priority ${priority} is taken`)
    else {
      this.#leaveLine = joined
      this.#call.log.trace?.waits(pool.name)
    }
  }

  #acquire(isSpillable: boolean): Server | undefined {
    const { choice, keyHash } = this.#request
    if (choice === undefined) return this.#pool.acquire({ excluded: this.#tried, keyHash, isSpillable })
    const server = choice.acquire({ excluded: this.#tried, isSpillable })
    this.#pool = choice.pool
    return server
  }

  /** Those before it have waited in vain: this one would, too, and its client would be told later. */
  #mayWait(): boolean {
    const { routeModes } = this.#context
    const { name } = this.#request.route
    if (routeModes.of(name) === undefined) return true
    this.#probes = routeModes.mayWait(name)
    return this.#probes
  }

  #waitOver(): void {
    this.#leaveLine = undefined
    this.#call.log.trace?.waited()
    if (this.#probes) this.#context.routeModes.waitIsOver(this.#request.route.name)
    this.#probes = false
  }

  grant(server: Server): void {
    if (this.#request.spill !== undefined) this.#context.routeModes.served(this.#request.route)
    this.#waitOver()
    this.#take(server)
  }

  /** The slot is its own. While it waited, or was tried in vain, others of its key may have been stored: then it goes behind them. */
  #take(server: Server): void {
    const next = new Try(this, this.#call, this.#pool, server)
    this.#try = next
    const { order } = this.#request
    const late = this.#late
    this.#late = true
    if (order === undefined || !late) return this.#send(next)
    this.#context.jobs.isHeld(order).then(
      (held) => {
        if (this.#ended) return
        if (!held) return this.#send(next)
        next.drop()
        this.#spill('others of its key are queued', 'queueing')
      },
      () => {
        if (this.#ended) return
        next.drop()
        this.#fail(orderUnknown())
      },
    )
  }

  get wanted(): boolean {
    return !this.#call.gone && this.#context.clock.monotonic() < this.#endsAt
  }

  expire(why: WaitEnd): void {
    this.#waitOver()
    if (this.#request.choice?.hasOtherWay(this.#tried) === true && this.wanted) return this.#findServer()
    const pool = this.#pool
    if (why === 'room')
      this.#noServer('too_many_waiting', `it made room for a more urgent one: too many requests wait for pool ${pool.name}`)
    else if (pool.upServers().length === 0) this.#noServer('no_server', `no server of pool ${pool.name} is up`)
    else this.#noServer('no_capacity', `no server of pool ${pool.name} had a free slot in time`)
  }

  #noServer(code: ErrorCode, detail: string): void {
    if (this.#canSpill()) this.#spill(detail)
    else this.#fail(this.#failed ?? failure(code, detail))
  }

  // --- the request

  #send(next: Try): void {
    const { server } = next
    this.#call.log.server = server.name
    const pool = this.#pool
    const note = this.#call.log.trace?.begin(server)
    if (this.#tries++ === 0) pool.retries.first()
    const sentAt = pool.live.measured ? this.#context.clock.monotonic() : 0
    const { method } = this.#call.head
    const request = { method, head: this.#head, body: outgoingBody(this.#call.head.bodyLength), fresh: this.#onlyFresh }
    const connection = this.#context.upstream.exchange(pool, server, request, next)
    next.sent(connection, sentAt, note)
    this.#body?.sendTo(connection)
  }

  // --- how a try ended

  answered(tried: Try, head: ResponseHead): void {
    if ((head.status === 503 || head.status === 429) && this.#canSpill() && !forbidsRetry(head.headers)) return this.#busy(tried, head)
    tried.pass(head, this.#request.cors)
  }

  /** The server says "not now": its share rests and the request becomes a job. The rest of this answer is of no interest. */
  #busy(tried: Try, head: ResponseHead): void {
    const { server } = tried
    this.#pool.pause(server, retryAfterMs(head, this.#context) ?? BUSY_PAUSE_MS)
    tried.drop('server_busy')
    this.#spill(`${server.name} answered ${head.status}`)
  }

  passed(): void {
    this.#finish()
  }

  failed({ server }: Try, failed: UpstreamFailure): void {
    if (this.#ended) return
    this.#failed = failure(failed.code, `${server.name}: ${failed.detail}`)
    this.#try = undefined
    this.#body?.hold()
    this.#learn(failed, server)
    const again = mayTryAgain({
      method: this.#call.head.method,
      sent: failed.sent,
      responseStarted: this.#call.responseStarted,
      replayable: this.#body?.replayable ?? true,
      timedOut: failed.code === 'first_byte_timeout',
      tries: this.#tries,
      triesMax: Math.max(TRIES_MIN, this.#request.choice?.servers ?? this.#pool.servers.length),
    })
    if (again && this.#mayRepeat(failed)) this.#findServer()
    else if ((again || this.#mayBeSentLater(failed)) && this.#canSpill()) this.#spill(this.#failed.detail)
    else this.#fail(this.#failed)
  }

  /** What reached no server is no load for another one, a stale connection no try; and where no server is left nothing is sent. */
  #mayRepeat({ sent, reused }: UpstreamFailure): boolean {
    return !sent || reused || this.#hasTriedAll() || this.#pool.mayRepeat()
  }

  #hasTriedAll(): boolean {
    const tried = this.#tried
    return tried !== undefined && this.#pool.servers.every((server) => tried.has(server))
  }

  /** A connection that had gone stale says nothing about its server, and is no try: only a fresh failure rules the server out. */
  #learn(failed: UpstreamFailure, server: Server): void {
    if (failed.reused) {
      this.#onlyFresh = true
      this.#tries--
    } else (this.#tried ??= new Set()).add(server)
  }

  // --- endings

  /** Nothing can have arrived; or the connection broke and the route says that its requests may be done twice. */
  #mayBeSentLater(failed: UpstreamFailure): boolean {
    return !failed.sent || (failed.code === 'connection_reset' && this.#request.route.redeliver === 'always')
  }

  #canSpill(): boolean {
    return this.#request.spill !== undefined && !this.#call.responseStarted && (this.#body?.replayable ?? true)
  }

  #spill(reason: string, why?: 'queueing'): void {
    const stream = this.#body
    const handOver: SpillHandOver = {
      cause: why ?? (this.#pool.upServers().length === 0 ? 'no_server' : 'capacity'),
      reason,
      chunks: stream?.takeCopy() ?? [],
      complete: stream?.ended ?? true,
      untouched: stream !== undefined && !stream.started,
      rest: undefined,
    }
    this.#finish()
    const { trace } = this.#call.log
    if (trace !== undefined) trace.phase = 'gateway'
    this.#request.spill?.(handOver)
    if (stream !== undefined && handOver.rest !== undefined) stream.divertTo(handOver.rest)
  }

  #fail(failed: Failure): void {
    this.#call.log.error = failed.code
    this.#finish()
    if (this.#call.responseStarted) this.#call.abort()
    else sendFailure(this.#call, failed, this.#request.cors)
  }

  #clientGone(): void {
    if (this.#ended) return
    this.#leaveLine?.()
    this.#try?.drop()
    this.#finish()
  }

  /** Its length was not announced, or it would not have been let in. */
  #bodyTooLarge(): void {
    if (this.#ended) return
    this.#try?.drop()
    this.#call.closeAfter()
    this.#fail(failure('body_too_large', `the body is larger than ${this.#context.config.limits.body} bytes (limits.body)`))
  }

  onDeadline(): void {
    this.#leaveLine?.()
    this.#try?.drop()
    this.#fail(failure('call_timeout', `the call took longer than ${this.#context.config.timeouts.callMs} ms (timeouts.call)`))
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waitOver()
    this.#try = undefined
    this.#body?.dropCopy()
    if (this.#context.config.timeouts.callMs > 0) this.#context.sweeper.delete(this)
  }
}

export function orderUnknown(): Failure {
  return failure('store_unavailable', 'The store cannot say whether others of the same key come first.')
}

function retryAfterMs(head: ResponseHead, context: CallContext): Millis | undefined {
  return parseRetryAfter(headerValue(head.headers, 'retry-after'), context.clock.now())
}

function outgoingBody(bodyLength: number): OutgoingBody {
  if (bodyLength === 0) return 'none'
  return bodyLength > 0 ? { bytes: bodyLength } : 'chunked'
}
