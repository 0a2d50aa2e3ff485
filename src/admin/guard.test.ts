import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createGuard } from './guard.ts'

test('with a token only that token passes, whatever the host', () => {
  const guard = createGuard('s3cret')
  assert.equal(guard('Bearer s3cret', 'example.com'), 'pass')
  assert.equal(guard('bearer  s3cret', undefined), 'pass')
  for (const sent of [undefined, '', 'Bearer', 'Bearer ', 'Bearer s3cre', 'Bearer s3crets', 's3cret', 'Basic s3cret', 'Bearer s3cret x']) {
    assert.equal(guard(sent, 'localhost'), 'no-token', String(sent))
  }
})

test('without a token only addresses and localhost are this machine', () => {
  const guard = createGuard(undefined)
  for (const host of ['localhost', 'LOCALHOST:9900', '127.0.0.1', '127.0.0.1:9900', '[::1]', '[::1]:9900']) {
    assert.equal(guard(undefined, host), 'pass', host)
  }
  for (const host of [undefined, '', 'example.com', 'example.com:9900', 'localhost.example.com', '127.0.0.1.example.com', '[x]:1']) {
    assert.equal(guard(undefined, host), 'foreign-host', String(host))
  }
})
