/** Request heads: what is understood, what is refused with which error, and that nothing with two meanings is taken. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { RequestHead } from './message.ts'
import { type HeadError, isAuthority, isHeadError, parseRequestHead } from './parse-request.ts'

const LIMITS = { headersMax: 10, targetBytesMax: 100 }

function parse(line: string, ...fields: readonly string[]): RequestHead | HeadError {
  return parseRequestHead([line, ...fields, '', ''].join('\r\n'), LIMITS)
}

function understood(line: string, ...fields: readonly string[]): RequestHead {
  const head = parse(line, ...fields)
  assert.ok(!isHeadError(head), `${isHeadError(head) ? head.detail : ''}: ${JSON.stringify([line, ...fields])}`)
  return head
}

function errorOf(line: string, ...fields: readonly string[]): string {
  const head = parse(line, ...fields)
  assert.ok(isHeadError(head), `was understood: ${JSON.stringify([line, ...fields])}`)
  return head.code
}

const GET = 'GET / HTTP/1.1'
const POST = 'POST / HTTP/1.1'
const HOST = 'Host: a'

test('an ordinary request is understood', () => {
  const head = understood('GET /a/b?c=d&e?f HTTP/1.1', 'Host: Example.COM:80', 'X-A: 1', 'x-a:2')
  assert.equal(head.method, 'GET')
  assert.equal(head.target, '/a/b?c=d&e?f')
  assert.equal(head.path, '/a/b')
  assert.equal(head.query, 'c=d&e?f')
  assert.equal(head.minor, 1)
  assert.equal(head.host, 'example.com:80')
  assert.deepEqual(head.headers, ['Host', 'Example.COM:80', 'X-A', '1', 'x-a', '2'])
  assert.equal(head.bodyLength, 0)
  assert.ok(head.keepAlive)
  assert.equal(head.connection, '')
  assert.equal(head.upgrade, '')
  assert.ok(!head.expectContinue && !head.hasVia)
})

test('a method is any token, in its own spelling', () => {
  for (const method of ['GET', 'get', 'PROPFIND', 'M-SEARCH', "!#$%&'*+-.^_`|~", 'M'.repeat(32)])
    assert.equal(understood(`${method} / HTTP/1.1`, HOST).method, method)
  assert.equal(errorOf(`${'M'.repeat(33)} / HTTP/1.1`, HOST), 'not_implemented')
})

test('a request line is method, blank, target, blank, version, and nothing else', () => {
  const wrong = [
    ...['', ' ', 'GET', 'GET ', 'GET /', 'GET / ', ' GET / HTTP/1.1', 'GET  / HTTP/1.1', 'GET /  HTTP/1.1', 'GET\t/ HTTP/1.1'],
    ...['GET /\tHTTP/1.1'],
    ...['GET / HTTP/1.1 ', 'GET / HTTP/1.1\t', 'GET / HTTP/1.1\r', 'GET / HTTP/1.1 x', 'GET HTTP/1.1', 'G(T / HTTP/1.1'],
    ...['G\xc9T / HTTP/1.1', 'GET /a b HTTP/1.1'],
    ...['GET / http/1.1', 'GET / HTTP/1', 'GET / HTTP/11', 'GET / HTTP/1.10', 'GET / HTTP/1,1', 'GET / HTTP /1.1', 'GET / HTTPS/1.1'],
    ...['GET / HTTP/+1.1'],
  ]
  for (const line of wrong) assert.equal(errorOf(line, HOST), 'bad_request', JSON.stringify(line))
  for (const version of ['0.9', '1.2', '2.0', '3.0', '9.9']) assert.equal(errorOf(`GET / HTTP/${version}`, HOST), 'version_not_supported')
})

test('a target is visible ASCII without a fragment', () => {
  for (let code = 0; code < 256; code++) {
    const char = String.fromCharCode(code)
    const head = parse(`GET /a${char}b HTTP/1.1`, HOST)
    assert.equal(!isHeadError(head), code > 32 && code < 127 && char !== '#', JSON.stringify(char))
  }
})

test('a target as long as allowed is taken, one byte more is not', () => {
  assert.equal(understood(`GET /${'t'.repeat(99)} HTTP/1.1`, HOST).target.length, 100)
  assert.equal(errorOf(`GET /${'t'.repeat(100)} HTTP/1.1`, HOST), 'target_too_long')
  // Its form does not matter.
  assert.equal(errorOf(`GET http://a/${'t'.repeat(100)} HTTP/1.1`, HOST), 'target_too_long')
})

test('as many fields as allowed are taken, one more is too large a head', () => {
  const more = Array.from({ length: LIMITS.headersMax - 1 }, () => 'X: y')
  assert.equal(understood(GET, HOST, ...more).headers.length, 2 * LIMITS.headersMax)
  assert.equal(errorOf(GET, HOST, ...more, 'X: y'), 'head_too_large')
})

test('a target in absolute form names the host, whatever Host says, and goes on as a path', () => {
  const cases: readonly (readonly [target: string, host: string, rest: string])[] = [
    ['http://u', 'u', '/'],
    ['HTTP://U:80/', 'u:80', '/'],
    ['https://u/a/b?c', 'u', '/a/b?c'],
    ['http://u?c', 'u', '/?c'],
    ['http://u/http://v/', 'u', '/http://v/'],
    ['http://[::1]:8080/', '[::1]:8080', '/'],
  ]
  for (const [target, host, rest] of cases) {
    const head = understood(`GET ${target} HTTP/1.1`, 'X: y', 'HOST: other', 'Z: w')
    assert.equal(head.host, host)
    assert.equal(head.target, rest)
    assert.equal(head.path + (head.query === '' ? '' : `?${head.query}`), rest)
    assert.deepEqual(head.headers, ['X', 'y', 'HOST', /\/\/([^/?]+)/.exec(target)?.[1], 'Z', 'w'])
    assert.equal(head.verbatim, undefined)
  }
  assert.deepEqual(understood('GET http://u/ HTTP/1.0', 'X: y').headers, ['X', 'y', 'Host', 'u'])
})

test('OPTIONS with an http URL that has neither path nor query asks for *, any other for its path', () => {
  assert.equal(understood('OPTIONS http://u HTTP/1.1', HOST).target, '*')
  assert.equal(understood('OPTIONS http://u HTTP/1.1', HOST).host, 'u')
  assert.equal(understood('OPTIONS http://u/ HTTP/1.1', HOST).target, '/')
  assert.equal(understood('OPTIONS http://u? HTTP/1.1', HOST).target, '/?')
  assert.equal(understood('OPTIONS * HTTP/1.1', HOST).target, '*')
})

test('a target that is neither a path nor an http URL is refused', () => {
  const wrong = [
    ...[
      'a',
      '?a',
      '*',
      '**',
      'a:80',
      '/'.replace('/', ':'),
      'http:',
      'http:/u',
      'http://',
      'http:///a',
      'http://?a',
      '://u/',
      'ftp://u/',
      'httpx://u/',
    ],
    ...['http://u@v/', 'http://u:p@v/', 'http://u:p/', 'http://u:80:80/', 'http://[::1/', 'http://u,v/', 'http://u;v/', 'http://u!/'],
    ...['http://u\\v/'],
  ]
  for (const target of wrong) assert.equal(errorOf(`GET ${target} HTTP/1.1`, HOST), 'bad_request', target)
  assert.equal(errorOf('OPTIONS ** HTTP/1.1', HOST), 'bad_request')
  assert.equal(errorOf('CONNECT a:80 HTTP/1.1', HOST), 'not_implemented')
})

test('a host is a name or an address with a port at most', () => {
  for (const host of [
    ...['a', 'A-b.c_d~', '127.0.0.1', 'a:80', 'a:', 'a:00080', '[::1]', '[::ffff:1.2.3.4]:80', '%41', 'xn--bcher-kva.example.'],
  ])
    assert.ok(isAuthority(host), host)
  const wrong = [
    ...['', ':80', 'a b', 'a\tb', 'a/b', 'a,b', 'u@a', 'a:b', 'a:-1', 'a:+1', 'a:123456', 'a:80:80', '[::1', '::1', '[]', '[g]'],
    ...['[::1]x', 'a?', 'a#', 'a;b', 'a\\b', "a'b", '\xe9'],
  ]
  for (const host of wrong) assert.ok(!isAuthority(host), host)
})

test('HTTP/1.1 names exactly one host, HTTP/1.0 one at most', () => {
  assert.equal(errorOf(GET), 'bad_request')
  assert.equal(errorOf(GET, 'Host:'), 'bad_request')
  assert.equal(errorOf(GET, 'Host: a b'), 'bad_request')
  assert.equal(errorOf(GET, HOST, HOST), 'bad_request')
  assert.equal(errorOf(GET, HOST, 'HOST: b'), 'bad_request')
  assert.equal(errorOf('GET http://u/ HTTP/1.1'), 'bad_request')
  assert.equal(errorOf('GET http://u/ HTTP/1.1', 'Host: b@c'), 'bad_request')
  assert.equal(understood('GET / HTTP/1.0').host, '')
  assert.equal(errorOf('GET / HTTP/1.0', HOST, HOST), 'bad_request')
  assert.equal(errorOf('GET / HTTP/1.0', 'Host:'), 'bad_request')
})

test('a body is announced by one length, or by one coding that is chunked', () => {
  assert.equal(understood(POST, HOST).bodyLength, 0)
  assert.equal(understood(POST, HOST, 'Content-Length: 0').bodyLength, 0)
  assert.equal(understood(POST, HOST, 'Content-Length: \t 005 ').bodyLength, 5)
  assert.equal(understood(GET, HOST, 'content-length:999999999999999').bodyLength, 999_999_999_999_999)
  for (const coding of ['chunked', 'Chunked', 'CHUNKED', '\tchunked \t'])
    assert.equal(understood(POST, HOST, `Transfer-Encoding:${coding}`).bodyLength, -1)
})

test('a length that is not a plain number, or that stands there twice, is refused', () => {
  for (const length of [
    ...['', '+5', '-5', '5, 5', '5,', '5 5', '0x5', '5.0', '1e3', '1_0', '5;', '"5"', '\xb2', '1000000000000000', '5 chunked'],
  ])
    assert.equal(errorOf(POST, HOST, `Content-Length: ${length}`), 'bad_request', length)
  assert.equal(errorOf(POST, HOST, 'Content-Length: 5', 'Content-Length: 6'), 'bad_request')
  assert.equal(errorOf(POST, HOST, 'Content-Length: 5', 'content-length: 5'), 'bad_request')
  assert.equal(errorOf(POST, HOST, 'Content-Length: 0', 'Content-Length:'), 'bad_request')
})

test('a coding that is not exactly chunked is refused', () => {
  const wrong = [
    ...['', 'identity', 'gzip', 'chunked, chunked', 'chunked, gzip', 'chunked,', ',chunked', 'xchunked', 'chunkedx', 'chunked;q=1'],
    ...['"chunked"', 'chunked x'],
    ...['gzip chunked', 'chun ked', 'gzip;q=1, chunked', 'chunked, identity, chunked'],
  ]
  for (const coding of wrong) assert.equal(errorOf(POST, HOST, `Transfer-Encoding: ${coding}`), 'bad_request', coding)
  for (const coding of ['gzip, chunked', 'identity,chunked', 'gzip, deflate, chunked'])
    assert.equal(errorOf(POST, HOST, `Transfer-Encoding: ${coding}`), 'not_implemented', coding)
  assert.equal(errorOf(POST, HOST, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'), 'bad_request')
  assert.equal(errorOf(POST, HOST, 'Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'), 'bad_request')
  assert.equal(errorOf(POST, HOST, 'Transfer-Encoding:', 'Transfer-Encoding: chunked'), 'bad_request')
})

const length = fc.constantFrom('0', '5', '', '+5', '5,5', 'x').map((text) => `Content-Length: ${text}`)
const coding = fc.constantFrom('chunked', '', 'identity', 'gzip, chunked', 'x').map((text) => `Transfer-Encoding: ${text}`)
const other = fc.constantFrom(
  'X: y',
  'Connection: close',
  'TE: chunked',
  'Content_Length: 5',
  'X-Content-Length: 5',
  'Trailer: Content-Length',
)

test('whatever the framing fields and their order: taken is one of them, well formed, or none', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(length, coding, other), { maxLength: 5 }), fc.constantFrom(0, 1), (fields, minor) => {
      const head = parse(`POST / HTTP/1.${minor}`, HOST, ...fields)
      const framing = fields.filter((field) => /^(?:content-length|transfer-encoding):/i.test(field))
      const [only = ''] = framing
      const plain = /^Content-Length: \d+$/.test(only) || (minor === 1 && only === 'Transfer-Encoding: chunked')
      assert.equal(!isHeadError(head), framing.length === 0 || (framing.length === 1 && plain), JSON.stringify(fields))
      if (isHeadError(head)) return
      assert.equal(head.bodyLength, only === '' ? 0 : only.endsWith('chunked') ? -1 : Number(only.slice(16)))
    }),
    { numRuns: 1000 },
  )
})

test('a coding in HTTP/1.0 is refused: whoever is in between may not know it', () => {
  assert.equal(errorOf('POST / HTTP/1.0', HOST, 'Transfer-Encoding: chunked'), 'bad_request')
  assert.equal(understood('POST / HTTP/1.0', HOST, 'Content-Length: 5').bodyLength, 5)
})

test('a connection stays as its version and Connection say', () => {
  const cases: readonly (readonly [minor: 0 | 1, connection: string, stays: boolean])[] = [
    [1, '', true],
    [1, 'Connection:', true],
    [1, 'Connection: keep-alive', true],
    [1, 'Connection: x, Close', false],
    [1, 'Connection: closed', true],
    [0, '', false],
    [0, 'Connection: Keep-Alive', true],
    [0, 'Connection: x,keep-alive', true],
    [0, 'Connection: x', false],
  ]
  for (const [minor, connection, stays] of cases)
    assert.equal(understood(`GET / HTTP/1.${minor}`, HOST, ...(connection === '' ? [] : [connection])).keepAlive, stays, connection)
})

test('close outranks keep-alive in either version and order', () => {
  for (const minor of [0, 1])
    for (const fields of [['Connection: keep-alive, close'], ['Connection: close', 'Connection: keep-alive']])
      assert.equal(understood(`GET / HTTP/1.${minor}`, HOST, ...fields).keepAlive, false)
})

test('an Upgrade counts when Connection names it, in HTTP/1.1, and not to cleartext HTTP/2', () => {
  assert.equal(understood(GET, HOST, 'Connection: keep-alive, Upgrade', 'Upgrade: websocket').upgrade, 'websocket')
  assert.equal(understood(GET, HOST, 'Upgrade: websocket').upgrade, '')
  assert.equal(understood(GET, HOST, 'Connection: upgraded', 'Upgrade: websocket').upgrade, '')
  assert.equal(understood(GET, HOST, 'Connection: upgrade').upgrade, '')
  assert.equal(understood('GET / HTTP/1.0', HOST, 'Connection: upgrade', 'Upgrade: websocket').upgrade, '')
  for (const upgrade of ['h2c', 'H2C', 'websocket, h2c', 'h2c/x'])
    assert.equal(understood(GET, HOST, 'Connection: upgrade', `Upgrade: ${upgrade}`).upgrade, '')
})

test('the only expectation is 100-continue, and HTTP/1.0 has none', () => {
  assert.ok(understood(POST, HOST, 'Expect: 100-Continue').expectContinue)
  assert.ok(!understood('POST / HTTP/1.0', HOST, 'Expect: 100-continue').expectContinue)
  assert.ok(!understood(POST, HOST, 'Expect:').expectContinue)
  for (const expect of ['x', '100-continue, x', '100-continue;q=1'])
    assert.equal(errorOf(POST, HOST, `Expect: ${expect}`), 'expectation_failed')
})

test('a bad field is a bad request', () => {
  for (const field of ['X', ' X: y', 'X : y', 'X: \0', 'X: y\nZ: w', 'X: y\rZ: w', ': y'])
    assert.equal(errorOf(GET, HOST, field), 'bad_request', field)
})

test('any bytes give a head or an error, never an exception', () => {
  const piece = fc.constantFrom(
    'GET ',
    '/ ',
    'HTTP/1.1',
    '\r\n',
    '\n',
    '\r',
    ' ',
    ':',
    'Host: a',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    '\0',
    '\xff',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const head = parseRequestHead(`${pieces.join('')}\r\n\r\n`, LIMITS)
      assert.ok(isHeadError(head) || Array.isArray(head.headers))
    }),
    { numRuns: 2000 },
  )
})
