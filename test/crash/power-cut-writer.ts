/**
 * The program whose power is cut: works on a store and writes down, in a file beside it, what it was answered, at once when it was.
 * Arguments: folder, seed, rounds, `sync` or `nosync`.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import type { Lease, Settlement } from '../../src/ports/job-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { newJob, NO_LIMITS } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import type { Answered } from './power-cut.ts'

const [folder = '', seed = '0', rounds = '0', mode = 'sync'] = process.argv.slice(2)
const random = new SeededRandom(Number(seed))
const clock = new ManualClock()
mkdirSync(folder, { recursive: true })
const answers = openSync(join(folder, 'answers'), 'w')
const store = openInProcess({
  path: join(folder, 'store'),
  clock,
  random: systemRandom,
  queues: [{ name: 'q', limits: NO_LIMITS }],
  diskFloorBytes: 0,
  // Often, so that the cuts fall into many of them.
  checkpointPages: 40,
  unsafeNoSync: mode === 'nosync',
})

function answered(answer: Answered): void {
  writeSync(answers, `${JSON.stringify(answer)}\n`)
}

function hash(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}

function someBody(large = 0.02): Buffer {
  return random.bytes(random.chance(large) ? 300_000 : random.pick([0, 10, 200, 1500, 5000]))
}

/** It begins to answer; some never come to an end, and are never settled. */
async function streamed({ ref, job }: Lease, body: Buffer): Promise<readonly Settlement[]> {
  const [outcome] = await store.command([{ kind: 'answer', lease: ref }])
  if (outcome?.kind !== 'done' || outcome.job?.stream === undefined) return []
  const number = outcome.job.stream.answers
  answered({ kind: 'answering', id: job.id, number, fails: job.stream?.onPartial === 'fail' })
  const blob = await store.blobs.create({ id: job.id, number }, { onDrain() {}, onFailed() {} })
  for (let at = 0; at < body.length; at += 40_000) {
    blob.append(body.subarray(at, at + 40_000))
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (random.chance(0.2)) return []
  const answer = { status: 200, reason: 'OK', headers: [], body: Buffer.alloc(0), blob: await blob.finish() }
  blob.close()
  return [{ kind: 'succeed', lease: ref, answer }]
}

let leases: Lease[] = []
const ids: string[] = []
for (let round = 0; round < Number(rounds); round++) {
  clock.advance(random.integer(200))
  const dice = random.unit()
  if (dice < 0.4) {
    const bodies = Array.from({ length: 1 + random.integer(5) }, () => someBody())
    const submitted = await store.submit(
      bodies.map((body) =>
        newJob({
          body,
          headers: ['X-Hash', hash(body)],
          sendOnce: random.chance(0.1),
          attempts: 1000,
          ...(random.chance(0.5) && { key: `k${random.integer(5)}` }),
          ...(random.chance(0.1) && { delayMs: 300 }),
          ...(random.chance(0.2) && { stream: { onPartial: random.pick(['fail', 'restart'] as const) } }),
        }),
      ),
    )
    const accepted = submitted.map((outcome) => (outcome.kind === 'created' ? outcome.job.id : ''))
    ids.push(...accepted)
    answered({ kind: 'accepted', ids: accepted })
  } else if (dice < 0.65) {
    const [taken = []] = await store.lease([
      { queue: 'q', server: 'a', buckets: allBuckets(), max: 4, stealUnkeyed: false, leaseMs: 60_000 },
    ])
    leases.push(...taken)
    answered({ kind: 'leased', once: taken.filter(({ job }) => job.sendOnce).map(({ ref }) => ref.id) })
  } else if (dice < 0.9) {
    const batch = leases.slice(0, 3)
    leases = leases.slice(3)
    const bodies = batch.map(({ job }) => someBody(job.stream === undefined ? undefined : 0.3))
    const settlements: Settlement[] = []
    for (const [at, lease] of batch.entries()) {
      const body = bodies[at] as Buffer
      const answer = { status: 200, reason: 'OK', headers: [], body }
      const succeeds = lease.job.sendOnce || random.chance(0.8)
      if (succeeds && lease.job.stream !== undefined) settlements.push(...(await streamed(lease, body)))
      else if (succeeds) settlements.push({ kind: 'succeed', lease: lease.ref, answer })
      else settlements.push({ kind: 'retry', lease: lease.ref, afterMs: 100, error: { code: 'server_error', detail: '' } })
    }
    const settled = await store.settle(settlements)
    const succeeded = settled.flatMap((outcome, at) =>
      outcome.kind === 'settled' && outcome.job.status === 'succeeded'
        ? [{ id: outcome.job.id, hash: hash(bodies[batch.findIndex(({ ref }) => ref === settlements[at]?.lease)] as Buffer) }]
        : [],
    )
    answered({ kind: 'succeeded', jobs: succeeded })
  } else if (dice < 0.95 && ids.length > 0) {
    const id = random.pick(ids)
    const [outcome] = await store.command([{ kind: 'cancel', id }])
    if (outcome?.kind === 'done') answered({ kind: 'cancelled', id })
  } else await store.tick()
}
// Not closed: closing would tidy up what a cut must find.
process.exit(0)
