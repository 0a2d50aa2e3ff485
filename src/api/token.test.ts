import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { parseToken, secretMatches, tokenOf } from './token.ts'

const JOB = { id: '0123abc', secret: 'AbC-_9' } as StoredJob

test('a token is the job id and its secret, and comes apart again', () => {
  assert.deepEqual(parseToken(tokenOf(JOB)), { id: JOB.id, secret: JOB.secret })
})

test('what cannot be a token is none', () => {
  for (const text of ['', '.', 'a', 'a.', '.a', 'a.b.c', 'a b.c', 'a.%62', `${'a'.repeat(65)}.b`, `a.${'b'.repeat(65)}`]) {
    assert.equal(parseToken(text), undefined, text)
  }
  assert.ok(parseToken(`${'a'.repeat(64)}.${'b'.repeat(64)}`) !== undefined)
})

test('only the whole secret of that very job opens it', () => {
  assert.ok(secretMatches(JOB, 'AbC-_9'))
  for (const secret of ['', 'AbC-_', 'AbC-_9x', 'abc-_9', 'AbC-_9\0']) assert.ok(!secretMatches(JOB, secret), secret)
  assert.ok(!secretMatches(undefined, ''))
  assert.ok(!secretMatches(undefined, 'AbC-_9'))
  assert.ok(!secretMatches({ ...JOB, secret: '' }, ''))
})

test('any text is taken without an error', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const token = parseToken(text)
      assert.ok(token === undefined || text === `${token.id}.${token.secret}`)
    }),
  )
})
