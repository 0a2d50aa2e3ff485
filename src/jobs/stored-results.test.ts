import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferBudget } from '../net/buffer-budget.ts'
import type { ReadJob, StoredJob } from '../ports/job-store.ts'
import { MemoryBlobs } from '../engines/memory/memory-blobs.ts'
import { StoredResults, type TakenResult } from './stored-results.ts'

const MIB = 1024 * 1024

function job(id: string, hasAnswer = true): StoredJob {
  return { id, status: 'succeeded', version: 2, hasAnswer } as StoredJob
}

/** A store that answers when the test says so. */
function rig(limits: { readonly result: number; readonly buffered: number }, body: Uint8Array = new Uint8Array(1000)) {
  const budget = new BufferBudget(limits.buffered)
  const reading: { readonly id: string; answer(): void; gone(): void; fail(): void }[] = []
  const read = ([id]: readonly string[]): Promise<readonly (ReadJob | undefined)[]> =>
    new Promise((resolve, reject) => {
      const answer = { status: 200, reason: 'OK', headers: [], body }
      reading.push({
        id: id as string,
        answer: () => resolve([{ job: job(id as string), answer }]),
        gone: () => resolve([undefined]),
        fail: () => reject(new Error('the store is gone')),
      })
    })
  const results = new StoredResults({ read, blobs: new MemoryBlobs() }, limits)
  const take = (id: string, wanted = true): Promise<TakenResult> => results.take({ job: job(id) }, { budget, wanted: () => wanted })
  return { budget, reading, results, take }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a result has its place in the budget from before it is read until it is freed', async () => {
  const { budget, reading, take } = rig({ result: MIB, buffered: 16 * MIB })
  const taking = take('a')
  await settled()
  assert.equal(budget.used, MIB)
  reading[0]!.answer()
  const taken = await taking
  assert.ok(taken.kind === 'result')
  assert.deepEqual([taken.answer?.body.length, budget.used], [1000, 1000])
  taken.free()
  taken.free()
  assert.equal(budget.used, 0)
})

test('as many are read at once as a quarter of the budget holds; the others wait their turn', async () => {
  const { budget, reading, take } = rig({ result: MIB, buffered: 16 * MIB })
  const taking = Array.from({ length: 10 }, (_, i) => take(`${i}`))
  await settled()
  assert.deepEqual([reading.length, budget.used], [4, 4 * MIB])
  for (let i = 0; i < 10; i++) {
    reading[i]!.answer()
    await settled()
  }
  const taken = await Promise.all(taking)
  assert.deepEqual(
    reading.map((one) => one.id),
    Array.from({ length: 10 }, (_, i) => `${i}`),
  )
  assert.equal(budget.used, 10_000)
  for (const one of taken) if (one.kind === 'result') one.free()
  assert.equal(budget.used, 0)
})

test('where the budget is used up nothing is read, and nothing is kept', async () => {
  const { budget, reading, results, take } = rig({ result: MIB, buffered: 16 * MIB })
  budget.take(15 * MIB + 1)
  assert.equal((await take('a')).kind, 'full')
  const inHand = { job: job('b'), answer: { status: 200, reason: '', headers: [], body: new Uint8Array(MIB) } }
  assert.equal((await results.take(inHand, { budget, wanted: () => true })).kind, 'full')
  assert.deepEqual([reading.length, budget.used], [0, 15 * MIB + 1])
  budget.give(1)
  const taking = take('c')
  await settled()
  reading[0]!.answer()
  assert.equal((await taking).kind, 'result')
})

test('a result that is larger than what was assumed must fit as well', async () => {
  const { budget, reading, take } = rig({ result: 16 * MIB, buffered: 16 * MIB }, new Uint8Array(5 * MIB))
  const first = take('a')
  const second = take('b')
  await settled()
  assert.deepEqual([reading.length, budget.used], [1, 4 * MIB])
  reading[0]!.answer()
  assert.equal((await first).kind, 'result')
  budget.take(7 * MIB)
  await settled()
  reading[1]!.answer()
  assert.equal((await second).kind, 'full')
  assert.equal(budget.used, 12 * MIB)
})

test('neither a client that has gone, nor a store that fails, nor a job that is forgotten costs a turn or a byte', async () => {
  const { budget, reading, take } = rig({ result: MIB, buffered: 4 * MIB })
  assert.equal((await take('a', false)).kind, 'full')
  const failing = take('b')
  await settled()
  reading[0]!.fail()
  await assert.rejects(failing)
  const forgotten = take('c')
  await settled()
  reading[1]!.gone()
  assert.equal((await forgotten).kind, 'missing')
  assert.equal(budget.used, 0)
  const fine = take('d')
  await settled()
  reading[2]!.answer()
  assert.equal((await fine).kind, 'result')
})

test('what is in hand, and what has no answer, is not read', async () => {
  const { budget, reading, results } = rig({ result: MIB, buffered: 4 * MIB })
  const room = { budget, wanted: () => true }
  const answer = { status: 200, reason: 'OK', headers: [], body: new Uint8Array(500) }
  const inHand = await results.take({ job: job('a'), answer }, room)
  assert.ok(inHand.kind === 'result' && inHand.answer?.body === answer.body)
  const without = await results.take({ job: job('b', false) }, room)
  assert.ok(without.kind === 'result' && without.answer === undefined)
  assert.deepEqual([reading.length, budget.used], [0, 500])
})

test('a short result does not keep the long ones alive that were read with it', async () => {
  const together = new Uint8Array(MIB)
  const { reading, take } = rig({ result: MIB, buffered: 16 * MIB }, together.subarray(0, 1000))
  const taking = take('a')
  await settled()
  reading[0]!.answer()
  const taken = await taking
  assert.ok(taken.kind === 'result')
  assert.notEqual(taken.answer?.body.buffer, together.buffer)
  assert.deepEqual(Buffer.from(taken.answer!.body), Buffer.alloc(1000))
})
