import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { clientCloseFrame, FrameTracker } from './websocket-frames.ts'

/** A masked frame with a payload of so many bytes. */
function frame(opcode: number, length: number): Buffer {
  const mask = [1, 2, 3, 4]
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(length))
  const head = length < 126 ? [0x80 | length] : length < 65_536 ? [0x80 | 126, ...size.subarray(6)] : [0x80 | 127, ...size]
  return Buffer.concat([Buffer.from([0x80 | opcode, ...head, ...mask]), Buffer.alloc(length, 0x88)])
}

const lengths = fc.array(fc.oneof(fc.nat({ max: 130 }), fc.constantFrom(0, 125, 126, 65_535, 65_536, 70_000)), {
  minLength: 1,
  maxLength: 6,
})

test('wherever the bytes are cut, it stands between frames where one has ended, and nowhere else', () => {
  fc.assert(
    fc.property(lengths, fc.array(fc.nat({ max: 80_000 })), (all, cuts) => {
      const frames = all.map((length, n) => frame(n % 3, length))
      const bytes = Buffer.concat(frames)
      const ends = new Set([0])
      let end = 0
      for (const { length } of frames) ends.add((end += length))
      const tracker = new FrameTracker()
      const places = [0, ...cuts.map((cut) => cut % bytes.length), bytes.length].sort((a, b) => a - b)
      for (const [i, place] of places.entries()) {
        assert.equal(tracker.read(bytes.subarray(places[i - 1] ?? 0, place)), place - (places[i - 1] ?? 0))
        assert.equal(tracker.isBetween, ends.has(place))
      }
      assert.equal(tracker.saidClose, false)
    }),
  )
})

test('it stops at the next end of a frame where that is asked for, and at once where it stands at one', () => {
  fc.assert(
    fc.property(fc.nat({ max: 300 }), fc.nat({ max: 300 }), fc.nat(), (first, second, cut) => {
      const bytes = Buffer.concat([frame(1, first), frame(2, second)])
      const tracker = new FrameTracker()
      const end = bytes.length - frame(2, second).length
      const from = 1 + (cut % (end - 1))
      tracker.read(bytes.subarray(0, from))
      assert.equal(tracker.read(bytes.subarray(from), true), end - from)
      assert.equal(tracker.read(bytes.subarray(end), true), 0)
    }),
  )
})

test('what is not masked, or longer than can be counted, has no end', () => {
  const endless = [0x81, 0xff, ...new Uint8Array(8).fill(0xff), 1, 2, 3, 4]
  for (const bytes of [Buffer.from([0x81, 5, 1, 2, 3, 4, 5]), Buffer.from('\x00hello'), Buffer.from(endless)]) {
    const tracker = new FrameTracker()
    tracker.read(Buffer.concat([bytes, frame(1, 5)]))
    assert.equal(tracker.isBetween, false)
  }
})

test('a goodbye of the client is seen, and ours is one of which it sees the end', () => {
  const tracker = new FrameTracker()
  tracker.read(frame(1, 5))
  assert.equal(tracker.saidClose, false)
  const goodbye = clientCloseFrame(1001, Uint8Array.of(9, 8, 7, 6))
  tracker.read(goodbye)
  assert.deepEqual([tracker.saidClose, tracker.isBetween], [true, true])
  const [x = 0, y = 0] = goodbye.subarray(6)
  assert.equal(((x ^ 9) << 8) | (y ^ 8), 1001)
})
