import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { FixedAnswer } from '../core/actions/actions.ts'
import { loadText } from './load.ts'

function errors(text: string): readonly string[] {
  const result = loadText(text, { file: 'spillway.yaml', folder: '/srv/app' }, {})
  return result.ok ? [] : result.errors.map((line) => line.replace('spillway.yaml:', ''))
}

const POOLS = 'pools: { api: [http://127.0.0.1:3001] }\n'
const route = (text: string): string => `${POOLS}routes: [{ ${text} }]\n`

/** What stands in a route, and what is said of it. */
const BAD: Readonly<Record<string, readonly [text: string, line: RegExp]>> = {
  'a rewrite of nothing': ['match: /a, rewrite: {}', /rewrite {2}says nothing: give strip, prefix, path or host/],
  'strip of what is not there': ['match: /apix, rewrite: { strip: /api }', /rewrite\.strip {2}the path \/apix does not begin with it/],
  'strip of one of two paths': ['match: { path: [/api/*, /b] }, rewrite: { strip: /api }', /strip {2}the path \/b does not begin with it/],
  'path beside strip': ['match: /api/*, rewrite: { strip: /api, path: /x }', /rewrite\.path {2}is the whole path/],
  'a query in a path': ['match: /a, rewrite: { path: "/x?y" }', /rewrite\.path {2}a path holds visible ASCII without/],
  'a path that is none': ['match: /a, rewrite: { path: x }', /rewrite\.path {2}a path begins with "\/"/],
  'a parameter that is not there': [
    'match: "/a/{id}", rewrite: { path: "/b/{ib}" }',
    /there is no \{ib\} here; there is \{id\} {2}\(did you mean \{id\}\?\)/,
  ],
  'a parameter of one of two paths': [
    'match: { path: ["/a/{id}", /b] }, rewrite: { path: "/c/{id}" }',
    /there is no \{id\} here; there are none/,
  ],
  '* of a path that has none': ['match: /a, rewrite: { path: "/b/{*}" }', /there is no \{\*\} here/],
  'a variable in a path': ['match: /a, rewrite: { path: "/{client.address}" }', /there is no \{client\.address\} here/],
  'a brace alone': ['match: /a, rewrite: { path: "/{" }', /rewrite\.path {2}has a single "\{"/],
  'a host with a path': ['match: /a, rewrite: { host: a/b }', /rewrite\.host {2}must be a host name/],
  'redirect and answer': ['match: /a, redirect: { to: /b }, answer: {}', /answer {2}a route has redirect or answer, not both/],
  'a redirect with a pool': ['match: /a, redirect: { to: /b }, pool: api', /pool {2}has no meaning on a route with redirect/],
  'a redirect that tries again': ['match: /a, redirect: { to: /b }, timeout: 5s', /timeout {2}has no meaning on a route with redirect/],
  'a redirect that queues': ['match: POST /a, redirect: { to: /b }, mode: queue', /mode {2}a route with redirect keeps no jobs/],
  'a redirect with request fields': [
    'match: /a, redirect: { to: /b }, headers: { request: { remove: [a] } }',
    /headers\.request {2}has no meaning/,
  ],
  'a redirect to what clients choose': ['match: "/a/{id}", redirect: { to: "https://{id}.example.com" }', /\{id\} could lead anywhere/],
  'a redirect whose host goes on': ['match: "/a/{id}", redirect: { to: "https://www.example.com{id}" }', /\{id\} could lead anywhere/],
  'a redirect that is no path': ['match: "/a/{id}", redirect: { to: "{id}" }', /is a path, or a URL such as/],
  'a redirect with a line end': ['match: /a, redirect: { to: "/b\\r\\nX: 1" }', /redirect\.to {2}holds visible ASCII only/],
  'another status of a redirect': ['match: /a, redirect: { to: /b, status: 304 }', /redirect\.status/],
  'a 204 with a body': ['match: /a, answer: { status: 204, body: x }', /answer\.status {2}an answer with 204 has no body/],
  'a 1xx': ['match: /a, answer: { status: 101 }', /answer\.status {2}must be at least 200/],
  'a file that is not there': ['match: /a, answer: { file: ./none }', /answer\.file {2}\.\/none cannot be read/],
  'an answer that frames itself': [
    'match: /a, answer: { headers: { Content-Length: "3" } }',
    /Content-Length belongs to the connection or frames/,
  ],
  'a hop-by-hop field': [
    'match: /a, headers: { request: { set: { Connection: close } } }',
    /headers\.request\.set\.Connection {2}Connection belongs to/,
  ],
  'one of ours': ['match: /a, headers: { request: { add: { Spillway_Job: x } } }', /Spillway_Job is the gateway's own/],
  'ours, taken away': ['match: /a, headers: { response: { remove: [Spillway-Status] } }', /spillway-status is the gateway's own/],
  'Host by hand': ['match: /a, headers: { request: { set: { Host: x } } }', /Host is set by rewrite\.host/],
  'no name': ['match: /a, headers: { response: { set: { "a b": x } } }', /a b is no header name/],
  'a line end in a value': ['match: /a, headers: { response: { set: { A: "x\\r\\nB: y" } } }', /holds visible ASCII and blanks only/],
  'set and removed': ['match: /a, headers: { response: { set: { A: x }, remove: [a] } }', /is set and removed, or set twice/],
  'the server of a request': ['match: /a, headers: { request: { set: { A: "{server.name}" } } }', /there is no \{server\.name\} here/],
  'two tests at once': ['match: { headers: { a: { prefix: x, suffix: y } } }', /match\.headers\.a {2}is one of present, prefix/],
  'no test': ['match: { query: { a: {} } }', /match\.query\.a {2}is one of present, prefix/],
  'a regular expression': ['match: { headers: { a: { regex: x } } }', /match\.headers\.a\.regex {2}unknown key/],
  'a list of no paths': ['match: { path: [] }', /match\.path {2}/],
  'a key that one of the paths lacks': [
    'match: { path: ["/a/{id}", /b] }, mode: spill, key: path:id',
    /the path \/b has no parameter \{id\}/,
  ],
}
for (const [what, [text, line]] of Object.entries(BAD)) {
  test(`${what} is refused`, () => {
    const found = errors(route(text))
    assert.ok(
      found.some((each) => line.test(each)),
      found.join('\n'),
    )
  })
}

test('two routes of which one has a host and path of the other', () => {
  const found = errors(
    `${POOLS}routes: [{ match: { host: [a.example, b.example], path: [/x, /y] } }, { match: { host: b.example, path: /y } }]\n`,
  )
  assert.match(found.join('\n'), /routes\[1\]\.match {2}matches the same requests as routes\[0\]/)
})

test('a file of as many bytes as limits.answer is read, one byte more is refused', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-answers-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'page.html'), 'x'.repeat(10))
  const read = (limit: string): ReturnType<typeof loadText> =>
    loadText(`limits: { answer: ${limit} }\nroutes: [{ match: /a, answer: { file: page.html } }]\n`, { file: 'spillway.yaml', folder }, {})
  const good = read('10B')
  const answer = (good.ok ? good.config.routes[0]?.actions?.respond : undefined) as FixedAnswer
  assert.deepEqual([String(answer.body), answer.headers], ['x'.repeat(10), ['Content-Type', 'text/html; charset=utf-8']])
  const bad = read('9B')
  assert.match(bad.ok ? '' : bad.errors.join(), /page\.html has 10 bytes, more than limits\.answer \(9\)/)
})

test('names of routes say what they match', () => {
  const text = `${POOLS}routes: [{ match: { host: [a.example, b.example], path: [/x, /y], headers: { A: { present: true }, b: { not: x } }, query: { v: [1, "2"] } } }]\n`
  const result = loadText(text.replace('[1, "2"]', '["1", "2"]'), { file: 'spillway.yaml', folder: '/' }, {})
  assert.equal(result.ok && result.config.routes[0]?.name, 'a.example,b.example/x,/y a !b=x ?v=1|2')
})
