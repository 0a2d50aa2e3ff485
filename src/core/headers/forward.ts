/**
 * Which header fields go on, in both directions (RFC 9110, section 7.6): hop-by-hop fields end here, `Spillway-*` and what tells
 * the client's address cannot be forged, everything else passes as it came, in its order.
 */
import type { FlatHeaders } from '../../http1/message.ts'
import { parseTraceparent } from './trace-context.ts'
import { oneForwardLess } from './max-forwards.ts'

/** Hop-by-hop, or written anew by us (Content-Length with the framing, Expect answered here). */
const ENDS_HERE = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade', 'content-length', 'expect'],
])
/** Who the client is: only we say it, and whom we trust. */
const CLIENT_ADDRESS = new Set([
  'client-cert',
  'client-cert-chain',
  ...['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'x-real-ip'],
])
/** A Connection header may not take these away: they are ours to decide. */
const NOT_BY_CONNECTION = new Set(['host', 'content-type', 'cookie', 'authorization', 'via', 'idempotency-key', ...CLIENT_ADDRESS])

export interface ForwardingPeer {
  readonly address: string
  readonly trusted: boolean
  /** The certificate that it showed us, as RFC 9440 writes it. */
  readonly clientCert?: string | undefined
}

export interface ForwardOptions {
  /** Pseudonym in Via. */
  readonly name: string
  readonly proto: 'http' | 'https'
}

interface RequestFacts {
  /** Only OPTIONS counts its hops. */
  readonly method: string
  readonly headers: FlatHeaders
  readonly host: string
  readonly connection: string
  readonly minor: 0 | 1
}

/** Headers for the server, without framing and Connection. */
export function forwardRequestHeaders(head: RequestFacts, peer: ForwardingPeer, options: ForwardOptions): string[] {
  const { headers } = head
  const named = connectionNames(head.connection)
  const out: string[] = []
  const came: CameWith = { via: '', forwarded: '', xFor: '', xProto: '', xHost: '' }
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    if (named === undefined && !mayMatter(name)) {
      out.push(name, value)
      continue
    }
    const lower = canonical(name)
    if (ENDS_HERE.has(lower) || lower.startsWith('spillway-')) continue
    if ((lower === 'traceparent' || lower === 'tracestate') && !isTraced(headers)) continue
    if (named?.has(lower) === true && !NOT_BY_CONNECTION.has(lower)) continue
    if (lower === 'via') came.via += member(value)
    else if (lower === 'max-forwards' && head.method === 'OPTIONS') out.push(name, oneForwardLess(value))
    // `X_Forwarded_For` is not `X-Forwarded-For`, but many servers read it so: it goes in any case.
    else if (!CLIENT_ADDRESS.has(lower)) out.push(name, value)
    else if (!mayTell(peer, lower) || name.includes('_')) continue
    else if (!keepForwarded(came, lower, value)) out.push(name, value)
  }
  const hop = head.minor === 1 ? `1.1 ${options.name}` : `1.0 ${options.name}`
  out.push('Via', came.via + hop)
  out.push('X-Forwarded-For', came.xFor + peer.address, 'X-Forwarded-Proto', came.xProto === '' ? options.proto : came.xProto)
  const host = came.xHost === '' ? head.host : came.xHost
  if (host !== '') out.push('X-Forwarded-Host', host)
  // HTTP/1.0 need not name one, but we speak HTTP/1.1 to servers, and there nothing goes without it.
  if (head.host === '') out.push('Host', options.name)
  out.push('Forwarded', came.forwarded + forwardedElement(peer.address, head.host, options.proto))
  if (peer.clientCert !== undefined) out.push('Client-Cert', peer.clientCert)
  return out
}

/** One that showed us a certificate of its own cannot show another one's (RFC 9440, section 2.4). */
function mayTell(peer: ForwardingPeer, lower: string): boolean {
  return peer.trusted && (peer.clientCert === undefined || !lower.startsWith('client-cert'))
}

/** One `traceparent`, and a valid one: otherwise neither it nor its `tracestate` goes on (W3C Trace Context, section 3.2). */
function isTraced(headers: FlatHeaders): boolean {
  const parents = headers.filter((_, i) => i % 2 === 1 && (headers[i - 1] as string).toLowerCase() === 'traceparent')
  return parents.length === 1 && parseTraceparent(parents[0] as string) !== undefined
}

/** What the fields that tell of former hops said, as far as they are believed. */
interface CameWith {
  via: string
  forwarded: string
  xFor: string
  xProto: string
  xHost: string
}

/** False: none of those that we go on writing. */
function keepForwarded(came: CameWith, lower: string, value: string): boolean {
  if (lower === 'forwarded') came.forwarded += member(value)
  else if (lower === 'x-forwarded-for') came.xFor += member(value)
  else if (lower === 'x-forwarded-proto') came.xProto = value
  else if (lower === 'x-forwarded-host') came.xHost = value
  else return false
  return true
}

/** With a comma for what follows. An empty one would be a hop that nobody knows (RFC 9110, section 5.6.1.1). */
function member(value: string): string {
  return value === '' ? '' : `${value}, `
}

/** A cheap no for most fields: could this one, by its first letter and length, be any of those this file decides about? */
function mayMatter(name: string): boolean {
  switch (name.charCodeAt(0) | 0x20) {
    case 0x63: // connection, client-cert, content-length, client-cert-chain
      return name.length === 10 || name.length === 11 || name.length === 14 || name.length === 17
    case 0x65: // expect
      return name.length === 6
    case 0x66: // forwarded
      return name.length === 9
    case 0x6b: // keep-alive
      return name.length === 10
    case 0x6d: // max-forwards
      return name.length === 12
    case 0x70: // proxy-connection
      return name.length === 16
    case 0x73: // spillway-…
      return name.length >= 9
    case 0x74: // te, transfer-encoding, tracestate, traceparent
      return name.length === 2 || name.length === 17 || name.length === 10 || name.length === 11
    case 0x75: // upgrade
      return name.length === 7
    case 0x76: // via
      return name.length === 3
    case 0x78: // x-…
      return true
    default:
      return false
  }
}

let lastElement = { address: '', host: '', proto: '', text: '' }

/** Clients come back with the same host: the last element is kept. */
function forwardedElement(address: string, host: string, proto: string): string {
  const last = lastElement
  if (last.address === address && last.host === host && last.proto === proto) return last.text
  lastElement = { address, host, proto, text: makeForwardedElement(address, host, proto) }
  return lastElement.text
}

/** RFC 7239, section 4: an IPv6 address in quotes and brackets; a host with a colon in quotes. */
function makeForwardedElement(address: string, host: string, proto: string): string {
  const node = address.includes(':') ? `"[${address}]"` : address
  const place = host === '' ? '' : `;host=${/^[\w.-]+$/.test(host) ? host : `"${host}"`}`
  return `for=${node}${place};proto=${proto}`
}

/** Lower case, and `_` for `-` where that would spell a field we protect. */
function canonical(name: string): string {
  const lower = name.toLowerCase()
  if (!lower.includes('_')) return lower
  const dashed = lower.replaceAll('_', '-')
  return CLIENT_ADDRESS.has(dashed) || ENDS_HERE.has(dashed) || dashed.startsWith('spillway-') ? dashed : lower
}

/** Fields that a Connection header (all of them, joined) says end here; most say nothing of the kind. */
function connectionNames(connection: string): ReadonlySet<string> | undefined {
  if (connection === '' || connection === 'close' || connection === 'keep-alive') return undefined
  let names: Set<string> | undefined
  for (const member of connection.toLowerCase().split(',')) {
    const token = member.trim()
    if (token !== '' && token !== 'close' && token !== 'keep-alive') (names ??= new Set()).add(token)
  }
  return names
}

/** Headers for the client, without framing and Connection; `connection` is what the Connection fields said. What steers the gateway (`Spillway-*`) was for the gateway. */
export function forwardResponseHeaders(headers: FlatHeaders, connection = ''): string[] {
  return endToEnd(headers, connection, false)
}

/** The same with the fields that steer the gateway: for whoever obeys them, and then removes them. */
export function endToEndHeaders(headers: FlatHeaders, connection: string): string[] {
  return endToEnd(headers, connection, true)
}

function endToEnd(headers: FlatHeaders, connection: string, controls: boolean): string[] {
  const named = connectionNames(connection)
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (named === undefined && !mayMatter(name)) {
      out.push(name, headers[i + 1] as string)
      continue
    }
    const lower = canonical(name)
    if (ENDS_HERE.has(lower) || (!controls && lower.startsWith('spillway-'))) continue
    if (named?.has(lower) === true && !NOT_BY_CONNECTION.has(lower)) continue
    out.push(name, headers[i + 1] as string)
  }
  return out
}

/** Trailers may not carry what frames, routes or authenticates a message (RFC 9110, section 6.5.1). */
const NOT_IN_TRAILERS = new Set([
  ...['host', 'authorization', 'cookie', 'set-cookie', 'cache-control', 'content-type', 'content-encoding', 'content-range', 'trailer'],
])

/** `connection`: what the Connection fields of their message said; it names trailers as well (RFC 9110, section 7.6.1). */
export function forwardTrailers(trailers: FlatHeaders, connection: string): readonly string[] {
  if (trailers.length === 0) return trailers
  const named = connectionNames(connection)
  const out: string[] = []
  for (let i = 0; i < trailers.length; i += 2) {
    const lower = canonical(trailers[i] as string)
    if (ENDS_HERE.has(lower) || NOT_IN_TRAILERS.has(lower) || CLIENT_ADDRESS.has(lower) || lower.startsWith('spillway-')) continue
    if (named?.has(lower) === true) continue
    out.push(trailers[i] as string, trailers[i + 1] as string)
  }
  return out
}

const HOPS_OF_OURS_MAX = 8

/** The same pseudonym so many times is a loop, not a chain of gateways (RFC 9110, section 7.6.3). */
export function isLoop(headers: FlatHeaders, name: string): boolean {
  let hops = 0
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).length !== 3 || (headers[i] as string).toLowerCase() !== 'via') continue
    for (const hop of (headers[i + 1] as string).split(',')) if (hop.trim().split(/\s+/)[1] === name) hops++
  }
  return hops > HOPS_OF_OURS_MAX
}
