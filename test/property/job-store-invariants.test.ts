/** The promises of a queue can be found broken: for each there is a store that breaks it and no other. SEED repeats a run. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { JobStore, NewJob } from '../../src/ports/job-store.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { type Canary, CANARIES, drive } from './job-store-canaries.ts'
import { QUEUES } from './job-store-chooser.ts'
import { INVARIANTS, Invariants, type InvariantNumber, Violation } from './job-store-invariants.ts'

const STEPS = 6000
const SEED = seedOf()

async function run(canary: Canary): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'spillway-canary-'))
  const clock = new ManualClock()
  const random = new SeededRandom(SEED)
  const mistaken = new Map<string, NewJob>()
  const given = canary.clock?.(clock) ?? clock
  const open = (): JobStore => {
    const store = openInProcess({ path, clock: given, random, queues: QUEUES, diskFloorBytes: 0, unsafeNoSync: true })
    return canary.lie({ store, random, mistaken })
  }
  try {
    await drive({ invariants: new Invariants(clock), clock, random, open }, STEPS)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

describe(`each promise is found broken where it is (SEED=${SEED})`, () => {
  for (const [text, name] of Object.entries(INVARIANTS)) {
    const number = Number(text) as InvariantNumber
    const canary = CANARIES[number]
    if (canary === undefined) {
      it(`${name} has tests of its own`, () => {
        const files = name.match(/[\w/-]+\.test\.ts/g) ?? []
        assert.ok(files.length > 0)
        for (const file of files) assert.ok(existsSync(file) || existsSync(join('test/crash', file)), file)
      })
      continue
    }
    it(name, async () => {
      const error = await run(canary).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      assert.ok(error instanceof Violation, String(error))
      assert.equal(error.number, number, error.message)
    })
  }

  it('and none where there is nothing to be found', async () => {
    await run({ lie: ({ store }) => store })
  })
})
