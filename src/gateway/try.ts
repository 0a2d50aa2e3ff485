/**
 * One try of a live request at one server: the slot, the connection, and the answer until it is passed on. Gives its slot back exactly once, and
 * tells the pool how it ended. What follows from an answer or a failure is decided by the call (`direct.ts`).
 */
import { isServerFailure, isServerFault } from '../core/health/outliers.ts'
import { forwardTrailers } from '../core/headers/forward.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { TryNote } from '../telemetry/call-trace.ts'
import { passHead } from './answer-head.ts'

/** Whose try it is. */
export interface Trier {
  /** It calls `pass`, or drops the try. Heads of informational answers come before. */
  answered(tried: Try, head: ResponseHead): void
  /** Its answer is passed on as a whole; the end is still to be written. */
  passed(tried: Try): void
  /** It came to nothing; its slot is free. */
  failed(tried: Try, failed: UpstreamFailure): void
}

export class Try implements ResponseSink {
  readonly server: Server
  readonly #trier: Trier
  readonly #call: DownstreamCall
  readonly #pool: Pool
  #connection: UpstreamConnection | undefined
  #holdsSlot = true
  /** 0: it is not measured, or was answered. */
  #sentAt: MonotonicMillis = 0
  /** Of the answer. */
  #status = 0
  /** What the Connection fields of the answer said. */
  #answerConnection = ''
  /** Where the call is traced. */
  #note: TryNote | undefined

  /** The slot of the server is its own from now on. */
  constructor(trier: Trier, call: DownstreamCall, pool: Pool, server: Server) {
    this.#trier = trier
    this.#call = call
    this.#pool = pool
    this.server = server
  }

  /** `sentAt`: 0 where it is not measured. */
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

  uncork(): boolean {
    return this.#call.uncork()
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
    this.#pool.answered(this.server, this.#sentAt)
    this.#sentAt = 0
  }

  /** To the client. `cors`: what the route says about it. */
  pass(head: ResponseHead, cors: readonly string[] | undefined): void {
    this.#status = head.status
    passHead(this.#call, head, cors)
  }

  data(chunk: Buffer): boolean {
    if (this.#call.write(chunk)) return true
    // Not of a connection that has gone on to serve somebody else meanwhile.
    this.#call.onDrain(() => this.#connection?.resume())
    return false
  }

  end(trailers: readonly string[]): void {
    this.#note?.ended('answered')
    this.#pool.observe(this.server, !isServerFault(this.#status))
    this.#connection = undefined
    this.#releaseSlot()
    this.#trier.passed(this)
    this.#call.end(forwardTrailers(trailers, this.#answerConnection))
  }

  // --- other endings

  fail(failed: UpstreamFailure): void {
    this.#note?.ended(failed.code)
    this.#connection = undefined
    this.#releaseSlot()
    // A kept connection that had gone stale says nothing about it.
    if (!failed.reused && isServerFailure(failed.code)) this.#pool.observe(this.server, false)
    this.#trier.failed(this, failed)
  }

  /** Nobody waits for its answer, or for the rest of it. */
  drop(why = 'abandoned'): void {
    this.#note?.ended(why)
    this.#connection?.destroy()
    this.#connection = undefined
    this.#releaseSlot()
  }

  #releaseSlot(): void {
    if (!this.#holdsSlot) return
    this.#holdsSlot = false
    this.#pool.release(this.server)
  }
}
