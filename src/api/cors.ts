/** Cross-origin answers (the Fetch standard's CORS protocol): preflights, and what a page of another origin may read of an answer. */
import type { CorsConfig } from '../config/config.ts'
import { type FlatHeaders, headerValue } from '../http1/message.ts'
import type { Call } from '../net/call.ts'

/** A prefix in this list does not exist in CORS: every header of ours is named. */
const EXPOSED = [
  'Location, Retry-After, Link, Preference-Applied, ETag, Content-Range, Idempotency-Replayed',
  'Spillway-Status, Spillway-Job, Spillway-Offset, Spillway-Complete',
].join(', ')
/** Client headers of ours: allowed wherever CORS is on at all. */
const OUR_REQUEST_HEADERS =
  'Prefer, Idempotency-Key, Last-Event-ID, If-None-Match, Range, If-Range, Spillway-Delay, Spillway-Key, Spillway-Priority, Spillway-Reference, Spillway-Callback'

/** By themselves, whatever page asks. */
const SENT_BY_BROWSERS: ReadonlySet<string> = new Set(['cookie', 'authorization'])

export function isPreflight(call: Call): boolean {
  const { head } = call
  return (
    head.method === 'OPTIONS' &&
    headerValue(head.headers, 'origin') !== undefined &&
    headerValue(head.headers, 'access-control-request-method') !== undefined
  )
}

/** What is added to an answer. Empty: no Origin, or one that is not allowed. */
export function corsHeaders(cors: CorsConfig | undefined, call: Call): string[] {
  if (cors === undefined) return []
  const allowed = allowedOrigin(cors, call)
  // An answer that depends on the origin says so, also to those who get no permission.
  const vary = cors.origins.includes('*') && !cors.credentials ? [] : ['Vary', 'Origin']
  if (allowed === undefined) return vary
  const headers = ['Access-Control-Allow-Origin', allowed, ...vary, 'Access-Control-Expose-Headers', EXPOSED]
  if (cors.credentials) headers.push('Access-Control-Allow-Credentials', 'true')
  return headers
}

/** `methods`: instead of the configured ones, where the address itself decides. */
export function sendPreflight(call: Call, cors: CorsConfig | undefined, methods?: readonly string[]): void {
  if (cors === undefined || allowedOrigin(cors, call) === undefined) return call.send(204, ['Vary', 'Origin'], '')
  const headers = corsHeaders(cors, call).slice()
  const exposed = headers.indexOf('Access-Control-Expose-Headers')
  headers.splice(exposed, 2)
  headers.push('Access-Control-Allow-Methods', (methods ?? cors.methods).join(', '))
  headers.push('Access-Control-Allow-Headers', [...cors.headers, OUR_REQUEST_HEADERS].join(', '))
  headers.push('Access-Control-Max-Age', String(Math.floor(cors.maxAgeMs / 1000)))
  call.send(204, headers, '')
}

function allowedOrigin(cors: CorsConfig, call: Call): string | undefined {
  const origin = headerValue(call.head.headers, 'origin')
  if (origin === undefined) return undefined
  if (cors.origins.includes('*')) return cors.credentials ? origin : '*'
  return cors.origins.includes(origin) ? origin : undefined
}

/**
 * What a call shows of who it is. CORS has no say in sockets: any page may open one, and its reader's credentials go with it. They count only from a
 * page of the gateway's own name, or of an origin that may use them.
 */
export function shownBy(call: Call, cors: CorsConfig | undefined, publicUrl: string | undefined): FlatHeaders {
  const { headers, host, upgrade } = call.head
  const origin = headerValue(headers, 'origin')
  if (upgrade === '' || origin === undefined || (cors?.credentials === true && allowedOrigin(cors, call) !== undefined)) return headers
  const forwarded = call.peer.trusted ? headerValue(headers, 'x-forwarded-host') : undefined
  const own = [`//${host}`, publicUrl, forwarded === undefined ? undefined : `//${forwarded}`]
  const from = URL.parse(origin)
  if (from !== null && own.some((url) => url !== undefined && URL.parse(url, origin)?.host === from.host)) return headers
  return headers.filter((_, i) => !SENT_BY_BROWSERS.has((headers[i - (i % 2)] as string).toLowerCase()))
}

/** Job addresses belong to no route: whoever may call some routes from an origin may follow their jobs from there, with all that any of these allows it. */
export function corsForJobs(all: readonly (CorsConfig | undefined)[], call: Call): CorsConfig | undefined {
  const known = all.filter((cors) => cors !== undefined)
  const [first, ...others] = known.filter((cors) => allowedOrigin(cors, call) !== undefined)
  if (first === undefined || others.length === 0) return first ?? known[0]
  const allowing = [first, ...others]
  const credentials = allowing.some((cors) => cors.credentials)
  return {
    ...first,
    origins: credentials ? [headerValue(call.head.headers, 'origin') as string] : allowing.flatMap(({ origins }) => origins),
    headers: [...new Set(allowing.flatMap(({ headers }) => headers))],
    credentials,
  }
}
