/**
 * Where the frames of a client's WebSocket begin and end (RFC 6455, section 5.2), and no more of them: whoever passes the bytes on knows when it may say
 * something itself. Nothing is kept; what cannot be the frames of a client has no end.
 */

const CLOSE = 8
const MASKED = 0x80

export class FrameTracker {
  /** The client has said goodbye: nobody says anything for it any more. */
  saidClose = false
  /** Of the head: -1 before its first byte, then how many are still to come behind the second one. */
  #headLeft = -1
  #isSecond = false
  #lengthLeft = 0
  #length = 0
  #payloadLeft = 0

  /** What comes next begins a frame. */
  get isBetween(): boolean {
    return this.#headLeft === -1 && this.#payloadLeft === 0
  }

  /** Goes on through these bytes; `toEnd`: only to where a frame ends. Says how many that were. */
  read(bytes: Uint8Array, toEnd = false): number {
    let at = 0
    while (at < bytes.length && !(toEnd && this.isBetween)) {
      if (this.#payloadLeft > 0) {
        const skipped = Math.min(this.#payloadLeft, bytes.length - at)
        this.#payloadLeft -= skipped
        at += skipped
      } else this.#readHead(bytes[at++] as number)
    }
    return at
  }

  #readHead(byte: number): void {
    if (this.#headLeft === -1) {
      if ((byte & 15) === CLOSE) this.saidClose = true
      this.#headLeft = 0
      this.#isSecond = true
    } else if (this.#isSecond) this.#readSecond(byte)
    else {
      if (this.#lengthLeft > 0) {
        this.#lengthLeft--
        this.#length = this.#length * 256 + byte
      }
      if (--this.#headLeft === 0) this.#begin()
    }
  }

  /** Whether it is masked, and its length or how that is written. A mask of four bytes ends the head. */
  #readSecond(byte: number): void {
    this.#isSecond = false
    const short = byte & 127
    this.#lengthLeft = short === 126 ? 2 : short === 127 ? 8 : 0
    this.#length = this.#lengthLeft > 0 ? 0 : short
    this.#headLeft = this.#lengthLeft + 4
    // Clients mask.
    if ((byte & MASKED) === 0) this.#lose()
  }

  #begin(): void {
    this.#headLeft = -1
    this.#payloadLeft = this.#length
    if (this.#length > Number.MAX_SAFE_INTEGER) this.#lose()
  }

  #lose(): void {
    this.#headLeft = -1
    this.#payloadLeft = Number.POSITIVE_INFINITY
  }
}

/** As a client would say it. `mask`: four bytes. */
export function clientCloseFrame(code: number, mask: Uint8Array): Buffer {
  const [a = 0, b = 0, c = 0, d = 0] = mask
  return Buffer.from([MASKED | CLOSE, MASKED | 2, a, b, c, d, (code >> 8) ^ a, (code & 255) ^ b])
}
