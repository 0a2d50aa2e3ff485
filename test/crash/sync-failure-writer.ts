/** Submits jobs until the store ends, and prints what became of each. Argument: folder. */
import { newJob } from '../conformance/rig.ts'
import { openTellingStore, say } from '../support/telling-store.ts'

const store = await openTellingStore()
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
