/** From what is written of a job to the job that the store takes: the body as bytes, the queue's own settings where the document says nothing. */
import { createHash, hash } from 'node:crypto'
import type { QueueConfig } from '../config/config.ts'
import { followUpText } from '../core/jobs/follow-up.ts'
import type { JobDocument, Wrong } from '../core/jobs/job-document.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { Idempotency, JobRequest, NewJob } from '../ports/job-store.ts'

/** The least that an idempotency key is remembered; as long as its job, if that is longer. */
const IDEMPOTENCY_KEEP_MS: Millis = 24 * 3_600_000
const NO_BYTES: Uint8Array = new Uint8Array(0)
const JSON_TYPE = 'application/json'
const TYPES = { none: undefined, json: JSON_TYPE, text: 'text/plain; charset=utf-8', base64: 'application/octet-stream' } as const

export interface Sender {
  /** For logs and status documents, where a route would stand. */
  readonly route: string
  /** Keeps the idempotency keys of callers apart. */
  readonly scope: string
  readonly bodyBytesMax: Bytes
}

export function newJobOf(document: JobDocument, queue: QueueConfig, sender: Sender): NewJob | Wrong {
  const request = requestOf(document, sender.bodyBytesMax)
  if ('wrong' in request) return request
  const { key, tenant, reference, delayMs, idempotencyKey } = document
  const expireAfterMs = document.expireAfterMs ?? queue.expireAfterMs
  const deadlineMs = document.deadlineMs ?? queue.deadlineMs
  const job: { -readonly [K in keyof NewJob]: NewJob[K] } = {
    queue: queue.name,
    route: sender.route,
    request,
    priority: document.priority,
    attempts: document.attempts ?? queue.attempts,
    keepMs: queue.keepMs,
    keepDeadMs: queue.keepDeadMs,
    sendOnce: false,
  }
  if (key !== undefined) job.key = key
  if (tenant !== undefined) job.tenant = tenant
  if (reference !== undefined) job.reference = reference
  if (delayMs !== undefined) job.delayMs = delayMs
  if (expireAfterMs !== undefined) job.expireAfterMs = expireAfterMs
  if (deadlineMs !== undefined) job.deadlineMs = deadlineMs
  const followUp = followUpText(document.callback === undefined ? {} : { callback: document.callback })
  if (followUp !== undefined) job.followUp = followUp
  if (idempotencyKey !== undefined) job.idempotency = idempotencyOf(idempotencyKey, `${sender.scope}\n${queue.name}`, job)
  return job
}

/** The same job for another queue: its body is shared, its settings are that queue's. */
export function requestOf(document: JobDocument, bodyBytesMax: Bytes): JobRequest | Wrong {
  const body = bodyOf(document)
  if (typeof body === 'string') return { path: 'payload', wrong: body }
  if (body.length > bodyBytesMax) return { path: '', wrong: `the body is larger than ${bodyBytesMax} bytes (limits.jobBody)` }
  const { method, target } = document
  const contentType = document.contentType ?? TYPES[document.bodyKind]
  const headers = contentType === undefined ? document.headers : [...document.headers, 'Content-Type', contentType]
  return { method, target, headers, body }
}

function bodyOf({ bodyKind, body }: JobDocument): Uint8Array | string {
  switch (bodyKind) {
    case 'none':
      return NO_BYTES
    case 'text':
      return Buffer.from(body as string, 'utf8')
    case 'base64':
      return Buffer.from(body as string, 'base64')
    case 'json':
      try {
        return Buffer.from(JSON.stringify(body), 'utf8')
      } catch {
        // Reading deep JSON costs no stack, writing it does.
        return 'is nested too deeply'
      }
  }
}

function idempotencyOf(key: string, scope: string, { key: jobKey = '', request }: Pick<NewJob, 'key' | 'request'>): Idempotency {
  const { method, target, headers, body } = request
  const contentType = headers.at(-2) === 'Content-Type' ? headers.at(-1) : ''
  return {
    scopeKey: hash('sha256', JSON.stringify(['queue-api', scope, key]), 'hex'),
    fingerprint: createHash('sha256')
      .update(JSON.stringify([method, target, contentType, jobKey]))
      .update(body)
      .digest('hex'),
    keepMs: IDEMPOTENCY_KEEP_MS,
  }
}
