/** Accepting jobs: what is stored, what is refused, what is recognised. */
import assert from 'node:assert/strict'
import type { Cases } from './job-store.ts'
import { ANSWER, created, idempotency, newJob, NO_LIMITS, one } from './rig.ts'

export const submitCases: Cases = {
  async 'a lease that is asked for while a submission is under way finds its job'(rig) {
    if (rig.unordered) return
    const submitting = rig.store.submit([newJob(), newJob()])
    const leasing = rig.lease()
    const ids = (await submitting).map(created).map(({ id }) => id)
    assert.deepEqual(
      (await leasing).map(({ ref }) => ref.id),
      ids,
    )
  },

  async 'an accepted job is there with all that was said of it'(rig) {
    const job = await rig.submit({ key: 'k', priority: 7, attempts: 5, reference: 'order 17', method: 'PUT', sendOnce: true })
    assert.deepEqual(await rig.read(job.id), job)
    const { id, secret, bucket, ...rest } = job
    assert.match(id, /^[0-9a-z]+$/)
    assert.match(secret, /^[\w-]{22}$/)
    assert.ok(bucket >= 0 && bucket < 256)
    assert.deepEqual(rest, {
      queue: 'q',
      route: 'POST /reports',
      status: 'queued',
      version: rest.version,
      key: 'k',
      priority: 7,
      attempt: 0,
      attempts: 5,
      handOuts: 0,
      submittedAt: rig.clock.now(),
      reference: 'order 17',
      position: 1,
      hasAnswer: false,
      blocksKey: false,
      redrives: 0,
      requestBytes: rest.requestBytes,
      sendOnce: true,
      method: 'PUT',
    })
  },

  async 'ids are ordered as the jobs were accepted, also when the clock goes back'(rig) {
    const ids: string[] = []
    for (let round = 0; round < 5; round++) {
      ids.push(...(await rig.submitAll([{}, {}, {}])).map(({ id }) => id))
      rig.clock.jump(round % 2 === 0 ? -3_600_000 : 1000)
    }
    assert.equal(new Set(ids).size, ids.length)
    assert.deepEqual(ids.toSorted(), ids)
  },

  async 'every job has a secret of its own'(rig) {
    const jobs = await rig.submitAll(Array.from({ length: 100 }, () => ({})))
    assert.equal(new Set(jobs.map(({ secret }) => secret)).size, 100)
  },

  async 'results come in the order of the jobs'(rig) {
    await rig.submit(idempotency('a'))
    const kinds = (await rig.store.submit([newJob(), newJob(idempotency('a')), newJob(idempotency('a', 'other')), newJob()])).map(
      ({ kind }) => kind,
    )
    assert.deepEqual(kinds, ['created', 'duplicate', 'conflict', 'created'])
  },

  async 'an empty batch is no work'(rig) {
    assert.deepEqual(await rig.store.submit([]), [])
    assert.deepEqual(await rig.store.settle([]), [])
    assert.deepEqual(await rig.store.read([], 'result'), [])
  },

  async 'a request is handed out byte for byte, header for header'(rig) {
    const body = Buffer.from(Array.from({ length: 1024 }, (_, at) => (at * 7 + (at >> 8)) & 0xff))
    const headers = ['HOST', 'x', 'X-a', '1', 'x-A', '2', 'Content-Type', '', 'X-Latin', 'caf\u00e9 "q" \\']
    await rig.submit({ body, headers, method: 'PATCH' })
    const { request } = await rig.leaseOne()
    assert.deepEqual({ ...request, body: Buffer.from(request.body) }, { method: 'PATCH', target: '/reports?a=%2F', headers, body })
  },

  async 'a request without a body is handed out without one'(rig) {
    await rig.submit({ body: new Uint8Array(0), headers: [] })
    const { request } = await rig.leaseOne()
    assert.equal(request.body.length, 0)
    assert.deepEqual(request.headers, [])
  },

  async 'bodies around and above the size that is kept elsewhere come back as they were'(rig) {
    const sizes = [256 * 1024, 256 * 1024 + 1, 1024 * 1024]
    const bodies = sizes.map((size, n) => Buffer.alloc(size, `body ${n} `))
    const jobs = await rig.submitAll(bodies.map((body) => ({ body })))
    const leases = await rig.lease()
    const byId = new Map(leases.map((lease) => [lease.ref.id, lease]))
    jobs.forEach(({ id }, n) => assert.ok(Buffer.from(byId.get(id)?.request.body ?? []).equals(bodies[n] as Buffer)))
  },

  async 'what the caller does to the body afterwards does not matter'(rig) {
    const body = Buffer.from('before')
    const submitted = rig.submit({ body })
    await submitted
    body.fill('x')
    assert.equal(Buffer.from((await rig.leaseOne()).request.body).toString(), 'before')
  },

  async 'a queue that nobody configured is an error of the caller, and only of this call'(rig) {
    const [bad, good] = await Promise.allSettled([rig.store.submit([newJob({ queue: 'nowhere' })]), rig.store.submit([newJob()])])
    assert.equal(bad?.status, 'rejected')
    assert.equal(good?.status, 'fulfilled')
    assert.equal((await rig.stats()).counts.queued, 1)
  },

  async 'as many jobs as may be, and not one more'(rig) {
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, jobs: 3 } }])
    const submitted = await rig.store.submit([newJob(), newJob(), newJob(), newJob()])
    assert.deepEqual(
      submitted.map(({ kind }) => kind),
      ['created', 'created', 'created', 'refused'],
    )
    assert.equal(submitted[3]?.kind === 'refused' && submitted[3].limit, 'jobs')
    assert.equal((await rig.trySubmit({ queue: 'other' })).kind, 'created', 'another queue has limits of its own')
    const { ref } = await rig.leaseOne()
    assert.equal((await rig.trySubmit()).kind, 'refused', 'a running job still counts')
    await rig.succeed(ref)
    assert.equal((await rig.trySubmit()).kind, 'created', 'an ended one does not')
  },

  async 'as many request bytes as may be, and not one more'(rig) {
    await rig.submit({ body: Buffer.alloc(1000) })
    const { bytes } = await rig.stats()
    assert.ok(bytes > 1000 && bytes < 1200, `head and body: ${bytes}`)
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, bytes: 3 * bytes } }])
    await rig.submit({ body: Buffer.alloc(1000) })
    const tooMuch = await rig.trySubmit({ body: Buffer.alloc(1001) })
    assert.equal(tooMuch.kind === 'refused' && tooMuch.limit, 'bytes')
    await rig.submit({ body: Buffer.alloc(1000) })
    assert.equal((await rig.trySubmit({ body: new Uint8Array(0) })).kind, 'refused')
  },

  async 'a refused job leaves no trace'(rig) {
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { ...NO_LIMITS, jobs: 0 } }])
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'refused')
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: NO_LIMITS }])
    assert.deepEqual((await rig.stats()).counts.queued, 0)
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'created', 'its idempotency key was not taken')
  },

  async 'the same idempotency key and request is the same job, as it is now'(rig) {
    const [first, second] = await rig.store.submit([newJob(idempotency('a')), newJob(idempotency('a'))])
    const job = created(first ?? { kind: 'conflict' })
    assert.deepEqual(second, { kind: 'duplicate', job })
    await rig.succeed((await rig.leaseOne()).ref)
    const later = await rig.trySubmit(idempotency('a'))
    assert.equal(later.kind === 'duplicate' && later.job.status, 'succeeded')
    assert.equal(later.kind === 'duplicate' && later.job.id, job.id)
    assert.deepEqual(await rig.lease(), [], 'nothing more runs')
  },

  async 'the same idempotency key with another request is a conflict'(rig) {
    await rig.submit(idempotency('a'))
    assert.deepEqual(await rig.trySubmit(idempotency('a', 'another')), { kind: 'conflict' })
    assert.equal((await rig.trySubmit(idempotency('b', 'another'))).kind, 'created')
  },

  async 'a repeated submission is recognised also when the queue is full'(rig) {
    await rig.submit(idempotency('a'))
    await rig.store.command([{ kind: 'configure', queue: 'q', limits: { jobs: 1, bytes: 1, finished: 1 } }])
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'duplicate')
  },

  async 'an idempotency key is kept for its time although the job need not be'(rig) {
    const job = await rig.submit({ ...idempotency('a', 'same', 10_000_000), keepMs: 1000 })
    await rig.succeed((await rig.leaseOne()).ref)
    await rig.pass(9_999_999)
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'duplicate')
    assert.equal((await rig.result(job.id))?.answer?.status, ANSWER.status)
    await rig.pass(1)
    assert.equal(await rig.read(job.id), undefined)
    assert.equal((await rig.trySubmit(idempotency('a', 'another'))).kind, 'created')
  },

  async 'an idempotency key is kept as long as its job, however long that is'(rig) {
    const job = await rig.submit({ ...idempotency('a', 'same', 1000), keepMs: 1000 })
    for (let hour = 0; hour < 30; hour++) {
      await rig.pass(3_600_000)
      await rig.settleTime()
    }
    const again = await rig.trySubmit(idempotency('a'))
    assert.equal(again.kind === 'duplicate' && again.job.id, job.id)
    await rig.succeed((await rig.leaseOne()).ref)
    await rig.pass(1000)
    assert.equal((await rig.trySubmit(idempotency('a'))).kind, 'created')
  },

  async 'many callers in one turn are all answered with their own'(rig) {
    const calls = Array.from({ length: 200 }, (_, n) => rig.store.submit([newJob({ reference: `job ${n}` })]))
    const jobs = (await Promise.all(calls)).map((submitted) => created(one(submitted)))
    jobs.forEach((job, n) => assert.equal(job.reference, `job ${n}`))
    assert.equal((await rig.stats()).counts.queued, 200)
  },

  async 'what was asked before the end is done, what is asked after it is rejected'(rig) {
    const submitted = rig.submit()
    const closed = rig.store.close()
    assert.equal((await submitted).status, 'queued')
    await closed
    await assert.rejects(rig.store.submit([newJob()]))
  },
}
