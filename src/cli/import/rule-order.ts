/**
 * Rules that are tried in their order, as routes of which the most specific goes first. Where a later rule would go first, the requests that both
 * take get a route of their own, with the target of the earlier one.
 */
import { goesFirst, overlap, type ValueTests } from '../../core/routing/precedence.ts'
import { meetOf, type ValueTest } from '../../core/routing/value-test.ts'
import { type DraftMatch, matchKey } from './draft.ts'

export interface Ordered<T> {
  readonly match: DraftMatch
  readonly target: T
}

type Placed<R> = R & { readonly order: number }

/** Rules that cross each other make many routes. */
const ROUTES_MAX = 1000

/** Undefined: it would take too many, or a route that two tests of one field make. */
export function asRoutes<R extends Ordered<unknown>>(rules: readonly R[]): readonly R[] | undefined {
  const routes: Placed<R>[] = []
  for (const [order, rule] of rules.entries()) addRoute(routes, { ...rule, order })
  for (let i = 0; i < routes.length; i++) {
    for (let k = 0; k < i; k++) {
      const [a, b] = [routes[i] as Placed<R>, routes[k] as Placed<R>]
      const [early, late] = a.order < b.order ? [a, b] : [b, a]
      if (early.target === late.target || !overlap(early.match, late.match)) continue
      if (!goesFirst(late.match, early.match)) continue
      const match = commonOf(early.match, late.match)
      if (match === undefined) return undefined
      addRoute(routes, { ...early, match })
    }
    if (routes.length > ROUTES_MAX) return undefined
  }
  return routes
    .toSorted((a, b) => a.order - b.order)
    .filter((route, at, all) => !all.slice(0, at).some((other) => isSame(other.match, route.match)))
}

/** Of two for the same requests the earlier one is the only one that counts; which that is, is seen in the end. */
function addRoute<R extends Ordered<unknown>>(routes: Placed<R>[], route: Placed<R>): void {
  if (!routes.some((other) => other.order === route.order && isSame(other.match, route.match))) routes.push(route)
}

function isSame(a: DraftMatch, b: DraftMatch): boolean {
  return matchKey(a) === matchKey(b)
}

/** What fits both, of two that overlap; undefined: it cannot be said as one match. */
export function commonOf(a: DraftMatch, b: DraftMatch): DraftMatch | undefined {
  const length = (host: string | undefined): number =>
    host === undefined ? 0 : host.startsWith('*.') ? host.length : Number.MAX_SAFE_INTEGER
  const methods =
    a.methods.length === 0 ? b.methods : b.methods.length === 0 ? a.methods : a.methods.filter((each) => b.methods.includes(each))
  const [headers, query] = [testsOfBoth(a.headers, b.headers), testsOfBoth(a.query, b.query)]
  if (headers === undefined || query === undefined) return undefined
  return { host: length(a.host) >= length(b.host) ? a.host : b.host, path: narrower(a.path, b.path), methods, headers, query }
}

function testsOfBoth(a: ValueTests, b: ValueTests): ValueTests | undefined {
  const tests: Record<string, ValueTest> = { ...a }
  for (const [name, test] of Object.entries(b)) {
    const other = Object.hasOwn(a, name) ? a[name] : undefined
    const both = other === undefined ? test : meetOf(other, test)
    if (both === undefined || both === false) return undefined
    tests[name] = both
  }
  return tests
}

/** An exact path before any prefix, and the longer prefix before the shorter one. */
function narrower(a: string, b: string): string {
  if (!a.endsWith('/*')) return a
  if (!b.endsWith('/*')) return b
  return a.length >= b.length ? a : b
}
