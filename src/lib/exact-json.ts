/**
 * JSON that goes through us and must not be changed by that: numbers that a double cannot hold (64-bit ids, amounts with many digits) come out
 * as they went in. Where there are none, which is nearly always, this is `JSON.parse`.
 */

/** ECMAScript's source text access, which the type library does not know yet. */
interface JsonWithSource {
  parse(text: string, reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown
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
  if (!mayLoseDigits(text)) return JSON.parse(text)
  return json.parse(text, (_, value, { source }) => {
    if (typeof value !== 'number' || source === undefined || isExact(value, source)) return value
    return json.rawJSON(source)
  })
}

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
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  return `${sign}${significant}e${Number(exponent) - fraction.length + (digits.length - significant.length)}`
}
