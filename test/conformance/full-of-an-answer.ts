/** Run by a test on a file system of a few megabytes: an answer that is larger than it is broken off, leaves nothing behind, and the rest goes on. Prints `fine` at the end. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import type { CommandOutcome, JobStore, Lease } from '../../src/ports/job-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { until } from '../support/until.ts'
import { FAILURE, leaseRequest, newJob, NO_LIMITS } from './rig.ts'

const path = join(process.argv[2] ?? '', 'data')
const fatal: Error[] = []

function open(diskFloorBytes: number): Promise<JobStore> {
  const queues = [{ name: 'q', limits: NO_LIMITS }]
  const events = { onFatal: (error: Error) => void fatal.push(error) }
  return openEmbeddedStore({ path, clock: systemClock, random: systemRandom, queues, events, diskFloorBytes })
}

async function begin(store: JobStore): Promise<Lease> {
  await store.submit([newJob({ stream: { onPartial: 'restart' } })])
  const [[lease] = []] = await store.lease([leaseRequest({ max: 1 })])
  assert.ok(lease)
  const [outcome] = (await store.command([{ kind: 'answer', lease: lease.ref }])) as readonly CommandOutcome[]
  assert.equal(outcome?.kind, 'done')
  return lease
}

/** Writes until it is told that there is no more room. Says so. */
async function overfill(store: JobStore, { ref }: Lease): Promise<string> {
  let why = ''
  let flows = true
  const events = { onDrain: () => void (flows = true), onFailed: (said: string) => void (why = said) }
  const blob = await store.blobs.create({ id: ref.id, number: 1 }, events)
  for (let n = 0; why === ''; n++) {
    assert.ok(n < 1000, 'the disk is small')
    flows = blob.append(Buffer.alloc(100_000, n % 256))
    await until('it takes more', () => flows || why !== '')
  }
  await assert.rejects(blob.finish())
  await blob.drop()
  blob.close()
  return why
}

for (const [floorBytes, says] of [
  [0, /^no space is left on the disk$/],
  [8 * 1024 * 1024, /^\d+ bytes are free on the disk; 8388608 are kept in reserve$/],
] as const) {
  const store = await open(floorBytes)
  const lease = await begin(store)
  assert.match(await overfill(store, lease), says)
  assert.deepEqual(readdirSync(join(path, 'bodies')), [], 'nothing is left of it')
  const [settled] = await store.settle([{ kind: 'fail', lease: lease.ref, error: FAILURE, deadLetter: true }])
  assert.equal(settled?.kind, 'settled', 'the job can be settled')
  // The engine may have looked at the disk just before.
  await until('others are taken', async () => (await store.submit([newJob()]))[0]?.kind === 'created')
  const [[other] = []] = await store.lease([leaseRequest({ max: 1 })])
  await store.settle([{ kind: 'fail', lease: other?.ref ?? assert.fail(), error: FAILURE, deadLetter: false }])
  await store.close()
}
assert.deepEqual(fatal, [])
process.stdout.write('fine\n')
