/** The chunked coding: what was written comes out again however the bytes are cut, and what is not exactly chunked is refused. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { ChunkedDecoder } from './chunked.ts'
import { chunkHeader, fieldLines, lastChunk } from './write.ts'

const LIMITS = { trailerBytesMax: 100, headersMax: 5 }

interface Decoded {
  readonly body: string
  /** Undefined: the end was not seen. */
  readonly trailers: readonly string[] | undefined
  /** What the decoder left: the beginning of the next message. */
  readonly rest: string
  /** '' or what is wrong. */
  readonly wrong: string
}

function decode(pieces: readonly Buffer[], limits: typeof LIMITS = LIMITS): Decoded {
  const decoder = new ChunkedDecoder(limits)
  let body = ''
  let rest = ''
  let trailers: readonly string[] | undefined
  const sink = {
    data(chunk: Buffer): void {
      assert.ok(chunk.length > 0 && trailers === undefined)
      body += chunk.toString('latin1')
    },
    end(fields: readonly string[]): void {
      assert.equal(trailers, undefined, 'the end comes once')
      trailers = fields
    },
  }
  for (const piece of pieces) {
    const stopped = decoder.read(piece, 0, sink)
    if (typeof stopped === 'string') return { body, trailers, rest: '', wrong: stopped }
    assert.ok(decoder.done || stopped === piece.length)
    rest += piece.toString('latin1', stopped)
  }
  assert.equal(decoder.done, trailers !== undefined)
  return { body, trailers, rest, wrong: '' }
}

function decodeText(text: string, limits: typeof LIMITS = LIMITS): Decoded {
  return decode([Buffer.from(text, 'latin1')], limits)
}

function cutAt(text: string, cuts: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text, 'latin1')
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end))
}

const latin1 = fc.array(fc.nat(255), { maxLength: 600, size: 'max' }).map((codes) => String.fromCharCode(...codes))
const chunk = latin1.filter((data) => data !== '')
const trailer = fc.tuple(fc.constantFrom('X', 'Digest', 'x-y'), fc.constantFrom('', 'a', 'b c'))
const cuts = fc.array(fc.nat(10_000), { maxLength: 12 })

test('what is written as chunks and trailers is read again, however it is cut, and not a byte more', () => {
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 5 }), fc.array(trailer, { maxLength: 3 }), latin1, cuts, (chunks, list, behind, places) => {
      const trailers = list.flat()
      const text = chunks.map((data) => `${chunkHeader(data.length)}${data}\r\n`).join('') + lastChunk(trailers)
      assert.deepEqual(decode(cutAt(text + behind, places)), { body: chunks.join(''), trailers, rest: behind, wrong: '' })
    }),
    { numRuns: 500 },
  )
})

const BYTE_BY_BYTE = Array.from({ length: 2000 }, (_, i) => i)
const spoiled = fc.constantFrom(
  ...['\r\n', '\n', '\r', '5', '0', 'g', ';', ' ', 'a=b', ': ', 'X: y\r\n', '0\r\n\r\n', '5\r\nhello\r\n', '\0', '\xff'],
)

test('whatever the bytes are, their cuts make no difference: neither to the result nor to what is wrong', () => {
  let refused = 0
  let ended = 0
  fc.assert(
    fc.property(fc.array(spoiled, { maxLength: 12 }), cuts, (pieces, places) => {
      const text = pieces.join('')
      const whole = decodeText(text)
      for (const cut of [decode(cutAt(text, places)), decode(cutAt(text, BYTE_BY_BYTE))]) assert.deepEqual(cut, whole)
      if (whole.wrong !== '') refused++
      if (whole.trailers !== undefined) ended++
    }),
    { numRuns: 3000 },
  )
  assert.ok(refused > 300 && ended > 100, `${refused} refused, ${ended} ended`)
})

test('no byte may be missing: a part of a body is not its end', () => {
  const text = '5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n'
  for (let length = 0; length < text.length; length++) {
    const { trailers, wrong } = decodeText(text.slice(0, length))
    assert.equal(trailers, undefined)
    assert.equal(wrong, '')
  }
  assert.deepEqual(decodeText(text), { body: 'hello!', trailers: ['X', 'y'], rest: '', wrong: '' })
})

test('a chunk is passed on as a view of what came, not as a copy', () => {
  const whole = Buffer.from('hello')
  const decoder = new ChunkedDecoder(LIMITS)
  const seen: Buffer[] = []
  const sink = { data: (data: Buffer) => void seen.push(data), end: () => undefined }
  decoder.read(Buffer.from('5\r\n'), 0, sink)
  decoder.read(whole, 0, sink)
  assert.equal(seen[0], whole)
})

test('reading begins where it is told to', () => {
  const decoder = new ChunkedDecoder(LIMITS)
  let body = ''
  const sink = { data: (data: Buffer) => void (body += data.toString()), end: () => undefined }
  assert.equal(decoder.read(Buffer.from('head1\r\nx\r\n0\r\n\r\nnext'), 4, sink), 15)
  assert.equal(body, 'x')
  assert.ok(decoder.done)
  assert.equal(decoder.read(Buffer.from('next'), 0, sink), 0)
})

test('sizes are hexadecimal, of any number of digits', () => {
  for (const length of [1, 9, 10, 15, 16, 26, 255, 256, 4095, 4096, 70_000]) {
    const data = 'x'.repeat(length)
    assert.equal(decodeText(`${length.toString(16)}\r\n${data}\r\n0\r\n\r\n`).body, data)
  }
})

test('sizes in either case, with zeros before them, with extensions', () => {
  const data = 'x'.repeat(10)
  for (const size of ['a', 'A', '0a', '00000000000a', 'a;', 'a;b', 'a;b=c;d="e f"', 'a;b \t', `a;${'e'.repeat(1000)}`, 'a;\xe9'])
    assert.deepEqual(decodeText(`${size}\r\n${data}\r\n0\r\n\r\n`), { body: data, trailers: [], rest: '', wrong: '' }, size)
  assert.deepEqual(decodeText('000\r\n\r\n').trailers, [])
})

const WRONG: readonly (readonly [text: string, why: RegExp])[] = [
  ['\r\n', /missing/],
  [';a\r\n', /missing/],
  [' 5\r\n', /missing/],
  ['-5\r\n', /missing/],
  ['+5\r\n', /missing/],
  ['g\r\n', /missing/],
  ['0x5\r\n', /not hexadecimal/],
  ['5 \r\n', /not hexadecimal/],
  ['5 5;a\r\n', /not hexadecimal/],
  ['5 \n', /not hexadecimal/],
  ['5_0\r\n', /not hexadecimal/],
  ['5.0\r\n', /not hexadecimal/],
  ['5,5\r\n', /not hexadecimal/],
  ['5\n', /not hexadecimal/],
  ['5\0\r\n', /not hexadecimal/],
  ['5\rh', /end in CRLF/],
  ['5\r\r\n', /end in CRLF/],
  ['5;a\n', /control character/],
  ['5;a\0\r\n', /control character/],
  ['5;a\x7f\r\n', /control character/],
  ['5;a\rb\r\n', /end in CRLF/],
  ['5\r\nhello0\r\n\r\n', /longer than its size/],
  ['5\r\nhello\n0\r\n\r\n', /longer than its size/],
  ['4\r\nhello\r\n0\r\n\r\n', /longer than its size/],
  ['5\r\nhello\rx', /does not end in CRLF/],
  ['5\r\nhello\r\n\r\n', /missing/],
  ['0\r\nX\r\n\r\n', /trailer line is not valid \(colon\)/],
  ['0\r\nX : y\r\n\r\n', /trailer line is not valid \(space-before-colon\)/],
  ['0\r\n X: y\r\n\r\n', /trailer line is not valid \(fold\)/],
  ['0\r\nX: y\r\n z\r\n\r\n', /trailer line is not valid \(fold\)/],
  ['0\r\nX: y\nZ: w\r\n\r\n', /trailer line is not valid \(line-end\)/],
  ['0\r\nX: \0\r\n\r\n', /trailer line is not valid \(value\)/],
  ['0\r\n\rX: y\r\n\r\n', /trailer line is not valid \(name\)/],
]

test('what is not exactly chunked is refused, whole or byte by byte', () => {
  for (const [text, why] of WRONG) {
    assert.match(decodeText(text).wrong, why, JSON.stringify(text))
    assert.match(decode(cutAt(text, BYTE_BY_BYTE)).wrong, why, JSON.stringify(text))
  }
})

test('blanks before an extension are read over, and count as a part of it', () => {
  const text = '5 ;a=b\r\nhello\r\n0\t \t; z\r\n\r\n'
  for (const places of [[], BYTE_BY_BYTE])
    assert.deepEqual(decode(cutAt(text, places)), { body: 'hello', trailers: [], rest: '', wrong: '' })
  assert.equal(decodeText(`1${' '.repeat(1023)};e\r\nx\r\n`).wrong, '')
  assert.match(decodeText(`1${' '.repeat(1024)};e\r\nx\r\n`).wrong, /longer than 1024/)
})

test('a size has 12 digits at most, zeros included', () => {
  assert.equal(decodeText(`${'f'.repeat(12)}\r\n`).wrong, '')
  assert.match(decodeText(`${'0'.repeat(13)}\r\n`).wrong, /too many digits/)
  assert.match(decodeText(`${'f'.repeat(16)}\r\n`).wrong, /too many digits/)
  // Each chunk has its own.
  assert.equal(decodeText(`${'0'.repeat(11)}1\r\nx\r\n${'0'.repeat(12)}\r\n\r\n`).wrong, '')
})

test('extensions have 1024 bytes at most, those of all chunks together', () => {
  assert.equal(decodeText(`1;${'e'.repeat(1024)}\r\nx\r\n0\r\n\r\n`).wrong, '')
  assert.match(decodeText(`1;${'e'.repeat(1025)}\r\nx\r\n0\r\n\r\n`).wrong, /longer than 1024/)
  assert.equal(decodeText(`${`1;${'e'.repeat(512)}\r\nx\r\n`.repeat(2)}0\r\n\r\n`).wrong, '')
  assert.match(decodeText(`${`1;${'e'.repeat(512)}\r\nx\r\n`.repeat(2)}0;e\r\n\r\n`).wrong, /longer than 1024/)
})

test('trailers as long as allowed are taken, one byte more is not, however they are cut', () => {
  const trailers = (bytes: number): string => `X: ${'x'.repeat(bytes - 7)}\r\n\r\n`
  for (const places of [[], [3, 50, 101, 102, 103], BYTE_BY_BYTE]) {
    assert.equal(decode(cutAt(`0\r\n${trailers(100)}`, places)).wrong, '')
    assert.match(decode(cutAt(`0\r\n${trailers(101)}`, places)).wrong, /longer than 100 bytes/)
    assert.match(decode(cutAt(`0\r\nX: ${'x'.repeat(500)}`, places)).wrong, /longer than 100 bytes/)
  }
  assert.equal(decodeText('0\r\n\r\n', { ...LIMITS, trailerBytesMax: 2 }).wrong, '')
})

test('as many trailers as there may be headers are taken, one more is not', () => {
  assert.equal(decodeText(`0\r\n${'X: y\r\n'.repeat(5)}\r\n`).trailers?.length, 10)
  assert.match(decodeText(`0\r\n${'X: y\r\n'.repeat(6)}\r\n`).wrong, /count/)
})

test('the fields that are written are lines', () => {
  assert.equal(fieldLines(['A', 'b', 'C', '']), 'A: b\r\nC: \r\n')
  assert.equal(lastChunk([]), '0\r\n\r\n')
  assert.equal(chunkHeader(255), 'ff\r\n')
})
