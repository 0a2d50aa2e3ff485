/**
 * What this machine's disk and CPU give the embedded store, measured in a folder that goes again: durable submissions, whole lives (submitted,
 * handed out, settled), syncs, bytes. Bounded in time and in bytes. No sockets and no servers: what it says is an upper bound.
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { allBuckets } from '../core/jobs/buckets.ts'
import { type EmbeddedStoreOptions, openEmbeddedStore } from '../engines/embedded/embedded-store.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { JobAnswer, JobStore, NewJob } from '../ports/job-store.ts'
import { systemClock, systemRandom } from '../ports/system.ts'

const QUEUE = 'bench'
const HEADERS = ['Host', 'bench.example', 'Content-Type', 'application/json', 'User-Agent', 'spillway-bench', 'Accept', '*/*']
const ANSWER: JobAnswer = { status: 200, reason: 'OK', headers: ['Content-Type', 'application/json'], body: Buffer.from('{"ok":true}') }
const LIMITS = { jobs: 1_000_000_000, bytes: 2 ** 50, finished: 2 ** 50 }
/** Leases in one call, as a dispatcher takes them. */
const HAND_OUT = 8

export interface BenchOptions {
  /** An existing folder; the store is made below it. */
  readonly folder: string
  readonly bodyBytes: Bytes
  /** Callers with one job each at a time. */
  readonly inFlight: number
  /** Of each of the two phases. */
  readonly phaseMs: Millis
  /** Written at most, in all. */
  readonly bytesMax: Bytes
  readonly store?: Partial<Pick<EmbeddedStoreOptions, 'diskFloorBytes' | 'encryption'>>
}

export interface Rate {
  readonly jobs: number
  readonly perSecond: number
}

export interface BenchResult {
  readonly bodyBytes: Bytes
  readonly inFlight: number
  readonly submits: Rate
  readonly lives: Rate
  readonly syncs: {
    readonly count: number
    readonly medianMs: Millis
    readonly p99Ms: Millis
    readonly worstMs: Millis
    readonly operationsPerSync: number
  }
  /** On the disk, of a job that waits. */
  readonly bytesPerJob: Bytes
}

/** Rejects when the store refuses or cannot be opened; what was made is gone then too. */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const path = join(options.folder, `.spillway-bench-${process.pid}-${randomBytes(4).toString('hex')}`)
  await mkdir(path, { mode: 0o700 })
  const remove = (): void => rmSync(path, { recursive: true, force: true })
  const broken = (signal: NodeJS.Signals): void => {
    remove()
    process.exit(signal === 'SIGINT' ? 130 : 143)
  }
  process.once('SIGINT', broken).once('SIGTERM', broken)
  try {
    return await measure(path, options)
  } finally {
    process.off('SIGINT', broken).off('SIGTERM', broken)
    remove()
  }
}

async function measure(path: string, options: BenchOptions): Promise<BenchResult> {
  const syncs: { took: Millis; operations: number }[] = []
  let failed: Error | undefined
  const events = {
    onSync: (took: Millis, operations: number) => void syncs.push({ took, operations }),
    onFatal: (error: Error) => void (failed = error),
  }
  const queues = [{ name: QUEUE, limits: LIMITS }]
  const store = await openEmbeddedStore({ path, clock: systemClock, random: systemRandom, queues, events, ...options.store })
  try {
    const budget = { left: options.bytesMax }
    const empty = (await store.info()).diskBytes ?? 0
    const submits = await submitPhase(store, options, budget)
    const bytesPerJob = Math.round(((await store.info()).diskBytes ?? empty) - empty) / Math.max(1, submits.jobs)
    await drain(store, options.inFlight)
    const lives = await livesPhase(store, options, budget)
    if (failed !== undefined) throw failed as Error
    return {
      bodyBytes: options.bodyBytes,
      inFlight: options.inFlight,
      submits,
      lives,
      syncs: syncText(syncs),
      bytesPerJob: Math.round(bytesPerJob),
    }
  } finally {
    await store.close()
  }
}

function newJob(bodyBytes: Bytes): NewJob {
  // Bytes that no file system can make smaller.
  const request = { method: 'POST', target: '/bench', headers: HEADERS, body: randomBytes(bodyBytes) }
  return { queue: QUEUE, route: 'bench', request, priority: 0, attempts: 20, keepMs: 60_000, keepDeadMs: 60_000, sendOnce: false }
}

interface Budget {
  left: Bytes
}

async function submitPhase(store: JobStore, options: BenchOptions, budget: Budget): Promise<Rate> {
  return await timed(options, async (goesOn) => {
    const job = newJob(options.bodyBytes)
    let jobs = 0
    const caller = async (): Promise<void> => {
      while (goesOn() && spend(budget, options.bodyBytes)) {
        await submitOne(store, job)
        jobs += 1
      }
    }
    await Promise.all(Array.from({ length: options.inFlight }, caller))
    return jobs
  })
}

/** What is submitted is worked off at once, so that the line stays short, as it should be. */
async function livesPhase(store: JobStore, options: BenchOptions, budget: Budget): Promise<Rate> {
  return await timed(options, async (goesOn) => {
    const job = newJob(options.bodyBytes)
    const wave = Math.max(1, Math.floor(options.inFlight / 2))
    let jobs = 0
    const waves = async (): Promise<void> => {
      while (goesOn() && spend(budget, options.bodyBytes * wave)) {
        await Promise.all(Array.from({ length: wave }, () => submitOne(store, job)))
        jobs += await drain(store, wave)
      }
    }
    await Promise.all([waves(), waves()])
    return jobs
  })
}

function spend(budget: Budget, bytes: Bytes): boolean {
  budget.left -= bytes + 1024
  return budget.left > 0
}

async function timed(options: BenchOptions, work: (goesOn: () => boolean) => Promise<number>): Promise<Rate> {
  const begunAt = performance.now()
  const jobs = await work(() => performance.now() - begunAt < options.phaseMs)
  return { jobs, perSecond: Math.round((jobs * 1000) / Math.max(1, performance.now() - begunAt)) }
}

async function submitOne(store: JobStore, job: NewJob): Promise<void> {
  const [submitted] = await store.submit([job])
  if (submitted?.kind === 'refused') throw new Error(`the store refused a job: ${submitted.limit}, ${submitted.detail}`)
}

/** Works off what waits; gives how many. */
async function drain(store: JobStore, inFlight: number): Promise<number> {
  let jobs = 0
  const dispatcher = async (): Promise<void> => {
    for (;;) {
      const request = { queue: QUEUE, server: 'bench', buckets: allBuckets(), max: HAND_OUT, stealUnkeyed: true, leaseMs: 60_000 }
      const [leases = []] = await store.lease([request])
      if (leases.length === 0) return
      await Promise.all(leases.map((lease) => store.settle([{ kind: 'succeed', lease: lease.ref, answer: ANSWER }])))
      jobs += leases.length
    }
  }
  await Promise.all(Array.from({ length: Math.ceil(inFlight / HAND_OUT) }, dispatcher))
  return jobs
}

function syncText(syncs: readonly { readonly took: Millis; readonly operations: number }[]): BenchResult['syncs'] {
  const took = syncs.map((sync) => sync.took).sort((a, b) => a - b)
  const at = (share: number): Millis => Number((took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0).toFixed(3))
  const operations = syncs.reduce((sum, sync) => sum + sync.operations, 0)
  return {
    count: took.length,
    medianMs: at(0.5),
    p99Ms: at(0.99),
    worstMs: at(1),
    operationsPerSync: Math.round(operations / Math.max(1, took.length)),
  }
}
