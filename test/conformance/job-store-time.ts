/** What time does: delays end, jobs expire, ended jobs are removed. */
import assert from 'node:assert/strict'
import type { Millis } from '../../src/lib/units.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, NO_LIMITS, type Rig } from './rig.ts'

const KEPT_LONGER = { keepMs: 86_400_000 }

/** Submits, runs and ends a job whose result is `bytes` long. */
async function finished(rig: Rig, bytes: number, how: { readonly dead?: boolean; readonly keepMs?: Millis } = {}): Promise<string> {
  const { dead = false, ...options } = how
  const { id } = await rig.submit(options)
  const { ref } = await rig.leaseOne()
  const answer = { ...ANSWER, body: Buffer.alloc(bytes) }
  if (dead) await rig.fail(ref, true, answer)
  else await rig.succeed(ref, answer)
  return id
}

export const timeCases: Cases = {
  async 'nothing is scheduled in an empty store'(rig) {
    rig.assertIdle(await rig.store.tick())
    await rig.submit()
    rig.assertIdle(await rig.store.tick())
  },

  async 'a delayed job is handed out when it is due, not before'(rig) {
    const job = await rig.submit({ delayMs: 5000 })
    assert.deepEqual([job.status, job.notBefore, job.position], ['queued', rig.clock.now() + 5000, undefined])
    assert.deepEqual(await rig.pass(4999), { nextMs: 1, ready: [], changed: [] })
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual((await rig.pass(1)).ready, ['q'])
    assert.equal((await rig.read(job.id))?.position, 1)
    assert.equal((await rig.leaseOne()).ref.id, job.id)
  },

  async 'a job that nobody took in time expires as a dead letter'(rig) {
    const job = await rig.submit({ expireAfterMs: 5000 })
    assert.equal(job.expiresAt, rig.clock.now() + 5000)
    assert.deepEqual((await rig.pass(4999)).changed, [])
    const { changed } = await rig.pass(1)
    assert.deepEqual(
      changed.map(({ id, status, dead, error }) => [id, status, dead, error?.code]),
      [[job.id, 'expired', 'expired', 'job_expired']],
    )
    assert.deepEqual(await rig.lease(), [])
  },

  async 'an expired job is never handed out, also when no tick came first'(rig) {
    const job = await rig.submit({ expireAfterMs: 5000 })
    const other = await rig.submit()
    rig.clock.advance(5000)
    assert.deepEqual(await rig.leaseIds(), [other.id])
    assert.equal((await rig.read(job.id))?.status, 'expired')
    assert.deepEqual(
      (await rig.store.tick()).changed.map(({ id }) => id),
      [job.id],
      'the next tick tells',
    )
    assert.deepEqual((await rig.store.tick()).changed, [], 'once')
  },

  async 'what ended while nobody asked is told once, also when calls fail before'(rig) {
    const failing = (): Promise<void> => assert.rejects(rig.submit({ queue: 'nowhere' }))
    const [job] = await rig.submitAll([{ expireAfterMs: 5000 }, {}])
    rig.clock.advance(5000)
    assert.equal((await rig.lease()).length, 1)
    await failing()
    const [tick] = await Promise.all([rig.store.tick(), failing()])
    assert.deepEqual(
      tick.changed.map(({ id, status }) => [id, status]),
      [[job?.id, 'expired']],
    )
    assert.deepEqual((await rig.store.tick()).changed, [])
  },

  async 'the time to expire begins when a delayed job is due'(rig) {
    const job = await rig.submit({ delayMs: 3000, expireAfterMs: 5000 })
    assert.equal(job.expiresAt, rig.clock.now() + 8000)
    await rig.pass(3000)
    await rig.pass(4999)
    assert.equal((await rig.read(job.id))?.status, 'queued')
    await rig.pass(1)
    assert.equal((await rig.read(job.id))?.status, 'expired')
  },

  async 'a job that was taken in time does not expire'(rig) {
    const { id } = await rig.submit({ expireAfterMs: 5000 })
    const { ref } = await rig.leaseOne()
    await rig.pass(6000)
    assert.equal((await rig.read(id))?.status, 'running')
    assert.equal((await rig.retry(ref, 1000)).status, 'retrying')
    await rig.pass(1000)
    assert.equal((await rig.leaseOne()).ref.id, id)
  },

  async 'a hand-out that was no attempt does not save a job from expiring'(rig) {
    const { id } = await rig.submit({ expireAfterMs: 5000 })
    await rig.handBack((await rig.leaseOne()).ref, 60_000)
    await rig.pass(5000)
    assert.equal((await rig.read(id))?.status, 'expired')
    const late = await rig.submit({ expireAfterMs: 5000 })
    const { ref } = await rig.leaseOne()
    await rig.pass(5000)
    const back = await rig.settled({ kind: 'handBack', lease: ref, afterMs: 0, answer: { ...ANSWER, status: 503 } })
    assert.deepEqual([back.status, back.dead, back.hasAnswer], ['expired', 'expired', false], 'also when it comes back too late')
    assert.deepEqual(await rig.result(late.id), { job: back })
  },

  async 'ended jobs are removed after their time, dead letters after theirs'(rig) {
    const options = { keepMs: 1000, keepDeadMs: 3000 }
    const [good, bad, gone] = await rig.submitAll([options, options, options])
    const [a, b] = await rig.lease({ max: 2 })
    assert.ok(a && b)
    await rig.succeed(a.ref)
    await rig.fail(b.ref, true, ANSWER)
    await rig.cancel(gone?.id ?? '')
    await rig.pass(999)
    assert.ok(await rig.read(good?.id ?? ''))
    const { nextMs } = await rig.pass(1)
    assert.equal(await rig.read(good?.id ?? ''), undefined)
    assert.equal(await rig.read(gone?.id ?? ''), undefined)
    assert.equal((await rig.result(bad?.id ?? ''))?.answer?.status, 200)
    assert.equal(nextMs, 2000)
    await rig.pass(2000)
    assert.equal(await rig.read(bad?.id ?? ''), undefined)
    const { counts, finishedBytes, dead } = await rig.stats()
    assert.deepEqual([Object.values(counts).reduce((a, b) => a + b), finishedBytes, dead], [0, 0, {}])
    rig.assertIdle(await rig.store.tick())
  },

  async 'a great many ended jobs are removed in steps'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 2500 }, () => ({ keepMs: 1000 })))
    await rig.store.command(jobs.map(({ id }) => ({ kind: 'cancel' as const, id })))
    rig.clock.advance(1000)
    let ticks = 0
    for (let left = 2500; left > 0; ticks++) {
      await rig.store.tick()
      const now = (await rig.stats()).counts.cancelled
      assert.ok(now < left && left - now <= 1000, `${left - now} in one step`)
      left = now
    }
    assert.ok(ticks > 2)
  },

  async 'a great many due jobs become due in steps'(rig) {
    await rig.submitAll(Array.from({ length: 2500 }, () => ({ delayMs: 1000 })))
    rig.clock.advance(1000)
    assert.equal((await rig.store.tick()).nextMs, 0)
    await rig.settleTime()
    assert.equal((await rig.lease({ max: 9999 })).length, 2500)
  },

  async 'finished jobs weigh no more than they may; the oldest go first'(rig) {
    const first = await finished(rig, 10_000)
    const each = (await rig.stats()).finishedBytes
    assert.ok(each > 10_000 && each < 12_000)
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, finished: 3 * each } }])
    rig.clock.advance(1)
    const second = await finished(rig, 10_000)
    rig.clock.advance(1)
    const third = await finished(rig, 10_000)
    assert.equal((await rig.stats()).finishedBytes, 3 * each)
    assert.ok(await rig.read(first), 'exactly as much as may be')
    rig.clock.advance(1)
    await finished(rig, 10_000)
    assert.equal(await rig.read(first), undefined)
    assert.ok((await rig.read(second)) && (await rig.read(third)))
  },

  async 'dead letters go last, and what has just ended stays'(rig) {
    const dead = await finished(rig, 10_000, { dead: true })
    const good = await finished(rig, 10_000)
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, finished: 15_000 } }])
    const last = await finished(rig, 10_000)
    assert.equal(await rig.read(good), undefined)
    assert.equal(await rig.read(dead), undefined, 'the good one alone did not suffice')
    assert.equal((await rig.result(last))?.answer?.body.length, 10_000)
    const large = await finished(rig, 20_000)
    assert.equal((await rig.result(large))?.answer?.body.length, 20_000, 'succeeded is never seen without its result')
  },

  async 'dead letters go last, also when what has just ended would be the first to go'(rig) {
    const dead = await finished(rig, 10_000, { dead: true })
    const good = [await finished(rig, 10_000, KEPT_LONGER), await finished(rig, 10_000, KEPT_LONGER)]
    const each = (await rig.stats()).finishedBytes / 3
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, finished: 3 * each } }])
    const last = await finished(rig, 10_000)
    assert.ok((await rig.read(dead)) && (await rig.read(last)) && (await rig.read(good[1] ?? '')))
    assert.equal(await rig.read(good[0] ?? ''), undefined, 'the first of those that are no dead letters, but for the last')
  },

  async 'a lowered limit is kept by and by'(rig) {
    for (let n = 0; n < 5; n++) await finished(rig, 10_000)
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, finished: 25_000 } }])
    await rig.settleTime()
    assert.ok((await rig.stats()).finishedBytes <= 25_000)
    assert.equal((await rig.stats()).counts.succeeded, 2)
  },

  async 'when the wall clock goes back, what was due stays, and the rest comes when it is due again'(rig) {
    await rig.submit({ delayMs: 1000 })
    await rig.pass(1000)
    rig.clock.jump(-3_600_000)
    assert.equal((await rig.lease()).length, 1)
    const job = await rig.submit({ delayMs: 1000 })
    await rig.pass(1000)
    assert.deepEqual(await rig.leaseIds(), [job.id])
  },
}
