/** When two submissions are the same: the scope that keeps callers apart, and the fingerprint that tells a repeat from a reuse of the key. */
import { createHash } from 'node:crypto'
import { identityOf } from '../api/binding.ts'
import type { RouteConfig } from '../config/config.ts'
import { headerValue, headerValues, type RequestHead } from '../http1/message.ts'
import type { Millis } from '../lib/units.ts'
import type { Idempotency } from '../ports/job-store.ts'

/** The least that a key is remembered; as long as its job, if that is longer. */
const KEEP_MS: Millis = 24 * 3_600_000

export function idempotencyOf(
  key: string,
  route: Pick<RouteConfig, 'name' | 'idempotencyScope' | 'bind'>,
  request: { readonly head: Pick<RequestHead, 'method' | 'target' | 'headers'>; readonly body: Uint8Array },
): Idempotency {
  const { head, body } = request
  // Whom a job is bound to is another caller, too: a repeat by somebody else must not be answered with it.
  const bound = route.bind === undefined ? [] : [identityOf(route.bind, head.headers) ?? null]
  const caller = sha256(JSON.stringify([...headerValues(head.headers, route.idempotencyScope), ...bound]))
  const contentType = headerValue(head.headers, 'content-type') ?? ''
  return {
    scopeKey: sha256(JSON.stringify([route.name, caller, key])),
    fingerprint: sha256(JSON.stringify([head.method, head.target, contentType, sha256(body)])),
    keepMs: KEEP_MS,
  }
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
