/** SIGTERM to a gateway with work in hand: what runs ends, who waits is told, what is left is there for the next start. */
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
import { startWorkingServer } from '../support/working-server.ts'

interface Rig extends AsyncDisposable {
  start(): Promise<ChildGateway>
  executions(): readonly Execution[]
}

/** One server that takes `workMs` for a job, and two jobs at a time. */
async function rig(workMs: number, more: Partial<ConfigFile> = {}): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-stop-'))
  const log = join(folder, 'work.ndjson')
  const server = await startWorkingServer({ log, workMs: [workMs, workMs] })
  const gateways: ChildGateway[] = []
  const config: ConfigFile = {
    pools: { api: [server.url] },
    queues: { work: { concurrency: 2, attempts: 1 } },
    routes: [{ match: 'POST /work', mode: 'queue' }],
    ...more,
  }
  return {
    async start() {
      const gateway = await startGateway(config, { folder })
      gateways.push(gateway)
      return gateway
    },
    executions: () => readExecutions(log),
    async [Symbol.asyncDispose]() {
      await Promise.all([...gateways.map((gateway) => gateway.kill()), server.kill()])
      rmSync(folder, { recursive: true })
    },
  }
}

function post(gateway: ChildGateway, body: string, prefer: string): Promise<Answer> {
  return ask(`${gateway.url}/work`, { method: 'POST', body, headers: { Prefer: prefer } })
}

async function resultOf(gateway: ChildGateway, path: unknown): Promise<readonly [number, unknown]> {
  const answer = await ask(`${gateway.url}${String(path)}/result?wait=30s`)
  return [answer.status, answer.json()['body']]
}

test('what runs ends and is answered, who waits for what has not begun is told where to look, and the next start does the rest', async () => {
  await using stopping = await rig(1500)
  const first = await stopping.start()
  const held = [post(first, 'runs 0', 'wait=30'), post(first, 'runs 1', 'wait=30')]
  await until('two jobs run', () => stopping.executions().length === 2)
  const waiting = post(first, 'waits 0', 'wait=30')
  const stored = await post(first, 'waits 1', 'respond-async')
  await until('all are stored', async () => {
    const status = (await ask(`${first.adminUrl}/status`)).json() as { queues: { jobs: Record<string, number> }[] }
    return status.queues[0]?.jobs['queued'] === 2
  })
  first.signal('SIGTERM')
  await until('it is not ready any more', async () => (await ask(`${first.adminUrl}/readyz`)).status === 503)
  const told = await waiting
  assert.deepEqual([told.status, told.headers['spillway-status']], [202, 'queued'])
  const answers = await Promise.all(held)
  assert.deepEqual(
    answers.map((answer) => [answer.status, answer.json()['body'], answer.headers['spillway-status']]),
    [
      [200, 'runs 0', 'succeeded'],
      [200, 'runs 1', 'succeeded'],
    ],
  )
  assert.deepEqual(await first.exited, { code: 0, signal: null })
  assert.equal(first.errors, '')
  assert.equal(stopping.executions().length, 2)

  const second = await stopping.start()
  assert.deepEqual(await resultOf(second, told.headers.location), [200, 'waits 0'])
  assert.deepEqual(await resultOf(second, stored.headers.location), [200, 'waits 1'])
  assert.deepEqual(
    stopping
      .executions()
      .map(({ body }) => body)
      .sort(),
    ['runs 0', 'runs 1', 'waits 0', 'waits 1'],
  )
})

test('what does not end within drainTimeout is handed back without counting an attempt', async () => {
  await using stopping = await rig(2500, { drainTimeout: '200ms' })
  const first = await stopping.start()
  const accepted = await post(first, 'long', 'respond-async')
  await until('it runs', () => stopping.executions().length === 1)
  first.signal('SIGTERM')
  assert.deepEqual(await first.exited, { code: 0, signal: null })

  // Its queue allows one attempt: had the first one counted, the job would be dead.
  const second = await stopping.start()
  const { status, attempt } = (await ask(`${second.url}${String(accepted.headers.location)}`)).json()
  assert.ok(status === 'queued' || status === 'running', String(status))
  assert.ok(attempt === 0 || attempt === 1, String(attempt))
  assert.deepEqual(await resultOf(second, accepted.headers.location), [200, 'long'])
  assert.deepEqual(
    stopping.executions().map((execution) => execution.attempt),
    [1, 1],
  )
})
