/** For programs that a test starts, breaks and listens to: a store in the folder of their first argument, and lines that are out when they are said. */
import { writeSync } from 'node:fs'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { NO_LIMITS } from '../conformance/rig.ts'

export function say(line: string): void {
  writeSync(1, `${line}\n`)
}

export function openTellingStore(): Promise<JobStore> {
  return openEmbeddedStore({
    path: process.argv[2] ?? '',
    clock: systemClock,
    random: systemRandom,
    queues: [{ name: 'q', limits: NO_LIMITS }],
    diskFloorBytes: 0,
    events: { onFatal: (error) => say(`fatal ${error.message}`) },
  })
}
