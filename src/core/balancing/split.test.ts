import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { pickShare, type Share, splitHash } from './split.ts'

const HASHES = Array.from({ length: 100_000 }, (_, n) => splitHash(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`))

const weights = fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 5 }).filter((all) => all.some((weight) => weight > 0))

function sharesOf(list: readonly number[]): Share[] {
  return list.map((weight, n) => ({ pool: `pool-${n}`, weight }))
}

function pools(shares: readonly Share[]): string[] {
  return HASHES.map((hash) => pickShare(shares, { hash })?.pool ?? '')
}

function portions(list: readonly number[]): number[] {
  const total = list.reduce((sum, weight) => sum + weight, 0)
  return list.map((weight) => weight / total)
}

test('bound or drawn: each pool gets its share, and one without weight nobody', () => {
  fc.assert(
    fc.property(weights, (list) => {
      const shares = sharesOf(list)
      const drawn = HASHES.map((_, n) => pickShare(shares, { unit: n / HASHES.length })?.pool)
      for (const chosen of [pools(shares), drawn]) {
        for (const [n, portion] of portions(list).entries()) {
          const got = chosen.filter((pool) => pool === `pool-${n}`).length / HASHES.length
          assert.ok(portion === 0 ? got === 0 : Math.abs(got - portion) < 0.01, `${got} instead of ${portion}`)
        }
      }
    }),
    { numRuns: 8 },
  )
})

test('nobody has a weight: nobody is chosen', () => {
  for (const by of [{ hash: 1 }, { unit: 0.5 }]) assert.equal(pickShare(sharesOf([0, 0]), by), undefined)
})

test('the order of the pools, and all weights a hundred times as large, change nothing', () => {
  const shares = sharesOf([90, 5, 5])
  assert.deepEqual(pools(shares.toReversed()), pools(shares))
  assert.deepEqual(pools(shares.map(({ pool, weight }) => ({ pool, weight: weight * 100 }))), pools(shares))
})

test('a weight that is raised moves clients to that pool only, as many as its share grows; one that is lowered again moves the same ones back', () => {
  fc.assert(
    fc.property(weights, fc.nat({ max: 4 }), fc.integer({ min: 1, max: 50 }), (list, at, more) => {
      const raised = list.map((weight, n) => (n === at % list.length ? weight + more : weight))
      const [before, after] = [pools(sharesOf(list)), pools(sharesOf(raised))]
      const moved = after.filter((pool, n) => pool !== before[n])
      const name = `pool-${at % list.length}`
      assert.ok(moved.every((pool) => pool === name))
      const grown = (portions(raised)[at % list.length] as number) - (portions(list)[at % list.length] as number)
      assert.ok(Math.abs(moved.length / HASHES.length - grown) < 0.01, `${moved.length} moved where the share grew by ${grown}`)
      assert.deepEqual(pools(sharesOf(list)), before)
    }),
    { numRuns: 8 },
  )
})

test('of two pools never more move than the changed share; of more hardly more, whatever changes', () => {
  fc.assert(
    fc.property(weights, fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 5, maxLength: 5 }), (list, others) => {
      const changed = others.slice(0, list.length)
      const [a, b] = [portions(list), portions(changed)]
      const share = a.reduce((sum, portion, n) => sum + Math.abs(portion - (b[n] as number)), 0) / 2
      const [before, after] = [pools(sharesOf(list)), pools(sharesOf(changed))]
      const moved = after.filter((pool, n) => pool !== before[n]).length / HASHES.length
      // What no way of choosing that keeps no memory can beat for all weights at once.
      const most = list.length <= 2 ? share : (2 * share) / (1 + share)
      assert.ok(moved < most + 0.01, `${moved} moved where ${share} changed`)
    }),
    { numRuns: 8 },
  )
})

test('from 5 % to 10 %: one client of twenty moves, to the canary', () => {
  const [before, after] = [5, 10].map((weight) =>
    pools([
      { pool: 'stable', weight: 100 - weight },
      { pool: 'canary', weight },
    ]),
  ) as [string[], string[]]
  const moved = after.filter((pool, n) => pool !== before[n])
  assert.ok(moved.every((pool) => pool === 'canary'))
  assert.ok(Math.abs(moved.length / HASHES.length - 0.05) < 0.003, String(moved.length))
})
