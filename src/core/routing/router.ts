/**
 * Which route a request takes. Precedence: host, path, method, headers, query, in that order, the most specific first; ties by file order.
 * A route whose method, headers or query do not match lets the next one try. Compiled once; a look-up touches only routes of the
 * request's host whose first path segment fits.
 */
import type { MatchConfig, RouteConfig } from '../../config/config.ts'
import type { RequestHead } from '../../http1/message.ts'
import { passes, wantedText } from './value-test.ts'
import type { PathPattern } from './pattern.ts'
import { isExact, matchPattern, parsePattern } from './pattern.ts'
import { comparePrecedence } from './precedence.ts'

export type RoutableHead = Pick<RequestHead, 'method' | 'host' | 'path' | 'query' | 'headers'>

export interface RouteMatch {
  readonly route: RouteConfig
  /** Raw values: nothing is decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly pattern: PathPattern
  /** What servers are asked for, where the route rewrites it. */
  readonly target?: string
}

/** Why a route was taken or not. */
export interface Verdict {
  readonly route: RouteConfig
  readonly outcome: 'taken' | 'outranked' | 'no'
  /** For people: what did not match, or by which route it is outranked. */
  readonly reason: string
}

export interface Router {
  find(head: RoutableHead): RouteMatch | undefined
  /** All routes in order of precedence. */
  explain(head: RoutableHead): readonly Verdict[]
}

/** One host and one path of a route. */
interface Compiled {
  readonly route: RouteConfig
  readonly host: string | undefined
  readonly path: string
  readonly pattern: PathPattern
  readonly methods: ReadonlySet<string> | undefined
  readonly index: number
}

/** The routes of one host, by path. Both maps hold lists in order of precedence. */
interface HostTable {
  readonly exact: Map<string, Compiled[]>
  /** Patterns by their first segment, '' when that is a parameter or `*`: a literal one always goes before those. */
  readonly byFirst: Map<string, Compiled[]>
}

interface HostTables {
  readonly exact: Map<string, HostTable>
  /** Suffixes with their dot, longest first. */
  readonly wildcards: (readonly [suffix: string, table: HostTable])[]
  readonly any: HostTable
}

const NONE: readonly Compiled[] = []
const NO_PARAMS: Readonly<Record<string, string>> = Object.freeze({})

export function compileRoutes(routes: readonly RouteConfig[]): Router {
  const ordered = routes.flatMap(compile).sort(byPrecedence)
  const tables = buildTables(ordered)
  return {
    find: (head) => find(tables, head),
    explain: (head) => explain(ordered, head),
  }
}

function compile(route: RouteConfig, index: number): Compiled[] {
  const { host, moreHosts = [], path, morePaths = [], methods: wanted } = route.match
  const methods = wanted === undefined ? undefined : new Set(wanted)
  return [path, ...morePaths].flatMap((each) => {
    const pattern = parsePattern(each)
    // The configuration has been validated: this is a bug, not bad input.
    if (typeof pattern === 'string') throw new Error(`route ${route.name}: ${pattern}`)
    return [host, ...moreHosts].map((one) => ({ route, host: one, path: each, pattern, methods, index }))
  })
}

function byPrecedence(a: Compiled, b: Compiled): number {
  return (
    comparePrecedence(
      { match: a.route.match, host: a.host, pattern: a.pattern },
      { match: b.route.match, host: b.host, pattern: b.pattern },
    ) || a.index - b.index
  )
}

function newTable(): HostTable {
  return { exact: new Map(), byFirst: new Map() }
}

function buildTables(ordered: readonly Compiled[]): HostTables {
  const tables: HostTables = { exact: new Map(), wildcards: [], any: newTable() }
  for (const compiled of ordered) {
    const table = tableFor(tables, compiled.host)
    const first = compiled.pattern.segments[0]
    if (isExact(compiled.pattern)) append(table.exact, compiled.path, compiled)
    else append(table.byFirst, first?.kind === 'literal' ? `/${first.text}` : '', compiled)
  }
  return tables
}

function tableFor(tables: HostTables, host: string | undefined): HostTable {
  if (host === undefined) return tables.any
  if (!host.startsWith('*.')) {
    const present = tables.exact.get(host)
    if (present !== undefined) return present
    const added = newTable()
    tables.exact.set(host, added)
    return added
  }
  const suffix = host.slice(1)
  const present = tables.wildcards.find(([known]) => known === suffix)
  if (present !== undefined) return present[1]
  const added = newTable()
  // `ordered` brings longer suffixes first.
  tables.wildcards.push([suffix, added])
  return added
}

function append(map: Map<string, Compiled[]>, key: string, compiled: Compiled): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [compiled])
  else list.push(compiled)
}

/** Without port and the dot of a fully qualified name. */
export function hostName(host: string): string {
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':')
  const name = end > 0 ? host.slice(0, end) : host
  return name.endsWith('.') ? name.slice(0, -1) : name
}

function find(tables: HostTables, head: RoutableHead): RouteMatch | undefined {
  if (tables.exact.size > 0 || tables.wildcards.length > 0) {
    const host = hostName(head.host)
    const table = tables.exact.get(host)
    const found = table && findInTable(table, head)
    if (found !== undefined) return found
    for (const [suffix, wildcard] of tables.wildcards) {
      if (!matchesSuffix(host, suffix)) continue
      const foundThere = findInTable(wildcard, head)
      if (foundThere !== undefined) return foundThere
    }
  }
  return findInTable(tables.any, head)
}

function matchesSuffix(host: string, suffix: string): boolean {
  return host.length > suffix.length && host.endsWith(suffix)
}

function findInTable(table: HostTable, head: RoutableHead): RouteMatch | undefined {
  for (const compiled of table.exact.get(head.path) ?? NONE) {
    if (conditionsHold(compiled, head)) return { route: compiled.route, params: NO_PARAMS, pattern: compiled.pattern }
  }
  if (table.byFirst.size === 0 || !head.path.startsWith('/')) return undefined
  const parts = head.path.slice(1).split('/')
  return (
    findInPatterns(table.byFirst.get(`/${parts[0] as string}`) ?? NONE, parts, head) ??
    findInPatterns(table.byFirst.get('') ?? NONE, parts, head)
  )
}

function findInPatterns(list: readonly Compiled[], parts: readonly string[], head: RoutableHead): RouteMatch | undefined {
  for (const compiled of list) {
    const params = matchPattern(compiled.pattern, parts)
    if (params !== undefined && conditionsHold(compiled, head)) return { route: compiled.route, params, pattern: compiled.pattern }
  }
  return undefined
}

function conditionsHold(compiled: Compiled, head: RoutableHead): boolean {
  const { headers, query } = compiled.route.match
  return (
    (compiled.methods === undefined || compiled.methods.has(head.method)) &&
    headers.every(([name, test]) => passes(test, fieldValues(head.headers, name))) &&
    query.every(([name, test]) => passes(test, queryValues(head.query, name)))
  )
}

/** All that a header has. */
function fieldValues(headers: readonly string[], lowerName: string): string[] {
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === lowerName.length && name.toLowerCase() === lowerName) values.push(headers[i + 1] as string)
  }
  return values
}

/** Names and values are compared decoded, as every server will read them; one that cannot be decoded is compared as it is. */
function queryValues(query: string, name: string): string[] {
  if (query === '') return []
  return query.split('&').flatMap((pair) => {
    const at = pair.indexOf('=')
    const rawName = at === -1 ? pair : pair.slice(0, at)
    return decodeQuery(rawName) === name ? [decodeQuery(at === -1 ? '' : pair.slice(at + 1))] : []
  })
}

function decodeQuery(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

/** Of a route with several hosts and paths: what was nearest to taking it. */
function explain(ordered: readonly Compiled[], head: RoutableHead): readonly Verdict[] {
  let taken: RouteConfig | undefined
  const verdicts = new Map<RouteConfig, Verdict>()
  for (const compiled of ordered) {
    const { route } = compiled
    const before = verdicts.get(route)
    if (before !== undefined && before.outcome !== 'no') continue
    const mismatch = explainMismatch(compiled, head)
    if (mismatch !== undefined) {
      if (before === undefined) verdicts.set(route, { route, outcome: 'no', reason: mismatch })
    } else if (taken !== undefined) verdicts.set(route, { route, outcome: 'outranked', reason: `matches, but ${taken.name} goes first` })
    else {
      taken = route
      verdicts.set(route, { route, outcome: 'taken', reason: 'matches' })
    }
  }
  return [...verdicts.values()]
}

function explainMismatch({ route, host: wantedHost, path, pattern }: Compiled, head: RoutableHead): string | undefined {
  const match: MatchConfig = route.match
  const { moreHosts = [], morePaths = [] } = match
  const host = hostName(head.host)
  if (wantedHost !== undefined && !(wantedHost.startsWith('*.') ? matchesSuffix(host, wantedHost.slice(1)) : host === wantedHost)) {
    return `host ${host || '(none)'} is not ${[match.host, ...moreHosts].join(' or ')}`
  }
  const parts = head.path.startsWith('/') ? head.path.slice(1).split('/') : []
  if (matchPattern(pattern, parts) === undefined)
    return `path ${head.path} is not ${morePaths.length === 0 ? path : [match.path, ...morePaths].join(' or ')}`
  if (match.methods !== undefined && !match.methods.includes(head.method))
    return `method ${head.method} is not ${match.methods.join(' or ')}`
  const header = match.headers.find(([name, test]) => !passes(test, fieldValues(head.headers, name)))
  if (header !== undefined) return `header ${header[0]} ${wantedText(header[1])}`
  const query = match.query.find(([name, test]) => !passes(test, queryValues(head.query, name)))
  return query === undefined ? undefined : `query ${query[0]} ${wantedText(query[1])}`
}
