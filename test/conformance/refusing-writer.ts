/** Works with a store whose disk refuses writes for a while, and prints what came of it, one line each. Arguments: folder, JSON of store options. */
import { ANSWER, leaseRequest, newJob } from './rig.ts'
import { openTellingStore, say } from '../support/telling-store.ts'

const store = await openTellingStore()
const [known] = await store.submit([newJob()])
const id = known?.kind === 'created' ? known.job.id : ''
say(`accepted ${id}`)
let refusals = 0
for (let n = 0, after = 0; n < 5000 && after < 20; n++) {
  const [outcome] = await store.submit([newJob()])
  if (outcome?.kind === 'created') say(`accepted ${outcome.job.id}`)
  if (outcome?.kind === 'refused') {
    refusals += 1
    if (refusals === 1) {
      say(`refused ${outcome.limit}: ${outcome.detail}`)
      say(`refusing ${(await store.info()).refusing?.limit}`)
      say(`read ${(await store.read([id], 'status'))[0]?.job.status}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  } else if (refusals > 0) after += 1
}
say(`refusals ${refusals > 0}`)
// What was accepted is worked off, and nothing else.
for (;;) {
  const [leases = []] = await store.lease([leaseRequest()])
  if (leases.length === 0) break
  await store.settle(leases.map(({ ref }) => ({ kind: 'succeed', lease: ref, answer: ANSWER })))
  for (const { ref } of leases) say(`done ${ref.id}`)
}
say(`refusing at the end ${(await store.info()).refusing?.detail}`)
await store.close()
say('closed')
