/**
 * Rules that are tried in their order, some of which hold for everything but something: as rules that say for whom they hold. "All but P go there" is:
 * what P and a later rule take goes where the later one says, and only then everything goes there.
 */
import { overlap } from '../../core/routing/precedence.ts'
import { type DraftMatch, matchKey } from './draft.ts'
import { commonOf } from './rule-order.ts'

interface RuleOf<T> {
  readonly match: DraftMatch
  readonly target: T
}

/** `but`: who is not taken by it. */
export interface Step<T> {
  readonly matches: readonly DraftMatch[]
  readonly but?: readonly DraftMatch[]
  readonly target: T
}

const RULES_MAX = 1000

/** `last` is where everybody goes whom no step takes. Undefined: it takes too many rules, or what cannot be said as one match. */
export function rulesOf<T>(steps: readonly Step<T>[], last: T | undefined): readonly RuleOf<T>[] | undefined {
  let rules: readonly RuleOf<T>[] = last === undefined ? [] : [{ match: EVERYTHING, target: last }]
  for (const { matches, but, target } of steps.toReversed()) {
    const own = matches.map((match) => ({ match, target }))
    const excepted = but === undefined ? [] : restricted(rules, but)
    if (excepted === undefined) return undefined
    rules = needed([...excepted, ...own, ...rules])
    if (rules.length > RULES_MAX) return undefined
  }
  return rules
}

const EVERYTHING: DraftMatch = { host: undefined, path: '/*', methods: [], headers: {}, query: {} }

/** The rules, for those only whom one of the matches takes. */
export function restricted<R extends { readonly match: DraftMatch }>(
  rules: readonly R[],
  matches: readonly DraftMatch[],
): readonly R[] | undefined {
  const found: R[] = []
  for (const rule of rules) {
    for (const match of matches) {
      if (!overlap(rule.match, match)) continue
      const both = commonOf(rule.match, match)
      if (both === undefined) return undefined
      found.push({ ...rule, match: both })
    }
  }
  return found
}

/** Without those for whom all that they take is taken by one before them. */
export function needed<R extends { readonly match: DraftMatch }>(rules: readonly R[]): readonly R[] {
  const kept: R[] = []
  for (const rule of rules) if (!kept.some((before) => covers(before.match, rule.match))) kept.push(rule)
  return kept
}

function covers(a: DraftMatch, b: DraftMatch): boolean {
  // What `a` asks for and `b` does not, some of those who fit `b` do not have.
  const asksMore = (key: 'headers' | 'query'): boolean => Object.keys(a[key]).some((name) => !Object.hasOwn(b[key], name))
  if (asksMore('headers') || asksMore('query')) return false
  const both = overlap(a, b) ? commonOf(a, b) : undefined
  return both !== undefined && matchKey(both) === matchKey(b)
}
