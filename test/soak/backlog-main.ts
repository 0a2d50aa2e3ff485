/**
 * One process with one store, and figures of what a long backlog costs it. Arguments: folder, phase, number of jobs. Prints one line of JSON.
 * The phases follow each other in the same folder, each in a process of its own.
 */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import process from 'node:process'
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import type { Clock } from '../../src/ports/clock.ts'
import type { JobStore, Lease, NewJob } from '../../src/ports/job-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'

const [folder = '', phase = '', count = '0'] = process.argv.slice(2)
const JOBS = Number(count)
const BATCH = 500
const SAMPLE = 20_000
const KEEP_MS = 86_400_000
const BODY = Buffer.alloc(200, 'b')
const ANSWER = { status: 200, reason: 'OK', headers: [], body: Buffer.from('ok') }
const LIMITS = { jobs: 100_000_000, bytes: 2 ** 45, finished: 2 ** 45 }

let ahead = 0
const clock: Clock = { ...systemClock, now: () => systemClock.now() + ahead }

function job(): NewJob {
  const request = { method: 'POST', target: '/', headers: ['Content-Type', 'text/plain'], body: BODY }
  return { queue: 'q', route: 'r', request, priority: 4, attempts: 3, keepMs: KEEP_MS, keepDeadMs: KEEP_MS, sendOnce: false }
}

function rssAnon(): number {
  return Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
}

function bytesWritten(): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? 0)
}

async function rate(jobs: number, work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return Math.round(jobs / ((performance.now() - startedAt) / 1000))
}

/** Two batches at a time: one is with the store while the next is made. */
async function inBatches(jobs: number, each: (size: number) => Promise<unknown>): Promise<void> {
  let left = jobs
  const worker = async (): Promise<void> => {
    while (left > 0) {
      const size = Math.min(BATCH, left)
      left -= size
      await each(size)
    }
  }
  await Promise.all([worker(), worker()])
}

function submit(store: JobStore, jobs: number): Promise<void> {
  return inBatches(jobs, (size) => store.submit(Array.from({ length: size }, job)))
}

async function lease(store: JobStore, max: number): Promise<readonly Lease[]> {
  const [leases = []] = await store.lease([{ queue: 'q', server: 'a', buckets: allBuckets(), max, stealUnkeyed: true, leaseMs: 600_000 }])
  return leases
}

function workOff(store: JobStore, jobs: number): Promise<void> {
  return inBatches(jobs, async (size) => {
    const leases = await lease(store, size)
    await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
  })
}

/** Submitted and handed out, and all of it taken back, so that the line is as long as before. */
async function rates(store: JobStore): Promise<{ readonly submits: number; readonly leases: number }> {
  const submits = await rate(SAMPLE, () => submit(store, SAMPLE))
  const taken: Lease[] = []
  const leases = await rate(SAMPLE, () => inBatches(SAMPLE, async (size) => void taken.push(...(await lease(store, size)))))
  await store.settle(taken.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
  return { submits, leases }
}

async function statsMs(store: JobStore): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < 101; n++) {
    const startedAt = performance.now()
    await store.stats()
    times.push(performance.now() - startedAt)
  }
  return times.sort((a, b) => a - b)[50] ?? Number.NaN
}

async function fill(store: JobStore): Promise<object> {
  // What a young process grows by, whatever it does.
  await submit(store, 2 * SAMPLE)
  await workOff(store, 2 * SAMPLE)
  const empty = await rates(store)
  const [memory, written] = [rssAnon(), bytesWritten()]
  await submit(store, JOBS)
  const grown = rssAnon() - memory
  const perJob = (bytesWritten() - written) / JOBS
  return { empty, grown, perJob, full: await rates(store), statsMs: await statsMs(store) }
}

/** All that has ended becomes due at once, while others submit and work. */
async function sweep(store: JobStore): Promise<object> {
  await inBatches(JOBS, async (size) => {
    await store.submit(Array.from({ length: size }, job))
    const leases = await lease(store, size)
    await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
  })
  const before = (await store.stats())[0]?.counts.succeeded ?? 0
  ahead = 2 * KEEP_MS
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const latencies: number[] = []
  let sweeping = true
  const load = async (): Promise<void> => {
    while (sweeping) {
      const startedAt = performance.now()
      await store.submit([job()])
      latencies.push(performance.now() - startedAt)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  delay.enable()
  const loads = [load(), load(), load(), load()]
  const startedAt = performance.now()
  // As the ticker does: at once, as long as there is more to do.
  while ((await store.tick()).nextMs === 0);
  const tookMs = performance.now() - startedAt
  sweeping = false
  delay.disable()
  await Promise.all(loads)
  const after = (await store.stats())[0]?.counts.succeeded ?? 0
  latencies.sort((a, b) => a - b)
  const submitP99Ms = latencies[Math.floor(latencies.length * 0.99)]
  return { removed: before - after, left: after, tookMs, loopDelayP99Ms: delay.percentile(99) / 1e6, submitP99Ms }
}

const openedAt = performance.now()
const store = await openEmbeddedStore({ path: folder, clock, random: systemRandom, queues: [{ name: 'q', limits: LIMITS }], events: {} })
const openMs = performance.now() - openedAt
const figures =
  phase === 'fill' ? await fill(store) : phase === 'sweep' ? await sweep(store) : { waiting: (await store.stats())[0]?.counts.queued }
process.stdout.write(`${JSON.stringify({ openMs, ...figures })}\n`)
await store.close()
