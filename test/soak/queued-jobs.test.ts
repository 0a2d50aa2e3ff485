/** A long queue costs disk, not memory: jobs that wait for a server that is not there are kept by the store, not by the process. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { repeat } from '../support/fast-client.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { mib, MIB, sampleMemory, sized, tellFigures } from './form.ts'

const JOBS = sized([100_000, 10_000])
const GROWTH_MAX = sized([64 * MIB, 32 * MIB])
const CONNECTIONS = 32
/** What is young is thrown away, but V8 takes ever more room for it: up to 48 MiB, at a time of its own. That is not what is looked for. */
const YOUNG = '--max-semi-space-size=2'
/** The short form is about what a job adds; the heaps of a young process grow by more than that, whatever they are used for. */
const WARM_UP_JOBS = sized([500, 5000])

test('a hundred thousand queued jobs of 1 KiB hardly show in memory', async (t) => {
  // Port 1 of this machine: nobody listens there.
  const config = `
pools: { api: ["http://127.0.0.1:1"] }
queues: { jobs: { pool: api } }
routes: [{ match: POST /jobs, mode: queue, queue: jobs }]
`
  await using gateway = await startGatewayProcess(config, YOUNG)
  const submit = (jobs: number): Promise<void> =>
    repeat(gateway.port, jobs, CONNECTIONS, async (client) => {
      assert.equal((await client.send('POST', '/jobs', '', randomBytes(1024))).status, 202)
    })
  await submit(WARM_UP_JOBS)
  const before = gateway.rssAnonBytes()
  const memory = sampleMemory(gateway)
  const startedAt = performance.now()
  await submit(JOBS)
  const perSecond = JOBS / ((performance.now() - startedAt) / 1000)
  const after = gateway.rssAnonBytes()
  const peak = (await memory.stop()) - before
  const growth = after - before
  assert.equal((await gateway.metrics()).unfinished('jobs'), JOBS + WARM_UP_JOBS)
  tellFigures(
    t,
    `${JOBS} queued jobs of 1 KiB: RssAnon +${mib(growth)} (at most +${mib(peak)}), from ${mib(before)}; ${perSecond.toFixed(0)}/s`,
  )
  assert.ok(peak < GROWTH_MAX, `RssAnon grew by ${mib(peak)}`)
})
