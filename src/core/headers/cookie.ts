/** Cookies as text: one of a request (RFC 6265, section 5.4), a request without one, and what sets one. */

/** Its value as it came; of several with one name, the first. */
export function cookieValue(fields: readonly string[], name: string): string | undefined {
  for (const field of fields) {
    for (const pair of field.split(';')) {
      const equals = pair.indexOf('=')
      if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
    }
  }
  return undefined
}

/** All of the fields as one, without every cookie of this name; undefined: none is left. */
export function withoutCookie(fields: readonly string[], name: string): string | undefined {
  const kept = fields.flatMap((field) =>
    field
      .split(';')
      .map((pair) => pair.trim())
      .filter((pair) => pair !== '' && pair !== name && !isNamed(pair, name)),
  )
  return kept.length === 0 ? undefined : kept.join('; ')
}

function isNamed(pair: string, name: string): boolean {
  const equals = pair.indexOf('=')
  return equals > 0 && pair.slice(0, equals).trim() === name
}

/** The value that an answer's Set-Cookie fields give it, of several the last; undefined: none does. Empty, or `gone`: it is taken away. */
export function setCookieValue(fields: readonly string[], name: string): { readonly value: string; readonly gone: boolean } | undefined {
  const field = fields.findLast((one) => isNamed(one.split(';', 1)[0] as string, name))
  if (field === undefined) return undefined
  const [pair = '', ...attributes] = field.split(';')
  const value = pair.slice(pair.indexOf('=') + 1).trim()
  return { value, gone: value === '' || attributes.some((one) => /^\s*max-age\s*=\s*(0+|-\d+)\s*$/i.test(one)) }
}

export interface CookieRules {
  readonly path: string
  /** Absent: for as long as the browser is open. */
  readonly ttlMs?: number
  readonly secure: boolean
  readonly sameSite: 'Strict' | 'Lax' | 'None'
}

/** What stands behind the value in Set-Cookie. No script of a page may read it. */
export function cookieAttributes({ path, ttlMs, secure, sameSite }: CookieRules): string {
  const age = ttlMs === undefined ? '' : `; Max-Age=${Math.ceil(ttlMs / 1000)}`
  return `; Path=${path}${age}; HttpOnly; SameSite=${sameSite}${secure ? '; Secure' : ''}`
}
