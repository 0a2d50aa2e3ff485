/**
 * Bytes as JSON can hold them: text where they are text, else base64. Put together in order, whatever they were cut into, they are the same bytes:
 * a character that is cut in two waits for its rest, and what is no UTF-8 is never made into some.
 */
import { isUtf8 } from 'node:buffer'
import type { Bytes } from '../lib/units.ts'

export interface AnswerPiece {
  readonly data: { readonly text: string } | { readonly base64: string }
  /** That it stands for. */
  readonly bytes: Bytes
}

const CHARACTER_BYTES_MAX = 4
const NOTHING = Buffer.alloc(0)

export class PieceEncoder {
  /** The beginning of a character. */
  #rest: Buffer = NOTHING

  /** Undefined: there is nothing to tell yet. */
  encode(bytes: Uint8Array): AnswerPiece | undefined {
    const all = Buffer.concat([this.#rest, bytes])
    const whole = all.length - unfinishedBytes(all)
    const isText = isUtf8(all.subarray(0, whole))
    const told = isText ? all.subarray(0, whole) : all
    this.#rest = isText ? Buffer.from(all.subarray(whole)) : NOTHING
    return pieceOf(told, isText)
  }

  /** Nothing more comes: what waited is no character. */
  end(): AnswerPiece | undefined {
    const rest = this.#rest
    this.#rest = NOTHING
    return pieceOf(rest, false)
  }
}

function pieceOf(bytes: Buffer, isText: boolean): AnswerPiece | undefined {
  if (bytes.length === 0) return undefined
  return { data: isText ? { text: bytes.toString('utf8') } : { base64: bytes.toString('base64') }, bytes: bytes.length }
}

/** At the end of it: bytes of a character of which more may come. */
function unfinishedBytes(bytes: Uint8Array): Bytes {
  for (let back = 1; back < CHARACTER_BYTES_MAX && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] as number
    if (byte >= 0xc0) return back < charactersBytes(byte) ? back : 0
    if (byte < 0x80) return 0
  }
  return 0
}

/** That a character of this first byte has. */
function charactersBytes(first: number): Bytes {
  if (first >= 0xf0) return 4
  return first >= 0xe0 ? 3 : 2
}
