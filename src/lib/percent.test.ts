import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePercent } from './percent.ts'

test('a share is a number up to 100 and a percent sign', () => {
  assert.deepEqual(['0%', '0.5%', '20%', '100%'].map(parsePercent), [0, 0.005, 0.2, 1])
})

test('anything else is none', () => {
  for (const text of ['', '20', '%', '101%', '100.1%', '-1%', '1e1%', '20 %', '.5%', '20%%'])
    assert.equal(parsePercent(text), undefined, text)
})
