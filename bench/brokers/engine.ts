/**
 * The embedded engine alone, in the client's process: what the same store does without HTTP, with nothing waiting and with a long line. Nothing is
 * simulated: it syncs as in a gateway, and a ticker forgets what has been settled for a second.
 */
import { allBuckets } from '../../src/core/jobs/buckets.ts'
import { Ticker } from '../../src/jobs/ticker.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { systemClock } from '../../src/ports/system.ts'
import { newJob, openStore, QUEUE } from '../store-load.ts'
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents } from './broker.ts'
import { bodyBytes, jobOf } from './job-body.ts'

const BATCH = 100
const RECEIVERS = 4
const EMPTY_WAIT_MS = 1
const KEEP_MS = 1000
const LEASE = { queue: QUEUE, server: 'bench', buckets: allBuckets(), max: BATCH, stealUnkeyed: true, leaseMs: 60_000 }
const HEADERS = ['Content-Type', 'text/plain; charset=utf-8']
const ANSWER = { status: 200, reason: 'OK', headers: [], body: Buffer.alloc(0) }

/** It lives as long as the process; every measurement uses the same. */
let opened: Promise<JobStore> | undefined

async function open(folder: string): Promise<JobStore> {
  const store = await openStore(folder)
  const failed = (error: unknown): void => {
    throw error
  }
  new Ticker(store, systemClock, () => undefined, failed).start()
  return store
}

function startReceivers(store: JobStore, events: ConsumerEvents): Consumer {
  let stopping = false
  const receiver = async (): Promise<void> => {
    while (!stopping) {
      const [leases = []] = await store.lease([LEASE])
      if (leases.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, EMPTY_WAIT_MS))
        continue
      }
      events.started(leases.map(({ request }) => jobOf(Buffer.from(request.body.buffer, request.body.byteOffset, request.body.byteLength))))
      const outcomes = await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
      events.settled(outcomes.filter(({ kind }) => kind === 'settled').length)
    }
  }
  const receivers = Array.from({ length: RECEIVERS }, () => receiver().catch((error: Error) => events.failed(error)))
  return {
    stop: async () => {
      stopping = true
      await Promise.all(receivers)
    },
  }
}

async function connect(folder: string): Promise<BrokerClient> {
  opened ??= open(folder)
  const store = await opened
  return {
    batch: BATCH,
    publish: async (jobs) => {
      const submitted = await store.submit(jobs.map((job) => newJob(HEADERS, bodyBytes(job), KEEP_MS)))
      const other = submitted.find(({ kind }) => kind !== 'created')
      if (other !== undefined) throw new Error(`submit: ${JSON.stringify(other)}`)
    },
    consume: async (events) => startReceivers(store, events),
    depth: async () => {
      const { queued = 0, running = 0, retrying = 0 } = (await store.stats()).find(({ queue }) => queue === QUEUE)?.counts ?? {}
      return queued + running + retrying
    },
    close: async () => undefined,
  }
}

export function engine(waiting: number): BrokerArm {
  return { missing: () => undefined, connect, version: () => undefined, waiting }
}
