/** TLS, and the redirects to it, of nginx and HAProxy as listeners. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Draft } from './draft.ts'
import { importHaproxy } from './haproxy.ts'
import { parseHaproxy } from './haproxy-parse.ts'
import { importNginx } from './nginx.ts'
import { parseNginx } from './nginx-parse.ts'
import { writeDraft } from './write-draft.ts'

function listenersOf(draft: Draft): string[] {
  const yaml = writeDraft(draft, 'the file')
  return [...yaml.matchAll(/^ {2}- (.*address.*?|"[^"]*") {2}#/gm)].map((found) => found[1] ?? '')
}

function nginx(text: string): Draft {
  const parsed = parseNginx({ file: 'nginx.conf', text })
  assert.ok(!('wrong' in parsed))
  const draft = new Draft()
  importNginx(parsed, draft)
  return draft
}

function haproxy(text: string): Draft {
  const parsed = parseHaproxy({ file: 'haproxy.cfg', text })
  assert.ok(!('wrong' in parsed))
  const draft = new Draft()
  importHaproxy(parsed, draft)
  return draft
}

const SITE = 'location / { proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host; }'
const PAIR = (name: string): string => `ssl_certificate /ssl/${name}.pem; ssl_certificate_key /ssl/${name}.key;`
const HTTPS = (name: string): string => `{ cert: "/ssl/${name}.pem", key: "/ssl/${name}.key" }`

test('nginx: certificates of all servers at an address, the default one first; what only redirects is a listener that redirects', () => {
  const draft = nginx(`
    server { listen 80; return 301 https://$host$request_uri; }
    server { listen 443 ssl; server_name b.example; ${PAIR('b')} ${SITE} }
    server { listen 443 ssl default_server; server_name a.example; ${PAIR('a')} ${SITE} }`)
  assert.deepEqual(listenersOf(draft), [
    `{ address: "0.0.0.0:443", tls: { certificates: [${HTTPS('a')}, ${HTTPS('b')}] } }`,
    '{ address: "0.0.0.0:80", redirect: { status: 301 } }',
  ])
  assert.deepEqual(
    draft.notes.filter(({ kind }) => kind === 'left'),
    [],
  )
})

test('nginx: one server with and without TLS is served on both', () => {
  const draft = nginx(`server { listen 80; listen 443 ssl; ${PAIR('a')} ${SITE} }`)
  assert.deepEqual(listenersOf(draft), ['"0.0.0.0:80"', `{ address: "0.0.0.0:443", tls: { certificates: [${HTTPS('a')}] } }`])
})

test('nginx: without a certificate it is not listened on, and clients with certificates are not let in without', () => {
  const bare = nginx(`server { listen 443 ssl; ${SITE} }`)
  assert.deepEqual(
    [listenersOf(bare), bare.notes.map(({ source }) => source.text)],
    [[], ['listen 443 ssl;', 'proxy_set_header Host $host;']],
  )
  const verified = nginx(`server { listen 443 ssl; ${PAIR('a')} ssl_verify_client on; ${SITE} }`)
  assert.ok(verified.routes.every(({ off }) => off !== undefined))
})

test('nginx: a redirect to another name is no redirect to https', () => {
  const draft = nginx(`
    server { listen 80; return 301 https://www.example$request_uri; }
    server { listen 443 ssl; ${PAIR('a')} ${SITE} }`)
  assert.equal(listenersOf(draft).length, 1)
  assert.deepEqual(
    draft.notes.filter(({ kind }) => kind === 'left').map(({ source }) => source.at.line),
    [2],
  )
})

const BACKEND = 'default_backend app\nbackend app\n server a 127.0.0.1:3000\n'

for (const rule of ['http-request redirect scheme https code 301 unless { ssl_fc }', 'redirect scheme https code 301 if !{ ssl_fc }']) {
  test(`haproxy: ${rule}`, () => {
    const draft = haproxy(`defaults\n mode http\nfrontend www\n bind :80\n bind :443 ssl crt /ssl/a.pem\n ${rule}\n ${BACKEND}`)
    assert.deepEqual(listenersOf(draft), [
      '{ address: "0.0.0.0:80", redirect: { status: 301 } }',
      '{ address: "0.0.0.0:443", tls: { certificates: [{ cert: "/ssl/a.pem", key: "/ssl/a.pem" }] } }',
    ])
    assert.deepEqual(
      draft.routes.map(({ off }) => off),
      [undefined],
    )
  })
}

test('haproxy: a redirect that is done otherwise here refuses; so does one without TLS to go to', () => {
  for (const front of [
    'bind :80\n bind :443 ssl crt /ssl/a.pem\n http-request redirect scheme https if !{ ssl_fc }',
    'bind :80\n http-request redirect scheme https code 301 unless { ssl_fc }',
  ]) {
    const draft = haproxy(`defaults\n mode http\nfrontend www\n ${front}\n ${BACKEND}`)
    assert.ok(
      draft.routes.every(({ off }) => off !== undefined),
      front,
    )
  }
})

test('haproxy: what is not understood of a bind is not listened on', () => {
  const draft = haproxy(
    `defaults\n mode http\nfrontend www\n bind :80 accept-proxy\n bind :443 ssl crt /ssl/a.pem verify required ca-file /ssl/ca.pem\n ${BACKEND}`,
  )
  assert.deepEqual(listenersOf(draft), [])
})
