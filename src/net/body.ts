/** A request's whole body in memory, within a limit and the gateway's budget for bodies. */
import { type Failure, failure } from '../core/errors.ts'
import { ByteList } from '../lib/byte-list.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from './buffer-budget.ts'
import type { BodySink, Call } from './call.ts'

export type CollectedBody =
  /** `free` gives its bytes back to the budget. */
  | { readonly kind: 'body'; readonly bytes: Uint8Array; readonly free: () => void }
  | { readonly kind: 'failed'; readonly failed: Failure }
  /** The client left, or its framing was wrong and has been answered. */
  | { readonly kind: 'gone' }

export function collectBody(call: Call, bytesMax: Bytes, budget: BufferBudget): Promise<CollectedBody> {
  const collector = new BodyCollector(bytesMax, budget)
  if (collector.expect(call.body.length)) call.body.start(collector)
  return collector.done
}

export class BodyCollector implements BodySink {
  readonly done: Promise<CollectedBody>
  readonly #bytesMax: Bytes
  readonly #budget: BufferBudget
  #resolve: ((body: CollectedBody) => void) | undefined
  readonly #bytes = new ByteList()

  constructor(bytesMax: Bytes, budget: BufferBudget) {
    this.#bytesMax = bytesMax
    this.#budget = budget
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  /** Refuses at once what is announced to be too large: nothing of it need be read. */
  expect(length: number | undefined): boolean {
    if (length !== undefined && length > this.#bytesMax) this.#tooLarge()
    return this.#resolve !== undefined
  }

  data(chunk: Uint8Array): boolean {
    if (this.#resolve === undefined) return true
    if (this.#bytes.length + chunk.length > this.#bytesMax) this.#tooLarge()
    else if (!this.#budget.take(chunk.length))
      this.#fail(failure('buffers_full', 'the bodies held in memory are at their limit (limits.buffered)', 1))
    else this.#bytes.add(chunk)
    return true
  }

  end(): void {
    this.#settle({ kind: 'body', bytes: this.#bytes.joined(), free: () => this.#free() })
  }

  abort(): void {
    this.#free()
    this.#settle({ kind: 'gone' })
  }

  #tooLarge(): void {
    this.#fail(failure('body_too_large', `the body is larger than ${this.#bytesMax} bytes (limits.jobBody)`))
  }

  #fail(failed: Failure): void {
    this.#free()
    this.#settle({ kind: 'failed', failed })
  }

  #free(): void {
    this.#budget.give(this.#bytes.length)
    this.#bytes.clear()
  }

  #settle(body: CollectedBody): void {
    this.#resolve?.(body)
    this.#resolve = undefined
  }
}
