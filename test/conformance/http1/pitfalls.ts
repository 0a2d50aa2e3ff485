/** The requirements of HTTP/1.1 that proxies miss most often, by the bugs that were found in them. Each has cases of its own. */

export const PITFALLS = {
  connection: ['RFC 9110 §7.6.1', 'what Connection names ends here, with Connection itself and all that is about one connection'],
  'te-and-cl': ['RFC 9112 §6.1, §6.3', 'a message with both Transfer-Encoding and Content-Length has two meanings'],
  'content-length': ['RFC 9112 §6.3', 'a Content-Length is digits and nothing else, and there is one'],
  'transfer-encoding': ['RFC 9112 §6.1', 'Transfer-Encoding of a request ends in chunked, once; HTTP/1.0 has none'],
  chunks: ['RFC 9112 §7.1', 'chunk sizes are hexadecimal digits that fit, lines end in CRLF, extensions have an end'],
  colon: ['RFC 9112 §5.1', 'no blank between a name and its colon: refused in a request, removed from a response'],
  fold: ['RFC 9112 §5.2', 'folded lines are refused, never passed on'],
  'leading-blank': ['RFC 9112 §2.2', 'a blank before the first field, and a bare CR, are no part of a message'],
  controls: ['RFC 9110 §5.5', 'CR, LF and NUL in a value are never passed on'],
  host: ['RFC 9112 §3.2', 'exactly one valid Host; the authority of an absolute target outranks it'],
  version: ['RFC 9112 §2.3', 'each hop says its own version'],
  via: ['RFC 9110 §7.6.3', 'Via to the server, and no endless loop'],
  order: ['RFC 9110 §5.3', 'fields of one name keep their order, Set-Cookie is never joined'],
  target: ['RFC 9110 §7.7', 'path and query go on as they came, content is not transformed'],
  untouched: ['RFC 9110 §7.7', 'Authorization, WWW-Authenticate, Allow and their like go on as they came'],
  retry: ['RFC 9110 §9.2.2', 'what is not idempotent is not sent twice by the gateway alone'],
  expect: ['RFC 9110 §10.1.1', '100-continue is answered, and a final answer before the body leaves no body behind'],
  informational: ['RFC 9110 §15.2', 'all 1xx go on, none to HTTP/1.0'],
  bodiless: ['RFC 9112 §6.3', 'HEAD, 1xx, 204 and 304 have no body, whatever their fields say'],
  truncated: ['RFC 9112 §8', 'a body that is cut short does not look complete to the next hop'],
  trailers: ['RFC 9110 §6.5.1', 'trailers stay trailers, and none that frames, routes or authenticates goes on'],
  'max-forwards': ['RFC 9110 §7.6.2', 'Max-Forwards is counted down, and 0 ends here'],
  upgrade: ['RFC 6455, RFC 9110 §7.8', '101 makes a tunnel, anything else is an ordinary answer, and the connection is never shared'],
  'client-address': ['RFC 7239', 'where a request came from is believed only of trusted peers, in every spelling'],
  'proxy-status': ['RFC 9209', 'each error of the gateway says that it is one, and which'],
  statuses: ['RFC 9110 §15', '408, 413, 414, 421, 431, 501, 502, 503, 504 and 505 each where they belong'],
} as const satisfies Readonly<Record<string, readonly [section: string, what: string]>>

export type Pitfall = keyof typeof PITFALLS
