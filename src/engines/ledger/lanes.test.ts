import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { addBucket, allBuckets } from '../../core/jobs/buckets.ts'
import { laneOf, Lanes } from './lanes.ts'

interface Job {
  readonly priority: number
  readonly bucket: number
  readonly keyed: boolean
  readonly seq: number
}

const operations = fc.array(
  fc.record({
    kind: fc.constantFrom('add', 'add', 'remove', 'removeFirst'),
    priority: fc.constantFrom(0, 4, 9),
    bucket: fc.constantFrom(0, 1, 255),
    keyed: fc.boolean(),
    seq: fc.integer({ min: 1, max: 60 }),
  }),
  { maxLength: 300 },
)

function best(jobs: readonly Job[]): number {
  return jobs.toSorted((a, b) => b.priority - a.priority || a.seq - b.seq)[0]?.seq ?? 0
}

/** As if accepted `ageing` numbers earlier for each step of priority. */
function mostUrgent(jobs: readonly Job[], ageing: number): number {
  return jobs.toSorted((a, b) => a.seq - a.priority * ageing - (b.seq - b.priority * ageing) || b.priority - a.priority)[0]?.seq ?? 0
}

test('what is best is best, whatever came and went', () => {
  const some = new Uint8Array(32)
  for (const bucket of [1, 255]) addBucket(some, bucket)
  const all = allBuckets()
  fc.assert(
    fc.property(operations, (list) => {
      const lanes = new Lanes()
      let jobs: Job[] = []
      for (const { kind, ...job } of list) {
        if (kind === 'add' && !jobs.some(({ seq }) => seq === job.seq)) {
          jobs.push(job)
          lanes.add(job.priority, laneOf(job.bucket, job.keyed), job.seq)
        }
        const first = jobs.find(({ seq }) => seq === best(jobs))
        const gone = kind === 'remove' ? jobs.find(({ seq }) => seq === job.seq) : kind === 'removeFirst' ? first : undefined
        if (gone !== undefined) {
          jobs = jobs.filter((each) => each !== gone)
          lanes.remove(gone.priority, laneOf(gone.bucket, gone.keyed), gone.seq)
        }
        assert.equal(lanes.size, jobs.length)
        const inSome = jobs.filter(({ bucket }) => bucket !== 0)
        assert.equal(lanes.best({ buckets: some, unkeyedOnly: false, ageing: undefined }), best(inSome))
        assert.equal(lanes.best({ buckets: some, unkeyedOnly: false, ageing: 5 }), mostUrgent(inSome, 5))
        const young = inSome.filter(({ seq }) => seq >= 30)
        const old = inSome.filter(({ seq }) => seq < 30)
        assert.equal(lanes.best({ buckets: some, unkeyedOnly: false, ageing: undefined, from: 30 }), best(young))
        assert.equal(lanes.best({ buckets: some, unkeyedOnly: false, ageing: undefined, below: 30 }), best(old))
        assert.equal(lanes.best({ buckets: some, unkeyedOnly: false, ageing: 5, from: 30 }), mostUrgent(young, 5))
        assert.equal(lanes.best({ buckets: all, unkeyedOnly: true, ageing: undefined }), best(jobs.filter(({ keyed }) => !keyed)))
        assert.equal(lanes.oldest(), Math.min(...jobs.map(({ seq }) => seq), Number.POSITIVE_INFINITY) % Number.POSITIVE_INFINITY || 0)
      }
    }),
  )
})
