import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hostPortText, hostText } from './host-port.ts'

test('an IPv6 address stands in brackets, a name and an IPv4 address do not', () => {
  assert.equal(hostPortText({ host: 'api.internal', port: 80 }), 'api.internal:80')
  assert.equal(hostPortText({ host: '127.0.0.1', port: 0 }), '127.0.0.1:0')
  assert.equal(hostPortText({ host: '::1', port: 8080 }), '[::1]:8080')
  assert.equal(hostText('::'), '[::]')
  assert.equal(hostText('localhost'), 'localhost')
})

test('what is written is understood by a URL, and says the same host and port', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('localhost', 'api.internal', 'a-b.example'))
  fc.assert(
    fc.property(host, fc.integer({ min: 81, max: 65_535 }), (of, port) => {
      const url = new URL(`http://${hostPortText({ host: of, port })}`)
      assert.equal(url.port, String(port))
      assert.equal(url.hostname, new URL(`http://${hostText(of)}`).hostname)
    }),
  )
})
