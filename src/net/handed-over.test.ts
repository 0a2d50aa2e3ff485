/** What stands before the first request of a connection that another thread hands over: nothing but what such a thread writes is taken for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { handOverLine, readHandOver } from './handed-over.ts'

const PEER = {
  source: { address: '192.0.2.7', port: 4711 },
  destination: { address: '::1', port: 443 },
  secure: true,
  clientCert: ':bWU=:',
}

test('who a connection is from is read as it was written', () => {
  const line = handOverLine('secret', PEER)
  assert.equal(line.at(-1), 10)
  assert.equal(line.indexOf(10), line.length - 1, 'one line')
  const { source, destination, secure, clientCert } = readHandOver(line.subarray(0, -1), 'secret') ?? {}
  assert.deepEqual({ source, destination, secure, clientCert }, PEER)
})

test('without the secret nothing is believed, whatever it says', () => {
  const line = handOverLine('secret', PEER).subarray(0, -1)
  for (const secret of ['', 'secre', 'secret ', 'Secret', 'other!']) assert.equal(readHandOver(line, secret), undefined)
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => assert.equal(readHandOver(Buffer.from(bytes), 'secret'), undefined)))
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.equal(readHandOver(Buffer.from(text), 'secret'), undefined)
    }),
  )
})
