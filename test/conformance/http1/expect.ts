import { answered, type Case, cases, get, okWith, refused, request } from './case.ts'

const HINT_A = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n'
const HINT_B = 'HTTP/1.1 103 Early Hints\r\nLink: </b>; rel=preload\r\n\r\n'
const EXPECTING = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n'
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'

export const EXPECT_AND_1XX: readonly Case[] = [
  ...cases('RFC 9110 §10.1.1', 'MUST', [
    {
      title: 'a client that expects 100 gets it before its body is waited for',
      pitfall: 'expect',
      client: [EXPECTING, { reads: CONTINUE }, 'hello'],
      got: { body: 'hello' },
      answer: [{ status: 100 }, { status: 200 }],
    },
    {
      title: 'the expectation is read in any case',
      pitfall: 'expect',
      client: [EXPECTING.replace('100-continue', '100-Continue'), { reads: CONTINUE }, 'hello'],
      answer: [{ status: 100 }, { status: 200 }],
    },
    {
      title: 'chunks are waited for with 100, too',
      pitfall: 'expect',
      client: [
        'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n',
        { reads: CONTINUE },
        '5\r\nhello\r\n0\r\n\r\n',
      ],
      got: { body: '5\r\nhello\r\n0\r\n\r\n' },
      answer: [{ status: 100 }, { status: 200 }],
    },
    {
      title: 'an expectation in an HTTP/1.0 request is ignored',
      pitfall: 'expect',
      client: 'POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\nhello',
      got: { fields: { expect: [] }, body: 'hello' },
      answer: [{ status: 200 }],
    },
    {
      title: 'a request that is refused gets its final answer and no 100',
      pitfall: 'expect',
      client: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3001\r\nExpect: 100-continue\r\n\r\n',
      ...refused(413),
    },
  ]),
  ...cases('RFC 9110 §10.1.1', 'SHOULD', [
    {
      title: 'a final answer before the body says that the connection closes, and what follows is no request',
      pitfall: 'expect',
      client: [EXPECTING.replace('POST / ', 'POST /a/../b '), { reads: 'bad_path' }, get()],
      got: [],
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9110 §10.1.1', 'choice', [
    {
      title: 'the gateway itself answers the expectation as soon as it has a server, which gets head and body without it',
      why: 'as for an origin server; a server that never heard of expectations does as well, and a retry has the body at hand',
      pitfall: 'expect',
      client: [EXPECTING, { reads: CONTINUE }, { reached: 'POST / HTTP/1.1' }, 'hello'],
      got: { fields: { expect: [], 'content-length': '5' }, body: 'hello' },
      answer: [{ status: 100 }, { status: 200 }],
    },
    {
      title: 'no 100 when the body is there already',
      why: 'it may be left out then',
      pitfall: 'expect',
      client: `${EXPECTING}hello`,
      got: { body: 'hello' },
      answer: [{ status: 200 }],
    },
    {
      title: 'no 100 where no body is announced',
      why: 'it may be left out then',
      client: get('Expect: 100-continue'),
      got: { fields: { expect: [] } },
      answer: [{ status: 200 }],
    },
    {
      title: 'another expectation is refused with 417',
      why: 'it may be',
      pitfall: 'expect',
      client: get('Expect: 200-maybe'),
      ...refused(417),
    },
    {
      title: 'another expectation beside 100-continue is refused with 417',
      why: 'it may be',
      client: get('Expect: 100-continue, x=y'),
      ...refused(417),
    },
  ]),
  ...cases('RFC 9110 §15.2', 'MUST', [
    {
      title: 'informational answers go on, each, in their order',
      pitfall: 'informational',
      client: get(),
      server: HINT_A + HINT_B + okWith(),
      answer: [
        { status: 103, fields: { link: '</a>; rel=preload' } },
        { status: 103, fields: { link: '</b>; rel=preload' } },
        { status: 200 },
      ],
    },
    {
      title: 'informational answers that nobody knows go on',
      pitfall: 'informational',
      client: get(),
      server: `HTTP/1.1 199 Whatever\r\nX: y\r\n\r\n${okWith()}`,
      answer: [{ status: 199, reason: 'Whatever', fields: { x: 'y' } }, { status: 200 }],
    },
    {
      title: '102 goes on',
      pitfall: 'informational',
      client: get(),
      server: `HTTP/1.1 102 Processing\r\n\r\n${okWith()}`,
      answer: [{ status: 102 }, { status: 200 }],
    },
    {
      title: '100 of a server goes on',
      pitfall: 'informational',
      client: get(),
      server: `${CONTINUE}${okWith()}`,
      answer: [{ status: 100 }, { status: 200 }],
    },
    {
      title: 'no informational answer goes to an HTTP/1.0 client',
      pitfall: 'informational',
      client: 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
      server: CONTINUE + HINT_A + okWith(),
      answer: [{ status: 200 }],
    },
    {
      title: 'informational answers are read before a HEAD’s, too',
      pitfall: 'informational',
      client: request('HEAD /'),
      server: HINT_A + answered('200 OK', ['Content-Length: 9']),
      answer: [{ status: 103 }, { status: 200, fields: { 'content-length': '9' } }],
    },
  ]),
  ...cases('RFC 9110 §7.6.1', 'MUST', [
    {
      title: 'what ends here ends here in informational answers, too',
      pitfall: 'connection',
      client: get(),
      server: `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n${okWith()}`,
      answer: [{ status: 103, fields: { link: '</a>', connection: [], 'x-hop': [], 'keep-alive': [] } }, { status: 200 }],
    },
  ]),
  ...cases('RFC 9112 §6.1', 'MUST', [
    {
      title: 'an informational answer goes on without any framing',
      pitfall: 'bodiless',
      client: get(),
      server: `HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n${okWith()}`,
      answer: [{ status: 103, fields: { 'transfer-encoding': [], 'content-length': [] } }, { status: 200 }],
    },
  ]),
  ...cases('RFC 9110 §6.6.1', 'MUST', [
    {
      title: 'an informational answer without a Date gets one on its way',
      client: get(),
      server: HINT_A + okWith(),
      answer: [{ status: 103, fields: { date: / GMT$/ } }, { status: 200 }],
    },
  ]),
  ...cases('RFC 8297 §2', 'choice', [
    {
      title: 'Early Hints go on at once, before the server has its answer',
      why: 'that is what they are for',
      pitfall: 'informational',
      client: [get(), { reads: 'rel=preload\r\n' }, { adds: okWith() }],
      server: HINT_A,
      answer: [{ status: 103 }, { status: 200 }],
    },
  ]),
  ...cases('RFC 9110 §15.2', 'choice', [
    {
      title: 'more than 32 informational answers are a bad answer: 502',
      why: 'a server that never comes to an end shall not keep a client for ever',
      client: get(),
      server: HINT_A.repeat(33) + okWith(),
      answer: [...Array.from({ length: 32 }, () => ({ status: 103 })), { status: 502, fields: { 'proxy-status': /http_protocol_error/ } }],
    },
    {
      title: 'a server that goes after an informational answer: 502',
      why: 'it never answered',
      client: get(),
      server: { bytes: HINT_A, then: 'close' },
      answer: [{ status: 103 }, { status: 502, fields: { 'proxy-status': /connection_terminated/ } }],
    },
  ]),
]
