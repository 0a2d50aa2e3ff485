import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePattern, patternShape } from './pattern.ts'

const WRONG: readonly (readonly [text: string, message: string])[] = [
  ['', 'a path begins with "/"'],
  ['orders', 'a path begins with "/"'],
  ['/a?b=1', 'a path holds no "?", "#", blank or backslash; a query is matched by "query"'],
  ['/a b', 'a path holds no "?", "#", blank or backslash; a query is matched by "query"'],
  ['/a/../b', '".." can never match: paths with dot segments are refused'],
  ['/a*', '"*" may only stand alone at the end, as in /prefix/*'],
  ['/*/a', '"*" may only stand alone at the end, as in /prefix/*'],
  ['/a/{id}.json', '"{id}.json" is no parameter; write a whole segment as {name}'],
  ['/a/{}', '"{}" is no parameter; write a whole segment as {name}'],
  ['/{id}/{id}', 'the parameter {id} stands there twice'],
]
for (const [text, message] of WRONG) test(`"${text}" is refused`, () => assert.equal(parsePattern(text), message))

test('the shape forgets the names of parameters', () => {
  const shapes = ['/', '/*', '/a/{id}', '/a/{x}/*', '/a/'].map((text) => {
    const pattern = parsePattern(text)
    return typeof pattern === 'string' ? pattern : patternShape(pattern)
  })
  assert.deepEqual(shapes, ['/', '/*', '/a/{}', '/a/{}/*', '/a/'])
})
