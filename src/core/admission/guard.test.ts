import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { CALM, type GuardLevel, type GuardState, isShed, nextGuardState, NO_PRESSURE, pressureOf, smoothedDelay } from './guard.ts'

const RULES = { loopDelay: { from: 200, full: 800 }, memory: { from: 0.8, full: 0.9 }, sockets: { from: 0.8, full: 0.9 } }

test('the signal that presses most is the pressure, and what is unknown or off does not press', () => {
  const near = (signals: Parameters<typeof pressureOf>[0], rules = RULES as Parameters<typeof pressureOf>[1]): unknown[] => {
    const { value, signal } = pressureOf(signals, rules)
    return [Math.round(value * 1000) / 1000, signal]
  }
  assert.deepEqual(near({ loopDelay: 200, memory: 0.5, sockets: 0.5 }), [0, 'loopDelay'])
  assert.deepEqual(near({ loopDelay: 500, memory: 0.88, sockets: 0.1 }), [0.8, 'memory'])
  assert.deepEqual(near({ loopDelay: 0, memory: Number.NaN, sockets: 1 }), [2, 'sockets'])
  assert.deepEqual(pressureOf({ loopDelay: 5000, memory: 1, sockets: Number.NaN }, { sockets: RULES.sockets }), NO_PRESSURE)
})

function levels(steps: readonly (readonly [pressure: number, afterMs: number])[]): GuardLevel[] {
  let state: GuardState = CALM
  let now = 0
  return steps.map(([pressure, afterMs]) => {
    now += afterMs
    state = nextGuardState(state, pressure, now)
    return state.level
  })
}

test('up at once; down by one step each when the pressure was well below for a second', () => {
  assert.deepEqual(
    levels([
      [-0.01, 0],
      [0, 100],
      [0.34, 100],
      [0.24, 100],
      [0.23, 100],
      [0.23, 999],
      [0.23, 1],
      [-0.2, 100],
      [-0.2, 999],
      [-0.2, 1],
    ]),
    ['calm', 'slow', 'shed', 'shed', 'shed', 'shed', 'slow', 'slow', 'slow', 'calm'],
  )
  assert.deepEqual(levels([[5, 0]]), ['shed'])
})

test('a moment of pressure begins the second anew', () => {
  assert.deepEqual(
    levels([
      [0, 0],
      [-1, 100],
      [-0.05, 900],
      [-1, 100],
      [-1, 999],
      [-1, 1],
    ]),
    ['slow', 'slow', 'slow', 'slow', 'slow', 'calm'],
  )
})

test('whatever the pressure: more of it refuses no fewer, more urgent ones are refused later, and the highest only at full', () => {
  const pressure = fc.double({ min: -1, max: 3, noNaN: true })
  fc.assert(
    fc.property(pressure, pressure, fc.nat({ max: 8 }), (a, b, priority) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)]
      assert.ok(!isShed(priority, low) || isShed(priority, high))
      assert.ok(!isShed(priority + 1, low) || isShed(priority, low))
      assert.equal(isShed(9, low), low >= 1)
      if (low < 1 / 3) assert.equal(isShed(0, low), false)
    }),
  )
})

test('a lasting delay is seen within a second, one long pause is over soon, and no delay is none', () => {
  const tick = (before: number, lateMs: number): number => smoothedDelay(before, { lateMs, tickMs: 100, fullMs: 800 })
  let delay = 0
  for (let n = 0; n < 10; n++) delay = tick(delay, 300)
  assert.ok(delay > 250 && delay <= 300, String(delay))
  const paused = tick(0, 60_000)
  assert.ok(paused < 200, `${paused}: below where anything is done`)
  for (let n = 0; n < 20; n++) delay = tick(delay, 0)
  assert.ok(delay < 10, String(delay))
})
