/** The answers that are about one job: accepted, its status, its result, and what stands for a result where there is none. */
import type { JobAnswer, StoredJob } from '../ports/job-store.ts'
import { type ErrorCode, failure } from '../core/errors.ts'
import type { Result } from '../jobs/stored-results.ts'
import type { Call } from '../net/call.ts'
import { acceptedDocument, type DocumentParts, errorCode, jobHeaders, jobLinks, statusDocument } from './document.ts'
import { PRIVATE_HEADERS, sendFailure } from './problem.ts'

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
  const headers = [...jobHeaders(job), ...PRIVATE_HEADERS, ...JSON_TYPE, ...options.extraHeaders]
  if (job.finishedAt === undefined) headers.push('Retry-After', String(parts.jobs.estimate(job.queue, job.position).retryAfterSeconds))
  call.send(options.status, headers, JSON.stringify(statusDocument(parts, job)))
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
  const { job, answer, free } = result
  const extra = [...jobHeaders(job), ...options.extraHeaders]
  if (answer !== undefined) {
    sendAnswerHead(call, answer, options.to === 'held' ? answer.headers : replayHeaders(answer.headers), extra)
    call.onGone(free)
    return call.writeAll(answer.body, free)
  }
  free()
  const code = codeWithoutAnswer(job)
  sendFailure(call, failure(code, job.error?.detail ?? defaultDetail(job)), extra, { job: job.id })
}

/** `Set-Cookie` was for the client of then; a result that does not speak of caches is not for them. */
function replayHeaders(headers: readonly string[]): readonly string[] {
  const kept: string[] = []
  let cacheControl = false
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    if (name === 'set-cookie') continue
    if (name === 'cache-control') cacheControl = true
    kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return cacheControl ? kept : [...kept, 'Cache-Control', 'no-store']
}

function sendAnswerHead(call: Call, answer: JobAnswer, headers: readonly string[], extra: readonly string[]): void {
  const bodyless = answer.status === 204 || answer.status === 304
  call.sendHead(answer.status, answer.reason, [...headers, ...extra], bodyless ? 'none' : answer.body.length)
}

function codeWithoutAnswer(job: StoredJob): ErrorCode {
  if (job.status === 'cancelled') return 'job_cancelled'
  if (job.status === 'expired') return 'job_expired'
  return errorCode(job.error)
}

function defaultDetail(job: StoredJob): string {
  return job.status === 'cancelled' ? 'The job was cancelled before it had a result.' : `The job ended as ${job.status} without an answer.`
}
