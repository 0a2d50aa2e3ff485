/**
 * Everything that a store says of itself and that a crash must not change, as one value: jobs, queues, schedules, tasks. What a crash may
 * change is left out: a lease is not synced, so a job that runs counts as one that waits; and versions only have to grow.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { JobStore, QueueStats, StoredJob } from '../../src/ports/job-store.ts'

/** One line for each thing, in order, so that two states can be compared and their difference read. */
export type State = readonly string[]

const WAITING = new Set(['queued', 'running', 'retrying'])

export async function stateOf(store: JobStore): Promise<State> {
  const jobs = await allJobs(store)
  const stats = await store.stats()
  assertCounted(jobs, stats)
  const schedules = await store.schedules()
  const tasks = await store.tasks()
  return [
    ...jobs.map(jobLine),
    ...stats.map(({ queue, paused, blockedKeys }) => `queue ${queue} ${paused ? 'paused' : 'open'} blocked ${blockedKeys}`),
    ...schedules.map(
      ({ name, made, missedCount, lastJob }) => `schedule ${name} made ${made} missed ${missedCount} last ${lastJob ?? '-'}`,
    ),
    ...tasks.map(({ id, kind, done, refused, stopped, endedAt }) =>
      ['task', id, kind, done, refused, stopped ? 'stopped' : '', endedAt === undefined ? 'runs' : 'ended'].join(' '),
    ),
  ]
}

export async function allJobs(store: JobStore): Promise<readonly StoredJob[]> {
  const jobs: StoredJob[] = []
  for (let after: string | undefined; ; ) {
    const page = await store.browse({ filter: {}, max: 1000, ...(after !== undefined && { after }) })
    jobs.push(...page.jobs)
    if (page.next === undefined) return jobs
    after = page.next
  }
}

function jobLine(job: StoredJob): string {
  const { id, queue, status, key = '-', dead = '-', blocksKey, redrives, hasAnswer, requestBytes } = job
  const place = WAITING.has(status) ? 'waiting' : status
  return ['job', id, queue, place, key, dead, blocksKey ? 'blocks' : '', redrives, hasAnswer ? 'answer' : '', requestBytes].join(' ')
}

/** The counters are what a full scan counts. */
function assertCounted(jobs: readonly StoredJob[], stats: readonly QueueStats[]): void {
  for (const { queue, counts, bytes, dead, blockedKeys } of stats) {
    const own = jobs.filter((job) => job.queue === queue)
    for (const [status, count] of Object.entries(counts)) {
      assert.equal(own.filter((job) => job.status === status).length, count, `${queue}: ${status} as counted`)
    }
    const unfinished = own.filter(({ status }) => WAITING.has(status))
    assert.equal(
      unfinished.reduce((sum, { requestBytes }) => sum + requestBytes, 0),
      bytes,
      `${queue}: bytes as counted`,
    )
    assert.equal(own.filter(({ blocksKey }) => blocksKey).length, blockedKeys, `${queue}: blocked keys as counted`)
    const byReason: Record<string, number> = {}
    for (const { dead: reason } of own) if (reason !== undefined) byReason[reason] = (byReason[reason] ?? 0) + 1
    assert.deepEqual(dead, byReason, `${queue}: dead letters as counted`)
  }
}

export function hashOf(state: State): string {
  return createHash('sha256').update(state.join('\n')).digest('hex')
}

/** Every request that can still be sent is what was accepted: its header says what its body hashes to. */
export async function assertRequestsIntact(store: JobStore): Promise<void> {
  for (const job of await allJobs(store)) {
    if (!WAITING.has(job.status) && job.dead === undefined) continue
    const [read] = await store.read([job.id], 'request')
    const { headers, body } = read?.request ?? assert.fail(`the request of job ${job.id} is there`)
    assert.equal(createHash('sha256').update(body).digest('hex'), headers[1], `the request of job ${job.id} is what it was`)
  }
}

export function difference(found: State, wanted: State): string {
  const [has, should] = [new Set(found), new Set(wanted)]
  const lost = wanted.filter((line) => !has.has(line)).map((line) => `- ${line}`)
  const extra = found.filter((line) => !should.has(line)).map((line) => `+ ${line}`)
  return [...lost, ...extra].slice(0, 20).join('\n')
}
