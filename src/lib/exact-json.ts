/**
 * JSON that goes through us and must not be changed by that: numbers that a double cannot hold (64-bit ids, amounts with many digits) come out
 * as they went in. Where there are none, which is nearly always, this is `JSON.parse`.
 */

import { randomBytes } from 'node:crypto'

/** ECMAScript's source text access, which the type library does not know yet. */
interface JsonWithSource {
  rawJSON(text: string): { readonly rawJSON: string }
  isRawJSON(value: unknown): value is { readonly rawJSON: string }
}

const json = JSON as unknown as JsonWithSource

/** Sixteen digits, or an exponent of three: only such a number can have lost something. */
const SUSPICIOUS = /\d[\d.]{15}|\d[eE][+-]?\d{3}/

/** May the text hold a number that `JSON.parse` would change? */
export function mayLoseDigits(text: string): boolean {
  return SUSPICIOUS.test(text)
}

/** Throws as `JSON.parse` does. What it gives can be written by `JSON.stringify`. */
export function parseExactly(text: string): unknown {
  const value: unknown = JSON.parse(text)
  if (!mayLoseDigits(text)) return value
  const mark = `${randomBytes(16).toString('hex')} `
  const { numbers, marked } = markLossy(text, mark)
  return numbers.length === 0 ? value : withNumbers(JSON.parse(marked), numbers, mark)
}

/**
 * The text, with a text of our own in place of each number that would lose something. A reviver would be asked of every single value, and by
 * calls within calls: somebody's list of millions of numbers would hold up everybody else for as many seconds.
 */
function markLossy(text: string, mark: string): { readonly numbers: readonly string[]; readonly marked: string } {
  const numbers: string[] = []
  let marked = ''
  let copied = 0
  for (let at = 0; at < text.length; ) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = endOfText(text, at)
    else if (!isDigit(code)) at++
    else {
      const start = at > 0 && text.charCodeAt(at - 1) === MINUS ? at - 1 : at
      while (isOfNumber(text.charCodeAt(at))) at++
      const source = text.slice(start, at)
      if (!mayLoseDigits(source) || isExact(Number(source), source)) continue
      marked += `${text.slice(copied, start)}"${mark}${numbers.length}"`
      numbers.push(source)
      copied = at
    }
  }
  return { numbers, marked: marked + text.slice(copied) }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const MINUS = 0x2d

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

/** Digits, `.`, `+`, `-`, `e`, `E`: what a number goes on with, in text that is known to be JSON. */
function isOfNumber(code: number): boolean {
  return isDigit(code) || code === 0x2e || code === 0x2b || code === MINUS || code === 0x65 || code === 0x45
}

/** Behind the quote that ends it. */
function endOfText(text: string, start: number): number {
  let at = start + 1
  for (; text.charCodeAt(at) !== QUOTE; at++) if (text.charCodeAt(at) === BACKSLASH) at++
  return at + 1
}

/** Step by step, without calls within calls: JSON may be deeper than the stack. */
function withNumbers(document: unknown, numbers: readonly string[], mark: string): unknown {
  const root: Holder = { document }
  const open = [root]
  const visit = (holder: Holder, name: string | number): void => {
    const value = holder[name]
    if (typeof value === 'object' && value !== null) open.push(value as Holder)
    else if (typeof value === 'string' && value.startsWith(mark))
      holder[name] = json.rawJSON(numbers[Number(value.slice(mark.length))] as string)
  }
  for (let holder = open.pop(); holder !== undefined; holder = open.pop()) {
    if (Array.isArray(holder)) for (let i = 0; i < (holder as readonly unknown[]).length; i++) visit(holder, i)
    else for (const name in holder) visit(holder, name)
  }
  return root['document']
}

/** An object or a list. */
type Holder = Record<string | number, unknown>

/** The number that it is, as near as a double comes; other values as they are. */
export function asDouble(value: unknown): unknown {
  return json.isRawJSON(value) ? Number(value.rawJSON) : value
}

/** Written again, does it say the same number? Digits that mean nothing (`1.10`, `1e2`) do not count. */
function isExact(value: number, source: string): boolean {
  return Number.isFinite(value) && canonical(String(value)) === canonical(source)
}

/** Digits without zeros around them, and where the point is. */
function canonical(number: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(number) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  let length = digits.length
  while (digits[length - 1] === '0') length--
  const significant = digits.slice(0, length)
  if (significant === '') return '0'
  return `${sign}${significant}e${Number(exponent) - fraction.length + (digits.length - significant.length)}`
}
