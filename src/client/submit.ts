/**
 * An ordinary request to a route, sent so that it may become a job. What comes back is a handle in every case: the job's, or one that holds
 * the answer that came at once.
 */
import { isPassing, isRefused, SpillwayError } from './errors.ts'
import type { JobEvent } from './events.ts'
import { type Http, refusalIn } from './http.ts'
import { followJob, type JobHandle, successOf } from './job-handle.ts'
import { jobUrlIn } from './job-url.ts'
import type { JobDocument, JobStatus } from './jobs.ts'
import { newKey } from './new-key.ts'
import { handedOver, meaningOf } from './open.ts'
import { pauseMs, rest } from './timing.ts'

export interface SubmitOptions {
  /** What the client would like (RFC 7240), within what the route allows. Default `respond-async`: 202 at once; `wait=10`: hold me for ten seconds. */
  readonly prefer?: string
  /**
   * With one the request may be repeated, by the client after a lost connection and by the gateway after an attempt that broke, and is
   * one job; the server gets it with each attempt. `true`: made here. Default: the one in `init.headers`, else none, and a POST is then
   * repeated only where nothing was done.
   */
  readonly idempotencyKey?: string | true
}

export interface Submitted<Result> extends JobHandle<Result> {
  /** The answer that came at once: from a server, or of a job that ended while we were held. Its body is read by `result` or `value`. */
  readonly answer: Response | undefined
}

/** Methods that change nothing when they come a second time (RFC 9110, section 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

export async function submit<Result>(http: Http, url: URL, init: RequestInit, options: SubmitOptions): Promise<Submitted<Result>> {
  const { prefer = 'respond-async', idempotencyKey } = options
  const { signal, ...more } = init
  const headers = new Headers(init.headers)
  if (!headers.has('prefer')) headers.set('prefer', prefer)
  if (idempotencyKey !== undefined) headers.set('idempotency-key', idempotencyKey === true ? newKey() : idempotencyKey)
  const method = (init.method ?? 'POST').toUpperCase()
  const mayRepeat = IDEMPOTENT.has(method) || headers.has('idempotency-key') ? isPassing : isRefused
  const body = await repeatable(init.body, headers)
  const attempts = isReadOnce(body) ? 1 : http.options.retry.attempts
  const request = {
    ...more,
    ...(body !== undefined && { body }),
    method,
    headers,
    headMs: headLimitMs(http, headers),
    ...(signal === undefined || signal === null ? {} : { signal }),
  }
  const { retry } = http.options
  for (let failures = 1; ; failures++) {
    try {
      return await handleOf<Result>(http, url, handedOver(await http.open(url.href, request)))
    } catch (error) {
      const meaning = meaningOf(error, signal ?? new AbortController().signal)
      if (!mayRepeat(meaning) || failures >= attempts || (meaning.retryAfterMs ?? 0) > retry.maxMs) throw meaning
      await rest(pauseMs(failures, retry, meaning.retryAfterMs), signal ?? undefined)
    }
  }
}

/** What is made of a form has another boundary each time, and would be another request under the same key. */
async function repeatable(body: RequestInit['body'], headers: Headers): Promise<RequestInit['body']> {
  if (!(body instanceof FormData)) return body
  const written = new Response(body)
  headers.set('content-type', written.headers.get('content-type') as string)
  return await written.arrayBuffer()
}

/** A stream, a generator, a file as it is read: a second time nothing would come of it, and that would be sent. */
function isReadOnce(body: unknown): boolean {
  return body instanceof ReadableStream || (typeof body === 'object' && body !== null && Symbol.asyncIterator in body)
}

/** Held, the answer may take as long as the route lets it; asked for at once, it must not. */
function headLimitMs(http: Http, headers: Headers): number {
  const [, wait] = /(?:^|[,\s])wait=(\d{1,6})/.exec(headers.get('prefer') ?? '') ?? []
  return http.options.timeoutMs + (wait === undefined ? HELD_MAX_MS : Number(wait) * 1000)
}

/** A route that does not hold its clients answers when its server does. */
const HELD_MAX_MS = 60_000

async function handleOf<Result>(http: Http, url: URL, answered: Response): Promise<Submitted<Result>> {
  const status = answered.headers.get('spillway-status')
  if (status === null) {
    const { refused, response } = await refusalIn(answered)
    if (refused !== undefined) throw refused
    return new AnsweredJob<Result>(response, undefined)
  }
  const jobUrl = jobUrlIn(answered, url.href)
  if (jobUrl === undefined) return new AnsweredJob<Result>(answered, status as JobStatus)
  await answered.body?.cancel()
  const token = jobUrl.slice(jobUrl.lastIndexOf('/') + 1)
  const handle = followJob<Result>(http, jobUrl, token)
  return Object.assign(handle, { answer: undefined })
}

/** It has its answer: nothing is asked any more. */
class AnsweredJob<Result> implements Submitted<Result> {
  readonly id: string | undefined
  readonly token: undefined
  readonly answer: Response
  readonly #document: JobDocument

  constructor(answer: Response, status: JobStatus | undefined) {
    this.answer = answer
    this.id = answer.headers.get('spillway-job') ?? undefined
    this.#document = { id: this.id ?? '', status: status ?? (answer.ok ? 'succeeded' : 'failed') }
  }

  status(): Promise<JobDocument> {
    return Promise.resolve(this.#document)
  }

  wait(): Promise<JobDocument> {
    return this.status()
  }

  cancel(): Promise<JobDocument> {
    return this.status()
  }

  async result(): Promise<Response> {
    if (this.answer.bodyUsed) throw new SpillwayError('job_failed', 'the answer has been read before', { status: this.answer.status })
    const { refused, response } = await refusalIn(this.answer)
    if (refused !== undefined) throw refused
    return response
  }

  async value(): Promise<Result> {
    return await successOf<Result>(await this.result())
  }

  // eslint-disable-next-line require-await
  async *events(): AsyncGenerator<JobEvent, void> {
    yield { event: 'end', version: 0, ...this.#document }
  }
}
