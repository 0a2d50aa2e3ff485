/**
 * All servers are away for a while, under steady plain POSTs. Nobody is told of an error: whoever waits long enough gets the ordinary answer, the
 * others a 202, and every job is done, in the order of its key. SOAK=1: for 30 s, with the usual wait of 25 s, and with figures.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { percentile, sized, tellFigures } from '../soak/form.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { type Posted, postSteadily } from '../support/steady-posts.ts'
import { until } from '../support/until.ts'
import { type Execution, readExecutions } from '../support/work-log.ts'
import { startWorkingServer, type WorkingServer } from '../support/working-server.ts'

const OUTAGE_MS = sized([30_000, 5000])
const WAIT_MS = sized([25_000, 4000])
const CALM_MS = sized([10_000, 1000])
const PER_SECOND = sized([60, 20])
const KEYS = 10
const LIMIT_MS = 120_000

interface Scene extends AsyncDisposable {
  gateway: ChildGateway
  readonly url: () => string
  readonly servers: readonly WorkingServer[]
  executions(): readonly Execution[]
  /** Of the only queue. */
  jobs(): Promise<Readonly<Record<string, number>>>
  /** SIGKILL, and another one on the same folder and port. */
  killGateway(): Promise<void>
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function startScene(): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-outage-'))
  const log = join(folder, 'work.ndjson')
  const servers = await Promise.all(Array.from({ length: 3 }, () => startWorkingServer({ log, workMs: [5, 30] })))
  const port = await freePort()
  const config = {
    listeners: [`127.0.0.1:${port}`],
    pools: { api: { servers: servers.map(({ url }) => url), health: { interval: '500ms' } } },
    // What a server was working on when it died is done again by another one.
    routes: [{ match: 'POST /orders', mode: 'spill', key: 'header:X-Key', wait: `${WAIT_MS}ms`, redeliver: 'always' }],
  } as ConfigFile
  const start = (): Promise<ChildGateway> => startGateway(config, { folder })
  const scene: Scene = {
    gateway: await start(),
    url: () => `http://127.0.0.1:${port}/orders`,
    servers,
    executions: () => readExecutions(log),
    async jobs() {
      const status = (await ask(`${scene.gateway.adminUrl}/status`)).json() as { queues: { jobs: Record<string, number> }[] }
      return status.queues[0]?.jobs ?? {}
    },
    async killGateway() {
      await scene.gateway.kill()
      scene.gateway = await start()
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([scene.gateway.kill(), ...servers.map((server) => server.kill())])
      rmSync(folder, { recursive: true })
    },
  }
  await until('all servers are up', () => scene.gateway.of('server-up').length === servers.length)
  return scene
}

interface Outage {
  readonly posted: readonly Posted[]
  readonly beganAt: number
  readonly endedAt: number
  readonly drainedAt: number
}

/** Steady posts; calm, no servers, servers again, until the queue is empty, and some more. */
async function goThrough(scene: Scene, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<Outage> {
  await using posts = postSteadily(scene.url, PER_SECOND, KEYS)
  await pause(CALM_MS)
  const beganAt = performance.now()
  await Promise.all(scene.servers.map((server) => server.kill()))
  await Promise.all([pause(OUTAGE_MS), meanwhile()])
  await Promise.all(scene.servers.map((server) => server.restart()))
  const endedAt = performance.now()
  await until(
    'the backlog is worked off',
    async () => {
      const { queued = 0, running = 0, retrying = 0 } = await scene.jobs()
      return queued + running + retrying === 0 && scene.gateway.of('server-up').length >= scene.servers.length
    },
    LIMIT_MS,
  )
  const drainedAt = performance.now()
  await pause(CALM_MS)
  await posts.stop()
  return { posted: posts.all, beganAt, endedAt, drainedAt }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Of each key one job at a time, in the order in which they were accepted: ids tell it. */
function assertOrdered(executions: readonly Execution[]): void {
  const last = new Map<string, Execution>()
  for (const execution of executions) {
    if (execution.job === '' || execution.key === undefined) continue
    const before = last.get(execution.key)
    last.set(execution.key, execution)
    if (before === undefined) continue
    assert.ok(before.job <= execution.job, `${execution.key}: ${before.job} before ${execution.job}`)
    assert.ok((before.endAt ?? 0) <= execution.startAt, `${execution.key}: ${before.job} and ${execution.job} at once`)
  }
}

async function assertAllDone(scene: Scene, accepted: readonly string[]): Promise<void> {
  const { succeeded = 0, ...others } = await scene.jobs()
  assert.deepEqual(
    Object.values(others).filter((count) => count > 0),
    [],
    JSON.stringify(others),
  )
  const done = new Set(scene.executions().flatMap(({ job, endAt }) => (endAt === undefined ? [] : [job])))
  assert.deepEqual(
    accepted.filter((job) => !done.has(job)),
    [],
    'accepted and not done',
  )
  assert.ok(succeeded >= accepted.length)
}

function tell(t: TestContext, { posted, beganAt, endedAt, drainedAt }: Outage): void {
  const live = (from: number, to: number): number[] =>
    posted.flatMap(({ key, job, sentAt, endedAt: at }) =>
      key === undefined && job === '' && sentAt >= from && sentAt < to ? [at - sentAt] : [],
    )
  const [normal, drain] = [live(0, beganAt), live(endedAt, drainedAt)].map((times) => percentile(times, 0.99))
  const jobs = posted.filter(({ job }) => job !== '')
  const later = jobs.filter(({ status }) => status === 202).length
  tellFigures(
    t,
    `${posted.length} posts, ${jobs.length} became jobs, ${later} of them 202; worked off ${((drainedAt - endedAt) / 1000).toFixed(1)} s after the servers were back; p99 of live requests ${normal?.toFixed(1)} ms in calm, ${drain?.toFixed(1)} ms meanwhile`,
  )
}

test(`all servers are away for ${OUTAGE_MS / 1000} s under steady posts: no error, no 5xx, all is done, in order per key`, {
  timeout: 10 * LIMIT_MS,
}, async (t) => {
  await using scene = await startScene()
  const outage = await goThrough(scene)
  const { posted } = outage
  assert.deepEqual(
    posted.filter(({ status }) => status !== 200 && status !== 202),
    [],
    'nobody is told of an error',
  )
  const jobs = posted.filter(({ job }) => job !== '')
  for (const { n, status, sentAt, endedAt } of jobs) {
    if (status === 202) assert.ok(endedAt - sentAt >= WAIT_MS - 50, `post ${n} was told "later" after ${endedAt - sentAt} ms`)
  }
  assert.ok(jobs.some(({ status }) => status === 202) && jobs.some(({ status }) => status === 200), 'some waited long enough, some did not')
  assert.ok(
    posted.slice(-10).every(({ job }) => job === ''),
    'in the end all are served at once',
  )
  await assertAllDone(
    scene,
    jobs.map(({ job }) => job),
  )
  assertOrdered(scene.executions())
  tell(t, outage)
})

test('the same with the gateway killed and started again in between: what had been accepted is there', {
  timeout: 10 * LIMIT_MS,
}, async (t) => {
  await using scene = await startScene()
  let stored = 0
  const killed: number[] = []
  const outage = await goThrough(scene, async () => {
    await pause(OUTAGE_MS / 2)
    stored = (await scene.jobs())['queued'] ?? 0
    killed.push(performance.now())
    await scene.killGateway()
    killed.push(performance.now())
    assert.ok(stored > 0 && ((await scene.jobs())['queued'] ?? 0) >= stored, 'all that was stored before is there')
  })
  const { posted } = outage
  const [from = 0, to = 0] = killed
  for (const { n, status, error, sentAt, endedAt } of posted) {
    if (status === 0) assert.ok(sentAt <= to && endedAt >= from, `post ${n} broke off while the gateway was there: ${error}`)
    else assert.ok(status === 200 || status === 202, `post ${n}: ${status}`)
  }
  const answered = posted.filter(({ job }) => job !== '')
  await assertAllDone(
    scene,
    answered.map(({ job }) => job),
  )
  assert.ok(((await scene.jobs())['succeeded'] ?? 0) >= stored)
  assertOrdered(scene.executions())
  tell(t, outage)
})
