/** Priorities that age: so much waiting counts as one step. */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'

export const orderCases: Cases = {
  async 'without ageing a priority waits for as long as there are higher ones'(rig) {
    const low = await rig.submit({ priority: 0 })
    rig.clock.advance(86_400_000)
    const high = await rig.submit({ priority: 1 })
    assert.deepEqual(await rig.leaseIds(), [high.id, low.id])
  },

  async 'a step of priority is worth so much waiting, and not a moment more'(rig) {
    await rig.configure({ ageingMs: 1000 })
    for (const [laterMs, lowFirst] of [
      [999, false],
      [1000, false],
      [1001, true],
    ] as const) {
      const low = await rig.submit({ priority: 3 })
      rig.clock.advance(laterMs)
      const high = await rig.submit({ priority: 4 })
      assert.deepEqual(await rig.leaseIds(), lowFirst ? [low.id, high.id] : [high.id, low.id], `${laterMs} ms later`)
    }
  },

  async 'nine steps are worth nine times as much'(rig) {
    await rig.configure({ ageingMs: 1000 })
    const low = await rig.submit({ priority: 0 })
    rig.clock.advance(8999)
    const early = await rig.submit({ priority: 9 })
    rig.clock.advance(2)
    const late = await rig.submit({ priority: 9 })
    assert.deepEqual(await rig.leaseIds(), [early.id, low.id, late.id])
  },

  async 'in a flood of urgent jobs the others have their turn'(rig) {
    await rig.configure({ ageingMs: 100 })
    const low = await rig.submit({ priority: 0 })
    for (let round = 0; round < 20; round++) {
      await rig.submitAll([{ priority: 9 }, { priority: 9 }])
      rig.clock.advance(100)
      if ((await rig.leaseIds({ max: 1 }))[0] === low.id) return assert.ok(round >= 9, `not before its time: ${round}`)
    }
    assert.fail('it never went')
  },

  async 'equal priorities go by age, aged or not'(rig) {
    await rig.configure({ ageingMs: 10 })
    const jobs = await rig.submitAll(Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? {} : { key: `k${n}` })))
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.map(({ id }) => id),
    )
  },

  async 'it holds for jobs that are taken from others, and for each tenant by himself'(rig) {
    await rig.configure({ ageingMs: 1000 })
    const options = [{ tenant: 'a' }, { tenant: 'b' }]
    const low = await rig.submitAll(options.map((each) => ({ ...each, priority: 0 })))
    rig.clock.advance(1001)
    const high = await rig.submitAll(options.map((each) => ({ ...each, priority: 1 })))
    assert.deepEqual(
      await rig.leaseIds({ buckets: new Uint8Array(32), stealUnkeyed: true }),
      [...low, ...high].map(({ id }) => id),
    )
  },

  async 'a change of it holds at once'(rig) {
    const low = await rig.submit({ priority: 0 })
    rig.clock.advance(5000)
    const high = await rig.submit({ priority: 4 })
    await rig.configure({ ageingMs: 1000 })
    assert.deepEqual(await rig.leaseIds({ max: 1 }), [low.id])
    await rig.configure({})
    await rig.submit({ priority: 0 })
    assert.deepEqual(await rig.leaseIds({ max: 1 }), [high.id])
  },

  async 'a priority is one of ten, whatever is asked for'(rig) {
    const jobs = await rig.submitAll([-1, 10, 9.9, 0.5].map((priority) => ({ priority })))
    assert.deepEqual(
      jobs.map(({ priority }) => priority),
      [0, 9, 9, 0],
    )
  },
}
