/**
 * A request served now: a slot, a server, the request streamed up, the answer streamed down. One object per call decides what follows from how
 * each try (`try.ts`) ended: it tries again only where that is safe, and hands over to `spill` when the request may become a job and no server
 * can take it.
 */
import { sendFailure } from '../api/problem.ts'
import type { RouteConfig } from '../config/config.ts'
import { type ErrorCode, type Failure, failure } from '../core/errors.ts'
import { forbidsRetry, parseRetryAfter } from '../core/jobs/settlement.ts'
import { DEFAULT_RETRY, type Mishap, mishapOf } from '../core/retry/retry.ts'
import { fillMaxOf } from '../core/admission/shedding.ts'
import type { SpillCause } from '../core/routing/route-mode.ts'
import { fieldLines } from '../http1/write.ts'
import { type FlatHeaders, headerValue, type ResponseHead } from '../http1/message.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { BodySink } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { type Deadline, NEVER, type Sweepable } from '../net/sweeper.ts'
import type { Timer } from '../ports/clock.ts'
import type { UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { WaitEnd, Waiter } from '../pools/line.ts'
import type { KeyRef } from '../ports/job-store.ts'
import type { OutgoingBody } from '../upstream/upstream.ts'
import type { Choice } from './choice.ts'
import type { CallContext } from './context.ts'
import { Repeats } from './repeats.ts'
import { RequestStream } from './request-stream.ts'
import { Try, type Trier } from './try.ts'

export interface DirectRequest {
  readonly route: RouteConfig
  readonly pool: Pool
  /** Instead of the client's. */
  readonly target: string | undefined
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

const BUSY_PAUSE_MS = 1_000

export class DirectCall implements Trier, Waiter, Sweepable {
  deadlineAt: Deadline = NEVER
  readonly #call: DownstreamCall
  readonly #request: DirectRequest
  readonly #context: CallContext
  #head: string
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
  /** Set with the second try. */
  #repeats: Repeats | undefined
  /** Of the answer that stands as long as there is no better one. */
  #held: Try | undefined
  /** Until the next try. */
  #pause: Timer | undefined
  #ended = false
  #failed: Failure | undefined
  #body: RequestStream | undefined

  constructor(call: DownstreamCall, request: DirectRequest, context: CallContext) {
    this.#call = call
    this.#request = request
    this.#pool = request.pool
    this.#context = context
    this.#head = `${call.head.method} ${request.target ?? call.head.target} HTTP/1.1\r\n${request.fields}`
  }

  start(): void {
    const timeoutMs = this.#timeoutMs
    this.#call.onGone(() => this.#clientGone())
    if (this.#call.head.bodyLength !== 0) this.#body = this.#createBody()
    if (timeoutMs > 0) this.#setDeadline(timeoutMs)
    this.#findServer()
  }

  #createBody(): RequestStream {
    const copyBytesMax = this.#request.route.retry?.bodyBytesMax ?? this.#context.config.limits.spillCopy
    return new RequestStream(this.#call, this.#context, { copyBytesMax, tooLarge: () => this.#bodyTooLarge() })
  }

  /** Everything that the call does ends then, and its servers know. */
  #setDeadline(timeoutMs: Millis): void {
    const { clock, sweeper } = this.#context
    this.#endsAt = this.#call.receivedAt + timeoutMs
    const leftMs = this.#endsAt - clock.monotonic()
    this.deadlineAt = sweeper.in(Math.max(0, leftMs))
    sweeper.add(this)
    this.#head += fieldLines(['Spillway-Deadline', new Date(clock.now() + leftMs).toISOString()])
  }

  // --- a server with a free slot

  #findServer(): void {
    const { route } = this.#request
    const spillable = this.#canSpill()
    const server = this.#acquire(spillable)
    const pool = this.#pool
    if (server !== undefined) {
      if (this.#request.spill !== undefined && this.#repeats === undefined) this.#context.routeModes.served(route)
      return this.#take(server)
    }
    this.#late = true
    if (spillable && pool.isLost) return this.#spill('no server is up')
    if (spillable && !this.#mayWait()) return this.#spill('the route queues', 'queueing')
    if (this.#repeats?.hasTriedAll(pool) === true) return this.#noServer('no_server', 'every server of the pool was tried')
    this.#wait(spillable ? route.patienceMs : pool.config.waitMs)
  }

  #wait(forMs: Millis): void {
    const pool = this.#pool
    const { route, order, priority } = this.#request
    const key = order === undefined ? undefined : `${order.queue}\n${order.key ?? ''}`
    const fillMax = route.shedFrom === undefined ? 1 : fillMaxOf(priority, route.shedFrom)
    const joined = pool.wait(this, { forMs, excluded: this.#repeats?.tried, key, priority, fillMax })
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
    if (choice === undefined) return this.#pool.acquire({ excluded: this.#repeats?.tried, keyHash, isSpillable })
    const server = choice.acquire({ excluded: this.#repeats?.tried, isSpillable })
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
    if (this.#request.choice?.hasOtherWay(this.#repeats?.tried) === true && this.wanted) return this.#findServer()
    const pool = this.#pool
    if (why === 'room')
      this.#noServer('too_many_waiting', `it made room for a more urgent one: too many requests wait for pool ${pool.name}`)
    else if (pool.upServers().length === 0) this.#noServer('no_server', `no server of pool ${pool.name} is up`)
    else this.#noServer('no_capacity', `no server of pool ${pool.name} had a free slot in time`)
  }

  #noServer(code: ErrorCode, detail: string): void {
    if (this.#held === undefined && this.#canSpill()) this.#spill(detail)
    else this.#giveUp(this.#failed ?? failure(code, detail))
  }

  // --- the request

  #send(next: Try): void {
    const { server } = next
    const pool = this.#pool
    this.#call.log.server = server.name
    const note = this.#call.log.trace?.begin(server)
    if (this.#repeats === undefined) pool.retries.first()
    else this.#repeats.tries++
    const sentAt = this.#context.clock.monotonic()
    const { method } = this.#call.head
    const request = {
      method,
      head: this.#head,
      body: outgoingBody(this.#call.head.bodyLength),
      fresh: this.#repeats?.onlyFresh === true,
      firstByteMs: this.#request.route.firstByteMs,
      ends: pool.dialling.shared ? undefined : this.#call.ends,
    }
    const connection = this.#context.upstream.exchange(pool, server, request, next)
    next.sent(connection, sentAt, note)
    this.#body?.sendTo(connection)
  }

  // --- how a try ended

  answered(tried: Try, head: ResponseHead): void {
    if (head.status >= 400 && this.#mayImprove(tried, head)) return tried.hold(head, this.#context.budget)
    if (isNotNow(head.status) && this.#canSpill() && !forbidsRetry(head.headers)) return this.#busy(tried, head)
    this.#pass(tried, head)
  }

  #pass(tried: Try, head: ResponseHead): void {
    if (this.#held !== undefined) this.#dropHeld()
    tried.pass(head, this.#request.cors)
  }

  /** The server says "not now": its share rests and the request becomes a job. The rest of this answer is of no interest. */
  #busy(tried: Try, head: ResponseHead): void {
    const { server } = tried
    tried.pool.pause(server, retryAfterMs(head.headers, this.#context) ?? BUSY_PAUSE_MS)
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
    const mishap = mishapOf(failed)
    const repeats = this.#learn(mishap, server)
    const again = this.#mayTryAgain(repeats, mishap)
    const pauseMs = again ? repeats.pauseMs(mishap, server, this.#context.random.unit()) : Number.POSITIVE_INFINITY
    if (again && this.#hasTimeAfter(pauseMs) && this.#mayRepeat(repeats, mishap)) this.#after(pauseMs, () => this.#findServer())
    else if (this.#held === undefined && (again || this.#mayBeSentLater(failed)) && this.#canSpill()) this.#spill(this.#failed.detail)
    else this.#giveUp(this.#failed)
  }

  #learn(mishap: Mishap, server: Server): Repeats {
    this.#repeats ??= new Repeats(this.#request.route.retry ?? DEFAULT_RETRY)
    this.#repeats.learn(mishap, server, this.#usableServers())
    return this.#repeats
  }

  #mayTryAgain(repeats: Repeats, mishap: Mishap): boolean {
    const { responseStarted, head } = this.#call
    const replayable = this.#body?.replayable ?? true
    return repeats.mayTryAgain(
      { method: head.method, mishap, responseStarted, replayable },
      this.#request.choice?.servers ?? this.#pool.servers.length,
    )
  }

  #usableServers(): readonly Server[] {
    return this.#request.choice?.usableServers() ?? this.#pool.usableServers()
  }

  /** What reached no server is no load for another one, a stale connection no try; and where no server is left nothing is sent. */
  #mayRepeat(repeats: Repeats, mishap: Mishap): boolean {
    return mishap === 'connect-failure' || mishap === 'stale' || repeats.hasTriedAll(this.#pool) || this.#pool.mayRepeat()
  }

  /** Can a try that begins then be answered before the call must end? */
  #hasTimeAfter(pauseMs: Millis): boolean {
    if (this.#endsAt === Number.POSITIVE_INFINITY) return true
    const now = this.#context.clock.monotonic()
    return now + pauseMs + this.#pool.fastestMs(now) < this.#endsAt
  }

  #after(pauseMs: Millis, next: () => void): void {
    if (pauseMs <= 0) return next()
    this.#pause = this.#context.clock.after(pauseMs, next)
  }

  // --- an answer that another server may improve on

  /** By what it says another server may be asked. Whether one can be is seen when all is there that came together with its head. */
  #mayImprove({ server, pool }: Try, { status, headers }: ResponseHead): boolean {
    const { retry } = this.#request.route
    if (retry?.statuses.includes(status) !== true) return false
    const restMs = isNotNow(status) ? retryAfterMs(headers, this.#context) : undefined
    // Without the last one nobody would answer at all.
    if (restMs !== undefined && this.#usableServers().some((other) => other !== server)) pool.pause(server, restMs)
    if (forbidsRetry(headers) || this.#body?.ended === false) return false
    return this.#mayTryAgain(this.#repeats ?? new Repeats(retry), { status })
  }

  held(tried: Try): void {
    if (this.#ended) return
    const { server } = tried
    this.#held?.drop()
    this.#held = tried
    this.#try = undefined
    const status = { status: tried.status }
    const pauseMs = this.#learn(status, server).pauseMs(status, server, this.#context.random.unit())
    if (this.#hasTimeAfter(pauseMs)) this.#after(pauseMs, () => this.#improve())
    else this.#giveHeld()
  }

  /** Only where a server is free now: an answer is there already. */
  #improve(): void {
    const server = this.#acquire(this.#canSpill())
    const pool = this.#pool
    if (server === undefined) return this.#giveHeld()
    if (!pool.mayRepeat()) {
      pool.release(server)
      return this.#giveHeld()
    }
    if (this.#held?.keep() === false) this.#held = undefined
    this.#take(server)
  }

  #giveHeld(): void {
    const held = this.#held as Try
    const head = held.heldHead
    this.#held = undefined
    if (head === undefined) return this.#fail(failure('connection_reset', `${held.server.name}: its answer broke off`))
    if (isNotNow(head.status) && this.#canSpill()) return this.#busy(held, head)
    this.#call.log.server = held.server.name
    this.#try = held
    held.give(this.#request.cors)
  }

  // --- endings

  /** Nothing can have arrived; or the connection broke and the route says that its requests may be done twice. */
  #mayBeSentLater(failed: UpstreamFailure): boolean {
    return !failed.sent || (failed.code === 'connection_reset' && this.#request.route.redeliver === 'always')
  }

  /** Of the call as a whole; 0: none. */
  get #timeoutMs(): Millis {
    return this.#request.route.timeoutMs ?? this.#context.config.timeouts.callMs
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

  /** What a server has answered says more than what came of asking another one. */
  #giveUp(failed: Failure): void {
    if (this.#held === undefined) this.#fail(failed)
    else this.#giveHeld()
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
    const waited = this.#leaveLine !== undefined
    const at = waited ? 'nobody: it waited for a slot' : this.#try?.server.name
    this.#leaveLine?.()
    if (waited && this.#held === undefined && this.#canSpill()) return this.#spill('no slot was free before the call had to end')
    this.#pause?.cancel()
    this.#try?.drop('call_timeout')
    this.#try = undefined
    const what = this.#request.route.timeoutMs === undefined ? 'timeouts.call' : "the route's timeout"
    const where = at === undefined ? '' : `; it was at ${at}`
    this.#giveUp(failure('call_timeout', `the call took longer than ${this.#timeoutMs} ms (${what})${where}`))
  }

  #dropHeld(): void {
    this.#held?.drop()
    this.#held = undefined
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waitOver()
    this.#try = undefined
    if (this.#held !== undefined) this.#dropHeld()
    this.#pause?.cancel()
    this.#body?.dropCopy()
    if (this.#endsAt !== Number.POSITIVE_INFINITY) this.#context.sweeper.delete(this)
  }
}

function isNotNow(status: number): boolean {
  return status === 503 || status === 429
}

export function orderUnknown(): Failure {
  return failure('store_unavailable', 'The store cannot say whether others of the same key come first.')
}

function retryAfterMs(headers: FlatHeaders, context: CallContext): Millis | undefined {
  return parseRetryAfter(headerValue(headers, 'retry-after'), context.clock.now())
}

function outgoingBody(bodyLength: number): OutgoingBody {
  if (bodyLength === 0) return 'none'
  return bodyLength > 0 ? { bytes: bodyLength } : 'chunked'
}
