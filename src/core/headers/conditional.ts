/**
 * Conditional and partial GETs (RFC 9110, sections 13 and 14), as far as a thing that changes as a whole, or not at all, needs them: entity
 * tags, and one range of bytes. What cannot be understood is as if it had not been sent.
 */
import type { Bytes } from '../../lib/units.ts'

export interface ByteRange {
  readonly first: Bytes
  /** The last byte itself, not the one after it. */
  readonly last: Bytes
}

const TAGS_MAX = 64
const TAG = /[ \t]*((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)/y

/** `If-None-Match`, of all its fields: is what the client has this? Weak tags are equal to strong ones (section 13.1.2). */
export function hasAlready(ifNoneMatch: readonly string[], tag: string): boolean {
  const text = ifNoneMatch.join(',').trim()
  return text === '*' || tagsOf(text).some((each) => opaque(each) === opaque(tag))
}

/** The tags of a list, up to one that is none. */
export function tagsOf(text: string): readonly string[] {
  const tags: string[] = []
  TAG.lastIndex = 0
  while (TAG.lastIndex < text.length && tags.length < TAGS_MAX) {
    const tag = TAG.exec(text)?.[1]
    if (tag === undefined) break
    tags.push(tag)
  }
  return tags
}

/** `If-Range` (section 13.1.5): only a strong tag, or the very same date, says that a part fits to what the client has. */
export function rangeStillHolds(
  ifRange: string | undefined,
  known: { readonly tag?: string | undefined; readonly modified?: string | undefined },
): boolean {
  if (ifRange === undefined) return true
  const wanted = ifRange.trim()
  if (wanted.startsWith('"')) return wanted === known.tag
  return known.modified !== undefined && wanted === known.modified.trim()
}

/**
 * `Range` of a thing of so many bytes. Undefined: none was asked for, more than one, or something else than bytes; then all of it is sent
 * (section 14.2). 'outside': there is nothing of it in what was asked for.
 */
export function rangeOf(range: string | undefined, bytes: Bytes): ByteRange | 'outside' | undefined {
  const match = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(range?.trim() ?? '')
  if (match === null) return undefined
  const [, from = '', to = ''] = match
  if (from === '') {
    if (to === '') return undefined
    const count = Math.min(Number(to), bytes)
    return count === 0 ? 'outside' : { first: bytes - count, last: bytes - 1 }
  }
  const first = Number(from)
  if (to !== '' && Number(to) < first) return undefined
  return first >= bytes ? 'outside' : { first, last: to === '' ? bytes - 1 : Math.min(Number(to), bytes - 1) }
}

function opaque(tag: string): string {
  return tag.startsWith('W/') ? tag.slice(2) : tag
}
