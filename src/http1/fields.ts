/**
 * The field section of a head (RFC 9112, section 5), the same for requests and responses: strict, with the few fields
 * that decide framing and connection handling read on the way, so that nobody has to search for them again.
 * Most heads pass through unread otherwise: their lines stay text, and names and values are cut out only when someone asks.
 */
import { parseTraceparent } from '../core/headers/trace-context.ts'
import { COLON, CR, FIELD_VALUE, HTAB, LF, SP, TOKEN } from './chars.ts'

/** What the framing and connection fields of a head said. One per head; filled by `parseFields`. */
export class Fields {
  hosts = 0
  host = ''
  /** As text, validated by the caller; a second one raises `contentLengths`, one that differs twice. */
  contentLength = ''
  contentLengths = 0
  transferEncoding = ''
  transferEncodings = 0
  connection = ''
  expect = ''
  upgrade = ''
  keepAlive = ''
  hasVia = false
  /** As it came; a second one, or one without the other, is wrong. */
  traceparent = ''
  traceparents = 0
  hasTracestate = false
  hasDate = false
  /** A field of ours is there: what steers the gateway. */
  hasControls = false
  /**
   * The lines that go on to the next hop, as they came: without those that end here (RFC 9110, section 7.6.1). Undefined when one of
   * them needs a decision (it names a former hop, is one of ours, or Connection names others), or has other white space around its
   * value than the one blank that everyone sends.
   */
  verbatim: string | undefined = ''
  readonly #text: string
  readonly #at: number
  #headers: string[] | undefined

  constructor(text: string, at: number) {
    this.#text = text
    this.#at = at
  }

  /** Name, value, name, value …: spelling and order as they came. */
  get headers(): string[] {
    this.#headers ??= cutOut(this.#text, this.#at)
    return this.#headers
  }
}

export type FieldsError = 'name' | 'fold' | 'space-before-colon' | 'colon' | 'value' | 'line-end' | 'count'

export interface FieldRules {
  readonly headersMax: number
  /** Responses: RFC 9112, section 5.1 has a proxy remove the space; in a request it is an attack. */
  readonly allowSpaceBeforeColon: boolean
}

/** `text` is the whole head, ending in an empty line; `at` stands behind the start line. */
export function parseFields(text: string, at: number, rules: FieldRules): Fields | FieldsError {
  const fields = new Fields(text, at)
  const end = text.length - 2
  let pos = at
  let count = 0
  let verbatim = ''
  let keptFrom = at
  while (pos < end) {
    const nameStart = pos
    while (TOKEN[text.charCodeAt(pos)] === 1) pos++
    const nameEnd = pos
    if (nameEnd === nameStart) return text.charCodeAt(pos) === SP || text.charCodeAt(pos) === HTAB ? 'fold' : 'name'
    if (text.charCodeAt(pos) !== COLON) {
      pos = skipBlank(text, pos)
      if (text.charCodeAt(pos) !== COLON) return pos > nameEnd ? 'space-before-colon' : 'colon'
      if (!rules.allowSpaceBeforeColon) return 'space-before-colon'
    }
    const valueStart = skipBlank(text, pos + 1)
    pos = valueStart
    while (FIELD_VALUE[text.charCodeAt(pos)] === 1) pos++
    if (text.charCodeAt(pos) !== CR || text.charCodeAt(pos + 1) !== LF) return text.charCodeAt(pos) === LF ? 'line-end' : 'value'
    const valueEnd = trimEnd(text, valueStart, pos)
    if (valueEnd !== pos || valueStart - nameEnd !== 2 || text.charCodeAt(nameEnd + 1) !== SP) fields.verbatim = undefined
    pos += 2
    if (++count > rules.headersMax) return 'count'
    if (!isOfInterest(text.charCodeAt(nameStart) | 0x20, nameEnd - nameStart)) continue
    const fate = note(fields, text.slice(nameStart, nameEnd).toLowerCase(), text.slice(valueStart, valueEnd))
    if (fate === 'decide') fields.verbatim = undefined
    else if (fate === 'ends') {
      if (keptFrom < nameStart) verbatim += text.slice(keptFrom, nameStart)
      keptFrom = pos
    }
  }
  if ((fields.traceparents > 0 || fields.hasTracestate) && !isTraced(fields)) {
    fields.traceparent = ''
    fields.verbatim = undefined
  }
  if (fields.verbatim !== undefined) fields.verbatim = keptFrom < end ? verbatim + text.slice(keptFrom, end) : verbatim
  return fields
}

/** Otherwise what it says of its trace does not go on. */
function isTraced({ traceparent, traceparents }: Fields): boolean {
  return traceparents === 1 && parseTraceparent(traceparent) !== undefined
}

/** Names and values of lines that `parseFields` found to be valid. */
function cutOut(text: string, at: number): string[] {
  const headers: string[] = []
  const end = text.length - 2
  for (let pos = at; pos < end; ) {
    const colon = text.indexOf(':', pos)
    const lineEnd = text.indexOf('\r', colon)
    const valueStart = skipBlank(text, colon + 1)
    headers.push(text.slice(pos, trimEnd(text, pos, colon)), text.slice(valueStart, trimEnd(text, valueStart, lineEnd)))
    pos = lineEnd + 2
  }
  return headers
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB
}

function skipBlank(text: string, at: number): number {
  let pos = at
  while (isBlank(text.charCodeAt(pos))) pos++
  return pos
}

function trimEnd(text: string, start: number, end: number): number {
  let pos = end
  while (pos > start && isBlank(text.charCodeAt(pos - 1))) pos--
  return pos
}

/** A cheap no for most fields: by its first letter (lower case) and length, could this be any of those that `note` knows? */
function isOfInterest(first: number, length: number): boolean {
  switch (first) {
    case 0x63: // connection, client-cert, content-length, client-cert-chain
      return length === 10 || length === 11 || length === 14 || length === 17
    case 0x64: // date
    case 0x68: // host
      return length === 4
    case 0x65: // expect
      return length === 6
    case 0x66: // forwarded
      return length === 9
    case 0x6b: // keep-alive
      return length === 10
    case 0x6d: // max-forwards
      return length === 12
    case 0x70: // proxy-connection
      return length === 16
    case 0x73: // spillway-…
      return length >= 9
    case 0x74: // te, transfer-encoding, tracestate, traceparent
      return length === 2 || length === 17 || length === 10 || length === 11
    case 0x75: // upgrade
      return length === 7
    case 0x76: // via
      return length === 3
    case 0x78: // x-forwarded-…, x-real-ip
      return true
    default:
      return false
  }
}

type Fate = 'passes' | 'ends' | 'decide'

function note(fields: Fields, lower: string, value: string): Fate {
  switch (lower) {
    case 'host':
      fields.hosts++
      fields.host = value
      return 'passes'
    case 'date':
      fields.hasDate = true
      return 'passes'
    case 'connection':
      fields.connection = join(fields.connection, value)
      return /^(?:close|keep-alive)?$/i.test(value) ? 'ends' : 'decide'
    case 'content-length':
      if (fields.contentLengths > 0 && fields.contentLength !== value) fields.contentLengths++
      fields.contentLengths++
      fields.contentLength = value
      return 'ends'
    case 'transfer-encoding':
      fields.transferEncodings++
      fields.transferEncoding = join(fields.transferEncoding, value)
      return 'ends'
    case 'keep-alive':
      fields.keepAlive = value
      return 'ends'
    case 'expect':
      fields.expect = join(fields.expect, value)
      return 'ends'
    case 'upgrade':
      fields.upgrade = join(fields.upgrade, value)
      return 'ends'
    case 'traceparent':
      fields.traceparent = value
      fields.traceparents++
      return 'passes'
    case 'tracestate':
      fields.hasTracestate = true
      return 'passes'
    case 'te':
    case 'proxy-connection':
    // None of these frames anything, but a server that reads `_` as `-` would take it for what does.
    case 'content_length':
    case 'transfer_encoding':
    case 'keep_alive':
    case 'proxy_connection':
      return 'ends'
    case 'via':
      fields.hasVia = true
      return 'decide'
    case 'max-forwards':
      return 'decide'
    default:
      if (lower.startsWith('spillway-')) fields.hasControls = true
      return namesHopOrUs(lower) ? 'decide' : 'passes'
  }
}

/** Also in the spelling with `_`, which many servers read as `-`. */
function namesHopOrUs(lower: string): boolean {
  return lower === 'forwarded' || /^(?:x[-_](?:forwarded|real)[-_]|spillway[-_]|client[-_]cert(?:[-_]chain)?$)/.test(lower)
}

function join(before: string, value: string): string {
  return before === '' ? value : `${before}, ${value}`
}

/** Is `token` (lower case) a member of a comma-separated list? */
export function listHas(list: string, token: string): boolean {
  if (list.length < token.length) return false
  const lower = list.toLowerCase()
  if (lower === token) return true
  return lower.includes(',') && lower.split(',').some((member) => member.trim() === token)
}

/** 1*DIGIT that is a safe integer, or -1. No sign, no blank, no `0x`, no list. */
export function parseContentLength(text: string): number {
  if (text.length === 0 || text.length > 15) return -1
  let value = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}
