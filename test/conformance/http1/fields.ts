import { type Case, cases, get, refused, request } from './case.ts'

const CONTROLS: readonly (readonly [string, string])[] = [
  ['NUL', '\0'],
  ['a bare CR', '\r'],
  ['a bare LF', '\n'],
]

const NAMES: readonly (readonly [string, string])[] = [
  ['no name', ': y'],
  ['no colon', 'nonsense'],
  ['a blank in the name', 'X Y: z'],
  ['a bracket in the name', 'X[0]: z'],
  ['a byte beyond ASCII in the name', 'X\xe9: z'],
  ['NUL in the name', 'X\0Y: z'],
]

export const FIELDS: readonly Case[] = [
  ...cases('RFC 9112 §5.1', 'MUST', [
    { title: 'a blank between name and colon is refused with 400', pitfall: 'colon', client: get('X : y'), ...refused(400) },
    { title: 'a tab between name and colon is refused with 400', pitfall: 'colon', client: get('X\t: y'), ...refused(400) },
    {
      title: 'Content-Length with a blank before its colon is refused, not overlooked',
      pitfall: 'colon',
      client: `POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello`,
      ...refused(400),
    },
    {
      title: 'blanks around a value are no part of it',
      client: get('X-A:  \t b c \t '),
      got: { fields: { 'x-a': 'b c' } },
      answer: { status: 200 },
    },
    {
      title: 'a value without a blank behind its colon is the same value',
      client: get('X-A:b'),
      got: { fields: { 'x-a': 'b' } },
      answer: { status: 200 },
    },
    { title: 'an empty value passes', client: get('X-A:', 'X-B: '), got: { fields: { 'x-a': '', 'x-b': '' } }, answer: { status: 200 } },
  ]),
  ...cases('RFC 9112 §5.2', 'MUST', [
    { title: 'a folded line is refused with 400', pitfall: 'fold', client: get('X: y', ' z'), ...refused(400) },
    { title: 'a line folded by a tab is refused with 400', pitfall: 'fold', client: get('X: y', '\tz'), ...refused(400) },
    {
      title: 'a folded Transfer-Encoding is refused with 400',
      pitfall: 'fold',
      client: get('Transfer-Encoding:', ' chunked'),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §2.2', 'MUST', [
    {
      title: 'a blank before the first field is refused',
      pitfall: 'leading-blank',
      client: 'GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n',
      ...refused(400),
    },
    {
      title: 'a line of blanks before the first field is refused',
      pitfall: 'leading-blank',
      client: 'GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n',
      ...refused(400),
    },
  ]),
  ...cases(
    'RFC 9110 §5.5',
    'MUST',
    CONTROLS.map(([what, character]) => ({
      title: `${what} in a value is refused, never passed on`,
      pitfall: 'controls' as const,
      client: get(`X: y${character}Z: 1`),
      ...refused(400),
    })),
  ),
  ...cases('RFC 9110 §5.5', 'choice', [
    {
      title: 'another control character in a value is refused',
      why: 'it may be kept; it means nothing',
      client: get('X: y\x01z'),
      ...refused(400),
    },
    { title: 'DEL in a value is refused', why: 'as above', client: get('X: y\x7fz'), ...refused(400) },
  ]),
  ...cases(
    'RFC 9112 §5',
    'SHOULD',
    NAMES.map(([what, line]) => ({ title: `a field line with ${what} is refused with 400`, client: get(line), ...refused(400) })),
  ),
  ...cases('RFC 9110 §5.1', 'MUST', [
    {
      title: 'names are case-insensitive: CONTENT-LENGTH frames, cOnNeCtIoN closes',
      client: 'POST / HTTP/1.1\r\nhOST: a\r\nCONTENT-LENGTH: 5\r\ncOnNeCtIoN: CLOSE\r\n\r\nhello',
      got: { fields: { 'content-length': '5', connection: [] }, body: 'hello' },
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'fields that nobody knows go on',
      client: get('X-Nobody-Knows: 1', "!#$%&'*+.^_`|~: 2"),
      got: { head: "X-Nobody-Knows: 1\r\n!#$%&'*+.^_`|~: 2\r\n" },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §5.3', 'MUST', [
    {
      title: 'lines of one name go to the server in their order',
      pitfall: 'order',
      client: get('Accept: a/1', 'X-O: 1', 'Accept: b/2', 'X-O: 2', 'Accept: c/3'),
      got: { fields: { accept: ['a/1', 'b/2', 'c/3'], 'x-o': ['1', '2'] } },
      answer: { status: 200 },
    },
    {
      title: 'lines of one name go to the server in their order, also when others of them end here',
      pitfall: 'order',
      client: get('X-O: 1', 'Connection: X-Hop', 'X-Hop: 1', 'X-O: 2', 'TE: trailers', 'X-O: 3'),
      got: { fields: { 'x-o': ['1', '2', '3'], 'x-hop': [] } },
      answer: { status: 200 },
    },
    {
      title: 'lines of one name go to the client in their order',
      pitfall: 'order',
      client: get(),
      server: 'HTTP/1.1 200 OK\r\nLink: </1>\r\nContent-Length: 2\r\nVary: a\r\nLink: </2>\r\nVary: b\r\nLink: </3>\r\n\r\nok',
      answer: { fields: { link: ['</1>', '</2>', '</3>'], vary: ['a', 'b'] } },
    },
    {
      title: 'each Set-Cookie stays a line of its own',
      pitfall: 'order',
      client: get(),
      server:
        'HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2, c\r\nset-cookie: d=3; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 2\r\n\r\nok',
      answer: { fields: { 'set-cookie': ['a=1; Path=/', 'b=2, c', 'd=3; Expires=Wed, 21 Oct 2026 07:28:00 GMT'] } },
    },
    {
      title: 'each Set-Cookie stays a line of its own, also when other lines end here',
      pitfall: 'order',
      client: get(),
      server: 'HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nConnection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok',
      answer: { fields: { 'set-cookie': ['a=1', 'b=2'], 'x-hop': [] } },
    },
  ]),
  ...cases('RFC 9110 §5.3', 'choice', [
    {
      title: 'lines of one name are not joined, and names keep their spelling',
      why: 'joining is allowed for lists; leaving them alone is always right',
      pitfall: 'order',
      client: get('x-LiSt: a,  b ,c', 'X-list: d'),
      got: { head: 'x-LiSt: a,  b ,c\r\nX-list: d\r\n' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §5.4', 'MUST', [
    {
      title: 'a head larger than what is read is answered with a 4xx: 431',
      pitfall: 'statuses',
      client: get(`X: ${'x'.repeat(33_000)}`),
      ...refused(431),
    },
  ]),
  ...cases('RFC 6585 §5', 'choice', [
    {
      title: 'more fields than are read are answered with 431',
      why: '100 lines, 32 KiB (limits.headers, limits.head)',
      pitfall: 'statuses',
      client: get(...Array.from({ length: 100 }, (_, i) => `X-${i}: y`)),
      ...refused(431),
    },
    {
      title: 'exactly as many fields as are read pass',
      why: 'a limit is tested on both sides',
      client: request('GET /', ...Array.from({ length: 99 }, (_, i) => `X-${i}: y`)),
      got: { fields: { 'x-98': 'y' } },
      answer: { status: 200 },
    },
  ]),
]
