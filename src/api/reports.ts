/**
 * What servers report at the address in `Spillway-Report`: progress at the address itself, and below it `extend`, `complete` and `fail`.
 * A made-up address is the same 404 as one that never was; a genuine one whose lease is over is 410, so that the server can stop.
 */
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { contentHeaders } from '../core/headers/content.ts'
import type { ReportedFailure } from '../core/jobs/settlement.ts'
import { reasonPhrase } from '../http1/write.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { ReportedWork, ReportOutcome } from '../jobs/reports.ts'
import { parseDuration } from '../lib/duration.ts'
import { isMapping } from '../lib/mapping.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import { collectBody } from '../net/body.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Call } from '../net/call.ts'
import type { Clock } from '../ports/clock.ts'
import type { JobAnswer } from '../ports/job-store.ts'
import { PRIVATE_HEADERS } from './problem.ts'
import { compactProgress, PROGRESS_BYTES_MAX, PROGRESS_DEPTH_MAX } from './progress.ts'

/** For room in memory: progress that comes late is better left out. */
const PROGRESS_WAIT_MS: Millis = 1_000
const END_WAIT_MS: Millis = 10_000
const DETAIL_LENGTH_MAX = 1024

export const REPORT_ACTIONS = ['progress', 'extend', 'complete', 'fail'] as const
export type ReportAction = (typeof REPORT_ACTIONS)[number]

export interface ReportParts {
  readonly config: { readonly limits: { readonly result: Bytes } }
  readonly jobs: Pick<Jobs, 'reports'>
  readonly budget: BufferBudget
  readonly clock: Clock
}

/** Undefined: answered, or nobody is there any more. Rejects when the engine failed. */
export async function handleReport(call: Call, parts: ReportParts, address: string, action: ReportAction): Promise<Failure | undefined> {
  const work = await parts.jobs.reports.find(address)
  if (work === undefined) return failure('no_such_job', 'The address is wrong, or the job is no longer kept.')
  call.log.job = work.ref.id
  const outcome = await carryOut(call, parts, work, action)
  if (outcome === undefined || call.gone) return undefined
  if (isFailure(outcome)) return outcome
  if (outcome.kind === 'over') return failure('lease_gone', 'This hand-out of the job is over: nothing was changed. Stop working on it.')
  if (outcome.kind === 'too-long') return invalid(`for: at most ${outcome.maxMs} ms at once (defer.max of the queue).`)
  const until = outcome.until === undefined ? [] : ['Spillway-Deadline', new Date(outcome.until).toISOString()]
  call.send(204, [...PRIVATE_HEADERS, ...until], '')
  return undefined
}

async function carryOut(
  call: Call,
  parts: ReportParts,
  work: ReportedWork,
  action: ReportAction,
): Promise<ReportOutcome | Failure | undefined> {
  const isResult = action === 'complete'
  const limits = isResult
    ? { bytesMax: parts.config.limits.result, waitMs: END_WAIT_MS, name: 'A result' }
    : { bytesMax: PROGRESS_BYTES_MAX, waitMs: action === 'progress' ? PROGRESS_WAIT_MS : END_WAIT_MS, name: 'A report' }
  const body = await collectBody(call, { ...limits, budget: parts.budget, clock: parts.clock })
  if (body.kind === 'gone') return undefined
  if (body.kind === 'failed') {
    if (body.failed.code !== 'body_too_large') return body.failed
    const which = isResult ? ' (limits.result)' : ''
    return failure('body_too_large', `${limits.name} has at most ${limits.bytesMax} bytes${which}.`)
  }
  try {
    return await REPORTS[action](parts.jobs, work, body.bytes, call)
  } finally {
    body.free()
  }
}

type Report = (jobs: ReportParts['jobs'], work: ReportedWork, body: Uint8Array, call: Call) => Promise<ReportOutcome> | Failure

const REPORTS: Readonly<Record<ReportAction, Report>> = {
  progress: ({ reports }, work, body) => {
    const progress = compactProgress(body)
    if (progress === undefined) return failure('bad_request', `A report is a JSON document of at most ${PROGRESS_DEPTH_MAX} levels.`)
    return reports.progress(work.ref, progress)
  },
  extend: ({ reports }, work, body) => {
    const document = readObject(body, ['for'])
    if (typeof document === 'string') return invalid(document)
    const forMs = durationOf(document['for'])
    if (forMs === undefined || forMs === 0) return invalid('for: must be a duration of more than 0, such as "10m".')
    return reports.extend(work, forMs)
  },
  complete: ({ reports }, work, body, call) => {
    const status = readStatus(new URLSearchParams(call.head.query).get('status'))
    if (status === undefined) return invalid('The query parameter `status` is a status from 200 to 399, such as 201.')
    if (body.length > 0 && (status === 204 || status === 205 || status === 304))
      return invalid(`status: an answer of ${status} has no body.`)
    return reports.complete(work, { status, reason: reasonPhrase(status), headers: contentHeaders(call.head.headers), body })
  },
  fail: ({ reports }, work, body) => {
    const failed = readFailure(body)
    return typeof failed === 'string' ? invalid(failed) : reports.fail(work, failed, failedAnswer(failed))
  },
}

function readStatus(text: string | null): number | undefined {
  if (text === null) return 200
  return /^[23]\d\d$/.test(text) ? Number(text) : undefined
}

/** A text: what is wrong with it. */
function readFailure(body: Uint8Array): ReportedFailure | string {
  const document = readObject(body, ['detail', 'retry', 'status'])
  if (typeof document === 'string') return document
  const { detail = 'The server reported that it failed.', retry, status } = document
  if (typeof detail !== 'string' || detail.length > DETAIL_LENGTH_MAX || !detail.isWellFormed()) {
    return `detail: must be a text of at most ${DETAIL_LENGTH_MAX} characters.`
  }
  const isRetry = retry === undefined || (typeof retry === 'string' && (retry === 'never' || durationOf(retry) !== undefined))
  if (!isRetry) return 'retry: must be "never", or a duration such as "30s".'
  const isStatus = status === undefined || (Number.isInteger(status) && Number(status) >= 400 && Number(status) <= 599)
  if (!isStatus) return 'status: must be a whole number from 400 to 599.'
  return { detail, ...(retry !== undefined && { retry }), ...(status !== undefined && { status: Number(status) }) }
}

/** What its clients get where a status was named. */
function failedAnswer({ status, detail }: ReportedFailure): JobAnswer | undefined {
  if (status === undefined) return undefined
  const reason = reasonPhrase(status)
  const problem = { type: 'about:blank', ...(reason !== '' && { title: reason }), status, detail }
  return { status, reason, headers: ['Content-Type', 'application/problem+json'], body: Buffer.from(JSON.stringify(problem)) }
}

function durationOf(value: unknown): Millis | undefined {
  return typeof value === 'string' ? parseDuration(value) : undefined
}

/** Nothing at all is an empty object. A text: what is wrong with it. */
function readObject(body: Uint8Array, fields: readonly string[]): Readonly<Record<string, unknown>> | string {
  const value = body.length === 0 ? {} : parsed(body)
  if (!isMapping(value)) return `The body must be a JSON object with ${fields.join(', ')}.`
  for (const field in value) if (!fields.includes(field)) return `${field}: there is no such field; there are ${fields.join(', ')}.`
  return value
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    return undefined
  }
}

function invalid(detail: string): Failure {
  return failure('invalid_request', detail)
}
