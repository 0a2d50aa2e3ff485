/** Deferred jobs while the gateway is killed, or stops: they run on, and their server reports to the next one. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

interface Lives extends AsyncDisposable {
  readonly server: TestServer
  start(): Promise<ChildGateway>
}

async function lives(defer: string): Promise<Lives> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-deferred-'))
  const server = await startTestServer((received, response) => {
    if (received.body.toString() === 'at once') response.end('done at once')
    else response.writeHead(202, { 'Spillway-Defer': defer }).end()
  })
  const config: ConfigFile = {
    pools: { api: [`http://127.0.0.1:${server.port}`] },
    queues: { work: { attempts: 1 } },
    routes: [{ match: 'POST /work', mode: 'queue', key: 'header:X-Key' }],
    drainTimeout: '60s',
  }
  const gateways: ChildGateway[] = []
  return {
    server,
    async start() {
      const gateway = await startGateway(config, { folder })
      gateways.push(gateway)
      return gateway
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...gateways.map((gateway) => gateway.kill()), server.kill()])
      rmSync(folder, { recursive: true })
    },
  }
}

function submit(gateway: ChildGateway, body: string, prefer = 'respond-async'): Promise<Answer> {
  return ask(`${gateway.url}/work`, { method: 'POST', body, headers: { 'X-Key': 'k', Prefer: prefer } })
}

/** A deferred job: its path, and that of its server's reports. The gateway has another port in each of its lives. */
async function deferredJob(gateway: ChildGateway, server: TestServer): Promise<{ readonly job: string; readonly report: string }> {
  const job = String((await submit(gateway, 'slow')).headers.location)
  await until('it is deferred', async () => (await ask(gateway.url + job)).json()['deferredUntil'] !== undefined)
  return { job, report: new URL(String(server.received[0]?.headers['spillway-report'])).pathname }
}

function complete(gateway: ChildGateway, report: string, body: string): Promise<Answer> {
  return ask(`${gateway.url}${report}/complete`, { method: 'POST', body })
}

test('a gateway that is killed between the deferral and its end: the server reports to the next one, and again after another', async () => {
  await using world = await lives('60s')
  const { server } = world
  const first = await world.start()
  const { job, report } = await deferredJob(first, server)
  const next = String((await submit(first, 'at once')).headers.location)
  assert.equal((await ask(first.url + report, { method: 'POST', body: '{"percent":40}' })).status, 204)
  await first.kill()
  const second = await world.start()
  const { status, progress } = (await ask(second.url + job)).json()
  assert.deepEqual([status, progress], ['running', { percent: 40 }])
  assert.equal((await ask(second.url + next)).json()['blockedBy'], job.split('/').at(-1)?.split('.')[0])
  assert.equal((await complete(second, report, 'at last')).status, 204)
  await second.kill()
  const third = await world.start()
  assert.equal((await complete(third, report, 'at last')).status, 204)
  assert.equal((await ask(`${third.url}${job}/result`)).text, 'at last')
  assert.equal((await ask(`${third.url}${next}/result?wait=30s`)).text, 'done at once')
  assert.equal(server.received.length, 2)
})

test('a gateway that stops does not wait for deferred jobs: who is held gets the link, and the job runs on over the restart', async () => {
  await using world = await lives('60s')
  const { server } = world
  const first = await world.start()
  const held = submit(first, 'slow', 'wait=60')
  await until('it is deferred', async () =>
    (await ask(`${first.adminUrl}/metrics`)).text.includes('spillway_queue_deferred{queue="work"} 1'),
  )
  first.signal('SIGTERM')
  const told = await held
  assert.deepEqual([told.status, told.headers['spillway-status']], [202, 'running'])
  assert.deepEqual(await first.exited, { code: 0, signal: null })
  const second = await world.start()
  const report = new URL(String(server.received[0]?.headers['spillway-report'])).pathname
  assert.equal((await complete(second, report, 'at last')).status, 204)
  assert.equal((await ask(`${second.url}${String(told.headers.location)}/result`)).text, 'at last')
})

test('a deferral ends also when the gateway was restarted meanwhile', async () => {
  await using world = await lives('2s')
  const { server } = world
  const first = await world.start()
  const { job, report } = await deferredJob(first, server)
  await first.kill()
  const second = await world.start()
  const ended = (await ask(`${second.url}${job}?wait=30s`)).json()
  assert.deepEqual([ended['status'], (ended['error'] as Record<string, unknown>)['code']], ['failed', 'attempt_timeout'])
  assert.equal((await complete(second, report, 'too late')).status, 410)
})
