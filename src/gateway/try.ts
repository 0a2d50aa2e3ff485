/**
 * One try of a live request at one server: the slot, the connection, and the answer until it is passed on. Gives its slot back exactly once, and
 * tells the pool how it ended. What follows from an answer or a failure is decided by the call (`direct.ts`).
 */
import { isServerFailure, isServerFault } from '../core/health/outliers.ts'
import { forwardTrailers } from '../core/headers/forward.ts'
import { mishapOf } from '../core/retry/retry.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { Loan } from '../net/output.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { TryNote } from '../telemetry/call-trace.ts'
import { passHead } from './answer-head.ts'
import { HeldAnswer } from './held-answer.ts'

/** Whose try it is. */
export interface Trier {
  /** It passes the answer on, holds it, or drops the try. Heads of informational answers come before. */
  answered(tried: Try, head: ResponseHead): void
  /** Its answer is held, with what came together with its head. */
  held(tried: Try): void
  /** This head goes to the client now. */
  passes(tried: Try, head: ResponseHead): void
  /** Its answer is passed on as a whole; the end is still to be written. */
  passed(tried: Try): void
  /** It came to nothing; its slot is free. */
  failed(tried: Try, failed: UpstreamFailure): void
}

export class Try implements ResponseSink {
  readonly server: Server
  readonly #trier: Trier
  readonly #call: DownstreamCall
  readonly pool: Pool
  #connection: UpstreamConnection | undefined
  #holdsSlot = true
  /** 0: it was answered. */
  #sentAt: MonotonicMillis = 0
  /** Of the answer. */
  status = 0
  /** What the Connection fields of the answer said. */
  #answerConnection = ''
  /** Its answer waits for what becomes of another try. */
  #held: HeldAnswer | undefined
  /** What shall become of it, once all is there that came at once: mostly that is all of it. */
  #asks = false
  /** Where the call is traced. */
  #note: TryNote | undefined

  /** The slot of the server is its own from now on. */
  constructor(trier: Trier, call: DownstreamCall, pool: Pool, server: Server) {
    this.#trier = trier
    this.#call = call
    this.pool = pool
    this.server = server
  }

  sent(connection: UpstreamConnection, sentAt: MonotonicMillis, note: TryNote | undefined): void {
    this.#connection = connection
    this.#sentAt = sentAt
    this.#note = note
    note?.on(connection)
  }

  // --- the answer

  cork(): void {
    this.#call.cork()
  }

  uncork(): Loan | undefined {
    const loan = this.#call.uncork()
    if (this.#asks) {
      this.#asks = false
      this.#trier.held(this)
    }
    return loan
  }

  head(head: ResponseHead): void {
    if (this.#sentAt > 0) this.#measure()
    if (head.status >= 200) this.#note?.head(head.status)
    this.#answerConnection = head.connection
    if (head.status === 101) {
      this.#connection?.destroy()
      return this.fail({ code: 'bad_response', detail: 'the server switched protocols unasked', sent: true, reused: false })
    }
    this.#trier.answered(this, head)
  }

  #measure(): void {
    this.pool.answered(this.server, this.#sentAt)
    this.#sentAt = 0
  }

  /** To the client. `cors`: what the route says about it. */
  pass(head: ResponseHead, cors: readonly string[] | undefined): void {
    this.status = head.status
    this.#trier.passes(this, head)
    passHead(this.#call, head, cors)
  }

  data(chunk: Buffer): boolean {
    if (this.#held !== undefined) return this.#hold(chunk, this.#held)
    if (this.#call.write(chunk)) return true
    // Not of a connection that has gone on to serve somebody else meanwhile.
    this.#call.onDrain(() => this.#connection?.resume())
    return false
  }

  end(trailers: readonly string[]): void {
    this.#note?.ended('answered')
    this.server.meter?.answered(this.status)
    this.pool.observe(this.server, !isServerFault(this.status))
    this.#connection = undefined
    this.#releaseSlot()
    if (this.#held === undefined) this.#endCall(trailers)
    else this.#held.trailers = trailers
  }

  #endCall(trailers: readonly string[]): void {
    this.#trier.passed(this)
    this.#call.end(forwardTrailers(trailers, this.#answerConnection))
  }

  // --- an answer that is held

  /** It is not passed on before it is known whether there will be a better one. What has come of it with its head is kept, nothing more is read. */
  hold(head: ResponseHead, budget: BufferBudget): void {
    this.status = head.status
    this.#held = new HeldAnswer(head, budget)
    this.#asks = true
  }

  /** Of its answer, where that is held. */
  get heldHead(): ResponseHead | undefined {
    return this.#held?.head
  }

  #hold(chunk: Buffer, held: HeldAnswer): boolean {
    if (!held.add(chunk)) this.drop()
    return false
  }

  /** The other try takes so long that only an answer which is whole, and needs no slot, is kept. False: it is gone. */
  keep(): boolean {
    if (this.#held?.isWhole === true) return true
    this.drop()
    return false
  }

  /** There will be no better one. */
  give(cors: readonly string[] | undefined): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.pass(held.head, cors)
    const flowing = held.pieces.map((piece) => this.#call.write(piece)).every(Boolean)
    held.drop()
    if (held.trailers !== undefined) this.#endCall(held.trailers)
    else if (flowing) this.#connection?.resume()
    else this.#call.onDrain(() => this.#connection?.resume())
  }

  // --- other endings

  fail(failed: UpstreamFailure): void {
    this.#note?.ended(failed.code)
    this.server.meter?.unanswered(failed.code)
    this.#connection = undefined
    this.#releaseSlot()
    // A kept connection that had gone stale says nothing about it.
    if (mishapOf(failed) !== 'stale' && isServerFailure(failed.code)) this.pool.observe(this.server, false)
    if (this.#held === undefined) this.#trier.failed(this, failed)
    else this.#dropHeld()
  }

  /** Another try was quicker. How long it took until now says something of its server only where that is bad news. */
  outrun(now: MonotonicMillis): void {
    if (this.#sentAt > 0) this.server.latency.atLeast(now - this.#sentAt, now)
    this.drop('outrun')
  }

  /** Nobody waits for its answer, or for the rest of it. */
  drop(why = 'abandoned'): void {
    // What it said of its server counts.
    if (this.#held !== undefined && this.#connection !== undefined) this.pool.observe(this.server, !isServerFault(this.status))
    this.#note?.ended(why)
    if (this.#connection !== undefined) this.server.meter?.unanswered(why)
    this.#connection?.destroy()
    this.#connection = undefined
    this.#dropHeld()
    this.#releaseSlot()
  }

  #dropHeld(): void {
    this.#held?.drop()
    this.#held = undefined
  }

  #releaseSlot(): void {
    if (!this.#holdsSlot) return
    this.#holdsSlot = false
    this.pool.release(this.server)
  }
}
