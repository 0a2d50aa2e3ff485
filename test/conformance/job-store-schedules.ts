/** Schedules: each due time makes exactly one job, or is missed in the way that was asked for. */
import assert from 'node:assert/strict'
import type { StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { newJob, type Rig } from './rig.ts'

const MINUTE = 60_000
/** Later than this, a due time was missed. */
const MISSED_AFTER_MS = 60_000

async function waiting(rig: Rig, queue = 'q'): Promise<number> {
  return (await rig.stats(queue)).counts.queued
}

/** Cancels and forgets all there is. */
async function clear(rig: Rig): Promise<void> {
  for (const id of await rig.browseIds({ max: 2000 })) {
    await rig.cancel(id)
    await rig.command({ kind: 'forget', id })
  }
}

async function madeJob(rig: Rig): Promise<StoredJob> {
  const { lastJob = assert.fail('it made one') } = await rig.scheduleState()
  return (await rig.read(lastJob)) ?? assert.fail('it is there')
}

export const scheduleCases: Cases = {
  async 'a job is made when it is due, each time, and not before'(rig) {
    const start = rig.clock.now()
    assert.deepEqual(await rig.schedule(), { kind: 'done' })
    assert.equal((await rig.scheduleState()).nextAt, start + MINUTE)
    assert.equal((await rig.pass(MINUTE - 1)).nextMs, 1)
    assert.equal(await waiting(rig), 0)
    for (let round = 1; round <= 3; round++) {
      const tick = await rig.pass(round === 1 ? 1 : MINUTE)
      assert.deepEqual([tick.ready, tick.nextMs], [['q'], MINUTE])
      assert.equal(await waiting(rig), round)
      const { made, lastAt, nextAt, missedCount } = await rig.scheduleState()
      assert.deepEqual([made, lastAt, nextAt, missedCount], [round, start + round * MINUTE, start + (round + 1) * MINUTE, 0])
    }
    const ids = new Set(await rig.leaseIds())
    assert.equal(ids.size, 3)
  },

  async 'the job is as it was described'(rig) {
    const body = Buffer.from([0, 255, 10, 13, 200])
    const job = newJob({ key: 'k', priority: 7, tenant: 't', reference: 'r', body, delayMs: 100, expireAfterMs: 500, method: 'PUT' })
    await rig.schedule({ job })
    await rig.restart()
    await rig.pass(MINUTE)
    const { key, priority, tenant, reference, notBefore, expiresAt, method } = await madeJob(rig)
    const now = rig.clock.now()
    assert.deepEqual([key, priority, tenant, reference, notBefore, expiresAt, method], ['k', 7, 't', 'r', now + 100, now + 600, 'PUT'])
    await rig.pass(100)
    const { request } = await rig.leaseOne()
    assert.deepEqual(Buffer.from(request.body), body)
    assert.deepEqual(request.headers, ['Host', 'example.com'])
  },

  async 'a cron expression is due by the clock of its time zone'(rig) {
    await rig.schedule({ when: { cron: '30 9 * * *', timeZone: 'Asia/Kolkata' } })
    const { nextAt } = await rig.scheduleState()
    assert.equal(new Date(nextAt ?? 0).toISOString(), '2030-01-01T04:00:00.000Z')
    await rig.pass((nextAt ?? 0) - rig.clock.now())
    assert.equal(await waiting(rig), 1)
    assert.equal((await rig.scheduleState()).nextAt, (nextAt ?? 0) + 86_400_000)
  },

  async 'a cron expression or a time zone that is none is refused'(rig) {
    for (const when of [
      { cron: 'every day', timeZone: 'UTC' },
      { cron: '61 * * * *', timeZone: 'UTC' },
      { cron: '* * * * *', timeZone: 'Mars/Olympus' },
    ]) {
      const outcome = await rig.schedule({ when })
      assert.equal(outcome.kind === 'refused' && outcome.limit, 'schedule', when.cron)
    }
    assert.deepEqual(await rig.store.schedules(), [])
  },

  async 'a schedule for a queue that is not there is not made'(rig) {
    assert.deepEqual(await rig.schedule({ job: newJob({ queue: 'nowhere' }) }), { kind: 'missing' })
    assert.deepEqual(await rig.store.schedules(), [])
  },

  async 'schedules are listed by name, with all that was said of them'(rig) {
    for (const name of ['b', 'a', 'ä']) await rig.schedule({ name, definition: `{"of":"${name}"}`, missed: 'once', paused: name === 'b' })
    await rig.restart()
    const listed = await rig.store.schedules()
    assert.deepEqual(
      listed.map(({ name, queue, definition, missed, paused, made }) => [name, queue, definition, missed, paused, made]),
      ['a', 'b', 'ä'].map((name) => [name, 'q', `{"of":"${name}"}`, 'once', name === 'b', 0]),
    )
  },

  async 'a due time that is just in time is not missed, one that is later is'(rig) {
    await rig.schedule({ missed: 'skip', when: { everyMs: 10 * MINUTE, startAt: rig.clock.now() + MINUTE } })
    await rig.pass(MINUTE + MISSED_AFTER_MS)
    assert.equal(await waiting(rig), 1)
    await rig.pass(10 * MINUTE + 1)
    const { made, missedCount, lastProblem, nextAt } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, nextAt], [1, 1, rig.clock.now() + 9 * MINUTE - 1])
    assert.match(lastProblem ?? '', /missed/)
    await rig.pass(9 * MINUTE)
    assert.equal((await rig.scheduleState()).lastProblem, undefined, 'the next one is in time')
  },

  async 'what was missed is skipped'(rig) {
    await rig.schedule({ missed: 'skip' })
    await rig.pass(10 * MINUTE)
    const { made, missedCount, nextAt } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, nextAt], [0, 10, rig.clock.now() + MINUTE])
  },

  async 'what was missed is run once'(rig) {
    const start = rig.clock.now()
    await rig.schedule({ missed: 'once' })
    await rig.pass(10 * MINUTE)
    await rig.settleTime()
    const { made, missedCount, nextAt, lastAt } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, nextAt, lastAt], [1, 9, rig.clock.now() + MINUTE, start + MINUTE])
    assert.equal(await waiting(rig), 1)
  },

  async 'all of what was missed is run'(rig) {
    await rig.schedule({ missed: 'all' })
    await rig.pass(10 * MINUTE)
    await rig.settleTime()
    const { made, missedCount, nextAt } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, nextAt], [10, 0, rig.clock.now() + MINUTE])
    assert.equal(await waiting(rig), 10)
  },

  async 'of what was missed at most a thousand are run'(rig) {
    await rig.schedule({ missed: 'all' })
    // Those of the last minute are in time, so they are beside the thousand.
    await rig.pass(1001 * MINUTE)
    await rig.settleTime()
    const { made, missedCount } = await rig.scheduleState()
    assert.deepEqual([made, missedCount], [1001, 0])
    await rig.pass(1003 * MINUTE)
    await rig.settleTime()
    const after = await rig.scheduleState()
    assert.equal(after.made, 2001)
    assert.equal(after.made + after.missedCount, 2004)
  },

  async 'a great many due times are made in steps'(rig) {
    await rig.schedule({ missed: 'all' })
    assert.equal((await rig.pass(50 * MINUTE)).nextMs, 0)
    const first = await waiting(rig)
    assert.ok(first > 0 && first <= 20, String(first))
    await rig.settleTime()
    assert.equal(await waiting(rig), 50)
  },

  async 'a paused schedule makes nothing, and makes up for nothing when it goes on'(rig) {
    await rig.schedule({ missed: 'all', paused: true })
    rig.assertIdle(await rig.pass(5 * MINUTE))
    await rig.schedule({ missed: 'all', paused: false, when: { everyMs: MINUTE, startAt: rig.clock.now() - 4 * MINUTE } })
    assert.equal(await waiting(rig), 0)
    await rig.pass(MINUTE)
    assert.ok((await waiting(rig)) <= 2)
  },

  async 'paused and taken up again it goes on with what is due next'(rig) {
    const when = { everyMs: MINUTE, startAt: rig.clock.now() + MINUTE }
    await rig.schedule({ when, missed: 'all' })
    await rig.pass(MINUTE)
    await rig.schedule({ when, missed: 'all', paused: true })
    await rig.pass(5 * MINUTE + 1)
    await rig.schedule({ when, missed: 'all', paused: false })
    const { made, missedCount, nextAt } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, nextAt], [1, 0, rig.clock.now() + MINUTE - 1])
  },

  async 'replaced it goes on where it was, unless it is due at other times'(rig) {
    const when = { everyMs: MINUTE, startAt: rig.clock.now() + MINUTE }
    await rig.schedule({ when })
    await rig.pass(MINUTE)
    await rig.schedule({ when, job: newJob({ queue: 'other' }) })
    const state = await rig.scheduleState()
    assert.deepEqual([state.made, state.queue, state.nextAt], [1, 'other', rig.clock.now() + MINUTE])
    await rig.pass(MINUTE)
    assert.equal(await waiting(rig, 'other'), 1)
    const startAt = rig.clock.now() + 7 * MINUTE
    await rig.schedule({ when: { everyMs: 5 * MINUTE, startAt } })
    assert.deepEqual([(await rig.scheduleState()).nextAt, (await rig.scheduleState()).made], [startAt, 2])
  },

  async 'one that is due now is due now'(rig) {
    await rig.schedule({ when: { everyMs: MINUTE, startAt: rig.clock.now() } })
    await rig.store.tick()
    assert.equal(await waiting(rig), 1)
    await rig.store.tick()
    assert.equal(await waiting(rig), 1)
  },

  async 'a removed schedule makes nothing more'(rig) {
    await rig.schedule()
    assert.deepEqual(await rig.command({ kind: 'unschedule', name: 's' }), { kind: 'done' })
    assert.deepEqual(await rig.command({ kind: 'unschedule', name: 's' }), { kind: 'missing' })
    await rig.restart()
    await rig.pass(5 * MINUTE)
    assert.equal(await waiting(rig), 0)
    assert.deepEqual(await rig.store.schedules(), [])
  },

  async 'where there is no room, that is said, and the next due time comes'(rig) {
    await rig.configure({}, { jobs: 1 })
    const { id } = await rig.submit()
    await rig.schedule()
    await rig.pass(MINUTE)
    const full = await rig.scheduleState()
    assert.deepEqual([full.made, full.missedCount], [0, 1])
    assert.match(full.lastProblem ?? '', /as many as it may/)
    await rig.cancel(id)
    await rig.pass(MINUTE)
    const after = await rig.scheduleState()
    assert.deepEqual([after.made, after.missedCount, after.lastProblem], [1, 1, undefined])
  },

  async 'a queue that a schedule fills is not dropped'(rig) {
    await rig.command({ kind: 'configure', queue: 'new', limits: (await rig.stats()).limits })
    await rig.schedule({ job: newJob({ queue: 'new' }) })
    const outcome = await rig.command({ kind: 'drop', queue: 'new' })
    assert.ok(outcome.kind === 'refused' && /schedule/.test(outcome.detail))
    await rig.command({ kind: 'unschedule', name: 's' })
    assert.deepEqual(await rig.command({ kind: 'drop', queue: 'new' }), { kind: 'done' })
  },

  async 'after a restart it goes on, and no due time makes two jobs'(rig) {
    await rig.schedule({ missed: 'all' })
    for (let round = 0; round < 5; round++) {
      await rig.pass(MINUTE)
      await rig.restart()
      await rig.store.tick()
    }
    rig.clock.advance(3 * MINUTE)
    await rig.restart()
    await rig.settleTime()
    const { made, missedCount } = await rig.scheduleState()
    assert.deepEqual([made, missedCount, await waiting(rig)], [8, 0, 8])
  },

  async 'a clock that goes back makes nothing twice'(rig) {
    await rig.schedule({ missed: 'all' })
    await rig.pass(2 * MINUTE)
    await rig.settleTime()
    rig.clock.jump(-2 * MINUTE)
    await rig.pass(2 * MINUTE)
    await rig.settleTime()
    assert.equal((await rig.scheduleState()).made, 2)
  },

  async 'many schedules that are due at once are all made'(rig) {
    for (let n = 0; n < 30; n++) await rig.schedule({ name: `s${n}`, job: newJob({ reference: `s${n}` }) })
    rig.clock.advance(MINUTE)
    await rig.settleTime()
    const jobs = (await rig.store.browse({ filter: {}, max: 100 })).jobs
    assert.equal(new Set(jobs.map(({ reference }) => reference)).size, 30)
    assert.equal(new Set(jobs.map(({ secret }) => secret)).size, 30)
    await clear(rig)
    assert.equal(await waiting(rig), 0)
  },

  async 'all definitions together may have 16 MiB, and no more'(rig) {
    const job = newJob({ body: Buffer.alloc(3_000_000) })
    const put = async (name: string, more: Buffer = Buffer.alloc(0)): Promise<string> =>
      (await rig.schedule({ name, job: more.length === 0 ? job : { ...job, request: { ...job.request, body: more } } })).kind
    // Four megabytes each, as text.
    assert.deepEqual([await put('a'), await put('b'), await put('c'), await put('d')], ['done', 'done', 'done', 'done'])
    assert.equal(await put('e'), 'refused')
    assert.equal(await put('a'), 'done', 'one that is there may be put again')
    assert.equal(await put('d', Buffer.alloc(10)), 'done')
    assert.equal(await put('e'), 'done', 'and there is room again')
  },

  async 'a period that began a while ago goes on with what is due next, and has missed nothing'(rig) {
    for (const [name, ago] of [
      ['in time', MISSED_AFTER_MS],
      ['too late', MISSED_AFTER_MS + 1],
    ] as const)
      await rig.schedule({ name, missed: 'all', when: { everyMs: 3_600_000, startAt: rig.clock.now() - ago } })
    await rig.settleTime()
    assert.deepEqual(
      (await rig.store.schedules()).map(({ name, made, missedCount }) => [name, made, missedCount]),
      [
        ['in time', 1, 0],
        ['too late', 0, 0],
      ],
    )
  },

  async 'no due time comes twice, however often a schedule is paused or given another period'(rig) {
    const startAt = rig.clock.now()
    const put = async (everyMs: number, paused: boolean): Promise<void> =>
      void (await rig.schedule({ when: { everyMs, startAt }, missed: 'all', paused }))
    await put(3_600_000, false)
    await rig.settleTime()
    rig.clock.advance(1000)
    for (const everyMs of [3_600_000, 7_200_000]) {
      await put(everyMs, true)
      await put(everyMs, false)
      await rig.settleTime()
      const { made, nextAt } = await rig.scheduleState()
      assert.deepEqual([made, nextAt], [1, startAt + everyMs])
    }
  },

  async 'a period that begins now begins now, also when the store’s clock is a little ahead'(rig) {
    const startAt = rig.clock.now() - 1
    await rig.schedule({ when: { everyMs: 3_600_000, startAt } })
    await rig.settleTime()
    assert.equal((await rig.scheduleState()).made, 1)
  },
}
