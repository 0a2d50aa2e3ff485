/** A worker whose event loop is blocked: its leases are extended by a thread of its own, and not for ever. The worker is a process of its own. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Child, startChild } from '../support/children.ts'
import { type QueueRig, startQueueRig } from '../support/queue-rig.ts'
import { until } from '../support/until.ts'

const MAIN = join(import.meta.dirname, '..', 'support', 'worker-process-main.ts')
/** Long enough for a thread to be heard on a busy machine. */
const LEASE_MS = 2000

interface Line {
  readonly type: string
  readonly id?: string
  readonly code?: string
  readonly attempt?: number
  readonly aborted?: boolean
}

interface WorkerProcess extends AsyncDisposable {
  readonly child: Child
  readonly lines: Line[]
  of(type: string): Line[]
}

async function startWorkerProcess(rig: QueueRig, stuckAfter: string): Promise<WorkerProcess> {
  const lines: Line[] = []
  const child = startChild([process.execPath, MAIN, rig.url, rig.token, `${LEASE_MS}ms`, stuckAfter], (line) =>
    lines.push(JSON.parse(line) as Line),
  )
  const of = (type: string): Line[] => lines.filter((line) => line.type === type)
  await until('the worker is ready', () => of('ready').length === 1)
  return { child, lines, of, [Symbol.asyncDispose]: () => child.kill() }
}

test('a job whose handler blocks the event loop for longer than its lease is not handed to anybody else', async () => {
  await using rig = await startQueueRig()
  await using worker = await startWorkerProcess(rig, '60s')
  const mail = rig.client.queue<{ blockMs: number }, string>('mail')
  const [sent] = await mail.sendMany([
    { payload: { blockMs: 3 * LEASE_MS }, key: 'k' },
    { payload: { blockMs: 0 }, key: 'k' },
  ])
  assert.ok(sent?.status === 'created')
  await until('it has begun', () => worker.of('begun').length === 1)
  // Somebody else, who would take it, or the next of its key.
  const other = mail.receive({ wait: `${2.5 * LEASE_MS}ms` })
  assert.deepEqual((await other).jobs, [])
  assert.equal(await mail.follow(sent.token).value(), 'done')
  await rig.untilJobs('mail', 'succeeded', 2)
  assert.deepEqual(
    worker.of('begun').map(({ attempt }) => attempt),
    [1, 1],
  )
  assert.deepEqual(worker.of('error'), [])
  worker.child.signal('SIGTERM')
  assert.equal((await worker.child.exited).code, 0)
})

test('one that is blocked for longer than stuckAfter loses its job to somebody else, and hears of it', async () => {
  await using rig = await startQueueRig()
  await using worker = await startWorkerProcess(rig, `${LEASE_MS / 2}ms`)
  const mail = rig.client.queue<{ blockMs: number }, string>('mail')
  const sent = await mail.send({ blockMs: 4 * LEASE_MS })
  await until('it has begun', () => worker.of('begun').length === 1)
  const { jobs } = await mail.receive({ wait: '10s', lease: '30s' })
  assert.equal(jobs[0]?.id, sent.id)
  await until('the worker turns again', () => worker.of('error').length >= 2)
  assert.deepEqual(new Set(worker.of('error').map(({ code }) => code)), new Set(['stuck', 'lease_lost']))
  // What it returned in the end changes nothing.
  assert.equal((await mail.follow(sent.token).status()).status, 'running')
  assert.deepEqual(await mail.settle([{ receipt: jobs[0]?.receipt ?? '', outcome: 'succeed', result: 'ours' }]), [
    { status: 'settled', job: 'succeeded' },
  ])
  assert.equal(await mail.follow(sent.token).value(), 'ours')
  await worker.child.kill()
})

test('a job that arrived while the event loop was blocked, and whose lease has lapsed meanwhile, is not begun', async () => {
  await using rig = await startQueueRig()
  await using worker = await startWorkerProcess(rig, '60s')
  const mail = rig.client.queue<{ blockMs: number; afterMs?: number }, string>('mail')
  // By the time it blocks, the next receive is on its way.
  const first = await mail.send({ blockMs: 3 * LEASE_MS, afterMs: 100 })
  await until('it blocks', () => worker.of('begun').length === 1)
  const second = await mail.send({ blockMs: 0 })
  await rig.untilJobs('mail', 'running', 2)
  const { jobs } = await mail.receive({ wait: '10s', lease: '30s' })
  assert.equal(jobs[0]?.id, second.id)
  assert.equal(await mail.follow(first.token).value(), 'done')
  worker.child.signal('SIGTERM')
  await worker.child.exited
  assert.deepEqual(
    worker.of('begun').map(({ id }) => id),
    [first.id],
  )
  assert.equal((await mail.follow(second.token).status()).status, 'running')
})
