import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from './system.ts'

const TIMEOUT_MAX_MS = 2 ** 31 - 1

for (const [what, delay] of [
  ['as long as the longest timer of the runtime', TIMEOUT_MAX_MS],
  ['a millisecond longer than that', TIMEOUT_MAX_MS + 1],
  ['of ten years', 3650 * 86_400_000],
] as const) {
  test(`a delay ${what} passes in full, and once`, (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    let calls = 0
    systemClock.after(delay, () => calls++)
    passed(t.mock.timers, delay - 1)
    assert.equal(calls, 0)
    t.mock.timers.tick(1)
    assert.equal(calls, 1)
    passed(t.mock.timers, delay)
    assert.equal(calls, 1)
  })

  test(`a delay ${what} can be cancelled at once and shortly before its end`, (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    let calls = 0
    systemClock.after(delay, () => calls++).cancel()
    const second = systemClock.after(delay, () => calls++)
    passed(t.mock.timers, delay - 1)
    second.cancel()
    passed(t.mock.timers, delay)
    assert.equal(calls, 0)
  })
}

test('a delay longer than the longest timer of the runtime does not fire at once', async () => {
  let fired = false
  const long = systemClock.after(TIMEOUT_MAX_MS + 1, () => (fired = true))
  // The runtime would make it 1 ms; timers fire in the order in which they are due.
  await new Promise<void>((resolve) => void setTimeout(resolve, 2))
  assert.equal(fired, false)
  long.cancel()
})

/** In steps, as time passes: one step over several timers would give each of them the time at its end. */
function passed(timers: { tick(ms: number): void }, ms: number): void {
  for (let left = ms; left > 0; left -= TIMEOUT_MAX_MS) timers.tick(Math.min(left, TIMEOUT_MAX_MS))
}
