/**
 * Servers fail under load, as processes do: one is killed, one hangs, some look ill now and then. Every job is done, a key stays in order,
 * only the failed server's buckets move, and soon. SOAK=1: health checks that flap each second under jobs of ten, and the bounds of the product;
 * the short form runs beside other tests, and bears a busy machine.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { assignBuckets, bucketOf, BUCKETS } from '../../src/core/jobs/buckets.ts'
import { FULL, tellFigures } from '../soak/form.ts'
import { type ChildGateway, type LoggedLine, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'
import { type Execution, readExecutions } from '../support/work-log.ts'
import { startWorkingServer, type WorkingServer, type WorkingServerOptions } from '../support/working-server.ts'

const KEYS = 40
const JOBS_PER_KEY = 25
const OTHER_CLIENTS = 20
const JOBS_PER_CLIENT = 50
const INTERVAL_MS = 300
const FALL = 2
const GRACE_MS = 600
/** What a check may take, and how much later than on a machine of its own something may be. */
const CHECK_MS = FULL ? 200 : 1000
const SLACK = FULL ? 1 : 10

interface Rig extends AsyncDisposable {
  readonly gateway: ChildGateway
  readonly servers: readonly [WorkingServer, WorkingServer, WorkingServer]
  executions(): readonly Execution[]
}

async function rig(
  pool: Omit<Extract<NonNullable<ConfigFile['pools']>[string], { servers: unknown }>, 'servers'>,
  work: Omit<WorkingServerOptions, 'log'>,
): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-failure-'))
  const log = join(folder, 'work.ndjson')
  const start = (): Promise<WorkingServer> => startWorkingServer({ log, ...work })
  const servers = [await start(), await start(), await start()] as const
  const config: ConfigFile = {
    pools: { api: { servers: servers.map(({ url }) => url), slowStart: '0ms', ...pool } },
    queues: { work: { backoff: { base: '100ms', max: '1s' } } },
    routes: [{ match: 'POST /work', mode: 'queue', key: 'header:X-Key' }],
    log: { access: 'stdout' },
  }
  const gateway = await startGateway(config, { folder })
  await until('all servers have been up', () => new Set(gateway.of('server-up').map((line) => line['server'])).size === servers.length)
  return {
    gateway,
    servers,
    executions: () => readExecutions(log),
    async [Symbol.asyncDispose]() {
      await Promise.all([gateway.kill(), ...servers.map((server) => server.kill())])
      rmSync(folder, { recursive: true })
    },
  }
}

/** One after the other; gives the paths of the jobs. */
async function submit(gateway: ChildGateway, count: number, name: string, keyed: boolean): Promise<string[]> {
  const paths: string[] = []
  for (let n = 0; n < count; n++) {
    const answer = await ask(`${gateway.url}/work`, { method: 'POST', body: `${name}/${n}`, headers: keyed ? { 'X-Key': name } : {} })
    assert.equal(answer.status, 202)
    paths.push(String(answer.headers.location))
  }
  return paths
}

async function statuses(gateway: ChildGateway, paths: readonly string[]): Promise<ReadonlySet<string>> {
  const left = [...paths]
  const seen = new Set<string>()
  const ask1 = async (): Promise<void> => {
    for (let path = left.pop(); path !== undefined; path = left.pop()) {
      seen.add(String((await ask(`${gateway.url}${path}?wait=60s`)).json()['status']))
    }
  }
  await Promise.all(Array.from({ length: 16 }, ask1))
  return seen
}

async function bucketShares(gateway: ChildGateway): Promise<Shares> {
  const status = (await ask(`${gateway.adminUrl}/status`)).json() as { queues: { buckets: Record<string, number> }[] }
  return status.queues[0]?.buckets ?? {}
}

/** Names one attempt, in the gateway's log as in the servers'. */
function nameOf(attempt: LoggedLine | Execution): string {
  return `${String(attempt.job)} ${String(attempt.attempt)}`
}

/** Attempts on `server` that ended so, as the gateway logged them. */
function attempts(gateway: ChildGateway, server: WorkingServer, outcome: string): readonly LoggedLine[] {
  return gateway.of('attempt').filter((line) => line['server'] === server.name && line['outcome'] === outcome)
}

/** When the first of these jobs began on another server after it was lost, by the gateway's own log. */
function firstElsewhere(gateway: ChildGateway, lost: readonly LoggedLine[]): number {
  const lostAt = new Map(lost.map((line) => [line['job'], line]))
  const begun = gateway.of('attempt').flatMap((line) => {
    const before = lostAt.get(line['job'])
    if (before === undefined || line['attempt'] === before['attempt'] || line['server'] === before['server']) return []
    return [line.at - Number(line['tookMs'])]
  })
  return Math.min(...begun)
}

function movedEvents(gateway: ChildGateway, server: WorkingServer): readonly LoggedLine[] {
  return gateway.of('buckets-moved').filter((line) => line['server'] === server.name)
}

function owner(key: string, servers: readonly WorkingServer[], down?: WorkingServer): string {
  const index = assignBuckets(servers.map((server) => ({ name: server.name, weight: 1, up: server !== down })))[bucketOf(key)] as number
  return servers[index]?.name ?? ''
}

/** By fence, a key's jobs are in order; and unless an attempt was lost, the next one began after it had ended. */
function assertKeyOrder(executions: readonly Execution[], lost: ReadonlySet<string>): void {
  for (const [key, all] of Map.groupBy(executions, (execution) => execution.key)) {
    if (key === undefined) continue
    const inOrder = all.toSorted((a, b) => a.fence - b.fence)
    for (const [i, execution] of inOrder.entries()) {
      const before = inOrder[i - 1]
      if (before === undefined) continue
      const [n, m] = [before.body, execution.body].map((body) => Number(body.split('/')[1])) as [number, number]
      const again = lost.has(nameOf(before))
      assert.equal(m, again ? n : n + 1, `${execution.body} after ${before.body}`)
      assert.ok(again || execution.startAt >= (before.endAt ?? Infinity), `${execution.body} began before ${before.body} had ended`)
    }
  }
}

type Shares = Readonly<Record<string, number>>

interface Course {
  readonly sharesBefore: Shares
  readonly sharesWithoutKilled: Shares
  readonly sharesWithoutHung: Shares
  readonly hungAt: number
}

/** The second server is killed and comes back, then the third hangs and is thawed. All the while there is work. */
async function failAndReturn({ gateway, servers }: Rig): Promise<Course> {
  const [, killed, hung] = servers
  const sharesBefore = await bucketShares(gateway)
  const moreWork = async (): Promise<void> => {
    const ended = gateway.of('attempt').length
    await until('the servers have worked for a while', () => gateway.of('attempt').length > ended + 100)
  }
  await moreWork()
  await killed.kill()
  await until('its buckets have moved', () => movedEvents(gateway, killed).length === 1)
  const sharesWithoutKilled = await bucketShares(gateway)
  await moreWork()
  await killed.restart()
  await until('its buckets are back', () => movedEvents(gateway, killed).length === 2)
  assert.deepEqual(await bucketShares(gateway), sharesBefore)
  await moreWork()
  const hungAt = Date.now()
  hung.signal('SIGSTOP')
  const brokenOff = (): readonly LoggedLine[] => attempts(gateway, hung, 'failover')
  await until('its attempts are broken off', () => brokenOff().length > 0)
  const sharesWithoutHung = await bucketShares(gateway)
  await until('the first is done elsewhere', () => firstElsewhere(gateway, brokenOff()) < Infinity)
  hung.signal('SIGCONT')
  await until('its buckets are back', () => movedEvents(gateway, hung).length === 2)
  assert.deepEqual(await bucketShares(gateway), sharesBefore)
  return { sharesBefore, sharesWithoutKilled, sharesWithoutHung, hungAt }
}

/** All that `server` had moved, and back; the others lost nothing. */
function assertOnlyItsBucketsMoved({ gateway, servers }: Rig, server: WorkingServer, before: Shares, without: Shares): void {
  const [down, up] = movedEvents(gateway, server)
  const share = before[server.name]
  assert.deepEqual([down?.['moved'], down?.['cause'], up?.['moved'], up?.['cause']], [share, 'down', share, 'up'])
  assert.equal(without[server.name], 0)
  const others = servers.filter((other) => other !== server).map(({ name }) => name)
  for (const other of others) assert.ok((without[other] ?? 0) >= (before[other] ?? 0))
  assert.equal(
    others.reduce((sum, other) => sum + (without[other] ?? 0), 0),
    BUCKETS,
  )
}

/** No job with a key ever ran where its bucket did not belong. */
function assertOwnBuckets(executions: readonly Execution[], [a, b, c]: Rig['servers']): void {
  for (const { key, server } of executions) {
    if (key === undefined) continue
    const allowed = [owner(key, [a, b, c]), owner(key, [a, b, c], b), owner(key, [a, b, c], c)]
    assert.ok(allowed.includes(server), `${key} ran on ${server}, which never owned its bucket`)
  }
}

/** Only attempts in `lost` failed, and only their jobs ran again. */
function assertOnlyLostRanAgain({ gateway }: Rig, executions: readonly Execution[], lost: ReadonlySet<string>): void {
  const failed = gateway.of('attempt').filter((line) => !['succeeded', 'connect_failed'].includes(String(line['outcome'])))
  assert.deepEqual(new Set(failed.map(nameOf)), lost)
  for (const all of Map.groupBy(executions, ({ job }) => job).values()) {
    // By fence: a thawed server begins what it had been sent after others have done it.
    const repeated = all.toSorted((x, y) => x.fence - y.fence).slice(0, -1)
    for (const one of repeated) assert.ok(lost.has(nameOf(one)), `job ${one.job} ran again without having been lost`)
  }
}

test('a killed server and a hung one: all jobs are done, keys stay in order, only their buckets move, and soon', {
  timeout: 240_000,
}, async (t) => {
  const health = { path: '/healthz', interval: `${INTERVAL_MS}ms`, timeout: `${CHECK_MS}ms`, fall: FALL, rise: 1 }
  await using failing = await rig({ health, failoverGrace: `${GRACE_MS}ms` }, { workMs: [60, 160] })
  const { gateway, servers } = failing
  const [, killed, hung] = servers
  const submitted = Promise.all([
    ...Array.from({ length: KEYS }, (_, i) => submit(gateway, JOBS_PER_KEY, `key-${i}`, true)),
    ...Array.from({ length: OTHER_CLIENTS }, (_, i) => submit(gateway, JOBS_PER_CLIENT, `client-${i}`, false)),
  ])
  const course = await failAndReturn(failing)
  const paths = (await submitted).flat()
  assert.equal(paths.length, 2000)
  assert.deepEqual(await statuses(gateway, paths), new Set(['succeeded']))

  const reset = attempts(gateway, killed, 'connection_reset')
  const brokenOff = attempts(gateway, hung, 'failover')
  const lost = new Set([...reset, ...brokenOff].map(nameOf))
  const executions = failing.executions()
  assertOnlyLostRanAgain(failing, executions, lost)
  assertKeyOrder(executions, lost)
  assertOwnBuckets(executions, servers)
  assertOnlyItsBucketsMoved(failing, killed, course.sharesBefore, course.sharesWithoutKilled)
  assertOnlyItsBucketsMoved(failing, hung, course.sharesBefore, course.sharesWithoutHung)

  // The bounds that the product names, by the gateway's own log.
  const afterReset = firstElsewhere(gateway, reset) - Math.min(...reset.map(({ at }) => at))
  const afterHang = firstElsewhere(gateway, brokenOff) - course.hungAt
  tellFigures(t, `killed: ${reset.length} jobs lost, first elsewhere after ${afterReset.toFixed()} ms`)
  tellFigures(t, `hung: ${brokenOff.length} jobs broken off, first elsewhere after ${afterHang.toFixed()} ms`)
  assert.ok(afterReset <= SLACK * 500, `the first job of the killed server was on another ${afterReset} ms after the reset`)
  assert.ok(
    afterHang <= SLACK * (INTERVAL_MS * FALL + GRACE_MS + 1000),
    `the first job of the hung server was on another after ${afterHang} ms`,
  )
})

test('health checks that flap break nothing off and double nothing', { timeout: 240_000 }, async () => {
  const flapMs = FULL ? 1000 : 200
  const health = { path: '/healthz', interval: `${flapMs / 4}ms`, timeout: '200ms', fall: 1, rise: 1 }
  const workMs = flapMs * 10
  await using flapping = await rig({ health, failoverGrace: `${flapMs * (FULL ? 10 : 40)}ms` }, { workMs: [workMs, workMs], flapMs })
  const { gateway } = flapping
  const paths = (await Promise.all(Array.from({ length: 48 }, (_, i) => submit(gateway, 1, `client-${i}`, i % 2 === 0)))).flat()
  assert.deepEqual(await statuses(gateway, paths), new Set(['succeeded']))
  const downs = gateway.of('server-down').length
  assert.ok(downs >= 10, `servers looked ill ${downs} times`)
  assert.deepEqual(
    gateway.of('attempt').filter((line) => line['outcome'] !== 'succeeded'),
    [],
  )
  assert.equal(flapping.executions().length, paths.length)
  assert.equal(new Set(flapping.executions().map(({ job }) => job)).size, paths.length)
})
