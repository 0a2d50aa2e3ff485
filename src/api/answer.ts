/** The answers that are about one job: accepted, its status, its result, and what stands for a result where there is none. */
import type { StoredJob } from '../ports/job-store.ts'
import { type ErrorCode, failure } from '../core/errors.ts'
import { hasAlready, tagsOf } from '../core/headers/conditional.ts'
import { headerValues } from '../http1/message.ts'
import type { Result } from '../jobs/stored-results.ts'
import type { Call } from '../net/call.ts'
import { acceptedDocument, type DocumentParts, errorCode, jobHeaders, jobLinks, statusDocument } from './document.ts'
import { PRIVATE_HEADERS, sendFailure } from './problem.ts'
import { bodyOf, sendAnswer, sendReplay } from './replay.ts'

const JSON_TYPE: readonly string[] = ['Content-Type', 'application/json']

/** 202: the job is durable. */
export function sendAccepted(call: Call, parts: DocumentParts, job: StoredJob, extraHeaders: readonly string[]): void {
  const headers = [...acceptedHeaders(parts, job), ...JSON_TYPE, ...extraHeaders]
  call.send(202, headers, JSON.stringify(acceptedDocument(parts, job)))
}

export function acceptedHeaders(parts: DocumentParts, job: StoredJob): string[] {
  const { retryAfterSeconds } = parts.jobs.estimate(job.queue, job.position)
  return ['Location', jobLinks(parts.config, job).self, ...jobHeaders(job), 'Retry-After', String(retryAfterSeconds), ...PRIVATE_HEADERS]
}

/** The status document; `status` is 202 where a result was asked for that is not there yet. */
export function sendStatus(
  call: Call,
  parts: DocumentParts,
  job: StoredJob,
  options: { status: 200 | 202; extraHeaders: readonly string[] },
): void {
  const tag = statusTag(job)
  const headers = [...jobHeaders(job), 'ETag', tag, ...PRIVATE_HEADERS, ...options.extraHeaders]
  if (job.finishedAt === undefined) headers.push('Retry-After', String(parts.jobs.estimate(job.queue, job.position).retryAfterSeconds))
  else if (job.followUpDue === true) headers.push('Retry-After', '1')
  // What changes nothing may be asked for again and again: whoever has it already gets no more than that.
  const { head } = call
  const asksAgain = options.status === 200 && head.method !== 'DELETE' && hasAlready(headerValues(head.headers, 'if-none-match'), tag)
  if (asksAgain) call.send(304, headers, '')
  else call.send(options.status, [...headers, ...JSON_TYPE], JSON.stringify(statusDocument(parts, job)))
}

/** Weak, because an estimate may differ: the same version, at the same place in its line, and after its end with or without a next one in its chain. */
function statusTag({ version, position, next }: StoredJob): string {
  const place = position ?? (next === undefined ? undefined : 'next')
  return `W/"${version}${place === undefined ? '' : `.${place}`}"`
}

/** The version of the status that a client says it has; undefined: it says nothing that we understand. */
export function versionKnown(call: Call): number | undefined {
  const [first] = tagsOf(headerValues(call.head.headers, 'if-none-match').join(','))
  const version = /^(?:W\/)?"(\d{1,15})(?:\.\w+)?"$/.exec(first ?? '')?.[1]
  return version === undefined ? undefined : Number(version)
}

export interface EndedOptions {
  /**
   * `held`: the client that sent the request, which gets the answer as if it had waited at the server.
   * `replay`: whoever asks for the result, now and again: cookies were for the first, and caches need to be told.
   */
  readonly to: 'held' | 'replay'
  readonly extraHeaders: readonly string[]
}

/**
 * What an ended job answers: the server's answer of any status as it was, else a problem that says why there is none.
 * The result is freed when the client has taken it, or has gone.
 */
export function sendEnded(call: Call, result: Omit<Result, 'kind'>, options: EndedOptions): void {
  const { job, answer, stream, budget, free } = result
  const extra = [...jobHeaders(job), ...options.extraHeaders]
  if (answer !== undefined && options.to === 'replay')
    return sendReplay(call, { job, answer, budget, extra, free, ...(stream !== undefined && { stream }) })
  if (answer !== undefined) {
    return sendAnswer(
      call,
      { ...answer, headers: [...answer.headers, ...extra], body: bodyOf({ answer, budget, ...(stream !== undefined && { stream }) }) },
      free,
    )
  }
  free()
  const code = codeWithoutAnswer(job)
  sendFailure(call, failure(code, job.error?.detail ?? defaultDetail(job)), extra, { job: job.id })
}

function codeWithoutAnswer(job: StoredJob): ErrorCode {
  if (job.status === 'cancelled') return 'job_cancelled'
  if (job.status === 'expired') return 'job_expired'
  return errorCode(job.error)
}

function defaultDetail(job: StoredJob): string {
  return job.status === 'cancelled' ? 'The job was cancelled before it had a result.' : `The job ended as ${job.status} without an answer.`
}
