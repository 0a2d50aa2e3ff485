/**
 * Bytes of a request head -> RequestHead, or the reason why not (RFC 9112). Strict where leniency lets two parsers disagree:
 * what is ambiguous is refused, never repaired.
 */
import type { ErrorCode } from '../core/errors.ts'
import { SP, TARGET, TOKEN } from './chars.ts'
import { type Fields, type FieldRules, type FieldsError, listHas, parseContentLength, parseFields } from './fields.ts'
import type { RequestHead } from './message.ts'

export interface HeadLimits {
  readonly headersMax: number
  readonly targetBytesMax: number
}

export interface HeadError {
  readonly code: ErrorCode
  readonly detail: string
}

const METHOD_LENGTH_MAX = 32

const FIELD_ERRORS: Readonly<Record<FieldsError, string>> = {
  name: 'a header line has no valid name',
  fold: 'a header line begins with a blank (obsolete line folding)',
  'space-before-colon': 'there is a blank between a header name and its colon',
  colon: 'a header line has no colon',
  value: 'a header value has a control character',
  'line-end': 'a line ends in a bare LF instead of CRLF',
  count: 'there are more header fields than allowed',
}

function refuse(code: ErrorCode, detail: string): HeadError {
  return { code, detail }
}

export function isHeadError(head: RequestHead | HeadError): head is HeadError {
  return 'code' in head
}

/** `text`: the head in latin1, from the request line to the empty line, both CRLFs of the end included. */
export function parseRequestHead(text: string, limits: HeadLimits): RequestHead | HeadError {
  let pos = 0
  while (TOKEN[text.charCodeAt(pos)] === 1) pos++
  if (pos === 0 || text.charCodeAt(pos) !== SP) return refuse('bad_request', 'the request line does not begin with a method and one blank')
  if (pos > METHOD_LENGTH_MAX) return refuse('not_implemented', 'the method is longer than any known one')
  const method = text.slice(0, pos)
  const targetStart = ++pos
  while (TARGET[text.charCodeAt(pos)] === 1) pos++
  if (pos === targetStart || text.charCodeAt(pos) !== SP)
    return refuse('bad_request', 'the request target is empty or has a character that is not allowed')
  if (pos - targetStart > limits.targetBytesMax)
    return refuse('target_too_long', `the request target is longer than ${limits.targetBytesMax} bytes`)
  const target = text.slice(targetStart, pos)
  const minor = parseVersion(text, pos + 1)
  if (typeof minor !== 'number') return minor
  const rules: FieldRules = { headersMax: limits.headersMax, allowSpaceBeforeColon: false }
  const facts = parseFields(text, pos + 11, rules)
  if (typeof facts === 'string') {
    if (facts === 'count') return refuse('head_too_large', `there are more than ${limits.headersMax} header fields`)
    return refuse('bad_request', FIELD_ERRORS[facts])
  }
  return assemble(method, target, minor, facts)
}

/** `HTTP/1.1` and the CRLF, exactly. */
function parseVersion(text: string, at: number): 0 | 1 | HeadError {
  if (text.startsWith('HTTP/1.1\r\n', at)) return 1
  if (text.startsWith('HTTP/1.0\r\n', at)) return 0
  if (/^HTTP\/\d\.\d\r\n/.test(text.slice(at, at + 10)))
    return refuse('version_not_supported', 'the protocol version is neither HTTP/1.1 nor HTTP/1.0')
  return refuse('bad_request', 'the request line does not end in one blank, HTTP/1.x and CRLF')
}

function assemble(method: string, rawTarget: string, minor: 0 | 1, facts: Fields): RequestHead | HeadError {
  if (facts.hosts > 1) return refuse('bad_request', 'there is more than one Host')
  if (facts.hosts === 0 && minor === 1) return refuse('bad_request', 'there is no Host')
  if (facts.hosts === 1 && !isAuthority(facts.host)) return refuse('bad_request', 'the Host is not valid')
  const place = splitTarget(method, rawTarget)
  if ('code' in place) return place
  const bodyLength = requestBodyLength(minor, facts)
  if (typeof bodyLength !== 'number') return bodyLength
  if (facts.expect !== '' && facts.expect.toLowerCase() !== '100-continue') {
    return refuse('expectation_failed', 'the only expectation understood is 100-continue')
  }
  return new ParsedRequest(method, minor, facts, { ...place, bodyLength })
}

interface Place {
  readonly target: string
  /** Of an absolute-form target; else ''. */
  readonly authority: string
  readonly https: boolean
}

/** A class for its one lazy field: most requests go on without anyone reading their headers. */
class ParsedRequest implements RequestHead {
  readonly method: string
  readonly target: string
  readonly path: string
  readonly query: string
  readonly minor: 0 | 1
  readonly host: string
  readonly https: boolean
  readonly bodyLength: number
  readonly keepAlive: boolean
  readonly connection: string
  readonly hasVia: boolean
  readonly traceparent: string
  readonly expectContinue: boolean
  readonly upgrade: string
  readonly verbatim: string | undefined
  readonly #fields: Fields

  constructor(method: string, minor: 0 | 1, fields: Fields, place: Place & { readonly bodyLength: number }) {
    const { target, authority } = place
    const { connection } = fields
    const question = target.indexOf('?')
    this.method = method
    this.target = target
    this.path = question < 0 ? target : target.slice(0, question)
    this.query = question < 0 ? '' : target.slice(question + 1)
    this.minor = minor
    this.host = (authority === '' ? fields.host : authority).toLowerCase()
    this.https = place.https
    this.bodyLength = place.bodyLength
    this.keepAlive = staysOpen(minor, connection)
    this.connection = connection
    this.hasVia = fields.hasVia
    this.traceparent = fields.traceparent
    this.expectContinue = fields.expect !== '' && minor === 1
    this.upgrade = minor === 1 && isTunnelUpgrade(fields) ? fields.upgrade : ''
    this.verbatim = authority === '' ? fields.verbatim : undefined
    this.#fields = fields
    if (authority !== '') replaceHost(fields.headers, authority)
  }

  get headers(): readonly string[] {
    return this.#fields.headers
  }
}

/** RFC 9112, section 9.3: `close` outranks `keep-alive`. */
function staysOpen(minor: 0 | 1, connection: string): boolean {
  if (connection === '') return minor === 1
  return !listHas(connection, 'close') && (minor === 1 || listHas(connection, 'keep-alive'))
}

/** Not to HTTP/2 in cleartext: through such a tunnel a client could ask the server anything, past every rule of ours. */
function isTunnelUpgrade(facts: Fields): boolean {
  return facts.upgrade !== '' && listHas(facts.connection, 'upgrade') && !/\bh2c\b/i.test(facts.upgrade)
}

/** RFC 9112, section 3.2: origin-form, absolute-form (its authority outranks Host), asterisk-form. */
function splitTarget(method: string, target: string): Place | HeadError {
  if (target.charCodeAt(0) === 47) return { target, authority: '', https: false }
  if (target === '*') {
    return method === 'OPTIONS' ? { target, authority: '', https: false } : refuse('bad_request', 'the target * is for OPTIONS only')
  }
  if (method === 'CONNECT') return refuse('not_implemented', 'CONNECT is not served here')
  const absolute = /^http(s?):\/\/([^/?#]+)(.*)$/i.exec(target)
  if (absolute === null || !isAuthority(absolute[2] as string))
    return refuse('bad_request', 'the request target is neither a path nor an http URL')
  const [, secure = '', authority = '', rest = ''] = absolute
  const https = secure !== ''
  // RFC 9112, section 3.2.4: this is how a client asks about the server as a whole through a proxy.
  if (rest === '' && method === 'OPTIONS') return { target: '*', authority, https }
  return { target: rest.startsWith('/') ? rest : `/${rest}`, authority, https }
}

function replaceHost(headers: string[], authority: string): void {
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === 'host') {
      headers[i + 1] = authority
      return
    }
  }
  headers.push('Host', authority)
}

/** host [":" port] (RFC 3986, section 3.2.2) without userinfo and without sub-delims, which no real host name has. */
export function isAuthority(text: string): boolean {
  return /^(?:\[[0-9a-f:.]+\]|[a-z0-9\-._~%]+)(?::\d{0,5})?$/i.test(text)
}

/** RFC 9112, section 6.3. -1: chunked. Everything ambiguous is refused. */
function requestBodyLength(minor: 0 | 1, facts: Fields): number | HeadError {
  if (facts.transferEncodings > 0) {
    if (minor === 0) return refuse('bad_request', 'Transfer-Encoding in an HTTP/1.0 request')
    if (facts.contentLengths > 0) return refuse('bad_request', 'both Transfer-Encoding and Content-Length')
    if (facts.transferEncodings > 1) return refuse('bad_request', 'there is more than one Transfer-Encoding')
    const coding = facts.transferEncoding.toLowerCase()
    if (coding === 'chunked') return -1
    if (/^[a-z, ]+,\s*chunked$/.test(coding) && coding.indexOf('chunked') === coding.length - 7) {
      return refuse('not_implemented', 'the only transfer coding understood is chunked')
    }
    return refuse('bad_request', 'Transfer-Encoding is not exactly chunked')
  }
  if (facts.contentLengths === 0) return 0
  if (facts.contentLengths > 1) return refuse('bad_request', 'there is more than one Content-Length')
  const length = parseContentLength(facts.contentLength)
  return length < 0 ? refuse('bad_request', 'Content-Length is not a plain number') : length
}
