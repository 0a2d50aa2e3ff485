/** What a durable engine keeps over the end of its process, whatever was under way. */
import assert from 'node:assert/strict'
import { DEATHS } from './job-store-dead-letters.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, atEachPlace, idempotency, type Rig, type JobOptions } from './rig.ts'

/** All that a client can see of a store. */
async function seen(rig: Rig): Promise<unknown> {
  const { jobs } = await rig.store.browse({ filter: {}, max: 1000 })
  const ids = jobs.map(({ id }) => id)
  return {
    results: await rig.store.read(ids, 'result'),
    requests: await rig.store.read(ids, 'request'),
    histories: await rig.store.read(ids, 'history'),
    stats: await rig.store.stats(),
    keys: await rig.keys(),
    notes: await rig.store.notes(''),
    schedules: await rig.store.schedules(),
    tasks: await rig.store.tasks(),
  }
}

export const restartCases: Cases = {
  ...atEachPlace(
    (place) => `a job that is ${place} is as it was`,
    async (rig) => {
      const before = await seen(rig)
      await rig.reopen()
      assert.deepEqual(await seen(rig), before)
    },
    (place) => place !== 'running',
  ),

  async 'all of it is as it was: blocked keys, dead letters, schedules, tasks, notes, stories'(rig) {
    await rig.configure({ onFailure: 'block' })
    for (const [n, die] of Object.values(DEATHS).entries()) await die(rig, { key: `k${n}` })
    await rig.submitAll(Object.keys(DEATHS).map((_, n) => ({ key: `k${n}`, tenant: 't' })))
    await rig.schedule()
    await rig.command({ kind: 'note', name: 'n', text: 't' })
    await rig.begin({ kind: 'redrive', perSecond: 0.001, filter: { reference: 'none' } })
    await rig.pass(60_000)
    // The rules of `q` are given at opening, so they are those that it has.
    await rig.configure({})
    const before = await seen(rig)
    await rig.reopen()
    assert.deepEqual(await seen(rig), before)
    await rig.reopen()
    assert.deepEqual(await seen(rig), before)
    assert.deepEqual(rig.corrupt, [])
  },

  async 'a crash between lease and settle is a hand-out and no attempt, and is told in the story'(rig) {
    const { id } = await rig.submit({ attempts: 1 })
    const { ref } = await rig.leaseOne({ server: 'a' })
    await rig.reopen()
    const job = await rig.read(id)
    assert.deepEqual([job?.status, job?.attempt, job?.handOuts, job?.server], ['queued', 0, 1, 'a'])
    assert.deepEqual(
      (await rig.history(id)).map(({ handOut, attempt, server, outcome }) => [handOut, attempt, server, outcome]),
      [[1, undefined, 'a', 'gateway_stopped']],
    )
    assert.deepEqual(await rig.settle({ kind: 'succeed', lease: ref, answer: ANSWER }), { kind: 'stale' })
    const again = await rig.leaseOne()
    assert.deepEqual([again.job.attempt, again.job.handOuts], [1, 2])
    assert.ok(again.ref.fence > ref.fence)
  },

  async 'a gateway that stops with it again and again makes it poison, with all of its story'(rig) {
    const { id } = await rig.submit({ attempts: 1 })
    for (let n = 1; n <= 11; n++) {
      assert.equal((await rig.leaseOne()).job.handOuts, n)
      await rig.reopen()
    }
    assert.equal((await rig.read(id))?.dead, 'poison')
    assert.deepEqual(
      (await rig.store.tick()).changed.map((job) => job.id),
      [id],
    )
    assert.deepEqual(
      (await rig.history(id)).map(({ handOut }) => handOut),
      Array.from({ length: 11 }, (_, n) => n + 1),
    )
  },

  async 'a crash leaves the outcome unknown of what may be sent once, and its key blocked where that is the rule'(rig) {
    await rig.command({
      kind: 'configure',
      queue: 'own',
      limits: (await rig.stats()).limits,
      rules: { onFailure: 'block', overflow: 'refuse' },
    })
    const [id, next] = (
      await rig.submitAll([
        { queue: 'own', key: 'k', sendOnce: true },
        { queue: 'own', key: 'k' },
      ])
    ).map((job) => job.id)
    await rig.leaseOne({ queue: 'own' })
    await rig.reopen()
    const job = await rig.read(id ?? '')
    assert.deepEqual([job?.dead, job?.attempt, job?.blocksKey], ['outcome_unknown', 1, true])
    assert.deepEqual(await rig.lease({ queue: 'own' }), [])
    await rig.done({ kind: 'release', queue: 'own', key: 'k' })
    assert.deepEqual(await rig.leaseIds({ queue: 'own' }), [next])
  },

  async 'what ended while nobody looked and was not told yet is not lost'(rig) {
    const { id } = await rig.submit({ expireAfterMs: 10 })
    rig.clock.advance(10)
    assert.deepEqual(await rig.lease(), [])
    await rig.reopen()
    assert.equal((await rig.read(id))?.status, 'expired')
  },

  async 'what was settled is never handed out again, what was not is'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 20 }, () => ({})))
    for (const [n, { ref }] of (await rig.lease({ max: 12 })).entries()) if (n % 2 === 0) await rig.succeed(ref)
    await rig.reopen()
    const again = await rig.leaseIds()
    assert.deepEqual(
      again,
      jobs.filter((_, n) => n >= 12 || n % 2 === 1).map(({ id }) => id),
    )
  },

  async 'a command is done for good: cancelled, moved, sent again, forgotten'(rig) {
    const options: JobOptions[] = [{}, {}, { priority: 9 }, { priority: 8 }]
    const [cancelled, moved, again, forgotten] = (await rig.submitAll(options)).map(({ id }) => id)
    for (const { ref } of await rig.lease({ max: 2 })) await rig.fail(ref, true)
    await rig.done({ kind: 'cancel', id: cancelled ?? '' })
    await rig.done({ kind: 'move', id: moved ?? '', queue: 'other' })
    await rig.redrive(again ?? '')
    await rig.command({ kind: 'forget', id: forgotten ?? '' })
    const before = await seen(rig)
    await rig.reopen()
    assert.deepEqual(await seen(rig), before)
    assert.deepEqual(await rig.leaseIds(), [again])
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [moved])
  },

  async 'an idempotency key is known over a redrive and a restart'(rig) {
    const { id } = await rig.deadLetter(idempotency('a'))
    await rig.redrive(id)
    await rig.reopen()
    const again = await rig.trySubmit(idempotency('a'))
    assert.equal(again.kind === 'duplicate' && again.job.id, id)
  },

  async 'tenants go on taking turns'(rig) {
    await rig.submitAll(Array.from('aaaaaabbbb', (tenant) => ({ tenant })))
    await rig.lease({ max: 2 })
    await rig.reopen()
    const order = (await rig.lease()).map(({ job }) => job.tenant).join('')
    assert.match(order, /^(ab){4}aa$|^(ba){4}aa$/)
  },

  async 'versions go on growing'(rig) {
    const { id, version } = await rig.submit()
    const { job } = await rig.leaseOne()
    await rig.reopen()
    const after = await rig.read(id)
    assert.ok((after?.version ?? 0) > job.version && job.version > version)
  },

  async 'a lease that is kept goes on, with its fence and its secret, for as long as it had at first; the others are void'(rig) {
    await rig.submitAll([{ key: 'k' }, { key: 'k' }, {}])
    const kept = await rig.leaseOne({ keeps: true, server: '["odd', leaseMs: 5000 })
    const other = await rig.leaseOne()
    await rig.reopen()
    assert.equal((await rig.settle({ kind: 'succeed', lease: other.ref, answer: ANSWER })).kind, 'stale')
    assert.equal((await rig.read(kept.ref.id))?.status, 'running')
    assert.equal((await rig.stats()).counts.running, 1)
    const [next] = await rig.lease()
    assert.equal(next?.ref.id, other.ref.id, 'its key still waits for it')
    assert.ok((next?.ref.fence ?? 0) > kept.ref.fence, 'fences grow')
    assert.deepEqual(await rig.store.extend([kept.ref], 5000), ['extended'])
    assert.equal((await rig.succeed(kept.ref)).status, 'succeeded')
    assert.equal((await rig.lease()).length, 1, 'now the next of its key')
  },

  async 'a job whose lease is kept shows a version that is greater than any before'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne({ keeps: true })
    for (let n = 0; n < 3; n++) await rig.command({ kind: 'progress', id, secret: ref.secret, progress: `${n}` })
    let last = (await rig.read(id))?.version ?? 0
    for (let round = 0; round < 3; round++) {
      await rig.reopen()
      const { version, status } = (await rig.read(id)) ?? assert.fail()
      assert.ok(version > last, `${version} after ${last}`)
      assert.equal(status, 'running')
      last = version
    }
    const aborted = await rig.cancel(id)
    assert.deepEqual(aborted.kind === 'done' && aborted.aborted, ref)
    assert.ok(((await rig.read(id))?.version ?? 0) > last)
  },

  async 'a kept lease that was extended goes on for as long as its extension'(rig) {
    for (const sendOnce of [false, true]) {
      await rig.submit({ sendOnce })
      const { ref } = await rig.leaseOne({ keeps: true, server: 'pull', leaseMs: 300 })
      assert.deepEqual(await rig.store.extend([ref], 3_600_000), ['extended'])
      await rig.reopen()
      await rig.pass(3_599_000)
      assert.equal((await rig.succeed(ref)).status, 'succeeded')
    }
  },

  async 'a kept lease that nobody comes back for lapses after the restart, and counts'(rig) {
    const { id } = await rig.submit()
    await rig.leaseOne({ keeps: true, server: 'pull', leaseMs: 5000 })
    await rig.reopen()
    await rig.pass(4999)
    assert.equal((await rig.read(id))?.status, 'running')
    await rig.pass(1)
    const { status, attempt, server } = (await rig.read(id)) ?? assert.fail()
    assert.deepEqual([status, attempt, server], ['retrying', 1, 'pull'])
  },
}
