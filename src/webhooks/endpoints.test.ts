import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultyStore } from '../../test/support/faulty-store.ts'
import { recordingTelemetry } from '../../test/support/jobs-rig.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { openMemoryStore } from '../engines/memory/memory-store.ts'
import { systemClock, systemRandom } from '../ports/system.ts'
import { Endpoints } from './endpoints.ts'

const REASON = 'an operator disabled it'

test('an endpoint that was switched while the store failed is switched for good when somebody asks again', async () => {
  const kept = openMemoryStore({ clock: systemClock, random: systemRandom, queues: [], events: {} })
  const faults = { before: 0, after: 0, refused: 0, late: 0 }
  const store = faultyStore(kept, new SeededRandom(1), faults, () => undefined)
  const parts = { store, clock: systemClock, telemetry: recordingTelemetry([]) }
  const endpoints = new Endpoints(parts, undefined)
  /** What the next life knows. */
  const isDisabledThen = async (): Promise<boolean> => {
    const next = new Endpoints(parts, undefined)
    await next.restore()
    return next.isDisabled('main')
  }
  faults.before = 1
  await assert.rejects(endpoints.disable('main', REASON))
  await assert.rejects(endpoints.disable('main', REASON))
  faults.before = 0
  await endpoints.disable('main', REASON)
  assert.equal(await isDisabledThen(), true)
  faults.before = 1
  await assert.rejects(endpoints.enable('main'))
  faults.before = 0
  await endpoints.enable('main')
  assert.equal(await isDisabledThen(), false)
  await kept.close()
})
