/** What a file may say about tries: retries and deadlines; and what is wrong with it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Config, RouteConfig } from './config.ts'
import { loadText } from './load.ts'

const POOLS = 'pools: { api: [http://127.0.0.1:3001], shadow: [http://127.0.0.1:3002] }\n'

function read(text: string): Config | readonly string[] {
  const result = loadText(POOLS + text, { file: 'spillway.yaml', folder: '/srv/app' }, {})
  return result.ok ? result.config : result.errors.map((line) => line.replace('spillway.yaml:', ''))
}

function routesOf(text: string): readonly RouteConfig[] {
  const config = read(text)
  assert.ok('routes' in config, JSON.stringify(config))
  return config.routes
}

function route(keys: string): RouteConfig {
  return routesOf(`routes:\n  - { match: "/*", pool: api, ${keys} }\n`)[0] as RouteConfig
}

test('hedge: after a time, or after what most requests take', () => {
  assert.deepEqual(route('hedge: { after: 100ms }').hedge, { afterMs: 100 })
  const quantiles = ['p50', 'p95', 'p99.9'].map((text) => route(`hedge: { after: ${text} }`).hedge)
  assert.deepEqual(quantiles, [{ quantile: 0.5 }, { quantile: 0.95 }, { quantile: 0.999 }])
  assert.equal(route('retry: off').hedge, undefined)
})

test('mirror: all requests, unless it says less', () => {
  assert.deepEqual(route('mirror: { pool: shadow }').mirror, { pool: 'shadow', share: 1, timeoutMs: 10_000 })
  assert.deepEqual(route('mirror: { pool: shadow, share: 2.5%, methods: [get], timeout: 1s }').mirror, {
    ...{ pool: 'shadow', share: 0.025, methods: ['GET'], timeoutMs: 1_000 },
  })
})

describe('retry', () => {
  test('nothing said: as ever, with nothing to carry', () => {
    const plain = route('mode: direct')
    assert.deepEqual([plain.retry, plain.timeoutMs, plain.firstByteMs], [undefined, undefined, undefined])
  })

  test('its defaults, and every key', () => {
    const backoff = { baseMs: 25, maxMs: 250 }
    assert.deepEqual(route('retry: {}').retry, { connectFailure: true, reset: true, timeout: false, statuses: [], backoff })
    assert.deepEqual(
      route(
        'retry: { on: [timeout, 503, 429, 503], attempts: 5, backoff: { base: 0ms, max: 1m }, methods: [post], maxBody: 1MiB }, timeout: 30s, firstByte: 5s',
      ).retry,
      {
        ...{ connectFailure: false, reset: false, timeout: true, statuses: [503, 429], tries: 5 },
        ...{ backoff: { baseMs: 0, maxMs: 60_000 }, methods: ['POST'], bodyBytesMax: 1 << 20 },
      },
    )
    const all = route('retry: { on: [5xx, 429] }').retry?.statuses ?? []
    assert.deepEqual(
      [all.length, all.includes(500), all.includes(599), all.includes(429), all.includes(400)],
      [101, true, true, true, false],
    )
    assert.deepEqual(
      [route('timeout: 30s').timeoutMs, route('timeout: none').timeoutMs, route('firstByte: 5s').firstByteMs],
      [30_000, 0, 5_000],
    )
  })

  test('off: one try, whatever happens', () => {
    assert.deepEqual(route('retry: off').retry, { connectFailure: false, reset: false, timeout: false, statuses: [], tries: 1 })
  })

  test('the global one is for routes that say nothing themselves', () => {
    const [first, second, third] = routesOf(
      'retry: { on: [502] }\nroutes:\n  - { match: /a, pool: api }\n  - { match: /b, pool: api, retry: { attempts: 2 } }\n  - { match: POST /c, pool: api, mode: queue }\n',
    )
    assert.deepEqual([first?.retry?.statuses, second?.retry?.statuses, second?.retry?.tries], [[502], [], 2])
    assert.equal(third?.retry, undefined, 'a queue has attempts of its own')
  })
})

const WRONG: Readonly<Record<string, readonly [keys: string, problem: RegExp]>> = {
  'an unknown reason': ['retry: { on: [fire] }', /routes\[0\]\.retry\.on\[0\]/],
  'a status that is no failure': ['retry: { on: [399] }', /routes\[0\]\.retry\.on\[0\]/],
  'a status that is none': ['retry: { on: [600] }', /routes\[0\]\.retry\.on\[0\]/],
  'no try at all': ['retry: { attempts: 0 }', /retry\.attempts  must be at least 1, not 0/],
  'too many tries': ['retry: { attempts: 101 }', /retry\.attempts  must be at most 100, not 101/],
  'a backoff that shrinks': ['retry: { backoff: { base: 1s } }', /retry\.backoff\.base  is longer than max/],
  'a backoff that nobody waits for': [
    'retry: { backoff: { max: 61s } }',
    /retry\.backoff\.max  must be at most 1m: a client waits meanwhile/,
  ],
  'a copy that cannot be held': ['retry: { maxBody: 1GiB }', /retry\.maxBody  is more than limits\.buffered/],
  'hedging at once': ['hedge: { after: 0s }', /hedge\.after/],
  'a quantile of the quick ones': ['hedge: { after: p49 }', /hedge\.after/],
  'a quantile that is all': ['hedge: { after: p100 }', /hedge\.after/],
  'hedging without a second try': ['retry: off, hedge: { after: 1s }', /routes\[0\]\.hedge  is a second try, and there may be only one/],
  'hedging on a queue route': ['mode: queue, hedge: { after: 1s }', /hedge  is about requests that are served at once/],
  'a mirror that is no pool': ['mirror: { pool: shadows }', /mirror\.pool  there is no pool "shadows".*did you mean shadow\?/],
  'a mirror of itself': ['mirror: { pool: api }', /mirror\.pool  is the route's own: its servers would get each request twice/],
  'a share that is nothing': ['mirror: { pool: shadow, share: 0% }', /mirror\.share/],
  'a mirror on a queue route': ['mode: queue, mirror: { pool: shadow }', /mirror  is about requests that are served at once/],
  'on a queue route': ['mode: queue, methods: [POST], retry: {}', /retry  is about requests that are served at once; a queue has attempts/],
  'a timeout on a queue route': ['mode: queue, timeout: 1s', /timeout  is about requests that are served at once/],
  'a first byte on a queue route': ['mode: queue, firstByte: 1s', /firstByte  is about requests that are served at once/],
}

for (const [what, [keys, problem]] of Object.entries(WRONG)) {
  test(`refused: ${what}`, () => {
    const said = read(`routes:\n  - { match: "/*", pool: api, ${keys} }\n`)
    assert.ok(Array.isArray(said), 'it was accepted')
    assert.equal(said.length, 1, said.join('\n'))
    assert.match(String(said[0]), problem)
  })
}
