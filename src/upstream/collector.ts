/** Takes in one answer whole, within its limits of time and size. */
import { type ErrorCode, ERRORS } from '../core/errors.ts'
import { endToEndHeaders } from '../core/headers/forward.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { Millis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import { BudgetedBytes } from '../net/budgeted-bytes.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure, UpstreamOptions } from '../net/upstream-connection.ts'
import type { Timer } from '../ports/clock.ts'
import type { AnswerHead } from '../ports/job-store.ts'
import type { Attempt, AttemptLimits, AttemptOutcome } from './upstream.ts'

/** A timer that is due is served before what has arrived: one turn of the loop more, so that a process that was stopped or busy reads first. */
const ONE_TURN_MS: Millis = 1

export interface CollectorParts {
  readonly budget: BufferBudget
  readonly ports: UpstreamOptions
  readonly limits: AttemptLimits
}

export class Collector implements ResponseSink, Attempt {
  readonly outcome: Promise<AttemptOutcome>
  /** Until the outcome is known; then it serves others. */
  connection: UpstreamConnection | undefined
  protected readonly parts: CollectorParts
  #resolve: ((outcome: AttemptOutcome) => void) | undefined
  #head: AnswerHead | undefined
  #timer: Timer | undefined
  readonly #bytes: BudgetedBytes
  #ended = false

  constructor(parts: CollectorParts) {
    this.parts = parts
    this.#bytes = new BudgetedBytes(parts.budget, () => this.#roomAgain())
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#endsIn(parts.limits.timeoutMs)
  }

  extend(forMs: Millis): void {
    if (this.isOver) return
    this.#endsIn(forMs)
    if (this.#head === undefined) this.connection?.awaitFor(forMs)
  }

  #endsIn(forMs: Millis): void {
    this.expire(forMs, () => this.abort('attempt_timeout', `the attempt took longer than ${forMs} ms`))
  }

  cork(): void {}

  uncork(): undefined {}

  head(head: ResponseHead): void {
    if (head.status === 101) this.abort('bad_response', 'the server switched protocols for a job')
    else if (head.status >= 200) this.begin(answerHead(head), head.bodyLength)
  }

  /** The final answer begins. */
  protected begin(head: AnswerHead, bodyLength: number): void {
    this.#head = head
    if (bodyLength > this.parts.limits.resultBytesMax) this.#tooLarge()
  }

  data(chunk: Buffer): boolean {
    if (this.#bytes.length + chunk.length > this.parts.limits.resultBytesMax) this.#tooLarge()
    else return this.#bytes.add(chunk, true)
    return true
  }

  /** While the budget was full the server was not read from. The attempt's own time went on. */
  #roomAgain(): void {
    if (this.#ended) this.#complete()
    else this.connection?.resume()
  }

  #tooLarge(): void {
    this.abort('result_too_large', `the answer is larger than ${this.parts.limits.resultBytesMax} bytes (limits.result)`)
  }

  end(): void {
    this.#ended = true
    // It is idle now, or somebody else's.
    this.connection = undefined
    if (!this.#bytes.waiting) this.#complete()
  }

  #complete(): void {
    this.finish({ kind: 'answer', answer: { ...(this.#head as AnswerHead), body: this.#bytes.joined() } })
  }

  fail(failed: UpstreamFailure): void {
    this.finish({ kind: 'failed', code: failed.code, detail: failed.detail, sent: failed.sent })
  }

  abort(code: ErrorCode, detail: string = ERRORS[code].title): void {
    if (this.#resolve === undefined) return
    const sent = this.connection?.sent ?? true
    this.connection?.destroy()
    this.finish({ kind: 'failed', code, detail, sent })
  }

  /** Instead of any that was set before. */
  protected expire(afterMs: Millis, then: () => void): void {
    const { clock } = this.parts.ports
    this.#timer?.cancel()
    this.#timer = clock.after(afterMs, () => {
      this.#timer = clock.after(ONE_TURN_MS, then)
    })
  }

  /** It takes as long as it takes. */
  protected stopClock(): void {
    this.#timer?.cancel()
  }

  protected get isOver(): boolean {
    return this.#resolve === undefined
  }

  protected finish(outcome: AttemptOutcome): void {
    if (this.#resolve === undefined) return
    this.#timer?.cancel()
    this.connection = undefined
    this.#bytes.free()
    this.#resolve(outcome)
    this.#resolve = undefined
  }
}

function answerHead({ status, reason, headers, connection }: ResponseHead): AnswerHead {
  return { status, reason, headers: endToEndHeaders(headers, connection) }
}
