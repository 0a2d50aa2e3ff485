/**
 * Bytes that come in pieces, kept in little more memory than they are. A body of a million one-byte chunks would otherwise be a million
 * views, a hundred times its size, and a short piece would keep the long buffer alive of which it is a view.
 */
import type { Bytes } from './units.ts'

const BLOCK_BYTES_MIN = 1024
const BLOCK_BYTES_MAX = 64 * 1024

export class ByteList {
  length: Bytes = 0
  #pieces: Uint8Array[] = []
  /** What is copied is put here; the part behind `#filled` is free. */
  #block: Uint8Array = new Uint8Array(0)
  #filled = 0

  /** The piece belongs to the list now: it is kept as it is where that is no waste. */
  add(piece: Uint8Array): void {
    if (piece.length * 2 < piece.buffer.byteLength) return this.addCopy(piece)
    if (piece.length === 0) return
    this.#closePiece()
    this.#pieces.push(piece)
    this.length += piece.length
  }

  /** The piece's memory will be used for something else. */
  addCopy(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      if (this.#filled === this.#block.length) this.#openBlock(piece.length - at)
      const part = piece.subarray(at, at + this.#block.length - this.#filled)
      this.#block.set(part, this.#filled)
      this.#filled += part.length
      this.length += part.length
      at += part.length
    }
  }

  /** In order. What is added later is not in it. */
  pieces(): readonly Uint8Array[] {
    return this.#filled === 0 ? [...this.#pieces] : [...this.#pieces, this.#block.subarray(0, this.#filled)]
  }

  /** All of it as one; a copy only where it came in several pieces. */
  joined(): Uint8Array {
    const pieces = this.pieces()
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces, this.length)
  }

  clear(): void {
    this.length = 0
    this.#pieces = []
    this.#block = new Uint8Array(0)
    this.#filled = 0
  }

  /** Blocks double with what there is already, so at most half of the memory is free space. */
  #openBlock(atLeast: Bytes): void {
    this.#closePiece()
    const bytes = Math.min(BLOCK_BYTES_MAX, Math.max(BLOCK_BYTES_MIN, this.length))
    this.#block = Buffer.allocUnsafeSlow(Math.max(bytes, atLeast))
  }

  #closePiece(): void {
    if (this.#filled === 0) return
    this.#pieces.push(this.#block.subarray(0, this.#filled))
    this.#block = this.#block.subarray(this.#filled)
    this.#filled = 0
  }
}
