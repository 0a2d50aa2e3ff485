/** Dead letters: what makes one, what it keeps, and what it is when somebody sends it again. */
import assert from 'node:assert/strict'
import type { JobRequest, StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, atEachPlace, created, idempotency, LEASE_MS, type Rig } from './rig.ts'

const POISON_HAND_OUTS = 10

/** Every reason, with a way to get there. Each job has one attempt and the body `in`. */
export const DEATHS: Readonly<Record<string, (rig: Rig, options: { readonly key?: string }) => Promise<string>>> = {
  attempts: async (rig, options) => {
    const { id } = await rig.submit({ attempts: 1, ...options })
    await rig.retry((await rig.leaseOne()).ref)
    return id
  },
  'attempts by a lease that lapsed': async (rig, options) => {
    const { id } = await rig.submit({ attempts: 1, ...options })
    await rig.leaseOne()
    await rig.pass(LEASE_MS)
    return id
  },
  server_error: async (rig, options) => (await rig.deadLetter(options)).id,
  poison: async (rig, options) => {
    const { id } = await rig.submit({ attempts: 1, ...options })
    for (let n = 0; n <= POISON_HAND_OUTS; n++) await rig.handBack((await rig.leaseOne()).ref)
    return id
  },
  outcome_unknown: async (rig, options) => {
    const { id } = await rig.submit({ sendOnce: true, attempts: 1, ...options })
    await rig.leaseOne()
    await rig.pass(LEASE_MS)
    return id
  },
  expired: async (rig, options) => {
    const { id } = await rig.submit({ attempts: 1, expireAfterMs: 100, ...options })
    await rig.pass(100)
    return id
  },
  deadline: async (rig, options) => {
    const { id } = await rig.submit({ attempts: 1, deadlineMs: 100, ...options })
    await rig.pass(100)
    return id
  },
  'deadline after an attempt': async (rig, options) => {
    const { id } = await rig.submit({ attempts: 2, deadlineMs: 100, ...options })
    await rig.retry((await rig.leaseOne()).ref, 99)
    await rig.pass(100)
    return id
  },
}

const perDeath: Record<string, (rig: Rig) => Promise<void>> = Object.fromEntries(
  Object.entries(DEATHS).map(([death, die]) => [
    `a job that died of ${death} keeps its request, and runs again as if it were new`,
    async (rig) => {
      const id = await die(rig, {})
      const dead = (await rig.read(id)) ?? assert.fail('it is kept')
      assert.equal(dead.dead, death.split(' ')[0])
      assert.ok(dead.status === 'failed' || dead.status === 'expired')
      assert.equal((await rig.request(id))?.body, 'in')
      const { attempts } = dead
      const again = await rig.redrive(id)
      const { status, attempt, handOuts, dead: reason, error, finishedAt, hasAnswer, redrives } = again
      assert.deepEqual([status, attempt, handOuts, reason, error, finishedAt], ['queued', 0, 0, undefined, undefined, undefined])
      assert.deepEqual([again.attempts, hasAnswer, redrives, again.secret], [attempts, false, 1, dead.secret])
      assert.ok(again.version > dead.version)
      const { ref, request, job } = await rig.leaseOne()
      assert.deepEqual([ref.id, Buffer.from(request.body).toString(), job.attempt, job.handOuts], [id, 'in', 1, 1])
      assert.equal((await rig.succeed(ref)).status, 'succeeded')
    },
  ]),
)

function edited(body: string): JobRequest {
  return { method: 'PUT', target: '/other', headers: ['X-Edited', 'yes'], body: Buffer.from(body) }
}

/** Names and lengths of bodies on both sides of the size from which they are files. */
const SIZES = { small: 10, large: 300_000, 'another large': 400_000 } as const
type Size = keyof typeof SIZES

function editCase(from: Size, to: Size): (rig: Rig) => Promise<void> {
  return async (rig) => {
    const { id } = await rig.deadLetter({ body: Buffer.alloc(SIZES[from], 'old ') })
    const body = 'new '.repeat(SIZES[to] / 4)
    const job = await rig.redrive(id, { request: edited(body) })
    assert.equal(job.method, 'PUT')
    assert.equal((await rig.stats()).bytes, job.requestBytes)
    assert.ok(job.requestBytes >= body.length && job.requestBytes < body.length + 200, String(job.requestBytes))
    await rig.restart()
    assert.deepEqual(await rig.request(id), { ...edited(''), body })
    const { ref, request } = await rig.leaseOne()
    assert.deepEqual({ ...request, body: Buffer.from(request.body).toString() }, { ...edited(''), body })
    // And once more: what is replaced now was a replacement itself.
    await rig.fail(ref, true)
    await rig.redrive(id, { request: edited(`once more ${body}`) })
    await rig.restart()
    assert.equal((await rig.request(id))?.body, `once more ${body}`)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal((await rig.stats()).bytes, 0)
    assert.deepEqual(rig.corrupt, [])
  }
}

export const deadLetterCases: Cases = {
  ...perDeath,

  ...atEachPlace(
    (place) => `a job that is ${place} is no dead letter, and is not sent again`,
    async (rig, job) => {
      assert.deepEqual(await rig.command({ kind: 'redrive', id: job.id }), { kind: 'unchanged', job })
      assert.deepEqual(await rig.read(job.id), job)
    },
    (place) => place !== 'dead' && place !== 'expired',
  ),

  async 'what is not there cannot be sent again'(rig) {
    assert.deepEqual(await rig.command({ kind: 'redrive', id: '00000000000' }), { kind: 'missing' })
  },

  async 'a dead letter is sent again once, also within one batch'(rig) {
    const { id } = await rig.deadLetter()
    const outcomes = await rig.store.command([
      { kind: 'redrive', id },
      { kind: 'redrive', id },
    ])
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ['done', 'unchanged'],
    )
    assert.equal((await rig.read(id))?.redrives, 1)
  },

  async 'sent again it has all its attempts, and not one more'(rig) {
    const { id } = await rig.submit({ attempts: 2 })
    for (let round = 0; round < 3; round++) {
      assert.equal((await rig.retry((await rig.leaseOne()).ref, 0)).status, 'retrying')
      const job = await rig.retry((await rig.leaseOne()).ref, 0)
      assert.deepEqual([job.status, job.dead, job.attempt, job.handOuts, job.redrives], ['failed', 'attempts', 2, 2, round])
      await rig.redrive(id)
    }
  },

  async 'sent again it may be handed out in vain as often as at first, and not once more'(rig) {
    const { id } = await rig.submit({ attempts: 1 })
    for (let round = 0; round < 2; round++) {
      for (let n = 1; n <= POISON_HAND_OUTS; n++) assert.equal((await rig.handBack((await rig.leaseOne()).ref)).status, 'queued')
      assert.equal((await rig.handBack((await rig.leaseOne()).ref)).dead, 'poison')
      await rig.redrive(id)
    }
  },

  async 'its result is gone with its end'(rig) {
    const { id } = await rig.deadLetter()
    assert.ok((await rig.result(id))?.answer)
    const { finishedBytes } = await rig.stats()
    assert.ok(finishedBytes > 1024)
    const job = await rig.redrive(id)
    assert.deepEqual(await rig.result(id), { job })
    assert.equal((await rig.stats()).finishedBytes, 0)
  },

  async 'it does not expire any more, but its deadline gives it as much time as at first, each time'(rig) {
    const { id } = await rig.submit({ expireAfterMs: 1000, deadlineMs: 5000 })
    await rig.pass(1000)
    for (let round = 0; round < 3; round++) {
      rig.clock.advance(20_000)
      const job = await rig.redrive(id)
      assert.deepEqual([job.expiresAt, job.deadlineAt], [undefined, rig.clock.now() + 5000], `round ${round}`)
      assert.deepEqual((await rig.pass(4999)).changed, [])
      assert.deepEqual(
        (await rig.pass(1)).changed.map(({ dead }) => dead),
        ['deadline'],
      )
    }
  },

  async 'it can be sent again later'(rig) {
    const { id } = await rig.deadLetter()
    const job = await rig.redrive(id, { delayMs: 2000 })
    assert.deepEqual([job.status, job.notBefore, job.position], ['queued', rig.clock.now() + 2000, undefined])
    assert.equal((await rig.stats()).scheduled, 1)
    await rig.pass(1999)
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual((await rig.pass(1)).ready, ['q'])
    assert.equal((await rig.leaseOne()).ref.id, id)
  },

  'another request takes the place of its own: small for small': editCase('small', 'small'),
  'another request takes the place of its own: large for small': editCase('small', 'large'),
  'another request takes the place of its own: small for large': editCase('large', 'small'),
  'another request takes the place of its own: large for large': editCase('large', 'another large'),

  async 'in another queue it leaves nothing behind in its own'(rig) {
    const { id } = await rig.deadLetter({ key: 'k', tenant: 't' })
    const job = await rig.redrive(id, { queue: 'other' })
    assert.deepEqual([job.queue, job.key, job.tenant, job.position], ['other', 'k', 't', 1])
    const { counts, bytes, finishedBytes, dead } = await rig.stats()
    assert.deepEqual([counts.failed, counts.queued, bytes, finishedBytes, dead], [0, 0, 0, 0, {}])
    const other = await rig.stats('other')
    assert.deepEqual([other.counts.queued, other.bytes], [1, job.requestBytes])
    assert.deepEqual(await rig.lease(), [])
    await rig.restart()
    await rig.succeed((await rig.leaseOne({ queue: 'other' })).ref)
    assert.equal((await rig.stats('other')).counts.succeeded, 1)
  },

  async 'in a queue that is not there, it stays what it is'(rig) {
    const dead = await rig.deadLetter()
    const outcome = await rig.command({ kind: 'redrive', id: dead.id, queue: 'nowhere' })
    assert.equal(outcome.kind === 'refused' && outcome.limit, 'queue')
    assert.deepEqual(await rig.read(dead.id), dead)
    assert.equal((await rig.request(dead.id))?.body, 'in')
  },

  async 'it needs room as any other job: of jobs'(rig) {
    const dead = await rig.deadLetter()
    await rig.submitAll([{}, {}])
    await rig.configure({}, { jobs: 2 })
    const outcome = await rig.command({ kind: 'redrive', id: dead.id })
    assert.equal(outcome.kind === 'refused' && outcome.limit, 'jobs')
    assert.deepEqual(await rig.read(dead.id), dead)
    assert.ok((await rig.result(dead.id))?.answer, 'with all that it had')
    await rig.configure({}, { jobs: 3 })
    await rig.redrive(dead.id)
    assert.equal((await rig.trySubmit()).kind, 'refused')
  },

  async 'it needs room as any other job: of bytes, by the request it then has'(rig) {
    const { id, requestBytes } = await rig.deadLetter({ body: Buffer.alloc(1000) })
    await rig.configure({}, { bytes: requestBytes - 1 })
    const outcome = await rig.command({ kind: 'redrive', id })
    assert.equal(outcome.kind === 'refused' && outcome.limit, 'bytes')
    await rig.redrive(id, { request: edited('short') })
    await rig.configure({}, { bytes: requestBytes })
    assert.equal((await rig.read(id))?.status, 'queued')
  },

  async 'it never pushes out jobs that wait, and is refused instead'(rig) {
    const dead = await rig.deadLetter()
    const waiting = await rig.submit()
    await rig.configure({ overflow: 'drop-oldest' }, { jobs: 1 })
    assert.equal((await rig.command({ kind: 'redrive', id: dead.id })).kind, 'refused')
    assert.equal((await rig.read(waiting.id))?.status, 'queued')
  },

  async 'a repeated submission is the job that was sent again'(rig) {
    const { id } = await rig.deadLetter(idempotency('a'))
    await rig.redrive(id)
    const again = await rig.trySubmit(idempotency('a'))
    assert.deepEqual([again.kind, again.kind === 'duplicate' && again.job.status], ['duplicate', 'queued'])
    assert.equal(created(await rig.trySubmit(idempotency('b'))).queue, 'q')
  },

  async 'among jobs without a key it is as old as it is'(rig) {
    const { id } = await rig.deadLetter()
    const younger = await rig.submit()
    await rig.redrive(id)
    assert.deepEqual(await rig.leaseIds(), [id, younger.id])
  },

  async 'of its key it goes before those that have not begun, and behind the one that has'(rig) {
    const { id } = await rig.deadLetter({ key: 'k' })
    const [begun, waiting] = await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    assert.equal(ref.id, begun?.id)
    assert.equal((await rig.redrive(id)).blockedBy, begun?.id)
    await rig.succeed(ref)
    const second = await rig.leaseOne()
    assert.equal(second.ref.id, id)
    assert.equal((await rig.read(waiting?.id ?? ''))?.blockedBy, id)
  },

  async 'figures of dead letters are of now, by reason'(rig) {
    const a = await rig.deadLetter()
    await DEATHS['expired']?.(rig, {})
    assert.deepEqual((await rig.stats()).dead, { server_error: 1, expired: 1 })
    await rig.redrive(a.id)
    assert.deepEqual((await rig.stats()).dead, { expired: 1 })
    assert.equal((await rig.stats()).counts.queued, 1)
  },

  async 'its time to be kept begins again with its new end'(rig) {
    const { id } = await rig.deadLetter({ keepMs: 1000, keepDeadMs: 3000 })
    rig.clock.advance(2000)
    await rig.redrive(id)
    await rig.pass(5000)
    await rig.settleTime()
    await rig.fail((await rig.leaseOne()).ref, true)
    await rig.pass(2999)
    assert.equal((await rig.read(id))?.dead, 'server_error')
    await rig.pass(1)
    assert.equal(await rig.read(id), undefined)
  },

  async 'one that ends well is kept as others that ended well, and its request goes'(rig) {
    const { id } = await rig.deadLetter({ keepMs: 1000, keepDeadMs: 3000 })
    await rig.redrive(id)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.equal(await rig.request(id), undefined)
    await rig.pass(1000)
    assert.equal(await rig.read(id), undefined)
  },

  async 'an attempt from before can do nothing to it'(rig) {
    const { id } = await rig.submit()
    const { ref } = await rig.leaseOne()
    await rig.fail(ref, true)
    await rig.redrive(id)
    assert.deepEqual(await rig.settle({ kind: 'succeed', lease: ref, answer: ANSWER }), { kind: 'stale' })
    const second = await rig.leaseOne()
    assert.ok(second.ref.fence > ref.fence)
    assert.deepEqual(await rig.store.extend([ref], LEASE_MS), ['stale'])
    assert.deepEqual(await rig.command({ kind: 'progress', id, secret: ref.secret, progress: '1' }), { kind: 'stale' })
  },

  async 'one that had an attempt is not taken for one that has not begun'(rig) {
    const { id } = await rig.deadLetter()
    const job: StoredJob = await rig.redrive(id)
    assert.deepEqual(await rig.cancel(id, true), { kind: 'unchanged', job })
    assert.equal((await rig.done({ kind: 'cancel', id })).status, 'cancelled')
  },
}
