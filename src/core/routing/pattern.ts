/**
 * Path patterns of routes: `/exact`, `/prefix/*`, `/orders/{id}`. They are compared with the raw path, byte for byte: nothing is decoded,
 * so what the gateway matched is what the server gets. `/prefix/*` stands for everything that begins with `/prefix/`.
 */

export type Segment = { readonly kind: 'literal'; readonly text: string } | { readonly kind: 'param'; readonly name: string }

export interface PathPattern {
  readonly segments: readonly Segment[]
  /** It ends in `/*`: anything may follow. */
  readonly open: boolean
}

/** The pattern, or what is wrong with the text, for the person who wrote it. */
export function parsePattern(text: string): PathPattern | string {
  if (!text.startsWith('/')) return `a path begins with "/"`
  if (/[?#\s\\]/.test(text)) return 'a path holds no "?", "#", blank or backslash; a query is matched by "query"'
  const parts = text.slice(1).split('/')
  const open = parts.at(-1) === '*'
  if (open) parts.pop()
  const segments: Segment[] = []
  const names = new Set<string>()
  for (const part of parts) {
    if (part === '.' || part === '..') return `"${part}" can never match: paths with dot segments are refused`
    if (part.includes('*')) return '"*" may only stand alone at the end, as in /prefix/*'
    if (!/[{}]/.test(part)) {
      segments.push({ kind: 'literal', text: part })
      continue
    }
    const name = /^\{([A-Za-z_][A-Za-z0-9_]*)\}$/.exec(part)?.[1]
    if (name === undefined) return `"${part}" is no parameter; write a whole segment as {name}`
    if (names.has(name)) return `the parameter {${name}} stands there twice`
    names.add(name)
    segments.push({ kind: 'param', name })
  }
  return { segments, open }
}

/** A pattern without parameters and `*` matches one path only. */
export function isExact(pattern: PathPattern): boolean {
  return !pattern.open && pattern.segments.every((segment) => segment.kind === 'literal')
}

/** The parameters with their raw values when the path matches, otherwise undefined. `parts` is the path without its first slash, split. */
export function matchPattern(pattern: PathPattern, parts: readonly string[]): Record<string, string> | undefined {
  const { segments, open } = pattern
  if (open ? parts.length <= segments.length : parts.length !== segments.length) return undefined
  let params: Record<string, string> | undefined
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i] as Segment
    const part = parts[i] as string
    if (segment.kind === 'literal') {
      if (segment.text !== part) return undefined
    } else {
      if (part === '') return undefined
      // Without a prototype: a parameter may be called `constructor`.
      params ??= Object.create(null) as Record<string, string>
      params[segment.name] = part
    }
  }
  return params ?? NO_PARAMS
}

const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null) as Record<string, string>)

/** Negative when `a` is more specific. Segment by segment: a literal before a parameter before `*`. */
export function comparePatterns(a: PathPattern, b: PathPattern): number {
  const length = Math.max(a.segments.length, b.segments.length) + 1
  for (let i = 0; i < length; i++) {
    const difference = rank(b, i) - rank(a, i)
    if (difference !== 0) return difference
  }
  return 0
}

function rank(pattern: PathPattern, index: number): number {
  const segment = pattern.segments[index]
  if (segment !== undefined) return segment.kind === 'literal' ? 3 : 2
  return pattern.open ? 1 : 0
}

/** Equal for patterns that match the same paths: parameter names do not count. */
export function patternShape(pattern: PathPattern): string {
  const shape = pattern.segments.map((segment) => (segment.kind === 'literal' ? segment.text : '{}'))
  return `/${[...shape, ...(pattern.open ? ['*'] : [])].join('/')}`
}
