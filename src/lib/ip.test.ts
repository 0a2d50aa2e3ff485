/** Addresses as bytes and text: one text for each address. */
import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { ipBytes, ipText } from './ip.ts'

test('bytes become a text, and the text the same bytes', () => {
  const bytes = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }).map((list) => Uint8Array.from(list))
  fc.assert(
    fc.property(fc.oneof(bytes, sparse), (address) => {
      const text = ipText(address)
      assert.equal(isIP(text), address.length === 4 ? 4 : 6)
      assert.deepEqual(ipBytes(text), address)
    }),
  )
})

test('whatever form an address is written in, it is one address', () => {
  for (const [written, text] of [
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1::', '1::'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['192.0.2.1', '192.0.2.1'],
  ]) {
    assert.equal(ipText(ipBytes(written as string) as Uint8Array), text)
  }
})

test('what is no address has no bytes', () => {
  for (const text of ['', 'localhost', '1.2.3', '1.2.3.256', '01.2.3.4', '::1::', 'fe80::1%eth0', '1:2:3:4:5:6:7:8:9', '[::1]'])
    assert.equal(ipBytes(text), undefined, text)
})
