/** Places of jobs whose end nobody told of: found by looking, no more often than is cheap. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFailure } from '../core/errors.ts'
import { openMemoryStore } from '../engines/memory/memory-store.ts'
import { createLocalBus } from '../jobs/local-bus.ts'
import { systemRandom } from '../ports/system.ts'
import { newJob } from '../../test/conformance/rig.ts'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { testConfig } from '../../test/support/test-config.ts'
import { Clients } from './clients.ts'

test('a job whose end the bus has lost gives its place back all the same', async () => {
  const clock = new ManualClock()
  const limits = { jobs: 1e6, bytes: 1e9, finished: 1e9 }
  const store = openMemoryStore({ clock, random: systemRandom, queues: [{ name: 'q', limits }], events: {} })
  const config = testConfig({ pools: [], queues: [], routes: [] })
  const perClient = { jobs: 1, watchers: 0 }
  const clients = new Clients({ config: { ...config, limits: { ...config.limits, perClient } }, store, bus: createLocalBus(), clock })
  const take = async (): Promise<string> => {
    const place = await clients.takeJob('c')
    if (isFailure(place)) return 'full'
    const [submitted] = await store.submit([newJob({})])
    assert.ok(submitted?.kind === 'created')
    place.holds(submitted.job.id)
    return submitted.job.id
  }
  const first = await take()
  assert.equal(await take(), 'full')
  await store.command([{ kind: 'cancel', id: first }])
  assert.equal(await take(), 'full', 'it was looked at just now')
  clock.advance(30_000)
  const second = await take()
  assert.notEqual(second, 'full')
  assert.equal(await take(), 'full')
  await store.close()
})
