/** Pull consumers that wait for jobs, and leave, in front of a store that takes its time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Asker } from '../../src/jobs/receivers.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { startJobsRig } from '../support/jobs-rig.ts'
import { until } from '../support/until.ts'

const PULLED = { queue: 'work', consumer: 'c', max: 1, waitMs: 60_000, leaseMs: 60_000 }

interface Leaving {
  readonly asker: Asker
  leave(): void
}

function leaving(): Leaving {
  const listeners: (() => void)[] = []
  let gone = false
  return {
    asker: {
      get gone() {
        return gone
      },
      onGone: (listener) => void listeners.push(listener),
    },
    leave: () => {
      gone = true
      for (const listener of listeners) listener()
    },
  }
}

test('a consumer that leaves waits no longer, also while the store is asked for others; what comes for one that has left is handed back', async () => {
  await using rig = await startJobsRig({ queue: { pull: true } })
  // Nothing for the servers: who is asked for is who receives.
  rig.pool.close()
  const { queues } = rig.jobs
  const store = rig.store as { -readonly [K in keyof JobStore]: JobStore[K] }
  const { lease } = store
  const gate = Promise.withResolvers<void>()
  let asked = 0
  store.lease = async (requests) => {
    asked += requests.filter(({ keeps }) => keeps === true).length
    await gate.promise
    return lease(requests)
  }
  const [first, second] = [leaving(), leaving()]
  const received = queues.receive(PULLED, first.asker)
  await until('the store is asked', () => asked === 1)
  const other = queues.receive(PULLED, second.asker)
  second.leave()
  assert.equal(queues.receiversOf('work'), 1)
  assert.equal((await other).kind, 'gone')
  first.leave()
  const job = await rig.submit()
  gate.resolve()
  assert.equal((await received).kind, 'gone')
  const again = await queues.receive(PULLED, leaving().asker)
  assert.deepEqual(again.kind === 'received' && again.leases.map(({ job: { id, attempt } }) => [id, attempt]), [[job.id, 1]])
})
