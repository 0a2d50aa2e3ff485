/** Looking into a store: jobs by what they are, requests, the story of hand-outs, notes. */
import assert from 'node:assert/strict'
import type { JobFilter } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { ANSWER, FAILURE, LEASE_MS, PLACES, type Rig } from './rig.ts'

/** All, page by page. */
async function walk(rig: Rig, filter: JobFilter, max: number, newestFirst = false): Promise<readonly string[]> {
  const seen: string[] = []
  for (let after: string | undefined; ; ) {
    const page = await rig.store.browse({ filter, max, newestFirst, ...(after !== undefined && { after }) })
    assert.ok(page.jobs.length <= max)
    seen.push(...page.jobs.map(({ id }) => id))
    if (page.next === undefined) return seen
    assert.notEqual(page.next, after, 'it gets on')
    after = page.next
  }
}

export const browseCases: Cases = {
  async 'jobs are found by each thing that they are'(rig) {
    const start = rig.clock.now()
    const [a, b, c] = await rig.submitAll([{ key: 'k', tenant: 't' }, { reference: 'r', tenant: 't' }, { queue: 'other' }])
    rig.clock.advance(1000)
    const dead = await rig.deadLetter({ priority: 9, key: 'l', tenant: 't' })
    const { job } = await rig.leaseOne()
    assert.equal(job.id, a?.id)
    const filters: readonly [JobFilter, readonly (string | undefined)[]][] = [
      [{}, [a?.id, b?.id, c?.id, dead.id]],
      [{ queue: 'q' }, [a?.id, b?.id, dead.id]],
      [{ queue: 'nowhere' }, []],
      [{ key: 'k' }, [a?.id]],
      [{ tenant: 't' }, [a?.id, b?.id, dead.id]],
      [{ reference: 'r' }, [b?.id]],
      [{ statuses: ['running'] }, [a?.id]],
      [{ statuses: ['queued'] }, [b?.id, c?.id]],
      [{ statuses: ['queued', 'failed'] }, [b?.id, c?.id, dead.id]],
      [{ statuses: [] }, []],
      [{ dead: true }, [dead.id]],
      [{ dead: 'server_error' }, [dead.id]],
      [{ dead: 'attempts' }, []],
      [{ since: start + 1 }, [dead.id]],
      [{ since: start }, [a?.id, b?.id, c?.id, dead.id]],
      [{ until: start + 1000 }, [a?.id, b?.id, c?.id]],
      [{ until: start + 1001, since: start + 1000 }, [dead.id]],
      [{ queue: 'q', tenant: 't', statuses: ['queued'] }, [b?.id]],
    ]
    for (const [filter, expected] of filters) {
      assert.deepEqual(await rig.browseIds({ filter }), expected, JSON.stringify(filter))
      assert.deepEqual(await rig.browseIds({ filter, newestFirst: true }), expected.toReversed(), JSON.stringify(filter))
    }
  },

  async 'jobs are shown as a read shows them, wherever they are'(rig) {
    for (const make of Object.values(PLACES)) {
      const { id } = await make(rig, { priority: 9 })
      const shown = (await rig.store.browse({ filter: {}, newestFirst: true, max: 1 })).jobs[0]
      assert.deepEqual(shown, await rig.read(id))
      if (shown?.status === 'running') await rig.succeed(await lastLease(rig, id))
      else await rig.cancel(id)
    }
  },

  async 'pages are as long as was asked for, and together they are all'(rig) {
    const ids = (await rig.submitAll(Array.from({ length: 7 }, () => ({})))).map(({ id }) => id)
    for (const max of [1, 3, 6, 7, 8]) {
      assert.deepEqual(await walk(rig, {}, max), ids, String(max))
      assert.deepEqual(await walk(rig, {}, max, true), ids.toReversed(), String(max))
    }
  },

  async 'one goes on after a job that is gone meanwhile'(rig) {
    const ids = (await rig.submitAll([{}, {}, {}, {}])).map(({ id }) => id)
    const first = await rig.store.browse({ filter: {}, max: 2 })
    await rig.cancel(ids[1] ?? '')
    await rig.command({ kind: 'forget', id: ids[1] ?? '' })
    assert.deepEqual(await rig.browseIds({ after: first.next ?? '' }), ids.slice(2))
  },

  async 'a look is bounded: where few are meant, pages may be short, and lead on'(rig) {
    await rig.submitAll(Array.from({ length: 1200 }, () => ({})))
    const { id } = await rig.submit({ reference: 'r' })
    await rig.submitAll(Array.from({ length: 1200 }, () => ({})))
    const first = await rig.store.browse({ filter: { reference: 'r' }, max: 10 })
    assert.deepEqual(first.jobs, [])
    assert.ok(first.next !== undefined)
    for (const newestFirst of [false, true]) assert.deepEqual(await walk(rig, { reference: 'r' }, 10, newestFirst), [id])
  },

  async 'looking back to a time ends there, also when the clock went back'(rig) {
    const [old] = await rig.submitAll([{}])
    rig.clock.advance(10_000)
    const since = rig.clock.now()
    const young = await rig.submit()
    rig.clock.jump(-20_000)
    const set = await rig.submit()
    for (const newestFirst of [false, true]) {
      assert.deepEqual(await walk(rig, { since }, 10, newestFirst), [young.id])
      assert.deepEqual((await walk(rig, { until: since }, 10, newestFirst)).toSorted(), [old?.id, set.id])
    }
  },

  async 'a request is shown while it is kept: until the end, and of a dead letter'(rig) {
    for (const [place, make] of Object.entries(PLACES)) {
      const { id } = await make(rig, { body: Buffer.from(place), priority: 9 })
      const kept = !['succeeded', 'failed', 'cancelled'].includes(place)
      assert.equal((await rig.request(id))?.body, kept ? place : undefined, place)
      const job = await rig.read(id)
      if (job?.status === 'running') await rig.pass(LEASE_MS)
      await rig.cancel(id)
    }
    assert.deepEqual(rig.corrupt, [])
    assert.deepEqual(await rig.store.read(['00000000000'], 'request'), [undefined])
  },

  async 'the story of a job: every hand-out, what came of it, when and where'(rig) {
    const { id } = await rig.submit({ attempts: 4 })
    assert.deepEqual(await rig.history(id), [])
    const at = (ms: number): number => Date.UTC(2030, 0, 1) + ms
    rig.clock.advance(10)
    const first = await rig.leaseOne({ server: 'a' })
    assert.deepEqual(await rig.history(id), [], 'one that runs is not over')
    rig.clock.advance(5)
    await rig.retry(first.ref, 0)
    const second = await rig.leaseOne({ server: 'b' })
    await rig.settled({ kind: 'handBack', lease: second.ref, afterMs: 0, error: { code: 'connect_failed', detail: 'refused' } })
    await rig.handBack((await rig.leaseOne({ server: 'c' })).ref)
    await rig.leaseOne({ server: 'd' })
    await rig.pass(LEASE_MS)
    const last = await rig.leaseOne({ server: 'e' })
    rig.clock.advance(5)
    await rig.succeed(last.ref)
    const story = [
      {
        ...{ handOut: 1, attempt: 1, server: 'a', startedAt: at(10), endedAt: at(15) },
        ...{ outcome: 'server_error', status: 500, detail: FAILURE.detail },
      },
      { handOut: 2, server: 'b', startedAt: at(15), endedAt: at(15), outcome: 'connect_failed', detail: 'refused' },
      { handOut: 3, server: 'c', startedAt: at(15), endedAt: at(15), outcome: 'handed_back' },
      { handOut: 4, attempt: 2, server: 'd', startedAt: at(15), endedAt: at(15 + LEASE_MS), outcome: 'lease_lapsed' },
      { handOut: 5, attempt: 3, server: 'e', startedAt: at(15 + LEASE_MS), endedAt: at(20 + LEASE_MS), outcome: 'succeeded' },
    ]
    assert.deepEqual(await rig.history(id), story)
    await rig.restart()
    assert.deepEqual(await rig.history(id), story)
  },

  async 'the story tells of the hand-out that ended it, however it did'(rig) {
    const ends: readonly [
      string,
      number | undefined,
      (id: string, ref: Awaited<ReturnType<Rig['leaseOne']>>['ref']) => Promise<unknown>,
    ][] = [
      ['succeeded', 1, (_, ref) => rig.succeed(ref)],
      ['server_error', 1, (_, ref) => rig.fail(ref, false, ANSWER)],
      ['cancelled', undefined, (id) => rig.cancel(id)],
      ['outcome_unknown', 1, () => rig.pass(LEASE_MS)],
    ]
    for (const [outcome, attempt, end] of ends) {
      const { id } = await rig.submit({ sendOnce: true })
      await end(id, (await rig.leaseOne()).ref)
      const [only, ...rest] = await rig.history(id)
      assert.deepEqual([only?.outcome, only?.attempt, only?.handOut, rest], [outcome, attempt, 1, []])
    }
  },

  async 'the story tells of a hand-out that came back too late to be made again'(rig) {
    for (const options of [{ expireAfterMs: 100 }, { deadlineMs: 100 }]) {
      const { id } = await rig.submit(options)
      const { ref } = await rig.leaseOne()
      rig.clock.advance(100)
      await rig.handBack(ref)
      assert.deepEqual(
        (await rig.history(id)).map(({ handOut, attempt, outcome }) => [handOut, attempt, outcome]),
        [[1, undefined, 'handed_back']],
      )
    }
  },

  async 'the story of a poisoned job counts its attempts, and only them'(rig) {
    const { id } = await rig.submit({ attempts: 2 })
    await rig.retry((await rig.leaseOne()).ref, 0)
    for (let n = 0; n < 20; n++) await rig.handBack((await rig.leaseOne()).ref)
    const job = await rig.read(id)
    assert.deepEqual([job?.dead, job?.handOuts], ['poison', 21])
    const story = await rig.history(id)
    assert.deepEqual([story.length, story.at(-1)?.outcome], [21, 'poison'])
    assert.deepEqual(
      story.filter(({ attempt }) => attempt !== undefined).map(({ handOut }) => handOut),
      [1],
    )
  },

  async 'the story of a job that ended without a hand-out is empty'(rig) {
    const [cancelled, expired] = await rig.submitAll([{}, { expireAfterMs: 1 }])
    await rig.cancel(cancelled?.id ?? '')
    await rig.pass(1)
    for (const job of [cancelled, expired]) assert.deepEqual(await rig.history(job?.id ?? ''), [])
  },

  async 'the story goes on when a dead letter is sent again, and goes with the job'(rig) {
    const { id } = await rig.deadLetter()
    await rig.redrive(id)
    assert.deepEqual(
      (await rig.history(id)).map(({ handOut, attempt, outcome }) => [handOut, attempt, outcome]),
      [[1, 1, 'server_error']],
    )
    await rig.retry((await rig.leaseOne()).ref, 0)
    await rig.succeed((await rig.leaseOne()).ref)
    assert.deepEqual(
      (await rig.history(id)).map(({ handOut, attempt, outcome }) => [handOut, attempt, outcome]),
      [
        [1, 1, 'server_error'],
        [2, 1, 'server_error'],
        [3, 2, 'succeeded'],
      ],
    )
    await rig.command({ kind: 'forget', id })
    assert.deepEqual(await rig.store.read([id], 'history'), [undefined])
  },

  async 'notes are found again by the beginning of their names, in order'(rig) {
    for (const [name, text] of [
      ['topic/b', '2'],
      ['topic/a', '1'],
      ['topics', 'x'],
      ['topic/', '0'],
      ['', 'nameless'],
      ['topic/é', '3'],
    ] as const)
      assert.deepEqual(await rig.command({ kind: 'note', name, text }), { kind: 'done' })
    await rig.restart()
    const found = async (prefix: string): Promise<readonly string[]> => (await rig.store.notes(prefix)).map(({ name }) => name)
    assert.deepEqual(await rig.store.notes('topic/'), [
      { name: 'topic/', text: '0' },
      { name: 'topic/a', text: '1' },
      { name: 'topic/b', text: '2' },
      { name: 'topic/é', text: '3' },
    ])
    assert.deepEqual(await found('nothing'), [])
    assert.deepEqual(await found(''), ['', 'topic/', 'topic/a', 'topic/b', 'topic/é', 'topics'])
  },

  async 'a note is replaced, and removed'(rig) {
    await rig.command({ kind: 'note', name: 'n', text: 'first' })
    await rig.command({ kind: 'note', name: 'n', text: 'x'.repeat(100_000) })
    assert.equal((await rig.store.notes('n'))[0]?.text.length, 100_000)
    await rig.command({ kind: 'note', name: 'n' })
    assert.deepEqual(await rig.store.notes('n'), [])
    assert.deepEqual(await rig.command({ kind: 'note', name: 'n' }), { kind: 'done' })
  },

  async 'schedules and tasks are no notes'(rig) {
    await rig.schedule()
    await rig.begin()
    assert.deepEqual(await rig.store.notes(''), [])
  },

  async 'a store says what it is'(rig) {
    const before = await rig.store.info()
    assert.deepEqual([typeof before.engine, before.corrupt, before.refusing], ['string', 0, undefined])
    await rig.restart()
    const { generation } = await rig.store.info()
    assert.equal(generation > before.generation, rig.durable)
  },
}

/** Ends by its lapse whatever runs, and takes it again: who made it run has not told with which lease. */
async function lastLease(rig: Rig, id: string): Promise<Awaited<ReturnType<Rig['leaseOne']>>['ref']> {
  await rig.pass(LEASE_MS)
  const { ref } = await rig.leaseOne({ max: 1 })
  assert.equal(ref.id, id)
  return ref
}
