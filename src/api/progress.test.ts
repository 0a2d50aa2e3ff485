import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compactProgress, PROGRESS_DEPTH_MAX } from './progress.ts'

const compact = (text: string): string | undefined => compactProgress(Buffer.from(text))
const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`

test('progress is any JSON, kept on one line', () => {
  assert.equal(compact('{ "percent" : 50,\n "note": "a\\nb" }'), '{"percent":50,"note":"a\\nb"}')
  for (const text of ['1', '"x"', 'null', 'true', '[]']) assert.equal(compact(text), text)
  for (const text of ['', '{', 'nope', '1 2']) assert.equal(compact(text), undefined, text)
  assert.equal(compactProgress(Buffer.from([0x22, 0xff, 0x22])), undefined)
})

test('progress may be so deep and no deeper', () => {
  const objects = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
  for (const make of [nested, objects]) {
    assert.equal(compact(make(PROGRESS_DEPTH_MAX)), make(PROGRESS_DEPTH_MAX))
    assert.equal(compact(make(PROGRESS_DEPTH_MAX + 1)), undefined)
    assert.equal(compact(make(2000)), undefined)
  }
  assert.equal(compact(nested(8000)), undefined)
})

test('brackets within strings are no depth, and many side by side are none either', () => {
  const text = JSON.stringify({ text: `${'[{'.repeat(500)}"\\"${'['.repeat(500)}\\` })
  assert.equal(compact(text), text)
  const wide = `[${Array.from({ length: 500 }, () => '[]').join(',')}]`
  assert.equal(compact(wide), wide)
})
