import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { KeySource } from '../config/config.ts'
import { KEY_LENGTH_MAX } from '../core/jobs/limits.ts'
import { extractKey } from './key.ts'

interface Given {
  readonly headers?: readonly string[]
  readonly query?: string
  readonly params?: Readonly<Record<string, string>>
  readonly body?: string
}

function keyOf(from: KeySource['from'], name: string, given: Given): string | undefined {
  const { headers = [], query = '', params = {}, body = '' } = given
  return extractKey({ from, name }, { head: { headers, query }, params, body: Buffer.from(body) })
}

test('a key is found in a header, the path, the query, a cookie or the JSON body', () => {
  assert.equal(keyOf('header', 'x-account', { headers: ['X-Account', '7', 'X-Account', '8'] }), '7')
  assert.equal(keyOf('path', 'id', { params: { id: '42' } }), '42')
  assert.equal(keyOf('query', 'a', { query: 'b=1&a=x%20y&a=z' }), 'x y')
  assert.equal(keyOf('cookie', 'sid', { headers: ['Cookie', 'a=1; sid=abc=d', 'Cookie', 'sid=2'] }), 'abc=d')
  assert.equal(keyOf('json', '/a~1b/1/m~0n', { body: '{"a/b":[0,{"m~n":"deep"}]}' }), 'deep')
  assert.equal(keyOf('json', '/n', { body: '{"n":5}' }), '5')
  assert.equal(keyOf('json', '/n', { body: '{"n":false}' }), 'false')
  assert.equal(keyOf('json', '', { body: '"whole"' }), 'whole')
})

test('where there is no value there is no key', () => {
  assert.equal(keyOf('header', 'x-account', { headers: ['X-Account', ''] }), undefined)
  assert.equal(keyOf('path', 'toString', {}), undefined)
  assert.equal(keyOf('query', 'a', {}), undefined)
  assert.equal(keyOf('cookie', 'sid', { headers: ['Cookie', 'xsid=1; sid'] }), undefined)
  for (const body of ['', '{', '[]', 'null', '{"a":null}', '{"a":{}}', '{"a":[1]}'])
    assert.equal(keyOf('json', '/a', { body }), undefined, body)
  assert.equal(keyOf('json', '/constructor/name', { body: '{}' }), undefined)
})

test('a value longer than a key may be still tells requests apart', () => {
  const long = 'x'.repeat(KEY_LENGTH_MAX)
  assert.equal(keyOf('query', 'a', { query: `a=${long}` }), long)
  const hashed = keyOf('query', 'a', { query: `a=${long}x` }) as string
  assert.ok(hashed.startsWith('sha256:') && hashed.length <= KEY_LENGTH_MAX)
  assert.notEqual(hashed, keyOf('query', 'a', { query: `a=${long}y` }))
})

test('half a character makes a key that any store can keep, and still tells requests apart', () => {
  const values = ['\\ud800', '\\ud801', 'a\\udc00', '\\ufffd', '\\ud83d\\ude00', `\\ud800${'x'.repeat(300)}`, `\\ud801${'x'.repeat(300)}`]
  const keys = values.map((value) => keyOf('json', '/k', { body: `{"k":"${value}"}` }) ?? '')
  assert.ok(keys.every((key) => key.isWellFormed() && key.length > 0 && key.length <= KEY_LENGTH_MAX))
  assert.equal(new Set(keys).size, values.length)
  assert.deepEqual([keys[3], keys[4]], ['\ufffd', '😀'], 'what is text stays as it is')
})

test('any body and pointer yield a key or none', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), fc.string(), (body, pointer) => {
      const key = keyOf('json', `/${pointer}`, { body })
      assert.ok(key === undefined || (key.length > 0 && key.length <= KEY_LENGTH_MAX))
    }),
  )
})
