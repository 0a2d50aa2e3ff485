import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import type { JobAnswer, JobStore, ReadJob, StoredJob } from '../ports/job-store.ts'
import { createLocalBus } from './local-bus.ts'
import { Watch } from './watch.ts'

const ANSWER: JobAnswer = { status: 200, reason: 'OK', headers: [], body: new Uint8Array(0) }

function job(id: string, change: Partial<StoredJob> = {}): StoredJob {
  return { id, status: 'queued', version: 1, hasAnswer: false, ...change } as StoredJob
}

function rig() {
  const clock = new ManualClock()
  const bus = createLocalBus()
  const stored = new Map<string, ReadJob>()
  const reads: { ids: readonly string[]; want: string }[] = []
  let broken = false
  const read: JobStore['read'] = async (ids, want) => {
    reads.push({ ids, want })
    if (broken) throw new Error('the store is gone')
    return ids.map((id) => stored.get(id))
  }
  const errors: unknown[] = []
  const watch = new Watch({ read }, bus, clock, (error) => void errors.push(error))
  return { clock, bus, stored, reads, watch, errors, breakStore: () => void (broken = true) }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('ten thousand waiters that are told by the bus cost no read at all', async () => {
  const { bus, reads, watch } = rig()
  const waits = Array.from({ length: 10_000 }, (_, i) => watch.waitEnd(`${i}`, 60_000, { fresh: true }))
  assert.equal(watch.size, 10_000)
  for (let i = 0; i < 10_000; i++)
    bus.publish({ kind: 'job', job: job(`${i}`, { status: 'succeeded', version: 3, hasAnswer: true }), answer: ANSWER })
  for (const ended of await Promise.all(waits)) assert.equal(ended?.answer, ANSWER)
  assert.equal(reads.length, 0)
  assert.equal(watch.size, 0)
})

test('what the bus lost is found at the deadline, with reads in batches', async () => {
  const { clock, stored, reads, watch } = rig()
  const waits = Array.from({ length: 1200 }, (_, i) => watch.waitEnd(`${i}`, 1000, { fresh: true }))
  for (let i = 0; i < 600; i++) stored.set(`${i}`, { job: job(`${i}`, { status: 'succeeded', hasAnswer: true }) })
  for (let i = 600; i < 1200; i++) stored.set(`${i}`, { job: job(`${i}`) })
  clock.advance(999)
  await settled()
  assert.equal(reads.length, 0)
  clock.advance(200)
  const ended = await Promise.all(waits)
  assert.equal(ended.filter((one) => one?.job.status === 'succeeded').length, 600)
  assert.equal(ended.filter((one) => one === undefined).length, 600)
  assert.ok(reads.length <= 3 && reads.every((one) => one.ids.length <= 500 && one.want === 'status'), `${reads.length} reads`)
})

test('a wait for a job that has ended already ends at once', async () => {
  const { stored, watch } = rig()
  stored.set('a', { job: job('a', { status: 'cancelled' }) })
  assert.equal((await watch.waitEnd('a', 60_000))?.job.status, 'cancelled')
})

test('an answer that is not in hand is left in the store, for who writes it to read', async () => {
  const { bus, reads, stored, watch } = rig()
  const ended = job('a', { status: 'failed', hasAnswer: true, version: 9 })
  const wait = watch.waitEnd('a', 60_000, { fresh: true })
  bus.publish({ kind: 'job', job: ended })
  assert.deepEqual(await wait, { job: ended })
  stored.set('a', { job: ended })
  assert.deepEqual(await watch.waitEnd('a', 60_000), { job: ended })
  assert.ok(reads.every((one) => one.want === 'status'))
})

test('a store that fails ends the wait as if the time were up', async () => {
  const { clock, watch, breakStore } = rig()
  breakStore()
  assert.equal(await watch.waitEnd('a', 60_000), undefined)
  const fresh = watch.waitEnd('a', 100, { fresh: true })
  clock.advance(300)
  assert.equal(await fresh, undefined)
})

test('a watcher hears newer versions only, each once, and reads again at every beat', async () => {
  const { bus, clock, stored, watch } = rig()
  const heard: number[] = []
  let beats = 0
  const unwatch = watch.watch('a', 5, 1000, {
    job: (changed) => void heard.push(changed.version),
    beat: () => void beats++,
  })
  for (const version of [4, 5, 6, 6, 8, 7]) bus.publish({ kind: 'job', job: job('a', { version }) })
  bus.publish({ kind: 'job', job: job('b', { version: 99 }) })
  assert.deepEqual(heard, [6, 8])
  stored.set('a', { job: job('a', { version: 9 }) })
  clock.advance(1100)
  await settled()
  assert.deepEqual([heard, beats], [[6, 8, 9], 1])
  clock.advance(1100)
  await settled()
  assert.equal(beats, 2)
  unwatch()
  assert.equal(watch.size, 0)
  clock.advance(10_000)
  await settled()
  assert.equal(beats, 2)
})

test('closing ends every wait', async () => {
  const { watch } = rig()
  const waits = [watch.waitEnd('a', 60_000, { fresh: true }), watch.waitEnd('b', 60_000, { fresh: true })]
  watch.close()
  assert.deepEqual(await Promise.all(waits), [undefined, undefined])
  assert.equal(await watch.waitEnd('c', 60_000), undefined)
})

test('what changed between the reading and the watching is told at once', async () => {
  const { stored, watch } = rig()
  const heard: number[] = []
  const listener = { job: (changed: StoredJob) => void heard.push(changed.version), beat: () => undefined }
  stored.set('a', { job: job('a', { version: 6 }) })
  watch.watch('a', 5, 60_000, listener)
  watch.watch('a', 6, 60_000, listener)
  const unwatch = watch.watch('a', 1, 60_000, listener)
  unwatch()
  await settled()
  assert.deepEqual(heard, [6])
})

test('a listener that throws hears nothing more, and harms nobody else', async () => {
  const { bus, clock, stored, watch, errors } = rig()
  const heard: number[] = []
  const fail = (): void => {
    throw new Error('a bug')
  }
  stored.set('a', { job: job('a', { version: 1 }) })
  watch.watch('a', 1, 1000, { job: fail, beat: () => undefined })
  watch.watch('a', 1, 1000, { job: () => undefined, beat: fail })
  watch.watch('a', 1, 1000, { job: (changed) => void heard.push(changed.version), beat: () => void heard.push(0) })
  const wait = watch.waitEnd('a', 60_000, { fresh: true })
  bus.publish({ kind: 'job', job: job('a', { version: 2 }) })
  assert.deepEqual([heard, errors.length, watch.size], [[2], 1, 3])
  clock.advance(1100)
  await settled()
  assert.deepEqual([heard, errors.length, watch.size], [[2, 0], 2, 2])
  bus.publish({ kind: 'job', job: job('a', { version: 3, status: 'succeeded' }) })
  assert.equal((await wait)?.job.version, 3)
  assert.equal(errors.length, 2)
})
