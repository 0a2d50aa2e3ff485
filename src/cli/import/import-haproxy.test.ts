/** What HAProxy says, as it is said here; and what is not quite the same, with its line. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Imported, importedHaproxy, poolOf, routesOf } from '../../../test/support/import-rig.ts'

/** A frontend and two backends, each with more lines. */
function proxied({ front = '', back = '', server = '', global = '' } = {}): Imported {
  return importedHaproxy(
    `global\n${global}\ndefaults\n mode http\nfrontend www\n bind :80\n${front}\n default_backend app\nbackend app\n server a 10.0.0.1:1 ${server}\n${back}\nbackend other\n server b 10.0.0.2:1\n`,
  )
}

/** Without `app` and `other` where they are not asked. */
function leftOf({ left }: Imported): string[] {
  return left.filter((line) => !line.includes('backend other ->')).map((line) => line.replace(/^\d+: /, ''))
}

function routes(imported: Imported): unknown[] {
  return routesOf(imported).map(({ match, ...rest }) => [match, rest])
}

const ALL = { path: '/*' }
const fates = (front: string): unknown[] =>
  routesOf(proxied({ front })).map(({ match, answer, pool, redirect }) => [
    match,
    pool ?? (answer as { status?: number } | undefined)?.status ?? redirect,
  ])

for (const [condition, match] of [
  ['{ hdr(x-kind) a b }', { ...ALL, headers: { 'x-kind': ['a', 'b'] } }],
  ['{ hdr_beg(x-kind) a }', { ...ALL, headers: { 'x-kind': { prefix: 'a' } } }],
  ['{ req.hdr(x-kind) -m end a }', { ...ALL, headers: { 'x-kind': { suffix: 'a' } } }],
  ['{ hdr_sub(x-kind) a }', { ...ALL, headers: { 'x-kind': { contains: 'a' } } }],
  ['{ req.hdr(x-kind) -m found }', { ...ALL, headers: { 'x-kind': { present: true } } }],
  ['{ hdr_cnt(x-kind) eq 0 }', { ...ALL, headers: { 'x-kind': { present: false } } }],
  ['!{ hdr(x-kind) a }', { ...ALL, headers: { 'x-kind': { not: 'a' } } }],
  ['{ url_param(v) 2 }', { ...ALL, query: { v: '2' } }],
  ['{ path /x } { method POST }', { path: '/x', method: ['POST'] }],
  ['{ hdr(host) -i Shop.example } METH_GET', { host: 'shop.example', ...ALL, method: ['GET', 'HEAD'] }],
  ['{ hdr_end(host) -i .shop.example }', { host: '*.shop.example', ...ALL }],
] as const) {
  test(`use_backend if ${condition}`, () => {
    assert.deepEqual(fates(` use_backend other if ${condition}`), [
      [match, 'other'],
      [ALL, 'app'],
    ])
  })
}

test('a negation of paths, hosts or methods: those it excepts go where the rules behind it say', () => {
  assert.deepEqual(fates(' use_backend other if !{ path_beg /api/ }'), [
    [{ path: '/api/*' }, 'app'],
    [ALL, 'other'],
  ])
  assert.deepEqual(fates(' http-request deny unless METH_GET || { path /in }\n use_backend other if { path /in }'), [
    [{ path: '/in', method: ['GET', 'HEAD'] }, 'other'],
    [{ path: '/in' }, 'other'],
    [{ ...ALL, method: ['GET', 'HEAD'] }, 'app'],
    [ALL, 403],
  ])
})

test('without regard to capitals: as it is written, or in small letters, and it is told', () => {
  const imported = proxied({ front: ' use_backend other if { hdr(Upgrade) -i WebSocket }' })
  assert.deepEqual(routes(imported)[0], [{ ...ALL, headers: { upgrade: ['WebSocket', 'websocket'] } }, { pool: 'other' }])
  assert.equal(leftOf(imported).length, 1)
})

test('of several frontends the one that takes everybody is served', () => {
  const imported = importedHaproxy(
    'defaults\n mode http\nfrontend plain\n bind :80\n use_backend app if { path /x }\nfrontend www\n bind :81\n default_backend app\nbackend app\n server a 10.0.0.1:1\n',
  )
  assert.deepEqual(imported.config.listeners, ['0.0.0.0:81'])
})

test('acls of several lines are alternatives, whatever they are about', () => {
  assert.deepEqual(fates(' acl x path /a\n acl x hdr(x-kind) b\n use_backend other if x'), [
    [{ path: '/a' }, 'other'],
    [{ ...ALL, headers: { 'x-kind': 'b' } }, 'other'],
    [ALL, 'app'],
  ])
})

test('who is allowed is not looked at by the rules behind it', () => {
  assert.deepEqual(fates(' http-request allow if { path /health }\n http-request deny if { hdr(x-kind) bad }'), [
    [{ path: '/health' }, 'app'],
    [{ ...ALL, headers: { 'x-kind': 'bad' } }, 403],
    [ALL, 'app'],
  ])
})

test('whoever is sent to no backend gets 503, and where nothing listens with TLS nothing came with it', () => {
  const without = importedHaproxy(
    'defaults\n mode http\nfrontend www\n bind :80\n use_backend app if { ssl_fc }\nbackend app\n server a 10.0.0.1:1\n',
  )
  assert.deepEqual(routes(without), [[ALL, { answer: { status: 503 } }]])
})

test('answers: deny, return, redirect, monitor-uri', () => {
  const answer = (action: string): unknown => {
    const { answer: own, redirect } = routesOf(proxied({ front: ` http-request ${action} if { path /x }` }))[0] ?? {}
    return own ?? redirect
  }
  assert.deepEqual(answer('deny deny_status 429 content-type text/plain string "slow down"'), {
    status: 429,
    body: 'slow down',
    headers: { 'Content-Type': 'text/plain' },
  })
  assert.deepEqual(answer('return status 200 content-type text/plain string ok hdr X-A b'), {
    status: 200,
    body: 'ok',
    headers: { 'Content-Type': 'text/plain', 'X-A': 'b' },
  })
  assert.deepEqual(answer('redirect location https://new.example%[path] code 301'), {
    to: 'https://new.example{request.path}',
    status: 301,
  })
  assert.deepEqual(answer('redirect prefix https://www.example drop-query'), { to: 'https://www.example{request.path}', status: 302 })
  assert.deepEqual(answer('redirect scheme https code 308'), { to: 'https://{request.host}{request.target}', status: 308 })
  assert.deepEqual(routes(proxied({ front: ' monitor-uri /up' }))[0], [{ path: '/up' }, { answer: { status: 200 } }])
})

for (const action of [
  'return lf-string %[src] content-type text/plain',
  'redirect location https://%[hdr(x)]/',
  'tarpit',
  'deny hdr X-A %[src]',
]) {
  test(`${action}: what cannot be answered so is refused`, () => {
    const imported = proxied({ front: ` http-request ${action} if { path /x }` })
    const [first = {}] = routesOf(imported)
    assert.equal((first['answer'] as { status: number }).status, 503)
    assert.equal(leftOf(imported).length, 1)
  })
}

test('fields: of requests and answers, of the frontend and the backend, with and without a condition', () => {
  const imported = proxied({
    front:
      ' http-request set-header X-Real-IP %[src]\n http-request add-header X-Via a if METH_POST\n http-response set-header X-Front yes\n http-after-response del-header Server',
    back: ' http-request del-header X-Debug\n http-request set-header Host app.internal\n http-response add-header X-Back 1',
  })
  const request = { set: { 'X-Real-IP': '{client.address}' }, remove: ['X-Debug'] }
  const response = { set: { 'X-Front': 'yes' }, add: { 'X-Back': '1' }, remove: ['Server'] }
  const rest = { pool: 'app', rewrite: { host: 'app.internal' } }
  assert.deepEqual(routes(imported), [
    [
      { ...ALL, method: ['POST'] },
      { ...rest, headers: { request: { ...request, add: { 'X-Via': 'a' } }, response } },
    ],
    [ALL, { ...rest, headers: { request, response } }],
  ])
  assert.deepEqual(leftOf(imported), [])
})

test('answers of the frontend get the fields of http-after-response, not those of http-response', () => {
  const imported = proxied({
    front:
      ' http-request deny if { path /x }\n http-response set-header X-A 1\n http-after-response set-header Strict-Transport-Security max-age=1',
  })
  assert.deepEqual(routesOf(imported)[0]?.['headers'], { response: { set: { 'Strict-Transport-Security': 'max-age=1' } } })
})

for (const [line, reason] of [
  ['http-request set-header X-A %[hdr(x)]', /with what is known of the request/],
  ['http-request set-header X-A 1 if { src 10.0.0.1 }', /addresses of clients/],
  ['http-request replace-header X-A a b', /not edited/],
  ['http-request set-var(txn.a) path', /no variables of your own/],
  ['http-request track-sc0 src', /no tables of clients/],
  ['http-response set-status 404', /fields of all answers/],
  ['http-request set-priority-class int(1)', /priority/],
] as const) {
  test(`${line} is left with a true reason`, () => {
    const imported = proxied({ front: ` ${line}` })
    const [left = '', ...others] = leftOf(imported)
    assert.deepEqual(others, [])
    assert.match(left, reason)
    assert.deepEqual(routes(imported), [[ALL, { pool: 'app' }]])
  })
}

test('paths: what is taken away, put before, or said as a whole', () => {
  const rewrite = (back: string): unknown[] => routesOf(proxied({ back })).map(({ match, rewrite: found }) => [match, found])
  assert.deepEqual(rewrite(' http-request replace-path ^/api/(.*) /\\1 if { path_beg /api/ }'), [
    [{ path: '/api/*' }, { strip: '/api' }],
    [ALL, undefined],
  ])
  assert.deepEqual(rewrite(" http-request replace-path '^/api/(.*)$' '/v2/\\1'"), [
    [{ path: '/api/*' }, { strip: '/api', prefix: '/v2' }],
    [ALL, undefined],
  ])
  assert.deepEqual(rewrite(' http-request set-path /v2%[path]'), [[ALL, { prefix: '/v2' }]])
  assert.deepEqual(rewrite(' http-request set-path "%[path,regsub(^/api/,/)]"'), [
    [{ path: '/api/*' }, { strip: '/api' }],
    [ALL, undefined],
  ])
  assert.deepEqual(rewrite(' http-request set-path /one'), [[ALL, { path: '/one' }]])
})

for (const back of [
  ' http-request replace-path /api/(.*) /\\1',
  ' http-request replace-path ^/([^/]*)/(.*) /\\2/\\1',
  ' http-request set-path /a%[path]\n http-request set-path /b%[path]',
  ' http-request set-query x=1',
]) {
  test(`${back.trim()}: another path than can be said is refused`, () => {
    assert.deepEqual(
      routesOf(proxied({ back })).map(({ answer }) => (answer as { status?: number } | undefined)?.status),
      [503],
    )
  })
}

test('a field that tells of the path after it was rewritten is left: here it would tell of the one that came', () => {
  const imported = proxied({ back: ' http-request set-path /v2%[path]\n http-request set-header X-Path %[path]' })
  assert.deepEqual(leftOf(imported), ['http-request set-header X-Path %[path] -> it tells of the path after a line that changes it'])
})

test('within double quotes backslashes are read as without', () => {
  const { answer } = routesOf(proxied({ front: ' http-request return content-type text/plain string "a\\n\\"b\\""' }))[0] ?? {}
  assert.equal((answer as { body: string }).body, 'a\n"b"')
})

test('a backend: balance, what is hashed, a line, checks', () => {
  const pool = (back: string, server = ''): Record<string, unknown> => poolOf(proxied({ back, server }), 'app')
  assert.deepEqual(pool(' balance hash req.cook(sid)\n hash-balance-factor 150')['balance'], { hash: 'cookie:sid', over: '50%' })
  assert.deepEqual(pool(' balance leastconn\n timeout queue 5s')['wait'], '5s')
  assert.deepEqual(
    pool(' option httpchk HEAD /up\n http-check expect ! status 500-599', 'check inter 3s fastinter 1s downinter 1s port 9000')['health'],
    {
      method: 'HEAD',
      path: '/up',
      status: ['100-499'],
      interval: '3s',
      fastInterval: '1s',
      port: 9000,
    },
  )
  assert.deepEqual(
    pool(' option httpchk\n http-check send meth GET uri /up hdr Host app.internal\n http-check expect string fine')['health'],
    {
      path: '/up',
      headers: { Host: 'app.internal' },
      body: 'fine',
      status: ['100-599'],
    },
  )
  assert.deepEqual(pool(' option httpchk GET /up HTTP/1.1\\r\\nHost:\\ www')['health'], { path: '/up', headers: { Host: 'www' } })
  assert.deepEqual(pool(' option httpchk HEAD /\n http-check expect status 200,204-206')['health'], {
    method: 'HEAD',
    path: '/',
    status: [200, '204-206'],
  })
  assert.deepEqual(pool('', 'observe layer7 error-limit 5 on-error mark-down')['eject'], { failures: 5 })
})

test('how servers are asked: with TLS, with the PROXY protocol', () => {
  const asked = (server: string, global = ''): unknown => {
    const { servers, tls, proxyProtocol } = poolOf(proxied({ server, global }), 'app')
    return { servers, tls, proxyProtocol }
  }
  const https = { servers: [{ url: 'https://10.0.0.1:1' }], proxyProtocol: undefined }
  assert.deepEqual(asked('ssl verify none'), { ...https, tls: { verify: false } })
  assert.deepEqual(asked('ssl', 'ssl-server-verify none'), { ...https, tls: { verify: false } })
  assert.deepEqual(asked('ssl verify required ca-file ca.pem sni str(app.internal) crt /certs/c.pem', 'ca-base /certs'), {
    ...https,
    tls: { verify: true, ca: '/certs/ca.pem', serverName: 'app.internal', cert: '/certs/c.pem', key: '/certs/c.pem' },
  })
  assert.deepEqual(asked('send-proxy-v2 check-send-proxy check'), {
    servers: [{ url: 'http://10.0.0.1:1' }],
    tls: undefined,
    proxyProtocol: 'v2',
  })
  assert.deepEqual(asked('send-proxy'), { servers: [{ url: 'http://10.0.0.1:1' }], tls: undefined, proxyProtocol: 'v1' })
})

for (const server of ['ssl verify none sni req.hdr(host)', 'ssl crl-file /x', 'proto h2', 'ssl verify none\n server c 10.0.0.3:1']) {
  test(`a server that cannot be asked as it was is left out: ${server}`, () => {
    const imported = proxied({ server })
    assert.ok(leftOf(imported).some((line) => line.includes('the server is left out')))
  })
}

test('server-template is one host name with all its addresses', () => {
  const imported = proxied({ back: ' server-template w 1-5 app.example:80 check' })
  assert.deepEqual(poolOf(imported, 'app')['servers'], [{ url: 'http://10.0.0.1:1' }, { url: 'http://app.example:80' }])
})

test('when it is asked again: as HAProxy does by itself, or as it is told', () => {
  assert.deepEqual((proxied().config as Record<string, unknown>)['retry'], { on: ['connect-failure'], attempts: 4 })
  const retry = (back: string): unknown => routesOf(proxied({ back }))[0]?.['retry']
  assert.equal(retry(' retries 3'), undefined)
  assert.equal(retry(' retries 0'), 'off')
  assert.equal(retry(' retry-on none'), 'off')
  assert.deepEqual(retry(' retries 2\n retry-on conn-failure response-timeout 503\n http-request disable-l7-retry if METH_POST'), {
    on: ['connect-failure', 'timeout', 503],
    attempts: 3,
    methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH'],
  })
  assert.deepEqual(retry(' retry-on all-retryable-errors'), {
    on: ['connect-failure', 'reset', 'timeout', 500, 502, 503, 504],
    attempts: 4,
    methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'POST', 'PATCH'],
  })
})

test('cookies of our own, one for each pool; others are left', () => {
  const sticky = (back: string): unknown => poolOf(proxied({ back }), 'app')['sticky']
  assert.deepEqual(sticky(' cookie SRV insert indirect nocache'), { cookie: 'SRV' })
  assert.deepEqual(sticky(' cookie SRV insert secure attr SameSite=Strict'), { cookie: { name: 'SRV', secure: true, sameSite: 'Strict' } })
  assert.equal(sticky(' cookie JSESSIONID prefix'), undefined)
  const two = importedHaproxy(
    'defaults\n mode http\nfrontend www\n bind :80\n use_backend b if { path /b }\n default_backend a\nbackend a\n cookie S insert\n server a 10.0.0.1:1\nbackend b\n cookie S insert\n server b 10.0.0.2:1\n',
  )
  assert.deepEqual([poolOf(two, 'a')['sticky'], poolOf(two, 'b')['sticky']], [{ cookie: 'S' }, { cookie: 'S-b' }])
})

test('statistics are at the admin address, and other frontends are left', () => {
  const { left } = importedHaproxy(
    'defaults\n mode http\nlisten stats\n bind :8404\n stats enable\nfrontend www\n bind :80\n default_backend app\nfrontend more\n bind :81\n default_backend app\n http-request deny\nbackend app\n server a 10.0.0.1:1\n',
  )
  assert.deepEqual(left, [
    '3: listen stats -> the admin address has status and metrics',
    '9: frontend more -> what listens elsewhere needs a gateway of its own: routes hold on all listeners',
  ])
})
