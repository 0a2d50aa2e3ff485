/**
 * A job that is bound to its caller: its token opens it only together with the header or the cookie that its request had. Kept with the job is a keyed hash
 * of the value, `<header or cookie>:<name>:<key>:<hash>`, with a key of its own, so that equal callers do not look equal.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { BindSource } from '../config/config.ts'
import { cookieValue } from '../core/headers/cookie.ts'
import { type FlatHeaders, headerValues } from '../http1/message.ts'
import type { Random } from '../ports/clock.ts'
import type { StoredJob } from '../ports/job-store.ts'

const KEY_BYTES = 16
const FORM = /^(header|cookie):([^:]+):([A-Za-z0-9_-]+):([A-Za-z0-9_-]{43})$/

/** Undefined: the caller shows none. A header that came several times counts as HTTP reads it. */
export function identityOf({ from, name }: BindSource, headers: FlatHeaders): string | undefined {
  if (from === 'cookie') return cookieValue(headerValues(headers, 'cookie'), name) || undefined
  return headerValues(headers, name).join(', ') || undefined
}

/** Undefined: there is nothing to bind to, so the token alone opens the job. */
export function bindingOf(source: BindSource, headers: FlatHeaders, random: Pick<Random, 'bytes'>): string | undefined {
  const identity = identityOf(source, headers)
  if (identity === undefined) return undefined
  const key = Buffer.from(random.bytes(KEY_BYTES)).toString('base64url')
  return `${source.from}:${source.name}:${key}:${hashOf(key, identity).toString('base64url')}`
}

/** May whoever sends these headers see the job? Asked only of who has its secret: the time that it takes tells nobody else that there is such a job. */
export function isCaller({ binding }: StoredJob, headers: FlatHeaders): boolean {
  if (binding === undefined) return true
  const match = FORM.exec(binding)
  // What cannot be read binds to nobody.
  if (match === null) return false
  const [, from, name, key, hash] = match as unknown as [string, BindSource['from'], string, string, string]
  const identity = identityOf({ from, name }, headers) ?? ''
  return timingSafeEqual(hashOf(key, identity), Buffer.from(hash, 'base64url')) && identity !== ''
}

/** What the job is bound by; undefined: it is not. */
export function boundBy({ binding = '' }: StoredJob): BindSource | undefined {
  const [, from, name] = FORM.exec(binding) ?? []
  return from === undefined || name === undefined ? undefined : { from: from as BindSource['from'], name }
}

/** Header values are bytes. */
function hashOf(key: string, identity: string): Buffer {
  return createHmac('sha256', key).update(Buffer.from(identity, 'latin1')).digest()
}
