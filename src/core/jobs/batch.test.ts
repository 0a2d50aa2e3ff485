import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { BatchState, BLOCK } from './batch.ts'
import { JOB_STATUSES, type JobStatus } from './record.ts'

const ENDS: readonly JobStatus[] = ['succeeded', 'failed', 'cancelled', 'expired']

/** What is on the disk: blocks by number. */
function written(state: BatchState, ends: ReadonlyMap<number, JobStatus>, disk: Map<number, string>): void {
  for (const { block, text } of state.blocksAfter(ends)) disk.set(block, text)
}

function reopened(total: number, disk: ReadonlyMap<number, string>): BatchState {
  const state = new BatchState(total)
  for (const [block, text] of disk) state.restore(block, text)
  return state
}

test('all are queued at first, and each end counts once', () => {
  const state = new BatchState(3)
  assert.deepEqual([state.open, state.counts.queued], [3, 3])
  assert.ok(state.live(1, 'running'))
  assert.ok(!state.live(1, 'running'))
  assert.ok(state.end(1, 'succeeded'))
  assert.ok(!state.end(1, 'succeeded'))
  assert.ok(!state.live(1, 'running'), 'what has ended stays so until its next end')
  assert.deepEqual([state.open, state.counts.succeeded, state.counts.queued, [...state.openIndexes()]], [2, 1, 2, [0, 2]])
  assert.ok(state.end(1, 'failed'), 'another end of the same job counts instead')
  assert.deepEqual([state.open, state.counts.succeeded, state.counts.failed], [2, 0, 1])
})

test('what is no place of the batch, and what is no end, changes nothing', () => {
  const state = new BatchState(2)
  for (const index of [-1, 2, 0.5, Number.NaN]) assert.ok(!state.end(index, 'failed') && !state.live(index, 'running'))
  assert.ok(!state.end(0, 'running'))
  assert.ok(!state.live(0, 'failed'))
  assert.equal(state.openAfter(new Map([[7, 'failed']])), 2)
  assert.deepEqual([...state.blocksAfter(new Map([[7, 'failed']]))], [])
  state.restore(0, 'sz!')
  state.restore(9, 'ssss')
  assert.deepEqual([state.open, state.counts.succeeded], [1, 1])
})

test('an end costs one block, whatever the batch holds', () => {
  const state = new BatchState(2 * BLOCK + 1)
  const lengths = (index: number): readonly number[] => [...state.blocksAfter(new Map([[index, 'failed']]))].map(({ text }) => text.length)
  assert.deepEqual([lengths(BLOCK - 1), lengths(BLOCK), lengths(2 * BLOCK)], [[BLOCK], [BLOCK], [1]])
})

/** One wave of ends; it is written, and then the process is there to hear of it, or it is not, and they come again. */
interface Wave {
  readonly ends: readonly (readonly [index: number, end: JobStatus])[]
  readonly crash: 'no' | 'before' | 'after'
}

test('in any order, with repeats and crashes, the counts are those of the last end of each job', () => {
  const total = BLOCK + 20
  const wave: fc.Arbitrary<Wave> = fc.record({
    ends: fc.array(fc.tuple(fc.integer({ min: 0, max: total - 1 }), fc.constantFrom(...ENDS)), { minLength: 1, maxLength: 60 }),
    crash: fc.constantFrom('no', 'no', 'before', 'after'),
  })
  const live = fc.array(fc.tuple(fc.integer({ min: 0, max: total - 1 }), fc.constantFrom(...JOB_STATUSES)), { maxLength: 20 })
  fc.assert(
    fc.property(fc.array(fc.tuple(wave, live), { maxLength: 12 }), (waves) => {
      const disk = new Map<number, string>()
      const model = new Map<number, JobStatus>()
      let state = new BatchState(total)
      for (const [{ ends, crash }, happenings] of waves) {
        for (const [index, status] of happenings) state.live(index, status)
        const last = new Map(ends)
        for (const [index, end] of last) model.set(index, end)
        if (crash === 'before') state = reopened(total, disk)
        written(state, last, disk)
        const openAfter = state.openAfter(last)
        if (crash === 'after') {
          state = reopened(total, disk)
          written(state, last, disk)
        }
        for (const [index, end] of last) state.end(index, end)
        assert.equal(state.open, openAfter)
      }
      for (const each of [state, reopened(total, disk)]) {
        assert.equal(each.open, total - model.size)
        for (const end of ENDS) assert.equal(each.counts[end], [...model.values()].filter((status) => status === end).length)
        assert.equal(
          JOB_STATUSES.reduce((sum, status) => sum + each.counts[status], 0),
          total,
        )
      }
    }),
  )
})
