import assert from 'node:assert/strict'
import { test } from 'node:test'
import { followUpPlan, followUpText } from './follow-up.ts'

test('a plan is read as it was written; nothing planned is no text', () => {
  assert.deepEqual(followUpPlan(followUpText({ callback: 'https://x/' })), { callback: 'https://x/' })
  assert.equal(followUpText({}), undefined)
  for (const text of [undefined, '', 'send on', '7', '[]', 'null']) assert.deepEqual(followUpPlan(text), {})
})
