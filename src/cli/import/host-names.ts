/** Names of hosts as nginx writes them, in the form of a route's `host`. */

/** `a.example`, `*.example`, `.example` (both). Empty: it takes nobody. Undefined: it cannot be written. */
export function parseHostName(name: string): readonly string[] | undefined {
  const text = name.toLowerCase()
  if (text === '' || text === '_') return []
  const isName = (part: string): boolean => /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(part)
  if (text.startsWith('.')) return isName(text.slice(1)) ? [text.slice(1), `*${text}`] : undefined
  if (text.startsWith('*.')) return isName(text.slice(2)) ? [text] : undefined
  return isName(text) ? [text] : undefined
}
