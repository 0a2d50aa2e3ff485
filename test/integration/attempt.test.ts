/** One exchange for a job on the path that it shares with everybody else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferBudget } from '../../src/net/buffer-budget.ts'
import { ReadBuffers } from '../../src/net/read-buffers.ts'
import { Sweeper } from '../../src/net/sweeper.ts'
import { Pool } from '../../src/pools/pool.ts'
import { systemClock as clock, systemNetwork as network, systemRandom as random } from '../../src/ports/system.ts'
import { type Attempt, Upstream } from '../../src/upstream/upstream.ts'
import { recordingTelemetry } from '../support/jobs-rig.ts'
import { type RawHandler, type RawServer, startRawServer } from '../support/raw-server.ts'
import { testConfig, testPool } from '../support/test-config.ts'
import { until } from '../support/until.ts'

interface Rig extends AsyncDisposable {
  readonly server: RawServer
  readonly budget: BufferBudget
  attempt(timeoutMs?: number): Attempt
}

async function startRig(handle: RawHandler): Promise<Rig> {
  const server = await startRawServer(handle)
  const pool = new Pool(testPool('api', [server.port]), { clock, random, network, telemetry: recordingTelemetry([]) })
  const { limits, timeouts } = testConfig({ pools: [], queues: [], routes: [] })
  const budget = new BufferBudget(limits.buffered)
  const sweeper = new Sweeper(clock)
  const heads = { headBytesMax: limits.head, headersMax: limits.headers, copyBytesMax: limits.spillCopy }
  const options = { ...heads, timeouts: { ...timeouts, idleMs: timeouts.upstreamIdleMs } }
  const upstream = new Upstream({ clock, network, sweeper, buffers: new ReadBuffers(), ...options }, budget)
  const request = { method: 'GET', target: '/', headers: ['Host', 'a'], body: new Uint8Array(0) }
  return {
    server,
    budget,
    attempt: (timeoutMs = 20_000) => upstream.attempt(pool, pool.servers[0]!, request, { timeoutMs, resultBytesMax: 32 << 20 }),
    async [Symbol.asyncDispose]() {
      upstream.close()
      sweeper.close()
      await server[Symbol.asyncDispose]()
    },
  }
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

test('an attempt that is broken off after its answer leaves its connection to who uses it now', async () => {
  await using rig = await startRig((connection) => {
    if (connection.requests === 1) connection.write(OK)
  })
  const first = rig.attempt()
  assert.equal((await first.outcome).kind, 'answer')
  const second = rig.attempt()
  await until('it is on the same connection', () => rig.server.connections[0]?.requests === 2)
  first.abort('job_cancelled', 'too late')
  rig.server.connections[0]?.write(OK)
  assert.equal((await second.outcome).kind, 'answer')
  assert.equal(rig.server.connections.length, 1)
})

test('an attempt ends when its time is up, and its connection with it', async () => {
  await using rig = await startRig(() => undefined)
  const outcome = await rig.attempt(50).outcome
  assert.deepEqual([outcome.kind, outcome.kind === 'failed' && outcome.code], ['failed', 'attempt_timeout'])
  await rig.server.connections[0]?.untilGone()
})

test('what arrived while the process could not look counts, though the time is up meanwhile', async () => {
  await using rig = await startRig((connection) => void connection.write(OK))
  const { outcome } = rig.attempt(100)
  await until('the server has it', () => rig.server.connections.length === 1)
  const blockedUntil = performance.now() + 300
  while (performance.now() < blockedUntil);
  assert.equal((await outcome).kind, 'answer')
})

test('an answer in tiny chunks takes the memory of its bytes, and gives the budget back', async () => {
  const bytes = 1 << 20
  await using rig = await startRig((connection) => {
    connection.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(bytes)}0\r\n\r\n`)
  })
  const outcome = await rig.attempt().outcome
  assert.ok(outcome.kind === 'answer')
  assert.equal(outcome.answer.body.length, bytes)
  assert.ok(outcome.answer.body.every((byte) => byte === 120))
  assert.equal(rig.budget.used, 0)
})
