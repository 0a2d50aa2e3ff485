/**
 * The result of a job whose answer is handed on while it comes. A plain GET follows it to its end. `?offset=` gives what there is from there on, and
 * waits for more where there is none. As events it is in `answer-events.ts`. Nobody gets parts of two attempts as one answer: an offset names its
 * answer, and a body that cannot be ended is broken off.
 */
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { type AnswerOffset, formatOffset, parseOffset } from '../core/jobs/answer-offset.ts'
import { headerValue } from '../http1/message.ts'
import { ordinaryAnswer, type ReadableAnswer } from '../jobs/readable-answer.ts'
import type { Result } from '../jobs/stored-results.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Bytes, Millis, MonotonicMillis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Call } from '../net/call.ts'
import type { Clock } from '../ports/clock.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { sendEnded, sendStatus } from './answer.ts'
import { type AnswerEventsParts, seenOf, streamAnswerEvents } from './answer-events.ts'
import { pourAnswer } from './answer-pump.ts'
import { boundBy } from './binding.ts'
import type { Clients } from './clients.ts'
import { type DocumentParts, jobHeaders, jobLinks } from './document.ts'
import { namedFormat, type StreamFormat } from './event-stream.ts'
import { PRIVATE_HEADERS, sendFailure } from './problem.ts'
import { replayHeaders } from './replay.ts'
import { leaving } from './leaving.ts'

export interface StreamedResultParts extends AnswerEventsParts {
  readonly clock: Clock
  readonly clients: Clients
}

interface Asked {
  /** For the first byte; with an offset, for the next one. */
  readonly waitMs: Millis
  readonly extraHeaders: readonly string[]
}

/** Undefined: answered, or nobody is there any more. */
type Outcome = Failure | undefined

/** Asked before anything is waited for or followed: undefined, and the call has a place among the watchers of its client until it is over. */
type TakeWatch = () => Failure | undefined

/** What belongs to the bytes, whichever part of the answer they are. */
const OF_CONTENT: ReadonlySet<string> = new Set(['content-type', 'content-encoding', 'content-language', 'content-disposition'])
/**
 * What a client that was cut off asks by for the rest (RFC 9110, sections 8.8 and 14.3). Of an answer that is under way it would be for the rest of
 * another, if this one breaks off: servers say the same of the next attempt's.
 */
const OF_THE_WHOLE: ReadonlySet<string> = new Set(['etag', 'last-modified', 'accept-ranges'])

export async function sendStreamedResult(call: Call, parts: StreamedResultParts, found: StoredJob, asked: Asked): Promise<Outcome> {
  const query = new URLSearchParams(call.head.query).get('offset')
  // The answer itself may be of such a type, for a client that accepts anything: only who names one gets events.
  const format = namedFormat(headerValue(call.head.headers, 'accept'))
  const watch = takeWatchOnce(call, parts, found)
  if (format !== undefined) {
    const seen = headerValue(call.head.headers, 'last-event-id') ?? query ?? undefined
    return sendEvents(call, parts, found, { format, seen, watch, extraHeaders: asked.extraHeaders })
  }
  const offset = query === null ? undefined : parseOffset(query)
  if (query !== null && offset === undefined) return noOffset()
  if (offset !== undefined && hasBroken(found, offset)) return wasReset(found)
  const until = parts.clock.monotonic() + asked.waitMs
  const got = await findAnswer(call, parts, found.id, { until, watch })
  if (!call.gone) return sendFound(call, parts, got, { ...asked, offset, until, watch })
  free(got)
  return undefined
}

function takeWatchOnce(call: Call, { clients }: StreamedResultParts, job: StoredJob): TakeWatch {
  let taken = false
  return () => {
    if (taken) return undefined
    const leave = clients.takeWatch(clients.nameOf(call, boundBy(job)))
    if (typeof leave !== 'function') return leave
    taken = true
    call.onEnd(leave)
    return undefined
  }
}

async function sendEvents(
  call: Call,
  parts: StreamedResultParts,
  job: StoredJob,
  asked: {
    readonly format: StreamFormat
    readonly seen: string | undefined
    readonly watch: TakeWatch
    readonly extraHeaders: readonly string[]
  },
): Promise<Outcome> {
  const { format, extraHeaders } = asked
  const from = seenOf(asked.seen, job)
  if (from === undefined) return noOffset()
  if (from === 'over') {
    call.send(204, [...jobHeaders(job), ...PRIVATE_HEADERS, ...extraHeaders], '')
    return undefined
  }
  const tooMany = asked.watch()
  if (tooMany === undefined) await streamAnswerEvents(call, parts, job, { format, from, extraHeaders })
  return tooMany
}

type Found =
  /** Under way. */
  | { readonly answer: ReadableAnswer }
  /** The job has ended. */
  | { readonly result: Result }
  | { readonly pending: StoredJob }
  | Failure
  | 'full'
  | undefined

function free(found: Found): void {
  if (typeof found !== 'object') return
  if ('answer' in found) found.answer.close()
  else if ('result' in found) found.result.free()
}

/** What can be read, or what ended it; waits for it. */
async function findAnswer(
  call: Call,
  parts: StreamedResultParts,
  id: string,
  { until, watch }: Pick<AskedFrom, 'until' | 'watch'>,
): Promise<Found> {
  const { jobs, clock, budget } = parts
  for (;;) {
    const live = jobs.answers.open(id)
    if (live !== undefined) return { answer: live }
    const read = await jobs.read(id, 'status')
    if (read === undefined) return undefined
    if (isEnded(read.job.status)) {
      const taken = await jobs.result(read, { budget, wanted: () => !call.gone })
      return taken.kind === 'result' ? { result: taken } : taken.kind === 'full' ? 'full' : undefined
    }
    const left = until - clock.monotonic()
    if (left <= 0 || call.gone || jobs.closing.aborted) return { pending: read.job }
    const tooMany = watch()
    if (tooMany !== undefined) return tooMany
    using here = leaving(call, jobs.closing)
    await jobs.waitAnswer(id, left, { signal: here.signal })
  }
}

function sendFound(call: Call, parts: StreamedResultParts, found: Found, asked: AskedFrom): Outcome | Promise<Outcome> {
  const { offset, extraHeaders } = asked
  if (found === undefined) return failure('no_such_job', 'The job is no longer kept.')
  if (found === 'full') return failure('buffers_full', 'The bodies held in memory are at their limit (limits.buffered).', 1)
  if (isFailure(found)) return found
  if ('pending' in found) return sendPending(call, parts, found.pending, { offset, extraHeaders })
  if ('result' in found) return sendStored(call, parts, found.result, asked)
  return offset === undefined ? follow(call, parts, found.answer, asked) : sendFrom(call, parts, found.answer, { ...asked, offset })
}

function sendPending(
  call: Call,
  parts: DocumentParts,
  job: StoredJob,
  { offset, extraHeaders }: { readonly offset: AnswerOffset | undefined; readonly extraHeaders: readonly string[] },
): Outcome {
  // The answer that it is of has broken off, and nothing has come after it yet.
  if (offset !== undefined && offset.answer !== 0) return wasReset(job)
  sendStatus(call, parts, job, { status: 202, extraHeaders })
  return undefined
}

/** From its beginning to its end, as it comes. */
export function followAnswer(call: Call, answer: ReadableAnswer, budget: BufferBudget, headers: readonly string[]): void {
  const { head, job, number } = answer
  const own = [...jobHeaders(job), 'Spillway-Offset', formatOffset({ answer: number, bytes: 0 })]
  // Also where the server has said how long it will be: before it is durable nobody is to think that it is whole.
  call.sendHead(head.status, head.reason, [...headers, ...own], 'chunked')
  pourAnswer(call, answer, budget, { from: 0 })
}

function follow(call: Call, parts: StreamedResultParts, answer: ReadableAnswer, { watch, extraHeaders }: AskedFrom): Outcome {
  const tooMany = watch()
  if (tooMany !== undefined) {
    answer.close()
    return tooMany
  }
  const headers = pick(replayHeaders(answer.head.headers), (name) => !OF_THE_WHOLE.has(name))
  followAnswer(call, answer, parts.budget, [...headers, ...monitorLink(parts, answer.job), ...extraHeaders])
  return undefined
}

/** RFC 5989: where what is under way can be watched. */
export function monitorLink({ config }: DocumentParts, job: StoredJob): string[] {
  return ['Link', `<${jobLinks(config, job).result}>; rel="monitor"`]
}

interface AskedFrom extends Asked {
  readonly offset: AnswerOffset | undefined
  readonly until: MonotonicMillis
  readonly watch: TakeWatch
}

function sendStored(call: Call, parts: StreamedResultParts, result: Result, asked: AskedFrom): Outcome | Promise<Outcome> {
  const { offset, extraHeaders } = asked
  const answer = readable(result)
  if (offset !== undefined && answer !== undefined) return sendFrom(call, parts, answer, { ...asked, offset })
  if (offset !== undefined && offset.answer !== 0) {
    result.free()
    return wasReset(result.job)
  }
  sendEnded(call, result, { to: 'replay', extraHeaders })
  return undefined
}

/** Undefined: there are no parts of it to be had. What leads elsewhere (3xx) is told as a whole. */
function readable(result: Result): ReadableAnswer | undefined {
  const { job, stream, answer } = result
  if (stream !== undefined) return stream
  const isPlain = answer !== undefined && job.status === 'succeeded' && answer.status < 300 && answer.status !== 204
  return isPlain ? ordinaryAnswer(job, answer, () => result.free()) : undefined
}

/** What there is from the offset on; where there is nothing yet, what comes within the wait. */
async function sendFrom(
  call: Call,
  parts: StreamedResultParts,
  answer: ReadableAnswer,
  asked: AskedFrom & { readonly offset: AnswerOffset },
): Promise<Outcome> {
  const { offset, until, extraHeaders } = asked
  const { job, number } = answer
  if (offset.answer !== 0 && offset.answer !== number) {
    answer.close()
    return wasReset(job)
  }
  if (offset.bytes > answer.length) {
    const end = formatOffset({ answer: number, bytes: answer.length })
    answer.close()
    const failed = failure('range_outside', `So far the answer has ${answer.length} bytes.`)
    sendFailure(call, failed, [...jobHeaders(job), ...extraHeaders, 'Spillway-Offset', end], { job: job.id })
    return undefined
  }
  const left = until - parts.clock.monotonic()
  if (offset.bytes === answer.length && answer.state === 'open' && left > 0) {
    const tooMany = asked.watch()
    if (tooMany !== undefined) {
      answer.close()
      return tooMany
    }
    using here = leaving(call, parts.jobs.closing)
    await moreOf(answer, offset.bytes, { forMs: left, signal: here.signal, clock: parts.clock })
  }
  if (call.gone || answer.state === 'broken') {
    answer.close()
    return call.gone ? undefined : wasReset(job)
  }
  const to = answer.length
  const isComplete = answer.state === 'complete'
  const where = ['Spillway-Offset', formatOffset({ answer: number, bytes: to }), 'Spillway-Complete', String(isComplete)]
  const headers = [...contentHeaders(answer), ...jobHeaders(job), ...where, ...PRIVATE_HEADERS, ...extraHeaders]
  call.sendHead(answer.head.status, answer.head.reason, headers, to - offset.bytes)
  pourAnswer(call, answer, parts.budget, { from: offset.bytes, to })
  return undefined
}

function moreOf(
  answer: ReadableAnswer,
  than: Bytes,
  how: { readonly forMs: Millis; readonly signal: AbortSignal; readonly clock: Clock },
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel()
      unwatch()
      resolve()
    }
    const timer = how.clock.after(how.forMs, done)
    const unwatch = answer.watch(() => {
      if (answer.length > than || answer.state !== 'open') done()
    })
    how.signal.addEventListener('abort', done, { once: true })
    if (how.signal.aborted) done()
  })
}

function contentHeaders({ head }: ReadableAnswer): string[] {
  return pick(head.headers, (name) => OF_CONTENT.has(name))
}

function pick(headers: readonly string[], isWanted: (lowerName: string) => boolean): string[] {
  return headers.filter((_, i) => isWanted((headers[i - (i % 2)] as string).toLowerCase()))
}

function noOffset(): Failure {
  return failure('bad_request', 'An offset is what Spillway-Offset or the id of an event said, such as 1-2048; 0 is the beginning.')
}

/** It is known already that nothing comes after this offset. Of a job that has ended its result decides. */
function hasBroken({ stream, status }: StoredJob, { answer }: AnswerOffset): boolean {
  return answer !== 0 && !isEnded(status) && !(answer === stream?.answers && stream.answering)
}

function wasReset(job: StoredJob): Failure {
  const next = isEnded(job.status) ? 'The job has ended without it' : 'Another attempt begins anew'
  return failure('answer_reset', `What was read up to this offset is void: the attempt broke off. ${next}; read again without an offset.`)
}
