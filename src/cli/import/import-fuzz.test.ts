/** Whatever stands in the file: no import throws, every line that means something is told of once at least, and what is written loads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { loadText } from '../../config/load.ts'
import { Draft } from './draft.ts'
import { importHaproxy } from './haproxy.ts'
import { parseHaproxy } from './haproxy-parse.ts'
import { importNginx } from './nginx.ts'
import { parseNginx, withIncludes } from './nginx-parse.ts'
import { writeDraft } from './write-draft.ts'

function nginx(text: string): Draft | string {
  const parsed = parseNginx({ file: 'nginx.conf', text })
  const all = 'wrong' in parsed ? parsed : withIncludes(parsed, () => [])
  if ('wrong' in all) return all.wrong
  const draft = new Draft()
  importNginx(all, draft)
  return draft
}

function haproxy(text: string): Draft | string {
  const parsed = parseHaproxy({ file: 'haproxy.cfg', text })
  if ('wrong' in parsed) return parsed.wrong
  const draft = new Draft()
  importHaproxy(parsed, draft)
  return draft
}

function assertLoads(draft: Draft | string, text: string): void {
  if (typeof draft === 'string' || draft.routes.length === 0) return
  const yaml = writeDraft(draft, 'the file')
  const loaded = loadText(yaml, { file: 'spillway.yaml', folder: '/' }, { STICKY_KEY: 'a'.repeat(64) })
  assert.deepEqual(loaded.ok ? [] : loaded.errors, [], `${text}\n\n${yaml}`)
}

const soup = fc
  .array(
    fc.constantFrom(
      'server',
      'location',
      '/',
      '{',
      '}',
      ';',
      '"',
      "'",
      '\\',
      '#',
      '\n',
      ' ',
      '$x',
      '${',
      'é',
      '\u2028',
      'if',
      'frontend',
      'a',
      '80',
    ),
    {
      maxLength: 60,
    },
  )
  .map((words) => words.join(''))

test('no text makes an import throw', () => {
  fc.assert(
    fc.property(fc.oneof(soup, fc.string({ unit: 'binary' })), (text) => {
      assertLoads(nginx(text), text)
      assertLoads(nginx(`http { server { ${text} } }`), text)
      assertLoads(haproxy(text), text)
      assertLoads(haproxy(`defaults\n mode http\nlisten x\n bind :80\n ${text}`), text)
    }),
  )
})

const VALUES = ['/', '/api', '/api/', '/a b', '/é', '/{x}', '/*', 'off', 'on', '0', '1', '10', '30s', '1m', '-1', '99999999999', '$host', '$nothing', '{x}', '"', 'a.example', '*.example', '~x', '=', '^~', '~', '80', '8080 default_server', '[::]:80', '127.0.0.1:3000', 'unix:/x', 'u', 'http://u', 'http://u/', 'http://u/x', 'http://127.0.0.1:3000', 'https://u', 'http://$host', 'X-A', 'Host', 'Connection', '301 /x', '200', '444', '503 "no { } $x"', 'all', 'error', 'timeout', 'http_502', 'weight=3', 'weight=0', 'down', 'backup', 'max_fails=2', 'fail_timeout=5s', 'max_conns=5', 'slow_start=5s', 'cookie', 'learn', 'srv', 'secure', 'samesite=none', 'expires=1h', 'permanent', 'break', 'last', '^/a/(.*)$', '^/api/?(.*)$', '/b/$1', '/b/$1?', '^(.*)$', 'https://www.example$1', 'non_idempotent', 'https://127.0.0.1:3000', 'http://u$request_uri', '$request_id', 'X-Request-Id', 'proxy_protocol', '\u2028# x'] // biome-ignore format: a table
const NAMES = ['listen', 'server_name', 'proxy_pass', 'return', 'rewrite', 'deny', 'allow', 'add_header', 'proxy_set_header', 'proxy_read_timeout', 'proxy_connect_timeout', 'proxy_next_upstream', 'proxy_next_upstream_tries', 'client_max_body_size', 'keepalive_timeout', 'set_real_ip_from', 'gzip', 'root', 'if', 'unknown', 'server', 'least_conn', 'ip_hash', 'hash', 'random', 'keepalive', 'sticky', 'mirror', 'queue', 'proxy_hide_header', 'proxy_ssl_verify', 'proxy_ssl_name', 'proxy_ssl_server_name', 'limit_except', 'internal', 'real_ip_header', 'split_clients'] // biome-ignore format: a table
const directive = fc
  .tuple(fc.constantFrom(...NAMES), fc.array(fc.constantFrom(...VALUES), { maxLength: 3 }))
  .map(([name, args]) => `${name} ${args.map((arg) => (arg === '"' ? "'\"'" : arg)).join(' ')};`)
const block = (name: fc.Arbitrary<string>, inner: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(name, fc.array(inner, { maxLength: 6 })).map(([head, lines]) => `${head} {\n${lines.join('\n')}\n}`)
const location = block(
  fc
    .tuple(fc.constantFrom('', '=', '^~', '~', '~*'), fc.constantFrom(...VALUES.filter((value) => value.startsWith('/')), '@x'))
    .map(([modifier, path]) => `location ${modifier} "${path}"`),
  fc.oneof(
    directive,
    fc.constantFrom(
      'proxy_pass http://u;',
      'proxy_pass http://u/x/;',
      'if ($request_method = POST) { return 403; }',
      'if ($http_x != 1) { return 302 /y; }',
      'rewrite ^/a/(.*)$ /b/$1 break;',
      'rewrite ^/old /new permanent;',
      'limit_except GET { deny all; }',
      'mirror /api;',
    ),
  ),
)
const server = block(fc.constant('server'), fc.oneof(directive, location, location))
const upstream = block(
  fc.constant('upstream u'),
  fc.oneof(directive, fc.constant('server 127.0.0.1:3000;'), fc.constant('server 127.0.0.1:3001 weight=2 max_fails=1;')),
)

test('whatever a configuration of nginx says: what is written loads, and no directive is forgotten', () => {
  fc.assert(
    fc.property(block(fc.constant('http'), fc.oneof(server, server, upstream, directive)), (text) => {
      const draft = nginx(text)
      assertLoads(draft, text)
      if (typeof draft === 'string') return
      const unknown = text.split('\n').flatMap((line, i) => (line.startsWith('unknown') ? [i + 1] : []))
      for (const line of unknown.filter((at) => !isElsewhere(draft, at)))
        assert.ok(
          draft.notes.some(({ source }) => source.at.line === line),
          `line ${line} of\n${text}`,
        )
    }),
  )
})

/** In a block of which something is said as a whole. */
function isElsewhere(draft: Draft, line: number): boolean {
  return draft.notes.some(({ source }) => source.at.line < line && source.text.endsWith('{'))
}

const WORDS = ['bind', ':80', '*:8080', 'acl', 'is_x', 'path_beg', '/x', '/api/', '-i', 'hdr(host)', 'a.example', 'method', 'GET', 'src', '10.0.0.0/8', 'if', 'unless', '!', '{', '}', '||', 'or', 'use_backend', 'b', 'default_backend', 'http-request', 'deny', 'deny_status', '429', 'redirect', 'location', '/y', 'prefix', 'scheme', 'https', 'code', '301', 'set-header', 'X-A', 'server', 's', '127.0.0.1:3000', 'check', 'weight', '5', 'backup', 'maxconn', '10', 'inter', '1s', 'slowstart', 'balance', 'roundrobin', 'leastconn', 'uri', 'option', 'httpchk', 'timeout', 'connect', 'queue', 'cookie', 'TRUE', 'METH_GET', '\\', '#', 'set-path', 'replace-path', '/v2%[path]', '^/x/(.*)', '/\\1', 'return', 'status', 'string', 'del-header', 'add-header', '%[src]', 'http-response', 'http-after-response', 'allow', 'hdr_beg(x)', 'url_param(q)', '-m', 'found', 'insert', 'maxlife', 'send-proxy', 'observe', 'layer7', 'on-error', 'mark-down', 'http-check', 'expect', 'send', 'uri', 'retries', 'retry-on', '503', 'hash', 'hash-balance-factor', '150', 'monitor-uri', 'accept-proxy', 'server-template', '1-3', 'ssl', 'verify', 'none', 'sni', 'str(a.example)', 'fastinter', 'port', 'drop-query'] // biome-ignore format: a table
const line = fc.array(fc.constantFrom(...WORDS), { maxLength: 8 }).map((words) => `  ${words.join(' ')}`)
const likely = fc.constantFrom(
  '  use_backend b if { path_beg /api }',
  '  use_backend b if { hdr(host) -i a.example } METH_GET',
  '  http-request deny if { path /x } || { method POST }',
  '  default_backend b',
  '  bind :80',
  '  acl is_x path_beg /x /y',
  '  use_backend c if is_x !{ path /x/y }',
  '  http-request deny unless { hdr(x) 1 } || { path_beg /a/ }',
  '  http-request set-header X-A %[path] if { method POST }',
  '  http-request replace-path ^/x/(.*) /\\1 if { path_beg /x/ }',
  '  http-request allow if { path /health }',
  '  http-response del-header Server',
  '  cookie SRV insert indirect nocache',
  '  retry-on all-retryable-errors',
  '  option httpchk HEAD /x',
  '  default-server check observe layer7 on-error mark-down',
)

test('whatever a configuration of HAProxy says: what is written loads', () => {
  const lines = fc.array(fc.oneof(line, likely), { maxLength: 10 })
  fc.assert(
    fc.property(lines, lines, lines, (defaults, front, back) => {
      const text = `defaults\n  mode http\n${defaults.join('\n')}\nfrontend f\n${front.join('\n')}\nbackend b\n  server a 127.0.0.1:3000\n${back.join('\n')}\nbackend c\n  server a 127.0.0.1:3001 check\n`
      assertLoads(haproxy(text), text)
    }),
  )
})
