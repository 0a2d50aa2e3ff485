/**
 * A job from the outside, by its token: status, events, result, cancel. What it says is decided by `Spillway-Status`, not by guessing from the
 * code of an answer. Waiting and events go on over lost connections and restarts of the gateway, until the job has ended or the caller leaves.
 */
import { SpillwayError } from './errors.ts'
import type { JobEvent } from './events.ts'
import { Following } from './following.ts'
import { type Http, refusalIn } from './http.ts'
import type { CallOptions, JobDocument } from './jobs.ts'
import { limited } from './open.ts'
import { valueOf } from './payload.ts'
import { durationMs } from './timing.ts'
import type { WaitOptions } from './until-ended.ts'

export interface JobHandle<Result = unknown> {
  /** Absent: the request was answered without ever becoming a job. */
  readonly id: string | undefined
  /** A secret. Absent where the answer came at once. */
  readonly token: string | undefined
  status(options?: CallOptions): Promise<JobDocument>
  /** Until it has ended. */
  wait(options?: WaitOptions): Promise<JobDocument>
  /** The server's answer as it was, of any status, once there is one. Rejects when the job ended without one. */
  result(options?: WaitOptions): Promise<Response>
  /** The body of the result: a JSON value, a text or bytes. Rejects unless the job succeeded. */
  value(options?: WaitOptions): Promise<Result>
  /** Every change as a whole snapshot; the last one is the end. */
  events(options?: CallOptions): AsyncGenerator<JobEvent, void>
  /** An attempt that runs is aborted, and may have taken effect. */
  cancel(options?: CallOptions): Promise<JobDocument>
}

export interface JobUrls {
  ofToken(token: string): string
  ofBatch(token: string): string
}

export function followJob<Result>(http: Http, url: string, token: string): JobHandle<Result> {
  return new FollowedJob<Result>(http, url, token)
}

class FollowedJob<Result> implements JobHandle<Result> {
  readonly id: string
  readonly token: string
  readonly #http: Http
  readonly #url: string
  readonly #following: Following

  constructor(http: Http, url: string, token: string) {
    this.#http = http
    this.#url = url
    this.#following = new Following(http, url)
    this.token = token
    this.id = token.split('.')[0] as string
  }

  async status(options: CallOptions = {}): Promise<JobDocument> {
    return await this.#document('GET', options)
  }

  /** A second one changes nothing, so it may be repeated. */
  async cancel(options: CallOptions = {}): Promise<JobDocument> {
    return await this.#document('DELETE', options)
  }

  async wait(options: WaitOptions = {}): Promise<JobDocument> {
    return await within(options, async (signal) => {
      for await (const event of this.#following.events(signal)) if (event.event === 'end') return event
      throw new SpillwayError('bad_answer', 'the events ended before the job')
    })
  }

  async result(options: WaitOptions = {}): Promise<Response> {
    const { refused, response } = await refusalIn(await within(options, (signal) => this.#following.result(signal)))
    if (refused !== undefined) throw refused
    return response
  }

  async value(options: WaitOptions = {}): Promise<Result> {
    return await successOf<Result>(await this.result(options))
  }

  events(options: CallOptions = {}): AsyncGenerator<JobEvent, void> {
    return this.#following.events(options.signal)
  }

  async #document(method: 'GET' | 'DELETE', options: CallOptions): Promise<JobDocument> {
    return await this.#http.jobDocument<JobDocument>({ method, url: this.#url, ...options })
  }
}

/** Runs `work` for as long as the caller waits. */
async function within<T>({ timeout, signal }: WaitOptions, work: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
  if (timeout === undefined) return await work(signal)
  return await limited(durationMs(timeout, 'timeout'), signal, work)
}

export async function successOf<Result>(response: Response): Promise<Result> {
  const status = response.headers.get('spillway-status') ?? (response.ok ? 'succeeded' : 'failed')
  if (status === 'succeeded') return (await valueOf(response)) as Result
  const detail = `the job ended as ${status} with an answer of status ${response.status}`
  await response.body?.cancel()
  throw new SpillwayError('job_failed', detail, { status: response.status })
}
