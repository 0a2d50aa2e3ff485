/** Bounds that come with a submission: how many may wait before it, and how full the queue may be for it. */
import assert from 'node:assert/strict'
import type { Submitted } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { idempotency, type JobOptions, type Rig } from './rig.ts'

const outcome = (submitted: Submitted): string => (submitted.kind === 'refused' ? submitted.limit : submitted.kind)

/** Submits until one is refused; says how many were taken, and what the last was told. */
async function taken(rig: Rig, options: JobOptions): Promise<readonly [number, string]> {
  for (let count = 0; count < 50; count++) {
    const told = outcome(await rig.trySubmit(options))
    if (told !== 'created') return [count, told]
  }
  return [50, '']
}

export const admissionCases: Cases = {
  async 'as many may wait before it as it says, and not one more'(rig) {
    assert.deepEqual(await taken(rig, { admission: { aheadMax: 2 } }), [3, 'wait'])
    assert.equal(outcome(await rig.trySubmit()), 'created', 'others know no such bound')
  },

  async 'what runs, waits for time or has ended is not before it; what waits behind a key is'(rig) {
    await rig.submit()
    await rig.leaseOne()
    await rig.submit({ delayMs: 1000 })
    assert.deepEqual(await taken(rig, { key: 'k', admission: { aheadMax: 1 } }), [2, 'wait'])
  },

  async 'of what is delayed nobody knows how many will be before it'(rig) {
    await rig.submit()
    assert.equal(outcome(await rig.trySubmit({ delayMs: 1000, admission: { aheadMax: 0 } })), 'created')
  },

  async 'the queue may be as full with it as it says, and not more: jobs'(rig) {
    await rig.configure({}, { jobs: 10 })
    assert.deepEqual(await taken(rig, { admission: { fillMax: 0.75 } }), [7, 'priority'])
    assert.deepEqual(await taken(rig, { admission: { fillMax: 0.8 } }), [1, 'priority'])
    assert.deepEqual(await taken(rig, { admission: { fillMax: 1 } }), [2, 'jobs'], 'all of it: the limit of the queue')
  },

  async 'the queue may be as full with it as it says, and not more: bytes'(rig) {
    const { requestBytes } = await rig.submit()
    await rig.configure({}, { bytes: 10 * requestBytes })
    assert.deepEqual(await taken(rig, { admission: { fillMax: 0.5 } }), [4, 'priority'])
  },

  async 'nobody is dropped for what is refused'(rig) {
    await rig.configure({ overflow: 'drop-oldest' }, { jobs: 2 })
    const jobs = await rig.submitAll([{}, {}])
    assert.equal(outcome(await rig.trySubmit({ admission: { fillMax: 0.5 } })), 'priority')
    assert.equal(outcome(await rig.trySubmit({ admission: { aheadMax: 0 } })), 'wait')
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.map(({ id }) => id),
    )
  },

  async 'a repeat is a repeat, however many wait'(rig) {
    const once = { ...idempotency('one'), admission: { aheadMax: 0, fillMax: 0.5 } }
    assert.equal(outcome(await rig.trySubmit(once)), 'created')
    await rig.submit()
    assert.equal(outcome(await rig.trySubmit(once)), 'duplicate')
  },
}
