import { answered, type Case, cases, chunked, get, okWith } from './case.ts'

const HOP_FIELDS: readonly (readonly [string, string])[] = [
  ['Keep-Alive', 'timeout=5'],
  ['Proxy-Connection', 'keep-alive'],
  ['TE', 'trailers'],
  ['Upgrade', 'foo/2'],
]

export const HOP_BY_HOP: readonly Case[] = [
  ...cases('RFC 9110 §7.6.1', 'MUST', [
    {
      title: 'fields that Connection names do not reach the server, nor does Connection',
      pitfall: 'connection',
      client: get('Connection: X-A, keep-alive, x-b', 'X-A: 1', 'X-B: 2', 'X-C: 3'),
      got: { fields: { connection: [], 'x-a': [], 'x-b': [], 'x-c': '3' } },
      answer: { status: 200 },
    },
    {
      title: 'every Connection line counts, wherever it stands, and every line of a name',
      pitfall: 'connection',
      client: get('X-A: 1', 'Connection: x-a', 'X-A: 2', 'X-B: 3', 'CONNECTION: ,, X-b ,'),
      got: { fields: { connection: [], 'x-a': [], 'x-b': [] } },
      answer: { status: 200 },
    },
    {
      title: 'options that name no field are no fault',
      pitfall: 'connection',
      client: get('Connection: nothing, of-the-kind'),
      got: { fields: { connection: [] } },
      answer: { status: 200 },
    },
    {
      title: 'fields that Connection of an answer names do not reach the client, nor does Connection',
      pitfall: 'connection',
      client: get(),
      server: okWith('Connection: X-A, x-b', 'X-A: 1', 'x-b: 2', 'X-C: 3'),
      answer: { fields: { connection: [], 'x-a': [], 'x-b': [], 'x-c': '3' } },
    },
    {
      title: 'fields that Connection of an answer to HEAD names do not reach the client',
      pitfall: 'connection',
      client: get().replace('GET', 'HEAD'),
      server: answered('200 OK', ['Connection: X-A', 'X-A: 1', 'Content-Length: 5']),
      answer: { fields: { connection: [], 'x-a': [] } },
    },
    {
      title: 'trailers that Connection names do not reach the server',
      pitfall: 'trailers',
      client: chunked('5\r\nhello\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n', 'Connection: x-hop'),
      got: { body: '5\r\nhello\r\n0\r\nX-Sum: 2\r\n\r\n' },
      answer: { status: 200 },
    },
    {
      title: 'trailers that Connection of an answer names do not reach the client',
      pitfall: 'trailers',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked', 'Connection: X-Hop'], '2\r\nok\r\n0\r\nx-hop: 1\r\nX-Sum: 2\r\n\r\n'),
      answer: { body: 'ok', trailers: [['X-Sum', '2']] },
    },
  ]),
  ...cases('RFC 9110 §7.6.1', 'SHOULD', [
    ...HOP_FIELDS.map(([name, value]) => ({
      title: `${name} does not reach the server, also when Connection does not name it`,
      pitfall: 'connection' as const,
      client: get(`${name}: ${value}`),
      got: { fields: { [name.toLowerCase()]: [] } },
      answer: { status: 200 },
    })),
    ...HOP_FIELDS.map(([name, value]) => ({
      title: `${name} does not reach the client, also when Connection does not name it`,
      pitfall: 'connection' as const,
      client: get(),
      server: okWith(`${name}: ${value}`),
      answer: { fields: { [name.toLowerCase()]: [] } },
    })),
  ]),
  ...cases('RFC 9110 §10.1.4', 'MUST', [
    {
      title: 'TE with its option in Connection does not reach the server',
      pitfall: 'connection',
      client: get('TE: trailers, gzip;q=0.5', 'Connection: TE'),
      got: { fields: { te: [], connection: [] } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §7.6.1', 'departs from a MUST', [
    {
      title: 'Host, Content-Type, Cookie, Authorization and Idempotency-Key cannot be named away',
      why: 'they are for all recipients, no honest sender names them, and without them a server would take one client for another',
      pitfall: 'connection',
      client: get(
        'Connection: host, content-type, cookie, authorization, idempotency-key',
        ...['Content-Type: a/b', 'Cookie: c=1', 'Authorization: Basic eA==', 'Idempotency-Key: k'],
      ),
      got: { fields: { host: 'a', 'content-type': 'a/b', cookie: 'c=1', authorization: 'Basic eA==', 'idempotency-key': 'k' } },
      answer: { status: 200 },
    },
    {
      title: 'what the gateway says about the client cannot be named away',
      why: 'with it a client could hide its address',
      pitfall: 'client-address',
      client: get('Connection: x-forwarded-for, forwarded, via, x-forwarded-proto'),
      got: { fields: { 'x-forwarded-for': '127.0.0.1', forwarded: /for=127\.0\.0\.1/, via: '1.1 spillway', 'x-forwarded-proto': 'http' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §7.6', 'choice', [
    {
      title: 'Proxy-Authorization reaches the server',
      why: 'a gateway asks for no credentials of its own in it, and may relay those of a proxy behind it',
      client: get('Proxy-Authorization: Basic eA=='),
      got: { fields: { 'proxy-authorization': 'Basic eA==' } },
      answer: { status: 200 },
    },
    {
      title: 'Spillway-* of clients does not reach the server, in neither spelling',
      why: 'they are words between gateway and server: nobody else may use them',
      pitfall: 'client-address',
      client: get('Spillway-Job: j', 'SPILLWAY_FENCE: 9', 'Spillway-Attempt: 1'),
      got: { fields: { 'spillway-job': [], spillway_fence: [], 'spillway-attempt': [] } },
      answer: { status: 200 },
    },
    {
      title: 'Spillway-* of servers does not reach the client',
      why: 'as above',
      client: get(),
      server: okWith('Spillway-Retry: never', 'Spillway-Status: succeeded'),
      answer: { fields: { 'spillway-retry': [], 'spillway-status': [] } },
    },
  ]),
]
