/** Keys whose failed job lets nobody pass (`onFailure: block`) until somebody decides: release, forget or send again. */
import assert from 'node:assert/strict'
import type { LeaseRef, StoredJob } from '../../src/ports/job-store.ts'
import { DEATHS } from './job-store-dead-letters.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, NO_LIMITS, type Rig } from './rig.ts'

/** The first of the key has failed, the others wait. */
async function blocked(rig: Rig, waiting = 2): Promise<readonly StoredJob[]> {
  await rig.configure({ onFailure: 'block' })
  const jobs = await rig.submitAll(Array.from({ length: 1 + waiting }, () => ({ key: 'k' })))
  const { ref } = await rig.leaseOne()
  return [await rig.fail(ref, true, ANSWER), ...jobs.slice(1)]
}

const perDeath: Record<string, (rig: Rig) => Promise<void>> = Object.fromEntries(
  Object.entries(DEATHS).map(([death, die]) => [
    `a job that died of ${death} blocks its key`,
    async (rig) => {
      await rig.configure({ onFailure: 'block' })
      const id = await die(rig, { key: 'k' })
      const next = await rig.submit({ key: 'k' })
      assert.equal(next.blockedBy, id)
      assert.equal((await rig.read(id))?.blocksKey, true)
      assert.deepEqual(await rig.lease(), [])
      assert.equal((await rig.stats()).blockedKeys, 1)
      await rig.restart()
      assert.deepEqual(await rig.lease(), [], 'after a restart too')
      assert.deepEqual(await rig.keys(), [{ key: 'k', holder: id, status: (await rig.read(id))?.status, blocked: true, waiting: 1 }])
      await rig.done({ kind: 'release', queue: 'q', key: 'k' })
      assert.deepEqual(await rig.leaseIds(), [next.id])
    },
  ]),
)

export const blockedKeyCases: Cases = {
  ...perDeath,

  async 'nobody of the key passes a job that failed, everybody else does'(rig) {
    const [dead, next] = await blocked(rig)
    assert.deepEqual([dead?.status, dead?.dead, dead?.blocksKey], ['failed', 'server_error', true])
    const others = await rig.submitAll([{}, { key: 'l' }])
    assert.deepEqual(
      await rig.leaseIds(),
      others.map(({ id }) => id),
    )
    assert.equal((await rig.read(next?.id ?? ''))?.blockedBy, dead?.id)
    await rig.settleTime()
    assert.deepEqual(await rig.lease(), [])
  },

  async 'a job may hold its key where the queue would let the next one go, until it is redriven or its key released'(rig) {
    const jobs = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'l' }, {}])
    const failing = async (lease: LeaseRef): Promise<StoredJob> =>
      rig.settled({ kind: 'fail', lease, error: { code: 'unauthorized', detail: '' }, deadLetter: true, holdsKey: true })
    for (const { ref } of await rig.lease()) {
      const dead = await failing(ref)
      assert.deepEqual([dead.dead, dead.blocksKey], ['unauthorized', ref.id !== jobs[3]?.id])
    }
    await rig.restart()
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.stats()).blockedKeys, 2)
    const [first, second] = jobs.map(({ id }) => id)
    await rig.redrive(first ?? '')
    const again = await rig.leaseOne()
    assert.equal(again.ref.id, first)
    await rig.succeed(again.ref)
    assert.deepEqual(await rig.leaseIds(), [second])
    await rig.submit({ key: 'l' })
    await rig.done({ kind: 'release', queue: 'q', key: 'l' })
    assert.equal((await rig.lease()).length, 1)
  },

  async 'a job with a key that failed plainly is a dead letter there, one without a key is not'(rig) {
    await rig.configure({ onFailure: 'block' })
    await rig.submitAll([{ key: 'k' }, {}])
    const [keyed, free] = await rig.lease()
    const a = await rig.fail(keyed?.ref ?? assert.fail(), false)
    const b = await rig.fail(free?.ref ?? assert.fail(), false)
    assert.deepEqual([a.dead, a.blocksKey, b.dead, b.blocksKey], ['server_error', true, undefined, false])
    assert.equal((await rig.request(a.id))?.body, 'in', 'so it can be sent again')
  },

  async 'success and cancel block nothing'(rig) {
    await rig.configure({ onFailure: 'block' })
    const [, second, third] = await rig.submitAll([{ key: 'k' }, { key: 'k' }, { key: 'k' }])
    assert.equal((await rig.succeed((await rig.leaseOne()).ref)).blocksKey, false)
    assert.equal((await rig.done({ kind: 'cancel', id: second?.id ?? '' })).blocksKey, false)
    assert.deepEqual(await rig.leaseIds(), [third?.id])
    await rig.cancel(third?.id ?? '')
    assert.deepEqual(await rig.keys(), [])
  },

  async 'where nothing is said, a failed job lets the next go'(rig) {
    await rig.submitAll([{ key: 'k' }, { key: 'k' }])
    assert.equal((await rig.fail((await rig.leaseOne()).ref, true)).blocksKey, false)
    assert.equal((await rig.lease()).length, 1)
    assert.equal((await rig.stats()).blockedKeys, 0)
  },

  async 'released, the key goes on with the next; the job stays the dead letter that it was'(rig) {
    const [dead, second, third] = await blocked(rig)
    const released = await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    assert.deepEqual([released.id, released.status, released.dead, released.blocksKey], [dead?.id, 'failed', 'server_error', false])
    assert.equal(released.version, dead?.version, 'by it its end is known')
    assert.deepEqual(await rig.read(released.id), released)
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    const { ref } = await rig.leaseOne({ max: 9 })
    assert.equal(ref.id, second?.id)
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [third?.id])
    assert.equal((await rig.stats()).blockedKeys, 0)
  },

  async 'only a key that a failed job blocks can be released'(rig) {
    const [dead] = await blocked(rig, 0)
    const running = await rig.submit({ key: 'l' })
    const { job } = await rig.leaseOne()
    assert.equal(job.id, running.id)
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'q', key: 'l' }), { kind: 'unchanged', job })
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'q', key: 'unknown' }), { kind: 'missing' })
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'nowhere', key: 'k' }), { kind: 'missing' })
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'other', key: 'k' }), { kind: 'missing' })
    assert.equal((await rig.done({ kind: 'release', queue: 'q', key: 'k' })).id, dead?.id)
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'q', key: 'k' }), { kind: 'missing' }, 'nobody holds it any more')
  },

  async 'a key can be blocked, released and blocked again'(rig) {
    await blocked(rig, 2)
    for (let round = 0; round < 2; round++) {
      await rig.done({ kind: 'release', queue: 'q', key: 'k' })
      assert.equal((await rig.fail((await rig.leaseOne()).ref)).blocksKey, true)
      assert.equal((await rig.stats()).blockedKeys, 1)
    }
  },

  async 'forgetting the job that blocks lets the next go'(rig) {
    const [dead, second] = await blocked(rig)
    assert.deepEqual(await rig.command({ kind: 'forget', id: dead?.id ?? '' }), { kind: 'done' })
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.deepEqual(await rig.leaseIds(), [second?.id])
    assert.equal((await rig.stats()).blockedKeys, 0)
  },

  async 'sent again it goes before all others of its key, and holds it also while it waits for time'(rig) {
    const [dead, second] = await blocked(rig)
    const id = dead?.id ?? ''
    const again = await rig.redrive(id, { delayMs: 1000 })
    assert.deepEqual([again.blocksKey, again.handOuts], [false, 0])
    assert.deepEqual(await rig.lease(), [])
    assert.deepEqual(await rig.command({ kind: 'release', queue: 'q', key: 'k' }), { kind: 'unchanged', job: again })
    await rig.restart()
    await rig.pass(1000)
    const { ref, job } = await rig.leaseOne({ max: 9 })
    assert.deepEqual([ref.id, job.handOuts], [id, 1])
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [second?.id])
  },

  async 'sent again it may be handed out in vain as often as any other, though it held its key'(rig) {
    const [dead] = await blocked(rig, 0)
    assert.equal(dead?.attempts, 3)
    await rig.redrive(dead?.id ?? '')
    for (let n = 1; n <= 30; n++) assert.equal((await rig.handBack((await rig.leaseOne()).ref)).handOuts, n)
    assert.equal((await rig.handBack((await rig.leaseOne()).ref)).dead, 'poison')
  },

  async 'sent again an older one of its key that was only delayed does not pass it'(rig) {
    await rig.configure({ onFailure: 'block' })
    const [delayed, failing] = await rig.submitAll([{ key: 'k', delayMs: 1000 }, { key: 'k' }])
    await rig.fail((await rig.leaseOne()).ref)
    await rig.redrive(failing?.id ?? '', { delayMs: 5000 })
    await rig.pass(1000)
    assert.equal((await rig.read(delayed?.id ?? ''))?.blockedBy, failing?.id)
    assert.deepEqual(await rig.lease(), [])
    await rig.pass(4000)
    assert.deepEqual(await rig.leaseIds(), [failing?.id])
  },

  async 'sent again to another queue it gives the key up here'(rig) {
    const [dead, second] = await blocked(rig)
    await rig.redrive(dead?.id ?? '', { queue: 'other' })
    assert.deepEqual((await rig.store.tick()).ready.toSorted(), ['other', 'q'])
    assert.deepEqual(await rig.leaseIds(), [second?.id])
    assert.deepEqual(await rig.leaseIds({ queue: 'other' }), [dead?.id])
    assert.equal((await rig.stats()).blockedKeys, 0)
  },

  async 'it is not removed by time, but is as soon as it blocks nothing any more'(rig) {
    const [dead] = await blocked(rig)
    const id = dead?.id ?? ''
    await rig.pass(100 * 86_400_000)
    await rig.settleTime()
    assert.equal((await rig.read(id))?.blocksKey, true)
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    await rig.settleTime()
    assert.equal(await rig.read(id), undefined)
  },

  async 'it is not removed to make room, though it weighs as others do'(rig) {
    const [dead] = await blocked(rig)
    const { finishedBytes } = await rig.stats()
    assert.ok(finishedBytes > 1024)
    await rig.configure({ onFailure: 'block' }, { finished: 1 })
    const other = await rig.submit()
    await rig.succeed((await rig.leaseOne()).ref)
    await rig.settleTime()
    assert.equal((await rig.read(dead?.id ?? ''))?.blocksKey, true)
    assert.equal(await rig.read(other.id), undefined, 'whoever can go, goes')
    assert.equal((await rig.stats()).finishedBytes, finishedBytes)
  },

  async 'a job that expires while it waits behind another blocks nothing'(rig) {
    await rig.configure({ onFailure: 'block' })
    const [first, expiring, third] = await rig.submitAll([{ key: 'k' }, { key: 'k', expireAfterMs: 100 }, { key: 'k' }])
    const { ref } = await rig.leaseOne()
    assert.equal(ref.id, first?.id)
    await rig.pass(100)
    const expired = await rig.read(expiring?.id ?? '')
    assert.deepEqual([expired?.status, expired?.blocksKey], ['expired', false])
    await rig.succeed(ref)
    assert.deepEqual(await rig.leaseIds(), [third?.id])
  },

  async 'a delayed job that reaches its deadline before it is due blocks nothing'(rig) {
    await rig.configure({ onFailure: 'block' })
    const { id } = await rig.submit({ key: 'k', delayMs: 1000, deadlineMs: 100 })
    await rig.pass(100)
    assert.equal((await rig.read(id))?.dead, 'deadline')
    assert.equal((await rig.lease()).length, 0)
    const next = await rig.submit({ key: 'k' })
    assert.deepEqual(await rig.leaseIds(), [next.id])
  },

  async 'a job that waits behind a blocked key can be cancelled, moved and expire'(rig) {
    const [, second, third] = await blocked(rig)
    const fourth = await rig.submit({ key: 'k', expireAfterMs: 100 })
    const last = await rig.submit({ key: 'k' })
    await rig.done({ kind: 'cancel', id: second?.id ?? '' })
    await rig.done({ kind: 'move', id: third?.id ?? '', queue: 'other' })
    await rig.pass(100)
    assert.equal((await rig.read(fourth.id))?.status, 'expired')
    assert.deepEqual(
      (await rig.keys()).map(({ waiting }) => waiting),
      [1],
    )
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    assert.deepEqual(await rig.leaseIds(), [last.id])
  },

  async 'a delayed job of the key that becomes due waits too, also an older one'(rig) {
    await rig.configure({ onFailure: 'block' })
    const [delayed, failing] = await rig.submitAll([{ key: 'k', delayMs: 1000 }, { key: 'k' }])
    await rig.fail((await rig.leaseOne()).ref)
    await rig.pass(1000)
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.read(delayed?.id ?? ''))?.blockedBy, failing?.id)
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    assert.deepEqual(await rig.leaseIds(), [delayed?.id])
  },

  async 'a change of the rule concerns what fails from then on'(rig) {
    await blocked(rig, 1)
    await rig.configure({ onFailure: 'skip' })
    assert.deepEqual(await rig.lease(), [], 'what is blocked stays blocked')
    await rig.done({ kind: 'release', queue: 'q', key: 'k' })
    assert.equal((await rig.fail((await rig.leaseOne()).ref, true)).blocksKey, false)
  },

  async 'the same key is blocked in one queue and free in another'(rig) {
    await blocked(rig)
    await rig.submit({ key: 'k', queue: 'other' })
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
  },

  async 'a queue with a blocked key is not empty'(rig) {
    await rig.command({ kind: 'configure', queue: 'new', limits: NO_LIMITS, rules: { onFailure: 'block', overflow: 'refuse' } })
    const { id } = await rig.submit({ queue: 'new', key: 'k' })
    await rig.fail((await rig.leaseOne({ queue: 'new' })).ref)
    assert.equal((await rig.command({ kind: 'drop', queue: 'new' })).kind, 'refused')
    await rig.command({ kind: 'forget', id })
    assert.deepEqual(await rig.command({ kind: 'drop', queue: 'new' }), { kind: 'done' })
  },

  async 'held keys are listed with who holds them, why, and how many wait'(rig) {
    const [dead] = await blocked(rig, 3)
    const jobs = await rig.submitAll([{ key: 'run' }, { key: 'run' }, { key: 'ready' }, { key: 'retry' }, { delayMs: 1, key: 'none' }, {}])
    const leases = await rig.lease({ max: 1 })
    assert.equal(leases[0]?.ref.id, jobs[0]?.id)
    const retry = (await rig.lease()).find(({ ref }) => ref.id === jobs[3]?.id)
    await rig.retry(retry?.ref ?? assert.fail(), 5000)
    await rig.submit({ key: 'waits' })
    assert.deepEqual(await rig.keys(), [
      { key: 'k', holder: dead?.id, status: 'failed', blocked: true, waiting: 3 },
      { key: 'ready', holder: jobs[2]?.id, status: 'running', blocked: false, waiting: 0 },
      { key: 'retry', holder: jobs[3]?.id, status: 'retrying', blocked: false, waiting: 0 },
      { key: 'run', holder: jobs[0]?.id, status: 'running', blocked: false, waiting: 1 },
      { key: 'waits', holder: (await rig.browseIds({ newestFirst: true, max: 1 }))[0], status: 'queued', blocked: false, waiting: 0 },
    ])
    assert.deepEqual(
      (await rig.keys({ blockedOnly: true })).map(({ key }) => key),
      ['k'],
    )
    assert.deepEqual(await rig.keys({ queue: 'other' }), [])
    assert.deepEqual(await rig.keys({ queue: 'nowhere' }), [])
  },

  async 'held keys are listed page by page, whatever their text, each once'(rig) {
    await rig.configure({ onFailure: 'block' })
    const keys = ['', ' ', 'a', 'A', 'aa', 'b', 'é', '💥', '\ufffd', '\ud800', '\ud801', 'x'.repeat(300)]
    await rig.submitAll(keys.map((key) => ({ key })))
    for (const { ref, job } of await rig.lease()) if ((job.key?.length ?? 0) < 2) await rig.fail(ref)
    for (const blockedOnly of [false, true]) {
      const wanted = blockedOnly ? keys.filter((key) => key.length < 2) : keys
      for (const max of [1, 2, wanted.length, wanted.length + 1]) {
        const seen: string[] = []
        for (;;) {
          const after = seen.at(-1)
          const page = await rig.keys({ blockedOnly, max, ...(after !== undefined && { after }) })
          assert.ok(page.length <= max)
          if (page.length === 0) break
          seen.push(...page.map(({ key }) => key))
        }
        assert.deepEqual(seen.toSorted(), wanted.toSorted(), `max ${max}`)
      }
    }
  },
}
