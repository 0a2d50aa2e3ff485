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
  const quotes = new Quotes(text)
  let at = 0
  while (at < text.length && members.size < MEMBERS_MAX) {
    at = skipBlank(text, at)
    const name = take(TOKEN, text, at)?.[0]
    if (name !== undefined) {
      at += name.length
      const word = takeWord(text, at, quotes)
      const end = skipBlank(text, word.end)
      const complete = end >= text.length || text[end] === ',' || text[end] === ';'
      const lower = name.toLowerCase()
      if (complete && !members.has(lower)) members.set(lower, word.value)
      at = word.end
    }
    at = nextMember(text, at, quotes)
  }
  return members
}

function takeWord(text: string, at: number, quotes: Quotes): { readonly value: string; readonly end: number } {
  const equals = take(EQUALS, text, at)?.[0]
  if (equals === undefined) return { value: '', end: at }
  const start = at + equals.length
  const token = take(TOKEN, text, start)?.[0]
  if (token !== undefined) return { value: token, end: start + token.length }
  const end = quotes.endOf(start)
  if (end === undefined) return { value: '', end: start }
  return { value: text.slice(start + 1, end - 1).replaceAll(/\\(.)/gs, '$1'), end }
}

/** Behind the next comma that stands outside quotes. */
function nextMember(text: string, from: number, quotes: Quotes): number {
  let at = from
  while (at < text.length && text[at] !== ',') at = quotes.endOf(at) ?? at + 1
  return at + 1
}

/** Where the quoted strings of a text end. Asked from left to right, all answers together take one walk over the text. */
class Quotes {
  readonly #text: string
  #unclosed = false

  constructor(text: string) {
    this.#text = text
  }

  /** Behind the closing quote. Undefined: none begins here, or it is never closed. */
  endOf(start: number): number | undefined {
    const text = this.#text
    if (this.#unclosed || text[start] !== '"') return undefined
    for (let at = start + 1; at < text.length; at++) {
      if (text[at] === '\\') at++
      else if (text[at] === '"') return at + 1
    }
    // Every quote behind this one is an escaped one, and what follows it is read alike: none of them is closed either.
    this.#unclosed = true
    return undefined
  }
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
