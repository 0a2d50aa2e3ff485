/**
 * The signature that an attempt of a job carries, `Spillway-Signature`: HMAC-SHA256 over what the job is, so that a server may accept a credential that was
 * good when the job was submitted. What is signed is written down in docs/servers.md; `spillway/server` verifies it.
 */
import { createHash, createHmac } from 'node:crypto'
import type { SigningKey } from '../config/config.ts'
import { headerValues } from '../http1/message.ts'
import type { JobRequest } from '../ports/job-store.ts'

export interface SignedJob {
  readonly id: string
  /** As in `Spillway-Submitted-At`. */
  readonly submittedAt: string
  readonly request: JobRequest
}

/** One signature for each key, with a space between. */
export function signatureFor(job: SignedJob, keys: readonly SigningKey[]): string {
  const text = signedText(job)
  return keys.map(({ secret }) => `v1,${createHmac('sha256', secret).update(text).digest('base64')}`).join(' ')
}

/** A header that came several times counts as HTTP reads it (RFC 9110, section 5.2). Its characters are bytes. */
function signedText({ id, submittedAt, request }: SignedJob): string {
  const { method, target, headers, body } = request
  const credentials = headerValues(headers, 'authorization')
  const credential = credentials.length === 0 ? '-' : sha256(Buffer.from(credentials.join(', '), 'latin1'))
  return ['spillway-v1', id, submittedAt, method, target, credential, sha256(body)].join('\n')
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
