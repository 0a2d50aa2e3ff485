/** Which fields of a request say something about its body, where the body is to be an answer: what the message is, not how it came. */
import type { FlatHeaders } from '../../http1/message.ts'

const ABOUT_CONTENT = new Set(['location', 'etag', 'last-modified', 'link', 'repr-digest'])
/** Written anew, or true of one message only. */
const NOT_KEPT = new Set(['content-length', 'content-range'])

export function contentHeaders(headers: FlatHeaders): string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    if (NOT_KEPT.has(name) || !(name.startsWith('content-') || ABOUT_CONTENT.has(name))) continue
    kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return kept
}
