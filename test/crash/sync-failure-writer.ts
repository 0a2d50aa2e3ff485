/** Submits jobs until the store ends, and prints what became of each. Argument: folder. */
import { writeSync } from 'node:fs'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { newJob, NO_LIMITS } from '../conformance/rig.ts'

function say(line: string): void {
  writeSync(1, `${line}\n`)
}

const store = await openEmbeddedStore({
  path: process.argv[2] ?? '',
  clock: systemClock,
  random: systemRandom,
  queues: [{ name: 'q', limits: NO_LIMITS }],
  diskFloorBytes: 0,
  events: { onFatal: (error) => say(`fatal ${error.message}`) },
})
say('open')
for (let n = 0, failed = 0; n < 200 && failed < 3; n++) {
  await store.submit([newJob(), newJob()]).then(
    (submitted) => submitted.forEach((outcome) => say(outcome.kind === 'created' ? `accepted ${outcome.job.id}` : outcome.kind)),
    (error: Error) => {
      failed += 1
      say(`rejected ${error.message}`)
    },
  )
}
process.exit(0)
