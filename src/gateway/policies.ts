/**
 * What a client asks for in its headers, within what the route allows. Spillway headers that are not allowed, that are given twice or
 * that cannot be understood are refused by name; Prefer and Idempotency-Key are everybody's, so a route that does not allow them ignores them.
 */
import type { ClientHeader, RouteConfig } from '../config/config.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { PRIORITY_DEFAULT } from '../core/admission/wait-list.ts'
import { DELAY_MAX_MS, IDEMPOTENCY_KEY_LENGTH_MAX, KEY_LENGTH_MAX, REFERENCE_LENGTH_MAX } from '../core/jobs/limits.ts'
import { wrongCallback } from '../core/webhooks/urls.ts'
import { type Preferences, parsePreferences } from '../core/headers/prefer.ts'
import { headerValue, headerValues, type RequestHead } from '../http1/message.ts'
import { parseDuration } from '../lib/duration.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'

export interface Policies {
  readonly preferences: Preferences
  /** Unquoted. */
  readonly idempotencyKey?: string
  readonly key?: string
  readonly delayMs?: Millis
  readonly priority: number
  readonly reference?: string
  /** Where the client wants to be told of the end. */
  readonly callback?: string
}

const NO_PREFERENCES: Preferences = { respondAsync: false, events: false }
const SPILLWAY_HEADERS: readonly (readonly [ClientHeader, string])[] = [
  ['key', 'Spillway-Key'],
  ['delay', 'Spillway-Delay'],
  ['priority', 'Spillway-Priority'],
  ['callback', 'Spillway-Callback'],
  ['reference', 'Spillway-Reference'],
]

/** Can be repeated neither by name nor in substance: these never become a job, whatever a route says. */
const NEVER_JOBS: ReadonlySet<string> = new Set(['HEAD', 'OPTIONS', 'CONNECT', 'TRACE'])

type Head = Pick<RequestHead, 'headers'>
type Values = Partial<Record<ClientHeader, string>>

type Rules = Pick<RouteConfig, 'allow' | 'callbacks' | 'priority'>

export function readPolicies(head: Head, route: Rules): Policies | Failure {
  const values = spillwayValues(head, route)
  if (isFailure(values)) return values
  const delayMs = values.delay === undefined ? undefined : parseDuration(values.delay)
  const refused = checkValues(values, delayMs) ?? checkCallback(values.callback, route)
  if (refused !== undefined) return refused
  const idempotencyKey = route.allow.includes('idempotency-key') ? readIdempotencyKey(head) : undefined
  if (typeof idempotencyKey === 'object') return idempotencyKey
  return {
    preferences: route.allow.includes('prefer') ? parsePreferences(headerValues(head.headers, 'prefer')) : NO_PREFERENCES,
    priority: values.priority === undefined ? (route.priority ?? 0) : Number(values.priority),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(values.key === undefined ? {} : { key: values.key }),
    ...(delayMs === undefined ? {} : { delayMs }),
    ...(values.reference === undefined ? {} : { reference: values.reference }),
    ...(values.callback === undefined ? {} : { callback: values.callback }),
  }
}

function spillwayValues(head: Head, route: Pick<RouteConfig, 'allow'>): Values | Failure {
  const values: Values = {}
  for (const [allowed, name] of SPILLWAY_HEADERS) {
    const given = headerValues(head.headers, name.toLowerCase())
    if (given.length === 0) continue
    if (!route.allow.includes(allowed)) return failure('header_not_allowed', `${name} is not allowed on this route (\`allow\`).`)
    if (given.length > 1) return badHeader(name, 'is given more than once')
    values[allowed] = given[0] as string
  }
  return values
}

function checkValues(values: Values, delayMs: Millis | undefined): Failure | undefined {
  if (values.key !== undefined && !isBetween(values.key, KEY_LENGTH_MAX))
    return badHeader('Spillway-Key', `has 1 to ${KEY_LENGTH_MAX} characters`)
  if (values.reference !== undefined && !isBetween(values.reference, REFERENCE_LENGTH_MAX)) {
    return badHeader('Spillway-Reference', `has 1 to ${REFERENCE_LENGTH_MAX} characters`)
  }
  if (values.priority !== undefined && !/^\d$/.test(values.priority)) return badHeader('Spillway-Priority', 'is a digit from 0 to 9')
  if (values.delay !== undefined && (delayMs === undefined || delayMs > DELAY_MAX_MS)) {
    return badHeader('Spillway-Delay', 'is a duration such as 30s, of at most 366d')
  }
  return undefined
}

function checkCallback(callback: string | undefined, { callbacks = [] }: Rules): Failure | undefined {
  const wrong = callback === undefined ? undefined : wrongCallback(callback, callbacks)
  return wrong === undefined ? undefined : badHeader('Spillway-Callback', wrong)
}

/** RFC 9110 has no say in it: the draft asks for a quoted string, most clients send it bare. Both mean the same key. */
export function readIdempotencyKey(head: Head): string | undefined | Failure {
  const given = headerValues(head.headers, 'idempotency-key')
  if (given.length > 1) return badHeader('Idempotency-Key', 'is given more than once')
  const value = given[0]
  if (value === undefined) return undefined
  const key = unquote(value)
  if (key === undefined) return badHeader('Idempotency-Key', 'begins with a quote but is no quoted string')
  if (!isBetween(key, IDEMPOTENCY_KEY_LENGTH_MAX)) return badHeader('Idempotency-Key', `has 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} bytes`)
  return key
}

/** A string of RFC 8941, or the value as it is. */
function unquote(value: string): string | undefined {
  if (!value.startsWith('"')) return value
  const match = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(value)
  return match === null ? undefined : (match[1] as string).replaceAll(/\\(.)/g, '$1')
}

function isBetween(value: string, max: number): boolean {
  return value.length >= 1 && value.length <= max
}

function badHeader(name: string, rule: string): Failure {
  return failure('bad_header', `${name} ${rule}.`)
}

/** Whether the server can tell a repeat by itself: any key will do, also one that the route leaves to the server. */
export function hasIdempotencyKey(head: Head): boolean {
  return headerValue(head.headers, 'idempotency-key') !== undefined
}

/** What a client calls the order that its request belongs to, where the route lets it. */
export function clientKeyOf(head: Head, route: RouteConfig): string | undefined {
  return route.allow.includes('key') ? headerValue(head.headers, 'spillway-key') : undefined
}

/** Of a request that is served at once: what the client says, where the route lets it, or what the route says. */
export function priorityOf(head: Head, route: Pick<RouteConfig, 'allow' | 'priority'>): number | Failure {
  const { priority = PRIORITY_DEFAULT } = route
  if (!route.allow.includes('priority')) return priority
  const given = headerValues(head.headers, 'spillway-priority')
  if (given.length === 0) return priority
  if (given.length > 1) return badHeader('Spillway-Priority', 'is given more than once')
  return checkValues({ priority: given[0] as string }, undefined) ?? Number(given[0])
}

export function mayBecomeJob({ head }: { readonly head: Pick<Call['head'], 'method' | 'upgrade'> }, route: RouteConfig): boolean {
  return route.mode !== 'direct' && head.upgrade === '' && !NEVER_JOBS.has(head.method) && route.methods.includes(head.method)
}

/**
 * On a spill route: what cannot be done by passing the request on (once only over all modes, later, a 202) goes through the store from the
 * start. So do headers that will be refused: they are refused there, whether or not a server is free.
 */
export function mustBecomeJob(call: Pick<Call, 'head'>, route: RouteConfig): boolean {
  if (!mayBecomeJob(call, route)) return false
  const policies = readPolicies(call.head, route)
  if (isFailure(policies)) return true
  const { respondAsync, events } = policies.preferences
  if (policies.callback !== undefined) return true
  return policies.idempotencyKey !== undefined || policies.delayMs !== undefined || respondAsync || events
}
