/**
 * The chunked transfer coding (RFC 9112, section 7.1), read strictly and incrementally: any split of the input gives the same
 * output. Chunk data is passed on as views of the input, never copied.
 */
import { CR, FIELD_VALUE, HEX, HTAB, LF, SP } from './chars.ts'
import { parseFields } from './fields.ts'

export interface ChunkedSink {
  data(chunk: Buffer): void
  end(trailers: readonly string[]): void
}

const SIZE = 0
const EXTENSION = 1
const SIZE_LF = 2
const DATA = 3
const DATA_CR = 4
const DATA_LF = 5
const TRAILERS = 6
const DONE = 7
/** Behind a size, before its extension. */
const BLANK = 8

const SIZE_DIGITS_MAX = 12
const EXTENSION_BYTES_MAX = 1024
const SEMICOLON = 59

export interface ChunkedLimits {
  readonly trailerBytesMax: number
  readonly headersMax: number
}

export class ChunkedDecoder {
  #state = SIZE
  #left = 0
  #digits = 0
  #extensionBytes = 0
  #trailers = ''
  readonly #limits: ChunkedLimits

  constructor(limits: ChunkedLimits) {
    this.#limits = limits
  }

  get done(): boolean {
    return this.#state === DONE
  }

  /** Reads `input` from `at`; returns where it stopped (behind the body's end, or the input's), or what is wrong. */
  read(input: Buffer, at: number, sink: ChunkedSink): number | string {
    let pos = at
    while (pos < input.length && this.#state !== DONE) {
      if (this.#state === DATA) {
        const end = Math.min(input.length, pos + this.#left)
        this.#left -= end - pos
        if (this.#left === 0) this.#state = DATA_CR
        sink.data(pos === 0 && end === input.length ? input : input.subarray(pos, end))
        pos = end
      } else if (this.#state === TRAILERS) {
        const next = this.#readTrailers(input, pos, sink)
        if (typeof next === 'string') return next
        pos = next
      } else {
        const wrong = this.#readFraming(input[pos] as number)
        if (wrong !== '') return wrong
        pos++
      }
    }
    return pos
  }

  /** One byte of the chunk header or of the CRLF behind the data. */
  #readFraming(byte: number): string {
    switch (this.#state) {
      case SIZE:
        return this.#readSize(byte)
      case BLANK:
        if (byte === SEMICOLON) this.#state = EXTENSION
        else if (byte !== SP && byte !== HTAB) return 'a chunk size is not hexadecimal'
        return this.#countExtension()
      case EXTENSION:
        if (byte === CR) this.#state = SIZE_LF
        else if (FIELD_VALUE[byte] !== 1) return 'a chunk extension has a control character'
        else return this.#countExtension()
        return ''
      case SIZE_LF:
        if (byte !== LF) return 'a chunk size does not end in CRLF'
        this.#state = this.#left === 0 ? TRAILERS : DATA
        this.#digits = 0
        return ''
      case DATA_CR:
        if (byte !== CR) return 'chunk data is longer than its size'
        this.#state = DATA_LF
        return ''
      default:
        if (byte !== LF) return 'chunk data does not end in CRLF'
        this.#state = SIZE
        this.#left = 0
        return ''
    }
  }

  #readSize(byte: number): string {
    const digit = HEX[byte] as number
    if (digit !== 255) {
      if (++this.#digits > SIZE_DIGITS_MAX) return 'a chunk size has too many digits'
      this.#left = this.#left * 16 + digit
      return ''
    }
    if (this.#digits === 0) return 'a chunk size is missing'
    if (byte === CR) this.#state = SIZE_LF
    else if (byte === SEMICOLON) this.#state = EXTENSION
    else if (byte === SP || byte === HTAB) this.#state = BLANK
    else return 'a chunk size is not hexadecimal'
    return ''
  }

  #countExtension(): string {
    return ++this.#extensionBytes > EXTENSION_BYTES_MAX ? `chunk extensions are longer than ${EXTENSION_BYTES_MAX} bytes` : ''
  }

  /** Collects until the empty line; returns the position behind it. */
  #readTrailers(input: Buffer, at: number, sink: ChunkedSink): number | string {
    const before = this.#trailers.length
    const text = this.#trailers + input.toString('latin1', at, Math.min(input.length, at + this.#limits.trailerBytesMax + 4))
    const end = text.startsWith('\r\n') ? 2 : endOfSection(text)
    if (end < 0) {
      if (text.length > this.#limits.trailerBytesMax) return `trailers are longer than ${this.#limits.trailerBytesMax} bytes`
      this.#trailers = text
      return input.length
    }
    if (end > this.#limits.trailerBytesMax) return `trailers are longer than ${this.#limits.trailerBytesMax} bytes`
    const facts = parseFields(text.slice(0, end), 0, { headersMax: this.#limits.headersMax, allowSpaceBeforeColon: false })
    if (typeof facts === 'string') return `a trailer line is not valid (${facts})`
    this.#state = DONE
    sink.end(facts.headers)
    return at + (end - before)
  }
}

function endOfSection(text: string): number {
  const at = text.indexOf('\r\n\r\n')
  return at < 0 ? -1 : at + 4
}
