import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { parsePrefer, parsePreferences } from './prefer.ts'

test('what clients send is understood', () => {
  assert.deepEqual(parsePreferences(['respond-async']), { respondAsync: true, events: false })
  assert.deepEqual(parsePreferences(['respond-async, wait=10']), { respondAsync: true, events: false, waitMs: 10_000 })
  assert.deepEqual(parsePreferences(['Respond-Async', 'Wait = 10', 'events']), { respondAsync: true, events: true, waitMs: 10_000 })
  assert.deepEqual(parsePreferences(['wait="10"; x=y;z, events;foo="a,b"']), { respondAsync: false, events: true, waitMs: 10_000 })
  assert.deepEqual(parsePreferences(['return=minimal, handling=lenient']), { respondAsync: false, events: false })
  assert.deepEqual(parsePreferences([]), { respondAsync: false, events: false })
})

test('of a preference that is given twice the first counts', () => {
  assert.equal(parsePreferences(['wait=1', 'wait=2']).waitMs, 1000)
})

test('a member that cannot be understood is as if it were absent, and does not spoil its neighbours', () => {
  assert.deepEqual(parsePreferences(['wait=ten, respond-async']), { respondAsync: true, events: false })
  assert.deepEqual(parsePreferences(['wait=1.5, events']), { respondAsync: false, events: true })
  assert.deepEqual(parsePreferences(['wait=-1']), { respondAsync: false, events: false })
  assert.deepEqual(parsePreferences(['wait=9999999']), { respondAsync: false, events: false })
  assert.deepEqual(parsePreferences(['respond async, =x, "respond-async", events']), { respondAsync: false, events: true })
  assert.deepEqual(parsePreferences(['foo="respond-async, events"']), { respondAsync: false, events: false })
  assert.deepEqual(parsePreferences(['foo="unclosed, respond-async']), { respondAsync: true, events: false })
})

test('quoted values are unescaped', () => {
  assert.equal(parsePrefer('a="x\\"y\\\\z"').get('a'), 'x"y\\z')
})

test('a header of nothing but members stays within its bound', () => {
  assert.equal(parsePrefer(Array.from({ length: 1000 }, (_, i) => `p${i}`).join(',')).size, 32)
})

test('any text is taken without an error', () => {
  const piece = fc.constantFrom(',', ';', '=', '"', '\\', ' ', 'wait', 'respond-async', '10', 'é')
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 60 }), (pieces) => {
      const preferences = parsePreferences([pieces.join('')])
      assert.equal(typeof preferences.respondAsync, 'boolean')
    }),
  )
})

test('a quote that is never closed costs one look at what follows it, however many there are', () => {
  // A second one for each quote would take minutes here.
  const text = `wait=1,${'"\\'.repeat(500_000)},respond-async`
  assert.deepEqual(parsePreferences([text]), { respondAsync: true, events: false, waitMs: 1000 })
})

test('a quote that is escaped opens and closes nothing', () => {
  assert.deepEqual(parsePreferences(['foo="\\", events, \\"", respond-async']), { respondAsync: true, events: false })
  assert.deepEqual(parsePreferences(['foo="\\", events', 'wait=3']), { respondAsync: false, events: true, waitMs: 3000 })
})
