import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { SeededRandom, seedOf } from '../../test/support/seeded-random.ts'
import { Drain, retryAfterSeconds } from './estimate.ts'

test('nothing is claimed before a job has ended, or while no server is up', () => {
  const drain = new Drain(0)
  assert.equal(drain.etaMs(0, 1, { slots: 8 }), undefined)
  drain.ended(1000, 500)
  assert.equal(drain.etaMs(1000, 1, { slots: 0 }), undefined)
})

test('a job that can begin at once takes as long as one runs', () => {
  const drain = new Drain(0)
  drain.ended(1000, 500)
  for (const position of [0, 1, 8]) assert.equal(drain.etaMs(1000, position, { slots: 8 }), 500)
})

test('a job behind others waits for them, as fast as the servers work', () => {
  const drain = new Drain(0)
  for (let i = 1; i <= 1000; i++) drain.ended(i * 100, 100)
  const eta = drain.etaMs(100_000, 101, { slots: 1 }) as number
  assert.ok(eta > 9000 && eta < 11_500, `${eta}`)
})

test('a quiet time does not make the servers look slow', () => {
  const drain = new Drain(0)
  drain.ended(1000, 100)
  const eta = drain.etaMs(10_000_000, 11, { slots: 1 }) as number
  assert.ok(eta <= 1200, `${eta}`)
})

test('what is too far away to say is not said', () => {
  const drain = new Drain(0)
  drain.ended(0, 3_600_000)
  assert.equal(drain.etaMs(0, 1_000_000, { slots: 1 }), undefined)
})

test('Retry-After is whole seconds from 1 to 60, spread by a quarter both ways', () => {
  assert.equal(retryAfterSeconds(undefined, 0.5), 2)
  assert.equal(retryAfterSeconds(0, 0.5), 1)
  assert.equal(retryAfterSeconds(40_000, 0), 30)
  assert.equal(retryAfterSeconds(40_000, 0.999), 50)
  fc.assert(
    fc.property(
      fc.option(fc.integer({ min: 0 }), { nil: undefined }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (eta, unit) => {
        const seconds = retryAfterSeconds(eta, unit)
        assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60)
      },
    ),
  )
})

test('twenty thousand who poll when they are told to are no load: few polls each, and never many at once', () => {
  const random = new SeededRandom(seedOf())
  const jobs = 20_000
  const slots = 32
  const tookMs = 200
  const perSecond = (slots * 1000) / tookMs
  const drain = new Drain(-60_000)
  for (let i = 0; i < 60 * perSecond; i++) drain.ended(-60_000 + (i * 1000) / perSecond, tookMs)
  /** Who comes in each second: the numbers of their jobs. */
  const coming = new Map<number, number[]>([[0, Array.from({ length: jobs }, (_, i) => i)]])
  const polls: number[] = []
  for (let second = 0; [...coming.keys()].some((at) => at >= second); second++) {
    const ended = Math.min(jobs, second * perSecond)
    if (second > 0) for (let i = 0; i < perSecond; i++) drain.ended(second * 1000 - 1000 + (i * 1000) / perSecond, tookMs)
    const now = coming.get(second) ?? []
    coming.delete(second)
    polls.push(now.length)
    for (const job of now) {
      if (job < ended) continue
      const eta = drain.etaMs(second * 1000, job - ended + 1, { slots })
      const at = second + retryAfterSeconds(eta, random.unit())
      const others = coming.get(at)
      if (others === undefined) coming.set(at, [job])
      else others.push(job)
    }
  }
  const [first = 0, ...later] = polls
  assert.equal(first, jobs)
  const perJob = later.reduce((sum, count) => sum + count, 0) / jobs
  const busiest = Math.max(...later)
  assert.ok(perJob < 4, `${perJob} polls for a job`)
  // As many as end in ten seconds.
  assert.ok(busiest < 10 * perSecond, `${busiest} polls in a second`)
})

test('a full queue has room again when the next job ends, at the rate of late', () => {
  const drain = new Drain(0)
  assert.equal(drain.nextEndMs(0), undefined)
  for (let at = 0; at < 120_000; at += 2000) drain.ended(at, 10)
  const wait = drain.nextEndMs(120_000) as number
  assert.ok(wait > 1500 && wait < 2500, `${wait}`)
  assert.ok(Math.abs(drain.perMs(120_000) * 1000 - 0.5) < 0.1)
  assert.equal(drain.nextEndMs(10 * 3_600_000), undefined)
})

test('where pull consumers work, how many there are is not known, but how fast they are', () => {
  const drain = new Drain(0)
  for (let at = 0; at < 120_000; at += 1000) drain.ended(at, 500)
  assert.equal(drain.etaMs(120_000, 10, { slots: 0 }), undefined)
  const eta = drain.etaMs(120_000, 10, { slots: 0, pulled: true }) as number
  assert.ok(eta > 8000 && eta < 11_000, `${eta}`)
})

test('what is usual is what at least half of the last attempts took', () => {
  const drain = new Drain(0)
  assert.equal(drain.usualMs, 0, 'nothing is known')
  for (const tookMs of [10, 10, 1000]) drain.ended(1, tookMs)
  assert.equal(drain.usualMs, 10)
  for (let n = 0; n < 32; n++) drain.ended(2, 300)
  assert.equal(drain.usualMs, 300, 'only the last ones count')
})

test('what was usual is forgotten when nothing has ended for longer than that', () => {
  const drain = new Drain(0)
  drain.ended(1000, 300)
  drain.forgetUsual(1300)
  assert.equal(drain.usualMs, 300)
  drain.forgetUsual(1301)
  assert.equal(drain.usualMs, 0)
  drain.ended(2000, 10)
  assert.equal(drain.usualMs, 10)
})

test('how many may wait for one more to begin in time follows from how fast they go', () => {
  const drain = new Drain(0)
  assert.equal(drain.aheadMax(0, 1000, { slots: 4 }), undefined, 'nothing is known')
  drain.ended(1000, 100)
  assert.equal(drain.aheadMax(1000, 1000, { slots: 0 }), undefined, 'nobody is up')
  // Four at a time, each a tenth of a second: forty begin in a second, and four at once.
  assert.equal(drain.aheadMax(1000, 1000, { slots: 4 }), 44)
  assert.equal(drain.aheadMax(1000, 0, { slots: 4 }), 4)
})
