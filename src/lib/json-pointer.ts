/** JSON pointers (RFC 6901): `/customer/id`, with `~1` for a slash and `~0` for a tilde. */

/** Undefined: it points to nothing. */
export function pointedTo(document: unknown, pointer: string): unknown {
  let value = document
  if (pointer === '') return value
  for (const step of pointer.slice(1).split('/')) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}
