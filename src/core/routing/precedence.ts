/** Which of two matches goes first, and whether one request can fit both: for the router, and for whoever writes routes. */
import type { MatchConfig } from '../../config/config.ts'
import { comparePatterns, parsePattern, type PathPattern } from './pattern.ts'
import { meetOf, type ValueTest } from './value-test.ts'

/** With one of its hosts and one of its paths. */
interface Match {
  readonly match: MatchConfig
  readonly host: string | undefined
  readonly pattern: PathPattern
}

/** Negative when `a` goes first; 0: the order in the file decides. */
export function comparePrecedence(a: Match, b: Match): number {
  const [x, y] = [a.match, b.match]
  return (
    hostRank(b.host) - hostRank(a.host) ||
    comparePatterns(a.pattern, b.pattern) ||
    Number(y.methods !== undefined) - Number(x.methods !== undefined) ||
    y.headers.length - x.headers.length ||
    y.query.length - x.query.length
  )
}

function hostRank(host: string | undefined): number {
  if (host === undefined) return 0
  return host.startsWith('*.') ? host.length : Number.MAX_SAFE_INTEGER
}

export type ValueTests = Readonly<Record<string, ValueTest>>

/** One host and one path. */
export interface SimpleMatch {
  readonly host: string | undefined
  readonly path: string
  /** None: any. */
  readonly methods: readonly string[]
  readonly headers: ValueTests
  readonly query: ValueTests
}

/** Wherever it stands in the file. */
export function goesFirst(match: SimpleMatch, before: SimpleMatch): boolean {
  return comparePrecedence(matchOf(match), matchOf(before)) < 0
}

function matchOf({ host, path, methods, headers, query }: SimpleMatch): Match {
  const match = { path, headers: Object.entries(headers), query: Object.entries(query), ...(methods.length > 0 && { methods }) }
  return { match, host, pattern: patternOf(path) }
}

/** Is there a request that fits both? In doubt there is. */
export function overlap(a: SimpleMatch, b: SimpleMatch): boolean {
  if (!hostsOverlap(a.host, b.host) || !patternsOverlap(patternOf(a.path), patternOf(b.path))) return false
  if (a.methods.length > 0 && b.methods.length > 0 && !a.methods.some((method) => b.methods.includes(method))) return false
  return !exclude(a.headers, b.headers) && !exclude(a.query, b.query)
}

function exclude(a: ValueTests, b: ValueTests): boolean {
  return Object.entries(a).some(([name, test]) => {
    const other = Object.hasOwn(b, name) ? b[name] : undefined
    return other !== undefined && meetOf(test, other) === false
  })
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
  if (short.open !== long.open && short.segments.length === long.segments.length) return false
  return short.segments.every((segment, i) => {
    const other = long.segments[i]
    return segment.kind === 'param' || other?.kind !== 'literal' || segment.text === other.text
  })
}

function patternOf(path: string): PathPattern {
  const pattern = parsePattern(path)
  if (typeof pattern === 'string') throw new Error(`${path}: ${pattern}`)
  return pattern
}
