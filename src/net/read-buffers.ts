/**
 * What answers are read into. A buffer whose bytes were lent to a slow client comes back here when they are gone, instead of being left to the
 * collector: that would come for every thousand of them, and look at everything else, too.
 */
import type { Bytes } from '../lib/units.ts'

/** Bodies come in powers of two: one of 64 KiB is read with its head, and goes on with it. */
export const READ_BYTES: Bytes = 68 * 1024
const FREE_MAX = 64

export class ReadBuffers {
  readonly #free: Buffer[] = []

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES)
  }

  /** Nobody refers to it any more. */
  give(buffer: Buffer): void {
    if (this.#free.length < FREE_MAX) this.#free.push(buffer)
    else (buffer.buffer as ArrayBuffer).transfer(0)
  }
}
