/** Ending attempts: what each settlement makes of the job, and what it must leave alone. */
import assert from 'node:assert/strict'
import type { JobAnswer } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, type Rig } from './rig.ts'

async function answerOf(rig: Rig, id: string): Promise<JobAnswer | undefined> {
  const answer = (await rig.result(id))?.answer
  return answer && { ...answer, body: Buffer.from(answer.body) }
}

export const settleCases: Cases = {
  async 'large results asked for at once arrive whole, and in their turn with everything else'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 12 }, () => ({})))
    const leases = await rig.lease()
    const large = (n: number): Buffer => Buffer.alloc(1_500_000, `${n} `)
    for (const [n, { ref }] of leases.slice(1).entries()) await rig.succeed(ref, { ...ANSWER, body: large(n + 1) })
    const ids = jobs.map(({ id }) => id)
    const [before, , first, , all, status] = await Promise.all([
      rig.result(ids[0] ?? ''),
      Promise.all(ids.map((id) => rig.result(id))),
      rig.succeed(leases[0]?.ref ?? assert.fail(), { ...ANSWER, body: large(0) }),
      rig.submit(),
      rig.store.read(ids, 'result'),
      rig.store.read(ids, 'status'),
    ])
    assert.equal(first.status, 'succeeded')
    // Where calls may overtake each other, whoever asked for the first job may have asked too early, or too late.
    const from = rig.unordered ? 1 : 0
    if (!rig.unordered) assert.deepEqual([before?.job.status, before?.answer?.status], ['running', undefined])
    const isWhole = all.map((read, n) => n < from || large(n).equals(read?.answer?.body ?? Buffer.alloc(0)))
    assert.deepEqual(
      isWhole,
      isWhole.map(() => true),
    )
    assert.deepEqual(
      status.slice(from).map((read) => [read?.job.id, read?.job.status]),
      ids.slice(from).map((id) => [id, 'succeeded']),
    )
  },

  async 'a job that succeeded shows it together with its result'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    rig.clock.advance(5)
    const job = await rig.succeed(ref)
    assert.deepEqual(
      [job.status, job.attempt, job.hasAnswer, job.finishedAt, job.error],
      ['succeeded', 1, true, rig.clock.now(), undefined],
    )
    assert.deepEqual(await rig.result(id).then((read) => read?.job), job)
    assert.deepEqual(await answerOf(rig, id), ANSWER)
    assert.equal((await rig.stats()).bytes, 0, 'its request is gone')
  },

  async 'a result is kept byte for byte, header for header, of any status'(rig) {
    const answers: JobAnswer[] = [
      { status: 204, reason: '', headers: [], body: Buffer.alloc(0) },
      { status: 302, reason: 'Found', headers: ['Location', '/x', 'X-A', '1', 'x-a', '2'], body: Buffer.from([0, 255, 128, 10]) },
      { status: 200, reason: 'Très bien', headers: ['ETag', '"é"'], body: Buffer.alloc(300_000, 'result ') },
    ]
    for (const answer of answers) {
      const { id } = await rig.submit()
      await rig.succeed((await rig.leaseOne()).ref, answer)
      assert.deepEqual(await answerOf(rig, id), answer)
    }
  },

  async 'a status read carries no answer'(rig) {
    const { id } = await rig.submit()
    await rig.succeed((await rig.leaseOne()).ref)
    const [read] = await rig.store.read([id], 'status')
    assert.equal(read?.job.hasAnswer, true)
    assert.equal(read?.answer, undefined)
  },

  async 'a job that has to be tried again waits for its time'(rig) {
    const { id } = await rig.submit()
    const job = await rig.retry((await rig.leaseOne()).ref, 1000)
    assert.deepEqual([job.status, job.attempt, job.notBefore, job.error], ['retrying', 1, rig.clock.now() + 1000, FAILURE])
    await rig.pass(999)
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual((await rig.pass(1)).ready, ['q'])
    const again = await rig.leaseOne()
    assert.deepEqual([again.ref.id, again.job.attempt, again.job.handOuts, again.job.status], [id, 2, 2, 'running'])
  },

  async 'without a delay it is tried again at once'(rig) {
    await rig.submit()
    await rig.retry((await rig.leaseOne()).ref, 0)
    assert.equal((await rig.leaseOne()).job.attempt, 2)
  },

  async 'a fraction of a millisecond of delay is no problem'(rig) {
    await rig.submit({ delayMs: 0.25, expireAfterMs: 10_000.5, keepMs: 99.5 })
    await rig.pass(1)
    await rig.retry((await rig.leaseOne()).ref, 12.75)
    await rig.pass(12)
    assert.deepEqual(await rig.lease(), [])
    await rig.pass(1)
    await rig.leaseOne()
  },

  async 'a success after failures forgets the error'(rig) {
    await rig.submit()
    await rig.retry((await rig.leaseOne()).ref, 0)
    const job = await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual([job.error, job.attempt], [undefined, 2])
  },

  async 'as many attempts as it has, and not one more; the last answer is the result'(rig) {
    const { id } = await rig.submit({ attempts: 3 })
    const answer = { ...ANSWER, status: 500 }
    assert.equal((await rig.retry((await rig.leaseOne()).ref, 0, answer)).status, 'retrying')
    assert.equal(await answerOf(rig, id), undefined, 'an answer on the way is no result')
    assert.equal((await rig.retry((await rig.leaseOne()).ref, 0, answer)).status, 'retrying')
    const job = await rig.retry((await rig.leaseOne()).ref, 0, answer)
    assert.deepEqual([job.status, job.attempt, job.dead, job.error, job.hasAnswer], ['failed', 3, 'attempts', FAILURE, true])
    assert.deepEqual(await answerOf(rig, id), answer)
    assert.deepEqual(await rig.lease(), [])
  },

  async 'without an answer a dead letter has none'(rig) {
    const { id } = await rig.submit({ attempts: 1 })
    const job = await rig.retry((await rig.leaseOne()).ref)
    assert.deepEqual([job.status, job.hasAnswer], ['failed', false])
    assert.deepEqual(await rig.result(id), { job })
  },

  async 'a hand-out that was no attempt does not count as one'(rig) {
    await rig.submit({ attempts: 1 })
    for (let round = 1; round <= 3; round++) {
      const { ref, job } = await rig.leaseOne()
      assert.deepEqual([job.attempt, job.handOuts], [1, round])
      const back = await rig.settled({ kind: 'handBack', lease: ref, afterMs: 100, error: { code: 'connect_failed', detail: 'refused' } })
      assert.deepEqual(
        [back.status, back.attempt, back.error?.code, back.notBefore],
        ['queued', 0, 'connect_failed', rig.clock.now() + 100],
      )
      assert.deepEqual(await rig.lease(), [])
      await rig.pass(100)
    }
    assert.equal((await rig.succeed((await rig.leaseOne()).ref)).attempt, 1)
  },

  async 'handed back after an attempt it is retrying'(rig) {
    await rig.submit()
    await rig.retry((await rig.leaseOne()).ref, 0)
    assert.equal((await rig.handBack((await rig.leaseOne()).ref)).status, 'retrying')
  },

  async 'ten times its attempts it may be handed out in vain, and not once more'(rig) {
    const { id } = await rig.submit({ attempts: 2 })
    for (let round = 1; round <= 20; round++) assert.equal((await rig.handBack((await rig.leaseOne()).ref)).status, 'queued')
    const busy = { code: 'server_busy', detail: 'it said 503', status: 503 }
    const job = await rig.settled({
      kind: 'handBack',
      lease: (await rig.leaseOne()).ref,
      afterMs: 0,
      error: busy,
      answer: { ...ANSWER, status: 503 },
    })
    assert.deepEqual([job.status, job.dead, job.error?.code, job.error?.status, job.handOuts], ['failed', 'poison', 'poison', 503, 21])
    assert.equal((await answerOf(rig, id))?.status, 503)
  },

  async 'a job that failed for good is no dead letter unless it is said to be'(rig) {
    const [a, b] = await rig.submitAll([{}, {}])
    const answer = { ...ANSWER, status: 422, reason: 'Unprocessable' }
    const plain = await rig.fail((await rig.leaseOne()).ref, false, answer)
    const dead = await rig.fail((await rig.leaseOne()).ref, true, answer)
    assert.deepEqual([plain.status, plain.dead, plain.error, plain.attempt], ['failed', undefined, FAILURE, 1])
    assert.deepEqual([dead.status, dead.dead], ['failed', FAILURE.code])
    assert.deepEqual(await answerOf(rig, a?.id ?? ''), answer)
    assert.deepEqual(await answerOf(rig, b?.id ?? ''), answer)
  },

  async 'a stale lease changes nothing'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    const before = await rig.read(id)
    const forged = [
      { ...ref, fence: ref.fence - 1 },
      { ...ref, secret: ref.secret.toLowerCase() + 'x' },
      { ...ref, secret: '' },
      { ...ref, id: '00000000000' },
    ]
    for (const lease of forged) {
      assert.deepEqual(await rig.settle({ kind: 'succeed', lease, answer: ANSWER }), { kind: 'stale' })
      assert.deepEqual(await rig.settle({ kind: 'fail', lease, error: FAILURE, deadLetter: true }), { kind: 'stale' })
    }
    assert.deepEqual(await rig.read(id), before)
    await rig.succeed(ref)
  },

  async 'an attempt is settled once, also within one batch'(rig) {
    const { id } = await rig.submit()
    const { ref: lease } = await rig.leaseOne()
    const outcomes = await rig.store.settle([
      { kind: 'succeed', lease, answer: ANSWER },
      { kind: 'succeed', lease, answer: { ...ANSWER, status: 201 } },
      { kind: 'retry', lease, afterMs: 0, error: FAILURE },
    ])
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ['settled', 'stale', 'stale'],
    )
    assert.equal((await answerOf(rig, id))?.status, 200)
  },

  async 'outcomes come in the order of the settlements'(rig) {
    const jobs = await rig.submitAll([{}, {}, {}])
    const leases = await rig.lease()
    const [a, b, c] = leases.map(({ ref }) => ref)
    assert.ok(a && b && c)
    const outcomes = await rig.store.settle([
      { kind: 'handBack', lease: c, afterMs: 0 },
      { kind: 'succeed', lease: a, answer: ANSWER },
      { kind: 'fail', lease: b, error: FAILURE, deadLetter: false },
    ])
    const seen = outcomes.map((outcome) => (outcome.kind === 'settled' ? [outcome.job.id, outcome.job.status] : ['stale']))
    assert.deepEqual(seen, [
      [jobs[2]?.id, 'queued'],
      [jobs[0]?.id, 'succeeded'],
      [jobs[1]?.id, 'failed'],
    ])
  },

  async 'jobs settled together with what follows from it are leased in order'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 30 }, (_, n) => ({ key: `k${n % 3}` })))
    const order: string[] = []
    for (;;) {
      const leases = await rig.lease()
      if (leases.length === 0) break
      assert.equal(leases.length, 3)
      order.push(...leases.map(({ ref }) => ref.id))
      await rig.store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
    }
    assert.deepEqual(
      order,
      jobs.map(({ id }) => id),
    )
  },
}
