import { type Case, cases, get, post, request } from './case.ts'

const GONE = { bytes: '', then: 'close' } as const
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const TERMINATED = { status: 502, fields: { 'proxy-status': /^spillway; error=connection_terminated/ } } as const

export const RETRIES: readonly Case[] = [
  ...cases('RFC 9110 §9.2.2', 'MUST', [
    {
      title: 'POST on a connection that breaks is not sent again',
      pitfall: 'retry',
      gateway: 'pair',
      client: post('Content-Length: 5', 'hello'),
      server: [GONE, OK],
      got: [{ line: 'POST / HTTP/1.1' }],
      answer: TERMINATED,
    },
    {
      title: 'PATCH on a connection that breaks is not sent again',
      pitfall: 'retry',
      gateway: 'pair',
      client: request('PATCH /'),
      server: [GONE, OK],
      got: [{ line: 'PATCH / HTTP/1.1' }],
      answer: TERMINATED,
    },
    {
      title: 'a method that nobody knows is not sent again',
      pitfall: 'retry',
      gateway: 'pair',
      client: request('FROB /'),
      server: [GONE, OK],
      got: [{ line: 'FROB / HTTP/1.1' }],
      answer: TERMINATED,
    },
    {
      title: 'POST is not sent again on a kept connection that has gone stale either',
      pitfall: 'retry',
      gateway: 'pair',
      client: [get(), { reads: 'ok' }, post('Content-Length: 5', 'hello')],
      methods: ['GET', 'POST'],
      server: [OK, GONE, OK],
      got: [{ line: 'GET / HTTP/1.1' }, { line: 'POST / HTTP/1.1' }],
      answer: [{ status: 200 }, TERMINATED],
    },
    {
      title: 'GET is not sent again once a part of its answer has gone on',
      pitfall: 'retry',
      gateway: 'pair',
      client: get(),
      server: [{ bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart', then: 'close' }, OK],
      got: [{ line: 'GET / HTTP/1.1' }],
      answer: { status: 200, body: 'part' },
      ends: 'broken',
    },
  ]),
  ...cases('RFC 9110 §9.2.2', 'choice', [
    ...['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'].map((method) => ({
      title: `${method} on a connection that breaks is sent to another server, once`,
      why: 'what is idempotent may be repeated where the first try left no answer',
      pitfall: 'retry' as const,
      gateway: 'pair' as const,
      client: request(`${method} /`),
      server: [GONE, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
      got: [{ line: `${method} / HTTP/1.1` }, { line: `${method} / HTTP/1.1` }],
      answer: { status: 200 },
    })),
    {
      title: 'a body that is sent again is the same body',
      why: 'as above',
      pitfall: 'retry',
      gateway: 'pair',
      client: 'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n',
      server: [GONE, OK],
      got: [{ body: '5\r\nhello\r\n0\r\nX: y\r\n\r\n' }, { body: '5\r\nhello\r\n0\r\nX: y\r\n\r\n' }],
      answer: { status: 200 },
    },
    {
      title: 'an answer is an answer: a GET whose server says 503 is not sent again',
      why: 'a server that has answered has decided',
      pitfall: 'retry',
      gateway: 'pair',
      client: get(),
      server: ['HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n', OK],
      got: [{ line: 'GET / HTTP/1.1' }],
      answer: { status: 503 },
    },
    {
      title: 'a bad answer is an answer, too: not sent again',
      why: 'as above',
      gateway: 'pair',
      client: post('Content-Length: 5', 'hello'),
      server: ['nonsense\r\n\r\n', OK],
      got: [{ line: 'POST / HTTP/1.1' }],
      answer: { status: 502, fields: { 'proxy-status': /http_protocol_error/ } },
    },
  ]),
]
