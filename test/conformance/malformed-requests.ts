/** Requests that must be refused, byte for byte: what they are called, what is sent, what the answer has to be. */

export interface MalformedRequest {
  readonly name: string
  /** latin1. Several pieces are sent one after the other, with a pause between them. */
  readonly bytes: string | readonly string[]
  readonly status: number
  /** Its head is fine and was streamed before the fault came: the server may see a beginning, never a whole request. */
  readonly begun?: true
  /** Its end is beyond dispute, only what it asks for is refused: the connection may stay. */
  readonly understood?: true
}

/** What the gateway under test is set to; the rows go one beyond. */
export const LIMITS = { head: 4096, headers: 20, target: 1024, body: 3000, jobBody: 1000 } as const
export const METHOD_BYTES_MAX = 32

const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n'

function line(text: string): string {
  return `${text}\r\nHost: a\r\n\r\n`
}

function fields(...lines: readonly string[]): string {
  return `GET / HTTP/1.1\r\nHost: a\r\n${lines.join('\r\n')}\r\n\r\n`
}

function host(...lines: readonly string[]): string {
  return `GET / HTTP/1.1\r\n${[...lines, 'X: y'].join('\r\n')}\r\n\r\n`
}

/** A POST with these framing fields, and a body that is the same whoever reads it. */
function framed(...lines: readonly string[]): string {
  return `POST / HTTP/1.1\r\nHost: a\r\n${lines.join('\r\n')}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`
}

function chunks(body: string): string {
  return `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}`
}

/** A head of exactly so many bytes. */
export function headOf(bytes: number): string {
  const frame = fields('X: ').length
  return fields(`X: ${'x'.repeat(bytes - frame)}`)
}

/** A head with exactly so many fields. */
export function headWithFields(count: number): string {
  return fields(...Array.from({ length: count - 1 }, (_, i) => `X-${i}: y`))
}

export function targetOf(bytes: number): string {
  return line(`GET /${'t'.repeat(bytes - 1)} HTTP/1.1`)
}

export function postTo(path: string, bodyBytes: number, chunked = false): string {
  const body = 'b'.repeat(bodyBytes)
  const framing = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${bodyBytes}`
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${chunked ? `${bodyBytes.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body}`
}

type Row = readonly [name: string, bytes: string | readonly string[], status?: number]

function rows(prefix: string, list: readonly Row[]): MalformedRequest[] {
  return list.map(([name, bytes, status = 400]) => ({ name: `${prefix}: ${name}`, bytes, status }))
}

export const REQUEST_LINES: readonly MalformedRequest[] = rows('request line', [
  ['no method', line(' / HTTP/1.1')],
  ['a blank before the method', line(' GET / HTTP/1.1')],
  ['a method with a character that is none', line('GE(T / HTTP/1.1')],
  ['a method in quotes', line('"GET" / HTTP/1.1')],
  ['a method beyond the longest', line(`${'M'.repeat(METHOD_BYTES_MAX + 1)} / HTTP/1.1`), 501],
  ['two blanks before the target', line('GET  / HTTP/1.1')],
  ['two blanks behind the target', line('GET /  HTTP/1.1')],
  ['a tab for a blank', line('GET\t/ HTTP/1.1')],
  ['a blank at the end', line('GET / HTTP/1.1 ')],
  ['no target', line('GET HTTP/1.1')],
  ['no version (HTTP/0.9)', 'GET /\r\n\r\n'],
  ['only a method', 'GET\r\n\r\n'],
  ['a version in lower case', line('GET / http/1.1')],
  ['HTTP/1.2', line('GET / HTTP/1.2'), 505],
  ['HTTP/2.0', line('GET / HTTP/2.0'), 505],
  ['HTTP/0.9 by name', line('GET / HTTP/0.9'), 505],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505],
  ['a version of three digits', line('GET / HTTP/1.10')],
  ['a version without a point', line('GET / HTTP/11')],
  ['another protocol', line('GET / ICE/1.0')],
  ['bare LF at its end', `GET / HTTP/1.1\nHost: a\r\n\r\n`],
  ['bare CR at its end', `GET / HTTP/1.1\rHost: a\r\n\r\n`],
  ['CR CR LF at its end', `GET / HTTP/1.1\r\r\nHost: a\r\n\r\n`],
  ['NUL in the target', line('GET /a\0b HTTP/1.1')],
  ['a control character in the target', line('GET /a\x01b HTTP/1.1')],
  ['DEL in the target', line('GET /a\x7fb HTTP/1.1')],
  ['a byte above 127 in the target', line('GET /a\xe9b HTTP/1.1')],
  ['a blank in the target', line('GET /a b HTTP/1.1')],
  ['a fragment in the target', line('GET /a#b HTTP/1.1')],
  ['a target that is no path', line('GET index.html HTTP/1.1')],
  ['a target that is only a query', line('GET ?a=b HTTP/1.1')],
  ['* with GET', line('GET * HTTP/1.1')],
  ['CONNECT', line('CONNECT example.com:443 HTTP/1.1'), 501],
  ['another scheme', line('GET ftp://example.com/ HTTP/1.1')],
  ['an http URL without a host', line('GET http:///a HTTP/1.1')],
  ['an http URL with a user', line('GET http://user@example.com/ HTTP/1.1')],
  ['an http URL with a port that is none', line('GET http://example.com:port/ HTTP/1.1')],
  ['two empty lines before it', `\r\n\r\n${line('GET / HTTP/1.1')}`],
  ['a bare LF before it', `\n${line('GET / HTTP/1.1')}`],
  ['the beginning of TLS', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03'],
])

/** Well-formed, and refused all the same. */
export const REFUSED: readonly MalformedRequest[] = rows('refused', [
  ['CONNECT with a path', line('CONNECT / HTTP/1.1'), 501],
  ['TRACE', line('TRACE / HTTP/1.1'), 501],
  ['dot segments', line('GET /a/../b HTTP/1.1')],
  ['dot segments, encoded', line('GET /a/%2e%2e/b HTTP/1.1')],
  ['dot segments before a parameter', line('GET /a/..;x/b HTTP/1.1')],
  ['a backslash in the path', line('GET /a\\..\\b HTTP/1.1')],
  ['a loop in Via', fields(`Via: ${Array.from({ length: 9 }, () => '1.1 spillway').join(', ')}`), 508],
]).map((row) => ({ ...row, understood: true }))

export const FIELDS: readonly MalformedRequest[] = rows('header', [
  ['a blank before the colon', fields('X : y')],
  ['a tab before the colon', fields('X\t: y')],
  ['a folded line', fields('X: y', ' z')],
  ['a line folded by a tab', fields('X: y', '\tz')],
  ['a blank before the first field', `GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n`],
  ['a line of blanks', fields('   ')],
  ['no colon', fields('nonsense')],
  ['no name', fields(': y')],
  ['a blank in the name', fields('X Y: z')],
  ['a control character in the name', fields('X\x01Y: z')],
  ['NUL in the name', fields('X\0Y: z')],
  ['a byte above 127 in the name', fields('X\xe9: z')],
  ['a bracket in the name', fields('X[0]: z')],
  ['NUL in the value', fields('X: y\0z')],
  ['a control character in the value', fields('X: y\x01z')],
  ['DEL in the value', fields('X: y\x7fz')],
  ['a bare CR in the value', fields('X: y\rz')],
  ['a bare LF in the value', fields('X: y\nTransfer-Encoding: chunked')],
  ['a bare LF at the end of a line', `GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n`],
  ['bare LFs at the end of the head', `GET / HTTP/1.1\r\nHost: a\n\n`],
  ['CR CR LF at the end of a line', `GET / HTTP/1.1\r\nHost: a\r\r\n\r\n`],
  ['an expectation nobody knows', fields('Expect: 200-maybe'), 417],
  ['two expectations', fields('Expect: 100-continue', 'Expect: 100-continue'), 417],
])

export const HOSTS: readonly MalformedRequest[] = rows('host', [
  ['none', host()],
  ['two', host('Host: a', 'Host: b')],
  ['two that are equal', host('Host: a', 'host: a')],
  ['empty', host('Host:')],
  ['two in one field', host('Host: a, b')],
  ['a user', host('Host: user@a')],
  ['a blank', host('Host: a b')],
  ['a path', host('Host: a/b')],
  ['a port that is none', host('Host: a:http')],
  ['a port of six digits', host('Host: a:100000')],
  ['two ports', host('Host: a:80:80')],
  ['a bracket that is not closed', host('Host: [::1')],
  ['none beside an http URL', 'GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n'],
])

export const FRAMING: readonly MalformedRequest[] = rows('framing', [
  ['Content-Length and Transfer-Encoding', framed('Content-Length: 15', 'Transfer-Encoding: chunked')],
  ['Transfer-Encoding and Content-Length', framed('Transfer-Encoding: chunked', 'Content-Length: 15')],
  ['two lengths', framed('Content-Length: 15', 'Content-Length: 16')],
  ['two equal lengths', framed('Content-Length: 15', 'Content-Length: 15')],
  ['two lengths in one field', framed('Content-Length: 15, 15')],
  ['a length with a plus', framed('Content-Length: +15')],
  ['a negative length', framed('Content-Length: -1')],
  ['a hexadecimal length', framed('Content-Length: 0xf')],
  ['a length with an underscore', framed('Content-Length: 1_5')],
  ['a length with an exponent', framed('Content-Length: 1e1')],
  ['a length with a point', framed('Content-Length: 15.0')],
  ['a length in two pieces', framed('Content-Length: 1 5')],
  ['an empty length', framed('Content-Length:')],
  ['a length beyond 2^64', framed('Content-Length: 18446744073709551631')],
  ['a length of 16 digits', framed('Content-Length: 1000000000000000')],
  ['a length of other digits', framed('Content-Length: \xb2')],
  ['chunked twice', framed('Transfer-Encoding: chunked, chunked')],
  ['chunked in two fields', framed('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  ['an empty Transfer-Encoding before a good one', framed('Transfer-Encoding:', 'Transfer-Encoding: chunked')],
  ['an empty Transfer-Encoding', framed('Transfer-Encoding:')],
  ['identity', framed('Transfer-Encoding: identity')],
  ['a coding that is not chunked', framed('Transfer-Encoding: gzip')],
  ['a coding before chunked', framed('Transfer-Encoding: gzip, chunked'), 501],
  ['a coding behind chunked', framed('Transfer-Encoding: chunked, gzip')],
  ['almost chunked', framed('Transfer-Encoding: xchunked')],
  ['chunked with a parameter', framed('Transfer-Encoding: chunked;q=1')],
  ['chunked in quotes', framed('Transfer-Encoding: "chunked"')],
  ['chunked behind a comma', framed('Transfer-Encoding: ,chunked')],
  ['chunked behind a vertical tab', framed('Transfer-Encoding: \x0bchunked')],
  ['a folded chunked', framed('Transfer-Encoding:', ' chunked')],
  ['a blank before the colon of Transfer-Encoding', framed('Transfer-Encoding : chunked')],
  ['chunked in HTTP/1.0', framed('Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0')],
])

export const CHUNKS: readonly MalformedRequest[] = rows('chunks', [
  ['no size', chunks('\r\nhello\r\n0\r\n\r\n')],
  ['a size that is not hexadecimal', chunks('g\r\nhello\r\n0\r\n\r\n')],
  ['a negative size', chunks('-5\r\nhello\r\n0\r\n\r\n')],
  ['a size with a plus', chunks('+5\r\nhello\r\n0\r\n\r\n')],
  ['a size with 0x', chunks('0x5\r\nhello\r\n0\r\n\r\n')],
  ['a size with an underscore', chunks('0_5\r\nhello\r\n0\r\n\r\n')],
  ['a blank before the size', chunks(' 5\r\nhello\r\n0\r\n\r\n')],
  ['a blank behind the size', chunks('5 \r\nhello\r\n0\r\n\r\n')],
  ['a size beyond 2^64', chunks('10000000000000005\r\nhello\r\n0\r\n\r\n')],
  ['a size of 13 digits', chunks('0000000000005\r\nhello\r\n0\r\n\r\n')],
  ['a bare LF behind the size', chunks('5\nhello\r\n0\r\n\r\n')],
  ['a bare CR behind the size', chunks('5\rhello\r\n0\r\n\r\n')],
  ['data longer than its size', chunks('4\r\nhello\r\n0\r\n\r\n')],
  ['data shorter than its size', chunks('6\r\nhello\r\n0\r\n\r\n')],
  ['a bare LF behind the data', chunks('5\r\nhello\n0\r\n\r\n')],
  ['no line end behind the data', chunks('5\r\nhello0\r\n\r\n')],
  ['NUL in an extension', chunks('5;a=\0\r\nhello\r\n0\r\n\r\n')],
  ['a bare LF in an extension', chunks('5;a\nhello\r\n0\r\n\r\n')],
  ['a bare CR in an extension', chunks('5;a\rb\r\nhello\r\n0\r\n\r\n')],
  ['an extension beyond the longest', chunks(`5;${'e'.repeat(1025)}\r\nhello\r\n0\r\n\r\n`)],
  ['extensions that are too long together', chunks(`${`1;${'e'.repeat(300)}\r\nx\r\n`.repeat(4)}0\r\n\r\n`)],
  ['a trailer without a colon', chunks('5\r\nhello\r\n0\r\nnonsense\r\n\r\n')],
  ['a folded trailer', chunks('5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n')],
  ['a blank before the colon of a trailer', chunks('5\r\nhello\r\n0\r\nX : y\r\n\r\n')],
  ['trailers beyond the longest', chunks(`5\r\nhello\r\n0\r\nX: ${'x'.repeat(LIMITS.head)}\r\n\r\n`)],
  ['more trailers than headers may be', chunks(`5\r\nhello\r\n0\r\n${'X: y\r\n'.repeat(LIMITS.headers + 1)}\r\n`)],
])

export const TOO_LARGE: readonly MalformedRequest[] = rows('too large', [
  ['target', targetOf(LIMITS.target + 1), 414],
  ['head', headOf(LIMITS.head + 1), 431],
  ['a head that does not end', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(LIMITS.head)}`, 431],
  ['a request line that does not end', `GET /${'t'.repeat(LIMITS.head)}`, 431],
  ['number of headers', headWithFields(LIMITS.headers + 1), 431],
  ['body', postTo('/', LIMITS.body + 1), 413],
  ['body that would become a job', postTo('/jobs', LIMITS.jobBody + 1), 413],
  ['body that would become a job, chunked', postTo('/jobs', LIMITS.jobBody + 1, true), 413],
  ['body of 999 999 999 999 999 bytes', framed('Content-Length: 999999999999999'), 413],
])

/** A second request stands behind or inside one whose end could be disputed. */
export const SMUGGLING: readonly MalformedRequest[] = rows('smuggling', [
  ['CL.TE', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${5 + HIDDEN.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['TE.CL', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n22\r\n${HIDDEN}\r\n0\r\n\r\n`],
  ['TE.TE', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['TE with a form feed', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a length behind a bare LF', `POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`],
  ['a length behind a blank and colon', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length : ${HIDDEN.length}\r\n\r\n${HIDDEN}`],
  ['a chunk extension with a bare LF', chunks(`2;\nxx\r\n${HIDDEN.length.toString(16)}\r\n0\r\n\r\n${HIDDEN}`)],
  ['behind a bad request', `${line('GET /a\0 HTTP/1.1')}${HIDDEN}`],
  ['behind a bad field', `${fields('X y')}${HIDDEN}`],
  ['behind an expectation', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\nExpect: x\r\n\r\n${HIDDEN}`, 417],
  ['in a body that is too large', `POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: ${LIMITS.jobBody + 1}\r\n\r\n${HIDDEN}`, 413],
  ['in a body that nobody reads', `POST /nowhere HTTP/1.1\r\nHost: nobody\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, 404],
  [
    'in the body of an Upgrade',
    `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  ],
  ['in a header that a bare CR ends', `GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r${HIDDEN}`],
  ['behind trailers that are wrong', `${chunks('0\r\nX y\r\n\r\n')}${HIDDEN}`],
])

export const SLOW: readonly MalformedRequest[] = [
  { name: 'slow: a head that stops in the request line', bytes: 'GET / HT', status: 408 },
  { name: 'slow: a head that stops before its empty line', bytes: 'GET / HTTP/1.1\r\nHost: a\r\n', status: 408 },
  { name: 'slow: a head that comes in drops', bytes: Array.from({ length: 200 }, (_, i) => (i === 0 ? 'GET /' : 'x')), status: 408 },
  { name: 'slow: an empty line and nothing behind it', bytes: '\r\n', status: 408 },
  { name: 'slow: a body that stops', bytes: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello', status: 408, begun: true },
  { name: 'slow: a body that never begins', bytes: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n', status: 408, begun: true },
  { name: 'slow: chunks that stop', bytes: chunks('5\r\nhel'), status: 408, begun: true },
  { name: 'slow: chunks without the last', bytes: chunks('5\r\nhello\r\n'), status: 408, begun: true },
  { name: 'slow: trailers that stop', bytes: chunks('5\r\nhello\r\n0\r\nX: y\r\n'), status: 408, begun: true },
  { name: 'slow: a body that would become a job', bytes: 'POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello', status: 408 },
]

/** The fault is behind a beginning that was streamed already. */
export const LATE: readonly MalformedRequest[] = [
  { name: 'late: a bad chunk size', bytes: [chunks('5\r\nhello\r\n'), 'zz\r\n'], status: 400, begun: true },
  { name: 'late: data longer than its size', bytes: [chunks('5\r\nhel'), 'lo!\r\n'], status: 400, begun: true },
  { name: 'late: a bad trailer', bytes: [chunks('5\r\nhello\r\n'), '0\r\nX y\r\n\r\n'], status: 400, begun: true },
  {
    name: 'late: chunks beyond the limit of a body',
    bytes: [chunks(`a\r\n${'b'.repeat(10)}\r\n`), `bb8\r\n${'b'.repeat(3000)}\r\n0\r\n\r\n`],
    status: 413,
    begun: true,
  },
]
