import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { checkPath } from './check-path.ts'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
console.log(`SEED=${SEED}`)

const BAD = [
  '/.',
  '/..',
  '/a/../b',
  '/a/./b',
  '/a/..',
  '/%2e',
  '/%2E%2e/b',
  '/a/.%2e',
  '/a\\b',
  '\\',
  '/a/..;x/b',
  '/a/..%2fb',
  '/a%2f..%2Fb',
  '/a%5c..%5cb',
  '/..%3bx',
]
for (const path of BAD) test(`${path} is refused`, () => assert.equal(checkPath(path)?.code, 'bad_path'))

const GOOD = ['/', '/a', '/.well-known/x', '/...', '/a..b', '/a.', '/..a', '/a%2Fb', '/%2e%2e%2e', '/a%5cb', '/a;..', '*', '/100%', '//']
for (const path of GOOD) test(`${path} passes`, () => assert.equal(checkPath(path), undefined))

test('what passes means the same to a server that decodes and normalises', () => {
  const piece = fc.constantFrom('a', '.', '..', '/', '%2e', '%2E', '%2f', '%25', ';', 'b')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const path = `/${pieces.join('')}`
      const decoded = decodeURIComponent(path)
      const hasDots = decoded.split('/').some((segment) => segment === '.' || segment === '..')
      if (hasDots) assert.notEqual(checkPath(path), undefined)
    }),
    { seed: SEED, numRuns: 3000 },
  )
})
