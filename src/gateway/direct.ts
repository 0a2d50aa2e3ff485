/**
 * A request served now: a slot, a server, the request streamed up, the answer streamed down. One object per call decides what follows from how
 * each try (`try.ts`) ended: it tries again only where that is safe, and hands over to `spill` when the request may become a job and no server
 * can take it.
 */
import { sendFailure } from '../api/problem.ts'
import type { HedgeConfig, MirrorConfig } from '../config/config.ts'
import { type ErrorCode, type Failure, failure } from '../core/errors.ts'
import { forbidsRetry } from '../core/jobs/settlement.ts'
import { DEFAULT_RETRY, isIdempotent, type Mishap, mayRepeatMethod, mishapOf } from '../core/retry/retry.ts'
import { fillMaxOf } from '../core/admission/shedding.ts'
import { fieldLines } from '../http1/write.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { type Deadline, NEVER, type Sweepable } from '../net/sweeper.ts'
import type { Timer } from '../ports/clock.ts'
import type { UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import { fastestMs, type Server } from '../pools/server.ts'
import type { WaitEnd, Waiter } from '../pools/line.ts'
import type { LiveContext } from './context.ts'
import { type DirectRequest, isBad, isNotNow, orderUnknown, outgoingBody, retryAfterMs, type SpillHandOver } from './direct-request.ts'
import { type Hedge, rivalFor } from './hedge.ts'
import { Repeats } from './repeats.ts'
import { RequestStream } from './request-stream.ts'
import { Try, type Trier } from './try.ts'

const BUSY_PAUSE_MS = 1_000

export class DirectCall implements Trier, Waiter, Sweepable {
  deadlineAt: Deadline = NEVER
  readonly #call: DownstreamCall
  readonly #request: DirectRequest
  readonly #context: LiveContext
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
  /** A second try beside the first: where the route has it, and the request may be done twice. */
  #hedge: Hedge | undefined
  /** Until the next try. */
  #pause: Timer | undefined
  #ended = false
  #failed: Failure | undefined
  #body: RequestStream | undefined

  constructor(call: DownstreamCall, request: DirectRequest, context: LiveContext) {
    this.#call = call
    this.#request = request
    this.#pool = request.pool
    this.#context = context
    this.#head = `${call.head.method} ${request.target ?? call.head.target} HTTP/1.1\r\n${request.fields.lines}`
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
    return new RequestStream(this.#call, this.#context, {
      copyBytesMax,
      only: this.#request.fields.only,
      tooLarge: () => this.#bodyTooLarge(),
    })
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
    const { elsewhere } = this.#request
    if (elsewhere !== undefined && this.#isWhole() && this.#repeats?.hasTriedAll(pool) !== true)
      return this.#handOver(elsewhere, 'capacity', 'no slot is free')
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
    const { waitsFor: bound, waitMs = forMs } = this.#request.choice ?? {}
    const bounded = bound === undefined ? forMs : Math.min(forMs, waitMs)
    const joined = pool.wait(this, { forMs: bounded, bound, excluded: this.#repeats?.tried, key, priority, fillMax })
    // No place in the line for its own server is no reason to be refused by all others.
    if (typeof joined === 'string' && this.#takesOtherWay()) return this.#findServer()
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
    this.#request.choice?.granted()
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

  get hasOtherPool(): boolean {
    return this.#request.choice?.hasOtherPool(this.#repeats?.tried) === true
  }

  expire(why: WaitEnd): void {
    this.#waitOver()
    if (this.#takesOtherWay()) {
      if (why !== 'room') return this.#findServer()
      // It made room: it does not get in line again.
      const server = this.#acquire(this.#canSpill())
      if (server !== undefined) return this.#take(server)
    }
    const pool = this.#pool
    if (why === 'room')
      this.#noServer('too_many_waiting', `it made room for a more urgent one: too many requests wait for pool ${pool.name}`)
    else if (pool.upServers().length === 0) this.#noServer('no_server', `no server of pool ${pool.name} is up`)
    else this.#noServer('no_capacity', `no server of pool ${pool.name} had a free slot in time`)
  }

  /** From what it waited for, in vain. */
  #takesOtherWay(): boolean {
    return this.wanted && this.#request.choice?.takesOtherWay(this.#repeats?.tried) === true
  }

  #noServer(code: ErrorCode, detail: string): void {
    if (this.#held === undefined && this.#canSpill()) this.#spill(detail)
    else this.#giveUp(this.#failed ?? failure(code, detail))
  }

  // --- the request

  #send(next: Try): void {
    const { hedge, mirror } = this.#request.route
    this.#call.log.server = next.server.name
    const isFirst = this.#repeats === undefined
    if (isFirst) this.#pool.retries.first()
    else if (this.#repeats !== undefined) this.#repeats.tries++
    const connection = this.#exchange(next)
    if (mirror !== undefined && isFirst) this.#mirror(mirror)
    this.#body?.sendTo(connection)
    if (hedge !== undefined) this.#startHedge(hedge)
  }

  /** Another pool gets the same, when all of it is there. Nothing here waits for that. */
  #mirror(config: MirrorConfig): void {
    const { mirrors } = this.#context
    const { method, target } = this.#call.head
    if (!mirrors.draws(config, method)) return
    const { fields, target: rewritten = target } = this.#request
    const request = { method, head: `${method} ${rewritten} HTTP/1.1\r\n${fields.lines}${fieldLines(['Spillway-Mirror', 'true'])}` }
    if (this.#body === undefined) mirrors.send(config, request, [])
    else this.#body.mirror = (body) => mirrors.send(config, request, body)
  }

  #exchange(next: Try, why?: string): UpstreamConnection {
    const { pool, server } = next
    const note = this.#call.log.trace?.begin(server, why)
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
    return connection
  }

  // --- a second try beside the first

  /** Not of what has an order: both might be done, one of them late. Nor of what belongs to a server, which knows more of it than others. */
  #startHedge(config: HedgeConfig): void {
    const { order, route, choice } = this.#request
    const { method } = this.#call.head
    if (order !== undefined || choice?.isBound === true || !isIdempotent(method) || !mayRepeatMethod(route.retry ?? DEFAULT_RETRY, method))
      return
    this.#hedge ??= this.#context.hedges.begin(config, () => this.#sendRival())
    this.#hedge.sent()
  }

  /** The first one has not begun to answer. */
  #sendRival(): void {
    const first = this.#try as Try
    const { pool } = first
    if (this.#body !== undefined && !(this.#body.ended && this.#body.replayable)) return
    const repeats = (this.#repeats ??= new Repeats(this.#request.route.retry ?? DEFAULT_RETRY))
    if (!repeats.hasTryLeft(pool.servers.length) || !this.#hasTimeAfter(0)) return
    const server = rivalFor(first, { tried: repeats.tried, keyHash: this.#request.keyHash })
    if (server === undefined) return this.#context.hedges.count(pool.name, 'refused')
    this.#context.hedges.count(pool.name, 'sent')
    repeats.tries++
    const rival = new Try(this, this.#call, pool, server)
    this.#hedge?.begin(rival)
    const connection = this.#exchange(rival, 'hedge')
    this.#body?.copyTo(connection)
  }

  /** One of two begins to answer. True: that is not the answer. */
  #race(hedge: Hedge, tried: Try, head: ResponseHead): boolean {
    const { rival } = hedge
    if (rival === undefined) {
      hedge.answered()
      return false
    }
    // Whose informational answers are to be passed on is not known yet.
    if (head.status < 200) return true
    const isFirst = tried !== rival
    if (isFirst || !isBad(head.status)) hedge.answered()
    hedge.rival = undefined
    if (isBad(head.status)) {
      if (isFirst) this.#promote(rival)
      this.#obeyRetryAfter(tried, head)
      tried.hold(head, this.#context.budget)
      return true
    }
    const now = this.#context.clock.monotonic()
    if (isFirst) rival.outrun(now)
    else {
      this.#try?.outrun(now)
      this.#promote(rival)
      this.#context.hedges.count(tried.pool.name, 'won')
    }
    return false
  }

  /** Of two that are under way one came to nothing: the other one is all there is. */
  #loseOne(hedge: Hedge, rival: Try, failed: { tried: Try; mishap: Mishap }): void {
    this.#learn(failed.mishap, failed.tried.server)
    hedge.rival = undefined
    if (failed.tried === rival) return
    hedge.stop()
    this.#promote(rival)
  }

  #promote(rival: Try): void {
    this.#try = rival
    this.#call.log.server = rival.server.name
  }

  // --- how a try ended

  answered(tried: Try, head: ResponseHead): void {
    if (this.#hedge !== undefined && this.#race(this.#hedge, tried, head)) return
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

  passes({ server }: Try, head: ResponseHead): void {
    if (head.status >= 200) this.#request.choice?.answered(server, head)
  }

  passed(): void {
    this.#finish()
  }

  failed(tried: Try, failed: UpstreamFailure): void {
    if (this.#ended) return
    const { server } = tried
    const hedge = this.#hedge
    if (hedge?.rival !== undefined) return this.#loseOne(hedge, hedge.rival, { tried, mishap: mishapOf(failed) })
    hedge?.stop()
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
    return mishap === 'connect-failure' || mishap === 'stale' || repeats.hasTriedAll(this.#pool) || this.#pool.retries.mayRepeat()
  }

  /** Can a try that begins then be answered before the call must end? */
  #hasTimeAfter(pauseMs: Millis): boolean {
    if (this.#endsAt === Number.POSITIVE_INFINITY) return true
    const now = this.#context.clock.monotonic()
    return now + pauseMs + fastestMs(this.#pool.usableServers(), now) < this.#endsAt
  }

  #after(pauseMs: Millis, next: () => void): void {
    if (pauseMs <= 0) return next()
    this.#pause = this.#context.clock.after(pauseMs, next)
  }

  // --- an answer that another server may improve on

  /** By what it says another server may be asked. Whether one can be is seen when all is there that came together with its head. */
  #mayImprove(tried: Try, head: ResponseHead): boolean {
    const { status, headers } = head
    const { retry } = this.#request.route
    if (retry?.statuses.includes(status) !== true) return false
    this.#obeyRetryAfter(tried, head)
    if (forbidsRetry(headers) || this.#body?.ended === false) return false
    return this.#mayTryAgain(this.#repeats ?? new Repeats(retry), { status })
  }

  /** Where answers like this one are retried. */
  #obeyRetryAfter({ server, pool }: Try, { status, headers }: ResponseHead): void {
    if (!isNotNow(status) || this.#request.route.retry?.statuses.includes(status) !== true) return
    const restMs = retryAfterMs(headers, this.#context)
    // Without the last one nobody would answer at all.
    if (restMs !== undefined && this.#usableServers().some((other) => other !== server)) pool.pause(server, restMs)
  }

  held(tried: Try): void {
    if (this.#ended) return
    const { server } = tried
    this.#held?.drop()
    this.#held = tried
    const status = { status: tried.status }
    const repeats = this.#learn(status, server)
    // The other one of two is still under way.
    if (this.#try !== undefined && this.#try !== tried) return this.#keepHeld()
    this.#hedge?.stop()
    this.#try = undefined
    const pauseMs = repeats.pauseMs(status, server, this.#context.random.unit())
    if (this.#hasTimeAfter(pauseMs)) this.#after(pauseMs, () => this.#improve())
    else this.#giveHeld()
  }

  /** Only where a server is free now: an answer is there already. */
  #improve(): void {
    const server = this.#acquire(this.#canSpill())
    const pool = this.#pool
    if (server === undefined) return this.#giveHeld()
    if (!pool.retries.mayRepeat()) {
      pool.release(server)
      return this.#giveHeld()
    }
    this.#keepHeld()
    this.#take(server)
  }

  #keepHeld(): void {
    if (this.#held?.keep() === false) this.#held = undefined
  }

  #giveHeld(): void {
    const held = this.#held as Try
    const head = held.heldHead
    this.#held = undefined
    if (head === undefined) return this.#fail(failure('connection_reset', `${held.server.name}: its answer broke off`))
    if (isNotNow(head.status) && this.#canSpill() && !forbidsRetry(head.headers)) return this.#busy(held, head)
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

  /** Whoever takes it over could begin anew. */
  #isWhole(): boolean {
    return !this.#call.responseStarted && this.#held === undefined && (this.#body?.replayable ?? true)
  }

  #spill(reason: string, why?: 'queueing'): void {
    const cause = why ?? (this.#pool.upServers().length === 0 ? 'no_server' : 'capacity')
    if (this.#request.spill !== undefined) this.#handOver(this.#request.spill, cause, reason)
  }

  #handOver(taker: (handOver: SpillHandOver) => void, cause: SpillHandOver['cause'], reason: string): void {
    const stream = this.#body
    const handOver: SpillHandOver = {
      cause,
      reason,
      chunks: stream?.takeCopy() ?? [],
      complete: stream?.ended ?? true,
      trailers: stream?.trailers ?? [],
      untouched: stream !== undefined && !stream.started,
      rest: undefined,
    }
    this.#finish()
    const { trace } = this.#call.log
    if (trace !== undefined) trace.phase = 'gateway'
    taker(handOver)
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
    // What it would still take has no time any more.
    this.#keepHeld()
    const what = this.#request.route.timeoutMs === undefined ? 'timeouts.call' : "the route's timeout"
    const where = at === undefined ? '' : `; it was at ${at}`
    this.#giveUp(failure('call_timeout', `the call took longer than ${this.#timeoutMs} ms (${what})${where}`))
  }

  #dropRival(hedge: Hedge): void {
    hedge.stop()
    hedge.rival?.drop()
    hedge.rival = undefined
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
    if (this.#hedge !== undefined) this.#dropRival(this.#hedge)
    this.#body?.dropCopy()
    if (this.#endsAt !== Number.POSITIVE_INFINITY) this.#context.sweeper.delete(this)
  }
}
