/** NDJSON as it comes from a socket: pieces of any size become lines. A line that is too long is told of once, and skipped to its end. */
import { ByteList } from '../../lib/byte-list.ts'
import type { Bytes } from '../../lib/units.ts'

const NEWLINE = 0x0a
export const TOO_LONG: unique symbol = Symbol('too long')

export type Line = Uint8Array | typeof TOO_LONG

export class LineSplitter {
  readonly #lineBytesMax: Bytes
  #rest = new ByteList()
  #skipping = false

  constructor(lineBytesMax: Bytes) {
    this.#lineBytesMax = lineBytesMax
  }

  /** What is kept of a line that has not ended. */
  get pending(): Bytes {
    return this.#rest.length
  }

  /** The lines that end in this piece. Empty ones are left out. */
  push(piece: Uint8Array): Line[] {
    const lines: Line[] = []
    // Copied once for all lines that lie in it: a copy of its own for each would be a hundred times what a short line is.
    const whole = Buffer.from(piece.subarray(0, piece.lastIndexOf(NEWLINE) + 1))
    let at = 0
    for (;;) {
      const end = whole.indexOf(NEWLINE, at)
      if (end < 0) break
      const part = whole.subarray(at, end)
      if (this.#rest.length > 0 || this.#skipping || part.length > this.#lineBytesMax) {
        this.#add(part, lines)
        this.#close(lines)
      } else if (!isBlank(part)) lines.push(part)
      at = end + 1
    }
    this.#add(piece.subarray(at), lines)
    return lines
  }

  /** The last line need not be ended. */
  end(): Line[] {
    const lines: Line[] = []
    this.#close(lines)
    return lines
  }

  #add(part: Uint8Array, lines: Line[]): void {
    if (this.#skipping || part.length === 0) return
    if (this.#rest.length + part.length > this.#lineBytesMax) {
      this.#rest.clear()
      this.#skipping = true
      lines.push(TOO_LONG)
      return
    }
    // Pieces are views of what was read; the rest of a line must not keep all of that alive.
    this.#rest.addCopy(part)
  }

  #close(lines: Line[]): void {
    const skipped = this.#skipping
    this.#skipping = false
    if (skipped || this.#rest.length === 0) return
    const line = this.#rest.joined()
    this.#rest = new ByteList()
    if (!isBlank(line)) lines.push(line)
  }
}

function isBlank(line: Uint8Array): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)
}
