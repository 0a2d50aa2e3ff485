/** Addresses of pools and their servers, below `/api/v1/pools` and `/api/pools`. */

/** The segments behind `pools`; undefined: the address is another one. */
export function poolSegments(segments: readonly string[]): readonly string[] | undefined {
  const [first, second] = segments
  if (first === 'pools') return segments.slice(1)
  return first === 'v1' && second === 'pools' ? segments.slice(2) : undefined
}

/** Undefined: one has an escape that is none. */
export function decodedSegments(segments: readonly string[]): readonly string[] | undefined {
  try {
    return segments.map(decodeURIComponent)
  } catch {
    return undefined
  }
}
