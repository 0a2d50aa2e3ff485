import { answered, type Case, cases, chunked, get, OK_BODY, post, refused, request } from './case.ts'

const CHUNKS = '5\r\nhello\r\n0\r\n\r\n'
const HIDDEN = request('GET /hidden')

/** A second request stands behind or inside one whose end could be disputed. */
const SMUGGLING: readonly (readonly [string, string])[] = [
  [
    'behind chunks, within the length (CL.TE)',
    post([`Content-Length: ${5 + HIDDEN.length}`, 'Transfer-Encoding: chunked'], `0\r\n\r\n${HIDDEN}`),
  ],
  ['within a chunk, behind the length (TE.CL)', post(['Transfer-Encoding: chunked', 'Content-Length: 4'], `22\r\n${HIDDEN}\r\n0\r\n\r\n`)],
  ['behind chunks, with a length of 0 (CL.0)', post(['Content-Length: 0', 'Transfer-Encoding: chunked'], `0\r\n\r\n${HIDDEN}`)],
]

const INVALID: readonly (readonly [string, readonly string[]])[] = [
  ['gzip alone', ['Transfer-Encoding: gzip']],
  ['identity', ['Transfer-Encoding: identity']],
  ['chunked, but not at its end', ['Transfer-Encoding: chunked, gzip']],
  ['nothing', ['Transfer-Encoding:']],
  ['chunked in quotes', ['Transfer-Encoding: "chunked"']],
  ['chunked and a form feed', ['Transfer-Encoding: chunked\x0c']],
  ['xchunked', ['Transfer-Encoding: xchunked']],
]

export const TRANSFER_ENCODING: readonly Case[] = [
  ...cases('RFC 9112 §6.1', 'MUST', [
    ...SMUGGLING.map(([what, client]) => ({
      title: `Content-Length beside Transfer-Encoding closes the connection: nothing hides ${what}`,
      pitfall: 'te-and-cl' as const,
      client,
      ...refused(400),
    })),
  ]),
  ...cases('RFC 9112 §6.1', 'choice', [
    {
      title: 'a request with both framings is refused, also when they agree',
      why: 'it may be refused or read by Transfer-Encoding alone; no honest client sends it',
      pitfall: 'te-and-cl',
      client: post(['Content-Length: 15', 'Transfer-Encoding: chunked'], CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §6.3', 'MUST', [
    {
      title: 'an answer with both framings goes on with one, its connection is not used again',
      pitfall: 'te-and-cl',
      client: get(),
      server: answered('200 OK', ['Content-Length: 5', 'Transfer-Encoding: chunked'], '2\r\nok\r\n0\r\n\r\n'),
      answer: { fields: { 'content-length': [], 'transfer-encoding': 'chunked' }, body: OK_BODY },
      connections: 2,
    },
    ...INVALID.map(([what, lines]) => ({
      title: `a request whose Transfer-Encoding is ${what} is refused with 400`,
      pitfall: 'transfer-encoding' as const,
      client: post(lines, CHUNKS),
      ...refused(400),
    })),
  ]),
  ...cases('RFC 9112 §6.1', 'SHOULD', [
    {
      title: 'a coding that is not understood before chunked is refused with 501',
      pitfall: 'statuses',
      client: chunked('').replace('chunked', 'gzip, chunked') + CHUNKS,
      ...refused(501),
    },
  ]),
  ...cases('RFC 9112 §6.1', 'MUST', [
    {
      title: 'HTTP/1.0 with Transfer-Encoding is refused and closed',
      pitfall: 'transfer-encoding',
      client: `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`,
      ...refused(400),
    },
    {
      title: 'an HTTP/1.0 answer with Transfer-Encoding: its connection is not used again',
      pitfall: 'transfer-encoding',
      client: get(),
      server: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      answer: { body: OK_BODY },
      connections: 2,
    },
  ]),
  ...cases('RFC 9112 §7', 'MUST', [
    {
      title: 'coding names are case-insensitive',
      client: `POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n${CHUNKS}`,
      got: { fields: { 'transfer-encoding': 'chunked', 'content-length': [] }, body: CHUNKS },
      answer: { status: 200 },
    },
    {
      title: 'coding names of an answer are case-insensitive',
      client: get(),
      server: answered('200 OK', ['TRANSFER-ENCODING: Chunked'], '2\r\nok\r\n0\r\n\r\n'),
      answer: { framing: 'chunked', body: OK_BODY },
    },
  ]),
  ...cases('RFC 9112 §6.3', 'choice', [
    {
      title: 'an answer whose Transfer-Encoding does not end in chunked is refused with 502',
      why: 'its end would be that of the connection, and nobody asked for such a coding (TE is not passed on)',
      client: get(),
      server: { bytes: answered('200 OK', ['Transfer-Encoding: gzip'], 'zipped'), then: 'close' },
      answer: { status: 502, fields: { 'proxy-status': /http_protocol_error/ } },
    },
    {
      title: 'an answer that is chunked twice is refused with 502',
      why: 'no sender may do it',
      client: get(),
      server: answered('200 OK', ['Transfer-Encoding: chunked, chunked'], '2\r\nok\r\n0\r\n\r\n'),
      answer: { status: 502 },
    },
  ]),
  ...cases('RFC 9110 §5.6.1.2', 'departs from a MUST', [
    {
      title: 'Transfer-Encoding with an empty member is refused',
      why: 'empty members of lists ought to be ignored; in this field they only ever come from attackers',
      pitfall: 'transfer-encoding',
      client: post('Transfer-Encoding: , chunked', CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §6.1', 'choice', [
    {
      title: 'Transfer-Encoding in two lines is refused, also when both say chunked',
      why: 'chunking twice is forbidden, and one line has room for all codings',
      pitfall: 'transfer-encoding',
      client: post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §7.1', 'SHOULD', [
    {
      title: 'chunked with a parameter is refused',
      pitfall: 'transfer-encoding',
      client: post('Transfer-Encoding: chunked;q=1', CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §6.1', 'choice', [
    {
      title: 'chunked twice in one line is refused',
      why: 'no sender may do it',
      pitfall: 'transfer-encoding',
      client: post('Transfer-Encoding: chunked, chunked', CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §6.1', 'departs from a SHOULD', [
    {
      title: 'a coding that is not understood in one line and chunked in the next is refused with 400, not 501',
      why: 'what is spread over two lines is read in two ways',
      pitfall: 'transfer-encoding',
      client: post(['Transfer-Encoding: x', 'Transfer-Encoding: chunked'], CHUNKS),
      ...refused(400),
    },
  ]),
  ...cases('RFC 9112 §9.3', 'MUST', [
    {
      title: 'a request that stands in the body of one that is refused is never read',
      client: `POST /a/../b HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      got: [],
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
  ...cases('RFC 9112 §2.2', 'SHOULD', [
    {
      title: 'a request behind one that is invalid is never read',
      client: `GET /a\0 HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
      ...refused(400),
    },
    {
      title: 'a request behind a body that is wrong is never read',
      client: chunked(`zz\r\nhello\r\n0\r\n\r\n${HIDDEN}`),
      answer: { status: 400, fields: { connection: 'close' } },
      ends: 'closed',
    },
  ]),
]
