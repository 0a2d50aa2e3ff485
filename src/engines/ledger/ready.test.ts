import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { allBuckets } from '../../core/jobs/buckets.ts'
import { Ready, type ReadyJob } from './ready.ts'

const ANY = { buckets: allBuckets(), unkeyedOnly: false, ageing: undefined }

function takeNext(ready: Ready, jobs: Map<number, ReadyJob>): ReadyJob | undefined {
  const job = jobs.get(ready.best(ANY))
  if (job === undefined) return undefined
  ready.remove(job)
  ready.served(job.tenant)
  jobs.delete(job.seq)
  return job
}

test('tenants take turns, however much one of them has waiting', () => {
  const ready = new Ready()
  const jobs = new Map<number, ReadyJob>()
  const add = (tenant: string, seq: number): void => {
    const job = { tenant, seq, priority: 4, lane: seq % 256 }
    jobs.set(seq, job)
    ready.add(job)
  }
  for (let seq = 1; seq <= 1000; seq++) add('noisy', seq)
  for (let seq = 1001; seq <= 1010; seq++) add(`quiet${seq % 2}`, seq)
  const order = Array.from({ length: 20 }, () => takeNext(ready, jobs)?.tenant)
  assert.equal(order.filter((tenant) => tenant === 'quiet0').length, 5)
  assert.equal(order.filter((tenant) => tenant === 'quiet1').length, 5)
  assert.deepEqual(
    order.slice(0, 6).map((tenant) => tenant?.slice(0, 1)),
    ['n', 'q', 'q', 'n', 'q', 'q'],
  )
})

test('who was alone and has nothing more has no turn before one who comes', () => {
  const ready = new Ready()
  const first = { tenant: 'a', seq: 1, priority: 4, lane: 1 }
  ready.add(first)
  ready.remove(first)
  ready.served('a')
  ready.add({ tenant: 'b', seq: 2, priority: 4, lane: 1 })
  ready.add({ tenant: 'a', seq: 3, priority: 9, lane: 1 })
  assert.equal(ready.best(ANY), 2)
})

test('whatever came, went, rested and was roused: a rollback brings back what there was', () => {
  const steps = fc.array(
    fc.record({
      kind: fc.constantFrom('add', 'add', 'remove', 'rest', 'rouse', 'begin', 'rollback'),
      tenant: fc.constantFrom('', 'a', 'b'),
      seq: fc.integer({ min: 1, max: 40 }),
    }),
    { maxLength: 300 },
  )
  fc.assert(
    fc.property(steps, (list) => {
      const ready = new Ready()
      let now = 0
      let jobs = new Map<number, { readonly job: ReadyJob; restsUntil: number }>()
      let saved: typeof jobs = new Map()
      const copy = (from: typeof jobs): typeof jobs => new Map([...from].map(([seq, each]) => [seq, { ...each }]))
      for (const { kind, tenant, seq } of list) {
        const known = jobs.get(seq)
        now += 1
        if (kind === 'add' && known === undefined) {
          const job = { tenant, seq, priority: seq % 10, lane: seq % 3 }
          jobs.set(seq, { job, restsUntil: 0 })
          ready.add(job)
        }
        if (kind === 'remove' && known !== undefined) {
          ready.remove(known.job)
          jobs.delete(seq)
        }
        if (kind === 'rest' && known !== undefined && known.restsUntil === 0) {
          known.restsUntil = now + seq
          ready.rest(known.job, known.restsUntil)
        }
        if (kind === 'rouse') {
          const due = [...jobs.values()].filter(({ restsUntil }) => restsUntil > 0 && restsUntil <= now)
          assert.equal(ready.rouse(now), due.length > 0)
          for (const each of due) each.restsUntil = 0
        }
        if (kind === 'begin') {
          ready.begin()
          saved = copy(jobs)
        }
        if (kind === 'rollback') {
          ready.rollback()
          jobs = copy(saved)
        }
        assert.equal(ready.size, jobs.size)
        assert.equal(ready.oldest(), Math.min(...jobs.keys(), 1000) % 1000)
        const awake = [...jobs.values()].filter(({ restsUntil }) => restsUntil === 0).map(({ job }) => job)
        const next = ready.best(ANY)
        assert.equal(next === 0, awake.length === 0)
        const chosen = awake.find((job) => job.seq === next)
        assert.equal(chosen === undefined, awake.length === 0, 'what rests is not to be had')
        const rest = [...jobs.values()].map(({ restsUntil }) => restsUntil).filter((until) => until > 0)
        assert.equal(ready.restsUntil, rest.length === 0 ? undefined : Math.min(...rest))
      }
    }),
  )
})
