/** Answers that are stored while they come: what is read of them, when they count, and when they are gone. */
import assert from 'node:assert/strict'
import type { BlobRef, BlobSource, BlobWriter } from '../../src/ports/blobs.ts'
import type { JobAnswer, LeaseRef, StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, type JobOptions, type Rig } from './rig.ts'

const FAIL: JobOptions = { stream: { onPartial: 'fail' } }
export const RESTART: JobOptions = { stream: { onPartial: 'restart' } }
const SILENT = { onDrain(): void {}, onFailed: (why: string): never => assert.fail(why) }
/** More than some blocks, and no whole number of them. */
export const LARGE = Buffer.alloc(300_000, 'every byte counts, ')

export interface Answering {
  readonly job: StoredJob
  readonly ref: LeaseRef
  readonly blob: BlobWriter
}

export async function answering(rig: Rig, options: JobOptions = FAIL): Promise<Answering> {
  await rig.submit(options)
  const { ref } = await rig.leaseOne()
  const job = await rig.done({ kind: 'answer', lease: ref })
  const blob = await rig.store.blobs.create({ id: job.id, number: job.stream?.answers ?? 0 }, SILENT)
  return { job, ref, blob }
}

export async function answered(
  rig: Rig,
  bytes: Uint8Array,
  options?: JobOptions,
): Promise<{ readonly job: StoredJob; readonly ref: BlobRef }> {
  const { ref, blob } = await answering(rig, options)
  blob.append(bytes)
  const kept = await blob.finish()
  const job = await rig.succeed(ref, answerOf(kept))
  blob.close()
  return { job, ref: kept }
}

function answerOf(blob: BlobRef): JobAnswer {
  return { ...ANSWER, body: new Uint8Array(0), blob }
}

export async function readAll(source: BlobSource, from = 0): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for (let at = from; at < source.length; ) {
    const piece = await source.read(at)
    assert.ok(piece.length > 0, 'something is read')
    pieces.push(Buffer.from(piece))
    at += piece.length
  }
  return Buffer.concat(pieces)
}

export async function stored(rig: Rig, id: string): Promise<BlobSource | undefined> {
  const blob = (await rig.result(id))?.answer?.blob
  return blob && rig.store.blobs.open(id, blob)
}

export const blobCases: Cases = {
  async 'an answer that has begun shows, and is counted, once in an attempt'(rig) {
    const { id, stream } = await rig.submit(FAIL)
    assert.deepEqual(stream, { onPartial: 'fail', answers: 0, answering: false })
    const { ref } = await rig.leaseOne()
    const job = await rig.done({ kind: 'answer', lease: ref })
    assert.deepEqual(job.stream, { onPartial: 'fail', answers: 1, answering: true })
    assert.deepEqual((await rig.done({ kind: 'answer', lease: ref })).stream, job.stream)
    assert.deepEqual(await rig.read(id), job)
    await rig.retry(ref, 0)
    assert.deepEqual((await rig.read(id))?.stream, { onPartial: 'fail', answers: 1, answering: false })
    assert.equal((await rig.command({ kind: 'answer', lease: ref })).kind, 'stale')
    const again = await rig.done({ kind: 'answer', lease: (await rig.leaseOne()).ref })
    assert.equal(again.stream?.answers, 2)
  },

  async 'the answer of an ordinary job does not begin'(rig) {
    await rig.submit()
    const { ref } = await rig.leaseOne()
    assert.equal((await rig.command({ kind: 'answer', lease: ref })).kind, 'stale')
  },

  async 'what is written can be read at once, from any place, by several'(rig) {
    const { blob, ref } = await answering(rig)
    let written = 0
    for (const bytes of [1, 7, 65_528, 65_536, 100_000, 3]) {
      blob.append(LARGE.subarray(written, written + bytes))
      written += bytes
      assert.equal(blob.length, written)
      for (const from of [0, written - 1, Math.floor(written / 2), Math.max(0, written - 65_537)]) {
        assert.ok((await readAll(blob, from)).equals(LARGE.subarray(from, written)), `from ${from} of ${written}`)
      }
    }
    const kept = await blob.finish()
    assert.ok((await readAll(blob)).equals(LARGE.subarray(0, written)), 'also when it is whole')
    await rig.succeed(ref, answerOf(kept))
    blob.close()
  },

  async 'a whole one is the result, and weighs with all its bytes'(rig) {
    const { job } = await answered(rig, LARGE)
    assert.deepEqual([job.status, job.hasAnswer, job.stream?.answering], ['succeeded', true, false])
    assert.ok((job.resultBytes ?? 0) > LARGE.length)
    assert.ok((await rig.stats()).finishedBytes > LARGE.length)
    const answer = (await rig.result(job.id))?.answer
    assert.deepEqual([answer?.status, answer?.headers, answer?.body.length, answer?.blob?.bytes], [200, ANSWER.headers, 0, LARGE.length])
    const [one, two] = await Promise.all([stored(rig, job.id), stored(rig, job.id)])
    assert.ok(one && two)
    assert.ok((await readAll(one)).equals(LARGE))
    one.close()
    assert.ok((await readAll(two, 70_000)).equals(LARGE.subarray(70_000)))
    two.close()
  },

  async 'an empty one is a result as well'(rig) {
    const { job } = await answered(rig, new Uint8Array(0))
    const source = await stored(rig, job.id)
    assert.equal(source?.length, 0)
    source.close()
  },

  async 'one that was dropped is gone, and the next attempt has another'(rig) {
    const { job, ref, blob } = await answering(rig, RESTART)
    blob.append(LARGE)
    await blob.drop()
    blob.close()
    await rig.retry(ref, 0)
    const { ref: second } = await rig.leaseOne()
    const begun = await rig.done({ kind: 'answer', lease: second })
    const anew = await rig.store.blobs.create({ id: job.id, number: begun.stream?.answers ?? 0 }, SILENT)
    anew.append(Buffer.from('anew'))
    await rig.succeed(second, answerOf(await anew.finish()))
    anew.close()
    const source = await stored(rig, job.id)
    assert.ok(source)
    assert.equal((await readAll(source)).toString(), 'anew')
    source.close()
  },

  async 'a settlement that names one which is not there changes nothing'(rig) {
    const { job, ref, blob } = await answering(rig)
    blob.append(Buffer.from('some'))
    const kept = await blob.finish()
    await blob.drop()
    blob.close()
    await assert.rejects(rig.settle({ kind: 'succeed', lease: ref, answer: answerOf(kept) }))
    assert.equal((await rig.read(job.id))?.status, 'running')
    assert.equal((await rig.fail(ref, true)).status, 'failed', 'it can still be settled')
  },

  async 'it goes with its job, and room is made with all its bytes'(rig) {
    await rig.configure({}, { finished: 400_000 })
    const first = await answered(rig, LARGE)
    const second = await answered(rig, LARGE)
    assert.equal(await rig.read(first.job.id), undefined, 'there is no room for both')
    assert.equal(await rig.store.blobs.open(first.job.id, first.ref), undefined)
    await rig.command({ kind: 'forget', id: second.job.id })
    assert.equal(await rig.store.blobs.open(second.job.id, second.ref), undefined)
    assert.equal((await rig.stats()).finishedBytes, 0)
    assert.deepEqual(rig.corrupt, [], 'what was forgotten is no damage')
  },

  async 'whoever reads one goes on when its job is forgotten'(rig) {
    const { job } = await answered(rig, LARGE)
    const source = await stored(rig, job.id)
    assert.ok(source)
    await source.read(0)
    await rig.command({ kind: 'forget', id: job.id })
    assert.ok((await readAll(source)).equals(LARGE))
    source.close()
  },

  async 'a lease that lapses in the middle of an answer fails the job, or begins anew'(rig) {
    for (const [options, status] of [
      [FAIL, 'failed'],
      [RESTART, 'retrying'],
    ] as const) {
      const { job, blob } = await answering(rig, options)
      await rig.pass(120_000)
      const after = await rig.read(job.id)
      assert.deepEqual([after?.status, after?.stream?.answering], [status, false])
      assert.equal(after?.error?.code, status === 'failed' ? 'answer_broken' : 'lease_lapsed')
      await blob.drop()
      blob.close()
    }
  },

  async 'a dead letter of a broken answer is sent again, and never gets the number of the broken one'(rig) {
    const { job, ref, blob } = await answering(rig)
    await blob.drop()
    blob.close()
    await rig.settled({ kind: 'fail', lease: ref, error: FAILURE, deadLetter: true })
    await rig.redrive(job.id)
    const begun = await rig.done({ kind: 'answer', lease: (await rig.leaseOne()).ref })
    assert.deepEqual([begun.attempt, begun.stream?.answers], [1, 2])
  },
}

export const blobRestartCases: Cases = {
  async 'a stored answer is there after a restart, byte for byte'(rig) {
    const { job } = await answered(rig, LARGE)
    await rig.restart()
    const source = await stored(rig, job.id)
    assert.ok(source)
    assert.ok((await readAll(source)).equals(LARGE))
    source.close()
    assert.deepEqual(rig.corrupt, [])
  },

  async 'a restart in the middle of an answer fails the job, or hands it out again, and nothing is left of the part'(rig) {
    const failing = await answering(rig, FAIL)
    const again = await answering(rig, RESTART)
    for (const { blob } of [failing, again]) blob.append(LARGE)
    await rig.reopen()
    assert.deepEqual([(await rig.read(failing.job.id))?.status, (await rig.read(failing.job.id))?.dead], ['failed', 'answer_broken'])
    const waiting = await rig.read(again.job.id)
    assert.deepEqual([waiting?.status, waiting?.stream], ['queued', { onPartial: 'restart', answers: 1, answering: false }])
    assert.equal((await rig.settleTime()).length, 1, 'that it failed is told')
    const { ref } = await rig.leaseOne()
    assert.equal((await rig.done({ kind: 'answer', lease: ref })).stream?.answers, 2)
    assert.deepEqual(rig.corrupt, [])
  },

  async 'a whole answer that no settlement named is gone after a restart'(rig) {
    const { job, blob } = await answering(rig, RESTART)
    blob.append(LARGE)
    const kept = await blob.finish()
    await rig.reopen()
    assert.equal(await rig.store.blobs.open(job.id, kept), undefined)
  },
}
