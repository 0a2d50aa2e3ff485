/**
 * A result that is read, again and again perhaps, by whoever has the token: the server's answer without what was for its first reader alone,
 * as a whole, in part, or not at all for who has it already (RFC 9110, sections 13 and 14). It never changes, so a reader that was cut off goes
 * on with the part that it lacks.
 */
import { type ByteRange, hasAlready, rangeOf, rangeStillHolds } from '../core/headers/conditional.ts'
import { failure } from '../core/errors.ts'
import { headerValue, headerValues } from '../http1/message.ts'
import type { Call } from '../net/call.ts'
import type { ReadableAnswer } from '../jobs/readable-answer.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { JobAnswer, StoredJob } from '../ports/job-store.ts'
import { pourAnswer } from './answer-pump.ts'
import { sendFailure } from './problem.ts'

/** What a 304 has of the headers of its 200 (RFC 9110, section 15.4.5). */
const KEPT_IN_304: ReadonlySet<string> = new Set(['cache-control', 'content-location', 'date', 'etag', 'expires', 'vary', 'last-modified'])

export interface Replay {
  readonly job: StoredJob
  readonly answer: JobAnswer
  /** Its body, where it was stored while it came. */
  readonly stream?: ReadableAnswer
  readonly budget: BufferBudget
  /** Ours: what every answer about the job carries. */
  readonly extra: readonly string[]
  /** The answer's bytes are needed no more. */
  readonly free: () => void
}

export function sendReplay(call: Call, replay: Replay): void {
  const { job, answer, extra, free } = replay
  const headers = replayHeaders(answer.headers)
  const body = bodyOf(replay)
  const all: Sent = { status: answer.status, reason: answer.reason, headers: [...headers, ...extra], body }
  // A repeated POST is answered with the result too: conditions and ranges are about reading (RFC 9110, sections 13.1.2 and 14.2).
  const reads = call.head.method === 'GET' || call.head.method === 'HEAD'
  if (answer.status !== 200 || !reads) return sendAnswer(call, all, free)
  const tag = headerValue(answer.headers, 'etag')
  if (tag !== undefined && hasAlready(headerValues(call.head.headers, 'if-none-match'), tag)) {
    free()
    return call.send(304, [...only(headers, KEPT_IN_304), ...extra], '')
  }
  const range = mayBeOfAnother(call, replay)
    ? undefined
    : rangeFor(call, body.length, { tag, modified: headerValue(answer.headers, 'last-modified') })
  if (range === 'outside') {
    free()
    const size = ['Content-Range', `bytes */${body.length}`]
    return sendFailure(call, failure('range_outside', `The result has ${body.length} bytes.`), [...extra, ...size], { job: job.id })
  }
  sendAnswer(call, range === undefined ? all : partOf(all, range), free)
}

/** Bytes that are read while they are sent. */
class StreamedBody {
  readonly length: Bytes
  readonly #answer: ReadableAnswer
  readonly #budget: BufferBudget
  readonly #from: Bytes

  constructor(answer: ReadableAnswer, budget: BufferBudget, from: Bytes, length: Bytes) {
    this.#answer = answer
    this.#budget = budget
    this.#from = from
    this.length = length
  }

  subarray(from: Bytes, to: Bytes): StreamedBody {
    return new StreamedBody(this.#answer, this.#budget, this.#from + from, to - from)
  }

  sendTo(call: Call): void {
    pourAnswer(call, this.#answer, this.#budget, { from: this.#from, to: this.#from + this.length })
  }
}

export type AnswerBody = Uint8Array | StreamedBody

export function bodyOf({ answer, stream, budget }: Pick<Replay, 'answer' | 'stream' | 'budget'>): AnswerBody {
  return stream === undefined ? answer.body : new StreamedBody(stream, budget, 0, stream.length)
}

interface Sent {
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly body: AnswerBody
}

/** The result is freed when the client has taken it, or has gone. */
export function sendAnswer(call: Call, { status, reason, headers, body }: Sent, free: () => void): void {
  const bodyless = status === 204 || status === 304
  call.sendHead(status, reason, headers, bodyless ? 'none' : body.length)
  if (body instanceof StreamedBody) return body.sendTo(call)
  call.onGone(free)
  call.writeAll(body, free)
}

/**
 * Of an answer that broke off somebody may have a part, which a range of this one does not fit to. Who says what he has a part of (If-Range) has it
 * from this one: of one that is under way nobody is told.
 */
function mayBeOfAnother({ head }: Call, { stream }: Replay): boolean {
  return stream !== undefined && stream.number > 1 && headerValue(head.headers, 'if-range') === undefined
}

function rangeFor(
  call: Call,
  bytes: number,
  known: { readonly tag: string | undefined; readonly modified: string | undefined },
): ByteRange | 'outside' | undefined {
  const { method, headers } = call.head
  if (method !== 'GET' || !rangeStillHolds(headerValue(headers, 'if-range'), known)) return undefined
  return rangeOf(headerValue(headers, 'range'), bytes)
}

function partOf({ headers, body }: Sent, { first, last }: ByteRange): Sent {
  const where = ['Content-Range', `bytes ${first}-${last}/${body.length}`]
  return { status: 206, reason: 'Partial Content', headers: [...headers, ...where], body: body.subarray(first, last + 1) }
}

/** As the server sent them, but for `Set-Cookie`, which was for the client of then; a result that does not speak of caches is not for them. */
export function replayHeaders(headers: readonly string[]): readonly string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() !== 'set-cookie') kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return headerValue(headers, 'cache-control') === undefined ? [...kept, 'Cache-Control', 'no-store'] : kept
}

function only(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (names.has((headers[i] as string).toLowerCase())) kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return kept
}
