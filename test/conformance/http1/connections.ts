import { answered, type Case, cases, get, okWith, post, refused, request } from './case.ts'

const HIDDEN = request('GET /hidden')

export const CONNECTIONS: readonly Case[] = [
  ...cases('RFC 9112 §9.3', 'SHOULD', [
    { title: 'an HTTP/1.1 connection stays without saying so', client: get(), answer: { fields: { connection: [], 'keep-alive': [] } } },
  ]),
  ...cases('RFC 9112 §9.3', 'MUST', [
    {
      title: 'Connection: close outranks keep-alive',
      client: get('Connection: keep-alive, close'),
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'close is found among other options, in any line, in any case',
      client: get('Connection: X-A', 'Connection: ,cLoSe ,'),
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'a request whose body was not read closes the connection: the rest is no request',
      client: `POST /a/../b HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${HIDDEN}`,
      got: [],
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'an answer before the end of the request closes the connection: the rest is no request',
      pitfall: 'expect',
      client: [`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello`, { reads: 'no' }, HIDDEN],
      server: { bytes: answered('403 No', ['Content-Length: 2'], 'no'), after: 'hello' },
      answer: { status: 403, fields: { connection: 'close' }, body: 'no' },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §9.6', 'MUST', [
    {
      title: 'behind Connection: close no further request is read',
      client: `${get('Connection: close')}${HIDDEN}`,
      got: { line: 'GET / HTTP/1.1' },
      answer: { status: 200, fields: { connection: 'close' } },
      ends: 'closed',
    },
    {
      title: 'Connection: close of a server closes that connection, not that of the client',
      pitfall: 'connection',
      client: get(),
      server: okWith('Connection: close'),
      answer: { status: 200, fields: { connection: [] } },
      connections: 2,
    },
  ]),
  ...cases('RFC 9112 §9.6', 'SHOULD', [
    {
      title: 'who is going to close says so',
      client: get('Connection: close'),
      answer: { fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §9.6', 'choice', [
    {
      title: 'a client that ends its side before it has its answer has gone: the server is hung up on',
      why: 'a half-closed connection may mean either; most who do it have gone, and nobody else would stop work that no one waits for',
      client: [get(), { reached: 'GET / ' }, { ends: true }],
      server: { bytes: '', after: 'GET / ' },
      got: { cut: true },
      answer: [],
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §9.3.2', 'MUST', [
    {
      title: 'pipelined requests are answered in their order',
      client: `${request('GET /1')}${post('Content-Length: 5', 'hello')}${request('HEAD /3')}${request('GET /4')}`,
      methods: ['GET', 'POST', 'HEAD', 'GET'],
      server: ['1', '2', '3', '4'].map((n) => answered('200 OK', ['Content-Length: 1'], n)),
      got: [
        { line: 'GET /1 HTTP/1.1' },
        { line: 'POST / HTTP/1.1', body: 'hello' },
        { line: 'HEAD /3 HTTP/1.1' },
        { line: 'GET /4 HTTP/1.1' },
      ],
      answer: [{ body: '1' }, { body: '2' }, { body: '' }, { body: '4' }],
    },
    {
      title: 'pipelined requests behind one that fails are answered all the same',
      client: `${request('GET /1')}${request('GET /a/../b')}${request('GET /3')}`,
      methods: ['GET', 'GET', 'GET'],
      got: [{ line: 'GET /1 HTTP/1.1' }, { line: 'GET /3 HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 400 }, { status: 200 }],
    },
    {
      title: 'pipelined requests before one that is invalid are answered, those behind it are not',
      client: `${request('GET /1')}GET / HTTP/1.1\r\nX : y\r\n\r\n${request('GET /3')}`,
      methods: ['GET', 'GET'],
      got: [{ line: 'GET /1 HTTP/1.1' }],
      answer: [{ status: 200 }, { status: 400, fields: { connection: 'close' } }],
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §9.3.2', 'choice', [
    {
      title: 'what a client pipelines is not pipelined to a server',
      why: 'it may be; one after the other, each request may go to another server, and none waits behind a slow one of somebody else',
      client: `${request('GET /1')}${request('GET /2')}${request('GET /3')}`,
      methods: ['GET', 'GET', 'GET'],
      answer: [{ status: 200 }, { status: 200 }, { status: 200 }],
      connections: 1,
    },
  ]),
  ...cases('RFC 9112 §9.3', 'SHOULD', [
    { title: 'connections to servers are kept and used again', client: get(), answer: { status: 200 }, connections: 1 },
    {
      title: 'a client that closes does not close the connection to the server',
      client: get('Connection: close'),
      got: { fields: { connection: [] } },
      answer: { status: 200 },
      ends: 'closed',
      connections: 1,
    },
  ]),
  ...cases('RFC 9112 §9.2', 'MUST', [
    {
      title: 'bytes behind an answer are nobody’s answer',
      client: get(),
      server: `${okWith()}${answered('200 OK', ['Content-Length: 6'], 'forged')}`,
      answer: { status: 200, body: 'ok' },
      connections: 2,
    },
    {
      title: 'a body behind an answer to HEAD is nobody’s answer',
      pitfall: 'bodiless',
      client: request('HEAD /'),
      server: answered('200 OK', ['Content-Length: 6'], 'forged'),
      answer: { status: 200, body: '', fields: { 'content-length': '6' } },
      connections: 2,
    },
    {
      title: 'a body behind a 304 is nobody’s answer',
      pitfall: 'bodiless',
      client: get(),
      server: answered('304 Not Modified', ['Content-Length: 6'], 'forged'),
      answer: { status: 304, body: '' },
      connections: 2,
    },
    {
      title: 'a body behind a 204 is nobody’s answer',
      pitfall: 'bodiless',
      client: get(),
      server: answered('204 No Content', [], 'forged'),
      answer: { status: 204, body: '' },
      connections: 2,
    },
    {
      title: 'chunks behind a 204 are nobody’s answer',
      pitfall: 'bodiless',
      client: get(),
      server: answered('204 No Content', ['Transfer-Encoding: chunked'], '6\r\nforged\r\n0\r\n\r\n'),
      answer: { status: 204, body: '', fields: { 'transfer-encoding': [] } },
      connections: 2,
    },
  ]),
  ...cases('RFC 9110 §15.5.9', 'choice', [
    {
      title: 'a head that does not end in time is answered with 408 and closed',
      why: 'timeouts.head; the client hears what was missing',
      pitfall: 'statuses',
      gateway: 'hasty',
      client: 'GET / HTTP/1.1\r\nHost: a\r\n',
      ...refused(408),
    },
    {
      title: 'a body that does not end in time is answered with 408 and closed, and the server sees no end',
      why: 'timeouts.body',
      pitfall: 'statuses',
      gateway: 'hasty',
      client: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello',
      got: { body: 'hello', cut: true },
      answer: { status: 408, fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §9.5', 'SHOULD', [
    {
      title: 'a connection on which nothing comes any more is closed orderly, without a word',
      gateway: 'hasty',
      client: get(),
      answer: { status: 200, fields: { connection: [] } },
      ends: 'closed',
    },
  ]),
]
