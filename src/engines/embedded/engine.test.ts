/** How much one batch does. What it does is shown by the conformance suite. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { allBuckets } from '../../core/jobs/buckets.ts'
import type { Call, CallKind, CallOf, PackedJob, ReplyByKind } from '../ledger/calls.ts'
import { type BatchContext, type CallResult, EmbeddedEngine } from './engine.ts'

const NO_LIMITS = { jobs: 1_000_000, bytes: 2 ** 40, finished: 2 ** 40 }
const REPLY_BYTES_MAX = 8 * 1024 * 1024

const JOB: PackedJob = {
  queue: 'q',
  route: 'r',
  method: 'POST',
  priority: 0,
  attempts: 3,
  keepMs: 1000,
  keepDeadMs: 1000,
  sendOnce: false,
  request: { head: Buffer.from('[]'), body: Buffer.from('') },
}
const SUBMIT: Call = { kind: 'submit', jobs: [JOB] }
const FAILING: Call = { kind: 'submit', jobs: [{ ...JOB, queue: 'nowhere' }] }

interface Rig {
  run(calls: readonly Call[]): readonly CallResult[]
  one<K extends CallKind>(call: CallOf<K> & Call): ReplyByKind[K]
  /** The calls that read the results of jobs whose results weigh so much. */
  readsOf(sizes: readonly number[]): readonly Call[]
}

function withEngine(name: string, run: (rig: Rig) => void): void {
  test(name, () => {
    const path = mkdtempSync(join(tmpdir(), 'spillway-engine-'))
    let secrets = 0
    const context: BatchContext = { now: 1e12, monotonic: 0, secret: () => `s${++secrets}`, startOver() {} }
    const options = { path, queues: [{ name: 'q', limits: NO_LIMITS }], diskFloorBytes: 0, unsafeNoSync: true }
    const engine = new EmbeddedEngine(options, { onSync() {}, onCorrupt() {} }, context)
    const rig: Rig = {
      run: (calls) => engine.run(calls, context),
      one<K extends CallKind>(call: CallOf<K> & Call) {
        const [result] = engine.run([call], context)
        assert.ok(result !== undefined && 'reply' in result, JSON.stringify(result))
        return result.reply as ReplyByKind[K]
      },
      readsOf: (sizes) => sizes.map((bytes) => ({ kind: 'read', ids: [ended(rig, bytes)], want: 'result' })),
    }
    try {
      run(rig)
    } finally {
      engine.close()
      rmSync(path, { recursive: true, force: true })
    }
  })
}

/** Submits a job and ends it with a result of so many bytes. Gives its id. */
function ended(rig: Rig, bytes: number): string {
  rig.one<'submit'>(SUBMIT as CallOf<'submit'>)
  const request = { queue: 'q', server: 's', buckets: allBuckets(), max: 1, stealUnkeyed: false, leaseMs: 1000 }
  const ref = rig.one<'lease'>({ kind: 'lease', requests: [request] })[0]?.[0]?.ref ?? assert.fail('there is a job')
  const answer = { head: Buffer.from('{}'), body: Buffer.alloc(bytes - 2) }
  rig.one<'settle'>({ kind: 'settle', settlements: [{ kind: 'succeed', lease: ref, answer }] })
  return ref.id
}

function queued(rig: Rig): number {
  return rig.one<'stats'>({ kind: 'stats' })[0]?.counts.queued ?? 0
}

withEngine('a batch whose results weigh as much as they may is done to its end', (rig) => {
  const reads = rig.readsOf([REPLY_BYTES_MAX / 2, REPLY_BYTES_MAX / 2])
  assert.equal(rig.run([...reads, SUBMIT]).length, 3)
  assert.equal(queued(rig), 1)
})

withEngine('when the results weigh a byte more, nothing is done for the rest of the batch', (rig) => {
  const reads = rig.readsOf([REPLY_BYTES_MAX / 2, REPLY_BYTES_MAX / 2 + 1])
  assert.equal(rig.run([...reads, SUBMIT]).length, 2)
  assert.equal(queued(rig), 0)
  assert.equal(rig.run([SUBMIT]).length, 1, 'it is for the next one')
  assert.equal(queued(rig), 1)
})

withEngine('a single result may be larger', (rig) => {
  const [read = assert.fail()] = rig.readsOf([2 * REPLY_BYTES_MAX])
  const [result, ...more] = rig.run([read, SUBMIT])
  assert.ok(result !== undefined && 'reply' in result && more.length === 0)
})

withEngine('the same holds when a call fails and each is done for itself', (rig) => {
  const reads = rig.readsOf([REPLY_BYTES_MAX, 1000])
  const results = rig.run([FAILING, ...reads, SUBMIT])
  assert.deepEqual(
    results.map((result) => 'error' in result),
    [true, false, false],
  )
  assert.equal(queued(rig), 0)
})
