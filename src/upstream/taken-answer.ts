/**
 * An answer that is handed on while it comes. Until its head nobody knows whether it will be: so it begins as one that is collected, and stays one
 * if nobody takes it.
 */
import { type ErrorCode, ERRORS } from '../core/errors.ts'
import type { UpstreamFailure } from '../net/upstream-connection.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { AnswerHead } from '../ports/job-store.ts'
import { Collector, type CollectorParts } from './collector.ts'
import type { AnswerTaker, AttemptOutcome, StreamedAttempt } from './upstream.ts'

export class TakenAnswer extends Collector {
  readonly #streamed: StreamedAttempt
  #head: AnswerHead | undefined
  #taker: AnswerTaker | undefined
  #taken = 0
  #movedAt: MonotonicMillis = 0
  /** The taker takes nothing just now: that nothing comes says nothing about the server. */
  #held = false

  constructor(parts: CollectorParts, streamed: StreamedAttempt) {
    super(parts)
    this.#streamed = streamed
  }

  protected override begin(head: AnswerHead, bodyLength: number): void {
    // One without a body is whole with its head.
    if (bodyLength === 0 || !this.#streamed.wants(head)) return super.begin(head, bodyLength)
    if (bodyLength > this.#streamed.bytesMax) return this.#tooLarge()
    const giver = {
      budget: this.parts.budget,
      resume: () => this.#resume(),
      failed: (code: ErrorCode, detail: string) => this.abort(code, detail),
    }
    this.#head = head
    this.#taker = this.#streamed.take(head, giver)
    this.#movedAt = this.#now()
    this.#awaitMore()
  }

  /** What comes is a sign of life by itself. */
  override extend(forMs: Millis): void {
    if (this.#taker === undefined) super.extend(forMs)
  }

  override data(chunk: Buffer): boolean {
    if (this.#taker === undefined) return super.data(chunk)
    this.#movedAt = this.#now()
    this.#taken += chunk.length
    if (this.#taken > this.#streamed.bytesMax) {
      this.#tooLarge()
      return true
    }
    this.#held = !this.#taker.data(chunk)
    return !this.#held
  }

  #resume(): void {
    this.#held = false
    this.#movedAt = this.#now()
    this.connection?.resume()
  }

  #tooLarge(): void {
    this.abort('result_too_large', `the answer is larger than ${this.#streamed.bytesMax} bytes (limits.streamedResult)`)
  }

  override end(): void {
    const taker = this.#taker
    if (taker === undefined) return super.end()
    this.connection = undefined
    this.stopClock()
    const head = this.#head as AnswerHead
    taker.end().then(
      (blob) => this.finish({ kind: 'answer', answer: { ...head, body: NO_BODY, blob } }),
      (error: unknown) => this.abort('store_unavailable', error instanceof Error ? error.message : String(error)),
    )
  }

  override fail(failed: UpstreamFailure): void {
    this.#failed(failed.code, failed.detail, failed.sent)
  }

  override abort(code: ErrorCode, detail: string = ERRORS[code].title): void {
    if (this.isOver) return
    const sent = this.connection?.sent ?? true
    this.connection?.destroy()
    this.#failed(code, detail, sent)
  }

  #failed(code: ErrorCode, detail: string, sent: boolean): void {
    if (this.isOver) return
    const outcome: AttemptOutcome = { kind: 'failed', code, detail, sent, ...(this.#taker?.begun === true && { partial: true }) }
    this.finish(outcome)
    this.#taker?.breakOff()
  }

  /** One timer for the whole answer: it looks how long nothing has come. */
  #awaitMore(): void {
    const { timeoutMs } = this.parts.limits
    const left = this.#held ? timeoutMs : this.#movedAt + timeoutMs - this.#now()
    this.expire(Math.max(left, 1), () => {
      if (this.#held || this.#now() - this.#movedAt < timeoutMs) return this.#awaitMore()
      this.abort('attempt_timeout', `nothing of the answer came for ${timeoutMs} ms`)
    })
  }

  #now(): MonotonicMillis {
    return this.parts.ports.clock.monotonic()
  }
}

const NO_BODY = new Uint8Array(0)
