/** Bytes of a response head -> ResponseHead, or the reason why not (RFC 9112). */
import { FIELD_VALUE } from './chars.ts'
import { type Fields, listHas, parseContentLength, parseFields } from './fields.ts'
import type { ResponseHead } from './message.ts'

export const UNTIL_CLOSE = -2
export const CHUNKED = -1

/** `text`: the head in latin1 up to and with the empty line. A string result says what is wrong. */
export function parseResponseHead(text: string, requestMethod: string, headersMax: number): ResponseHead | string {
  const isOne = text.startsWith('HTTP/1.1 ')
  if (!isOne && !text.startsWith('HTTP/1.0 ')) return 'the status line does not begin with HTTP/1.x'
  const status = threeDigits(text, 9)
  if (status < 100) return 'the status code is not three digits from 100 up'
  let pos = 12
  if (text.charCodeAt(pos) === 32) pos++
  const reasonStart = pos
  while (FIELD_VALUE[text.charCodeAt(pos)] === 1) pos++
  if (!text.startsWith('\r\n', pos) || (reasonStart === 12 && pos > 12)) return 'the status line is not valid'
  const facts = parseFields(text, pos + 2, { headersMax, allowSpaceBeforeColon: true })
  if (typeof facts === 'string') return `a header line is not valid (${facts})`
  const bodyLength = responseBodyLength(status, requestMethod, facts)
  if (typeof bodyLength === 'string') return bodyLength
  return new ParsedResponse(status, text.slice(reasonStart, pos), isOne, { fields: facts, bodyLength })
}

class ParsedResponse implements ResponseHead {
  readonly status: number
  readonly reason: string
  readonly minor: 0 | 1
  readonly bodyLength: number
  readonly keepAlive: boolean
  readonly connection: string
  readonly keepAliveTimeout: number
  readonly hasDate: boolean
  readonly hasControls: boolean
  readonly verbatim: string | undefined
  readonly #fields: Fields

  constructor(status: number, reason: string, isOne: boolean, rest: { readonly fields: Fields; readonly bodyLength: number }) {
    const { fields, bodyLength } = rest
    this.status = status
    this.reason = reason
    this.minor = isOne ? 1 : 0
    this.bodyLength = bodyLength
    this.keepAlive = bodyLength !== UNTIL_CLOSE && staysOpen(isOne, fields)
    this.connection = fields.connection
    this.keepAliveTimeout = keepAliveSeconds(fields.keepAlive)
    this.hasDate = fields.hasDate
    this.hasControls = fields.hasControls
    this.verbatim = fields.verbatim
    this.#fields = fields
  }

  get headers(): readonly string[] {
    return this.#fields.headers
  }
}

function threeDigits(text: string, at: number): number {
  let value = 0
  for (let i = at; i < at + 3; i++) {
    const digit = text.charCodeAt(i) - 48
    if (!(digit >= 0 && digit <= 9)) return -1
    value = value * 10 + digit
  }
  return value
}

/** After a message with both framings, or with one that its version does not know, the connection is not trusted any more (RFC 9112, section 6). */
function staysOpen(isOne: boolean, facts: Fields): boolean {
  if (facts.transferEncodings > 0 && (facts.contentLengths > 0 || !isOne)) return false
  if (facts.connection === '') return isOne
  return !listHas(facts.connection, 'close') && (isOne || listHas(facts.connection, 'keep-alive'))
}

function responseBodyLength(status: number, requestMethod: string, facts: Fields): number | string {
  // Also where there is no body: what an answer to HEAD says about its length is passed on, and believed.
  if (facts.contentLengths > 1 && !sameLengths(facts)) return 'there are contradicting Content-Lengths'
  const length = facts.contentLengths === 0 ? UNTIL_CLOSE : parseContentLength(facts.contentLength)
  if (length === -1 && facts.transferEncodings === 0) return 'Content-Length is not a plain number'
  if (requestMethod === 'HEAD' || status < 200 || status === 204 || status === 304) return 0
  if (facts.transferEncodings === 0) return length
  return facts.transferEncoding.toLowerCase() === 'chunked' ? CHUNKED : 'the transfer coding is not chunked'
}

/** Equal repeated lengths may be taken for one (RFC 9112, section 6.3). */
function sameLengths(facts: Fields): boolean {
  for (let i = 0; i < facts.headers.length; i += 2) {
    if ((facts.headers[i] as string).toLowerCase() === 'content-length' && facts.headers[i + 1] !== facts.contentLength) return false
  }
  return true
}

function keepAliveSeconds(value: string): number {
  if (value === '') return -1
  const found = /(?:^|[,\s])timeout=(\d{1,6})/i.exec(value)
  return found === null ? -1 : Number(found[1])
}
