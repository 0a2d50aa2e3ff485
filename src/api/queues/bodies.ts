/**
 * Requests and results of jobs as JSON: the body as what it is, JSON, text or bytes; headers as an object. JSON bodies go into the answer as
 * they came, to the letter: what they say is not ours to change.
 */
import { isUtf8 } from 'node:buffer'
import { isMapping } from '../../lib/mapping.ts'
import type { JobAnswer, JobRequest } from '../../ports/job-store.ts'

const JSON_TYPE = /^application\/(?:[\w.!#$&^+-]+\+)?json(?:\s*;|$)/i
const REDACTED = '[redacted]'
/** Whatever opens something: shown to those who look, but for their names. */
const CREDENTIALS: ReadonlySet<string> = new Set([
  ...[
    'authorization',
    'proxy-authorization',
    'cookie',
    'set-cookie',
    'x-api-key',
    'api-key',
    'x-auth-token',
    'x-csrf-token',
    'x-amz-security-token',
  ],
])

export function isCredential(name: string): boolean {
  return CREDENTIALS.has(name.toLowerCase())
}

/** What stands for a credential that is not shown; given back in a redrive, it means the one that is stored. */
export function isRedacted(value: unknown): boolean {
  return value === REDACTED
}

/** A job as it was written, but for what opens something. */
export function redactedJob(job: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return withHeaders(job, (name, value) => (isCredential(name) ? REDACTED : value))
}

/** The same turned round: what was shown as redacted is what it was before. */
export function unredactedJob(
  job: Readonly<Record<string, unknown>>,
  before: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const kept = new Map(
    isMapping(before['headers']) ? Object.entries(before['headers']).map(([name, value]) => [name.toLowerCase(), value]) : [],
  )
  return withHeaders(job, (name, value) => (isRedacted(value) ? (kept.get(name.toLowerCase()) ?? value) : value))
}

function withHeaders(
  job: Readonly<Record<string, unknown>>,
  change: (name: string, value: unknown) => unknown,
): Readonly<Record<string, unknown>> {
  const { headers } = job
  if (!isMapping(headers)) return job
  return { ...job, headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, change(name, value)])) }
}

/** The members of a JSON object: `"headers":{…},"contentType":"…","payload":…`, each only where there is something. */
export function messageMembers({ headers, body }: Pick<JobRequest, 'headers' | 'body'>, redact: boolean): string {
  let contentType: string | undefined
  let fields: Map<string, string[]> | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    const value = headers[i + 1] as string
    if (name === 'content-type' && contentType === undefined) {
      contentType = value
      continue
    }
    fields ??= new Map()
    const shown = redact && CREDENTIALS.has(name) ? REDACTED : value
    const values = fields.get(name)
    if (values === undefined) fields.set(name, [shown])
    else values.push(shown)
  }
  const type = contentType === undefined ? '' : `,"contentType":${JSON.stringify(contentType)}`
  return `"headers":${headersJson(fields)}${type}${bodyMember(contentType, body)}`
}

function headersJson(fields: ReadonlyMap<string, readonly string[]> | undefined): string {
  if (fields === undefined) return '{}'
  let members = ''
  for (const [name, values] of fields) {
    members += `${members === '' ? '' : ','}${JSON.stringify(name)}:${JSON.stringify(values.length === 1 ? values[0] : values)}`
  }
  return `{${members}}`
}

function bodyMember(contentType: string | undefined, body: Uint8Array): string {
  if (body.length === 0) return ''
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (!isUtf8(bytes)) return `,"base64":"${bytes.toString('base64')}"`
  const text = bytes.toString('utf8')
  if (contentType !== undefined && JSON_TYPE.test(contentType) && isJson(text)) return `,"payload":${text}`
  return `,"text":${JSON.stringify(text)}`
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

export function requestJson(request: JobRequest, redact: boolean): string {
  return `{"method":${JSON.stringify(request.method)},"target":${JSON.stringify(request.target)},${messageMembers(request, redact)}}`
}

export function resultJson(answer: JobAnswer, redact: boolean): string {
  // What was stored while it came may be of any size: it is read where results are.
  const bytes = answer.blob === undefined ? '' : `,"bytes":${answer.blob.bytes}`
  return `{"status":${answer.status},${messageMembers(answer, redact)}${bytes}}`
}
