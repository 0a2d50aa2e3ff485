/**
 * Where a route finds the key of a request: jobs of one key run one at a time. No value means no key, never an error. The tenant is found
 * in the same way.
 */
import { createHash } from 'node:crypto'
import type { KeySource } from '../config/config.ts'
import { cookieValue } from '../core/headers/cookie.ts'
import { KEY_LENGTH_MAX } from '../core/jobs/limits.ts'
import { headerValues, type RequestHead } from '../http1/message.ts'
import { pointedTo } from '../lib/json-pointer.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import type { Call } from '../net/call.ts'
import type { KeyRef } from '../ports/job-store.ts'

const NO_BODY = new Uint8Array(0)

export interface KeyedRequest {
  readonly head: Pick<RequestHead, 'headers' | 'query'>
  readonly params: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export function extractKey(source: KeySource, request: KeyedRequest): string | undefined {
  const value = rawKey(source, request)
  if (value === undefined || value === '') return undefined
  // Half a character (`"\ud800"` in JSON) has no UTF-8: on its way to a disk or into a header every one of them would become the same key.
  if (!value.isWellFormed()) return `sha256-utf16:${sha256(Buffer.from(value, 'utf16le'))}`
  // A long value still tells requests apart, and the store keeps short keys.
  return value.length <= KEY_LENGTH_MAX ? value : `sha256:${sha256(value)}`
}

/**
 * Of a request that could be served at once: which key it must not pass others of. Undefined: it has none. A key in the body is not known before
 * the body is read.
 */
export function orderOf({ head }: Pick<Call, 'head'>, { route, params }: RouteMatch, clientKey: string | undefined): KeyRef | undefined {
  const { queue, key: source } = route
  if (queue === undefined) return undefined
  if (source?.from === 'json') return { queue }
  const key = (source === undefined ? undefined : extractKey(source, { head, params, body: NO_BODY })) ?? clientKey
  return key === undefined ? undefined : { queue, key }
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('base64url')
}

function rawKey(source: KeySource, { head, params, body }: KeyedRequest): string | undefined {
  switch (source.from) {
    case 'header':
      return headerValues(head.headers, source.name)[0]
    case 'path':
      return Object.hasOwn(params, source.name) ? params[source.name] : undefined
    case 'query':
      return new URLSearchParams(head.query).get(source.name) ?? undefined
    case 'cookie':
      return cookieValue(headerValues(head.headers, 'cookie'), source.name)
    case 'json':
      return jsonValue(body, source.name)
  }
}

/** The string, number or boolean that a JSON pointer (RFC 6901) points to. */
function jsonValue(body: Uint8Array, pointer: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'))
  } catch {
    return undefined
  }
  value = pointedTo(value, pointer)
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}
