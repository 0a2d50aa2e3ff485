/** Fresh jobs before an old backlog, which gets a share. */
import assert from 'node:assert/strict'
import type { Millis } from '../../src/lib/units.ts'
import type { Cases } from './job-store.ts'
import type { JobId } from '../../src/ports/job-store.ts'
import type { Rig } from './rig.ts'

const AFTER_MS: Millis = 30_000

/** Ten old jobs and ten fresh ones; says which are the old ones. */
async function backlog(rig: Rig, share: number): Promise<ReadonlySet<JobId>> {
  await rig.configure({ sideline: { afterMs: AFTER_MS, share } })
  const old = await rig.submitAll(Array.from({ length: 10 }, () => ({})))
  rig.clock.advance(AFTER_MS + 1)
  await rig.submitAll(Array.from({ length: 10 }, () => ({})))
  return new Set(old.map(({ id }) => id))
}

function lettersOf(ids: readonly JobId[], old: ReadonlySet<JobId>): string {
  return ids.map((id) => (old.has(id) ? 'o' : 'f')).join('')
}

export const sidelineCases: Cases = {
  async 'old jobs get their share while fresh ones wait, and all when there are none'(rig) {
    const old = await backlog(rig, 0.2)
    assert.equal(lettersOf(await rig.leaseIds({ max: 20 }), old), 'fffffoffffofoooooooo')
  },

  async 'a share goes on over leases'(rig) {
    const old = await backlog(rig, 0.2)
    let got = ''
    for (let n = 0; n < 20; n++) got += lettersOf(await rig.leaseIds({ max: 1 }), old)
    assert.equal(got, 'fffffoffffofoooooooo')
  },

  async 'a job is old when it has waited for longer than that, and not a millisecond before'(rig) {
    for (const waitedMs of [AFTER_MS, AFTER_MS + 1]) {
      await rig.configure({ sideline: { afterMs: AFTER_MS, share: 0.2 } })
      const first = await rig.submit()
      rig.clock.advance(waitedMs)
      const second = await rig.submit()
      const [next] = await rig.leaseIds({ max: 1 })
      assert.equal(next, waitedMs > AFTER_MS ? second.id : first.id)
      await rig.leaseIds()
    }
  },

  async 'within the fresh and within the old, the oldest goes first; the order of a key is never touched'(rig) {
    await rig.configure({ sideline: { afterMs: AFTER_MS, share: 0.2 } })
    const keyed = [...(await rig.submitAll([{ key: 'k' }, { key: 'k' }]))]
    rig.clock.advance(AFTER_MS + 1)
    keyed.push(await rig.submit({ key: 'k' }))
    const fresh = await rig.submitAll([{}, {}])
    assert.deepEqual(await rig.leaseIds({ max: 2 }), [fresh[0]?.id, fresh[1]?.id])
    for (const { id } of keyed) {
      const lease = await rig.leaseOne()
      assert.equal(lease.ref.id, id)
      await rig.succeed(lease.ref)
    }
  },

  async 'it holds for jobs that are taken from others, and over a restart'(rig) {
    await rig.configure({ sideline: { afterMs: AFTER_MS, share: 0.2 } })
    const old = await rig.submit()
    rig.clock.advance(AFTER_MS + 1)
    const fresh = await rig.submit()
    await rig.restart()
    await rig.configure({ sideline: { afterMs: AFTER_MS, share: 0.2 } })
    assert.deepEqual(await rig.leaseIds({ buckets: new Uint8Array(32), stealUnkeyed: true, max: 2 }), [fresh.id, old.id])
  },

  async 'without the rule the oldest goes first, also after there was one'(rig) {
    await rig.configure({ sideline: { afterMs: AFTER_MS, share: 0.2 } })
    const jobs = [await rig.submit()]
    rig.clock.advance(AFTER_MS + 1)
    jobs.push(await rig.submit())
    await rig.configure({})
    assert.deepEqual(
      await rig.leaseIds(),
      jobs.map(({ id }) => id),
    )
  },
}
