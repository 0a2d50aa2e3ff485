import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { FAILOVER_CHAIN_MAX, failoverChain, firstInService } from './failover.ts'

const next = (links: readonly number[]) => (at: number) => links[at]

test('a chain goes from a pool to the one that stands in for it, and ends with the last', () => {
  assert.deepEqual(failoverChain(0, next([1, 2])), [0, 1, 2])
  assert.deepEqual(failoverChain(2, next([1, 2])), [2])
})

test('whatever stands in for whatever: a chain begins with its pool, has none twice, and is bounded', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 40 }), { maxLength: 40 }), fc.nat({ max: 39 }), (links, start) => {
      const chain = failoverChain(start, next(links))
      assert.equal(chain[0], start)
      assert.equal(new Set(chain).size, chain.length)
      assert.ok(chain.length <= FAILOVER_CHAIN_MAX)
      for (const [at, pool] of chain.slice(1).entries()) assert.equal(pool, links[chain[at] as number])
    }),
  )
})

test('of a chain the first serves that is not out, and nobody behind it', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }), (out) => {
      const chain = out.map((_, index) => index)
      const chosen = firstInService(chain, (pool) => out[pool] === true)
      assert.equal(chosen, out.includes(false) ? out.indexOf(false) : undefined)
    }),
  )
})
