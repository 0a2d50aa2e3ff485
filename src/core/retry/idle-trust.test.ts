import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { IdleTrust } from './idle-trust.ts'

const IDLE_MS = 4000
const MINUTE = 60_000

test('of a server of which nothing is known none is trusted, however short it was idle', () => {
  assert.equal(new IdleTrust(IDLE_MS).trusts(0, 0), false)
})

test('one that stood for a second is proof, one that stood for less is not', () => {
  const trust = new IdleTrust(IDLE_MS)
  trust.stood(999)
  assert.equal(trust.trusts(0, 0), false)
  trust.stood(1000)
  assert.equal(trust.trusts(500, 0), true)
})

test('for half of the time that they stand, and no longer', () => {
  const trust = new IdleTrust(IDLE_MS)
  trust.stood(3000)
  assert.deepEqual([trust.trusts(1500, 0), trust.trusts(1501, 0)], [true, false])
})

test('a server that closes after a fixed time, but not early, is trusted for half of it', () => {
  const trust = new IdleTrust(IDLE_MS)
  trust.stood(1900)
  trust.closed(1200, 0)
  assert.deepEqual([trust.trusts(600, 0), trust.trusts(601, 0)], [true, false])
})

test('where we close before there is a proof, that they stood until then is enough', () => {
  const trust = new IdleTrust(200)
  trust.stood(199)
  assert.equal(trust.trusts(0, 0), false)
  trust.stood(200)
  assert.deepEqual([trust.trusts(100, 0), trust.trusts(101, 0)], [true, false])
})

test('one that is closed early ends the trust, whatever the server says; it comes back with a new proof, twice as late each time', () => {
  const trust = new IdleTrust(IDLE_MS)
  let now = 0
  for (const doubtMs of [30_000, 60_000, 120_000]) {
    trust.stood(3000)
    assert.equal(trust.trusts(0, now), true)
    trust.closed(999, now)
    trust.stood(3000)
    assert.equal(trust.trusts(0, now + doubtMs - 1), false)
    now += doubtMs
    assert.equal(trust.trusts(0, now), true)
  }
  trust.closed(0, now)
  assert.equal(trust.trusts(0, now + 60 * MINUTE), false, 'the proof is gone as well')
  now += 10 * 60 * MINUTE
  trust.closed(0, now)
  trust.stood(3000)
  assert.equal(trust.trusts(0, now + 30_000), true, 'what is long ago is forgotten')
})

test('many that are closed at once, as by a restart, count as one', () => {
  const trust = new IdleTrust(IDLE_MS)
  for (let n = 0; n < 50; n++) trust.closed(n, 0)
  trust.stood(3000)
  assert.equal(trust.trusts(0, 30_000), true)
})

test('whatever happens: never trusted for longer than half of the shortest early close since the proof, nor in the time after it', () => {
  const steps = fc.array(
    fc.record({ what: fc.constantFrom('stood', 'closed'), idle: fc.nat({ max: 6000 }), later: fc.nat({ max: 20_000 }) }),
  )
  fc.assert(
    fc.property(steps, fc.nat({ max: 6000 }), (list, asked) => {
      const trust = new IdleTrust(IDLE_MS)
      let now = 0
      let stands = 0
      let doubtAt = Number.NEGATIVE_INFINITY
      for (const { what, idle, later } of list) {
        now += later
        if (what === 'stood') {
          trust.stood(idle)
          stands = Math.max(stands, idle)
        } else {
          trust.closed(idle, now)
          stands = idle < 1000 ? 0 : Math.min(stands, idle)
          if (idle < 1000) doubtAt = now
        }
        if (!trust.trusts(asked, now)) continue
        assert.ok(asked <= stands / 2 && stands >= 1000 && now - doubtAt >= 30_000)
      }
    }),
  )
})
