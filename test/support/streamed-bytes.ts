/** Bytes by their place, of a body of any length: what arrives can be compared without being kept. */

/** Prime, so that no buffer's size is in step with it. */
const PATTERN_BYTES = 65_537
const PATTERN = Buffer.from(Array.from({ length: PATTERN_BYTES }, (_, i) => (i * 31 + (i >> 8)) & 255))
const TWICE = Buffer.concat([PATTERN, PATTERN])

/** From there on, at most `max`, at least one. */
export function bytesAt(offset: number, max: number): Buffer {
  const from = offset % PATTERN_BYTES
  return TWICE.subarray(from, from + Math.min(max, PATTERN_BYTES))
}

export function areBytesAt(offset: number, bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += PATTERN_BYTES) {
    const part = bytes.subarray(at, at + PATTERN_BYTES)
    if (!part.equals(bytesAt(offset + at, part.length))) return false
  }
  return true
}
