import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { ERRORS } from '../errors.ts'
import { type EndFacts, TERMINATIONS, terminationOf } from './termination.ts'

const FACTS: EndFacts = { phase: 'server', gone: false, requestComplete: true, responseStarted: true, status: 200 }

const CASES: readonly (readonly [expected: string, facts: Partial<EndFacts>])[] = [
  ['ok', {}],
  ['ok', { status: 500 }],
  ['ok', { status: 202 }],
  ['accepted', { status: 202, job: 'j1' }],
  ['ok', { status: 200, job: 'j1' }],
  ['tunnel', { status: 101 }],
  ['redirected', { status: 308, by: 'redirect' }],
  ['fixed-answer', { status: 503, by: 'answer' }],
  ['client-left-request', { gone: true, requestComplete: false, responseStarted: false }],
  ['client-left-waiting', { gone: true, responseStarted: false, phase: 'waiting' }],
  ['client-left-server', { gone: true, responseStarted: false, phase: 'server' }],
  ['client-left-response', { gone: true }],
  ['client-left-held', { gone: true, responseStarted: false, phase: 'held' }],
  ['client-left-gateway', { gone: true, responseStarted: false, phase: 'gateway' }],
  ['client-slow-request', { gone: true, error: 'timeout', status: 408 }],
  ['client-bad-framing', { gone: true, error: 'bad-framing', status: 400 }],
  ['server-reset-before-head', { error: 'connection_reset', status: 502 }],
  ['server-reset-body', { error: 'connection_reset', status: 200 }],
  ['refused', { error: 'bad_path', status: 400 }],
  ['gateway-error', { error: 'internal', status: 500 }],
]
for (const [expected, facts] of CASES)
  test(`${JSON.stringify(facts)} is ${expected}`, () => assert.equal(terminationOf({ ...FACTS, ...facts }), expected))

test('whatever the facts, there is one of the known words for them', () => {
  const facts = fc.record({
    phase: fc.constantFrom('gateway', 'waiting', 'server', 'response', 'held'),
    gone: fc.boolean(),
    requestComplete: fc.boolean(),
    responseStarted: fc.boolean(),
    status: fc.constantFrom(0, 101, 200, 202, 400, 404, 502, 503),
    error: fc.constantFrom(undefined, 'timeout', 'bad-framing', 'client-gone', ...Object.keys(ERRORS)),
    by: fc.constantFrom(undefined, 'redirect', 'answer'),
    job: fc.constantFrom(undefined, 'j1'),
  })
  fc.assert(fc.property(facts, (each) => assert.ok(TERMINATIONS.includes(terminationOf(each as EndFacts)))))
})

test('docs/access-log.md explains each of them', () => {
  const text = readFileSync(new URL('../../../docs/access-log.md', import.meta.url), 'utf8')
  const told = [...text.slice(text.indexOf('## How calls end')).matchAll(/^\| `([a-z-]+)` +\| .+ \| .+ \|$/gm)].map(([, name]) => name)
  assert.deepEqual(told.sort(), [...TERMINATIONS].sort())
})
