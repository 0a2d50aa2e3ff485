import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { afterFreeSlot, afterLook, afterSpill, DIRECT, type ModeTimes, type RouteMode } from './route-mode.ts'

const TIMES: ModeTimes = { enterMs: 100, leaveMs: 5000 }

test('at once when no server is up', () => {
  assert.equal(afterSpill(DIRECT, 7, 'no_server', TIMES).mode, 'queue')
})

test('when all have waited in vain for as long as `enter`, and not a millisecond before', () => {
  const first = afterSpill(DIRECT, 1000, 'capacity', TIMES)
  assert.equal(first.mode, 'direct')
  assert.equal(afterSpill(first, 1099, 'capacity', TIMES).mode, 'direct')
  assert.equal(afterSpill(first, 1100, 'capacity', TIMES).mode, 'queue')
})

test('somebody who is served ends the pressure', () => {
  const state = afterFreeSlot(afterSpill(DIRECT, 1000, 'capacity', TIMES))
  assert.equal(afterSpill(state, 1200, 'capacity', TIMES).mode, 'direct')
})

test('two single requests long apart are no pressure', () => {
  const first = afterSpill(DIRECT, 1000, 'capacity', TIMES)
  assert.equal(afterSpill(first, 6001, 'capacity', TIMES).mode, 'direct')
  assert.equal(afterSpill(first, 6000, 'capacity', TIMES).mode, 'queue')
})

test('with `enter: 0ms` the first one is enough', () => {
  assert.equal(afterSpill(DIRECT, 1000, 'capacity', { ...TIMES, enterMs: 0 }).mode, 'queue')
})

test('it leaves when there was no reason to queue for as long as `leave`, and not a millisecond before', () => {
  const queueing = afterSpill(DIRECT, 1000, 'no_server', TIMES)
  assert.equal(afterLook(queueing, 5999, TIMES), queueing)
  assert.equal(afterLook(queueing, 6000, TIMES), DIRECT)
  const again = afterSpill(queueing, 5999, 'capacity', TIMES)
  assert.equal(afterLook(again, 10_998, TIMES).mode, 'queue')
  assert.equal(afterLook(again, 10_999, TIMES).mode, 'direct')
  const single = afterSpill(afterFreeSlot(queueing), 5999, 'capacity', TIMES)
  assert.equal(afterLook(single, 6000, TIMES).mode, 'direct', 'one among others that are served is no reason')
})

const history = fc.array(
  fc.record({
    afterMs: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 8000 })),
    what: fc.constantFrom('no_server', 'capacity', 'capacity', 'slot', 'look', 'look'),
  }),
  { maxLength: 200 },
)

test('whatever happens it never flaps: between two beginnings lies at least the time that it takes to leave', () => {
  fc.assert(
    fc.property(history, (steps) => {
      let [state, now, entered]: [RouteMode, number, number] = [DIRECT, 0, Number.NEGATIVE_INFINITY]
      for (const { afterMs, what } of steps) {
        now += afterMs
        const before = state.mode
        if (what === 'slot') state = afterFreeSlot(state)
        else if (what === 'look') state = afterLook(state, now, TIMES)
        else state = afterSpill(state, now, what, TIMES)
        if (before === 'direct' && state.mode === 'queue') {
          assert.ok(now - entered >= TIMES.leaveMs, `${entered} and ${now}`)
          entered = now
        }
        if (before === 'queue' && state.mode === 'direct') assert.equal(what, 'look')
      }
      assert.equal(afterLook(state, now + TIMES.leaveMs, TIMES).mode, 'direct', 'it always comes back when the trigger is gone')
    }),
  )
})
