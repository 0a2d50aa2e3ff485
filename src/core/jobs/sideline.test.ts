import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { creditAfter, isOldTurn } from './sideline.ts'

/** Who is handed out, as letters, where `has` says who waits. */
function handOuts(share: number, count: number, has: (n: number) => 'both' | 'fresh' | 'old' = () => 'both'): string {
  let [credit, order] = [0, '']
  for (let n = 0; n < count; n++) {
    const waits = has(n)
    const old = waits === 'old' || (waits === 'both' && isOldTurn(credit))
    credit = creditAfter(credit, { share }, old)
    order += old ? 'o' : 'f'
  }
  return order
}

test('a fifth is every fifth', () => {
  assert.equal(handOuts(0.2, 15), 'fffffoffffoffff')
  assert.equal(handOuts(0.5, 8), 'ffofofof')
  assert.equal(handOuts(1, 4), 'fooo')
})

test('where no old job waits nothing is saved up', () => {
  assert.equal(handOuts(0.2, 30, (n) => (n < 20 ? 'fresh' : 'both')).slice(20), 'offfoffffo')
})

test('whatever the share: old jobs get it while both wait, and all where there is nothing else', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 1, noNaN: true }), (share) => {
      const old = handOuts(share, 1000).replaceAll('f', '').length
      assert.ok(Math.abs(old - 1000 * share) <= 2, `${old} of 1000 at ${share}`)
      assert.equal(
        handOuts(share, 50, () => 'old'),
        'o'.repeat(50),
      )
    }),
  )
})
