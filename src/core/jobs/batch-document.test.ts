import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { readBatchDocument, readBatchItem } from './batch-document.ts'
import { isWrong, wrongText } from './job-document.ts'

const LIMITS = { headBytesMax: 1000, headersMax: 10, targetBytesMax: 100 }
const LIST = { list: 'requests', max: 3 }

function wrongOf(value: unknown): string {
  const read = readBatchDocument(value, LIST)
  return isWrong(read) ? wrongText('', read) : 'nothing'
}

function itemWrong(value: unknown): string {
  const read = readBatchItem(value, LIMITS)
  return isWrong(read) ? wrongText('', read) : 'nothing'
}

test('a batch is a list of at least one and at most so many, with a reference', () => {
  assert.deepEqual(readBatchDocument({ requests: [1, 2, 3], reference: 'r' }, LIST), { items: [1, 2, 3], reference: 'r' })
  assert.equal(wrongOf({ requests: [1, 2, 3, 4] }), 'requests: has 4 entries, at most 3 are one batch (limits.batch)')
  for (const requests of [[], undefined, {}, 'x']) assert.equal(wrongOf({ requests }), 'requests: must be a list of at least one')
  assert.equal(wrongOf([]), 'a batch is an object with requests')
  assert.equal(wrongOf({ requests: [1], requsts: 1 }), 'requsts: there is no such field')
  for (const reference of ['', 'x'.repeat(129), 7, '\ud800']) assert.match(wrongOf({ requests: [1], reference }), /^reference: must be/)
})

test('a request has a target, a body of one kind, and headers, also those that its route may allow', () => {
  const read = readBatchItem({ method: 'PUT', target: '/a?b', headers: { 'Spillway-Key': 'k', 'X-A': ['1', '2'] }, body: { n: 1 } }, LIMITS)
  assert.ok(!isWrong(read))
  assert.deepEqual(
    [read.method, read.target, read.bodyKind, read.headers],
    ['PUT', '/a?b', 'json', ['Spillway-Key', 'k', 'X-A', '1', 'X-A', '2']],
  )
  assert.equal(itemWrong({}), 'target: is missing')
  assert.equal(itemWrong({ target: '/', payload: 1 }), 'payload: there is no such field')
  assert.equal(itemWrong({ target: '/', then: 'q' }), 'then: there is no such field')
  assert.equal(itemWrong({ target: '/', text: 'a', body: 1 }), 'body: a job has one of payload, text and base64')
  assert.match(itemWrong({ target: '/', headers: { Connection: 'x' } }), /is not passed on/)
  assert.equal(itemWrong({ target: '/', headers: { Host: 'a', host: 'b' } }), 'headers["host"]: stands there twice')
  assert.match(itemWrong({ target: 'x' }), /^target: must be a path/)
  assert.match(itemWrong({ target: '/', method: 'CONNECT' }), /can never become a job/)
})

test('whatever is sent, it is read or refused, and what is read can be sent to a server', () => {
  const value = fc.oneof(fc.jsonValue(), fc.string(), fc.constantFrom('/a', '/a b', '/\r\n', 'POST', 'GET x'))
  const headers = fc.dictionary(
    fc.oneof(fc.string(), fc.constantFrom('X-A', 'spillway-key', 'te')),
    fc.oneof(fc.string(), fc.array(fc.string())),
  )
  const item = fc.record(
    { method: value, target: value, headers: fc.oneof(headers, value), body: value, text: value },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(fc.oneof(item, fc.jsonValue()), (asked) => {
      const read = readBatchItem(asked, LIMITS)
      if (isWrong(read)) return assert.ok(read.wrong.length > 0)
      assert.match(`${read.method} ${read.target}`, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ \/[!-~]*$/)
      for (const field of read.headers) assert.doesNotMatch(field, /[\r\n\0]/)
    }),
  )
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.record({ requests: fc.jsonValue() })), (asked) => {
      assert.equal(typeof readBatchDocument(asked, LIST), 'object')
    }),
  )
})
