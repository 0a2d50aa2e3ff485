/** Jobs that are taken together or not at all, with a note that names the first of them. */
import assert from 'node:assert/strict'
import { parseJobId } from '../../src/core/jobs/job-id.ts'
import type { StoredJob, SubmittedWhole } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { type JobOptions, newJob, NO_LIMITS, type Rig } from './rig.ts'

const NOTE = { name: 'batch/', text: 'all of them' }
const ONCE = { scopeKey: 'a'.repeat(64), fingerprint: 'b'.repeat(64), keepMs: 3_600_000 }

function whole(rig: Rig, changes: readonly JobOptions[]): Promise<SubmittedWhole> {
  return rig.store.submitWhole(changes.map(newJob), NOTE)
}

function firstOf(submitted: SubmittedWhole): StoredJob {
  assert.ok(submitted.kind === 'created' || submitted.kind === 'duplicate', submitted.kind)
  return submitted.first
}

async function count(rig: Rig, queue = 'q'): Promise<number> {
  return (await rig.store.browse({ filter: { queue }, max: 100 })).jobs.length
}

export const wholeCases: Cases = {
  async 'all are there with consecutive ids, in queues of their own, and the note with the id of the first; over a restart too'(rig) {
    await rig.submit()
    const { id } = firstOf(await whole(rig, [{ reference: 'a' }, { queue: 'other', reference: 'b' }, { reference: 'c' }]))
    await rig.restart()
    assert.deepEqual(await rig.store.notes('batch/'), [{ name: `batch/${id}`, text: NOTE.text }])
    const { jobs } = await rig.store.browse({ filter: {}, max: 10 })
    const made = jobs.filter(({ reference }) => reference !== undefined)
    assert.deepEqual(
      made.map(({ reference, queue }) => [reference, queue]),
      [
        ['a', 'q'],
        ['b', 'other'],
        ['c', 'q'],
      ],
    )
    const first = parseJobId(id) ?? 0
    assert.deepEqual(
      made.map((job) => parseJobId(job.id)),
      [first, first + 1, first + 2],
    )
    assert.equal((await rig.lease()).length, 3)
  },

  async 'where all but one have room, none is taken, and no note is written'(rig) {
    await rig.configure({}, { jobs: 3 })
    await rig.submit()
    const refused = await whole(rig, [{}, { queue: 'other' }, {}, {}])
    assert.ok(refused.kind === 'refused')
    assert.deepEqual([refused.limit, refused.queue], ['jobs', 'q'])
    assert.match(refused.detail, /would hold more than 3 jobs with 3 more/)
    assert.deepEqual([await count(rig), await count(rig, 'other'), await rig.store.notes('')], [1, 0, []])
    assert.equal((await whole(rig, [{}, { queue: 'other' }, {}])).kind, 'created')
    assert.deepEqual([await count(rig), await count(rig, 'other')], [3, 1])
  },

  async 'they may be as many bytes as the queue has left, and no more'(rig) {
    const job = await rig.submit({ body: Buffer.alloc(100) })
    await rig.configure({}, { bytes: job.requestBytes * 3 })
    const body = { body: Buffer.alloc(100) }
    const refused = await whole(rig, [body, body, body])
    assert.deepEqual(refused.kind === 'refused' && refused.limit, 'bytes')
    assert.equal((await whole(rig, [body, body])).kind, 'created')
  },

  async 'nobody is dropped to make room for them'(rig) {
    await rig.configure({ overflow: 'drop-oldest' }, { ...NO_LIMITS, jobs: 2 })
    await rig.submit()
    assert.equal((await whole(rig, [{}, {}])).kind, 'refused')
    assert.equal(await count(rig), 1)
    assert.equal((await whole(rig, [{}])).kind, 'created')
  },

  async 'a repeat is the same, and another one under the same key is refused'(rig) {
    const first = firstOf(await whole(rig, [{ idempotency: ONCE }, {}]))
    const again = await whole(rig, [{ idempotency: ONCE }, {}])
    assert.deepEqual([again.kind, firstOf(again).id], ['duplicate', first.id])
    assert.equal((await whole(rig, [{ idempotency: { ...ONCE, fingerprint: 'c'.repeat(64) } }, {}])).kind, 'conflict')
    assert.equal(await count(rig), 2)
  },
}
