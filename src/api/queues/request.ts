/**
 * A call of the queue API, whatever brought it: the listeners and the admin address hand in the same, and write the answer in their own way.
 * Handlers neither know sockets nor throw for what is expected.
 */
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import { type CollectedBody, collectBody } from '../../net/body.ts'
import type { BufferBudget } from '../../net/buffer-budget.ts'
import type { RequestBody } from '../../net/call.ts'
import type { Bytes, Millis } from '../../lib/units.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Asker } from '../../jobs/receivers.ts'
import type { Caller } from './rights.ts'

export interface ApiRequest {
  readonly method: string
  /** Of the path below the API's own, as they came. */
  readonly segments: readonly string[]
  readonly query: URLSearchParams
  readonly contentType: string | undefined
  /** On the admin address. */
  readonly ifMatch?: string | undefined
  readonly body: RequestBody
  readonly caller: Caller
  /** The client, who may leave. */
  readonly asker: Asker
}

export interface ApiReply {
  readonly status: number
  readonly headers: readonly string[]
  /** Whole, or piece by piece while it is made; absent: none. */
  readonly body?: string | AsyncGenerator<string, void>
  /** The answer is written, or needed no more. */
  readonly free?: () => void
}

export type Outcome = ApiReply | Failure

export const JSON_HEADERS: readonly string[] = [
  'Content-Type',
  'application/json',
  'X-Content-Type-Options',
  'nosniff',
  'Cache-Control',
  'no-store',
]
export const LINES_HEADERS: readonly string[] = [
  ...['Content-Type', 'application/x-ndjson', 'X-Content-Type-Options', 'nosniff', 'Cache-Control', 'no-store', 'X-Accel-Buffering', 'no'],
]

/** For room in memory: who sends is made to wait for so long, then is refused. */
export const ROOM_WAIT_MS: Millis = 2_000

export function json(status: number, document: unknown): ApiReply {
  return { status, headers: JSON_HEADERS, body: JSON.stringify(document) }
}

/** The same for JSON that is text already. */
export function jsonText(body: string, free?: () => void): ApiReply {
  return free === undefined ? { status: 200, headers: JSON_HEADERS, body } : { status: 200, headers: JSON_HEADERS, body, free }
}

export const NO_CONTENT: ApiReply = { status: 204, headers: ['Cache-Control', 'no-store'] }

/** The client has gone: nobody reads it. */
export const NOBODY: ApiReply = { status: 204, headers: [] }

export function invalid(detail: string): Failure {
  return failure('invalid_request', detail)
}

export type ContentKind = 'json' | 'lines'

/** A form in somebody's page can send anything but these, so anything but these is refused; nothing at all needs no type. */
export function contentKind(request: ApiRequest, allowed: readonly ContentKind[]): ContentKind | Failure {
  const { contentType, body } = request
  const type = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  const kind = type === 'application/json' ? 'json' : type === 'application/x-ndjson' ? 'lines' : undefined
  if (kind !== undefined && allowed.includes(kind)) return kind
  if (contentType === undefined && body.length === 0) return 'json'
  const names = allowed.map((each) => (each === 'json' ? 'application/json' : 'application/x-ndjson')).join(' or ')
  return failure(
    'unsupported_type',
    `The content type must be ${names}${contentType === undefined ? '' : `, not ${contentType.slice(0, 100)}`}.`,
  )
}

export interface BodyParts {
  readonly budget: BufferBudget
  readonly clock: Clock
}

export interface ReadText {
  readonly text: string
  readonly free: () => void
}

/** Undefined: the client has gone. */
export async function readText(request: ApiRequest, bytesMax: Bytes, parts: BodyParts): Promise<ReadText | Failure | undefined> {
  const body: CollectedBody = await collectBody(request, { ...parts, bytesMax, waitMs: ROOM_WAIT_MS })
  if (body.kind === 'gone') return undefined
  if (body.kind === 'failed') {
    return body.failed.code === 'body_too_large'
      ? failure('body_too_large', `The body is larger than ${bytesMax} bytes (api.body).`)
      : body.failed
  }
  const { bytes, free } = body
  const text = utf8Of(bytes)
  if (text === undefined) {
    free()
    return invalid('The body is not UTF-8.')
  }
  return { text, free }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Undefined: it is none. */
export function utf8Of(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

/** A small document: read whole, and given back at once. Undefined: the client has gone. An empty body is an empty document. */
export async function readDocument(
  request: ApiRequest,
  bytesMax: Bytes,
  parts: BodyParts,
): Promise<{ readonly value: unknown } | Failure | undefined> {
  const kind = contentKind(request, ['json'])
  if (typeof kind === 'object') return kind
  const read = await readText(request, bytesMax, parts)
  if (read === undefined || isFailure(read)) return read
  read.free()
  if (read.text === '') return { value: {} }
  const value = parseJson(read.text)
  return value === NOT_JSON ? invalid('The body is not valid JSON.') : { value }
}

const NOT_JSON: unique symbol = Symbol('not JSON')

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return NOT_JSON
  }
}
