/**
 * The whole gateway on a virtual clock, with servers and clients that are no better than real ones, a network that loses and delays, a store
 * that fails, and crashes: whatever the seed, the promises of `docs/guarantees.md` hold. SEED replays one; `npm run sim` runs as many as you like.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failureText } from './failure-text.ts'
import { simulate } from './simulate.ts'

const SEEDS = 60
const SEEDS_AT_ONCE = 30
const given = process.env['SEED']

for (const first of given === undefined
  ? Array.from({ length: SEEDS / SEEDS_AT_ONCE }, (_, i) => 1 + i * SEEDS_AT_ONCE)
  : [Number(given)]) {
  const count = given === undefined ? SEEDS_AT_ONCE : 1
  test(`the promises hold in the histories of ${count === 1 ? `seed ${first}` : `seeds ${first} to ${first + count - 1}`}`, async () => {
    const failures: string[] = []
    for (let seed = first; seed < first + count; seed++) {
      const result = await simulate(seed)
      if (result.violations.length > 0) failures.push(failureText(result))
    }
    assert.equal(failures.length, 0, failures.slice(0, 3).join('\n\n'))
  })
}

test('a seed is a history: the second time it is the same, to the last event', async () => {
  // Of each engine, with a crash.
  for (const seed of [2, 19]) {
    const [first, second] = [await simulate(seed), await simulate(seed)]
    assert.ok(first.history.length > 100)
    assert.equal(first.hash, second.hash)
    assert.notEqual(first.hash, (await simulate(seed + 1)).hash)
  }
})
