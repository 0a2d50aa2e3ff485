/** Response heads: as strict as requests, but for what RFC 9112 has a proxy put up with. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { ResponseHead } from './message.ts'
import { CHUNKED, parseResponseHead, UNTIL_CLOSE } from './parse-response.ts'

const HEADERS_MAX = 10

function parse(lines: readonly string[], method = 'GET'): ResponseHead | string {
  return parseResponseHead([...lines, '', ''].join('\r\n'), method, HEADERS_MAX)
}

function understood(lines: readonly string[], method = 'GET'): ResponseHead {
  const head = parse(lines, method)
  assert.ok(typeof head !== 'string', JSON.stringify([head, lines]))
  return head
}

function refused(...lines: readonly string[]): void {
  assert.equal(typeof parse(lines), 'string', JSON.stringify(lines))
}

const OK = 'HTTP/1.1 200 OK'

test('an ordinary answer is understood', () => {
  const head = understood([OK, 'Content-Length: 5', 'Set-Cookie: a=b', 'set-cookie: c=d', 'Date: today'])
  assert.equal(head.status, 200)
  assert.equal(head.reason, 'OK')
  assert.equal(head.minor, 1)
  assert.equal(head.bodyLength, 5)
  assert.deepEqual(head.headers, ['Content-Length', '5', 'Set-Cookie', 'a=b', 'set-cookie', 'c=d', 'Date', 'today'])
  assert.equal(head.verbatim, 'Set-Cookie: a=b\r\nset-cookie: c=d\r\nDate: today\r\n')
  assert.ok(head.hasDate && head.keepAlive)
})

test('a reason may be missing, empty, or any text', () => {
  for (const [line, reason] of [
    ['HTTP/1.1 200', ''],
    ['HTTP/1.1 200 ', ''],
    ['HTTP/1.1 200  two  blanks ', ' two  blanks '],
    ['HTTP/1.1 200 caf\xe9\t!', 'caf\xe9\t!'],
  ] as const)
    assert.equal(understood([line]).reason, reason)
})

test('a status line is version, blank and three digits from 100 up', () => {
  assert.equal(understood(['HTTP/1.1 100 Continue']).status, 100)
  assert.equal(understood(['HTTP/1.1 999 x']).status, 999)
  const wrong = [
    ...['', 'HTTP/1.1', 'HTTP/1.1 ', 'HTTP/1.1 20', 'HTTP/1.1 2000 OK', 'HTTP/1.1 200OK', 'HTTP/1.1 099 x', 'HTTP/1.1 000 x'],
    ...['HTTP/1.1  200 OK'],
    ...['HTTP/1.1 -20 OK', 'HTTP/1.1 2x0 OK', 'HTTP/1.1 +20 OK', 'HTTP/1.1\t200 OK', ' HTTP/1.1 200 OK', 'http/1.1 200 OK'],
    ...['HTTP/2 200 OK', 'HTTP/1.2 200 OK'],
    ...['HTTP/2.0 200 OK', 'ICY 200 OK', 'HTTP/1.1 200 a\0b', 'HTTP/1.1 200 a\rb', 'HTTP/1.1 200 a\nb', 'HTTP/1.1 200\t'],
    ...['HTTP/1.1 200 OK\r'],
  ]
  for (const line of wrong) refused(line)
})

test('as many fields as allowed are taken, one more is not', () => {
  const fields = Array.from({ length: HEADERS_MAX }, () => 'X: y')
  assert.equal(understood([OK, ...fields]).headers.length, 2 * HEADERS_MAX)
  refused(OK, ...fields, 'X: y')
})

test('a blank before the colon goes, every other bad line is refused', () => {
  const head = understood([OK, 'X : y', 'Content-Length\t: 5'])
  assert.deepEqual(head.headers, ['X', 'y', 'Content-Length', '5'])
  assert.equal(head.bodyLength, 5)
  for (const line of ['X', ': y', ' X: y', 'X Y: z', 'X: \0', 'X: y\nZ: w', 'X: a\rb', 'X: y\r\n z']) refused(OK, line)
})

test('the length of a body comes from method, status, coding and length, in this order', () => {
  const both = ['Transfer-Encoding: chunked', 'Content-Length: 5']
  const cases: readonly (readonly [status: number, method: string, fields: readonly string[], length: number])[] = [
    [200, 'HEAD', ['Content-Length: 5'], 0],
    [200, 'HEAD', ['Transfer-Encoding: chunked'], 0],
    [200, 'HEAD', [], 0],
    [100, 'POST', ['Content-Length: 5'], 0],
    [103, 'GET', both, 0],
    [204, 'GET', ['Content-Length: 5'], 0],
    [204, 'GET', ['Transfer-Encoding: chunked'], 0],
    [304, 'GET', ['Content-Length: 5'], 0],
    [200, 'GET', both, CHUNKED],
    [200, 'GET', ['Transfer-Encoding: Chunked'], CHUNKED],
    [200, 'GET', ['Content-Length: 5'], 5],
    [404, 'POST', ['Content-Length: 0'], 0],
    [205, 'GET', ['Content-Length: 0'], 0],
    [200, 'GET', [], UNTIL_CLOSE],
    [500, 'DELETE', ['X: y'], UNTIL_CLOSE],
  ]
  for (const [status, method, fields, length] of cases)
    assert.equal(understood([`HTTP/1.1 ${status} x`, ...fields], method).bodyLength, length, `${method} ${status} ${fields.join()}`)
})

test('lengths that are equal are one, to the letter; any others are refused', () => {
  assert.equal(understood([OK, 'Content-Length: 5', 'X: y', 'content-length:5']).bodyLength, 5)
  refused(OK, 'Content-Length: 5', 'Content-Length: 6')
  refused(OK, 'Content-Length: 6', 'Content-Length: 5', 'Content-Length: 5')
  refused(OK, 'Content-Length: 5', 'Content-Length: 6', 'Content-Length: 5')
  refused(OK, 'Content-Length: 5', 'Content-Length: 05')
  refused(OK, 'Content-Length: 5', 'Content-Length:')
  for (const length of ['', '+5', '-5', '5, 5', '5,6', '0x5', '5.0', '1000000000000000', 'x']) refused(OK, `Content-Length: ${length}`)
})

test('a coding that is not chunked alone is refused, also where a length stands beside it', () => {
  for (const coding of ['', 'gzip', 'gzip, chunked', 'chunked, gzip', 'chunked, chunked', 'identity', 'xchunked', 'chunked;q=1']) {
    refused(OK, `Transfer-Encoding: ${coding}`)
    refused(OK, `Transfer-Encoding: ${coding}`, 'Content-Length: 5')
  }
  refused(OK, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')
})

test('a connection stays after an answer whose end and version leave no doubt', () => {
  const sized = 'Content-Length: 0'
  const cases: readonly (readonly [lines: readonly string[], stays: boolean])[] = [
    [[OK, sized], true],
    [[OK, sized, 'Connection: keep-alive'], true],
    [[OK, sized, 'Connection: x, CLOSE'], false],
    [[OK, 'Transfer-Encoding: chunked'], true],
    [[OK], false],
    [[OK, 'Transfer-Encoding: chunked', sized], false],
    [['HTTP/1.0 200 OK', sized], false],
    [['HTTP/1.0 200 OK', sized, 'Connection: keep-alive'], true],
    [['HTTP/1.0 200 OK', sized, 'Connection: keep-alive, close'], false],
    [['HTTP/1.0 200 OK', 'Transfer-Encoding: chunked', 'Connection: keep-alive'], false],
  ]
  for (const [lines, stays] of cases) assert.equal(understood(lines).keepAlive, stays, lines.join())
})

test('close outranks keep-alive in either version and order', () => {
  for (const minor of [0, 1])
    for (const fields of [['Connection: keep-alive, close'], ['Connection: close', 'Connection: keep-alive']])
      assert.equal(understood([`HTTP/1.${minor} 200 OK`, 'Content-Length: 0', ...fields]).keepAlive, false)
})

test('how long a server keeps the connection is taken from Keep-Alive, if it says so', () => {
  const cases = {
    'timeout=5': 5,
    'TIMEOUT=5, max=100': 5,
    'max=100,timeout=7': 7,
    'max=1': -1,
    '': -1,
    'timeout=x': -1,
    'xtimeout=5': -1,
    'timeout=0': 0,
  }
  for (const [value, seconds] of Object.entries(cases))
    assert.equal(understood([OK, `Keep-Alive: ${value}`]).keepAliveTimeout, seconds, value)
  assert.equal(understood([OK]).keepAliveTimeout, -1)
})

test('any bytes give a head or a reason, never an exception', () => {
  const piece = fc.constantFrom(
    'HTTP/1.1 ',
    '200',
    ' OK',
    '\r\n',
    '\n',
    '\r',
    ' ',
    ':',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    '\0',
    '\xff',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), fc.constantFrom('GET', 'HEAD'), (pieces, method) => {
      const head = parseResponseHead(`${pieces.join('')}\r\n\r\n`, method, HEADERS_MAX)
      assert.ok(typeof head === 'string' ? head !== '' : Array.isArray(head.headers))
    }),
    { numRuns: 2000 },
  )
})

test('lengths that contradict, or are none, are refused also where no body comes: what is said of it is passed on', () => {
  for (const [method, line] of [
    ['HEAD', 'HTTP/1.1 200 OK'],
    ['GET', 'HTTP/1.1 304 Not Modified'],
    ['GET', 'HTTP/1.1 204 No Content'],
  ] as const) {
    const parse = (...fields: readonly string[]): unknown => parseResponseHead(`${[line, ...fields].join('\r\n')}\r\n\r\n`, method, 100)
    assert.equal(parse('Content-Length: 1', 'Content-Length: 2'), 'there are contradicting Content-Lengths')
    assert.equal(parse('Content-Length: 1a'), 'Content-Length is not a plain number')
    for (const fields of [['Content-Length: 7'], ['Content-Length: 7', 'content-length: 7'], []])
      assert.equal((parse(...fields) as ResponseHead).bodyLength, 0)
  }
})
