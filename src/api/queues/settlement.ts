/** How a pull consumer says that a hand-out is over: read, checked, and turned into what the store takes. */
import type { QueueConfig } from '../../config/config.ts'
import { backoffDelayMs } from '../../core/jobs/backoff.ts'
import { isCount, isWrong, readDuration, readJobDocument, wrongText } from '../../core/jobs/job-document.ts'
import { DELAY_MAX_MS } from '../../core/jobs/limits.ts'
import { reasonPhrase } from '../../http1/write.ts'
import { requestOf } from '../../jobs/new-job.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { Bytes, Millis } from '../../lib/units.ts'
import type { Ending, JobAnswer, JobError } from '../../ports/job-store.ts'
import { type Receipt, receiptFor } from './receipt.ts'

export interface SettlementBounds {
  readonly resultBytesMax: Bytes
  readonly headBytesMax: Bytes
  readonly headersMax: number
  /** Chance for the backoff. */
  readonly unit: () => number
}

/** A text: what is wrong with it. */
export type SettlementReading = Ending | string

const REASON_LENGTH_MAX = 1024
const FIELDS = new Set(['receipt', 'outcome', 'result', 'after', 'reason', 'deadLetter'])
const RESULT_FIELDS = new Set(['payload', 'text', 'base64', 'contentType', 'headers'])
const NO_ANSWER: JobAnswer = { status: 204, reason: reasonPhrase(204), headers: [], body: new Uint8Array(0) }

export function readSettlement(value: unknown, at: string, queue: QueueConfig, bounds: SettlementBounds): SettlementReading {
  if (!isMapping(value)) return `${at}: must be an object, such as { "receipt": "…", "outcome": "succeed" }`
  for (const field in value) if (!FIELDS.has(field)) return `${at}.${field}: there is no such field; there are ${[...FIELDS].join(', ')}`
  const receipt = receiptFor(queue.name, value['receipt'])
  if (receipt === undefined) return `${at}.receipt: must be one that a receive gave`
  const { outcome } = value
  switch (outcome) {
    case 'succeed':
      return succeeded(value['result'], at, receipt, bounds)
    case 'retry': {
      const afterMs = readAfter(value['after'], backoffDelayMs(queue.backoff, receipt.attempt, bounds.unit()))
      if (afterMs === undefined) return `${at}.after: ${AFTER}`
      const error = errorOf(value['reason'], 'The consumer asked for another attempt.')
      return typeof error === 'string' ? `${at}.${error}` : { kind: 'retry', lease: receipt.lease, afterMs, error }
    }
    case 'release': {
      const afterMs = readAfter(value['after'], 0)
      return afterMs === undefined ? `${at}.after: ${AFTER}` : { kind: 'handBack', lease: receipt.lease, afterMs }
    }
    case 'fail': {
      const { deadLetter = true } = value
      if (typeof deadLetter !== 'boolean') return `${at}.deadLetter: must be true or false`
      const error = errorOf(value['reason'], 'The consumer gave it up.')
      return typeof error === 'string' ? `${at}.${error}` : { kind: 'fail', lease: receipt.lease, error, deadLetter }
    }
    default:
      return `${at}.outcome: must be succeed, retry, release or fail`
  }
}

const AFTER = 'must be a duration such as "30s", at most 366d'

function readAfter(value: unknown, fallback: Millis): Millis | undefined {
  if (value === undefined) return fallback
  const afterMs = readDuration(value)
  return afterMs !== undefined && afterMs <= DELAY_MAX_MS ? afterMs : undefined
}

function errorOf(reason: unknown, fallback: string): JobError | string {
  if (reason !== undefined && (typeof reason !== 'string' || reason.length > REASON_LENGTH_MAX || !reason.isWellFormed())) {
    return `reason: must be a text of at most ${REASON_LENGTH_MAX} characters`
  }
  return { code: 'consumer_failed', detail: reason ?? fallback }
}

/** A result is written like a job, with the status of the answer that it is to clients. */
function succeeded(result: unknown, at: string, { lease }: Receipt, bounds: SettlementBounds): SettlementReading {
  if (result === undefined) return { kind: 'succeed', lease, answer: NO_ANSWER }
  if (!isMapping(result)) return `${at}.result: must be an object, such as { "payload": { } }`
  const { status, ...message } = result
  for (const field in message)
    if (!RESULT_FIELDS.has(field))
      return `${at}.result.${field}: there is no such field; there are ${[...RESULT_FIELDS].join(', ')}, status`
  const read = readJobDocument(message, { ...bounds, targetBytesMax: 1 })
  if (isWrong(read)) return wrongText(`${at}.result`, read)
  const bodyless = read.bodyKind === 'none'
  if (status !== undefined && !isCount(status, 200, 599)) return `${at}.result.status: must be a whole number from 200 to 599`
  const request = requestOf(read, bounds.resultBytesMax)
  if ('wrong' in request) return `${at}.result: ${request.wrong.replace('limits.jobBody', 'limits.result')}`
  const code = status ?? (bodyless ? 204 : 200)
  if (!bodyless && (code === 204 || code === 304)) return `${at}.result.status: an answer of ${code} has no body`
  return { kind: 'succeed', lease, answer: { status: code, reason: reasonPhrase(code), headers: request.headers, body: request.body } }
}
