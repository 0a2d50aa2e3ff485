/**
 * The Prefer header (RFC 7240): what a client would like, never what it demands. So nothing in here fails: a member that cannot be
 * understood is as if it were absent, and of a preference that is given twice the first counts.
 */
import type { Millis } from '../../lib/units.ts'

export interface Preferences {
  /** 202 rather than a wait. */
  readonly respondAsync: boolean
  /** At most this long. */
  readonly waitMs?: Millis
  /** The job's events as the body of the 202. */
  readonly events: boolean
}

const MEMBERS_MAX = 32
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y
const QUOTED = /"((?:[^"\\]|\\.)*)"/y
const EQUALS = /[ \t]*=[ \t]*/y

/** `values`: one per Prefer field, in their order. */
export function parsePreferences(values: readonly string[]): Preferences {
  const members = parsePrefer(values.join(','))
  const wait = members.get('wait')
  const preferences = { respondAsync: members.has('respond-async'), events: members.has('events') }
  return wait !== undefined && /^\d{1,6}$/.test(wait) ? { ...preferences, waitMs: Number(wait) * 1000 } : preferences
}

/** Names in lower case with their values, '' for none. Parameters are not ours to know. */
export function parsePrefer(text: string): ReadonlyMap<string, string> {
  const members = new Map<string, string>()
  let at = 0
  while (at < text.length && members.size < MEMBERS_MAX) {
    at = skipBlank(text, at)
    const name = take(TOKEN, text, at)?.[0]
    if (name !== undefined) {
      at += name.length
      const word = takeWord(text, at)
      const end = skipBlank(text, word.end)
      const complete = end >= text.length || text[end] === ',' || text[end] === ';'
      const lower = name.toLowerCase()
      if (complete && !members.has(lower)) members.set(lower, word.value)
      at = word.end
    }
    at = nextMember(text, at)
  }
  return members
}

function takeWord(text: string, at: number): { readonly value: string; readonly end: number } {
  const equals = take(EQUALS, text, at)?.[0]
  if (equals === undefined) return { value: '', end: at }
  const start = at + equals.length
  const token = take(TOKEN, text, start)?.[0]
  if (token !== undefined) return { value: token, end: start + token.length }
  const quoted = take(QUOTED, text, start)
  if (quoted === null) return { value: '', end: start }
  return { value: (quoted[1] as string).replaceAll(/\\(.)/g, '$1'), end: start + quoted[0].length }
}

/** Behind the next comma that stands outside quotes. */
function nextMember(text: string, from: number): number {
  let at = from
  while (at < text.length && text[at] !== ',') at += take(QUOTED, text, at)?.[0].length ?? 1
  return at + 1
}

function take(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at
  return pattern.exec(text)
}

function skipBlank(text: string, from: number): number {
  let at = from
  while (text[at] === ' ' || text[at] === '\t') at++
  return at
}
