/**
 * A job from the outside, by its token: status, events, result, cancel. What it says is decided by `Spillway-Status`, not by guessing from the
 * code of an answer. Waiting and events go on over lost connections and restarts of the gateway, until the job has ended or the caller leaves.
 */
import { isPassing, retryAfterMsOf, SpillwayError, unknownAnswer } from './errors.ts'
import { type JobEvent, readEvents } from './events.ts'
import { handedOver, type Http, meaningOf, type OpenAnswer, refusalIn } from './http.ts'
import { type CallOptions, isEnded, type JobDocument } from './jobs.ts'
import { valueOf } from './payload.ts'
import { pauseMs, sleep } from './timing.ts'
import { untilEnded, type WaitOptions } from './until-ended.ts'

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

  constructor(http: Http, url: string, token: string) {
    this.#http = http
    this.#url = url
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
    return await untilEnded(this.#http, options, async (heldMs) => {
      const { document, response } = await this.#http.jobDocumentOnce<JobDocument>({
        method: 'GET',
        url: `${this.#url}?wait=${heldMs}ms`,
        heldMs,
        signal: options.signal,
      })
      return isEnded(document.status) ? { value: document } : { retryAfterMs: retryAfterMsOf(response) }
    })
  }

  async result(options: WaitOptions = {}): Promise<Response> {
    const answer = await untilEnded(this.#http, options, async (heldMs) => {
      const polled = await this.#poll(`${this.#url}/result?wait=${heldMs}ms`, heldMs, options.signal)
      if (isEnded(polled.response.headers.get('spillway-status') ?? '')) return { value: polled }
      polled.done()
      await polled.response.body?.cancel()
      return { retryAfterMs: retryAfterMsOf(polled.response) }
    })
    const { refused, response } = await refusalIn(handedOver(answer))
    if (refused !== undefined) throw refused
    return response
  }

  async value(options: WaitOptions = {}): Promise<Result> {
    return await successOf<Result>(await this.result(options))
  }

  async *events(options: CallOptions = {}): AsyncGenerator<JobEvent, void> {
    const { signal } = options
    const { retry } = this.#http.options
    let seen: number | undefined
    for (let failures = 0; ; ) {
      let pause = 0
      try {
        for await (const event of readEvents(await this.#openEvents(signal))) {
          failures = 0
          if (event.event === 'reconnect') pause = event.retryMs
          // After a reconnect the first is the snapshot of now, which may be the one that was seen last.
          else if (event.version !== seen) {
            seen = event.version
            yield event
            if (event.event === 'end') return
          }
        }
      } catch (error) {
        const meaning = meaningOf(error, signal ?? NEVER)
        if (!isPassing(meaning)) throw meaning
        pause = meaning.retryAfterMs ?? 0
      }
      await sleep(Math.max(pause, pauseMs(++failures, retry, 0)), signal)
    }
  }

  async #openEvents(signal: AbortSignal | undefined): Promise<OpenAnswer> {
    const init = {
      headers: { accept: 'text/event-stream' },
      headMs: this.#http.options.timeoutMs,
      ...(signal === undefined ? {} : { signal }),
    }
    const answer = await this.#http.open(`${this.#url}/events`, init)
    if (answer.response.ok) return answer
    const { refused, response } = await refusalIn(handedOver(answer))
    throw refused ?? unknownAnswer(response, '')
  }

  async #poll(url: string, heldMs: number, signal: AbortSignal | undefined): Promise<OpenAnswer> {
    const init = { headMs: this.#http.options.timeoutMs + heldMs, ...(signal === undefined ? {} : { signal }) }
    const answer = await this.#http.open(url, init)
    // An answer about a job, of whatever code, says so; any other is no answer to this.
    if (answer.response.headers.has('spillway-status')) return answer
    const { refused, response } = await refusalIn(handedOver(answer))
    throw refused ?? unknownAnswer(response, '')
  }

  async #document(method: 'GET' | 'DELETE', options: CallOptions): Promise<JobDocument> {
    return await this.#http.jobDocument<JobDocument>({ method, url: this.#url, ...options })
  }
}

const NEVER = new AbortController().signal

export async function successOf<Result>(response: Response): Promise<Result> {
  const status = response.headers.get('spillway-status') ?? (response.ok ? 'succeeded' : 'failed')
  if (status === 'succeeded') return (await valueOf(response)) as Result
  const detail = `the job ended as ${status} with an answer of status ${response.status}`
  await response.body?.cancel()
  throw new SpillwayError('job_failed', detail, { status: response.status })
}
