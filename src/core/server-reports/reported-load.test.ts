import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { loadFactor, referenceLoad, ReportedLoad, SMOOTHING_MS } from './reported-load.ts'

const RULES = { floor: 0.1 }
const loads = fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 12 })

function factors(all: readonly number[]): number[] {
  const reference = referenceLoad(all)
  return all.map((load) => loadFactor(load, reference, RULES))
}

test('who is twice as loaded as the middle one has half of its share, who is half as loaded twice of it', () => {
  assert.deepEqual(factors([0.2, 0.4, 0.8]), [2, 1, 0.5])
})

test('where all are equally loaded nothing changes, as long as they can do what they have to', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 12 }), (load, count) => {
      for (const factor of factors(Array<number>(count).fill(load))) assert.ok(Math.abs(factor - 1) < 1e-9)
    }),
  )
})

test('who says nothing gets more than one that says it has too much to do, though there is nobody else to compare it with', () => {
  assert.deepEqual(factors([2]), [0.5])
  assert.deepEqual(factors([0.9]), [1])
})

test('nobody starves, and nobody gets more than twice its weight, whatever is said', () => {
  fc.assert(
    fc.property(loads, fc.double({ min: 0.001, max: 1, noNaN: true }), (all, floor) => {
      const reference = referenceLoad(all)
      for (const load of all) {
        const factor = loadFactor(load, reference, { floor })
        assert.ok(factor >= floor && factor <= 2, `${factor}`)
      }
    }),
  )
})

test('the share moves towards the less loaded: who says more never has a larger one', () => {
  fc.assert(
    fc.property(loads, (all) => {
      const of = factors(all)
      for (const [i, a] of all.entries()) for (const [j, b] of all.entries()) if (a < b) assert.ok((of[i] as number) >= (of[j] as number))
    }),
  )
})

test('a single liar moves nobody else who is like the others', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 10, noNaN: true }), fc.integer({ min: 2, max: 12 }), (lie, others) => {
      const [, ...honest] = factors([lie, ...Array<number>(others).fill(0.5)])
      // Of two honest ones and a liar the middle one is honest; of more, too.
      for (const factor of honest) assert.ok(Math.abs(factor - 1) < 1e-9)
    }),
  )
})

test('the average follows what is said, lies between what was said, and one report alone does not move it far', () => {
  const load = new ReportedLoad(0.5, 0)
  load.observe(10, 1)
  assert.ok(load.value < 0.51)
  load.observe(1, 1 + 10 * SMOOTHING_MS)
  assert.ok(Math.abs(load.value - 1) < 0.001)
  fc.assert(
    fc.property(loads, fc.array(fc.nat({ max: 5000 }), { minLength: 12, maxLength: 12 }), (all, pauses) => {
      let now = 0
      const average = new ReportedLoad(all[0] as number, now)
      for (const [i, said] of all.entries()) average.observe(said, (now += pauses[i] as number))
      assert.ok(average.value >= Math.min(...all) - 1e-9 && average.value <= Math.max(...all) + 1e-9)
    }),
  )
})

/** Servers whose load is what they get, for what they can do; reports come with each round, and shares follow at once. */
function settle(capacities: readonly number[], rounds: number): number[] {
  let shares = capacities.map(() => 1 / capacities.length)
  const averages = capacities.map(() => new ReportedLoad(0.5, 0))
  for (let round = 1; round <= rounds; round++) {
    for (const [i, average] of averages.entries()) average.observe((shares[i] as number) / (capacities[i] as number), round * 250)
    const of = factors(averages.map(({ value }) => value))
    const total = of.reduce((sum, factor) => sum + factor, 0)
    shares = of.map((factor) => factor / total)
  }
  return shares
}

test('of servers that can do differently much, loads come nearer to each other, and shares come to rest', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.5, max: 2, noNaN: true }), { minLength: 2, maxLength: 8 }), (capacities) => {
      const shares = settle(capacities, 400)
      const loadOf = (share: number, i: number): number => share / (capacities[i] as number)
      const spread = (all: readonly number[]): number => Math.max(...all) / Math.min(...all)
      const equal = capacities.map(() => 1 / capacities.length)
      // What is below a tenth is idle, and idle ones are alike.
      if (Math.min(...equal.map(loadOf)) > 0.2) assert.ok(spread(shares.map(loadOf)) <= spread(equal.map(loadOf)) + 1e-6)
      for (const [i, share] of settle(capacities, 401).entries()) assert.ok(Math.abs(share - (shares[i] as number)) < 1e-3)
    }),
  )
})
