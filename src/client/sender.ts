/**
 * Sending, to a queue or a topic: one, many, or a stream. Every job has an idempotency key, the caller's or one made here, so that a repeat
 * after a lost answer is the same job.
 */
import { decodeResult, type Encoded, encodeJob } from './encoded-job.ts'
import { SpillwayError } from './errors.ts'
import type { Api } from './api.ts'
import type { CallOptions, NewJob, NotSent } from './jobs.ts'
import { sendStream } from './send-stream.ts'

/** What one request takes at most: the gateway's own default for the number; of bytes what both sides hold in memory without a thought. */
export interface BatchLimits {
  readonly jobs: number
  readonly bytes: number
}

export const BATCH: BatchLimits = { jobs: 1000, bytes: 4 << 20 }

/** Some of many were answered before a request failed as a whole. The rest may or may not have been sent; under their own idempotency keys they may be sent again. */
export class PartialSendError extends SpillwayError {
  override readonly name: string = 'PartialSendError'
  /** Of the first jobs, in their order. */
  readonly results: readonly unknown[]

  constructor(cause: SpillwayError, results: readonly unknown[]) {
    const parts = { status: cause.status, cause, ...(cause.retryAfterMs === undefined ? {} : { retryAfterMs: cause.retryAfterMs }) }
    super(cause.code, cause.detail, parts)
    this.results = results
  }
}

/** `Accepted`: what a job that was taken gives. */
export class Sender<Accepted extends { readonly status: string }> {
  readonly #http: Api
  readonly #path: string
  readonly #limits: BatchLimits

  constructor(http: Api, path: string, limits: BatchLimits) {
    this.#http = http
    this.#path = path
    this.#limits = limits
  }

  /** Rejects when it was not taken: `conflict`, or what the gateway says, such as `queue_full`. */
  async one<Payload>(job: NewJob<Payload>, options: CallOptions): Promise<Accepted> {
    const bodyText = encodeJob(job).json
    const wire = await this.#http.json<unknown>({ method: 'POST', path: this.#path, bodyText, repeat: 'safe', signal: options.signal })
    const result = decodeResult<Accepted | NotSent>(wire)
    if (isNotSent(result)) throw notSent(result)
    return result
  }

  async many<Payload>(jobs: readonly NewJob<Payload>[], options: CallOptions): Promise<(Accepted | NotSent)[]> {
    // All of them first: what cannot be written as JSON is found before anything is sent.
    return await this.encoded(jobs.map(encodeJob), options)
  }

  /** One request after the other, so that their order is kept. */
  async encoded(jobs: readonly Encoded[], options: CallOptions): Promise<(Accepted | NotSent)[]> {
    const results: (Accepted | NotSent)[] = []
    while (results.length < jobs.length) {
      const batch = takeBatch(jobs, results.length, this.#limits)
      try {
        results.push(...(await this.#batch(batch, options)))
      } catch (error) {
        if (results.length > 0 && error instanceof SpillwayError) throw new PartialSendError(error, results)
        throw error
      }
    }
    return results
  }

  async #batch(batch: readonly Encoded[], options: CallOptions): Promise<(Accepted | NotSent)[]> {
    const bodyText = `{"jobs":[${batch.map(({ json }) => json).join(',')}]}`
    const call = { method: 'POST', path: this.#path, bodyText, repeat: 'safe', signal: options.signal } as const
    const { results } = await this.#http.json<{ results: readonly unknown[] }>(call)
    if (!Array.isArray(results) || results.length !== batch.length) throw new SpillwayError('bad_answer', 'not one result for each job')
    return results.map((wire) => decodeResult<Accepted | NotSent>(wire))
  }

  stream<Payload>(
    jobs: AsyncIterable<NewJob<Payload>> | Iterable<NewJob<Payload>>,
    options: CallOptions & { readonly unansweredMax?: number },
  ): AsyncGenerator<Accepted | NotSent, void> {
    const target = { http: this.#http, path: this.#path, batch: (encoded: readonly Encoded[]) => this.encoded(encoded, options) }
    return sendStream<Payload, Accepted | NotSent>(target, jobs, options)
  }
}

/** At least one, within the limits. */
export function takeBatch(jobs: readonly Encoded[], from: number, limits: BatchLimits): readonly Encoded[] {
  let end = from
  let bytes = 0
  while (end < jobs.length && end - from < limits.jobs) {
    bytes += (jobs[end] as Encoded).bytes
    if (end > from && bytes > limits.bytes) break
    end++
  }
  return jobs.slice(from, end)
}

function isNotSent(result: { readonly status: string }): result is NotSent {
  return result.status === 'conflict' || result.status === 'refused' || result.status === 'invalid'
}

function notSent(result: NotSent): SpillwayError {
  const retryAfter = 'retryAfterMs' in result && result.retryAfterMs !== undefined ? { retryAfterMs: result.retryAfterMs } : {}
  return new SpillwayError(result.status, result.detail ?? 'the idempotency key belongs to another job', retryAfter)
}
