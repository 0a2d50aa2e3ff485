/**
 * `spillway/server`: for servers that want to know that a request is a job of their gateway, and as it was submitted. Needs `node:crypto` and nothing else.
 * What is signed is written down in docs/servers.md.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

export interface SignedRequest {
  readonly method: string
  /** Path and query as they came: `request.url` in Node, `request.originalUrl` in Express. */
  readonly target: string
  /** Those of a `node:http` request, or `Headers`. */
  readonly headers: HeaderFields
  /** The bytes as they came, before anybody parsed them. */
  readonly body: Uint8Array | string
}

export type HeaderFields =
  | { get(name: string): string | null }
  /** Names in lower case. */
  | Readonly<Record<string, string | readonly string[] | undefined>>

export interface VerifyOptions {
  /** A job that was submitted longer ago is refused. Left out: jobs may be as old as they like. */
  readonly toleranceMs?: number
  /** Milliseconds since the epoch; the clock where left out. */
  readonly now?: number
}

export interface VerifiedJob {
  readonly job: string
  /** When its client submitted it: a credential that was good then may be accepted. */
  readonly submittedAt: Date
}

export type SignatureProblem = 'missing' | 'malformed' | 'mismatch' | 'too-old'

export class SignatureError extends Error {
  override readonly name = 'SignatureError'
  readonly problem: SignatureProblem

  constructor(problem: SignatureProblem, message: string) {
    super(message)
    this.problem = problem
  }
}

/**
 * Gives back which job it is, or throws a `SignatureError`. `secrets`: as in the gateway's configuration (`whsec_` and base64, or plain text); several
 * while they are changed.
 */
export function verifySignature(request: SignedRequest, secrets: string | readonly string[], options: VerifyOptions = {}): VerifiedJob {
  const keys = (typeof secrets === 'string' ? [secrets] : secrets).map(keyOf)
  if (keys.length === 0) throw new TypeError('verifySignature needs a secret')
  const signature = required(request.headers, 'spillway-signature')
  const job = required(request.headers, 'spillway-job')
  const submitted = required(request.headers, 'spillway-submitted-at')
  const submittedAt = new Date(submitted)
  const given = signature.split(' ').flatMap((part) => (part.startsWith('v1,') ? [Buffer.from(part.slice(3), 'base64')] : []))
  if (given.length === 0 || Number.isNaN(submittedAt.getTime())) {
    throw new SignatureError('malformed', 'Spillway-Signature or Spillway-Submitted-At is none that a gateway writes')
  }
  const text = signedText(request, job, submitted)
  const expected = keys.map((key) => createHmac('sha256', key).update(text).digest())
  // All are compared, so that time does not tell which one was nearly right.
  const equal = expected.flatMap((mine) => given.map((theirs) => theirs.length === mine.length && timingSafeEqual(theirs, mine)))
  if (!equal.includes(true))
    throw new SignatureError('mismatch', 'the request is not what was signed, or it was signed with another secret')
  const { toleranceMs = Number.POSITIVE_INFINITY, now = Date.now() } = options
  if (now - submittedAt.getTime() > toleranceMs) throw new SignatureError('too-old', `the job was submitted at ${submitted}, too long ago`)
  return { job, submittedAt }
}

function signedText({ method, target, headers, body }: SignedRequest, job: string, submitted: string): string {
  const credential = field(headers, 'authorization')
  const hashed = credential === undefined ? '-' : sha256(Buffer.from(credential, 'latin1'))
  return ['spillway-v1', job, submitted, method, target, hashed, sha256(body)].join('\n')
}

function required(headers: HeaderFields, name: string): string {
  const value = field(headers, name)
  if (value === undefined || value === '') throw new SignatureError('missing', `the request has no ${name}`)
  return value
}

function field(headers: HeaderFields, name: string): string | undefined {
  if (isFetchHeaders(headers)) return headers.get(name) ?? undefined
  const value = headers[name]
  return typeof value === 'string' || value === undefined ? value : value.join(', ')
}

function isFetchHeaders(headers: HeaderFields): headers is { get(name: string): string | null } {
  return typeof headers['get'] === 'function'
}

/** An empty one (a variable that is not set) anybody has: what it signs proves nothing. */
function keyOf(secret: string): Buffer {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret)
  if (key.length === 0) throw new TypeError('verifySignature needs a secret that is not empty')
  return key
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
