import { answered, type Case, cases, chunked, get } from './case.ts'

const INVALID: readonly (readonly [string, string])[] = [
  ['a size without digits', '\r\nhello\r\n0\r\n\r\n'],
  ['a size that is not hexadecimal', 'g\r\nhello\r\n0\r\n\r\n'],
  ['a negative size', '-5\r\nhello\r\n0\r\n\r\n'],
  ['a plus before the size', '+5\r\nhello\r\n0\r\n\r\n'],
  ['0x before the size', '0x5\r\nhello\r\n0\r\n\r\n'],
  ['an underscore in the size', '0_5\r\nhello\r\n0\r\n\r\n'],
  ['a blank before the size', ' 5\r\nhello\r\n0\r\n\r\n'],
  ['a blank behind the size and no extension', '5 \r\nhello\r\n0\r\n\r\n'],
  ['a bare LF behind the size', '5\nhello\r\n0\r\n\r\n'],
  ['a bare CR behind the size', '5\rhello\r\n0\r\n\r\n'],
  ['CR and another byte than LF behind the size', '5\rXhello\r\n0\r\n\r\n'],
  ['a bare LF behind the data', '5\r\nhello\n0\r\n\r\n'],
  ['CR and another byte than LF behind the data', '5\r\nhello\rX0\r\n\r\n'],
  ['no line end behind the data', '5\r\nhello0\r\n\r\n'],
  ['data longer than its size', '4\r\nhello\r\n0\r\n\r\n'],
  ['data shorter than its size', '6\r\nhello\r\n0\r\n\r\n'],
  ['a bare LF in an extension', '5;a\nhello\r\n0\r\n\r\n'],
  ['a bare CR in an extension', '5;a\rb\r\nhello\r\n0\r\n\r\n'],
  ['NUL in an extension', '5;a=\0\r\nhello\r\n0\r\n\r\n'],
]

const SIZES: readonly (readonly [string, string])[] = [
  ['beyond 2^64', '10000000000000005\r\nhello\r\n0\r\n\r\n'],
  ['of 2^53 and 1', '20000000000001\r\nhello\r\n0\r\n\r\n'],
  ['of 300 digits', `${'f'.repeat(300)}\r\nhello\r\n0\r\n\r\n`],
]

/** Refused, whatever of it has reached a server before: that sees a broken request. */
const BROKEN = { answer: { status: 400, fields: { connection: 'close', 'proxy-status': /http_request_error/ } }, ends: 'closed' } as const

export const CHUNKED: readonly Case[] = [
  ...cases('RFC 9112 §7.1', 'MUST', [
    {
      title: 'chunks of a request reach the server as chunks',
      client: chunked('5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'),
      got: { fields: { 'transfer-encoding': 'chunked', 'content-length': [] }, body: '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'chunks of an answer reach the client whole',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'),
      answer: { framing: 'chunked', body: 'hello world' },
    },
    {
      title: 'a chunked body without a byte is a body without a byte',
      client: chunked('0\r\n\r\n'),
      got: { fields: { 'transfer-encoding': 'chunked' }, body: '0\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'sizes in upper and lower case, and with zeros in front, are read',
      client: chunked(`A\r\n${'x'.repeat(10)}\r\n00a\r\n${'y'.repeat(10)}\r\n000\r\n\r\n`),
      got: { body: `a\r\n${'x'.repeat(10)}\r\na\r\n${'y'.repeat(10)}\r\n0\r\n\r\n` },
      answer: { status: 200 },
    },
    {
      title: 'data that looks like chunks is data',
      client: chunked('b\r\n3\r\nabc\r\n4\r\n\r\n0\r\n\r\n'),
      got: { body: 'b\r\n3\r\nabc\r\n4\r\n\r\n0\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'what stands behind the last chunk is the next request',
      client: `${chunked('5\r\nhello\r\n0\r\n\r\n')}${get()}`,
      methods: ['POST', 'GET'],
      got: [{ line: 'POST / HTTP/1.1' }, { line: 'GET / HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 200 }],
    },
    ...SIZES.map(([what, body]) => ({
      title: `a size ${what} is refused, not cut down`,
      pitfall: 'chunks' as const,
      client: chunked(body),
      ...BROKEN,
    })),
    {
      title: 'chunks that go wrong when a part has reached the server: it never sees their end',
      pitfall: 'truncated',
      client: [chunked('5\r\nhello\r\n'), { reached: 'hello' }, 'zz\r\n'],
      got: { body: '5\r\nhello\r\n', cut: true },
      ...BROKEN,
    },
    {
      title: 'a client that goes before the last chunk: the server never sees an end',
      pitfall: 'truncated',
      client: [chunked('5\r\nhello\r\n'), { reached: 'hello' }, { ends: true }],
      got: { body: '5\r\nhello\r\n', cut: true },
      answer: [],
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §7.1', 'SHOULD', [
    ...INVALID.map(([what, body]) => ({
      title: `${what} is refused with 400`,
      pitfall: 'chunks' as const,
      client: chunked(body),
      ...BROKEN,
    })),
  ]),
  ...cases('RFC 9112 §7.1.1', 'MUST', [
    {
      title: 'extensions of a request are ignored, and not passed on',
      client: chunked('5;a=b;c="d e"\r\nhello\r\n0;z\r\n\r\n'),
      got: { body: '5\r\nhello\r\n0\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'extensions of an answer are ignored',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '5;a=b\r\nhello\r\n0;z\r\n\r\n'),
      answer: { body: 'hello' },
    },
  ]),
  ...cases('RFC 9110 §5.6.3', 'MUST', [
    {
      title: 'blanks before an extension are read over',
      pitfall: 'chunks',
      client: chunked('5 ;a=b\r\nhello\r\n0\t ; z\r\n\r\n'),
      got: { body: '5\r\nhello\r\n0\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'blanks before an extension of an answer are read over',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '5 ;a=b\r\nhello\r\n0 ;z\r\n\r\n'),
      answer: { body: 'hello' },
    },
  ]),
  ...cases('RFC 9112 §7.1.1', 'choice', [
    {
      title: 'extensions longer than 1024 bytes together are refused with 400',
      why: 'they ought to be limited; as many are read',
      pitfall: 'chunks',
      client: chunked(`${`1;${'e'.repeat(300)}\r\nx\r\n`.repeat(4)}0\r\n\r\n`),
      ...BROKEN,
    },
    {
      title: 'blanks before an extension count',
      why: 'as above',
      pitfall: 'chunks',
      client: chunked(`5${' '.repeat(1025)};a\r\nhello\r\n0\r\n\r\n`),
      ...BROKEN,
    },
  ]),
  ...cases('RFC 9112 §7.1', 'choice', [
    {
      title: 'a size of more than 12 digits is refused, zeros included',
      why: '2^48 bytes are more than any chunk has',
      pitfall: 'chunks',
      client: chunked('0000000000005\r\nhello\r\n0\r\n\r\n'),
      ...BROKEN,
    },
  ]),
  ...cases('RFC 9112 §8', 'MUST', [
    {
      title: 'a chunk size of an answer that is none: the client does not see an end',
      pitfall: 'truncated',
      client: [get(), { reads: 'hello' }, { adds: 'zz\r\n0\r\n\r\n' }],
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n'),
      answer: { status: 200, body: 'hello' },
      ends: 'broken',
    },
    {
      title: 'an answer that ends before its last chunk: the client does not see an end',
      pitfall: 'truncated',
      client: get(),
      server: { bytes: answered('200 OK', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n'), then: 'close' },
      answer: { status: 200, body: 'hello' },
      ends: 'broken',
    },
    {
      title: 'an answer that ends within its trailers: the client does not see an end',
      pitfall: 'truncated',
      client: get(),
      server: { bytes: answered('200 OK', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\nX: y\r\n'), then: 'close' },
      answer: { status: 200, body: 'hello' },
      ends: 'broken',
    },
  ]),
  ...cases('RFC 9110 §15.5.14', 'choice', [
    {
      title: 'chunks that are more than a body may be are refused with 413',
      why: 'limits.body',
      pitfall: 'statuses',
      client: chunked(`bb9\r\n${'b'.repeat(3001)}\r\n0\r\n\r\n`),
      answer: { status: 413, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'chunks that are as much as a body may be pass',
      why: 'a limit is tested on both sides',
      client: chunked(`bb8\r\n${'b'.repeat(3000)}\r\n0\r\n\r\n`),
      got: { body: `bb8\r\n${'b'.repeat(3000)}\r\n0\r\n\r\n` },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §7.1', 'choice', [
    {
      title: 'a chunked body stays chunked, a body with a length keeps its length',
      why: 'a known end is not given up, and what streams is not collected',
      client: get(),
      server: answered('200 OK', ['Content-Length: 5'], 'hello'),
      answer: { framing: 'length', body: 'hello' },
    },
  ]),
]
