import { answered, type Case, cases, OK_BODY, okWith } from './case.ts'

const OLD = 'GET / HTTP/1.0\r\nHost: a\r\n\r\n'
const KEPT = 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n'

export const HTTP_1_0: readonly Case[] = [
  ...cases('RFC 9112 §9.3', 'MUST', [
    {
      title: 'an HTTP/1.0 connection closes behind its answer',
      client: OLD,
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    { title: 'behind it nothing is read', client: OLD + OLD, got: [{ line: 'GET / HTTP/1.1' }], answer: { status: 200 }, ends: 'closed' },
    {
      title: 'Proxy-Connection does not keep it',
      client: 'GET / HTTP/1.0\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n',
      answer: { status: 200 },
      ends: 'closed',
    },
    {
      title: 'close outranks keep-alive in HTTP/1.0, too',
      client: 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n',
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'an HTTP/1.0 server that does not say keep-alive is asked on a new connection',
      client: OLD.replace('1.0', '1.1'),
      server: 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
      answer: { status: 200 },
      connections: 2,
    },
  ]),
  ...cases('RFC 9112 §9.3', 'choice', [
    {
      title: 'keep-alive of an HTTP/1.0 client is honoured, and said',
      why: 'what must not do it is a proxy that the client chose; to its clients a gateway is the server',
      client: KEPT,
      answer: { status: 200, fields: { connection: 'keep-alive' } },
    },
    {
      title: 'keep-alive of an HTTP/1.0 server is honoured',
      why: 'as any client may',
      client: KEPT,
      server: 'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok',
      answer: { status: 200 },
      connections: 1,
    },
  ]),
  ...cases('RFC 9112 §6.1', 'MUST', [
    {
      title: 'chunks of a server go to an HTTP/1.0 client without chunks, and end with the connection',
      client: KEPT,
      server: answered('200 OK', ['Transfer-Encoding: chunked'], '2\r\nok\r\n0\r\n\r\n'),
      answer: { framing: 'close', body: OK_BODY, fields: { 'transfer-encoding': [], connection: 'close' } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §6.3', 'MUST', [
    {
      title: 'a body without an end of its own goes to an HTTP/1.0 client until the connection ends',
      client: KEPT,
      server: { bytes: 'HTTP/1.1 200 OK\r\n\r\nuntil the end', then: 'close' },
      answer: { framing: 'close', body: 'until the end' },
      ends: 'closed',
    },
    {
      title: 'a body with a length goes to an HTTP/1.0 client with it',
      client: KEPT,
      server: okWith(),
      answer: { framing: 'length', body: OK_BODY },
    },
    {
      title: 'a body of an HTTP/1.0 client is as long as it says',
      client: 'POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello',
      got: { fields: { 'content-length': '5' }, body: 'hello' },
      answer: { status: 200 },
    },
    {
      title: 'an HTTP/1.0 request without a Content-Length has no body',
      client: 'POST / HTTP/1.0\r\nHost: a\r\n\r\nhello',
      got: [{ fields: { 'content-length': '0' }, body: '' }],
      answer: { status: 200 },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §3.2', 'MUST', [
    {
      title: 'HTTP/1.0 need not name a host: HTTP/1.1 to the server does, it is given the name of the gateway',
      pitfall: 'host',
      client: 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
      got: { fields: { host: 'spillway' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §6.2', 'SHOULD', [
    {
      title: 'answers to HTTP/1.0 say HTTP/1.1: the version of who speaks',
      pitfall: 'version',
      client: OLD,
      answer: { status: 200 },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §8', 'MUST', [
    {
      title: 'an answer that breaks off does not end orderly for an HTTP/1.0 client, who has no other sign',
      pitfall: 'truncated',
      client: OLD,
      server: { bytes: answered('200 OK', ['Transfer-Encoding: chunked'], '4\r\npart\r\n'), then: 'close' },
      answer: { status: 200 },
      ends: 'reset',
    },
  ]),
]
