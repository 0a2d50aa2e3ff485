/** Which of two matches goes first, and whether one request can fit both: for the router, and for whoever writes routes. */
import type { MatchConfig } from '../../config/config.ts'
import { comparePatterns, parsePattern, type PathPattern } from './pattern.ts'

interface Match {
  readonly match: MatchConfig
  readonly pattern: PathPattern
}

/** Negative when `a` goes first; 0: the order in the file decides. */
export function comparePrecedence({ match: x, pattern: a }: Match, { match: y, pattern: b }: Match): number {
  return (
    hostRank(y.host) - hostRank(x.host) ||
    comparePatterns(a, b) ||
    Number(y.methods !== undefined) - Number(x.methods !== undefined) ||
    y.headers.length - x.headers.length ||
    y.query.length - x.query.length
  )
}

function hostRank(host: string | undefined): number {
  if (host === undefined) return 0
  return host.startsWith('*.') ? host.length : Number.MAX_SAFE_INTEGER
}

/** Wherever it stands in the file. */
export function goesFirst(match: MatchConfig, before: MatchConfig): boolean {
  return comparePrecedence({ match, pattern: patternOf(match) }, { match: before, pattern: patternOf(before) }) < 0
}

/** Is there a request that fits both? In doubt there is. */
export function overlap(a: MatchConfig, b: MatchConfig): boolean {
  if (!hostsOverlap(a.host, b.host) || !patternsOverlap(patternOf(a), patternOf(b))) return false
  if (a.methods !== undefined && b.methods !== undefined && !a.methods.some((method) => b.methods?.includes(method))) return false
  const differ = (xs: MatchConfig['headers'], ys: MatchConfig['headers']): boolean =>
    xs.some(([name, value]) => ys.some(([other, wanted]) => other === name && wanted !== value))
  return !differ(a.headers, b.headers) && !differ(a.query, b.query)
}

function hostsOverlap(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || a === b) return true
  const within = (wildcard: string, host: string): boolean => wildcard.startsWith('*.') && host.endsWith(wildcard.slice(1))
  return within(a, b) || within(b, a)
}

function patternsOverlap(a: PathPattern, b: PathPattern): boolean {
  const [short, long] = a.segments.length <= b.segments.length ? [a, b] : [b, a]
  if (!short.open && short.segments.length !== long.segments.length) return false
  // `/a/*` does not take `/a`.
  if (short.open && !long.open && short.segments.length === long.segments.length) return false
  return short.segments.every((segment, i) => {
    const other = long.segments[i]
    return segment.kind === 'param' || other?.kind !== 'literal' || segment.text === other.text
  })
}

function patternOf({ path }: MatchConfig): PathPattern {
  const pattern = parsePattern(path)
  if (typeof pattern === 'string') throw new Error(`${path}: ${pattern}`)
  return pattern
}
