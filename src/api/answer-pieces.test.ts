import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { type AnswerPiece, PieceEncoder } from './answer-pieces.ts'

function told(pieces: readonly Uint8Array[]): readonly AnswerPiece[] {
  const encoder = new PieceEncoder()
  return [...pieces.map((piece) => encoder.encode(piece)), encoder.end()].filter((piece) => piece !== undefined)
}

/** As a client does it. */
function bytesOf({ data }: AnswerPiece): Buffer {
  const sent = JSON.parse(JSON.stringify(data)) as { text?: string; base64?: string }
  return sent.text === undefined ? Buffer.from(sent.base64 ?? '', 'base64') : Buffer.from(sent.text)
}

function cut(bytes: Uint8Array, at: readonly number[]): readonly Uint8Array[] {
  const places = [0, ...at.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((to, i) => bytes.subarray(places[i], to))
}

test('whatever bytes come, in whatever pieces, come out again, and each piece says how many it is', () => {
  const text = fc.string({ unit: 'grapheme' }).map((each) => new Uint8Array(Buffer.from(each)))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), text), fc.array(fc.nat()), (bytes, at) => {
      const pieces = told(cut(bytes, at))
      assert.ok(Buffer.concat(pieces.map(bytesOf)).equals(bytes))
      for (const piece of pieces) assert.equal(bytesOf(piece).length, piece.bytes)
    }),
  )
})

test('text stays text, wherever it is cut', () => {
  const bytes = Buffer.from('a é € 😀 \0 \ufeff "quoted"\n')
  for (let at = 0; at <= bytes.length; at++) {
    const pieces = told([bytes.subarray(0, at), bytes.subarray(at)])
    assert.ok(
      pieces.every(({ data }) => 'text' in data),
      `cut at ${at}`,
    )
  }
})

test('what is no character is never made into one', () => {
  for (const bytes of [
    [0xff],
    [0xc3, 0x28],
    [0xe2, 0x82],
    [0xf0, 0x9f, 0x98],
    [0x80],
    [0xed, 0xa0, 0x80],
    [0xc0, 0xaf],
    [0xf5, 0x80, 0x80, 0x80],
  ]) {
    const pieces = told([Buffer.from(bytes)])
    assert.ok(
      pieces.every(({ data }) => 'base64' in data),
      bytes.join(),
    )
  }
})
