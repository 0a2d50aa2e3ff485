/** The field section: what is refused, what it says about framing and connection, and that names and values come out as they went in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { FIELD_VALUE, HEX, TARGET, TOKEN } from './chars.ts'
import { Fields, type FieldsError, listHas, parseContentLength, parseFields } from './fields.ts'

const RULES = { headersMax: 100, allowSpaceBeforeColon: false }

function parse(lines: readonly string[], rules: Partial<typeof RULES> = {}): Fields | FieldsError {
  return parseFields(`${lines.map((line) => `${line}\r\n`).join('')}\r\n`, 0, { ...RULES, ...rules })
}

function parsed(...lines: readonly string[]): Fields {
  const fields = parse(lines)
  assert.ok(fields instanceof Fields, JSON.stringify([fields, lines]))
  return fields
}

function codesIn(table: Uint8Array): string {
  assert.equal(table.length, 256)
  return String.fromCharCode(...[...table.keys()].filter((code) => table[code] === 1))
}

const ALL_CHARS = String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code))

test('each character is in the classes that the grammar names, and in no other', () => {
  assert.equal(codesIn(TOKEN), ALL_CHARS.replaceAll(/[^\w!#$%&'*+.^`|~-]/g, ''))
  assert.equal(codesIn(FIELD_VALUE), ALL_CHARS.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ''))
  assert.equal(codesIn(TARGET), ALL_CHARS.replaceAll(/[^!"$-~]/g, ''))
  for (const [code, value] of HEX.entries()) {
    const char = String.fromCharCode(code)
    assert.equal(value, /[0-9a-f]/i.test(char) ? '0123456789abcdef'.indexOf(char.toLowerCase()) : 255)
  }
})

const token = fc.stringMatching(/^[\w!#$%&'*+.^`|~-]{1,20}$/)
const value = fc.stringMatching(/^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,20}[\x21-\x7e\x80-\xff])?)?$/)
const blanks = fc.stringMatching(/^[ \t]{0,3}$/)

test('names and values come out as they went in, in their order, without the blanks around values', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(token, blanks, value, blanks), { maxLength: 20 }), (list) => {
      const fields = parsed(...list.map(([name, before, text, behind]) => `${name}:${before}${text}${behind}`))
      assert.deepEqual(
        fields.headers,
        list.flatMap(([name, , text]) => [name, text]),
      )
    }),
  )
})

test('a field section behind something else is read from where it begins', () => {
  const fields = parseFields('GET / HTTP/1.1\r\nX: y\r\n\r\n', 16, RULES)
  assert.ok(fields instanceof Fields)
  assert.deepEqual(fields.headers, ['X', 'y'])
  assert.deepEqual(parsed().headers, [])
})

const REFUSED: readonly (readonly [line: string, error: FieldsError])[] = [
  ['', 'name'],
  [': y', 'name'],
  ['(X): y', 'name'],
  ['\xe9: y', 'name'],
  [' X: y', 'fold'],
  ['\tX: y', 'fold'],
  ['   ', 'fold'],
  ['X : y', 'space-before-colon'],
  ['X\t: y', 'space-before-colon'],
  ['X \t : y', 'space-before-colon'],
  ['X Y: z', 'space-before-colon'],
  ['X ', 'space-before-colon'],
  ['X', 'colon'],
  ['X(: y', 'colon'],
  ['X\0: y', 'colon'],
  ['X: \0', 'value'],
  ['X: a\rb', 'value'],
  ['X: y\r', 'value'],
  ['X: a\x0bb', 'value'],
  ['X: a\x7fb', 'value'],
  ['X: a\x1fb', 'value'],
  ['X: y\nZ: w', 'line-end'],
  ['X:\n', 'line-end'],
]

test('a line that is not a field is refused, wherever it stands', () => {
  for (const [line, error] of REFUSED) {
    assert.equal(parse([line]), error, JSON.stringify(line))
    assert.equal(parse(['Host: a', line]), error, JSON.stringify(line))
    assert.equal(parse([line, 'Host: a']), error, JSON.stringify(line))
  }
})

test('any byte but those of a token spoils a name, any control a value', () => {
  for (const char of ALL_CHARS) {
    const code = char.charCodeAt(0)
    if (char !== ':') assert.equal(parse([`a${char}b: y`]) instanceof Fields, TOKEN[code] === 1, JSON.stringify(char))
    assert.equal(parse([`X: a${char}b`]) instanceof Fields, FIELD_VALUE[code] === 1, JSON.stringify(char))
  }
})

test('a blank before the colon is left out where that is allowed, and a line with nothing else is still refused', () => {
  const fields = parse(['X \t: y', 'Content-Length : 5'], { allowSpaceBeforeColon: true })
  assert.ok(fields instanceof Fields)
  assert.deepEqual(fields.headers, ['X', 'y', 'Content-Length', '5'])
  assert.equal(fields.contentLength, '5')
  assert.equal(fields.verbatim, undefined)
  for (const line of ['X y', 'X ', 'X Y: z']) assert.equal(parse([line], { allowSpaceBeforeColon: true }), 'space-before-colon')
})

test('as many fields as allowed are taken, one more is not', () => {
  const lines = Array.from({ length: 3 }, (_, i) => `X-${i}: y`)
  assert.ok(parse(lines, { headersMax: 3 }) instanceof Fields)
  assert.equal(parse([...lines, 'X: y'], { headersMax: 3 }), 'count')
  assert.equal(parse(['Content-Length: 1', 'Host: a', 'Via: b'], { headersMax: 2 }), 'count')
})

test('what frames a message is found in any spelling, and counted', () => {
  const fields = parsed('CONTENT-length: 5', 'hOST: a', 'transfer-ENCODING: gzip', 'Transfer-Encoding: chunked', 'content-length: 5')
  assert.deepEqual([fields.contentLength, fields.contentLengths], ['5', 2])
  assert.deepEqual([fields.transferEncoding, fields.transferEncodings], ['gzip, chunked', 2])
  assert.deepEqual([fields.host, fields.hosts], ['a', 1])
  assert.equal(parsed('Transfer-Encoding:', 'Transfer-Encoding: chunked').transferEncodings, 2)
  assert.equal(parsed('Content-Length: 5', 'Content-Length: 6').contentLengths, 3)
  assert.equal(parsed('Host: a', 'HOST: a').hosts, 2)
})

test('lists over several fields are joined', () => {
  const fields = parsed(
    'Connection: a',
    'Upgrade: x',
    'connection: b',
    'Expect: 100-continue',
    'Upgrade: y',
    'Expect: z',
    'Keep-Alive: timeout=5',
  )
  assert.equal(fields.connection, 'a, b')
  assert.equal(fields.upgrade, 'x, y')
  assert.equal(fields.expect, '100-continue, z')
  assert.equal(fields.keepAlive, 'timeout=5')
})

test('what ends here is not among the lines that pass as they came', () => {
  const ends = ['Connection: close', 'Keep-Alive: x', 'TE: trailers', 'Proxy-Connection: x', 'Transfer-Encoding: chunked', 'Upgrade: x']
  const fields = parsed('A: 1', ...ends, 'Date: d', 'Content-Length: 5', 'Expect: x', 'Host: a', 'Via-X: y', 'Dates: e')
  assert.equal(fields.verbatim, 'A: 1\r\nDate: d\r\nHost: a\r\nVia-X: y\r\nDates: e\r\n')
  assert.ok(fields.hasDate)
  assert.ok(!parsed('Dates: e').hasDate)
  assert.equal(parsed(...ends).verbatim, '')
})

test('what frames nothing, but would for a server that reads _ as -, ends here, too', () => {
  const fields = parsed('A: 1', 'Content_Length: 5', 'Transfer_Encoding: chunked', 'KEEP_ALIVE: x', 'Proxy_Connection: y', 'B: 2')
  assert.deepEqual([fields.verbatim, fields.contentLengths, fields.transferEncodings], ['A: 1\r\nB: 2\r\n', 0, 0])
})

test('a field that needs a decision keeps the lines from passing as they came', () => {
  const decide = [
    ...['Connection: x', 'Connection: close, x', 'Via: 1.1 a', 'Forwarded: for=a', 'X-Forwarded-For: a', 'x_forwarded-for: a'],
    ...['X_Forwarded_Host: a'],
    ...['X-Real-IP: a', 'x_real_ip: a', 'X-Forwarded-Anything: a', 'Spillway-Key: a', 'SPILLWAY_KEY: a', 'Spillway-: a', 'spillway_: a'],
    ...['A:b', 'A:  b', 'A:\tb', 'A: b ', 'A: b\t', 'A:'],
  ]
  for (const line of decide) {
    assert.equal(parsed(line).verbatim, undefined, line)
    assert.equal(parsed('Host: a', line, 'A: 1').verbatim, undefined, line)
  }
  assert.ok(parsed('Via: 1.1 a').hasVia)
})

test('a member of a list is found in any spelling, but not a part of one', () => {
  for (const list of ['close', 'CLOSE', 'a, Close', 'close,a', 'a,\tclose ,b', ', close']) assert.ok(listHas(list, 'close'), list)
  for (const list of ['', 'closed', 'a close', 'close a', 'x-close', '"close"', 'clos', 'a, closed'])
    assert.ok(!listHas(list, 'close'), list)
})

test('a length is digits and nothing else, up to 15 of them', () => {
  fc.assert(
    fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (length) => {
      const text = String(length)
      assert.equal(parseContentLength(text), text.length <= 15 ? length : -1)
    }),
  )
  assert.equal(parseContentLength('999999999999999'), 999_999_999_999_999)
  assert.equal(parseContentLength('000000000000005'), 5)
  const wrong = ['', '-1', '+1', '1 ', ' 1', '1,1', '1.0', '1e1', '0x1', '1_0', '\xb2', 'a', '1000000000000000', '0000000000000005']
  for (const text of wrong) assert.equal(parseContentLength(text), -1, text)
})
