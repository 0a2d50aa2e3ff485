/** Where a message's head ends, and its text. Nearly all heads are short and complete in one read: a look at the first bytes as text is enough. */

const END_OF_HEAD = Buffer.from('\r\n\r\n')
const FIRST_LOOK_BYTES = 2048

/**
 * The head in latin1, from `at` to the empty line and with it; undefined: its end is not there yet. `scanned`: bytes that are known
 * not to hold the end, so that a head that comes byte by byte is not searched from its beginning each time.
 */
export function findHead(input: Buffer, at: number, scanned: number): string | undefined {
  const looked = Math.min(input.length, at + FIRST_LOOK_BYTES)
  if (scanned < looked) {
    const text = input.toString('latin1', at, looked)
    const end = text.indexOf('\r\n\r\n')
    if (end >= 0) return text.slice(0, end + 4)
  }
  if (looked === input.length) return undefined
  const end = input.indexOf(END_OF_HEAD, Math.max(looked, scanned) - 3)
  return end < 0 ? undefined : input.toString('latin1', at, end + 4)
}
