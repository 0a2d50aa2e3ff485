/** What a store that lost its power must still know: built up from the answers it gave before the cut, checked against what it says after. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import type { JobStore, ReadJob } from '../../src/ports/job-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { NO_LIMITS } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** A line in the file of answers. */
export type Answered =
  | { readonly kind: 'accepted'; readonly ids: readonly string[] }
  | { readonly kind: 'leased'; readonly once: readonly string[] }
  | { readonly kind: 'succeeded'; readonly jobs: readonly { readonly id: string; readonly hash: string }[] }
  | { readonly kind: 'cancelled'; readonly id: string }
  /** It has begun to answer, that many times; `fails`: it is not begun again. */
  | { readonly kind: 'answering'; readonly id: string; readonly number: number; readonly fails: boolean }

export class Promises {
  readonly accepted: Set<string> = new Set()
  /** With the hash of the answer's body. */
  readonly succeeded: Map<string, string> = new Map()
  readonly cancelled: Set<string> = new Set()
  /** Handed out, and not to be handed out again. */
  readonly once: Set<string> = new Set()
  /** How often it has begun to answer, at least. */
  readonly answers: Map<string, number> = new Map()

  add(answered: Answered): void {
    if (answered.kind === 'accepted') for (const id of answered.ids) this.accepted.add(id)
    else if (answered.kind === 'leased') for (const id of answered.once) this.once.add(id)
    else if (answered.kind === 'succeeded') for (const { id, hash } of answered.jobs) this.succeeded.set(id, hash)
    else if (answered.kind === 'cancelled') this.cancelled.add(answered.id)
    else {
      this.answers.set(answered.id, answered.number)
      if (answered.fails) this.once.add(answered.id)
    }
  }
}

/** Opens what a cut left; throws where a promise is broken. */
export async function checkAfterCut(path: string, promises: Promises): Promise<void> {
  const corrupt: string[] = []
  const store = openInProcess({
    path,
    clock: new ManualClock(Date.UTC(2031, 0, 1)),
    random: systemRandom,
    queues: [{ name: 'q', limits: NO_LIMITS }],
    diskFloorBytes: 0,
    // The copy will not be cut again.
    unsafeNoSync: true,
    events: { onCorrupt: (what) => void corrupt.push(what) },
  })
  try {
    await checkJobs(store, promises)
    await checkWork(store, promises)
    assert.deepEqual(corrupt, [], 'nothing is damaged')
  } finally {
    await store.close()
  }
  checkFile(path)
}

async function checkJobs(store: JobStore, promises: Promises): Promise<void> {
  const ids = [...promises.accepted]
  const reads = await store.read(ids, 'result')
  for (const [at, id] of ids.entries()) {
    const read = reads[at]
    assert.ok(read, `job ${id} was accepted, and is there`)
    const answer = promises.succeeded.get(id)
    if (answer !== undefined) {
      assert.equal(read.job.status, 'succeeded', `job ${id} was settled, and is`)
      assert.equal(hash(await bodyOf(store, read)), answer, `the result of job ${id} is what it was`)
    }
    if (promises.cancelled.has(id)) assert.equal(read.job.status, 'cancelled', `job ${id} was cancelled, and is`)
    assert.ok((read.job.stream?.answers ?? 0) >= (promises.answers.get(id) ?? 0), `the next answer of job ${id} has another number`)
  }
}

async function bodyOf(store: JobStore, { job, answer }: ReadJob): Promise<Uint8Array | undefined> {
  if (answer?.blob === undefined) return answer?.body
  const source = await store.blobs.open(job.id, answer.blob)
  assert.ok(source, `the result of job ${job.id} is there`)
  const pieces: Uint8Array[] = []
  for (let at = 0; at < source.length; at += pieces.at(-1)?.length ?? 0) pieces.push(await source.read(at))
  source.close()
  return Buffer.concat(pieces)
}

/** All that is still to be done is handed out, intact, and nothing else. */
async function checkWork(store: JobStore, promises: Promises): Promise<void> {
  for (;;) {
    while ((await store.tick()).nextMs === 0);
    const [leases = []] = await store.lease([
      { queue: 'q', server: 'a', buckets: allBuckets(), max: 1000, stealUnkeyed: false, leaseMs: 60_000 },
    ])
    if (leases.length === 0) break
    for (const { ref, request } of leases) {
      assert.equal(hash(request.body), request.headers[1], `the request of job ${ref.id} is what it was`)
      assert.ok(!promises.succeeded.has(ref.id) && !promises.cancelled.has(ref.id), `job ${ref.id} had ended`)
      assert.ok(!promises.once.has(ref.id), `job ${ref.id} may be sent once, and was`)
    }
    await store.settle(
      leases.map(({ ref }) => ({ kind: 'fail', lease: ref, error: { code: 'server_error', detail: '' }, deadLetter: false })),
    )
  }
  const [stats] = await store.stats()
  const { queued, running, retrying } = stats?.counts ?? assert.fail()
  assert.deepEqual([queued, running, retrying, stats?.bytes], [0, 0, 0, 0], 'all work is done, and the counters say so')
}

function checkFile(path: string): void {
  const db = new DatabaseSync(join(path, 'store.db'), { readOnly: true })
  try {
    assert.deepEqual(
      db
        .prepare('PRAGMA integrity_check')
        .all()
        .map((row) => row['integrity_check']),
      ['ok'],
    )
  } finally {
    db.close()
  }
}

function hash(body: Uint8Array | undefined): string {
  return createHash('sha256')
    .update(body ?? Buffer.alloc(0))
    .digest('hex')
}
