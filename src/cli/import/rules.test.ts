import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { testRoute } from '../../../test/support/test-config.ts'
import type { MatchConfig } from '../../config/config.ts'
import { compileRoutes } from '../../core/routing/router.ts'
import { type DraftMatch, matchOf } from './draft.ts'
import { asRoutes } from './rule-order.ts'
import { needed, restricted, rulesOf } from './rules.ts'

const match: fc.Arbitrary<DraftMatch> = fc.record({
  host: fc.constantFrom(undefined, 'a.example', '*.example'),
  path: fc.constantFrom('/*', '/api', '/api/*', '/api/v1/*'),
  methods: fc.constantFrom([], ['GET'], ['POST', 'PUT']),
  headers: fc.constantFrom<DraftMatch['headers']>({}, { 'x-a': '1' }, { 'x-a': { present: true } }),
  query: fc.constantFrom<DraftMatch['query']>({}, { q: { not: '1' } }),
})
const request = fc.record({
  host: fc.constantFrom('a.example', 'b.example', 'other.test'),
  path: fc.constantFrom('/', '/api', '/api/', '/api/v1/x'),
  method: fc.constantFrom('GET', 'POST', 'DELETE'),
  headers: fc.constantFrom([], ['X-A', '1'], ['X-A', '2']),
  query: fc.constantFrom('', 'q=1'),
})
const step = fc.record({
  matches: fc.array(match, { minLength: 1, maxLength: 2 }),
  but: fc.option(fc.array(match, { minLength: 1, maxLength: 2 }), { nil: undefined }),
  target: fc.constantFrom('one', 'two', 'three'),
})

function routerOf(rules: readonly { readonly match: DraftMatch; readonly target: string }[]) {
  return compileRoutes(
    rules.map(({ match: { host, path, methods, headers, query }, target }) => {
      const tests = { headers: Object.entries(headers), query: Object.entries(query) }
      const config: MatchConfig = { path, ...tests, ...(host !== undefined && { host }), ...(methods.length > 0 && { methods }) }
      return testRoute({ name: target, match: config })
    }),
  )
}

type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never

const routers = new WeakMap<DraftMatch, ReturnType<typeof routerOf>>()

function fits(one: Asked, matches: readonly DraftMatch[]): boolean {
  return matches.some((each) => {
    const router = routers.get(each) ?? routerOf([{ match: each, target: 'it' }])
    routers.set(each, router)
    return router.find(one) !== undefined
  })
}

const requests = fc.array(request, { minLength: 8, maxLength: 8 })

test('whatever the steps and whom they except: each request goes to the first that takes it, or to the last', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 3 }), requests, (written, asked) => {
      const steps = written.map(({ but, ...rest }) => ({ ...rest, ...(but !== undefined && { but }) }))
      const rules = rulesOf(steps, 'last')
      const routes = rules && asRoutes(rules)
      // Two tests of one field are not said as one match.
      if (routes === undefined) return
      const router = routerOf(routes)
      for (const one of asked) {
        const first = steps.find(({ matches, but = [] }) => fits(one, matches) && !fits(one, but))
        assert.equal(router.find(one)?.route.name, first?.target ?? 'last', JSON.stringify({ steps, one, routes }))
      }
    }),
  )
})

test('what is not needed takes nobody', () => {
  fc.assert(
    fc.property(fc.array(match, { minLength: 1, maxLength: 6 }), requests, (matches, asked) => {
      const rules = matches.map((each, i) => ({ match: each, target: `to ${i}` }))
      const kept = needed(rules)
      for (const one of asked) {
        const first = (all: typeof rules | typeof kept): string | undefined => all.find((rule) => fits(one, [rule.match]))?.target
        assert.equal(first(kept), first(rules))
      }
    }),
  )
})

test('rules of which nothing is left for anybody are none', () => {
  assert.deepEqual(restricted([{ match: matchOf('a.example', '/*') }], [matchOf('b.example', '/*')]), [])
  assert.deepEqual(restricted([{ match: matchOf('a.example', '/*') }], [matchOf(undefined, '/x')]), [{ match: matchOf('a.example', '/x') }])
})

test('steps that need too many rules are refused', () => {
  const steps = Array.from({ length: 12 }, (_, i) => ({
    matches: [{ ...matchOf(undefined, '/*'), headers: { [`x-${i}`]: '1' } }],
    but: [{ ...matchOf(undefined, '/*'), headers: { [`y-${i}`]: '1' } }],
    target: `to ${i}`,
  }))
  assert.equal(rulesOf(steps, 'last'), undefined)
  assert.ok(rulesOf(steps.slice(0, 6), 'last') !== undefined)
})
