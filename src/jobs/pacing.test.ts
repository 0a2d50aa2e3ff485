/** The pace, as it follows what live requests meet. How it grows and halves is tested in `core/jobs/drain-pace.test.ts`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LIVE_QUIET_MS } from '../core/jobs/drain-pace.ts'
import { LiveTraffic } from '../pools/live-traffic.ts'
import { Pacing } from './pacing.ts'

const INTERVAL_MS = 500
const MAX = 64

/** Lets intervals pass in which live requests come, and says how many jobs are allowed in each. */
function live({ pacing, traffic }: Rig, from: number, intervals: number, met: () => void = () => undefined): number[] {
  return Array.from({ length: intervals }, (_, i) => {
    traffic.came += 10
    met()
    return pacing.allowed(from + (i + 1) * INTERVAL_MS, MAX, true)
  })
}

interface Rig {
  readonly traffic: LiveTraffic
  readonly pacing: Pacing
}

function rig(): Rig {
  const traffic = new LiveTraffic()
  return { traffic, pacing: new Pacing(traffic, INTERVAL_MS, 0) }
}

test('while live requests come it doubles, and halves when one of them found no slot', () => {
  const it = rig()
  const { traffic } = it
  assert.deepEqual(live(it, 0, 5), [2, 4, 8, 16, 32])
  assert.deepEqual(
    live(it, 2500, 1, () => traffic.waited++),
    [16],
  )
  assert.deepEqual(live(it, 3000, 2), [17, 18])
  assert.deepEqual(
    live(it, 4000, 1, () => traffic.refused++),
    [9],
  )
})

test('it halves when servers take clearly longer, told by enough answers', () => {
  const it = rig()
  const { traffic } = it
  const answers = (count: number, ms: number) => (): void => {
    for (let n = 0; n < count; n++) traffic.took(ms)
  }
  assert.deepEqual(live(it, 0, 5, answers(5, 20)), [2, 4, 8, 16, 32])
  assert.deepEqual(live(it, 2500, 1, answers(4, 500)), [64])
  assert.deepEqual(live(it, 3000, 1, answers(5, 500)), [32])
})

test('within an interval nothing changes, and it says when it will', () => {
  const it = rig()
  const { pacing, traffic } = it
  traffic.came++
  assert.equal(pacing.allowed(INTERVAL_MS, MAX, true), 2)
  traffic.waited++
  assert.equal(pacing.allowed(2 * INTERVAL_MS - 1, MAX, true), 2)
  assert.equal(pacing.nextMs(2 * INTERVAL_MS - 1), 1)
  assert.equal(pacing.allowed(2 * INTERVAL_MS, MAX, true), 1)
})

test('when they have stopped coming jobs may take all, until they are back', () => {
  const it = rig()
  const { pacing } = it
  live(it, 0, 1)
  assert.equal(pacing.allowed(INTERVAL_MS + LIVE_QUIET_MS, MAX, true), MAX)
  assert.ok((live(it, 3000, 1)[0] as number) <= MAX)
})

test('when servers come back it begins with one, also for those who came meanwhile', () => {
  const it = rig()
  const { pacing, traffic } = it
  live(it, 0, 10)
  traffic.came++
  pacing.restart(60_000)
  assert.equal(pacing.allowed(60_001, MAX, false), 1)
})
