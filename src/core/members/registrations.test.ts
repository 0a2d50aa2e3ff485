import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isTtlAllowed, nextEnd, readRegistration, type Registration, registering, silent } from './registrations.ts'

const registration = fc.record({ weight: fc.integer({ min: 1, max: 1000 }), ttlMs: fc.integer({ min: 1, max: 1000 }), until: fc.nat(1000) })
const known = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), registration).map((all) => new Map(Object.entries(all)))

test('of any that come, so many as may are registered, and who is registered never finds the pool full', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e')), fc.nat(4), (names, max) => {
      const now = new Map<string, Registration>()
      for (const name of names) {
        const wasIn = now.has(name)
        const outcome = registering(now, name, { asked: { weight: 1, ttlMs: 1 }, max })
        assert.equal(outcome, wasIn ? 'again' : now.size === max ? 'too-many' : 'new')
        if (outcome === 'new') now.set(name, { weight: 1, ttlMs: 1, until: 1 })
      }
      assert.equal(now.size, Math.min(max, new Set(names).size))
    }),
  )
})

test('another weight is a change, another time is none', () => {
  const now = new Map([['a', { weight: 2, ttlMs: 5, until: 9 }]])
  assert.equal(registering(now, 'a', { asked: { weight: 3, ttlMs: 5 }, max: 0 }), 'changed')
  assert.equal(registering(now, 'a', { asked: { weight: 2, ttlMs: 6 }, max: 0 }), 'again')
})

test('nobody is silent before the next end, and somebody is at it', () => {
  fc.assert(
    fc.property(known, (all) => {
      const next = nextEnd([all])
      assert.equal(next === undefined, all.size === 0)
      if (next === undefined) return
      assert.deepEqual(silent(all, next - 1), [])
      assert.ok(silent(all, next).length > 0)
      assert.equal(silent(all, 1000).length, all.size)
    }),
  )
})

test('the shortest and the longest time are allowed, and nothing outside of them', () => {
  const rules = { ttlMinMs: 5, ttlMaxMs: 9 }
  assert.deepEqual(
    [4, 5, 9, 10].map((ttlMs) => isTtlAllowed(ttlMs, rules)),
    [false, true, true, false],
  )
})

test('what was kept is read again; anything else is nobody', () => {
  fc.assert(
    fc.property(registration, ({ weight, ttlMs }) => {
      assert.deepEqual(readRegistration(JSON.stringify({ weight, ttlMs })), { weight, ttlMs })
    }),
  )
  for (const wrong of [
    '',
    '1',
    '{}',
    '{"weight":0,"ttlMs":1}',
    '{"weight":1,"ttlMs":0}',
    '{"weight":1,"ttlMs":"1"}',
    '{"weight":1,"ttlMs":1.5}',
  ])
    assert.equal(readRegistration(wrong), undefined, wrong)
})
