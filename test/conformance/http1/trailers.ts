import { answered, type Case, cases, chunked, get } from './case.ts'

const KEPT_OUT = [
  'Content-Length: 9',
  'Transfer-Encoding: gzip',
  'Host: b',
  'Authorization: x',
  'Cookie: a=b',
  'Content-Type: a/b',
  'Content-Encoding: x',
] as const
const OURS = [
  'X-Forwarded-For: 9.9.9.9',
  'x_forwarded_for: 9.9.9.9',
  'Forwarded: for=9.9.9.9',
  'Spillway-Job: j',
  'Connection: x',
  'TE: x',
  'Trailer: x',
] as const
const KEPT_OUT_OF_ANSWERS = [
  'Set-Cookie: a=b',
  'Content-Length: 9',
  'Transfer-Encoding: x',
  'Content-Range: bytes 0-1/2',
  'Cache-Control: public',
  'Spillway-Retry: never',
] as const

export const TRAILERS: readonly Case[] = [
  ...cases('RFC 9112 §7.1.2', 'MUST', [
    {
      title: 'trailers of a request reach the server as trailers, in their order, not as headers',
      pitfall: 'trailers',
      client: chunked('5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\nX-Other:\r\n\r\n', 'Trailer: X-Sum'),
      got: { fields: { 'x-sum': [], trailer: 'X-Sum' }, body: '5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\nX-Other: \r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'trailers of an answer reach the client as trailers, in their order, not as headers',
      pitfall: 'trailers',
      client: get('TE: trailers'),
      server: answered('200 OK', ['Transfer-Encoding: chunked', 'Trailer: X-Sum'], '2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n'),
      answer: {
        fields: { 'x-sum': [], trailer: 'X-Sum' },
        body: 'ok',
        trailers: [
          ['X-Sum', '1'],
          ['X-Sum', '2'],
        ],
      },
    },
  ]),
  ...cases(
    'RFC 9110 §6.5.1',
    'MUST',
    [...KEPT_OUT, ...OURS].map((line) => ({
      title: `${line.slice(0, line.indexOf(':'))} in the trailers of a request does not reach the server`,
      pitfall: 'trailers' as const,
      client: chunked(`5\r\nhello\r\n0\r\n${line}\r\nX-Sum: 1\r\n\r\n`),
      got: { body: '5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n' },
      answer: { status: 200 },
    })),
  ),
  ...cases(
    'RFC 9110 §6.5.1',
    'MUST',
    KEPT_OUT_OF_ANSWERS.map((line) => ({
      title: `${line.slice(0, line.indexOf(':'))} in the trailers of an answer does not reach the client`,
      pitfall: 'trailers' as const,
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked'], `2\r\nok\r\n0\r\n${line}\r\nX-Sum: 1\r\n\r\n`),
      answer: { trailers: [['X-Sum', '1']] as const, body: 'ok' },
    })),
  ),
  ...cases('RFC 9110 §6.5.1', 'MUST', [
    {
      title: 'trailers are left out where there is no place for them: an HTTP/1.0 client',
      pitfall: 'trailers',
      client: 'GET / HTTP/1.0\r\nHost: a\r\n\r\n',
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n'),
      answer: { framing: 'close', body: 'ok', fields: { 'x-sum': [] } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9110 §6.5.1', 'choice', [
    {
      title: 'trailers go on also to clients that did not ask for them with TE',
      why: 'who does not want them skips them; TE is not passed on, so that a server cannot know',
      pitfall: 'trailers',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n'),
      answer: { trailers: [['X-Sum', '1']] },
    },
  ]),
  ...cases('RFC 9112 §7.1.2', 'SHOULD', [
    ...(
      [
        ['a trailer without a colon', 'nonsense'],
        ['a folded trailer', 'X: y\r\n z'],
        ['a blank between the name of a trailer and its colon', 'X : y'],
        ['NUL in a trailer', 'X: \0'],
      ] as const
    ).map(([what, line]) => ({
      title: `${what} is refused with 400`,
      pitfall: 'trailers' as const,
      client: chunked(`5\r\nhello\r\n0\r\n${line}\r\n\r\n`),
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed' as const,
    })),
    {
      title: 'a trailer that is no field in an answer: the client does not see an end',
      pitfall: 'truncated',
      client: [get(), { reads: 'ok' }, { adds: '0\r\nnonsense\r\n\r\n' }],
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '2\r\nok\r\n'),
      answer: { status: 200, body: 'ok' },
      ends: 'broken',
    },
  ]),
  ...cases('RFC 9110 §5.4', 'MUST', [
    {
      title: 'trailers larger than a head may be are refused with a 4xx',
      pitfall: 'trailers',
      client: chunked(`0\r\nX: ${'x'.repeat(33_000)}\r\n\r\n`),
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
]
