/** The end of a head is found however long it is and however it arrives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { findHead } from './find-head.ts'

const padding = fc.oneof(fc.nat(30), fc.integer({ min: 2000, max: 2100 }), fc.nat(6000))

test('whatever the split, the head is found once it is complete, and not before', () => {
  fc.assert(
    fc.property(padding, fc.nat(3000), fc.nat(7000), fc.boolean(), (length, behind, cut, crlfFirst) => {
      const at = crlfFirst ? 2 : 0
      const head = `GET / HTTP/1.1\r\nX: ${'x'.repeat(length)}\r\n\r\n`
      const all = Buffer.from((crlfFirst ? '\r\n' : '') + head + 'b\r\n\r\n'.repeat(behind / 5), 'latin1')
      const part = all.subarray(0, Math.min(cut, all.length))
      const early = findHead(part, at, 0)
      assert.equal(early, part.length >= at + head.length ? head : undefined)
      if (early === undefined) assert.equal(findHead(all, at, part.length), head)
    }),
  )
})
