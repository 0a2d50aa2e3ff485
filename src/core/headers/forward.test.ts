/** Which fields go on: hop-by-hop ones end here, nobody forges an address or a Spillway field, everything else passes as it came. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { endToEndHeaders, forwardRequestHeaders, forwardResponseHeaders, forwardTrailers, isLoop } from './forward.ts'
import { endsHere } from './max-forwards.ts'

const PEER = { address: '10.0.0.1', trusted: false }
const TRUSTED = { ...PEER, trusted: true }
const OPTIONS = { name: 'spillway', proto: 'http' } as const
const OURS = 5

/** Field lines as `Name: value`; Connection is what a parser would have joined. */
function flat(lines: readonly string[]): string[] {
  return lines.flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()])
}

function lines(headers: readonly string[]): string[] {
  return headers.flatMap((text, i) => (i % 2 === 0 ? [`${text}: ${headers[i + 1]}`] : []))
}

function connectionOf(headers: readonly string[]): string {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'connection').join(', ')
}

function forward(
  came: readonly string[],
  peer: typeof PEER = PEER,
  facts: { method?: string; host?: string; minor?: 0 | 1 } = {},
): string[] {
  const headers = flat(came)
  return lines(
    forwardRequestHeaders({ method: 'GET', headers, host: 'a', minor: 1, connection: connectionOf(headers), ...facts }, peer, OPTIONS),
  )
}

/** What is left of what came, without what we add. */
function passed(came: readonly string[], peer: typeof PEER = PEER): string[] {
  return forward(came, peer).slice(0, -OURS)
}

const ADDED = [
  ...['Via: 1.1 spillway', 'X-Forwarded-For: 10.0.0.1', 'X-Forwarded-Proto: http', 'X-Forwarded-Host: a'],
  ...['Forwarded: for=10.0.0.1;host=a;proto=http'],
]

test('what is none of our business passes as it came, in its order, and this hop is written behind it', () => {
  const came = [
    ...['Host: a', 'Cookie: a', 'cookie: b', 'X-A: 1', 'x-a: 2', 'X_Y: z', 'Trailer: T', 'Spillwa-Y: 1', 'Xforwarded-For: 1'],
    ...['Authorization: x'],
  ]
  assert.deepEqual(forward(came), [...came, ...ADDED])
  assert.equal(ADDED.length, OURS)
})

const HOP_BY_HOP = [
  ...['Connection: close', 'Keep-Alive: timeout=5', 'Proxy-Connection: x', 'TE: trailers', 'Transfer-Encoding: chunked', 'Upgrade: x'],
  ...['Content-Length: 5', 'Expect: 100-continue'],
]
/** Of no meaning, but for `Z`, and without an `X-`. */
const name = fc
  .stringMatching(/^[a-wyA-WY][a-zA-Z]{0,15}(?:-[a-z]{1,8})?$/)
  .filter((text) => !/^(?:via|te|host|cookie|expect|upgrade)$/i.test(text))

function spelled(text: string, upper: readonly boolean[]): string {
  return Array.from(text, (char, i) => (upper[i % upper.length] === true ? char.toUpperCase() : char.toLowerCase())).join('')
}

const spelling = fc.array(fc.boolean(), { minLength: 1, maxLength: 7 })

test('hop-by-hop fields end here in either direction, in any spelling, also with _ for -', () => {
  for (const line of [...HOP_BY_HOP, ...HOP_BY_HOP.map((field) => field.replace(/-(?=.*:)/, '_'))]) {
    fc.assert(
      fc.property(spelling, (upper) => {
        const field = line.replace(/^[^:]+/, (text) => spelled(text, upper))
        assert.deepEqual(passed(['X: 1', field, 'Y: 2']), ['X: 1', 'Y: 2'])
        assert.deepEqual(lines(forwardResponseHeaders(flat(['X: 1', field, 'Y: 2']))), ['X: 1', 'Y: 2'])
      }),
      { numRuns: 20 },
    )
  }
})

/** What Connection cannot take away. */
const PROTECTED = ['Host: a', 'Content-Type: a/b', 'Cookie: c', 'Authorization: d', 'Idempotency-Key: e']

test('what Connection names ends here, in any spelling and any of its fields, and nothing else does', () => {
  const names = fc.uniqueArray(name, { minLength: 1, maxLength: 6, selector: (text) => text.toLowerCase() })
  fc.assert(
    fc.property(names, spelling, fc.nat(6), (all, upper, count) => {
      const [gone, kept] = [all.slice(0, count), all.slice(count)]
      const connection = gone.map((text) => `Connection: , ${spelled(text, upper)} \t,close`)
      const came = [...connection, ...all.map((text) => `${text}: 1`), 'Z: w']
      const expected = [...kept.map((text) => `${text}: 1`), 'Z: w']
      assert.deepEqual(passed(came), expected)
      assert.deepEqual(lines(forwardResponseHeaders(flat(came), connectionOf(flat(came)))), expected)
    }),
    { numRuns: 500 },
  )
})

test('Connection takes away neither who asks for what, nor what we say about the hop', () => {
  const names = 'Host, Content-Type, Cookie, Authorization, Idempotency-Key, Via, Forwarded, X-Forwarded-For, X-Forwarded-Host, X-Real-IP'
  assert.deepEqual(forward([`Connection: ${names}`, ...PROTECTED]), [...PROTECTED, ...ADDED])
  const before = ['Via: 1.0 b', 'X-Forwarded-For: 1.1.1.1', 'X-Real-IP: 1.1.1.1', 'Forwarded: for=1.1.1.1']
  assert.deepEqual(forward([`Connection: ${names}`, ...before], TRUSTED), forward(before, TRUSTED))
})

test('a Spillway field of a client goes in any spelling, with - and with _', () => {
  for (const field of [
    ...['Spillway-Job: j', 'SPILLWAY-FENCE: 9', 'spillway_report: u', 'Spillway_Key: k', 'spillway-: x', 'Spillway_: x'],
    ...['Spillway-a_b: x'],
  ])
    for (const peer of [PEER, TRUSTED])
      for (const connection of ['close', 'y']) assert.deepEqual(passed([`Connection: ${connection}`, 'X: 1', field], peer), ['X: 1'], field)
  assert.deepEqual(passed(['Spillway: x', 'Spill-Way: y', 'X-Spillway-Key: z']), ['Spillway: x', 'Spill-Way: y', 'X-Spillway-Key: z'])
})

const ADDRESSES = [
  ...['Forwarded: for=9.9.9.9', 'X-Forwarded-For: 9.9.9.9', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: evil', 'X-Forwarded-Port: 9'],
  ...['X-Real-IP: 9.9.9.9'],
]

test('nobody but a trusted peer says where a request comes from, in no spelling', () => {
  for (const line of ADDRESSES) {
    fc.assert(
      fc.property(spelling, fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), (upper, underlines) => {
        let dash = 0
        const field = line.replace(/^[^:]+/, (text) =>
          spelled(text, upper).replaceAll('-', () => (underlines[dash++] === true ? '_' : '-')),
        )
        assert.deepEqual(forward(['X: 1', field]), ['X: 1', ...ADDED])
        // What a server might read as the real one does not come from a trusted peer either.
        if (field.includes('_')) assert.deepEqual(forward(['X: 1', field], TRUSTED), ['X: 1', ...ADDED])
      }),
      { numRuns: 30 },
    )
  }
})

test('what a trusted peer says is believed, and this hop is added to it', () => {
  assert.deepEqual(forward(ADDRESSES, TRUSTED), [
    ...['X-Forwarded-Port: 9', 'X-Real-IP: 9.9.9.9', 'Via: 1.1 spillway', 'X-Forwarded-For: 9.9.9.9, 10.0.0.1'],
    ...['X-Forwarded-Proto: https', 'X-Forwarded-Host: evil', 'Forwarded: for=9.9.9.9, for=10.0.0.1;host=a;proto=http'],
  ])
})

test('former hops stay in their order, also from several fields, and an empty field adds no hop', () => {
  const came = [
    ...['Via: 1.0 a, 1.1 b', 'X-Forwarded-For: 1.1.1.1', 'Via:', 'via: 1.1 c', 'x-forwarded-for: 2.2.2.2, 3.3.3.3', 'X-Forwarded-For:'],
    ...['Forwarded:'],
  ]
  const out = forward(came, TRUSTED)
  assert.deepEqual(out.slice(0, 2), ['Via: 1.0 a, 1.1 b, 1.1 c, 1.1 spillway', 'X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1'])
  assert.equal(out.at(-1), ADDED.at(-1))
  // Anybody may tell of a Via: it opens nothing, and shows loops.
  assert.equal(forward(['Via: 1.1 a'])[0], 'Via: 1.1 a, 1.1 spillway')
})

test('an HTTP/1.0 request is told as one, and gets a Host where it has none', () => {
  assert.deepEqual(forward(['X: 1'], PEER, { host: '', minor: 0 }), [
    ...['X: 1', 'Via: 1.0 spillway', 'X-Forwarded-For: 10.0.0.1', 'X-Forwarded-Proto: http', 'Host: spillway'],
    'Forwarded: for=10.0.0.1;proto=http',
  ])
})

test('in Forwarded, an IPv6 address has brackets and quotes, a host with a port has quotes', () => {
  const element = (address: string, host: string): string | undefined => forward([], { address, trusted: false }, { host }).at(-1)
  assert.equal(element('::1', '[::1]:80'), 'Forwarded: for="[::1]";host="[::1]:80";proto=http')
  assert.equal(element('10.0.0.2', 'a.b-c_d:80'), 'Forwarded: for=10.0.0.2;host="a.b-c_d:80";proto=http')
  assert.equal(element('10.0.0.2', 'a.b-c_d'), 'Forwarded: for=10.0.0.2;host=a.b-c_d;proto=http')
  // The one before is kept; it must not be taken for another.
  assert.equal(element('10.0.0.3', 'a.b-c_d'), 'Forwarded: for=10.0.0.3;host=a.b-c_d;proto=http')
  assert.equal(element('10.0.0.3', 'e'), 'Forwarded: for=10.0.0.3;host=e;proto=http')
})

test('an answer passes as it came, each Set-Cookie by itself, less what steers the gateway', () => {
  const came = ['Set-Cookie: a=b', 'Server: x', 'set-cookie: c=d, e', 'Date: today', 'Via: 1.1 b', 'X-Forwarded-For: y', 'Forwarded: z']
  const steering = ['Spillway-Retry: no', 'SPILLWAY-ANYTHING: x', 'spillway-: y', 'Spillway_Status: z', 'spillway_job-: z']
  assert.deepEqual(lines(forwardResponseHeaders(flat([...steering, ...came]))), came)
  assert.deepEqual(lines(endToEndHeaders(flat([...steering, ...came, 'Connection: close']), 'close')), [...steering, ...came])
  assert.deepEqual(lines(endToEndHeaders(flat([...steering, ...came, 'Connection: server']), 'server')), [
    ...steering,
    ...came.filter((line) => line !== 'Server: x'),
  ])
})

test('trailers pass without what frames, routes, authenticates or forges', () => {
  const pass = ['Digest: a', 'X: b', 'Via-X: c', 'X_Y: d']
  const stay = [
    ...['Host: a', 'Authorization: b', 'Cookie: c', 'Set-Cookie: d', 'Cache-Control: e', 'Content-Type: f', 'Content-Encoding: g'],
    ...['Content-Range: h'],
    ...['Trailer: i', 'Content-Length: 5', 'TRANSFER-ENCODING: chunked', 'Connection: close', 'te: j', 'Upgrade: k', 'Expect: l'],
    ...['Keep-Alive: m'],
    ...['Spillway-Fence: 9', 'spillway_fence: 9', ...ADDRESSES, 'X_Forwarded_For: 9.9.9.9', 'x-real_ip: 9.9.9.9'],
  ]
  assert.deepEqual(lines(forwardTrailers(flat([...stay, ...pass]), '')), pass)
  assert.deepEqual(forwardTrailers([], 'x'), [])
  assert.deepEqual(lines(forwardTrailers(flat(pass), 'close, DIGEST,x')), pass.slice(2))
})

test('OPTIONS counts its hops down, the others do not', () => {
  for (const [came, goes] of [
    ['1', '0'],
    ['010', '9'],
    ['9'.repeat(400), '65535'],
    ['-1', '-1'],
    ['x', 'x'],
    ['', ''],
  ]) {
    assert.deepEqual(forward([`Max-Forwards: ${came}`], PEER, { method: 'OPTIONS' }).slice(0, -OURS), [`Max-Forwards: ${goes}`])
    assert.deepEqual(passed([`Max-Forwards: ${came}`]), [`Max-Forwards: ${came}`])
  }
})

test('a request ends where its number is 0, in whichever line', () => {
  for (const headers of [
    ['Max-Forwards', '0'],
    ['max-forwards', '000'],
    ['Max-Forwards', '5', 'MAX-FORWARDS', '0'],
  ])
    assert.ok(endsHere(headers))
  for (const headers of [[], ['Max-Forwards', '1'], ['Max-Forwards', ''], ['Max-Forwards', '-0'], ['X-Max-Forwards', '0']])
    assert.ok(!endsHere(headers))
})

test('the same gateway up to eight times is a chain, nine times a loop', () => {
  const via = (hops: number): string[] => ['Via', Array.from({ length: hops }, () => '1.1 spillway').join(', ')]
  assert.ok(!isLoop([...via(8), 'Via', '1.1 spillway2, 1.1 other (spillway)', 'X-Via', '1.1 spillway', 'Vio', '1.1 spillway'], 'spillway'))
  assert.ok(isLoop(via(9), 'spillway'))
  assert.ok(isLoop([...via(4), 'VIA', '1.0  spillway (c)', ...via(4)], 'spillway'))
  assert.ok(!isLoop(via(9), 'other'))
})
