import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { MatchConfig, RouteConfig } from '../../config/config.ts'
import type { RoutableHead } from './router.ts'
import { compileRoutes, hostName } from './router.ts'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
console.log(`SEED=${SEED}`)

function route(name: string, match: Partial<MatchConfig> & { readonly path: string }): RouteConfig {
  return {
    name,
    match: { headers: [], query: [], ...match },
    pool: 'api',
    mode: 'direct',
    waitMs: 0,
    patienceMs: 0,
    spill: { enterMs: 0, leaveMs: 0 },
    onWait: 'accept',
    allow: [],
    methods: [],
    redeliver: 'safe',
    idempotencyScope: 'authorization',
  }
}

function head(target: string, more: Partial<RoutableHead> = {}): RoutableHead {
  const [path = '', query = ''] = target.split('?')
  return { method: 'GET', host: 'example.com', path, query, headers: [], ...more }
}

function taken(routes: readonly RouteConfig[], request: RoutableHead): string | undefined {
  return compileRoutes(routes).find(request)?.route.name
}

describe('paths', () => {
  const routes = [
    route('all', { path: '/*' }),
    route('orders', { path: '/orders' }),
    route('order', { path: '/orders/{id}' }),
    route('new order', { path: '/orders/new' }),
    route('items', { path: '/orders/{id}/items/*' }),
    route('root', { path: '/' }),
  ]
  const cases: readonly (readonly [path: string, name: string])[] = [
    ['/', 'root'],
    ['/orders', 'orders'],
    ['/orders/', 'all'],
    ['/orders/7', 'order'],
    ['/orders/new', 'new order'],
    ['/orders/7/items', 'all'],
    ['/orders/7/items/', 'items'],
    ['/orders/7/items/a/b', 'items'],
    ['/Orders', 'all'],
    ['/orders/a%2Fb', 'order'],
    ['/%6Frders', 'all'],
    ['//orders', 'all'],
  ]
  for (const [path, name] of cases) test(`${path} takes ${name}`, () => assert.equal(taken(routes, head(path)), name))

  test('parameters keep their raw value', () => {
    const found = compileRoutes(routes).find(head('/orders/a%2Fb%20c'))
    assert.deepEqual({ ...found?.params }, { id: 'a%2Fb%20c' })
  })

  test('a parameter named like a property of objects is only a parameter', () => {
    const found = compileRoutes([route('r', { path: '/{__proto__}/{constructor}' })]).find(head('/a/b'))
    assert.deepEqual(Object.entries(found?.params ?? {}), [
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ])
  })

  test('OPTIONS * matches no path', () => assert.equal(taken(routes, head('*', { method: 'OPTIONS' })), undefined))
})

describe('precedence', () => {
  test('a host goes before a path, an exact host before a wildcard, a long wildcard before a short one', () => {
    const routes = [
      route('path', { path: '/a/b' }),
      route('wild', { path: '/*', host: '*.example.com' }),
      route('wilder', { path: '/*', host: '*.eu.example.com' }),
      route('exact', { path: '/*', host: 'api.eu.example.com' }),
    ]
    assert.equal(taken(routes, head('/a/b', { host: 'api.eu.example.com' })), 'exact')
    assert.equal(taken(routes, head('/a/b', { host: 'x.y.eu.example.com:8080' })), 'wilder')
    assert.equal(taken(routes, head('/a/b', { host: 'x.example.com.' })), 'wild')
    assert.equal(taken(routes, head('/a/b', { host: 'example.com' })), 'path')
    assert.equal(taken(routes, head('/a/b', { host: '' })), 'path')
  })

  test('a method that does not match falls through to the next route, also to a less specific one', () => {
    const routes = [route('all', { path: '/*' }), route('post', { path: '/a', methods: ['POST'] }), route('any', { path: '/a' })]
    assert.equal(taken(routes, head('/a', { method: 'POST' })), 'post')
    assert.equal(taken(routes, head('/a')), 'any')
    assert.equal(taken([routes[0] as RouteConfig, routes[1] as RouteConfig], head('/a')), 'all')
  })

  test('a route of the host that does not match falls through to the routes of any host', () => {
    const routes = [route('host', { path: '/*', host: 'example.com', methods: ['POST'] }), route('any', { path: '/*' })]
    assert.equal(taken(routes, head('/a')), 'any')
  })

  test('method goes before headers, headers before query, more of them before fewer', () => {
    const routes = [
      route('plain', { path: '/a' }),
      route('query', { path: '/a', query: [['v', '2']] }),
      route('headers', { path: '/a', headers: [['x-a', '1']] }),
      route('two headers', {
        path: '/a',
        headers: [
          ['x-a', '1'],
          ['x-b', '2'],
        ],
      }),
      route('method', { path: '/a', methods: ['PUT'] }),
    ]
    const headers = ['X-A', '1', 'x-b', '2']
    assert.equal(taken(routes, head('/a?v=2', { headers, method: 'PUT' })), 'method')
    assert.equal(taken(routes, head('/a?v=2', { headers })), 'two headers')
    assert.equal(taken(routes, head('/a?v=2', { headers: headers.slice(0, 2) })), 'headers')
    assert.equal(taken(routes, head('/a?b=&v=%32')), 'query')
    assert.equal(taken(routes, head('/a?v=1')), 'plain')
    assert.equal(taken(routes, head('/a?v=%')), 'plain')
  })

  test('ties go by file order', () => {
    assert.equal(taken([route('one', { path: '/{a}' }), route('two', { path: '/{b}' })], head('/x')), 'one')
  })
})

describe('explain', () => {
  test('tells for each route, in order of precedence, why it was taken or not', () => {
    const router = compileRoutes([
      route('all', { path: '/*' }),
      route('post', { path: '/a', methods: ['POST'] }),
      route('other host', { path: '/a', host: 'b.example.com' }),
      route('beta', { path: '/a', headers: [['x-beta', 'on']] }),
      route('v2', { path: '/a', query: [['v', '2']] }),
      route('elsewhere', { path: '/b' }),
      route('a', { path: '/a' }),
    ])
    assert.deepEqual(
      router.explain(head('/a')).map((verdict) => `${verdict.route.name}: ${verdict.outcome}: ${verdict.reason}`),
      [
        'other host: no: host example.com is not b.example.com',
        'post: no: method GET is not POST',
        'beta: no: header x-beta is not "on"',
        'v2: no: query v is not "2"',
        'elsewhere: no: path /a is not /b',
        'a: taken: matches',
        'all: outranked: matches, but a goes first',
      ],
    )
  })
})

test('hostName takes off port and final dot, also of IPv6', () => {
  assert.deepEqual(['a.b:80', 'a.b.', '[::1]:80', '[::1]', 'a', ''].map(hostName), ['a.b', 'a.b', '[::1]', '[::1]', 'a', ''])
})

/** The precedence rules once more, as a key to be sorted as text: written to be obvious, not fast. */
function naiveKey(match: MatchConfig, index: number): string {
  const low = (n: number): string => String(9999 - n)
  const host = match.host === undefined ? 'z' : match.host.startsWith('*') ? `b${low(match.host.length)}` : 'a'
  const path = match.path
    .slice(1)
    .split('/')
    .map((part) => (part === '*' ? 'c' : part.startsWith('{') ? 'b' : 'a'))
  return [
    host,
    `${path.join('')}d`,
    match.methods ? 'a' : 'b',
    low(match.headers.length),
    low(match.query.length),
    String(index).padStart(4, '0'),
  ].join(' ')
}

function naiveMatches(match: MatchConfig, request: RoutableHead): boolean {
  const pattern = match.path.replaceAll(/\{\w+\}/g, '[^/]+').replace(/\*$/, '.*')
  const host = match.host?.replaceAll('.', '\\.').replace('*', '.+') ?? '.*'
  return (
    new RegExp(`^${pattern}$`).test(request.path) &&
    new RegExp(`^${host}$`).test(request.host) &&
    (match.methods?.includes(request.method) ?? true) &&
    match.headers.every(([name, value]) => request.headers.join('|').includes(`${name}|${value as string}`)) &&
    match.query.every(([name, value]) => request.query === `${name}=${value as string}`)
  )
}

test('find agrees with the naive rules, and with explain', () => {
  const literal = fc.constantFrom('a', 'b', 'c')
  const part = fc.oneof(literal, fc.constant('{}'))
  const path = fc.tuple(fc.array(part, { maxLength: 3 }), fc.boolean()).map(([parts, open]) => {
    const named = parts.map((text, i) => (text === '{}' ? `{p${i}}` : text))
    return `/${[...named, ...(open || named.length === 0 ? ['*'] : [])].join('/')}`
  })
  const pairs = fc.constantFrom<readonly (readonly [string, string])[]>([], [['x', '1']])
  const match = fc.record({ path, headers: pairs, query: pairs }).chain((base) =>
    fc
      .record({
        host: fc.constantFrom(undefined, 'a.test', 'b.a.test', '*.test', '*.a.test'),
        methods: fc.constantFrom(undefined, ['GET'], ['POST', 'PUT']),
      })
      .map(({ host, methods }) => ({ ...base, ...(host && { host }), ...(methods && { methods }) })),
  )
  const request = fc.record({
    method: fc.constantFrom('GET', 'POST'),
    host: fc.constantFrom('a.test', 'b.a.test', 'other'),
    path: fc.array(literal, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`),
    query: fc.constantFrom('', 'x=1'),
    headers: fc.constantFrom<string[]>([], ['x', '1']),
  })
  fc.assert(
    fc.property(fc.array(match, { maxLength: 12 }), request, (matches, asked) => {
      const routes = matches.map((m, i) => route(String(i), m))
      const router = compileRoutes(routes)
      const expected = routes
        .filter((r) => naiveMatches(r.match, asked))
        .map((r) => ({ name: r.name, key: naiveKey(r.match, Number(r.name)) }))
        .sort((a, b) => (a.key < b.key ? -1 : 1))[0]?.name
      assert.equal(router.find(asked)?.route.name, expected)
      assert.equal(router.explain(asked).find((verdict) => verdict.outcome === 'taken')?.route.name, expected)
    }),
    { seed: SEED, numRuns: 3000 },
  )
})
