/** Work on many jobs: redrive, move, cancel or forget all that a filter means, in steps, once each, also over a restart. */
import assert from 'node:assert/strict'
import type { JobFilter, TaskState } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, type JobOptions, NO_LIMITS, type Rig } from './rig.ts'

async function deadLetters(rig: Rig, options: readonly JobOptions[]): Promise<readonly string[]> {
  const jobs = await rig.submitAll(options)
  const leases = await rig.lease({ max: options.length })
  await rig.store.settle(leases.map(({ ref }) => ({ kind: 'fail', lease: ref, error: FAILURE, deadLetter: true, answer: ANSWER })))
  return jobs.map(({ id }) => id)
}

/** Until it has ended. */
async function finish(rig: Rig, id: number): Promise<TaskState> {
  for (let round = 0; round < 100; round++) {
    await rig.settleTime()
    const task = await rig.task(id)
    if (task.endedAt !== undefined) return task
  }
  return assert.fail('it ends')
}

function times<T>(count: number, item: T): T[] {
  return Array.from({ length: count }, () => item)
}

export const taskCases: Cases = {
  async 'dead letters are sent again, all that are meant and no others'(rig) {
    const meant = await deadLetters(rig, times(5, { reference: 'yes' }))
    const others = await deadLetters(rig, times(2, { reference: 'no' }))
    const plain = await rig.submit({ reference: 'yes' })
    await rig.fail((await rig.leaseOne()).ref)
    const elsewhere = await rig.deadLetter({ queue: 'other', reference: 'yes' })
    const task = await rig.begin({ kind: 'redrive', filter: { reference: 'yes' } })
    assert.deepEqual((await rig.store.tick()).changed.map(({ id }) => id).toSorted(), meant)
    const { done, refused, endedAt, stopped, kind, filter } = await finish(rig, task)
    assert.deepEqual([done, refused, endedAt, stopped], [5, 0, rig.clock.now(), false])
    assert.deepEqual([kind, filter], ['redrive', { queue: 'q', reference: 'yes' }])
    assert.deepEqual(await rig.leaseIds(), meant)
    for (const id of [...others, elsewhere.id]) assert.equal((await rig.read(id))?.dead, 'server_error')
    assert.equal((await rig.read(plain.id))?.status, 'failed')
  },

  async 'dead letters are sent again in another queue'(rig) {
    const ids = await deadLetters(rig, times(3, {}))
    const task = await rig.begin({ kind: 'redrive', to: 'other' })
    assert.ok((await rig.store.tick()).ready.includes('other'))
    assert.equal((await finish(rig, task)).done, 3)
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), ids)
  },

  async 'what waits is moved, and so are dead letters; what runs stays'(rig) {
    const [dead] = await deadLetters(rig, [{}])
    const jobs = await rig.submitAll([{}, {}, { delayMs: 5000 }, { key: 'k' }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    const task = await rig.begin({ kind: 'move', to: 'other' })
    assert.equal((await finish(rig, task)).done, 5)
    assert.equal((await rig.read(ref.id))?.queue, 'q')
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [dead, jobs[1]?.id, jobs[3]?.id])
    assert.equal((await rig.stats('other')).scheduled, 1)
    await rig.succeed(ref)
  },

  async 'what waits is cancelled; what runs and what has ended stays as it is'(rig) {
    const [dead] = await deadLetters(rig, [{}])
    const jobs = await rig.submitAll([{}, {}, { delayMs: 5000 }, { key: 'k' }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    const task = await rig.begin({ kind: 'cancel' })
    const changed = await rig.settleTime()
    assert.deepEqual(
      changed.map(({ id, status }) => [id, status]),
      jobs.slice(1).map(({ id }) => [id, 'cancelled']),
    )
    assert.equal((await finish(rig, task)).done, 4)
    assert.equal((await rig.read(dead ?? ''))?.status, 'failed')
    await rig.succeed(ref)
  },

  async 'what has ended is forgotten; what has not stays'(rig) {
    const dead = await deadLetters(rig, times(3, {}))
    const waiting = await rig.submit()
    const task = await rig.begin({ kind: 'forget' })
    assert.equal((await finish(rig, task)).done, 3)
    for (const id of dead) assert.equal(await rig.read(id), undefined)
    assert.equal((await rig.read(waiting.id))?.status, 'queued')
    assert.deepEqual((await rig.stats()).dead, {})
  },

  async 'every part of a filter counts, and all of them must hold'(rig) {
    const start = rig.clock.now()
    const [a, b] = await deadLetters(rig, [
      { key: 'k', tenant: 't', reference: 'r' },
      { key: 'l', tenant: 'u', reference: 's' },
    ])
    rig.clock.advance(1000)
    const filters: readonly [JobFilter, readonly (string | undefined)[]][] = [
      [{ key: 'k' }, [a]],
      [{ tenant: 'u' }, [b]],
      [{ reference: 'r', key: 'l' }, []],
      [{ dead: 'server_error' }, [a, b]],
      [{ dead: 'poison' }, []],
      [{ dead: true, statuses: ['failed'] }, [a, b]],
      [{ statuses: ['expired'] }, []],
      [{ since: start, until: start + 1 }, [a, b]],
      [{ since: start + 1 }, []],
      [{ until: start }, []],
    ]
    for (const [filter, expected] of filters) {
      const { done } = await finish(rig, await rig.begin({ kind: 'redrive', filter }))
      assert.equal(done, expected.length, JSON.stringify(filter))
      const leases = await rig.lease()
      assert.deepEqual(leases.map(({ ref }) => ref.id).toSorted(), expected)
      for (const { ref } of leases) await rig.fail(ref, true)
    }
  },

  async 'it means what is there when it begins'(rig) {
    const [before] = await deadLetters(rig, [{}])
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    const forget = await rig.begin({ kind: 'forget' })
    rig.clock.advance(1)
    await rig.fail(ref, true)
    const [after] = await deadLetters(rig, [{}])
    assert.equal((await finish(rig, forget)).done, 1)
    assert.equal(await rig.read(before ?? ''), undefined)
    assert.equal((await rig.read(after ?? ''))?.dead, 'server_error')
    assert.equal((await rig.read(id))?.dead, 'server_error', 'nobody has seen it yet')
  },

  async 'what it sends again and fails again it leaves alone'(rig) {
    const [id] = await deadLetters(rig, [{}])
    const task = await rig.begin({ kind: 'redrive', perSecond: 1 })
    await rig.store.tick()
    await rig.fail((await rig.leaseOne()).ref, true)
    await rig.pass(5000)
    await finish(rig, task)
    assert.equal((await rig.read(id ?? ''))?.redrives, 1)
  },

  async 'a great many are done in steps, with room for others in between'(rig) {
    await deadLetters(rig, times(900, {}))
    const task = await rig.begin({ kind: 'redrive' })
    let done = 0
    let steps = 0
    for (let { nextMs } = await rig.store.tick(); ; { nextMs } = await rig.store.tick()) {
      const state = await rig.task(task)
      assert.ok(state.done - done <= 200, `${state.done - done} in one step`)
      done = state.done
      steps += 1
      if (state.endedAt !== undefined) break
      assert.equal(nextMs, 0)
    }
    assert.ok(steps >= 5, String(steps))
    assert.deepEqual([done, (await rig.stats()).counts.queued], [900, 900])
  },

  async 'it looks past a great many that it does not mean'(rig) {
    await rig.submitAll(times(2500, {}))
    const last = await rig.submit({ reference: 'r' })
    const { done } = await finish(rig, await rig.begin({ kind: 'cancel', filter: { reference: 'r' } }))
    assert.equal(done, 1)
    assert.equal((await rig.read(last.id))?.status, 'cancelled')
    assert.equal((await rig.stats()).counts.queued, 2500)
  },

  async 'no more each second than was asked for'(rig) {
    await deadLetters(rig, times(5, {}))
    const task = await rig.begin({ kind: 'redrive', perSecond: 2 })
    const done = async (): Promise<number> => (await rig.task(task)).done
    await rig.store.tick()
    assert.equal(await done(), 1)
    assert.equal((await rig.store.tick()).nextMs, 500)
    await rig.pass(499)
    assert.equal(await done(), 1)
    await rig.pass(1)
    assert.equal(await done(), 2)
    await rig.pass(60_000)
    assert.equal(await done(), 4, 'no more at once, however long nobody came by')
    await rig.pass(500)
    assert.equal((await finish(rig, task)).done, 5)
  },

  async 'less than one each second'(rig) {
    await deadLetters(rig, times(2, {}))
    const task = await rig.begin({ kind: 'redrive', perSecond: 0.1 })
    await rig.store.tick()
    await rig.pass(9999)
    assert.equal((await rig.task(task)).done, 1)
    await rig.pass(1)
    assert.equal((await rig.task(task)).done, 2)
  },

  async 'where there is no room, that is counted, and it goes on'(rig) {
    const ids = await deadLetters(rig, times(5, {}))
    await rig.configure({}, { jobs: 3 }, 'other')
    const { done, refused } = await finish(rig, await rig.begin({ kind: 'redrive', to: 'other' }))
    assert.deepEqual([done, refused], [3, 2])
    assert.equal((await rig.read(ids[4] ?? ''))?.dead, 'server_error')
  },

  async 'a task that is stopped does nothing more'(rig) {
    await deadLetters(rig, times(3, {}))
    const task = await rig.begin({ kind: 'redrive', perSecond: 1 })
    await rig.store.tick()
    assert.deepEqual(await rig.command({ kind: 'stop', task }), { kind: 'done' })
    assert.deepEqual(await rig.command({ kind: 'stop', task }), { kind: 'missing' })
    assert.deepEqual(await rig.command({ kind: 'stop', task: 999 }), { kind: 'missing' })
    await rig.pass(60_000)
    const { done, stopped, endedAt } = await rig.task(task)
    assert.deepEqual([done, stopped], [1, true])
    assert.ok(endedAt !== undefined)
  },

  async 'after a restart it goes on where it was, and does nothing twice'(rig) {
    const ids = await deadLetters(rig, times(10, {}))
    const task = await rig.begin({ kind: 'redrive', perSecond: 1 })
    for (let round = 0; round < 12; round++) {
      await rig.pass(1000)
      await rig.restart()
    }
    const { done, endedAt } = await rig.task(task)
    assert.equal(done, 10)
    assert.ok(endedAt !== undefined)
    const reads = await rig.store.read(ids, 'status')
    assert.deepEqual(
      reads.map((read) => read?.job.redrives),
      times(10, 1),
    )
  },

  async 'queues that are not there have no tasks'(rig) {
    for (const task of [
      { kind: 'redrive', filter: { queue: 'nowhere' } },
      { kind: 'move', filter: { queue: 'q' }, to: 'nowhere' },
    ] as const)
      assert.deepEqual(await rig.command({ kind: 'begin', task }), { kind: 'missing' })
    assert.deepEqual(await rig.store.tasks(), [])
  },

  async 'as many tasks at once as may be, and not one more'(rig) {
    const numbers: number[] = []
    for (let n = 0; n < 100; n++) numbers.push(await rig.begin({ kind: 'forget', perSecond: 1 }))
    assert.equal(new Set(numbers).size, 100)
    const outcome = await rig.command({ kind: 'begin', task: { kind: 'forget', filter: { queue: 'q' } } })
    assert.equal(outcome.kind === 'refused' && outcome.limit, 'tasks')
    await rig.command({ kind: 'stop', task: numbers[50] ?? 0 })
    await rig.begin({ kind: 'forget' })
  },

  async 'of tasks that have ended the last fifty are remembered'(rig) {
    const numbers: number[] = []
    for (let n = 0; n < 51; n++) {
      numbers.push(await rig.begin({ kind: 'forget' }))
      await rig.settleTime()
    }
    assert.deepEqual(
      (await rig.store.tasks()).map(({ id }) => id),
      numbers.slice(1),
    )
    await rig.restart()
    assert.ok((await rig.begin()) > (numbers.at(-1) ?? 0), 'a number is not given twice')
  },

  async 'a queue that a task works on is not dropped'(rig) {
    await rig.command({ kind: 'configure', queue: 'new', limits: NO_LIMITS })
    const task = await rig.begin({ kind: 'redrive', to: 'new', perSecond: 1 })
    const outcome = await rig.command({ kind: 'drop', queue: 'new' })
    assert.ok(outcome.kind === 'refused' && /task/.test(outcome.detail))
    await rig.command({ kind: 'stop', task })
    assert.deepEqual(await rig.command({ kind: 'drop', queue: 'new' }), { kind: 'done' })
  },

  async 'keys that failed jobs block are freed by forgetting them all'(rig) {
    await rig.configure({ onFailure: 'block' })
    await rig.submitAll(['a', 'b', 'c'].flatMap((key) => [{ key }, { key }]))
    for (const { ref } of await rig.lease()) await rig.fail(ref)
    assert.equal((await rig.stats()).blockedKeys, 3)
    await finish(rig, await rig.begin({ kind: 'forget', filter: { dead: true } }))
    assert.equal((await rig.stats()).blockedKeys, 0)
    assert.equal((await rig.lease()).length, 3)
  },
}
