import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Closing } from './closing.ts'

test('every listener hears of it once, in order, but those that have left', () => {
  const closing = new Closing()
  const heard: number[] = []
  const listeners = [1, 2, 3].map((n) => () => void heard.push(n))
  for (const listener of listeners) closing.addEventListener('abort', listener)
  closing.removeEventListener('abort', listeners[1] as () => void)
  assert.ok(!closing.aborted)
  closing.abort()
  closing.abort()
  assert.ok(closing.aborted)
  assert.deepEqual(heard, [1, 3])
  closing.addEventListener('abort', () => void heard.push(4))
  closing.abort()
  assert.deepEqual(heard, [1, 3])
})
