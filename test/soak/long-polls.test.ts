/** Ten thousand clients hold a long poll, each on a job of its own. They cost little while nothing happens, and all are answered when it does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FastAnswer, FastClient } from '../support/fast-client.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { mib, sized, tellFigures } from './form.ts'

const WAITERS = sized([10_000, 1000])
const PER_WAITER_MAX = 25 * 1024
/** Before the first look: what a young process needs once, whoever comes. */
const WARM_UP = WAITERS / 4
const AT_ONCE = 50
const LIMIT_MS = 120_000

interface Waiting {
  readonly client: FastClient
  readonly body: string
  readonly answer: Promise<FastAnswer>
}

test('ten thousand long polls on a job each cost less than 25 KiB apiece, and all get their answers', async (t) => {
  const server = await startTestServer(({ body }, response) => void response.end(body))
  await using gateway = await startGatewayProcess(`
pools: { api: { servers: ["http://127.0.0.1:${server.port}"], health: { path: /healthz, interval: 200ms } } }
queues: { jobs: { pool: api, concurrency: 32 } }
jobs: { waitMax: 10m }
routes: [{ match: POST /jobs, mode: queue, queue: jobs }]
`)
  await server.kill()
  const links: string[] = []
  const submit = async (): Promise<void> => {
    const client = await FastClient.connect(gateway.port)
    while (links.length < WAITERS) {
      const i = links.push('') - 1
      const answer = await client.send('POST', '/jobs', '', `job ${i}`)
      assert.equal(answer.status, 202)
      links[i] = /^Location: (.+)\r$/m.exec(answer.head)?.[1] as string
    }
    client.close()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, submit))

  const waiting: Waiting[] = []
  const waitersNow = async (): Promise<number> => (await gateway.metrics()).sum('spillway_job_watchers')
  const waitFor = async (count: number): Promise<void> => {
    const one = async (): Promise<void> => {
      while (waiting.length < count) {
        const i = waiting.push(undefined as never) - 1
        const client = await FastClient.connect(gateway.port)
        waiting[i] = { client, body: `job ${i}`, answer: client.send('GET', `${links[i]}/result?wait=10m`) }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, one))
    await until(`${count} wait`, async () => (await waitersNow()) === count, LIMIT_MS)
  }
  try {
    await waitFor(WARM_UP)
    const before = gateway.rssAnonBytes()
    const timersBefore = (await gateway.metrics()).sum('nodejs_active_resources', 'kind="Timeout"')
    await waitFor(WAITERS)
    const growth = gateway.rssAnonBytes() - before
    const each = growth / (WAITERS - WARM_UP)
    const timers = (await gateway.metrics()).sum('nodejs_active_resources', 'kind="Timeout"')
    const startedAt = performance.now()
    await server.revive()
    const answers = await Promise.all(waiting.map(async ({ answer, body }) => ({ body, answer: await answer })))
    const seconds = (performance.now() - startedAt) / 1000
    tellFigures(
      t,
      `${WAITERS} long polls: ${(each / 1024).toFixed(1)} KiB each (RssAnon ${mib(before)} +${mib(growth)} for the last ${WAITERS - WARM_UP}), ` +
        `timers ${timersBefore} → ${timers}; all answered ${seconds.toFixed(1)} s after the server was back`,
    )
    for (const { body, answer } of answers) assert.deepEqual([answer.status, answer.body.toString()], [200, body])
    assert.ok(timers < timersBefore + 100, `${timers} timers`)
    assert.ok(each < PER_WAITER_MAX, `${Math.round(each)} bytes each`)
    await until('nobody waits any more', async () => (await waitersNow()) === 0)
  } finally {
    for (const each of waiting) each.client.close()
    await server.kill()
  }
})
