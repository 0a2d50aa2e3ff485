import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { afterWindow, beginPace, jobsAllowed, LIVE_QUIET_MS, type LiveWindow, type Pace, restartPace } from './drain-pace.ts'

const CALM: LiveWindow = { came: 100, waited: 0, refused: 0, tookMs: 20, jobs: true }
const STEP_MS = 500

/** Looks once per interval. */
function looked(pace: Pace, windows: readonly LiveWindow[], max = 64): Pace {
  return windows.reduce((before, window, i) => afterWindow(before, (i + 1) * STEP_MS, window, { max, steps: 1 }), pace)
}

function growth(pace: Pace, times: number, max = 64): number[] {
  return Array.from({ length: times }, (_, i) => looked(pace, Array<LiveWindow>(i + 1).fill(CALM), max).allowed)
}

test('after an outage it begins with one and doubles', () => {
  assert.deepEqual([beginPace(0).allowed, ...growth(beginPace(0), 7)], [1, 2, 4, 8, 16, 32, 64, 64])
})

for (const [why, trouble] of [
  ['live requests found no free slot', { waited: 1 }],
  ['a server said "not now"', { refused: 1 }],
  ['answers take clearly longer', { tookMs: 51 }],
] as const) {
  test(`it halves when ${why}, and grows by one from there`, () => {
    const halved = looked(beginPace(0), [...Array<LiveWindow>(6).fill(CALM), { ...CALM, ...trouble }])
    assert.equal(halved.allowed, 32)
    assert.deepEqual(growth(halved, 3), [33, 34, 35])
  })
}

test('what is not clearly longer is noise, and without jobs in flight it is not their doing', () => {
  const grown = looked(beginPace(0), Array<LiveWindow>(6).fill(CALM))
  assert.equal(looked(grown, [{ ...CALM, tookMs: 50 }]).allowed, 64)
  assert.equal(looked(grown, [{ ...CALM, tookMs: 500, jobs: false }]).allowed, 64)
  assert.equal(looked(grown, [{ ...CALM, tookMs: undefined }]).allowed, 64)
})

test('what takes longer for long without any job becomes the normal time', () => {
  const before = looked(beginPace(0), Array<LiveWindow>(6).fill(CALM))
  const slower = looked(before, Array<LiveWindow>(40).fill({ ...CALM, tookMs: 100, jobs: false }))
  assert.equal(looked(slower, [{ ...CALM, tookMs: 100 }]).allowed, 64)
})

test('a moment in which only quick requests came does not hold the pace down, although jobs go on', () => {
  const quick = looked(beginPace(0), [...Array<LiveWindow>(6).fill({ ...CALM, tookMs: 200 }), { ...CALM, tookMs: 2 }])
  const after = looked(quick, Array<LiveWindow>(6).fill({ ...CALM, tookMs: 200 }))
  assert.equal(after.allowed, 1, 'clearly longer than in that moment')
  assert.equal(looked(after, Array<LiveWindow>(100).fill({ ...CALM, tookMs: 200 })).allowed, 64)
})

test('without live requests for a while jobs may take all', () => {
  const slow = looked(beginPace(0), [CALM])
  assert.equal(jobsAllowed(slow, STEP_MS, 64), 2)
  assert.equal(jobsAllowed(slow, STEP_MS + LIVE_QUIET_MS - 1, 64), 2)
  assert.equal(jobsAllowed(slow, STEP_MS + LIVE_QUIET_MS, 64), 64)
  assert.equal(jobsAllowed(slow, STEP_MS + LIVE_QUIET_MS, 64, 60_000), 2, 'until the next look nobody is known to have left')
  assert.equal(jobsAllowed(slow, STEP_MS + 60_000, 64, 60_000), 64)
  assert.equal(jobsAllowed(beginPace(0), 0, 64), 64, 'nobody has ever come')
})

test('a server that was away begins anew', () => {
  const grown = looked(beginPace(0), Array<LiveWindow>(6).fill(CALM))
  const restarted = restartPace(grown, 9000, 0)
  assert.deepEqual([restarted.allowed, jobsAllowed(restarted, 9000, 64)], [1, 64], 'nobody has come meanwhile')
  assert.equal(jobsAllowed(restartPace(grown, 9000, 1), 9000, 64), 1)
})

test('several intervals without a look count as several', () => {
  assert.equal(afterWindow(beginPace(0), 2000, CALM, { max: 64, steps: 4 }).allowed, 16)
  assert.equal(afterWindow(beginPace(0), 1e12, CALM, { max: 1e6, steps: 1e9 }).allowed, 1e6)
})

const windows = fc.array(
  fc.record({
    came: fc.nat({ max: 3 }),
    waited: fc.constantFrom(0, 0, 0, 1),
    refused: fc.constantFrom(0, 0, 0, 1),
    tookMs: fc.option(fc.double({ min: 0, max: 1000, noNaN: true }), { nil: undefined }),
    jobs: fc.boolean(),
  }),
  { maxLength: 100 },
)
const maxes = fc.integer({ min: 1, max: 200 })

test('whatever happens: at least one, never more than there may be, and a whole number', () => {
  fc.assert(
    fc.property(windows, maxes, (list, max) => {
      let [pace, now] = [beginPace(0), 0]
      for (const window of list) {
        const before = pace
        pace = afterWindow(pace, (now += STEP_MS), window, { max, steps: 1 })
        assert.ok(pace.allowed >= 1 && pace.allowed <= max && Number.isInteger(pace.allowed), `${pace.allowed} of ${max}`)
        if (window.waited > 0) assert.ok(pace.allowed <= Math.max(1, before.allowed / 2))
        assert.ok(jobsAllowed(pace, now, max) >= pace.allowed)
      }
    }),
  )
})

test('whatever has happened: in calm it is back at the most within so many looks', () => {
  fc.assert(
    fc.property(windows, maxes, (list, max) => {
      const calm: LiveWindow = { came: 1, waited: 0, refused: 0, tookMs: undefined, jobs: true }
      assert.equal(looked(looked(beginPace(0), list, max), Array<LiveWindow>(max).fill(calm), max).allowed, max)
    }),
  )
})
