import { answered, type Case, cases, declined, get, okWith, refused, request } from './case.ts'

const PASSED = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'QUERY', 'PROPFIND', 'LINK'] as const

export const METHODS: readonly Case[] = [
  ...cases(
    'RFC 9110 §7.6',
    'choice',
    PASSED.map((method) => ({
      why: 'the routes decide who gets it, its server what becomes of it',
      title: `${method} reaches the server as ${method}`,
      client: request(`${method} /m`),
      server: answered('200 OK', ['Content-Length: 0']),
      got: { line: `${method} /m HTTP/1.1` },
      answer: { status: 200 },
    })),
  ),
  ...cases('RFC 9110 §9.3.2', 'MUST', [
    {
      title: 'an error of the gateway has no content for HEAD, and says how long it would be',
      pitfall: 'bodiless',
      client: request('HEAD /a/../b'),
      got: [],
      answer: { status: 400, body: '', fields: { 'content-length': /^\d\d+$/ } },
    },
    {
      title: 'a HEAD that is no valid request gets no content either',
      pitfall: 'bodiless',
      client: request('HEAD /', 'X : y'),
      got: [],
      answer: { status: 400, fields: { connection: 'close' }, body: '' },
      ends: 'closed',
    },
    {
      title: 'a HEAD whose body goes wrong gets no content either',
      pitfall: 'bodiless',
      client: `${request('HEAD /', 'Transfer-Encoding: chunked')}zz\r\n`,
      answer: { status: 400, fields: { connection: 'close' }, body: '' },
      ends: 'closed',
    },
    {
      title: 'a HEAD whose server fails gets no content either',
      pitfall: 'bodiless',
      client: request('HEAD /'),
      server: 'nonsense\r\n\r\n',
      answer: { status: 502, body: '' },
    },
  ]),
  ...cases('RFC 9110 §9.3.6', 'choice', [
    {
      title: 'CONNECT is refused with 501',
      why: 'a gateway is no proxy to anywhere',
      client: 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n',
      ...refused(501),
    },
    { title: 'CONNECT with a path is refused with 501', why: 'as above', client: request('CONNECT /'), ...declined(501) },
  ]),
  ...cases('RFC 9110 §9.3.8', 'choice', [
    {
      title: 'TRACE is refused with 501, by the gateway itself',
      why: 'it echoes what a page must not read, and nobody needs it; its Max-Forwards need not be counted',
      pitfall: 'max-forwards',
      client: request('TRACE /', 'Max-Forwards: 5', 'Cookie: secret=1'),
      ...declined(501),
    },
    {
      title: 'TRACE with Max-Forwards: 0 is refused with 501, too',
      why: 'as above',
      pitfall: 'max-forwards',
      client: request('TRACE /', 'Max-Forwards: 0'),
      ...declined(501),
    },
  ]),
  ...cases('RFC 9110 §7.6.2', 'MUST', [
    {
      title: 'Max-Forwards of OPTIONS goes on, one less',
      pitfall: 'max-forwards',
      client: request('OPTIONS /', 'Max-Forwards: 10'),
      server: okWith('Allow: GET, OPTIONS'),
      got: { fields: { 'max-forwards': '9' } },
      answer: { status: 200, fields: { allow: 'GET, OPTIONS' } },
    },
    {
      title: 'Max-Forwards: 1 reaches the server as 0',
      pitfall: 'max-forwards',
      client: request('OPTIONS /', 'max-forwards: 1'),
      got: { fields: { 'max-forwards': '0' } },
      answer: { status: 200 },
    },
    {
      title: 'OPTIONS with Max-Forwards: 0 ends here and is answered here',
      pitfall: 'max-forwards',
      client: request('OPTIONS /', 'Max-Forwards: 0'),
      got: [],
      answer: { status: 204, fields: { date: / GMT$/, 'content-length': [] } },
    },
    {
      title: 'a Max-Forwards that is larger than any number goes on as a large number',
      pitfall: 'max-forwards',
      client: request('OPTIONS /', `Max-Forwards: ${'9'.repeat(400)}`),
      got: { fields: { 'max-forwards': /^[1-9]\d{0,9}$/ } },
      answer: { status: 200 },
    },
    {
      title: 'no Max-Forwards is added',
      pitfall: 'max-forwards',
      client: request('OPTIONS /'),
      got: { fields: { 'max-forwards': [] } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §7.6.2', 'choice', [
    {
      title: 'Max-Forwards of other methods is none of the gateway’s business',
      why: 'it may be ignored there',
      pitfall: 'max-forwards',
      client: get('Max-Forwards: 0'),
      got: { fields: { 'max-forwards': '0' } },
      answer: { status: 200 },
    },
    {
      title: 'a Max-Forwards that is no number goes on as it came',
      why: 'nobody can count it',
      pitfall: 'max-forwards',
      client: request('OPTIONS /', 'Max-Forwards: -1'),
      got: { fields: { 'max-forwards': '-1' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §9.3.7', 'choice', [
    {
      title: 'OPTIONS * is answered by the gateway',
      why: 'it asks about the server as a whole: behind a gateway no single one is that',
      client: request('OPTIONS *'),
      got: [],
      answer: { status: 204 },
    },
    {
      title: 'OPTIONS of an absolute target without path and query is OPTIONS *, and answered by the gateway',
      why: 'as above',
      client: request('OPTIONS http://b:8001'),
      got: [],
      answer: { status: 204 },
    },
  ]),
  ...cases('RFC 9110 §9.3.7', 'choice', [
    {
      why: 'it knows what its resource can',
      title: 'OPTIONS of a path is the server’s to answer',
      client: request('OPTIONS /x'),
      server: answered('204 No Content', ['Allow: GET, FROB']),
      got: { line: 'OPTIONS /x HTTP/1.1' },
      answer: { status: 204, fields: { allow: 'GET, FROB' } },
    },
  ]),
]
