/**
 * A stream of jobs of any length, with results as they become durable, in order. Where the runtime can send a body while it reads the answer
 * it is one request; where it cannot, it is many. What was not answered when a connection breaks is sent again under the same idempotency
 * keys. Memory is bounded: at most `unansweredMax` jobs are under way, then the source waits.
 */
import { isPassing, parseJson, unknownAnswer } from './errors.ts'
import type { Api } from './api.ts'
import { refusalIn } from './http.ts'
import { JobSource, orAborted } from './job-source.ts'
import type { CallOptions, NewJob } from './jobs.ts'
import { handedOver, meaningOf } from './open.ts'
import { readLines } from './lines.ts'
import { decodeResult, type Encoded } from './encoded-job.ts'
import { pauseMs, rest } from './timing.ts'

export interface StreamTarget<Result> {
  readonly http: Api
  readonly path: string
  batch(jobs: readonly Encoded[]): Promise<Result[]>
}

export interface StreamOptions extends CallOptions {
  /** Jobs under way; default 10,000. */
  readonly unansweredMax?: number
}

const UNANSWERED_MAX = 10_000
/** Of a result, in characters. */
const LINE_MAX = 1 << 20
/** The answer begins with the first results at the latest. */
const HEAD_MS = 60_000
/** Without request streams: so many at once, or what comes within this time. */
const FILL_MAX = 1000
const FILL_MS = 20

interface Sending<Payload, Result> {
  readonly target: StreamTarget<Result>
  readonly source: JobSource<Payload>
  readonly signal: AbortSignal | undefined
  readonly unansweredMax: number
  /** Sent, or about to be; oldest first. */
  unanswered: Encoded[]
  canStream: boolean
  /** Requests in a row that broke without a result. */
  failures: number
}

export async function* sendStream<Payload, Result>(
  target: StreamTarget<Result>,
  jobs: AsyncIterable<NewJob<Payload>> | Iterable<NewJob<Payload>>,
  options: StreamOptions,
): AsyncGenerator<Result, void> {
  const { signal, unansweredMax = UNANSWERED_MAX } = options
  const source = new JobSource(jobs)
  const canStream = streamsRequests()
  const sending: Sending<Payload, Result> = { target, source, signal, unansweredMax, unanswered: [], canStream, failures: 0 }
  try {
    // No request before there is something to send: a slow source keeps no connection waiting.
    while ((await orAborted(source.peek(), signal)) !== undefined) {
      if (sending.canStream) yield* streamed(sending)
      else await fill(sending)
      const left = sending.unanswered
      sending.unanswered = []
      if (left.length > 0) yield* await target.batch(left)
    }
    if (source.failure !== undefined) throw source.failure
  } finally {
    source.close()
  }
}

/** Whether a request's body may be a stream here. A runtime that does not know `duplex` makes a text of the stream, with a content type. */
function streamsRequests(): boolean {
  let asked = false
  const init = {
    method: 'POST',
    body: new ReadableStream(),
    get duplex(): 'half' {
      asked = true
      return 'half'
    },
  }
  try {
    return !new Request('http://localhost/', init).headers.has('content-type') && asked
  } catch {
    return false
  }
}

async function fill<Payload, Result>(sending: Sending<Payload, Result>): Promise<void> {
  const { source, signal, unanswered, unansweredMax } = sending
  const enough = rest(FILL_MS, signal).then(() => undefined)
  enough.catch(() => undefined)
  while (unanswered.length < Math.min(FILL_MAX, unansweredMax)) {
    const job = await Promise.race([source.peek(), enough])
    if (job === undefined) return
    source.take()
    unanswered.push(job)
  }
}

/** One request. Ends when the source has ended, the connection broke, or the body was cut; what it leaves stands in `unanswered`. */
async function* streamed<Payload, Result>(sending: Sending<Payload, Result>): AsyncGenerator<Result, void> {
  const { target, signal } = sending
  const { http } = target
  const body = new StreamBody(sending)
  const headers = http.headers({ 'content-type': 'application/x-ndjson', accept: 'application/x-ndjson' })
  const request = { method: 'POST', headers, body: body.stream, duplex: 'half' as const, headMs: HEAD_MS }
  try {
    const answer = await http.open(http.urlOf(target.path), signal === undefined ? request : { ...request, signal })
    body.answered()
    if (!answer.response.ok) {
      const { refused, response } = await refusalIn(handedOver(answer))
      throw refused ?? unknownAnswer(response, '')
    }
    for await (const line of readLines(answer, { lengthMax: LINE_MAX })) {
      if (line === '') continue
      const result = decodeResult<Result>(parseJson(line))
      sending.unanswered.shift()
      sending.failures = 0
      body.goOn()
      yield result
    }
  } catch (error) {
    await orGiveUp(sending, body, error)
  } finally {
    body.cut()
  }
}

/** After a request that broke: a pause, unless there is no use in another one. */
async function orGiveUp<Payload, Result>(
  sending: Sending<Payload, Result>,
  body: StreamBody<Payload, Result>,
  error: unknown,
): Promise<void> {
  const { signal } = sending
  const { retry } = sending.target.http.options
  const meaning = meaningOf(error, signal ?? new AbortController().signal)
  if (!isPassing(meaning)) throw meaning
  // Before any answer: it may be that something on the way does not take such a request. Batches it takes.
  sending.canStream = body.wasAnswered
  // An idle connection may be closed at any time.
  if (body.wasAnswered && sending.unanswered.length === 0) return
  if (++sending.failures >= retry.attempts) throw meaning
  await rest(pauseMs(sending.failures, retry, meaning.retryAfterMs), signal)
}

/** The jobs of the source as lines, no faster than they are answered. */
class StreamBody<Payload, Result> {
  readonly stream: ReadableStream<Uint8Array>
  wasAnswered = false
  readonly #sending: Sending<Payload, Result>
  readonly #encoder = new TextEncoder()
  #closed = false
  #wake: (() => void) | undefined

  constructor(sending: Sending<Payload, Result>) {
    this.#sending = sending
    this.stream = new ReadableStream<Uint8Array>({ pull: (controller) => this.#pull(controller), cancel: () => this.cut() })
  }

  answered(): void {
    this.wasAnswered = true
    this.goOn()
  }

  /** There may be room again. */
  goOn(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Takes nothing more from the source. */
  cut(): void {
    this.#closed = true
    this.goOn()
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { source, unansweredMax } = this.#sending
    while (this.#sending.unanswered.length >= unansweredMax && !this.#closed) {
      // A runtime that shows no answer before the body has ended gets an end here, and the next request goes on.
      if (!this.wasAnswered) return this.#end(controller)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    const job = this.#closed ? undefined : await source.peek()
    if (job === undefined || this.#closed) return this.#end(controller)
    source.take()
    this.#sending.unanswered.push(job)
    controller.enqueue(this.#encoder.encode(`${job.json}\n`))
  }

  #end(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#closed = true
    try {
      controller.close()
    } catch {
      // It was cancelled: the connection is gone.
    }
  }
}
