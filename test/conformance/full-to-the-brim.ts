/**
 * Run by a test on a file system of a few megabytes, which others fill to the last byte while jobs wait: new ones are refused with the reason,
 * what was accepted is worked off, and when there is room again all is as before, without a restart. Prints `fine` at the end.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { freeBytes } from '../../src/engines/embedded/folder.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { until } from '../support/until.ts'
import { ANSWER, leaseRequest, newJob, NO_LIMITS } from './rig.ts'

const JOBS = 300
const FLOOR_BYTES = 4 * 1024 * 1024
const folder = process.argv[2] ?? ''
const ballast = join(folder, 'ballast')
const fatal: Error[] = []
const store = await openEmbeddedStore({
  path: join(folder, 'data'),
  clock: systemClock,
  random: systemRandom,
  queues: [{ name: 'q', limits: NO_LIMITS }],
  events: { onFatal: (error) => void fatal.push(error) },
  diskFloorBytes: FLOOR_BYTES,
})

const accepted: string[] = []
for (let n = 0; n < JOBS; n++) {
  const [outcome] = await store.submit([newJob({ body: Buffer.alloc(2000, n) })])
  accepted.push(outcome?.kind === 'created' ? outcome.job.id : assert.fail(JSON.stringify(outcome)))
}

fillUp(FLOOR_BYTES / 2)
await until('new jobs are refused', async () => {
  const [outcome] = await store.submit([newJob({ body: Buffer.alloc(2000) })])
  if (outcome?.kind === 'created') accepted.push(outcome.job.id)
  return outcome?.kind === 'refused' && outcome.limit === 'disk'
})
assert.match((await store.info()).refusing?.detail ?? '', /bytes are free on the disk; 4194304 are kept in reserve/)
fillUp(0)
assert.equal(freeBytes(folder), 0)

const done: string[] = []
while (done.length < accepted.length) {
  const [leases = []] = await store.lease([leaseRequest({ max: 5 })])
  assert.ok(leases.length > 0, `after ${done.length}`)
  const outcomes = await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
  for (const outcome of outcomes) done.push(outcome.kind === 'settled' ? outcome.job.id : assert.fail('settled'))
}
const read = await store.read(accepted, 'result')
assert.ok(read.every((each) => each?.answer?.body.length === ANSWER.body.length))

rmSync(ballast)
await until('new jobs are taken again', async () => (await store.submit([newJob()]))[0]?.kind === 'created')
assert.equal((await store.info()).refusing, undefined)
await store.close()
assert.deepEqual(fatal, [])
process.stdout.write(`worked off ${done.length} on a full disk\nfine\n`)

/** Until so much is left. */
function fillUp(left: number): void {
  const file = openSync(ballast, 'a')
  try {
    for (let bytes = 65_536; bytes >= 1; ) {
      try {
        if (freeBytes(folder) <= left) return
        writeSync(file, Buffer.alloc(bytes))
      } catch {
        bytes = Math.floor(bytes / 2)
      }
    }
  } finally {
    closeSync(file)
  }
}
