import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Duration, durationMs, pauseMs, rest, TimeLimit } from './timing.ts'

test('durations are numbers of milliseconds, or texts with a unit', () => {
  const texts: readonly Duration[] = [0, 15, '500ms', '2s', '5m', '1h', '14d']
  assert.deepEqual(
    texts.map((text) => durationMs(text, 'x')),
    [0, 15, 500, 2000, 300_000, 3_600_000, 1_209_600_000],
  )
  for (const wrong of ['', '1', '-1s', '1.5s', '1 s', '1w', -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => durationMs(wrong as Duration, 'lease'), /^TypeError: lease: /)
  }
})

test('pauses double up to the longest, at least half is kept, and Retry-After is never undercut', () => {
  const policy = { attempts: 5, baseMs: 100, maxMs: 1000 }
  for (let i = 0; i < 200; i++) {
    for (const [failures, most] of [
      [1, 100],
      [2, 200],
      [4, 800],
      [5, 1000],
      [500, 1000],
    ] as const) {
      const pause = pauseMs(failures, policy)
      assert.ok(pause >= most / 2 && pause <= most, `${pause} after ${failures}`)
    }
    const asked = pauseMs(1, policy, 4000)
    assert.ok(asked >= 4000 && asked <= 5000)
  }
})

test('a pause that is longer than a timer can count is not over at once', async () => {
  const leaving = new AbortController()
  const pause = rest(2 ** 31, leaving.signal)
  assert.equal(await Promise.race([pause, rest(20).then(() => 'it goes on')]), 'it goes on')
  leaving.abort()
  await assert.rejects(pause, { name: 'AbortError' })
})

test('with full jitter nothing of a pause is certain but what was asked for', () => {
  const policy = { attempts: 5, baseMs: 100, maxMs: 1000 }
  const pauses = Array.from({ length: 500 }, () => pauseMs(3, policy, 0, 0))
  assert.ok(pauses.every((pause) => pause >= 0 && pause <= 400))
  assert.ok(pauses.some((pause) => pause < 100) && pauses.some((pause) => pause > 300))
  assert.ok(pauseMs(1, policy, 4000, 0) >= 4000)
})

test('a rest ends when the browser is back online, and with its signal', async () => {
  const page = new EventTarget()
  const names = ['addEventListener', 'removeEventListener'] as const
  for (const name of names) Object.defineProperty(globalThis, name, { configurable: true, value: page[name].bind(page) })
  try {
    const resting = rest(60_000)
    page.dispatchEvent(new Event('online'))
    await resting
    const leaving = new AbortController()
    const left = assert.rejects(rest(60_000, leaving.signal), new Error('enough'))
    leaving.abort(new Error('enough'))
    await left
    await assert.rejects(rest(60_000, leaving.signal), new Error('enough'))
    await rest(0)
  } finally {
    for (const name of names) Reflect.deleteProperty(globalThis, name)
  }
})

test('a time limit that the blocked event loop held up lets what has arrived be heard first', async () => {
  const order: string[] = []
  const over = new Promise<void>((resolve) => {
    void new TimeLimit(20, () => resolve(void order.push('over')))
  })
  const endsAt = performance.now() + 700
  while (performance.now() < endsAt);
  await new Promise<void>((resolve) => setTimeout(() => resolve(void order.push('heard')), 50))
  await over
  assert.deepEqual(order, ['heard', 'over'])
})
