import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ByteList } from './byte-list.ts'

const piece = fc.record({
  bytes: fc.uint8Array({ maxLength: 3000 }),
  /** Part of a longer buffer: such a piece is copied. */
  around: fc.constantFrom(0, 10, 100_000),
  copied: fc.boolean(),
})

test('what went in comes out, in order, however it came', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const list = new ByteList()
      for (const { bytes, around, copied } of pieces) {
        const whole = new Uint8Array(bytes.length + around)
        whole.set(bytes)
        const part = whole.subarray(0, bytes.length)
        if (copied) {
          list.addCopy(part)
          whole.fill(255)
        } else list.add(part)
      }
      const expected = Buffer.concat(pieces.map(({ bytes }) => bytes))
      assert.equal(list.length, expected.length)
      assert.deepEqual(Buffer.from(list.joined()), expected)
      assert.deepEqual(Buffer.concat(list.pieces()), expected)
      list.clear()
      assert.deepEqual([list.length, list.joined().length], [0, 0])
    }),
  )
})

/** Memory that the pieces keep alive. */
function kept(list: ByteList): number {
  return [...new Set(list.pieces().map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
}

test('small pieces cost no more than twice their bytes, and few objects', () => {
  const list = new ByteList()
  const read = Buffer.alloc(65_536)
  for (let i = 0; i < 1_000_000; i++) list.add(read.subarray(i % 65_536, (i % 65_536) + 1))
  assert.equal(list.length, 1_000_000)
  assert.ok(kept(list) <= 2_000_000, `${kept(list)} bytes`)
  assert.ok(list.pieces().length < 40, `${list.pieces().length} pieces`)
})

test('a piece that is most of its buffer is kept as it is', () => {
  const list = new ByteList()
  const whole = Buffer.alloc(65_536)
  list.add(whole.subarray(100))
  assert.equal((list.joined() as Buffer).buffer, whole.buffer)
})
