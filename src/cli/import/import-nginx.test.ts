/** What nginx says, as it is said here; and what is not quite the same, with its line. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Imported, importedNginx, poolOf, routesOf } from '../../../test/support/import-rig.ts'

const UPSTREAMS = 'upstream a { server 10.0.0.1:1; } upstream b { server 10.0.0.2:1; }'
const PASS = 'proxy_pass http://a; proxy_set_header Host $host;'

/** In a location that asks the upstream `a`, with the client's Host. */
function located(inside: string, more = ''): Imported {
  return importedNginx(`${UPSTREAMS}\nserver { listen 80; ${more} location / { ${PASS}\n${inside}\n} }`)
}

function only(imported: Imported): Record<string, unknown> {
  const routes = routesOf(imported)
  assert.equal(routes.length, 1, JSON.stringify(routes))
  const [{ match: _, ...rest } = {}] = routes
  return rest
}

/** Of the lines of `located`, those of the test. */
function leftOf({ left }: Imported): string[] {
  return left.filter((line) => !line.startsWith('1:')).map((line) => line.replace(/^\d+: /, ''))
}

test('fields are added beside those of servers, removed, and set where nginx replaces them', () => {
  const imported = located(
    'add_header X-A b always; add_header X-A c always; add_header ETag x always; add_header X-Empty "" always; proxy_hide_header X-Powered-By; proxy_set_header X-Old "";',
  )
  assert.deepEqual(only(imported), {
    pool: 'a',
    headers: {
      request: { remove: ['X-Old'] },
      response: { set: { ETag: 'x' }, add: { 'X-A': ['b', 'c'] }, remove: ['X-Powered-By'] },
    },
  })
  assert.deepEqual(leftOf(imported), [])
})

test('a field that nginx adds to good answers only is left, one of caches is not: it stays off errors here as well', () => {
  const imported = located('add_header X-A b;\nadd_header Cache-Control "max-age=60";')
  assert.deepEqual(leftOf(imported), ['add_header X-A b; -> here answers that are errors get it, too'])
})

test('$request_id is requestId', () => {
  const { config } = located('proxy_set_header X-Request-ID $request_id;')
  assert.deepEqual((config as Record<string, unknown>)['requestId'], { header: 'X-Request-ID', accept: 'nobody' })
})

test('a certificate of a client in a field is left with what servers get instead', () => {
  assert.match(leftOf(located('proxy_set_header X-Cert $ssl_client_escaped_cert;')).join(), /Client-Cert/)
})

test('mirror: another upstream gets copies; what it was asked, and small bodies', () => {
  const imported = located(
    'mirror /copies;',
    'location = /copies { internal; proxy_pass http://b$request_uri; proxy_set_header Host $host; }',
  )
  const [copies, all] = routesOf(imported)
  assert.deepEqual([copies?.['answer'], all?.['mirror']], [{ status: 404 }, { pool: 'b' }])
  assert.deepEqual(leftOf(imported), ['mirror /copies; -> requests with a body of more than limits.spillCopy are not copied here'])
})

for (const [why, location] of [
  ['there is no such location', ''],
  ['it asks for another path', 'location = /copies { internal; proxy_pass http://b; }'],
  ['it is the same upstream', 'location = /copies { internal; proxy_pass http://a$request_uri; }'],
]) {
  test(`mirror is left when ${why}`, () => {
    const imported = located('mirror /copies;', location)
    assert.equal(routesOf(imported).find(({ pool }) => pool === 'a')?.['mirror'], undefined)
    assert.equal(leftOf(imported).length, 1)
  })
}

test('split_clients: shares to a hundredth of a percent, by what tells clients apart', () => {
  const split = (by: string): Imported =>
    importedNginx(`${UPSTREAMS} split_clients "${by}" $to { 0.5% b; * a; }
      server { listen 80; location / { proxy_pass http://$to; proxy_set_header Host $host; } }`)
  const shares = [
    { pool: 'b', weight: 50 },
    { pool: 'a', weight: 9950 },
  ]
  assert.deepEqual(only(split('${remote_addr}salt')), { pool: shares, splitBy: 'address' })
  assert.deepEqual(only(split('$cookie_id')), { pool: shares, splitBy: 'cookie:id' })
  assert.deepEqual(only(split('$request_id')), { pool: shares })
  assert.deepEqual(split('$request_id').left, [])
  const unknown = split('$remote_addr$http_user_agent')
  assert.ok(unknown.left.some((line) => line.includes('splitBy')))
  assert.deepEqual(only(unknown)['answer'], { status: 503, body: 'Not translated from the configuration before.' })
})

test('sticky: a cookie of our own, or one that is learnt from the application', () => {
  const pool = (sticky: string): Imported =>
    importedNginx(`upstream a { server 10.0.0.1:1; server 10.0.0.2:1; ${sticky} } server { listen 80; location / { ${PASS} } }`)
  const cookie = pool('sticky cookie srv expires=1h path=/app httponly secure samesite=strict;')
  assert.deepEqual(poolOf(cookie, 'a')['sticky'], {
    cookie: { name: 'srv', ttl: '1h', path: '/app', secure: true, sameSite: 'Strict' },
  })
  assert.deepEqual(cookie.left, [])
  const learnt = pool('sticky learn create=$upstream_cookie_SID lookup=$cookie_SID zone=z:1m timeout=1h;')
  assert.deepEqual(poolOf(learnt, 'a')['sticky'], { appCookie: { name: 'SID', ttl: '1h' } })
  assert.equal(pool('sticky cookie srv domain=.example.com;').left.length, 1)
  assert.equal(pool('sticky route $route_cookie;').left.length, 1)
})

test('an upstream: slow start, a line, idle connections, names that are looked up', () => {
  const imported = importedNginx(`upstream a {
      server app.example:1 slow_start=30s resolve; server 10.0.0.2:1 slow_start=30s; queue 100 timeout=5s; keepalive_timeout 20s; least_conn;
    } server { listen 80; location / { ${PASS} } }`)
  const { slowStart, wait, maxWaiting, balance } = poolOf(imported, 'a')
  assert.deepEqual([slowStart, wait, maxWaiting, balance], ['30s', '5s', 100, 'least-requests'])
  assert.equal(imported.config.timeouts?.upstreamIdle, '20s')
  assert.deepEqual(imported.left, [])
})

test('servers with https: any certificate, unless nginx verifies it', () => {
  const tls = (inside: string, to = 'https://a'): Record<string, unknown> => {
    const { config } = importedNginx(
      `${UPSTREAMS} server { listen 80; location / { proxy_pass ${to}; proxy_set_header Host $host; ${inside} } }`,
    )
    const [pool = {}] = Object.values(config.pools ?? {}) as Record<string, unknown>[]
    const { servers, tls: found } = pool
    return { servers, tls: found }
  }
  assert.deepEqual(tls(''), { servers: [{ url: 'https://10.0.0.1:1' }], tls: { verify: false } })
  assert.deepEqual(tls('proxy_ssl_server_name on; proxy_ssl_name api.internal;')['tls'], { verify: false, serverName: 'api.internal' })
  assert.deepEqual(tls('', 'https://10.0.0.9')['servers'], [{ url: 'https://10.0.0.9:443' }])
  assert.deepEqual(
    tls(
      'proxy_ssl_verify on; proxy_ssl_trusted_certificate /certs/ca.pem; proxy_ssl_certificate /certs/c.pem; proxy_ssl_certificate_key /certs/c.key;',
    )['tls'],
    { verify: true, ca: '/certs/ca.pem', serverName: 'a', cert: '/certs/c.pem', key: '/certs/c.key' },
  )
})

test('an upstream that is asked with and without TLS is two pools', () => {
  const { config } = importedNginx(`${UPSTREAMS} server { listen 80;
    location / { proxy_pass http://a; } location /s/ { proxy_pass https://a; } }`)
  assert.deepEqual(Object.keys(config.pools ?? {}), ['a', 'a-2'])
})

test('when another server is asked: what is not idempotent only where nginx says so', () => {
  const retry = (inside: string): unknown => only(located(inside))['retry']
  assert.deepEqual(retry('proxy_next_upstream error http_503 non_idempotent; proxy_next_upstream_tries 2;'), {
    on: ['connect-failure', 'reset', 503],
    attempts: 2,
    methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'POST', 'PATCH'],
  })
  assert.equal(retry('proxy_next_upstream off;'), 'off')
  assert.match(leftOf(located('proxy_next_upstream_timeout 5s;')).join(), /timeout of a route/)
})

test('rewrites of the beginning of a path: what servers are asked for, and where clients are sent', () => {
  const found = (inside: string): unknown[] =>
    routesOf(located(inside)).map(({ match, rewrite, redirect }) => [(match as { path: string }).path, rewrite ?? redirect])
  assert.deepEqual(found('rewrite ^/old/(.*)$ /new/$1 break;'), [
    ['/old/*', { path: '/new/{*}' }],
    ['/*', undefined],
  ])
  assert.deepEqual(found('rewrite ^/api/?(.*)$ /$1 break;'), [
    ['/api', { path: '/' }],
    ['/api/*', { path: '/{*}' }],
    ['/*', undefined],
  ])
  assert.deepEqual(found('rewrite ^(.*)$ https://www.example$1 permanent;'), [
    ['/*', { to: 'https://www.example{request.target}', status: 301 }],
  ])
  assert.deepEqual(found('rewrite ^/old/(.*)$ /new/$1? redirect;'), [
    ['/old/*', { to: '/new/{*}', status: 302 }],
    ['/*', undefined],
  ])
})

test('a rewrite of a location does not take what another location takes', () => {
  const imported = located('rewrite ^/api/(.*)$ /$1 break;', 'location /api/ { proxy_pass http://b; proxy_set_header Host $host; }')
  assert.deepEqual(
    routesOf(imported).map(({ match, pool }) => [(match as { path: string }).path, pool]),
    [
      ['/api/*', 'b'],
      ['/*', 'a'],
    ],
  )
})

test('a redirect of a server goes before its locations', () => {
  const imported = located('', 'rewrite ^/old/(.*)$ /new/$1? permanent; location /old/x/ { proxy_pass http://b; }')
  const routes = routesOf(imported).map(({ match, redirect }) => [
    (match as { path: string }).path,
    (redirect as { to?: string } | undefined)?.to,
  ])
  assert.deepEqual(routes, [
    ['/old/x/*', '/new/x/{*}'],
    ['/old/*', '/new/{*}'],
    ['/*', undefined],
  ])
})

for (const rewrite of [
  'rewrite ^/a/(\\d+)$ /b/$1 break;',
  'rewrite ^/a/(.*)$ /b/$1 last;',
  'rewrite /a/ /b/ break;',
  'rewrite ^/a(.*)$ /b$1 break;',
]) {
  test(`${rewrite} is no rewrite of the beginning of a path`, () => {
    const imported = located(rewrite)
    assert.ok(routesOf(imported).every(({ answer }) => answer !== undefined))
    assert.equal(leftOf(imported).length, 1)
  })
}

const fates = (imported: Imported): unknown[] =>
  routesOf(imported).map(({ match, answer, pool }) => {
    const { path: _, ...tests } = match as Record<string, unknown>
    return [tests, pool ?? (answer as { status: number }).status]
  })

for (const [condition, test_] of [
  ['$request_method = POST', { method: ['POST'] }],
  ['$http_user_agent ~ BadBot', { headers: { 'user-agent': { contains: 'BadBot' } } }],
  ['$http_x_kind != "good"', { headers: { 'x-kind': { not: 'good' } } }],
  ['$arg_debug = 1', { query: { debug: '1' } }],
  ['$host = old.example', { host: 'old.example' }],
] as const) {
  test(`if (${condition}) { return 403; }`, () => {
    const imported = located(`if (${condition}) { return 403; }`)
    assert.deepEqual(fates(imported), [
      [test_, 403],
      [{}, 'a'],
    ])
    assert.deepEqual(leftOf(imported), [])
  })
}

test('if of all methods but some, and limit_except', () => {
  assert.deepEqual(fates(located('if ($request_method !~ ^(GET|HEAD)$) { return 405; }')), [
    [{ method: ['GET', 'HEAD'] }, 'a'],
    [{}, 405],
  ])
  assert.deepEqual(fates(located('limit_except GET { deny all; }')), [
    [{ method: ['GET', 'HEAD'] }, 'a'],
    [{}, 403],
  ])
})

test('what follows a return is not looked at', () => {
  assert.deepEqual(fates(importedNginx('server { listen 80; location / { return 204; if ($http_x = 1) { return 403; } } }')), [[{}, 204]])
})
