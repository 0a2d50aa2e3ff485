/**
 * Who was on which server. By a cookie of ours: its value is a MAC over the names of pool and server, so nobody can make one, none says where a
 * server is, all gateways with the same key understand it, and nothing has to be remembered. By a cookie of the application: what its answers
 * set is learnt, in the memory of this gateway. Neither ever decides that a server may be used: that the pools do.
 */
import { createHash, createHmac } from 'node:crypto'
import type { AppCookie, OwnCookie, SigningKey, StickyConfig } from '../config/config.ts'
import { cookieAttributes, cookieValue, setCookieValue, withoutCookie } from '../core/headers/cookie.ts'
import { headerValues, type RequestHead, type ResponseHead } from '../http1/message.ts'
import { Recent } from '../lib/recent.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Server } from '../pools/server.ts'
import type { Clock } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'

/** 128 bits, as text. */
const TOKEN_LENGTH = 22
/** Longer ones are remembered by their hash. */
const SESSION_LENGTH_MAX = 128

type Named = Pick<Server, 'pool' | 'name'>

/** How a request came to its server: `new`, nothing was known; `kept`, it was there before; `moved`, it was on another one, which cannot be used. */
type Outcome = 'new' | 'kept' | 'moved'

/** What cookies of ours hold for a server, by each key. */
export function tokensOf({ pool, name }: Named, keys: readonly SigningKey[]): readonly string[] {
  return keys.map(({ secret }) =>
    createHmac('sha256', secret).update(`spillway-sticky-1\n${pool}\n${name}`).digest('base64url').slice(0, TOKEN_LENGTH),
  )
}

interface Place extends Named {
  readonly usedAt: MonotonicMillis
}

/** Of what clients only show: nobody shall be able to push out real sessions by making up others. */
const SHOWN_SHARE = 0.1

/** Sessions of applications, and where they are: those that answers have made, and apart from them those that clients show and no answer has made. */
export class LearntSessions {
  readonly #clock: Clock
  readonly #made: Recent<Place, string>
  readonly #shown: Recent<Place, string>

  constructor(max: number, clock: Clock) {
    this.#clock = clock
    this.#made = new Recent(max)
    this.#shown = new Recent(Math.ceil(max * SHOWN_SHARE))
  }

  /** An answer of this server has made it. */
  made(cookie: string, session: string, server: Named): void {
    this.#made.set(keyOf(cookie, session), this.#placeOf(server))
  }

  /** A client has shown it, and this server answers. */
  shown(cookie: string, session: string, server: Named): void {
    const key = keyOf(cookie, session)
    const among = this.#made.get(key) === undefined ? this.#shown : this.#made
    among.set(key, this.#placeOf(server))
  }

  forget(cookie: string, session: string): void {
    for (const among of [this.#made, this.#shown]) among.delete(keyOf(cookie, session))
  }

  find(cookie: string, session: string, ttlMs: Millis): Named | undefined {
    const key = keyOf(cookie, session)
    const place = this.#made.get(key) ?? this.#shown.get(key)
    return place === undefined || this.#clock.monotonic() - place.usedAt > ttlMs ? undefined : place
  }

  #placeOf({ pool, name }: Named): Place {
    return { pool, name, usedAt: this.#clock.monotonic() }
  }
}

function keyOf(cookie: string, session: string): string {
  return `${cookie}=${session.length <= SESSION_LENGTH_MAX ? session : createHash('sha256').update(session).digest('base64url')}`
}

export interface StickyParts {
  readonly keys: readonly SigningKey[]
  readonly learnt: LearntSessions
  readonly telemetry: Telemetry
}

/** All of a gateway, by the configuration of now. */
export class Sticky {
  readonly #parts: StickyParts
  readonly #tokens = new WeakMap<Server, readonly string[]>()
  readonly #counters = new Map<string, Counter>()

  constructor(parts: StickyParts) {
    this.#parts = parts
  }

  sessionOf(head: RequestHead, config: StickyConfig): Session {
    const value = cookieValue(headerValues(head.headers, 'cookie'), config.cookie.name)
    const { waitMs, cookie } = config
    return cookie.by === 'gateway' ? new OwnSession(this, { cookie, waitMs, value }) : new AppSession(this, { cookie, waitMs, value })
  }

  get learnt(): LearntSessions {
    return this.#parts.learnt
  }

  /** Never empty: without a key no route is sticky by a cookie of ours. */
  tokens(server: Server): readonly string[] {
    let tokens = this.#tokens.get(server)
    if (tokens === undefined) this.#tokens.set(server, (tokens = tokensOf(server, this.#parts.keys)))
    return tokens
  }

  count(pool: string, outcome: Outcome): void {
    const key = `${pool}\n${outcome}`
    let counter = this.#counters.get(key)
    if (counter === undefined) {
      const { help } = METRICS.spillway_sticky_total
      this.#counters.set(key, (counter = this.#parts.telemetry.metrics.counter('spillway_sticky_total', help, { pool, outcome })))
    }
    counter.inc()
  }
}

/** Of one call. */
export interface Session {
  /** For its own server, when that is full. */
  readonly waitMs: Millis
  /** Where it was, if that is one of these. */
  find(servers: readonly Server[]): Server | undefined
  /** This server answers. */
  answered(server: Server, head: ResponseHead): void
  /** A field line for the client, or nothing. */
  readonly line: string
}

interface SessionParts<T> {
  readonly cookie: T
  readonly waitMs: Millis
  readonly value: string | undefined
}

class OwnSession implements Session {
  readonly waitMs: Millis
  readonly #sticky: Sticky
  readonly #cookie: OwnCookie
  readonly #value: string | undefined
  #found: Server | undefined
  line = ''

  constructor(sticky: Sticky, { cookie, waitMs, value }: SessionParts<OwnCookie>) {
    this.#sticky = sticky
    this.#cookie = cookie
    this.waitMs = waitMs
    this.#value = value
  }

  find(servers: readonly Server[]): Server | undefined {
    const value = this.#value
    if (value?.length !== TOKEN_LENGTH) return undefined
    this.#found = servers.find((server) => this.#sticky.tokens(server).includes(value))
    return this.#found
  }

  answered(server: Server): void {
    this.#sticky.count(server.pool, outcomeOf(this.#found, server))
    const [token = ''] = this.#sticky.tokens(server)
    if (token === this.#value) return
    this.line = `Set-Cookie: ${this.#cookie.name}=${token}${cookieAttributes(this.#cookie)}\r\n`
  }
}

class AppSession implements Session {
  readonly waitMs: Millis
  readonly line = ''
  readonly #sticky: Sticky
  readonly #cookie: AppCookie
  readonly #value: string | undefined
  #found: Server | undefined

  constructor(sticky: Sticky, { cookie, waitMs, value }: SessionParts<AppCookie>) {
    this.#sticky = sticky
    this.#cookie = cookie
    this.waitMs = waitMs
    this.#value = value === '' ? undefined : value
  }

  find(servers: readonly Server[]): Server | undefined {
    const { name, ttlMs } = this.#cookie
    const place = this.#value === undefined ? undefined : this.#sticky.learnt.find(name, this.#value, ttlMs)
    if (place !== undefined) this.#found = servers.find((server) => server.pool === place.pool && server.name === place.name)
    return this.#found
  }

  /** A session that was not known is at home where it is served first. */
  answered(server: Server, head: ResponseHead): void {
    this.#sticky.count(server.pool, outcomeOf(this.#found, server))
    const { name } = this.#cookie
    const { learnt } = this.#sticky
    if (this.#value !== undefined) learnt.shown(name, this.#value, server)
    const made = setCookieValue(headerValues(head.headers, 'set-cookie'), name)
    if (made === undefined) return
    if (!made.gone) learnt.made(name, made.value, server)
    else if (this.#value !== undefined) learnt.forget(name, this.#value)
  }
}

function outcomeOf(before: Server | undefined, now: Server): Outcome {
  if (before === undefined) return 'new'
  return before === now ? 'kept' : 'moved'
}

/** What servers get instead of the fields that came: without our cookie. Undefined: it is not there. */
export function cookieForServers(head: RequestHead, { cookie }: StickyConfig): readonly string[] | undefined {
  if (cookie.by === 'application') return undefined
  const fields = headerValues(head.headers, 'cookie')
  if (cookieValue(fields, cookie.name) === undefined) return undefined
  const left = withoutCookie(fields, cookie.name)
  return left === undefined ? [] : ['Cookie', left]
}
