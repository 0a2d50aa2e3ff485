/** What a server may report about its work: any JSON, on one line as event streams need it, and not so deep that no document could hold it. */
import type { Bytes } from '../lib/units.ts'

/** Deep JSON costs stack wherever it is read or written, and every watcher of the job writes it. */
export const PROGRESS_DEPTH_MAX = 64

/** Small, because every report is stored and sent to every watcher. */
export const PROGRESS_BYTES_MAX: Bytes = 16 * 1024

/** Undefined: it is no JSON in UTF-8, or too deep. */
export function compactProgress(bytes: Uint8Array): string | undefined {
  try {
    return compactJson(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch {
    return undefined
  }
}

/** Undefined: it is too deep. */
export function compactJson(value: unknown): string | undefined {
  try {
    const text = JSON.stringify(value)
    return depthOf(text) > PROGRESS_DEPTH_MAX ? undefined : text
  } catch {
    // Reading deep JSON costs no stack, writing it does.
    return undefined
  }
}

function depthOf(json: string): number {
  let depth = 0
  let deepest = 0
  let quoted = false
  for (let at = 0; at < json.length; at++) {
    const character = json[at] as string
    if (quoted && character === '\\') at++
    else if (character === '"') quoted = !quoted
    else if (quoted) continue
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++depth)
    else if (character === ']' || character === '}') depth--
  }
  return deepest
}
