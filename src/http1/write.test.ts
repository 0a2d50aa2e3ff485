/** What is written is read again as what it was: by our own parsers here, by Node's in the differential tests. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { ERRORS } from '../core/errors.ts'
import { isHeadError, parseRequestHead } from './parse-request.ts'
import { parseResponseHead } from './parse-response.ts'
import { fieldLines, reasonPhrase, statusLine } from './write.ts'

const name = fc.stringMatching(/^X-[\w!#$%&'*+.^`|~-]{0,20}$/)
const value = fc.stringMatching(/^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,20}[\x21-\x7e\x80-\xff])?)?$/)
const fields = fc.array(fc.tuple(name, value), { maxLength: 10 }).map((list) => list.flat())
const LIMITS = { headersMax: 20, targetBytesMax: 100 }

test('a request that is written is read as the same request', () => {
  const method = fc.stringMatching(/^[A-Z]{1,12}$/).filter((text) => text !== 'CONNECT')
  const target = fc.stringMatching(/^\/[!"$-~]{0,40}$/)
  fc.assert(
    fc.property(method, target, fields, fc.constantFrom('', '0', '17'), (verb, path, list, length) => {
      const headers = ['Host', 'a:80', ...list, ...(length === '' ? [] : ['Content-Length', length])]
      const head = parseRequestHead(`${verb} ${path} HTTP/1.1\r\n${fieldLines(headers)}\r\n`, LIMITS)
      assert.ok(!isHeadError(head))
      assert.deepEqual([head.method, head.target, head.headers], [verb, path, headers])
      assert.equal(head.bodyLength, Number(length))
    }),
  )
})

test('a request that was read and is written again is the same, in everything but its framing', () => {
  const framing = fc.constantFrom('', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n')
  fc.assert(
    fc.property(fields, framing, (list, line) => {
      const head = parseRequestHead(`GET / HTTP/1.1\r\nHost: a\r\n${line}${fieldLines(list)}\r\n`, LIMITS)
      assert.ok(!isHeadError(head))
      const again = parseRequestHead(`GET / HTTP/1.1\r\n${fieldLines(head.headers)}\r\n`, LIMITS)
      assert.ok(!isHeadError(again))
      assert.deepEqual(again.headers, head.headers)
      const passed = ['Host', 'a', ...list]
      if (head.verbatim !== undefined) assert.equal(head.verbatim, fieldLines(passed))
      else assert.ok(list.some((text) => text === '' || /^x-(?:forwarded|real)-/i.test(text)))
    }),
  )
})

test('an answer that is written is read as the same answer', () => {
  fc.assert(
    fc.property(fc.integer({ min: 200, max: 999 }), value, fields, (status, reason, list) => {
      const headers = [...list, 'Content-Length', '5']
      const head = parseResponseHead(`${statusLine(status, reason)}${fieldLines(headers)}\r\n`, 'GET', 20)
      assert.ok(typeof head !== 'string')
      assert.deepEqual([head.status, head.reason, head.headers], [status, reason, headers])
    }),
  )
})

test('every status that we answer with has a reason, and one that nobody knows an empty one', () => {
  for (const { status } of Object.values(ERRORS)) assert.notEqual(reasonPhrase(status), '', String(status))
  for (const status of [100, 101, 103, 200, 202, 204, 304]) assert.notEqual(reasonPhrase(status), '')
  assert.equal(reasonPhrase(299), '')
  assert.equal(statusLine(299, ''), 'HTTP/1.1 299 \r\n')
})
