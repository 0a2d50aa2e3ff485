import { answered, type Case, cases, get, OK_BODY, okWith, request } from './case.ts'

const UP: readonly (readonly [string, readonly string[]])[] = [
  ['If-None-Match', ['If-None-Match: W/"a", "b"']],
  ['If-Match', ['If-Match: *']],
  ['If-Modified-Since', ['If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT']],
  ['If-Unmodified-Since', ['If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT']],
  ['Range and If-Range', ['Range: bytes=0-4,-5', 'If-Range: "x"']],
  [
    'Accept, Accept-Encoding and Accept-Language',
    ['Accept: text/*;q=0.5', 'Accept-Encoding: gzip;q=1.0, identity; q=0.5, *;q=0', 'Accept-Language: da'],
  ],
  ['Authorization', ['Authorization: Digest username="x", uri="/a,b"']],
  ['Cookie, in several lines', ['Cookie: a=1; b=2', 'Cookie: c=3']],
  ['User-Agent, Referer and From', ['User-Agent: x/1 (y; z)', 'Referer: http://a/x', 'From: a@b']],
  ['Content-Type and Content-Encoding', ['Content-Type: a/b; c="d"', 'Content-Encoding: gzip']],
  ['Origin and Access-Control-Request-*', ['Origin: https://b', 'Access-Control-Request-Method: POST']],
  ['traceparent and tracestate', ['traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'tracestate: a=1']],
]

const DOWN: readonly (readonly [string, readonly string[]])[] = [
  ['WWW-Authenticate, in several lines', ['WWW-Authenticate: Basic realm="a"', 'WWW-Authenticate: Digest nonce="b", qop="auth"']],
  ['Allow', ['Allow: GET, FROB']],
  ['Location and Content-Location', ['Location: ../x?y#z', 'Content-Location: /a']],
  ['ETag and Last-Modified', ['ETag: W/"x"', 'Last-Modified: Sat, 29 Oct 1994 19:43:31 GMT']],
  ['Vary', ['Vary: Accept-Encoding, *']],
  ['Server', ['Server: CERN/3.0 libwww/2.17']],
  ['Retry-After', ['Retry-After: 120']],
  [
    'Content-Type, -Encoding, -Language and -Disposition',
    [
      'Content-Type: text/html; charset=x',
      'Content-Encoding: br',
      'Content-Language: mi, en',
      'Content-Disposition: attachment; filename="a"',
    ],
  ],
  ['Accept-Ranges', ['Accept-Ranges: bytes']],
  ['Strict-Transport-Security and Alt-Svc', ['Strict-Transport-Security: max-age=1', 'Alt-Svc: h3=":443"']],
]

function checks(lines: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    ;(found[line.slice(0, colon).toLowerCase()] ??= []).push(line.slice(colon + 2))
  }
  return found
}

export const PASS_THROUGH: readonly Case[] = [
  ...cases(
    'RFC 9110 §7.7',
    'SHOULD',
    UP.map(([what, lines]) => ({
      title: `${what} reach the server as they came`,
      pitfall: 'untouched' as const,
      client: get(...lines),
      got: { fields: checks(lines) },
      answer: { status: 200 },
    })),
  ),
  ...cases(
    'RFC 9110 §7.7',
    'SHOULD',
    DOWN.map(([what, lines]) => ({
      title: `${what} reach the client as they came`,
      pitfall: 'untouched' as const,
      client: get(),
      server: okWith(...lines),
      answer: { fields: checks(lines) },
    })),
  ),
  ...cases('RFC 9110 §10.2.1', 'MUST', [
    {
      title: 'Allow of a 405 goes on as it came',
      pitfall: 'untouched',
      client: get(),
      server: answered('405 No', ['Allow: FROB,,  get', 'Content-Length: 0']),
      answer: { status: 405, fields: { allow: 'FROB,,  get' } },
    },
  ]),
  ...cases('RFC 9110 §7.7', 'MUST', [
    {
      title: 'content under no-transform goes on byte for byte',
      pitfall: 'target',
      client: get('Accept-Encoding: gzip'),
      server: answered('200 OK', ['Cache-Control: no-transform', 'Content-Type: text/html', 'Content-Length: 9'], '\x1f\x8b \0\xff\r\n <'),
      answer: { body: '\x1f\x8b \0\xff\r\n <', fields: { 'cache-control': 'no-transform', 'content-encoding': [], 'content-length': '9' } },
    },
    {
      title: 'content of a request under no-transform goes on byte for byte',
      pitfall: 'target',
      client: `${request('PUT /', 'Cache-Control: no-transform', 'Content-Length: 9')}\x1f\x8b \0\xff\r\n <`,
      got: { body: '\x1f\x8b \0\xff\r\n <' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §7.7', 'choice', [
    {
      title: 'content goes on byte for byte, whatever it is',
      why: 'nothing is compressed, decompressed or rewritten here',
      client: get('Accept-Encoding: gzip'),
      server: answered('200 OK', ['Content-Type: text/html', 'Content-Length: 6'], '<html>'),
      answer: { body: '<html>', fields: { 'content-encoding': [] } },
    },
  ]),
  ...cases('RFC 9110 §13.2', 'choice', [
    {
      title: 'a condition is the server’s to judge: its 304 goes on',
      why: 'a gateway that stores nothing has nothing to compare',
      client: get('If-None-Match: "x"'),
      server: answered('304 Not Modified', ['ETag: "x"', 'Cache-Control: max-age=5']),
      got: { fields: { 'if-none-match': '"x"' } },
      answer: { status: 304, body: '', fields: { etag: '"x"', 'cache-control': 'max-age=5' } },
    },
    {
      title: 'a 412 goes on',
      why: 'as above',
      client: request('PUT /', 'If-Match: "old"'),
      server: answered('412 Precondition Failed', ['Content-Length: 0']),
      answer: { status: 412 },
    },
  ]),
  ...cases('RFC 9110 §14.2', 'choice', [
    {
      title: 'a range is the server’s to serve: its 206 goes on',
      why: 'as above',
      client: get('Range: bytes=0-1'),
      server: answered('206 Partial Content', ['Content-Range: bytes 0-1/9', 'Content-Length: 2'], OK_BODY),
      got: { fields: { range: 'bytes=0-1' } },
      answer: { status: 206, fields: { 'content-range': 'bytes 0-1/9' }, body: OK_BODY },
    },
    {
      title: 'several ranges go on as the multipart that they are',
      why: 'as above',
      client: get('Range: bytes=0-0,2-2'),
      server: answered(
        '206 Partial Content',
        ['Content-Type: multipart/byteranges; boundary=B', 'Content-Length: 11'],
        '--B\r\n\r\na\r\n-'.slice(0, 11),
      ),
      answer: { status: 206, fields: { 'content-type': 'multipart/byteranges; boundary=B' } },
    },
    {
      title: 'a 416 goes on with its Content-Range',
      why: 'as above',
      client: get('Range: bytes=99-'),
      server: answered('416 No', ['Content-Range: bytes */9', 'Content-Length: 0']),
      answer: { status: 416, fields: { 'content-range': 'bytes */9' } },
    },
  ]),
  ...cases('RFC 9111 §5.2', 'MUST', [
    {
      title: 'cache directives of a request go on, those that nobody knows, too',
      pitfall: 'untouched',
      client: get('Cache-Control: no-cache, max-stale=5, x-new="a,b"', 'Pragma: no-cache'),
      got: { fields: { 'cache-control': 'no-cache, max-stale=5, x-new="a,b"', pragma: 'no-cache' } },
      answer: { status: 200 },
    },
    {
      title: 'cache directives of an answer go on, those that nobody knows, too',
      pitfall: 'untouched',
      client: get(),
      server: okWith('Cache-Control: private="Set-Cookie", x-new', 'Cache-Control: max-age=5', 'Expires: 0'),
      answer: { fields: { 'cache-control': ['private="Set-Cookie", x-new', 'max-age=5'], expires: '0' } },
    },
  ]),
  ...cases('RFC 9111 §5.1', 'choice', [
    {
      title: 'Age of a cache behind goes on',
      why: 'only caches count it',
      client: get(),
      server: okWith('Age: 7'),
      answer: { fields: { age: '7' } },
    },
    { title: 'what no cache has stored has no Age', why: 'as above', client: get(), server: okWith(), answer: { fields: { age: [] } } },
  ]),
  ...cases('RFC 9111 §2', 'choice', [
    {
      title: 'nothing is stored: what may be kept for a year is asked for each time',
      why: 'a gateway is no cache',
      client: `${get()}${get()}`,
      methods: ['GET', 'GET'],
      server: okWith('Cache-Control: public, max-age=31536000', 'ETag: "x"'),
      got: [{ fields: { 'if-none-match': [] } }, { fields: { 'if-none-match': [] } }],
      answer: [{ status: 200 }, { status: 200 }],
    },
  ]),
  ...cases('RFC 9110 §6.6.1', 'MUST', [
    {
      title: 'an answer without a Date gets one on its way',
      client: get(),
      server: okWith(),
      answer: { fields: { date: /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/ } },
    },
    {
      title: 'an answer to HEAD without a Date gets one on its way',
      client: request('HEAD /'),
      server: answered('200 OK', []),
      answer: { fields: { date: / GMT$/ } },
    },
    {
      title: 'a 304 without a Date gets one on its way',
      client: get(),
      server: answered('304 Not Modified', []),
      answer: { fields: { date: / GMT$/ } },
    },
  ]),
  ...cases('RFC 9110 §6.6.1', 'choice', [
    {
      title: 'a Date that is there stays, and is the only one',
      why: 'it says when the answer was made',
      client: get(),
      server: okWith('dAtE: Tue, 15 Nov 1994 08:12:31 GMT'),
      answer: { fields: { date: 'Tue, 15 Nov 1994 08:12:31 GMT' } },
    },
    {
      title: 'a Date that is none stays, too',
      why: 'it may be replaced',
      client: get(),
      server: okWith('Date: yesterday'),
      answer: { fields: { date: 'yesterday' } },
    },
  ]),
  ...cases('RFC 7240 §2', 'MUST', [
    {
      title: 'Prefer reaches the server, where the gateway has no use for it',
      client: get('Prefer: respond-async, wait=10', 'Prefer: return=minimal'),
      server: okWith('Preference-Applied: return=minimal'),
      got: { fields: { prefer: ['respond-async, wait=10', 'return=minimal'] } },
      answer: { fields: { 'preference-applied': 'return=minimal' } },
    },
  ]),
  ...cases('RFC 9110 §5.5', 'SHOULD', [
    {
      title: 'cookies go on as they are, bytes beyond ASCII included',
      client: get('Cookie: a="\xe4"; b'),
      server: okWith('Set-Cookie: a="\xe4"; HttpOnly'),
      got: { fields: { cookie: 'a="\xe4"; b' } },
      answer: { fields: { 'set-cookie': 'a="\xe4"; HttpOnly' } },
    },
  ]),
]
