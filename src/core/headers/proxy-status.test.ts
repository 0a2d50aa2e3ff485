import assert from 'node:assert/strict'
import { test } from 'node:test'
import { proxyStatus } from './proxy-status.ts'

test('the gateway is called as it is configured, as a string where the name is no token', () => {
  assert.equal(proxyStatus('edge-1.eu', 'connection_timeout'), 'edge-1.eu; error=connection_timeout')
  assert.equal(proxyStatus('1edge', 'connection_timeout'), '"1edge"; error=connection_timeout')
})

test('details are printable ASCII in quotes, up to 200 characters', () => {
  const details = (text: string): string => proxyStatus('a', 'b', text).replace('a; error=b; details=', '')
  assert.equal(details('say "no" \\ wait\r\nü'), '"say \\"no\\" \\\\ wait???"')
  assert.equal(details('x'.repeat(200)), `"${'x'.repeat(200)}"`)
  assert.equal(details('x'.repeat(201)), `"${'x'.repeat(200)}"`)
})
