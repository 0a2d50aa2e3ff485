/**
 * The main promise, with real processes: clients that know nothing of Spillway post to a spill route whose servers are all dead. They are held,
 * and get ordinary answers when the servers are back; or, where the route cancels, they are told that nothing was done, and nothing is.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'
import { type Execution, readExecutions } from '../support/work-log.ts'
import { startWorkingServer, type WorkingServer } from '../support/working-server.ts'

/** What a user waits for when servers are restarted. */
const AWAY_MS = 5000
const POSTS = 50

interface Rig extends AsyncDisposable {
  readonly gateway: ChildGateway
  readonly servers: readonly WorkingServer[]
  executions(): readonly Execution[]
  downServers(): number
}

async function rig(route: Partial<NonNullable<ConfigFile['routes']>[number]>): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-hold-'))
  const log = join(folder, 'work.ndjson')
  const servers = await Promise.all(Array.from({ length: 3 }, () => startWorkingServer({ log, workMs: [5, 30] })))
  const config: ConfigFile = {
    pools: { api: { servers: servers.map(({ url }) => url), health: { interval: '500ms' } } },
    routes: [{ match: 'POST /orders', mode: 'spill', ...route }],
  }
  const gateway = await startGateway(config, { folder })
  await until('all servers are up', () => gateway.of('server-up').length === servers.length)
  return {
    gateway,
    servers,
    executions: () => readExecutions(log),
    downServers: () => gateway.of('server-down').length,
    async [Symbol.asyncDispose]() {
      await Promise.all([gateway.kill(), ...servers.map((server) => server.kill())])
      rmSync(folder, { recursive: true })
    },
  }
}

function post(url: string, body: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return ask(`${url}/orders`, { method: 'POST', body, headers })
}

async function jobsByStatus(gateway: ChildGateway): Promise<Readonly<Record<string, number>>> {
  const status = (await ask(`${gateway.adminUrl}/status`)).json() as { queues: { jobs: Record<string, number> }[] }
  return status.queues[0]?.jobs ?? {}
}

test(`${POSTS} plain POSTs to servers that are dead for ${AWAY_MS / 1000} s are ${POSTS} ordinary answers, and each ran once`, async () => {
  await using held = await rig({})
  const { gateway, servers } = held
  await Promise.all(servers.map((server) => server.kill()))
  const posts = Array.from({ length: POSTS }, (_, i) => post(gateway.url, `order ${i}`))
  await until('all are stored', async () => (await jobsByStatus(gateway))['queued'] === POSTS)
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS))
  assert.deepEqual(held.executions(), [])
  await Promise.all(servers.map((server) => server.restart()))
  const answers = await Promise.all(posts)
  assert.deepEqual(
    answers.map(({ status }) => status),
    Array.from({ length: POSTS }, () => 200),
  )
  const bodies = Array.from({ length: POSTS }, (_, i) => `order ${i}`)
  assert.deepEqual(
    answers.map((answer) => answer.json()['body']),
    bodies,
  )
  assert.deepEqual(
    held
      .executions()
      .map(({ body }) => body)
      .sort(),
    bodies.sort(),
  )
})

test('with onWait: cancel, clients of servers that stay away are told that nothing was done, and nothing is done later', async () => {
  await using held = await rig({ wait: '1s', onWait: 'cancel' })
  const { gateway, servers } = held
  await Promise.all(servers.map((server) => server.kill()))
  const answers = await Promise.all(Array.from({ length: POSTS }, (_, i) => post(gateway.url, `order ${i}`)))
  assert.deepEqual(
    answers.map(({ status }) => status),
    Array.from({ length: POSTS }, () => 503),
  )
  for (const { headers } of answers) {
    assert.equal(headers['spillway-status'], 'cancelled')
    assert.ok(Number(headers['retry-after']) >= 1)
    assert.match(String(headers['proxy-status']), /^spillway; error=/)
  }
  await Promise.all(servers.map((server) => server.restart()))
  await until('all servers are up again', () => gateway.of('server-up').length === 2 * servers.length)
  // What goes through the store now (as a request with this header does) is behind all that went before: when it has run, so had they.
  const last = await Promise.all(servers.map((_, i) => post(gateway.url, `later ${i}`, { 'Idempotency-Key': `later ${i}` })))
  for (const { headers } of last) assert.ok(headers['spillway-job'])
  assert.deepEqual(
    last.map(({ status }) => status),
    servers.map(() => 200),
  )
  assert.deepEqual(
    held
      .executions()
      .map(({ body }) => body)
      .sort(),
    servers.map((_, i) => `later ${i}`),
  )
  const { cancelled, succeeded, ...others } = await jobsByStatus(gateway)
  assert.deepEqual([cancelled, succeeded], [POSTS, last.length])
  assert.deepEqual(
    Object.values(others).filter((count) => count > 0),
    [],
    'no job is left over',
  )
})
