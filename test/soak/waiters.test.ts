/** Ten thousand clients wait, each for a job of its own. They cost little while nothing happens, and all are answered when it does. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { FastClient } from '../support/fast-client.ts'
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
  readonly close: () => void
  /** Resolves when it has what it has waited for. */
  readonly answered: Promise<void>
}

/** `i`: whose input was `job <i>`, which the server sends back. */
type Wait = (port: number, link: string, i: number) => Promise<Waiting>

const WAYS: Readonly<Record<string, Wait>> = {
  'long polls': async (port, link, i) => {
    const client = await FastClient.connect(port)
    const answered = client.send('GET', `${link}/result?wait=10m`).then(({ status, body }) => {
      assert.deepEqual([status, body.toString()], [200, `job ${i}`])
    })
    return { close: () => client.close(), answered }
  },
  'event streams': async (port, link) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    socket.write(`GET ${link}/events HTTP/1.1\r\nHost: soak.example\r\n\r\n`)
    let text = ''
    const answered = new Promise<void>((resolve, reject) => {
      socket.on('close', () => reject(new Error(`closed after ${text}`)))
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        if (/^event: end\n.*\ndata: .*"status":"succeeded".*\n\n/m.test(text)) resolve()
      })
    })
    answered.catch(() => undefined)
    return { close: () => socket.destroy(), answered }
  },
}

for (const [name, wait] of Object.entries(WAYS)) {
  test(`ten thousand ${name} on a job each cost less than 25 KiB apiece, and all hear of its end`, async (t) => {
    await waitTogether(t, name, wait)
  })
}

async function waitTogether(t: TestContext, name: string, wait: Wait): Promise<void> {
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
        const i = waiting.push({ close: () => undefined, answered: Promise.resolve() }) - 1
        waiting[i] = await wait(gateway.port, links[i] as string, i)
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
    await Promise.all(waiting.map(({ answered }) => answered))
    const seconds = (performance.now() - startedAt) / 1000
    tellFigures(
      t,
      `${WAITERS} ${name}: ${(each / 1024).toFixed(1)} KiB each (RssAnon ${mib(before)} +${mib(growth)} for the last ${WAITERS - WARM_UP}), ` +
        `timers ${timersBefore} → ${timers}; all answered ${seconds.toFixed(1)} s after the server was back`,
    )
    assert.ok(timers < timersBefore + 100, `${timers} timers`)
    assert.ok(each < PER_WAITER_MAX, `${Math.round(each)} bytes each`)
    await until('nobody waits any more', async () => (await waitersNow()) === 0)
  } finally {
    for (const each of waiting) each.close()
    await server.kill()
  }
}
