/** The jobs that a caller streams, one ahead: what was looked at and not taken is there for whoever looks next. What the source throws ends it. */
import type { NewJob } from './jobs.ts'
import { type Encoded, encodeJob } from './encoded-job.ts'
import { reasonOf } from './timing.ts'

export class JobSource<Payload> {
  /** All have been taken. */
  drained = false
  /** What the source threw; it counts as its end. */
  failure: Error | undefined
  readonly #iterator: AsyncIterator<NewJob<Payload>> | Iterator<NewJob<Payload>>
  #ahead: Promise<Encoded | undefined> | undefined

  constructor(jobs: AsyncIterable<NewJob<Payload>> | Iterable<NewJob<Payload>>) {
    this.#iterator = Symbol.asyncIterator in jobs ? jobs[Symbol.asyncIterator]() : jobs[Symbol.iterator]()
  }

  /** The next one, the same until it is taken; undefined: there are no more. */
  peek(): Promise<Encoded | undefined> {
    this.#ahead ??= this.#read()
    return this.#ahead
  }

  take(): void {
    this.#ahead = undefined
  }

  async #read(): Promise<Encoded | undefined> {
    if (this.drained) return undefined
    try {
      const { done, value } = await this.#iterator.next()
      if (done !== true) return encodeJob(value)
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error))
    }
    this.drained = true
    return undefined
  }

  /** Does not wait for a source that is in the middle of something. */
  close(): void {
    if (this.drained) return
    this.drained = true
    void Promise.resolve(this.#iterator.return?.()).catch(() => undefined)
  }
}

/** Rejects with the signal's reason, whatever becomes of the promise. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(reasonOf(signal))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
