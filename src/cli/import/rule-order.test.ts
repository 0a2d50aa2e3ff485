import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { testRoute } from '../../../test/support/test-config.ts'
import type { MatchConfig } from '../../config/config.ts'
import { compileRoutes } from '../../core/routing/router.ts'
import type { DraftMatch } from './draft.ts'
import { asRoutes } from './rule-order.ts'

const HOSTS = [undefined, 'a.example', 'b.example', '*.example', '*.b.example']
const PATHS = ['/*', '/api', '/api/*', '/api/v1/*', '/api/v1', '/web/*']
const METHODS = [[], ['GET'], ['POST', 'PUT']]
const HEADERS: readonly DraftMatch['headers'][] = [
  {},
  { 'x-a': '1' },
  { 'x-a': '2' },
  { 'x-a': '1', 'x-b': '1' },
  { 'x-a': { present: true } },
  { 'x-a': { present: false } },
]
const QUERIES: readonly DraftMatch['query'][] = [{}, { q: '1' }, { q: { not: '1' } }]

const match: fc.Arbitrary<DraftMatch> = fc.record({
  host: fc.constantFrom(...HOSTS),
  path: fc.constantFrom(...PATHS),
  methods: fc.constantFrom(...METHODS),
  headers: fc.constantFrom(...HEADERS),
  query: fc.constantFrom(...QUERIES),
})
const request = fc.record({
  host: fc.constantFrom('a.example', 'b.example', 'x.b.example', 'other.test'),
  path: fc.constantFrom('/', '/api', '/api/', '/api/v1', '/api/v1/x', '/web/x', '/apix'),
  method: fc.constantFrom('GET', 'POST', 'DELETE'),
  headers: fc.constantFrom([], ['X-A', '1'], ['X-A', '2'], ['X-A', '1', 'X-B', '1']),
  query: fc.constantFrom('', 'q=1', 'q=2'),
})

function configOf({ host, path, methods, headers, query }: DraftMatch): MatchConfig {
  return {
    path,
    headers: Object.entries(headers),
    query: Object.entries(query),
    ...(host !== undefined && { host }),
    ...(methods.length > 0 && { methods }),
  }
}

function routerOf(rules: readonly { match: DraftMatch; target: string }[]) {
  return compileRoutes(rules.map((rule) => testRoute({ name: rule.target, match: configOf(rule.match) })))
}

test('whatever the rules: each request goes where the first rule in their order says', () => {
  fc.assert(
    fc.property(
      fc.array(match, { minLength: 1, maxLength: 6 }),
      fc.array(request, { minLength: 20, maxLength: 20 }),
      (matches, requests) => {
        const rules = matches.map((each, i) => ({ match: each, target: `to ${i % 3}` }))
        const routes = asRoutes(rules)
        assert.ok(routes !== undefined)
        const router = routerOf(routes)
        for (const one of requests) {
          const head = one
          const first = rules.find((rule) => routerOf([rule]).find(head) !== undefined)
          assert.equal(router.find(head)?.route.name, first?.target, JSON.stringify({ rules, one, routes }))
        }
      },
    ),
  )
})

test('an earlier rule for a path keeps it from a later one for a host', () => {
  const any = { host: undefined, methods: [], headers: {}, query: {} }
  const routes = asRoutes([
    { match: { ...any, path: '/secret/*' }, target: 'refused' },
    { match: { ...any, host: 'admin.example', path: '/*' }, target: 'admin' },
  ])
  assert.deepEqual(
    routes?.map(({ match: { host, path }, target }) => [host, path, target]),
    [
      [undefined, '/secret/*', 'refused'],
      ['admin.example', '/secret/*', 'refused'],
      ['admin.example', '/*', 'admin'],
    ],
  )
})

test('rules that cross each other too often are refused', () => {
  const rules = Array.from({ length: 60 }, (_, i) => ({
    match: { host: undefined, path: i % 2 === 0 ? '/*' : `/p${i}/*`, methods: [], headers: { [`x-${i}`]: '1' }, query: {} },
    target: i,
  }))
  assert.equal(asRoutes(rules), undefined)
})
