/**
 * Header fields that a route sets, adds or removes. A field that frames a message, belongs to a connection, or is the gateway's own cannot be
 * named, and no value can hold a line end, whatever its variables stand for.
 */
import type { FlatHeaders } from '../../http1/message.ts'
import { expand, type Template } from './template.ts'

export interface HeaderEdits {
  /** In lower case: what is removed, and what is set anew. */
  readonly drop: ReadonlySet<string>
  /** Name and value, in order. */
  readonly lines: readonly (readonly [name: string, value: Template])[]
  /** The same without what makes an answer cacheable, where that differs: for errors, and for what is one client's own. */
  readonly uncached?: HeaderEdits
}

const CACHING: ReadonlySet<string> = new Set(['cache-control', 'expires'])

/** A year of caching that is meant for files must not be a year of caching for a 503. */
export function headerEdits(drop: ReadonlySet<string>, lines: HeaderEdits['lines']): HeaderEdits {
  const others = {
    drop: new Set([...drop].filter((name) => !CACHING.has(name))),
    lines: lines.filter(([name]) => !CACHING.has(name.toLowerCase())),
  }
  const differs = others.drop.size < drop.size || others.lines.length < lines.length
  return { drop, lines, ...(differs && { uncached: others }) }
}

/** `isPrivate`: the gateway says so, of what it tells one client about its job. */
export function editsFor(edits: HeaderEdits, answer: { readonly status: number; readonly isPrivate: boolean }): HeaderEdits {
  return answer.status >= 400 || answer.isPrivate ? (edits.uncached ?? edits) : edits
}

export type EditedSide = 'request' | 'response'

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** They belong to the connection, frame the message, or tell of hops. */
const NEVER = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect', 'via'],
])
const NEVER_IN_REQUESTS: ReadonlyMap<string, string> = new Map([
  ['host', 'is set by rewrite.host'],
  ['max-forwards', 'is counted by the gateway'],
])
const NEVER_IN_RESPONSES: ReadonlyMap<string, string> = new Map([['date', 'says when the answer was made']])

/** Why nobody may edit that field; undefined: it may be. */
export function wrongEditedName(name: string, side: EditedSide): string | undefined {
  if (!TOKEN.test(name)) return 'is no header name'
  const lower = name.toLowerCase()
  // Many servers read `_` as `-`.
  const dashed = lower.replaceAll('_', '-')
  if (NEVER.has(dashed)) return 'belongs to the connection or frames the message; the gateway writes it'
  if (dashed.startsWith('spillway-')) return "is the gateway's own"
  return (side === 'request' ? NEVER_IN_REQUESTS : NEVER_IN_RESPONSES).get(dashed)
}

/** What may stand in a field's value. */
export function isFieldText(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text)
}

/** The fields that come on top: those whose value comes out empty, or could not stand in a header, are left out. */
export function editedFields({ lines }: HeaderEdits, valueOf: (name: string) => string): string[] {
  const fields: string[] = []
  for (const [name, template] of lines) {
    const value = expand(template, valueOf).trim()
    if (value !== '' && isFieldText(value)) fields.push(name, value)
  }
  return fields
}

/** Also in the spelling with `_`, which many servers read as `-`: what a route sets nobody else may say. */
function isDropped(name: string, drop: ReadonlySet<string>): boolean {
  const lower = name.toLowerCase()
  return drop.has(lower) || (lower.includes('_') && drop.has(lower.replaceAll('_', '-')))
}

export function withoutFields(headers: FlatHeaders, drop: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!isDropped(headers[i] as string, drop)) kept.push(headers[i] as string, headers[i + 1] as string)
  }
  return kept
}

/** The same for a head whose fields are lines of text, each with its line end. */
export function withoutLines(lines: string, drop: ReadonlySet<string>): string {
  if (drop.size === 0) return lines
  let kept = ''
  let keptFrom = 0
  for (let at = 0; at < lines.length; ) {
    const next = lines.indexOf('\r\n', at) + 2
    if (next < 2) break
    if (isDropped(lines.slice(at, lines.indexOf(':', at)).trimEnd(), drop)) {
      kept += lines.slice(keptFrom, at)
      keptFrom = next
    }
    at = next
  }
  return kept + lines.slice(keptFrom)
}
