import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { asDouble, parseExactly } from './exact-json.ts'

const through = (text: string): string => JSON.stringify(parseExactly(text))

test('numbers that a double cannot hold come out as they went in', () => {
  for (const text of ['12345678901234567890', '-9007199254740993', '0.1234567890123456789', '1e400', '123456789012345678901234567890e-10'])
    assert.equal(through(`{"a":[${text}]}`), `{"a":[${text}]}`)
})

test('all others are the numbers that they are', () => {
  assert.deepEqual(parseExactly('[9007199254740991,1.10,1e2,1.0000000000000000,1e-300,"12345678901234567890"]'), [
    ...[9007199254740991, 1.1, 100, 1, 1e-300, '12345678901234567890'],
  ])
})

test('a number that was kept to the digit can be compared', () => {
  assert.equal(asDouble(parseExactly('12345678901234567890')), Number('12345678901234567890'))
  assert.equal(asDouble('x'), 'x')
})

test('whatever JSON says, it says the same afterwards', () => {
  fc.assert(
    fc.property(fc.json(), fc.bigInt(), (text, large) => {
      assert.deepEqual(JSON.parse(through(text)), JSON.parse(text))
      assert.equal(through(`[${large}]`), `[${large}]`)
    }),
  )
})

test('what is no JSON throws, as ever', () => {
  assert.throws(() => parseExactly('{"a":12345678901234567890'), SyntaxError)
  assert.throws(() => parseExactly(''), SyntaxError)
})

test('numbers with a million digits, and names and texts that look like something else, take one pass', () => {
  const zeros = '0'.repeat(1_000_000)
  for (const number of [`1.${zeros}1`, `1${zeros}1e-1000000`, `0.${zeros}1${zeros}`]) assert.equal(through(number), number)
  const text = `{"__proto__":12345678901234567890,"a":{"__proto__":["12345678901234567890","\\"1e400\\\\",-1E+400]}}`
  assert.equal(through(text), text)
})
