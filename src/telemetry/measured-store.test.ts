import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobStore, LeaseRef, NewJob, StoredJob, Submitted } from '../ports/job-store.ts'
import { measuredStore } from './measured-store.ts'
import { createMetrics } from './metrics.ts'
import { receiveCounters } from './receive-counters.ts'

const REF: LeaseRef = { id: 'j', fence: 1, secret: 's' }

function stored(change: Partial<StoredJob>): StoredJob {
  return { queue: 'q', status: 'running', submittedAt: 1000, handOuts: 1, redrives: 0, ...change } as StoredJob
}

/** A store that answers what it is told to: the measuring is all that is tested. */
function scripted(answers: Partial<Record<keyof JobStore, unknown>>): JobStore {
  return Object.fromEntries(Object.entries(answers).map(([call, answer]) => [call, () => Promise.resolve(answer)])) as unknown as JobStore
}

/** What was counted; a queue's histograms are there from its first job on. */
function series(text: string): string[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.filter((line) => !line.includes('_bucket') && !line.includes('_sum') && !line.endsWith(' 0'))
}

test('submissions are counted by outcome, refused ones by limit', async () => {
  const metrics = createMetrics()
  const outcomes: Submitted[] = [
    { kind: 'created', job: stored({}) },
    { kind: 'duplicate', job: stored({}) },
    { kind: 'conflict' },
    { kind: 'refused', limit: 'disk', detail: '' },
  ]
  const jobs = outcomes.map((_, i) => ({ queue: i === 2 ? 'p' : 'q' }) as NewJob)
  assert.equal(await measuredStore(scripted({ submit: outcomes }), metrics).submit(jobs), outcomes)
  assert.deepEqual(series(metrics.render()), [
    'spillway_submissions_total{outcome="created",queue="q"} 1',
    'spillway_submissions_total{outcome="duplicate",queue="q"} 1',
    'spillway_submissions_total{outcome="conflict",queue="p"} 1',
    'spillway_submissions_total{outcome="refused",queue="q"} 1',
    'spillway_submissions_refused_total{limit="disk",queue="q"} 1',
  ])
})

test('only the first hand-out of a job is its start', async () => {
  const metrics = createMetrics()
  const leases = [{ handOuts: 1 }, { handOuts: 2 }, { handOuts: 1, redrives: 1 }].map((change) => ({
    job: stored({ startedAt: 3000, ...change }),
  }))
  await measuredStore(scripted({ lease: [leases] }), metrics).lease([])
  assert.match(metrics.render(), /spillway_job_start_seconds_sum\{queue="q"\} 2\n/)
  assert.match(metrics.render(), /spillway_job_start_seconds_count\{queue="q"\} 1\n/)
})

test('ends and deaths are counted whoever brings them about: a settlement, the clock, a cancel', async () => {
  const metrics = createMetrics()
  const error = { code: 'attempt_timeout', detail: '' }
  const store = measuredStore(
    scripted({
      settle: [
        { kind: 'settled', job: stored({ status: 'succeeded', finishedAt: 5000 }) },
        { kind: 'settled', job: stored({ status: 'retrying' }) },
        { kind: 'settled', job: stored({ status: 'failed', finishedAt: 2000, dead: 'attempts', error }) },
      ],
      tick: { ready: [], changed: [stored({ status: 'expired', finishedAt: 2000, dead: 'expired', redrives: 1 })] },
      command: [{ kind: 'done', job: stored({ status: 'cancelled', finishedAt: 500 }) }],
    }),
    metrics,
  )
  await store.settle([])
  await store.tick()
  await store.command([{ kind: 'cancel', id: 'j' }])
  assert.deepEqual(series(metrics.render()).sort(), [
    'spillway_job_end_seconds_count{queue="q"} 3',
    'spillway_jobs_died_total{error="",queue="q",reason="expired"} 1',
    'spillway_jobs_died_total{error="attempt_timeout",queue="q",reason="attempts"} 1',
    'spillway_jobs_ended_total{queue="q",status="cancelled"} 1',
    'spillway_jobs_ended_total{queue="q",status="expired"} 1',
    'spillway_jobs_ended_total{queue="q",status="failed"} 1',
    'spillway_jobs_ended_total{queue="q",status="succeeded"} 1',
  ])
  assert.match(metrics.render(), /spillway_job_end_seconds_sum\{queue="q"\} 5\n/, 'a clock that stepped back counts as no time')
})

test('what came with a lease that was over is counted', async () => {
  const metrics = createMetrics()
  const store = measuredStore(
    scripted({ settle: [{ kind: 'stale' }], extend: ['stale', 'extended'], command: [{ kind: 'stale' }] }),
    metrics,
  )
  await store.settle([])
  await store.extend([REF, REF], 1)
  await store.command([{ kind: 'progress', id: 'j', secret: 's', progress: '1' }])
  assert.deepEqual(series(metrics.render()), [
    'spillway_stale_leases_total{operation="settle"} 1',
    'spillway_stale_leases_total{operation="extend"} 1',
    'spillway_stale_leases_total{operation="progress"} 1',
  ])
})

test('what is not counted goes through as it is, and a failure is no outcome', async () => {
  const metrics = createMetrics()
  const failing = { ...scripted({ stats: [] }), submit: () => Promise.reject(new Error('gone')) }
  const store = measuredStore(failing, metrics)
  assert.deepEqual(await store.stats(), [])
  await assert.rejects(store.submit([{ queue: 'q' } as NewJob]), /gone/)
  assert.equal(metrics.render(), '')
})

test('receives are counted with and without jobs', () => {
  const metrics = createMetrics()
  const { filled, empty } = receiveCounters(metrics, 'q')
  filled.inc()
  empty.inc(3)
  assert.deepEqual(series(metrics.render()), [
    'spillway_receives_total{outcome="filled",queue="q"} 1',
    'spillway_receives_total{outcome="empty",queue="q"} 3',
  ])
})
