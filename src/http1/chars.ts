/** Character classes of HTTP/1.1 (RFC 9110, section 5.6; RFC 9112) as lookup tables: one load per byte while parsing. */

function table(allowed: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (allowed(code) ? 1 : 0))
}

const TOKEN_PUNCTUATION = "!#$%&'*+-.^_`|~"

function isTokenCode(code: number): boolean {
  const digit = code >= 48 && code <= 57
  const letter = (code >= 65 && code <= 90) || (code >= 97 && code <= 122)
  return digit || letter || (code < 128 && TOKEN_PUNCTUATION.includes(String.fromCharCode(code)))
}

/** tchar: methods and field names. */
export const TOKEN: Uint8Array = table(isTokenCode)

/** field-vchar, SP and HTAB: what may stand in a field value. Excludes CR, LF, NUL and every other control. */
export const FIELD_VALUE: Uint8Array = table((code) => code === 9 || (code >= 32 && code !== 127))

/** Visible ASCII without `#`: what may stand in a request target. */
export const TARGET: Uint8Array = table((code) => code > 32 && code < 127 && code !== 35)

/** Value of a hexadecimal digit, or 255. */
export const HEX: Uint8Array = Uint8Array.from({ length: 256 }, (_, code) => {
  const value = Number.parseInt(String.fromCharCode(code), 16)
  return Number.isNaN(value) ? 255 : value
})

export const CR = 13
export const LF = 10
export const SP = 32
export const HTAB = 9
export const COLON = 58
