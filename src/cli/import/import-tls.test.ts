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

const tlsOf = (server: string, outer = ''): { readonly listeners: string[]; readonly draft: Draft } => {
  const draft = nginx(`${outer} server { listen 443 ssl; ${PAIR('a')} ${server} ${SITE} }`)
  return { listeners: listenersOf(draft), draft }
}
const TLS = (more: string): string[] => [`{ address: "0.0.0.0:443", tls: { certificates: [${HTTPS('a')}]${more} } }`]

test('nginx: versions, ciphers, sessions and certificates of clients are those of the listener', () => {
  const said = (server: string): string[] => tlsOf(server).listeners
  assert.deepEqual(said('ssl_protocols TLSv1.2 TLSv1.3;'), TLS(''))
  assert.deepEqual(said('ssl_protocols TLSv1.3;'), TLS(', minVersion: TLSv1.3'))
  assert.deepEqual(said('ssl_session_tickets off;'), TLS(', tickets: off'))
  assert.deepEqual(said('ssl_session_timeout 1d;'), TLS(', tickets: { lifetime: 1d }'))
  assert.deepEqual(said('ssl_ciphers HIGH:!aNULL;'), [
    TLS('')[0]?.replace(
      /] } }$/,
      '], ciphers: "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:HIGH:!aNULL" } }',
    ),
  ])
  for (const [mode, here] of [
    ['on', 'require'],
    ['optional', 'request'],
  ]) {
    const { listeners, draft } = tlsOf(`ssl_verify_client ${mode}; ssl_client_certificate /ssl/ca.pem;`)
    assert.deepEqual(listeners, TLS(`, clientAuth: { ca: "/ssl/ca.pem", mode: ${here} }`))
    assert.ok(draft.routes.every(({ off }) => off === undefined))
  }
})

test('nginx: what TLS says may stand around the servers, and old versions and lists of revoked certificates are left', () => {
  assert.deepEqual(tlsOf('', 'ssl_session_tickets off;').listeners, TLS(', tickets: off'))
  assert.equal(leftIn(tlsOf('ssl_protocols TLSv1 TLSv1.2 TLSv1.3;').draft).length, 1)
  const revoked = tlsOf('ssl_verify_client on; ssl_client_certificate /ssl/ca.pem; ssl_crl /ssl/crl.pem;')
  assert.deepEqual(revoked.listeners, TLS(''))
  assert.ok(revoked.draft.routes.every(({ off }) => off !== undefined))
})

function leftIn(draft: Draft): readonly string[] {
  return draft.notes.filter(({ kind }) => kind === 'left').map(({ source }) => source.text)
}

test('nginx: only where all servers ask for certificates of the same authority clients must have one', () => {
  const draft = nginx(`
    server { listen 443 ssl; server_name a.example; ${PAIR('a')} ssl_verify_client on; ssl_client_certificate /ssl/ca.pem; ${SITE} }
    server { listen 443 ssl; server_name b.example; ${PAIR('b')} ${SITE} }`)
  assert.ok(!listenersOf(draft).join().includes('clientAuth'))
  assert.deepEqual(
    draft.routes.map(({ match, off }) => [match.host, off !== undefined]),
    [
      [undefined, true],
      ['b.example', false],
    ],
  )
})

test('nginx: a default server that refuses handshakes refuses unknown names', () => {
  const draft = nginx(`
    server { listen 443 ssl default_server; ssl_reject_handshake on; }
    server { listen 443 ssl; server_name a.example; ${PAIR('a')} ${SITE} }`)
  assert.deepEqual(listenersOf(draft), TLS(', unknownNames: refuse'))
  assert.deepEqual(leftIn(draft), [])
})

test('nginx: the PROXY protocol from whom it is believed; of others it is said that they are refused', () => {
  const { listeners, draft } = ((server: string) => {
    const made = nginx(`server { listen 443 ssl proxy_protocol; ${PAIR('a')} ${server} ${SITE} }`)
    return { listeners: listenersOf(made), draft: made }
  })('set_real_ip_from 10.0.0.0/8; set_real_ip_from 192.0.2.1; real_ip_header proxy_protocol;')
  assert.deepEqual(listeners, [
    `{ address: "0.0.0.0:443", tls: { certificates: [${HTTPS('a')}] }, proxyProtocol: { from: ["10.0.0.0/8", "192.0.2.1"] } }`,
  ])
  assert.deepEqual(leftIn(draft), ['listen 443 ssl proxy_protocol;'])
  assert.ok(!draft.settings.some(({ path }) => path[0] === 'trustedPeers'))
  assert.deepEqual(listenersOf(nginx(`server { listen 80 proxy_protocol; ${SITE} }`)), [])
})

test('nginx: a server with and without TLS that sends to https by a condition', () => {
  for (const condition of ['($scheme = http)', '($scheme != "https")']) {
    const draft = nginx(
      `server { listen 80; listen 443 ssl; ${PAIR('a')} if ${condition} { return 301 https://$host$request_uri; } ${SITE} }`,
    )
    assert.deepEqual(listenersOf(draft), ['{ address: "0.0.0.0:80", redirect: { status: 301 } }', ...TLS('')])
    assert.ok(draft.routes.every(({ off }) => off === undefined))
  }
})

test('nginx: a server as certbot writes it sends everybody to https', () => {
  const draft = nginx(`
    server { listen 443 ssl; server_name a.example; ${PAIR('a')} ${SITE} }
    server { if ($host = a.example) { return 301 https://$host$request_uri; } listen 80; server_name a.example; return 404; }`)
  assert.deepEqual(listenersOf(draft), [...TLS(''), '{ address: "0.0.0.0:80", redirect: { status: 301 } }'])
  assert.deepEqual(leftIn(draft), ['return 404;'])
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

test('haproxy: another code than a listener has is told; without TLS to go to everybody is sent there', () => {
  const other = haproxy(
    `defaults\n mode http\nfrontend www\n bind :80\n bind :443 ssl crt /ssl/a.pem\n http-request redirect scheme https if !{ ssl_fc }\n ${BACKEND}`,
  )
  assert.ok(listenersOf(other).includes('{ address: "0.0.0.0:80", redirect: { status: 301 } }'))
  assert.deepEqual(leftIn(other), ['http-request redirect scheme https if !{ ssl_fc }'])
  const without = haproxy(
    `defaults\n mode http\nfrontend www\n bind :80\n http-request redirect scheme https code 301 unless { ssl_fc }\n ${BACKEND}`,
  )
  assert.deepEqual(
    without.routes.map(({ keys }) => keys),
    [[['redirect', '{ to: "https://{request.host}{request.target}", status: 301 }']]],
  )
})

test('haproxy: a frontend that only sends to https is a listener; one that says the same as another one is listened on as well', () => {
  const draft = haproxy(
    `defaults\n mode http\nfrontend plain\n bind :80\n http-request redirect scheme https code 301\nfrontend www\n bind :443 ssl crt /ssl/a.pem\n default_backend app\nfrontend more\n bind :8443 ssl crt /ssl/a.pem\n ${BACKEND}`,
  )
  assert.deepEqual(listenersOf(draft), [
    '{ address: "0.0.0.0:443", tls: { certificates: [{ cert: "/ssl/a.pem", key: "/ssl/a.pem" }] } }',
    '{ address: "0.0.0.0:8443", tls: { certificates: [{ cert: "/ssl/a.pem", key: "/ssl/a.pem" }] } }',
    '{ address: "0.0.0.0:80", redirect: { status: 301 } }',
  ])
  assert.deepEqual(leftIn(draft), [])
})

const BOUND = (bind: string, more = '', global = ''): { readonly listeners: string[]; readonly left: readonly string[] } => {
  const draft = haproxy(`${global}\ndefaults\n mode http\nfrontend www\n bind ${bind}\n ${more}\n ${BACKEND}`)
  return { listeners: listenersOf(draft), left: leftIn(draft) }
}
const PEM = '{ cert: "/ssl/a.pem", key: "/ssl/a.pem" }'

test('haproxy: the PROXY protocol, from everybody or from some', () => {
  assert.deepEqual(BOUND(':80 accept-proxy').listeners, ['{ address: "0.0.0.0:80", proxyProtocol: { from: ["0.0.0.0/0", "::/0"] } }'])
  assert.deepEqual(BOUND(':80', 'tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 192.0.2.1 }').listeners, [
    '{ address: "0.0.0.0:80", proxyProtocol: { from: ["10.0.0.0/8", "192.0.2.1"], others: direct } }',
  ])
})

test('haproxy: certificates of clients, versions, sessions and names of a bind', () => {
  const tls = (more: string): string[] => [`{ address: "0.0.0.0:443", tls: { certificates: [${PEM}]${more} } }`]
  const said = (words: string): string[] => BOUND(`:443 ssl crt /ssl/a.pem ${words}`).listeners
  assert.deepEqual(said('ca-file /ssl/ca.pem verify required'), tls(', clientAuth: { ca: "/ssl/ca.pem", mode: require }'))
  assert.deepEqual(said('ca-file /ssl/ca.pem verify optional'), tls(', clientAuth: { ca: "/ssl/ca.pem", mode: request }'))
  assert.deepEqual(said('ca-file /ssl/ca.pem'), tls(''))
  assert.deepEqual(said('ssl-min-ver TLSv1.3 strict-sni no-tls-tickets'), tls(', minVersion: TLSv1.3, unknownNames: refuse, tickets: off'))
  const global = 'global\n crt-base /ssl\n ssl-default-bind-options ssl-min-ver TLSv1.3'
  assert.deepEqual(BOUND(':443 ssl crt a.pem', '', global).listeners, tls(', minVersion: TLSv1.3'))
  const http2 = BOUND(':443 ssl crt /ssl/a.pem alpn h2,http/1.1')
  assert.deepEqual([http2.listeners, http2.left.length], [tls(''), 1])
})

test('haproxy: what is not understood of a bind is not listened on', () => {
  for (const bind of [
    ':443 ssl crt /ssl/a.pem crl-file /x',
    ':443 ssl crt /ssl/folder/',
    ':443 ssl',
    ':443 ssl crt /ssl/a.pem verify required',
  ])
    assert.deepEqual(BOUND(bind).listeners, [], bind)
})
