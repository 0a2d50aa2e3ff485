import { answered, type Case, cases, get, OK_BODY, okWith, request } from './case.ts'

const BAD = {
  status: 502,
  fields: { 'proxy-status': /^spillway; error=http_protocol_error/, 'content-type': 'application/problem+json' },
} as const

const INVALID_LINES: readonly (readonly [string, string])[] = [
  ['is that of another protocol', 'ICY 200 OK'],
  ['says HTTP/2', 'HTTP/2 200 OK'],
  ['says HTTP/2.0', 'HTTP/2.0 200 OK'],
  ['has a version in lower case', 'http/1.1 200 OK'],
  ['has no status', 'HTTP/1.1 OK'],
  ['has a status of two digits', 'HTTP/1.1 20 OK'],
  ['has a status of four digits', 'HTTP/1.1 2000 OK'],
  ['has a status below 100', 'HTTP/1.1 099 No'],
  ['has a control character in its reason', 'HTTP/1.1 200 O\x01K'],
]

const INVALID_FIELDS: readonly (readonly [string, string, 'fold' | 'controls' | 'leading-blank' | undefined])[] = [
  ['a folded line', 'X: y\r\n z', 'fold'],
  ['a line folded by a tab', 'X: y\r\n\tz', 'fold'],
  ['a bare CR in a value', 'X: y\rSet-Cookie: a=b', 'controls'],
  ['a bare LF in a value', 'X: y\nSet-Cookie: a=b', 'controls'],
  ['NUL in a value', 'X: y\0z', 'controls'],
  ['a line without a colon', 'nonsense', undefined],
  ['a line without a name', ': y', undefined],
  ['a name that is no token', 'X Y: z', undefined],
]

const BODILESS: readonly (readonly [string, string, string])[] = [
  ['HEAD', '200 OK', 'Content-Length: 1234'],
  ['HEAD', '200 OK', 'Transfer-Encoding: chunked'],
  ['HEAD', '404 Not Found', 'Content-Length: 9'],
  ['GET', '204 No Content', 'Content-Length: 5'],
  ['GET', '204 No Content', 'Transfer-Encoding: chunked'],
  ['GET', '304 Not Modified', 'Content-Length: 99'],
  ['GET', '304 Not Modified', 'Transfer-Encoding: chunked'],
  ['POST', '204 No Content', 'X: y'],
]

export const ANSWERS: readonly Case[] = [
  ...cases('RFC 9112 §4', 'MUST', [
    {
      title: 'without a reason the blank behind the status stays',
      client: get(),
      server: answered('200 ', ['Content-Length: 2'], OK_BODY),
      answer: { status: 200, reason: '' },
    },
  ]),
  ...cases('RFC 9112 §4', 'choice', [
    {
      title: 'the reason goes on as it came',
      why: 'nobody is to rely on it; some do',
      client: get(),
      server: answered("418 I'm a teapot: 100 %", ['Content-Length: 0']),
      answer: { status: 418, reason: "I'm a teapot: 100 %" },
    },
    ...INVALID_LINES.map(([what, line]) => ({
      title: `a status line that ${what} is no answer: 502`,
      why: 'what cannot be read is not guessed at',
      client: get(),
      server: `${line}\r\nContent-Length: 2\r\n\r\nok`,
      answer: BAD,
      connections: 2,
    })),
  ]),
  ...cases('RFC 9110 §7.6', 'choice', [
    ...[299, 399, 499, 599].map((status) => ({
      title: `a status that nobody knows goes on as it is: ${status}`,
      why: 'intermediaries are expected to forward what they do not recognize',
      client: get(),
      server: answered(`${status} New`, ['Content-Length: 2'], OK_BODY),
      answer: { status, body: OK_BODY },
    })),
  ]),
  ...cases('RFC 9110 §15', 'choice', [
    {
      title: 'a status beyond 599 goes on as it is',
      why: 'whoever receives it ought to take it for a 5xx; that is the client',
      client: get(),
      server: answered('799 New', ['Content-Length: 2'], OK_BODY),
      answer: { status: 799 },
    },
  ]),
  ...cases('RFC 9112 §5.1', 'MUST', [
    {
      title: 'a blank between name and colon of an answer is removed',
      pitfall: 'colon',
      client: get(),
      server: answered('200 OK', ['X-A : 1', 'X-B\t: 2', 'Content-Length : 2'], OK_BODY),
      answer: { head: 'X-A: 1\r\nX-B: 2\r\n', fields: { 'content-length': '2' }, body: OK_BODY },
    },
  ]),
  ...cases(
    'RFC 9112 §5.2',
    'MUST',
    INVALID_FIELDS.filter(([, , pitfall]) => pitfall === 'fold').map(([what, line]) => ({
      title: `${what} in an answer: discarded, 502`,
      pitfall: 'fold' as const,
      client: get(),
      server: answered('200 OK', [line, 'Content-Length: 2'], OK_BODY),
      answer: BAD,
    })),
  ),
  ...cases(
    'RFC 9110 §5.5',
    'MUST',
    INVALID_FIELDS.filter(([, , pitfall]) => pitfall === 'controls').map(([what, line]) => ({
      title: `${what} in an answer is never passed on: 502`,
      pitfall: 'controls' as const,
      client: get(),
      server: answered('200 OK', [line, 'Content-Length: 2'], OK_BODY),
      answer: BAD,
    })),
  ),
  ...cases('RFC 9112 §2.2', 'MUST', [
    {
      title: 'a blank before the first field of an answer: 502',
      pitfall: 'leading-blank' as const,
      client: get(),
      server: answered('200 OK', [' X: y', 'Content-Length: 2'], OK_BODY),
      answer: BAD,
    },
  ]),
  ...cases(
    'RFC 9112 §5',
    'choice',
    INVALID_FIELDS.filter(([, , pitfall]) => pitfall === undefined).map(([what, line]) => ({
      title: `${what} in an answer: 502`,
      why: 'what cannot be read is not guessed at',
      client: get(),
      server: answered('200 OK', [line, 'Content-Length: 2'], OK_BODY),
      answer: BAD,
    })),
  ),
  ...cases('RFC 9112 §5', 'choice', [
    {
      title: 'an answer with more fields than are read: 502',
      why: '100 lines, 32 KiB (limits.headers, limits.head)',
      client: get(),
      server: okWith(...Array.from({ length: 100 }, (_, i) => `X-${i}: y`)),
      answer: BAD,
    },
    {
      title: 'an answer whose head is larger than what is read: 502',
      why: 'as above',
      client: get(),
      server: okWith(`X: ${'x'.repeat(33_000)}`),
      answer: BAD,
    },
  ]),
  ...cases(
    'RFC 9112 §6.3',
    'MUST',
    BODILESS.map(([method, status, field]) => ({
      title: `an answer to ${method} with ${status} and ${field} has no body`,
      pitfall: 'bodiless' as const,
      client: request(`${method} /`),
      server: answered(status, [field]),
      answer: { body: '', framing: 'none' as const, fields: { 'transfer-encoding': [] } },
      connections: 1,
    })),
  ),
  ...cases('RFC 9110 §8.6', 'MUST', [
    {
      title: 'a 204 goes on without a Content-Length',
      pitfall: 'bodiless',
      client: get(),
      server: answered('204 No Content', ['Content-Length: 5']),
      answer: { fields: { 'content-length': [] } },
    },
    {
      title: 'the Content-Length of an answer to HEAD goes on: it is that of the GET',
      pitfall: 'bodiless',
      client: request('HEAD /'),
      server: answered('200 OK', ['Content-Length: 1234']),
      answer: { fields: { 'content-length': '1234' } },
    },
    {
      title: 'the Content-Length of a 304 goes on: it is that of the 200',
      pitfall: 'bodiless',
      client: get('If-None-Match: "x"'),
      server: answered('304 Not Modified', ['Content-Length: 99', 'ETag: "x"']),
      answer: { fields: { 'content-length': '99', etag: '"x"' } },
    },
  ]),
  ...cases('RFC 9112 §6.3', 'MUST', [
    {
      title: 'without length and chunks a body ends with its connection, and goes on whole',
      client: get(),
      server: { bytes: answered('200 OK', ['Connection: close'], 'until the end'), then: 'close' },
      answer: { framing: 'chunked', body: 'until the end' },
      connections: 2,
    },
    {
      title: 'a Content-Length of 0 is an empty body',
      client: get(),
      server: answered('200 OK', ['Content-Length: 0']),
      answer: { framing: 'length', body: '' },
      connections: 1,
    },
    {
      title: 'an answer shorter than its Content-Length: the client does not see an end',
      pitfall: 'truncated',
      client: get(),
      server: { bytes: answered('200 OK', ['Content-Length: 10'], 'short'), then: 'close' },
      answer: { status: 200, body: 'short' },
      ends: 'broken',
    },
    {
      title: 'an answer without length whose connection is reset: the client does not see an end',
      pitfall: 'truncated',
      client: [get(), { reads: 'part' }, { resets: true }],
      server: answered('200 OK', [], 'part'),
      answer: { status: 200, body: 'part' },
      ends: 'broken',
    },
  ]),
  ...cases('RFC 9112 §6.3', 'SHOULD', [
    {
      title: 'a body that ends with the connection of its server goes to the client in chunks, whose connection stays',
      client: get(),
      server: { bytes: 'HTTP/1.0 200 OK\r\n\r\nold', then: 'close' },
      answer: { framing: 'chunked', body: 'old', fields: { connection: [] } },
    },
  ]),
  ...cases('RFC 9112 §8', 'choice', [
    {
      title: 'a server that closes without an answer: 502',
      why: 'RFC 9209 has a name for it: connection_terminated',
      pitfall: 'statuses',
      client: request('POST /'),
      server: { bytes: '', then: 'close' },
      got: { line: 'POST / HTTP/1.1' },
      answer: { status: 502, fields: { 'proxy-status': /^spillway; error=connection_terminated/ } },
    },
    {
      title: 'a head that is cut off: 502',
      why: 'as above',
      client: request('POST /'),
      server: { bytes: 'HTTP/1.1 200 OK\r\nContent-Le', then: 'close' },
      answer: { status: 502, fields: { 'proxy-status': /^spillway; error=connection_terminated/ } },
    },
  ]),
  ...cases('RFC 9110 §15.3.6', 'choice', [
    {
      title: 'a 205 with a body goes on as it is',
      why: 'it must not have one; that is for the server to mend, and its framing is beyond doubt',
      client: get(),
      server: answered('205 Reset Content', ['Content-Length: 2'], OK_BODY),
      answer: { status: 205, body: OK_BODY },
    },
  ]),
]
