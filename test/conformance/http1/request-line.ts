import { type Case, cases, get, refused, request } from './case.ts'

const HOST = 'Host: a\r\n\r\n'

const INVALID: readonly (readonly [string, string])[] = [
  ['no method', ` / HTTP/1.1\r\n${HOST}`],
  ['a method that is no token', `GE(T / HTTP/1.1\r\n${HOST}`],
  ['no target', `GET HTTP/1.1\r\n${HOST}`],
  ['no version', 'GET /\r\n\r\n'],
  ['a version in lower case', `GET / http/1.1\r\n${HOST}`],
  ['a version of three digits', `GET / HTTP/1.10\r\n${HOST}`],
  ['another protocol', `GET / ICE/1.0\r\n${HOST}`],
  ['two blanks before the target', `GET  / HTTP/1.1\r\n${HOST}`],
  ['two blanks before the version', `GET /  HTTP/1.1\r\n${HOST}`],
  ['a tab for a blank', `GET\t/ HTTP/1.1\r\n${HOST}`],
  ['a form feed for a blank', `GET\x0c/ HTTP/1.1\r\n${HOST}`],
  ['a blank behind the version', `GET / HTTP/1.1 \r\n${HOST}`],
  ['a blank in the target', `GET /a b HTTP/1.1\r\n${HOST}`],
  ['a fragment in the target', `GET /a#b HTTP/1.1\r\n${HOST}`],
  ['NUL in the target', `GET /a\0b HTTP/1.1\r\n${HOST}`],
  ['a byte beyond ASCII in the target', `GET /\xe9 HTTP/1.1\r\n${HOST}`],
]

export const REQUEST_LINE: readonly Case[] = [
  ...cases(
    'RFC 9112 §3',
    'SHOULD',
    INVALID.map(([what, client]) => ({ title: `a request line with ${what} is refused with 400, not repaired`, client, ...refused(400) })),
  ),
  ...cases('RFC 9112 §3', 'SHOULD', [
    { title: 'a method longer than any that is known is refused with 501', client: request(`${'M'.repeat(33)} /`), ...refused(501) },
  ]),
  ...cases('RFC 9112 §3', 'MUST', [
    {
      title: 'a target longer than what is read is refused with 414',
      pitfall: 'statuses',
      client: request(`GET /${'t'.repeat(8192)}`),
      ...refused(414),
    },
  ]),
  ...cases('RFC 9112 §3', 'SHOULD', [
    {
      title: 'request lines of 8000 octets pass',
      client: request(`GET /${'t'.repeat(7985)}`),
      got: { line: `GET /${'t'.repeat(7985)} HTTP/1.1` },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §3.1', 'MUST', [
    {
      title: 'methods are case-sensitive: get is not GET, and passes as it is',
      client: request('get /'),
      methods: ['GET'],
      got: { line: 'get / HTTP/1.1' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §9.1', 'choice', [
    {
      title: 'a method that nobody knows passes, it is the server’s to refuse',
      why: 'intermediaries forward what they do not recognize (RFC 9110 §7.6)',
      client: request('FR!SK-OFF /'),
      methods: ['GET'],
      server: 'HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n',
      got: { line: 'FR!SK-OFF / HTTP/1.1' },
      answer: { status: 501 },
    },
  ]),
  ...cases('RFC 9112 §2.2', 'SHOULD', [
    {
      title: 'one empty line before the request line is ignored',
      client: `\r\n${get()}`,
      got: { line: 'GET / HTTP/1.1' },
      answer: { status: 200 },
    },
    {
      title: 'an empty line between two requests is ignored',
      client: `${get()}\r\n${request('GET /second')}`,
      methods: ['GET', 'GET'],
      got: [{ line: 'GET / HTTP/1.1' }, { line: 'GET /second HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 200 }],
    },
  ]),
  ...cases('RFC 9112 §2.2', 'choice', [
    {
      title: 'two empty lines before the request line are refused',
      why: 'at least one has to be ignored, and one is',
      client: `\r\n\r\n${get()}`,
      ...refused(400),
    },
    {
      title: 'a bare LF does not end the request line',
      why: 'it may be recognized; two readers that differ in it can be played off against each other',
      client: 'GET / HTTP/1.1\nHost: a\r\n\r\n',
      ...refused(400),
    },
    {
      title: 'a bare LF does not end a field line',
      why: 'as above',
      client: 'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n',
      ...refused(400),
    },
    {
      title: 'heads that end in bare LFs are refused',
      why: 'as above',
      client: 'GET / HTTP/1.1\nHost: a\n\n',
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §2.2', 'MUST', [
    {
      title: 'a bare CR at the end of the request line makes it invalid',
      pitfall: 'leading-blank',
      client: `GET / HTTP/1.1\r${HOST}`,
      ...refused(400),
    },
    { title: 'CR CR LF is no line end', pitfall: 'leading-blank', client: `GET / HTTP/1.1\r\r\n${HOST}`, ...refused(400) },
    {
      title: 'a message is read as octets: bytes beyond ASCII in a value pass as the same bytes',
      client: get('X-Name: J\xf6rg \xff\x80'),
      got: { head: 'X-Name: J\xf6rg \xff\x80\r\n' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §2.2', 'SHOULD', [
    {
      title: 'what is not HTTP at all is answered with 400 and the connection is closed',
      client: '\x16\x03\x01\x00\xa5\x01\x00',
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §2.3', 'MUST', [
    {
      title: 'the server reads our version, not that of the client',
      pitfall: 'version',
      client: 'GET /v HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
      got: { line: 'GET /v HTTP/1.1' },
      answer: { status: 200 },
    },
    {
      title: 'the client reads our version, not that of the server',
      pitfall: 'version',
      client: get(),
      server: 'HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok',
      answer: { status: 200, reason: 'Fine', body: 'ok' },
    },
  ]),
  ...cases('RFC 9110 §15.6.6', 'SHOULD', [
    { title: 'HTTP/2.0 in a request line is refused with 505', pitfall: 'statuses', client: `GET / HTTP/2.0\r\n${HOST}`, ...refused(505) },
    {
      title: 'the preface of HTTP/2 is refused with 505',
      pitfall: 'statuses',
      client: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      ...refused(505),
    },
    { title: 'HTTP/0.9 by name is refused with 505', pitfall: 'statuses', client: `GET / HTTP/0.9\r\n${HOST}`, ...refused(505) },
  ]),
  ...cases('RFC 9110 §6.2', 'departs from a SHOULD', [
    {
      title: 'HTTP/1.2 is refused with 505',
      why: 'there is no such version; whoever says it probes for a reader that differs',
      pitfall: 'version',
      client: `GET / HTTP/1.2\r\n${HOST}`,
      ...refused(505),
    },
  ]),
]
