/**
 * A result that is read, again and again perhaps, by whoever has the token: the server's answer without what was for its first reader alone,
 * as a whole, in part, or not at all for who has it already (RFC 9110, sections 13 and 14). It never changes, so a reader that was cut off goes
 * on with the part that it lacks.
 */
import { type ByteRange, hasAlready, rangeOf, rangeStillHolds } from '../core/headers/conditional.ts'
import { failure } from '../core/errors.ts'
import { headerValue, headerValues } from '../http1/message.ts'
import type { Call } from '../net/call.ts'
import type { JobAnswer, StoredJob } from '../ports/job-store.ts'
import { sendFailure } from './problem.ts'

/** What a 304 has of the headers of its 200 (RFC 9110, section 15.4.5). */
const KEPT_IN_304: ReadonlySet<string> = new Set(['cache-control', 'content-location', 'date', 'etag', 'expires', 'vary', 'last-modified'])

export interface Replay {
  readonly job: StoredJob
  readonly answer: JobAnswer
  /** Ours: what every answer about the job carries. */
  readonly extra: readonly string[]
  /** The answer's bytes are needed no more. */
  readonly free: () => void
}

export function sendReplay(call: Call, { job, answer, extra, free }: Replay): void {
  const { headers, tag, modified } = replayHeaders(answer, `"${job.id}.${job.version}"`)
  if (answer.status !== 200)
    return sendAnswer(call, { status: answer.status, reason: answer.reason, headers: [...headers, ...extra], body: answer.body }, free)
  if (hasAlready(headerValues(call.head.headers, 'if-none-match'), tag)) {
    free()
    return call.send(304, [...only(headers, KEPT_IN_304), ...extra], '')
  }
  const range = rangeFor(call, answer.body.length, { tag, modified })
  if (range === 'outside') {
    free()
    const size = ['Content-Range', `bytes */${answer.body.length}`]
    return sendFailure(call, failure('range_outside', `The result has ${answer.body.length} bytes.`), [...extra, ...size], { job: job.id })
  }
  const all = { status: 200, reason: answer.reason, headers: [...headers, ...extra], body: answer.body }
  sendAnswer(call, range === undefined ? all : partOf(all, range), free)
}

interface Sent {
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly body: Uint8Array
}

/** The result is freed when the client has taken it, or has gone. */
export function sendAnswer(call: Call, { status, reason, headers, body }: Sent, free: () => void): void {
  const bodyless = status === 204 || status === 304
  call.sendHead(status, reason, headers, bodyless ? 'none' : body.length)
  call.onGone(free)
  call.writeAll(body, free)
}

function rangeFor(
  call: Call,
  bytes: number,
  known: { readonly tag: string; readonly modified: string | undefined },
): ByteRange | 'outside' | undefined {
  const { method, headers } = call.head
  if (method !== 'GET' || !rangeStillHolds(headerValue(headers, 'if-range'), known)) return undefined
  return rangeOf(headerValue(headers, 'range'), bytes)
}

function partOf({ headers, body }: Sent, { first, last }: ByteRange): Sent {
  const where = ['Content-Range', `bytes ${first}-${last}/${body.length}`]
  return { status: 206, reason: 'Partial Content', headers: [...headers, ...where], body: body.subarray(first, last + 1) }
}

interface Replayed {
  readonly headers: readonly string[]
  readonly tag: string
  readonly modified: string | undefined
}

/** `Set-Cookie` was for the client of then; a result that does not speak of caches is not for them; one without a tag gets `ownTag`. */
function replayHeaders({ status, headers }: JobAnswer, ownTag: string): Replayed {
  const kept: string[] = []
  const has = { 'cache-control': '', etag: '', 'accept-ranges': '', 'last-modified': '' }
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i] as string, headers[i + 1] as string]
    const lower = name.toLowerCase()
    if (lower === 'set-cookie') continue
    if (Object.hasOwn(has, lower)) has[lower as keyof typeof has] = value
    kept.push(name, value)
  }
  if (has['cache-control'] === '') kept.push('Cache-Control', 'no-store')
  if (status === 200 && has.etag === '') kept.push('ETag', ownTag)
  if (status === 200 && has['accept-ranges'] === '') kept.push('Accept-Ranges', 'bytes')
  return {
    headers: kept,
    tag: has.etag === '' ? ownTag : has.etag,
    modified: has['last-modified'] === '' ? undefined : has['last-modified'],
  }
}

function only(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (names.has((headers[i] as string).toLowerCase())) kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return kept
}
