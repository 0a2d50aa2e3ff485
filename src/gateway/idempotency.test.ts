import assert from 'node:assert/strict'
import { test } from 'node:test'
import { idempotencyOf } from './idempotency.ts'

const ROUTE = { name: 'POST /orders', idempotencyScope: 'authorization' }

function same(headers: readonly string[], change: { method?: string; target?: string; body?: string; route?: string; key?: string } = {}) {
  const { method = 'POST', target = '/orders', body = 'x', route = ROUTE.name, key = 'k' } = change
  return idempotencyOf(key, { ...ROUTE, name: route }, { head: { method, target, headers }, body: Buffer.from(body) })
}

test('the scope of an idempotency key is the route and the caller', () => {
  const first = same(['Authorization', 'Bearer a'])
  assert.equal(same(['authorization', 'Bearer a', 'X', 'y']).scopeKey, first.scopeKey)
  assert.notEqual(same(['Authorization', 'Bearer b']).scopeKey, first.scopeKey)
  assert.notEqual(same([]).scopeKey, first.scopeKey)
  assert.notEqual(same(['Authorization', 'Bearer a'], { route: 'POST /other' }).scopeKey, first.scopeKey)
  assert.notEqual(same(['Authorization', 'Bearer a'], { key: 'K' }).scopeKey, first.scopeKey)
  assert.match(first.scopeKey, /^[0-9a-f]{64}$/)
})

test('the fingerprint is made of method, target, content type and body, and of nothing else', () => {
  const first = same(['Content-Type', 'text/plain'])
  assert.equal(same(['content-type', 'text/plain', 'User-Agent', 'other']).fingerprint, first.fingerprint)
  for (const other of [{ method: 'PUT' }, { target: '/orders?a' }, { body: 'y' }]) {
    assert.notEqual(same(['Content-Type', 'text/plain'], other).fingerprint, first.fingerprint)
  }
  assert.notEqual(same(['Content-Type', 'text/html']).fingerprint, first.fingerprint)
})
