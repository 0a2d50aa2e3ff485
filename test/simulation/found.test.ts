/** Mistakes that the simulation has found, each as the seed that did. A seed stands for its history only while scenarios are drawn as they are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failureText } from './failure-text.ts'
import { simulate } from './simulate.ts'

const FOUND: readonly (readonly [what: string, seeds: readonly number[]])[] = [
  ['the version of a job that a pull consumer holds grows over a restart', [10, 16, 23]],
  ['a streamed answer stays when the store has settled it, and said that it could not', [150, 194, 248]],
  ['a held client whose job ended, and was forgotten before its result was read, is not told of a failure of the gateway', [11_194]],
]

for (const [what, seeds] of FOUND) {
  test(what, async () => {
    for (const seed of seeds) {
      const result = await simulate(seed)
      assert.equal(result.violations.length, 0, failureText(result))
    }
  })
}
