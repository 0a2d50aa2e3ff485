/** What `bench/store.ts` and the engine arms of `bench/brokers.ts` have in common: a store of their own, and jobs of 1 KiB for it. */
import { openEmbeddedStore } from '../src/engines/embedded/embedded-store.ts'
import type { JobStore, NewJob, StoreEvents } from '../src/ports/job-store.ts'
import { systemClock, systemRandom } from '../src/ports/system.ts'

export const QUEUE = 'q'
const LIMITS = { jobs: 100_000_000, bytes: 2 ** 40, finished: 2 ** 40 }

export async function openStore(path: string, events: StoreEvents = {}): Promise<JobStore> {
  return await openEmbeddedStore({ path, clock: systemClock, random: systemRandom, queues: [{ name: QUEUE, limits: LIMITS }], events })
}

export function newJob(headers: readonly string[], body: Uint8Array, keepMs: number): NewJob {
  return {
    queue: QUEUE,
    route: 'POST /reports',
    request: { method: 'POST', target: '/reports', headers, body },
    priority: 4,
    attempts: 20,
    keepMs,
    keepDeadMs: 1_209_600_000,
    sendOnce: false,
  }
}
