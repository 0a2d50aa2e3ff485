/** What was closed stays closed: it is refused, or it is said that it is open. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Draft } from './draft.ts'
import { importHaproxy } from './haproxy.ts'
import { parseHaproxy } from './haproxy-parse.ts'
import { importNginx } from './nginx.ts'
import { parseNginx } from './nginx-parse.ts'

const PASS = 'proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host;'

function nginx(server: string): Draft {
  const parsed = parseNginx({ file: 'nginx.conf', text: `server { listen 80; ${server} }` })
  assert.ok(!('wrong' in parsed))
  const draft = new Draft()
  importNginx(parsed, draft)
  return draft
}

function haproxy(defaults: string, front: string, back = ''): Draft {
  const text = `defaults\n mode http\n${defaults}\nfrontend www\n bind :80\n${front}\n default_backend app\nbackend app\n server a 127.0.0.1:3000\n${back}\n`
  const parsed = parseHaproxy({ file: 'haproxy.cfg', text })
  assert.ok(!('wrong' in parsed))
  const draft = new Draft()
  importHaproxy(parsed, draft)
  return draft
}

/** What becomes of each path: `open`, `refused`, or the status of an answer. */
function fates(draft: Draft): Record<string, string> {
  return Object.fromEntries(
    draft.routes.map(({ match, keys, off }) => {
      const status = /status: (\d+)/.exec(keys[0]?.[1] ?? '')?.[1] ?? ''
      return [match.path, off === undefined ? (keys[0]?.[0] === 'pool' ? 'open' : status) : 'refused']
    }),
  )
}

for (const closing of [
  'auth_basic "who"; auth_basic_user_file /x;',
  'allow 10.0.0.0/8; deny all;',
  'deny 10.0.0.1;',
  'if ($x) { return 403; }',
  'limit_except GET { allow 10.0.0.0/8; deny all; }',
  'rewrite ^/a /b;',
  'ssl_verify_client on;',
]) {
  test(`nginx: ${closing}`, () => {
    assert.deepEqual(fates(nginx(`location /a/ { ${closing} ${PASS} } location / { ${PASS} }`)), { '/a/*': 'refused', '/*': 'open' })
    const all = Object.values(fates(nginx(`${closing} location /a/ { ${PASS} }`)))
    assert.ok(all.length > 0 && all.every((fate) => fate === 'refused'))
  })
}

test('nginx: deny all is an answer with 403, also of a whole server', () => {
  assert.deepEqual(fates(nginx(`location /a/ { deny all; ${PASS} } location / { ${PASS} }`)), { '/a/*': '403', '/*': 'open' })
  assert.deepEqual(fates(nginx(`deny all; location / { ${PASS} }`)), { '/*': '403' })
})

test('nginx: of a regular expression that closed something it is said that it is open now', () => {
  const { notes } = nginx(`location ~ /secret { deny all; } location / { ${PASS} }`)
  assert.ok(notes.some(({ reason }) => reason.endsWith('it was closed there, and is open here')))
})

test('haproxy: conditions that cannot be said close everything, also those of the defaults beside rules of the section', () => {
  for (const rule of [
    'http-request deny if !{ src 10.0.0.0/8 }',
    'http-request auth unless { src 10.0.0.0/8 }',
    'tcp-request connection reject if { src 10.0.0.1 }',
  ]) {
    assert.deepEqual(fates(haproxy('', ` ${rule}`)), { '/*': 'refused' }, rule)
    assert.deepEqual(fates(haproxy(` ${rule}`, ' http-request deny if { path /y }')), { '/*': 'refused' }, rule)
  }
})

test('haproxy: what is about some is refused for them, also by a backend', () => {
  assert.deepEqual(fates(haproxy('', ' http-request auth unless { path /x }')), { '/x': 'open', '/*': 'refused' })
  assert.deepEqual(fates(haproxy('', '', ' http-request auth if { path_beg /x/ }')), { '/x/*': 'refused', '/*': 'open' })
  assert.deepEqual(fates(haproxy('', '', ' http-request deny if { path /x }')), { '/x': '403', '/*': 'open' })
  assert.deepEqual(fates(haproxy('', '', ' http-request deny if { src 10.0.0.1 }')), { '/*': 'refused' })
  assert.deepEqual(fates(haproxy('', '', ' http-response deny if { res.hdr(x) -m found }')), { '/*': 'refused' })
})

test('haproxy: a condition on what a line before it has changed is not taken for one on what came', () => {
  assert.deepEqual(fates(haproxy('', ' http-request set-header X-Ok no\n http-request deny unless { hdr(X-Ok) yes }')), { '/*': 'refused' })
  assert.deepEqual(fates(haproxy('', ' http-request set-path /v2%[path]\n http-request deny if { path_beg /v2/admin/ }')), {
    '/*': 'refused',
  })
})
