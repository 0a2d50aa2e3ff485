/** A store with something of everything in it: what waits, runs, has ended, failed, blocks, is delayed; small and large bodies; notes and schedules. */
import { createHash } from 'node:crypto'
import type { StoredJob } from '../../src/ports/job-store.ts'
import { ANSWER, FAILURE, idempotency, newJob, NO_LIMITS, type Rig } from '../conformance/rig.ts'

const LARGE = 300_000
const BLOCKING = { onFailure: 'block', overflow: 'refuse' } as const

export async function makeBusy(rig: Rig): Promise<readonly StoredJob[]> {
  await rig.store.command([{ kind: 'configure', queue: 'blocking', limits: NO_LIMITS, rules: BLOCKING }])
  // Ended, with a small and a large result; a dead letter; one that blocks its key, and who waits behind it.
  const first = await rig.submitAll([{ body: Buffer.alloc(LARGE, 'a') }, idempotency('one'), { reference: 'r' }])
  const [large, small, dead] = await rig.lease()
  if (large !== undefined) await rig.succeed(large.ref, { ...ANSWER, body: Buffer.alloc(LARGE, 'b') })
  if (small !== undefined) await rig.succeed(small.ref)
  if (dead !== undefined) await rig.fail(dead.ref, true, ANSWER)
  const blocked = await rig.submitAll([
    { queue: 'blocking', key: 'k' },
    { queue: 'blocking', key: 'k' },
  ])
  const [failing] = await rig.lease({ queue: 'blocking' })
  if (failing !== undefined) await rig.settled({ kind: 'fail', lease: failing.ref, error: FAILURE, deadLetter: true })
  // Retried once, cancelled, running (one of them may be sent only once), waiting.
  const second = await rig.submitAll([{ priority: 9 }, {}, { sendOnce: true, priority: 8 }, { priority: 7 }])
  await rig.retry((await rig.leaseOne()).ref, 60_000)
  await rig.cancel(second[1]?.id ?? '')
  await rig.lease({ max: 2 })
  const third = await rig.submitAll([
    { key: 'w' },
    { key: 'w', tenant: 't' },
    { delayMs: 3_600_000 },
    { expireAfterMs: 3_600_000, body: Buffer.alloc(LARGE, 'c') },
    { ...idempotency('two'), tenant: 't' },
  ])
  await rig.store.command([
    { kind: 'note', name: 'n', text: 'noted' },
    {
      kind: 'schedule',
      schedule: {
        name: 's',
        when: { everyMs: 86_400_000, startAt: rig.clock.now() + 86_400_000 },
        missed: 'skip',
        paused: false,
        job: newJob(),
      },
    },
  ])
  return [...first, ...blocked, ...second, ...third]
}

/** What a client can see of these jobs, bodies as hashes. */
export async function seen(rig: Rig, jobs: readonly StoredJob[]): Promise<readonly unknown[]> {
  const ids = jobs.map(({ id }) => id)
  const results = await rig.store.read(ids, 'result')
  const requests = await rig.store.read(ids, 'request')
  return results.map((read, at) => ({
    id: read?.job.id,
    status: read?.job.status,
    error: read?.job.error,
    dead: read?.job.dead,
    blocks: read?.job.blocksKey,
    notBefore: read?.job.notBefore,
    answer: read?.answer === undefined ? undefined : hash(read.answer.body),
    request: requests[at]?.request === undefined ? undefined : [requests[at].request.target, hash(requests[at].request.body)],
  }))
}

function hash(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}
