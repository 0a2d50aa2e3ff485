/** Webhooks in a configuration: what is filled in, and what is said of what is wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from './config.ts'
import { type LoadResult, loadText } from './load.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

function load(webhooks: string, more = ''): LoadResult {
  const base =
    'pools: { api: [http://127.0.0.1:3001] }\nroutes: [{ match: POST /reports, mode: queue }]\njobs: { publicUrl: https://api.example }\n'
  const section = webhooks === '' ? '' : `webhooks:\n${webhooks.replaceAll(/^/gm, '  ')}`
  return loadText(`${more === '' ? base : more}${section}`, { file: 'x.yaml', folder: '/srv' }, { HOOK_SECRET: SECRET })
}

function config(webhooks: string, more?: string): Config {
  const result = load(webhooks, more)
  assert.ok(result.ok, JSON.stringify(result))
  return result.config
}

function errors(webhooks: string, more?: string): string {
  const result = load(webhooks, more)
  assert.ok(!result.ok)
  return result.errors.join('\n')
}

test('an endpoint needs a URL and a secret; the rest has defaults', () => {
  const { webhooks, queues } = config('endpoints: { billing: { url: "https://billing.example/hooks", secret: "${HOOK_SECRET}" } }')
  assert.deepEqual(webhooks?.endpoints, [
    {
      name: 'billing',
      url: 'https://billing.example/hooks',
      secrets: [SECRET],
      events: ['job.succeeded', 'job.failed', 'job.cancelled', 'job.expired', 'batch.ended'],
      order: 'none',
      timeoutMs: 30_000,
      headers: {},
    },
  ])
  assert.deepEqual(webhooks?.retriesMs, [5000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000])
  const queue = queues.find(({ name }) => name === 'webhooks')
  assert.deepEqual(
    [queue?.attempts, queue?.pull, queue?.pool, queue?.rules.maxRunning, queue?.rules.tenantMaxRunning],
    [8, false, undefined, 64, 8],
  )
})

test('without the section there is nothing; an empty one is enough for the API', () => {
  const without = config('')
  assert.deepEqual([without.webhooks, without.queues.map(({ name }) => name)], [undefined, ['reports']])
  assert.deepEqual(
    config('{}').queues.map(({ name }) => name),
    ['reports', 'webhooks'],
  )
})

test('what is wrong is said with its place, and never with a secret', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['endpoints: { a: { url: "https://x.example/" } }', /webhooks\.endpoints\.a {2}needs a secret; make one with: echo "whsec_/],
    [
      'endpoints: { a: { url: "https://x.example/", secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZ } }',
      /secret {2}must be whsec_ and 24 to 64 random bytes/,
    ],
    ['endpoints: { a: { url: "https://x.example/", secret: whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw } }', /secret {2}must be whsec_/],
    [`endpoints: { a: { url: "https://x.example/", secret: ${SECRET}, secrets: [${SECRET}] } }`, /secrets {2}there is a secret, too/],
    [`endpoints: { a: { url: "http://x.example/", secret: ${SECRET} } }`, /url {2}must begin with https/],
    [`endpoints: { a: { url: "https://10.0.0.1/", secret: ${SECRET} } }`, /url {2}is a private address; name it in webhooks\.allow/],
    [
      `endpoints: { a: { url: "https://u:${SECRET}@x.example/", secret: ${SECRET} } }`,
      /url {2}"https:\/\/\*\*\*@x\.example\/" must not hold a user name or a password/,
    ],
    [
      `endpoints: { a: { url: "https://x.example/", secret: ${SECRET}, event: [job.failed] } }`,
      /event {2}unknown key {2}\(did you mean events\?\)/,
    ],
    ['allow: [10.0.0.0/33]', /allow\[0\] {2}must be an address, a network such as 10\.0\.0\.0\/8, or the name of a host/],
    ['callbacks: { urls: ["https://x.example"] }', /urls\[0\] {2}"https:\/\/x\.example" has no path; write \/\* at its end for any/],
    ['callbacks: { urls: ["https://x.example/*"] }', /webhooks\.callbacks {2}needs a secret/],
    ['queue: reports', /webhooks\.queue {2}a route or queues has a queue "reports" already/],
    ['retries: []', /retries/],
  ]
  for (const [section, wrong] of cases) {
    const said = errors(section)
    assert.match(said, wrong)
    assert.ok(!said.includes('MfKQ9r8GKYqrTwjUPD8ILPZ'), said)
  }
})

test('lists are as long as they may be, and no longer', () => {
  const endpoint = (rest: string): string => `endpoints: { a: { url: "https://x.example/", ${rest} } }`
  const many = (count: number, text: string): string => `[${new Array<string>(count).fill(text).join(', ')}]`
  const cases: readonly (readonly [number, (count: number) => string, RegExp])[] = [
    [10, (count) => endpoint(`secrets: ${many(count, SECRET)}`), /secrets/],
    [100, (count) => endpoint(`secret: ${SECRET}, queues: ${many(count, 'q')}`), /queues/],
    [100, (count) => endpoint(`secret: ${SECRET}, routes: ${many(count, '/x')}`), /routes/],
    [100, (count) => `retries: ${many(count, '1s')}`, /retries/],
  ]
  for (const [max, section, where] of cases) {
    config(section(max))
    assert.match(errors(section(max + 1)), where)
  }
})

test('the queue has room for any webhook', () => {
  const room = 6 * 1024 * 1024 + 256 * 1024
  config(`{ inline: 1MiB, limits: { bytes: ${room}B } }`)
  assert.match(errors(`{ inline: 1MiB, limits: { bytes: ${room - 1}B } }`), /webhooks\.limits\.bytes {2}must be at least 6553600 bytes/)
})

test('a route that allows callbacks needs to be told where they may go', () => {
  const route = 'pools: { api: [http://127.0.0.1:3001] }\nroutes: [{ match: POST /reports, mode: queue, allow: [callback] }]\n'
  assert.match(errors('', route), /routes\[0\]\.allow {2}callback needs webhooks\.callbacks/)
  const { routes } = config(`callbacks: { urls: ["https://*.example.com/*"], secret: ${SECRET} }`, route)
  assert.deepEqual(
    routes[0]?.callbacks?.map(({ text }) => text),
    ['https://*.example.com/*'],
  )
})

test('links that lead nowhere are warned of', () => {
  const result = load('{}', 'pools: { api: [http://127.0.0.1:3001] }\nroutes: [{ match: POST /reports, mode: queue }]\n')
  assert.ok(result.ok)
  assert.match(result.warnings.join('\n'), /webhooks {2}links in webhooks are paths only; set jobs\.publicUrl/)
})
