/** Words of clients at a terminal and in a shell. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { plural, releaseCommand, shellWord, shown, table } from './words.ts'

test('a shell reads any word as it was', () => {
  const text = fc
    .string({ unit: 'binary', maxLength: 30 })
    .filter((word) => !word.includes('\0') && !word.endsWith('\n') && word.isWellFormed())
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (words) => {
      const script = words.map((word) => `printf '%s\\0' ${shellWord(word)}\n`).join('')
      assert.deepEqual(execFileSync('sh', ['-c', script]).toString().split('\0').slice(0, -1), words)
    }),
    { numRuns: 30 },
  )
  assert.equal(shellWord(''), "''")
  assert.equal(releaseCommand('q', '-x'), 'spillway keys release q -- -x')
})

test('what is shown has no blank, quote or control character unless it is quoted', () => {
  assert.equal(shown('plain-1.x'), 'plain-1.x')
  assert.equal(shown('ä漢'), 'ä漢')
  assert.equal(shown('a b'), '"a b"')
  assert.equal(shown(''), '""')
  assert.equal(shown('\u001b\u009b\u202e'), '"\\u001b\\u009b\\u202e"')
})

test('columns are as wide as they need to be, and lines do not end in blanks', () => {
  assert.deepEqual(
    table([
      ['a', 'long', ''],
      ['bbb', 'c', 'd'],
    ]),
    ['a    long', 'bbb  c     d'],
  )
  assert.deepEqual(table([]), [])
  assert.deepEqual([plural(1, 'job'), plural(2, 'job')], ['1 job', '2 jobs'])
})
