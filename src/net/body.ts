/** A request's whole body in memory, within a limit and the gateway's budget for bodies. */
import { type Failure, failure } from '../core/errors.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { BufferBudget } from './buffer-budget.ts'
import { BudgetedBytes } from './budgeted-bytes.ts'
import type { BodySink, Call } from './call.ts'

export type CollectedBody =
  /** `free` gives its bytes back to the budget. */
  | { readonly kind: 'body'; readonly bytes: Uint8Array; readonly free: () => void }
  | { readonly kind: 'failed'; readonly failed: Failure }
  /** The client left, or its framing was wrong and has been answered. */
  | { readonly kind: 'gone' }

export interface BodyLimits {
  readonly bytesMax: Bytes
  readonly budget: BufferBudget
  /** When the budget is full the client is not read from for so long; then it is refused. */
  readonly waitMs: Millis
  readonly clock: Clock
}

export function collectBody(call: Pick<Call, 'body'>, limits: BodyLimits): Promise<CollectedBody> {
  const collector = new BodyCollector(call, limits)
  if (collector.expect(call.body.length)) call.body.start(collector)
  return collector.done
}

export class BodyCollector implements BodySink {
  readonly done: Promise<CollectedBody>
  readonly #limits: BodyLimits
  readonly #bytes: BudgetedBytes
  #resolve: ((body: CollectedBody) => void) | undefined
  #ended = false
  #timer: Timer | undefined

  constructor(call: Pick<Call, 'body'>, limits: BodyLimits) {
    this.#limits = limits
    this.#bytes = new BudgetedBytes(limits.budget, () => {
      this.#stopWaiting()
      if (this.#ended) this.#complete()
      else call.body.resume()
    })
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Refuses at once what is announced to be too large: nothing of it need be read. */
  expect(length: number | undefined): boolean {
    if (length !== undefined && length > this.#limits.bytesMax) this.#tooLarge()
    return this.#resolve !== undefined
  }

  data(chunk: Uint8Array): boolean {
    if (this.#resolve === undefined) return true
    if (this.#bytes.length + chunk.length > this.#limits.bytesMax) {
      this.#tooLarge()
      return true
    }
    if (this.#bytes.add(chunk)) return true
    this.#timer ??= this.#limits.clock.after(this.#limits.waitMs, () =>
      this.#fail(failure('buffers_full', 'the bodies held in memory are at their limit (limits.buffered)')),
    )
    return false
  }

  end(): void {
    this.#ended = true
    if (!this.#bytes.waiting) this.#complete()
  }

  abort(): void {
    this.#free()
    this.#settle({ kind: 'gone' })
  }

  #complete(): void {
    this.#settle({ kind: 'body', bytes: this.#bytes.joined(), free: () => this.#free() })
  }

  #tooLarge(): void {
    this.#fail(failure('body_too_large', `the body is larger than ${this.#limits.bytesMax} bytes (limits.jobBody)`))
  }

  #fail(failed: Failure): void {
    this.#free()
    this.#settle({ kind: 'failed', failed })
  }

  #free(): void {
    this.#stopWaiting()
    this.#bytes.free()
  }

  #stopWaiting(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #settle(body: CollectedBody): void {
    this.#resolve?.(body)
    this.#resolve = undefined
  }
}
