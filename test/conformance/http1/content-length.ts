import { answered, type Case, cases, get, OK_BODY, post, refused, request } from './case.ts'

const INVALID: readonly (readonly [string, string])[] = [
  ['a plus', '+5'],
  ['a minus', '-5'],
  ['hexadecimal digits', '0x5'],
  ['an underscore', '0_5'],
  ['a point', '5.0'],
  ['an exponent', '5e0'],
  ['a blank inside', '5 0'],
  ['no digits', ''],
  ['a comma at its end', '5,'],
  ['digits of another script', '\xd9\xa5'],
]

export const CONTENT_LENGTH: readonly Case[] = [
  ...cases(
    'RFC 9112 §6.3',
    'MUST',
    INVALID.map(([what, value]) => ({
      title: `a request whose Content-Length has ${what} is refused with 400`,
      pitfall: 'content-length' as const,
      client: post(`Content-Length: ${value}`, 'hello'),
      ...refused(400),
    })),
  ),
  ...cases(
    'RFC 9110 §8.6',
    'MUST',
    (
      [
        ['2^53', '9007199254740997'],
        ['2^64', '18446744073709551621'],
      ] as const
    ).map(([what, value]) => ({
      title: `a Content-Length beyond ${what} is refused, not rounded or cut down`,
      pitfall: 'content-length' as const,
      client: post(`Content-Length: ${value}`, 'hello'),
      ...refused(400),
    })),
  ),
  ...cases('RFC 9112 §6.3', 'MUST', [
    {
      title: 'differing Content-Lengths are refused with 400',
      pitfall: 'content-length',
      client: post(['Content-Length: 5', 'Content-Length: 6'], 'hello!'),
      ...refused(400),
    },
    {
      title: 'differing Content-Lengths in one line are refused with 400',
      pitfall: 'content-length',
      client: post('Content-Length: 5, 6', 'hello!'),
      ...refused(400),
    },
    {
      title: 'without Content-Length and Transfer-Encoding a request has no body: what follows is the next one',
      client: `${request('POST /first')}${request('GET /second')}`,
      methods: ['POST', 'GET'],
      got: [{ line: 'POST /first HTTP/1.1', body: '' }, { line: 'GET /second HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 200 }],
    },
    {
      title: 'the body is exactly as long as Content-Length says: what follows is the next request',
      client: `${post('Content-Length: 5', 'hello')}${request('GET /second')}`,
      methods: ['POST', 'GET'],
      got: [{ fields: { 'content-length': '5' }, body: 'hello' }, { line: 'GET /second HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 200 }],
    },
    {
      title: 'a Content-Length with zeros in front is the number that it says',
      client: post('Content-Length: 0005', 'hello'),
      got: { fields: { 'content-length': '5' }, body: 'hello' },
      answer: { status: 200 },
    },
    {
      title: 'a client that goes before the end of its body: the server sees a broken request, not a short one',
      pitfall: 'truncated',
      client: [post('Content-Length: 10', 'hello'), { reached: 'hello' }, { ends: true }],
      got: { fields: { 'content-length': '10' }, body: 'hello', cut: true },
      answer: [],
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9110 §8.6', 'choice', [
    {
      title: 'equal Content-Lengths in a request are refused',
      why: 'they may be refused or taken for one',
      pitfall: 'content-length',
      client: post(['Content-Length: 5', 'Content-Length: 5'], 'hello'),
      ...refused(400),
    },
    {
      title: 'a list of equal Content-Lengths in a request is refused',
      why: 'as above',
      pitfall: 'content-length',
      client: post('Content-Length: 5, 5', 'hello'),
      ...refused(400),
    },
    {
      title: 'equal Content-Lengths in an answer are taken for one',
      why: 'they may be taken for one, and a client is not made to pay for its server',
      pitfall: 'content-length',
      client: get(),
      server: answered('200 OK', ['Content-Length: 2', 'Content-Length: 2'], OK_BODY),
      answer: { status: 200, fields: { 'content-length': '2' }, body: OK_BODY },
    },
    {
      title: 'a list of equal Content-Lengths in an answer is refused with 502',
      why: 'as above',
      pitfall: 'content-length',
      client: get(),
      server: answered('200 OK', ['Content-Length: 2, 2'], OK_BODY),
      answer: { status: 502, fields: { 'proxy-status': /error=http_protocol_error/ } },
    },
  ]),
  ...cases(
    'RFC 9112 §6.3',
    'MUST',
    (
      [
        ['contradicting Content-Lengths', ['Content-Length: 2', 'Content-Length: 3']],
        ['a Content-Length with a plus', ['Content-Length: +2']],
        ['a hexadecimal Content-Length', ['Content-Length: 0x2']],
        ['a negative Content-Length', ['Content-Length: -2']],
        ['an empty Content-Length', ['Content-Length:']],
        ['a Content-Length beyond 2^64', ['Content-Length: 18446744073709551618']],
      ] as const
    ).map(([what, fields]) => ({
      title: `${what} in an answer: it is discarded, its connection closed, the client told 502`,
      pitfall: 'content-length' as const,
      client: get(),
      server: answered('200 OK', fields, OK_BODY),
      answer: { status: 502, fields: { 'proxy-status': /^spillway; error=http_protocol_error/ } },
      connections: 2,
    })),
  ),
  ...cases('RFC 9110 §8.6', 'SHOULD', [
    {
      title: 'POST without a body goes on with a Content-Length of 0',
      client: request('POST /'),
      got: { fields: { 'content-length': '0' }, body: '' },
      answer: { status: 200 },
    },
    {
      title: 'PUT without a body goes on with a Content-Length of 0',
      client: request('PUT /'),
      got: { fields: { 'content-length': '0' } },
      answer: { status: 200 },
    },
    {
      title: 'GET without a body goes on without a Content-Length',
      client: get(),
      got: { fields: { 'content-length': [], 'transfer-encoding': [] } },
      answer: { status: 200 },
    },
  ]),
  ...cases(
    'RFC 9112 §6',
    'MUST',
    ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'].map((method) => ({
      title: `framing is independent of the method: the body of ${method} goes on, and is no request`,
      client: `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`,
      got: { fields: { 'content-length': '5' }, body: 'hello' },
      answer: { status: 200 },
    })),
  ),
  ...cases('RFC 9112 §6', 'MUST', [
    {
      title: 'framing is independent of the method: the body of HEAD goes on, and is no request',
      client: `HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`,
      server: answered('200 OK', ['Content-Length: 7']),
      got: { fields: { 'content-length': '5' }, body: 'hello' },
      answer: { status: 200, fields: { 'content-length': '7' }, framing: 'none' },
    },
  ]),
  ...cases('RFC 9110 §15.5.14', 'choice', [
    {
      title: 'a body announced as larger than it may be is refused with 413, before a byte of it is read',
      why: 'limits.body; the connection closes, so that nobody takes the body for a request',
      pitfall: 'statuses',
      client: `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3001\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n`,
      ...refused(413),
    },
    {
      title: 'a body exactly as large as it may be passes',
      why: 'a limit is tested on both sides',
      client: post('Content-Length: 3000', 'b'.repeat(3000)),
      got: { body: 'b'.repeat(3000) },
      answer: { status: 200 },
    },
  ]),
]
