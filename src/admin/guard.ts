/**
 * Who may ask on the admin address. With a token: whoever sends it. Without one the address is loopback, and then the danger is a browser
 * on this machine that a foreign page sends here under the page's own name (DNS rebinding): so `Host` must be an address or `localhost`.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'

export type Verdict = 'pass' | 'no-token' | 'foreign-host'

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** `[::1]:9900`, `127.0.0.1:9900`, `localhost`: what a page of someone else's name can never have. */
function isLocalHost(host: string): boolean {
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : (host.split(':')[0] as string)
  return name.toLowerCase() === 'localhost' || isIP(name) !== 0
}

export function createGuard(token: string | undefined): (authorization: string | undefined, host: string | undefined) => Verdict {
  if (token === undefined) return (_, host) => (isLocalHost(host ?? '') ? 'pass' : 'foreign-host')
  return (authorization) => (isToken(bearerOf(authorization) ?? '', token) ? 'pass' : 'no-token')
}

/** The token that was sent. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^bearer +([^ ]+) *$/i.exec(authorization ?? '')?.[1]
}

/** Digests are of one length, so the comparison tells nothing about the token's. */
export function isToken(sent: string, token: string): boolean {
  return timingSafeEqual(digest(sent), digest(token))
}
