/**
 * The claim: the gateway is at least as strict as Node. Whatever it takes for a request, Node takes for the same request, with the same
 * body and the same end; and where the gateway read to the end, Node saw no request more. Refusing more is fine.
 * Exceptions stand in `KNOWN`, each with its reason. In all of them but Upgrade, where Node loses its way, Node refuses what the gateway
 * takes: no request has two meanings.
 */
import { METHODS } from 'node:http'
import type { Reading, SeenRequest } from './http1-readers.ts'

export interface Discrepancy {
  /** `refused`: by Node. `lost`: Node neither saw nor refused it. `differs`: both see it, not alike. `more`: Node saw more than we did. */
  readonly kind: 'refused' | 'lost' | 'differs' | 'more'
  /** As we saw it; missing for `more`. */
  readonly request: SeenRequest | undefined
  /** Those before it on the connection. */
  readonly earlier: readonly SeenRequest[]
  /** Node's error code, or what differs. */
  readonly what: string
}

export function compare(ours: Reading, node: Reading): Discrepancy | undefined {
  for (const [i, request] of ours.requests.entries()) {
    const earlier = ours.requests.slice(0, i)
    const other = node.requests[i]
    if (other === undefined) return { kind: node.refusal === '' ? 'lost' : 'refused', request, earlier, what: node.refusal }
    const what = difference(request, other)
    if (what !== '') return { kind: 'differs', request, earlier, what }
    if (request.complete && !other.complete) return { kind: 'refused', request, earlier, what: node.refusal }
  }
  if (!ours.open || node.requests.length === ours.requests.length) return undefined
  return { kind: 'more', request: undefined, earlier: ours.requests, what: `${node.requests.length} requests` }
}

/** '' for the same request, as far as both read it. */
function difference(ours: SeenRequest, node: SeenRequest): string {
  if (ours.method !== node.method) return 'method'
  if (ours.minor !== node.minor) return 'version'
  const { target, authority } = reduced(node)
  if (ours.target !== target) return 'target'
  if (fieldText(ours.headers) !== fieldText(withHost(node.headers, authority))) return 'headers'
  if (ours.complete && node.complete) {
    if (ours.body !== node.body) return 'body'
    return fieldText(ours.trailers) === fieldText(node.trailers) ? '' : 'trailers'
  }
  // Where one of them stopped reading, what it read is the beginning of what the other one read.
  if (ours.complete) return ours.body.startsWith(node.body) ? '' : 'body'
  if (node.complete) return node.body.startsWith(ours.body) ? '' : 'body'
  return ours.body.startsWith(node.body) || node.body.startsWith(ours.body) ? '' : 'body'
}

/** An http URL says what Host and path are (RFC 9112, section 3.2.2). Node leaves that to its user. */
function reduced({ method, target }: SeenRequest): { readonly target: string; readonly authority: string | undefined } {
  const found = /^https?:\/\/([^/?]+)(.*)$/i.exec(target)
  if (found === null) return { target, authority: undefined }
  const [, authority, rest = ''] = found
  if (rest === '' && method === 'OPTIONS') return { target: '*', authority }
  return { target: rest.startsWith('/') ? rest : `/${rest}`, authority }
}

function withHost(headers: readonly string[], authority: string | undefined): readonly string[] {
  if (authority === undefined) return headers
  let found = false
  const out = [...headers]
  for (let i = 0; i < out.length; i += 2) {
    if (out[i]?.toLowerCase() !== 'host') continue
    out[i + 1] = authority
    found = true
  }
  return found ? out : [...out, 'Host', authority]
}

function fieldText(headers: readonly string[]): string {
  return JSON.stringify(headers)
}

// --- what is known

export interface KnownDifference {
  readonly name: string
  /** Why it is right that we take what Node does not. */
  readonly reason: string
  /** A stream in which it shows. */
  readonly example: string
  covers(found: Discrepancy, text: string): boolean
}

function refusedWith(found: Discrepancy, ...codes: readonly string[]): boolean {
  return found.kind === 'refused' && codes.includes(found.what)
}

/** In lower case, joined. */
function valueOf(headers: readonly string[], name: string): string {
  return headers
    .filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name)
    .join(', ')
    .toLowerCase()
}

function connectionSays(headers: readonly string[], token: string): boolean {
  return `${valueOf(headers, 'connection')}, ${valueOf(headers, 'proxy-connection')}`.includes(token)
}

/** What RFC 9112, section 7.1.1 defines, without the blanks that it tolerates. */
const CHUNK_EXTENSIONS = /^(?:;[\w!#$%&'*+.^`|~-]+(?:=(?:[\w!#$%&'*+.^`|~-]+|"[^"]*"))?)*$/

function hasOddExtension(text: string): boolean {
  return [...text.matchAll(/\r\n[0-9a-f]+(;[^\r\n]*)(?=\r\n)/gi)].some(([, extensions = '']) => !CHUNK_EXTENSIONS.test(extensions))
}

const CHUNKED = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n'
const NEXT = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'

export const KNOWN: readonly KnownDifference[] = [
  {
    name: 'a method that Node does not know',
    reason: 'methods are an open set (RFC 9110, section 9.1); a gateway passes them on, letter for letter',
    example: 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n',
    covers: ({ kind, request }) => kind === 'refused' && request !== undefined && !METHODS.includes(request.method),
  },
  {
    name: 'PRI behind a request',
    reason:
      'it makes Node expect HTTP/2 (RFC 9113, section 3.4) and forget the end of the request before it; for the gateway it is a method',
    example: 'GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI p://\nt:\r\nt:\r\n\r\n',
    covers: ({ kind, what }, text) => kind === 'refused' && what === '' && /\nPRI /.test(text),
  },
  {
    name: 'CONNECT',
    reason: 'for Node the rest is a tunnel; the gateway refuses it with 501 and goes on reading requests (RFC 9110, section 9.3.6)',
    example: `CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`,
    covers: (found) => found.kind === 'lost' && found.request?.method === 'CONNECT',
  },
  {
    name: 'a tab behind "chunked"',
    reason: 'blanks around a value are blanks or tabs (RFC 9110, section 5.6.3); the field is written anew for the server',
    example: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n',
    covers: (found, text) =>
      refusedWith(found, 'HPE_INVALID_TRANSFER_ENCODING') && /\r\ntransfer-encoding:[ \t]*chunked *\t[ \t]*\r\n/i.test(text),
  },
  {
    name: 'chunk extensions that are none',
    reason: 'what is not understood of them is ignored (RFC 9112, section 7.1.1); none is passed on, and their lines end in CRLF only',
    example: `${CHUNKED}\r\n5;a b\r\nhello\r\n0\r\n\r\n`,
    covers: (found, text) => refusedWith(found, 'HPE_STRICT', 'HPE_INVALID_CHUNK_SIZE') && hasOddExtension(text),
  },
  {
    name: 'a blank before a chunk extension',
    reason: 'the grammar has one there, and whoever reads it has to read over it (RFC 9110, section 5.6.3); no extension is passed on',
    example: `${CHUNKED}\r\n5 ;a=b\r\nhello\r\n0\r\n\r\n`,
    covers: (found, text) =>
      refusedWith(found, 'HPE_STRICT', 'HPE_INVALID_CHUNK_SIZE') && /\r\n[0-9a-f]+[ \t]+;[^\r\n]*(?=\r\n)/i.test(text),
  },
  {
    name: 'a length or coding among the trailers',
    reason: 'trailers frame nothing (RFC 9110, section 6.5.1); these two are not passed on',
    example: `${CHUNKED}\r\n0\r\nContent-Length: 5\r\n\r\n`,
    covers: (found) =>
      refusedWith(found, 'HPE_INVALID_TRANSFER_ENCODING', 'HPE_INVALID_CONTENT_LENGTH') &&
      found.request?.complete === true &&
      found.request.trailers.some((text) => /^(?:content-length|transfer-encoding)$/i.test(text)),
  },
  {
    name: 'Connection: close among the trailers',
    reason: 'the connection is a matter of the head (RFC 9110, section 6.5.1); the field is not passed on',
    example: `${CHUNKED}\r\n0\r\nConnection: close\r\n\r\n${NEXT}`,
    covers: (found) => refusedWith(found, 'HPE_CLOSED_CONNECTION') && connectionSays(found.earlier.at(-1)?.trailers ?? [], 'close'),
  },
  {
    name: 'Proxy-Connection: close',
    reason: 'Node takes it for Connection, against RFC 9112, appendix C.2.2; the field is not passed on',
    example: `GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n${NEXT}`,
    covers: (found) =>
      refusedWith(found, 'HPE_CLOSED_CONNECTION') && valueOf(found.earlier.at(-1)?.headers ?? [], 'proxy-connection').includes('close'),
  },
  {
    name: 'what follows an Upgrade that is not taken',
    reason:
      'it goes on in HTTP/1.1 (RFC 9110, section 7.8), but Node drops the rest of that read; the gateway sends nothing behind an Upgrade',
    example: `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${NEXT}`,
    covers: ({ earlier }) => earlier.some(isUpgrade),
  },
  {
    name: 'the body of an Upgrade',
    reason:
      'Node does not say what is wrong in it, and may read none; the gateway refuses such a request, and drops an Upgrade that is none',
    example: `${CHUNKED}Connection: Upgrade\r\nUpgrade: x\r\n\r\n5;\r\nhello\r\n0\r\n\r\n`,
    covers: ({ request, what }) => (what === '' || what === 'body') && request !== undefined && isUpgrade(request),
  },
]

/** For Node, which takes Proxy-Connection for Connection. */
function isUpgrade({ headers }: SeenRequest): boolean {
  return valueOf(headers, 'upgrade') !== '' && connectionSays(headers, 'upgrade')
}

export function knownDifference(found: Discrepancy, text: string): KnownDifference | undefined {
  return KNOWN.find((known) => known.covers(found, text))
}
