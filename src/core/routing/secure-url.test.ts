/** Where a plain request is sent to. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { secureUrl } from './secure-url.ts'

test('host and target stay, the port is the one of https', () => {
  assert.equal(secureUrl('example.com', '/a?b=c', 443), 'https://example.com/a?b=c')
  assert.equal(secureUrl('example.com:8080', '/', 443), 'https://example.com/')
  assert.equal(secureUrl('example.com:8080', '//evil.example/', 8443), 'https://example.com:8443//evil.example/')
  assert.equal(secureUrl('[::1]:80', '/', 443), 'https://[::1]/')
  assert.equal(secureUrl('[::1]', '/', 8443), 'https://[::1]:8443/')
  assert.equal(secureUrl('example.com:', '/', 443), 'https://example.com/')
})
