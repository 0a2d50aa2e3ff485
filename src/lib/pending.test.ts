/** What is under way is counted until it has ended, well or not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pending } from './pending.ts'

test('nothing under way is idle at once', async () => {
  const pending = new Pending()
  await pending.idle()
  assert.equal(pending.size, 0)
})

test('idle when all of it has ended, also what failed', async () => {
  const pending = new Pending()
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  pending.track(first.promise)
  pending.track(second.promise)
  let idle = 0
  const told = Promise.all([pending.idle(), pending.idle()]).then(() => idle++)
  assert.equal(pending.size, 2)
  first.resolve()
  await first.promise
  assert.deepEqual([pending.size, idle], [1, 0])
  second.reject(new Error('failed'))
  await told
  assert.deepEqual([pending.size, idle], [0, 1])
  await pending.idle()
})
