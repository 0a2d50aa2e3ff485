/**
 * Run by a test on a file system of a few megabytes: fills it with jobs to the last byte, makes some room, works them off.
 * Prints `fine` at the end.
 */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { newJob, NO_LIMITS } from './rig.ts'

const fatal: Error[] = []
const options = {
  path: join(process.argv[2] ?? '', 'data'),
  clock: systemClock,
  random: systemRandom,
  queues: [{ name: 'q', limits: NO_LIMITS }],
  events: { onFatal: (error: Error) => void fatal.push(error) },
  // Nothing is held in reserve: the disk itself has to say no.
  diskFloorBytes: 0,
}
const ballast = join(process.argv[2] ?? '', 'ballast')
writeFileSync(ballast, Buffer.alloc(1024 * 1024))
let store = await openEmbeddedStore(options)

const accepted = new Map<string, number>()
let refused = 0
for (let round = 0; refused < 20; round++) {
  assert.ok(round < 2000, 'the disk is small')
  // Large ones are refused before small ones; in one batch they must not spoil each other.
  const sizes = [300_000, 100, 20_000, 1000]
  const submitted = await store.submit(sizes.map((size) => newJob({ body: Buffer.alloc(size, round % 256) })))
  submitted.forEach((outcome, at) => {
    if (outcome.kind === 'created') accepted.set(outcome.job.id, sizes[at] as number)
    else {
      assert.deepEqual([outcome.kind, outcome.kind === 'refused' && outcome.limit], ['refused', 'disk'])
      refused += 1
    }
  })
}
assert.ok(accepted.size > 5)
assert.deepEqual(
  (await store.read([...accepted.keys()], 'status')).filter((read) => read === undefined),
  [],
)

const request = { queue: 'q', server: 'a', buckets: allBuckets(), max: 3, stealUnkeyed: false, leaseMs: 60_000 }
// Without a byte left a lease may fail; it is rejected, and nothing of it has happened.
const tried = await store.lease([request]).then(
  ([leases = []]) => leases,
  () => [],
)
rmSync(ballast)
await store.settle(tried.map(({ ref }) => ({ kind: 'handBack', lease: ref, afterMs: 0 })))
const [stats] = await store.stats()
assert.deepEqual([stats?.counts.queued, stats?.counts.running], [accepted.size, 0])

let done = 0
for (;;) {
  const [leases = []] = await store.lease([
    { queue: 'q', server: 'a', buckets: allBuckets(), max: 3, stealUnkeyed: false, leaseMs: 60_000 },
  ])
  if (leases.length === 0) break
  for (const { ref, request } of leases) assert.equal(request.body.length, accepted.get(ref.id))
  await store.settle(
    leases.map(({ ref }) => ({ kind: 'fail', lease: ref, error: { code: 'server_error', detail: '' }, deadLetter: false })),
  )
  done += leases.length
}
assert.equal(done, accepted.size, 'all that was accepted was done')
await store.close()
store = await openEmbeddedStore(options)
assert.equal((await store.submit([newJob()]))[0]?.kind, 'created', 'and there is room again')
assert.equal((await store.stats())[0]?.counts.failed, done)
await store.close()
assert.deepEqual(fatal, [])
process.stdout.write(`accepted ${accepted.size}, refused ${refused}\nfine\n`)
