/**
 * Texts with variables in braces, for rewrites, redirects and header values: `https://{request.host}/new/{id}`. `{{` and `}}` stand for the
 * braces themselves. What a variable stands for goes in as it came: nothing is decoded, and nothing in it is read as a variable again.
 */

/** What a variable may be called, beside the parameters of a route's path and `*`, which is what its `*` stands for. */
export const VARIABLES = {
  'client.address': 'who calls, behind trusted proxies',
  'request.method': 'its method',
  'request.scheme': '`http` or `https`',
  'request.host': 'its Host, with the port',
  'request.hostname': 'the same without the port',
  'request.path': 'its path, as it came',
  'request.query': 'its query, without `?`',
  'request.target': 'its path and query, as they came',
  'request.id': 'its id, where `requestId` is on',
  'trace.id': 'the id of its trace, where it has one',
  'server.name': 'which server answers; only in `headers.response`, and empty in answers of our own',
} as const

export interface Variable {
  readonly name: string
}

export interface Template {
  readonly pieces: readonly (string | Variable)[]
}

const NAME = /^(?:\*|[A-Za-z_][A-Za-z0-9_]*(?:\.[a-z]+)?)$/

/** A string says what is wrong with it. */
export function parseTemplate(text: string): Template | string {
  const pieces: (string | Variable)[] = []
  let literal = ''
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string
    if (char !== '{' && char !== '}') {
      literal += char
      continue
    }
    if (text[at + 1] === char) {
      literal += char
      at++
      continue
    }
    const end = text.indexOf('}', at)
    if (char === '}' || end < 0) return `has a single "${char}"; write it twice where it is meant as it stands`
    const name = text.slice(at + 1, end)
    if (!NAME.test(name)) return `names a variable {${name}}, which is none`
    if (literal !== '') pieces.push(literal)
    literal = ''
    pieces.push({ name })
    at = end
  }
  if (literal !== '') pieces.push(literal)
  return { pieces }
}

export function variablesOf({ pieces }: Template): readonly string[] {
  return pieces.flatMap((piece) => (typeof piece === 'string' ? [] : [piece.name]))
}

export function expand({ pieces }: Template, valueOf: (name: string) => string): string {
  let text = ''
  for (const piece of pieces) text += typeof piece === 'string' ? piece : valueOf(piece.name)
  return text
}

/** As it was written. */
export function templateText({ pieces }: Template): string {
  return pieces.map((piece) => (typeof piece === 'string' ? piece.replaceAll(/[{}]/g, '$&$&') : `{${piece.name}}`)).join('')
}
