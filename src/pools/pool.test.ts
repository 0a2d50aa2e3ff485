/** What the pool learns from live requests, and what it does not. Balancing and the line are tested through the gateway. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { testPool } from '../../test/support/test-config.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { systemNetwork } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import { Pool, type Server } from './pool.ts'

interface Rig {
  readonly pool: Pool
  readonly server: Server
  readonly clock: ManualClock
  readonly lines: readonly string[]
}

/** Never started: nothing is checked. */
function startRig(t: TestContext): Rig {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => lines.push(line) })
  const clock = new ManualClock()
  const pool = new Pool(testPool('api', [1]), { clock, random: new SeededRandom(1), network: systemNetwork, telemetry })
  t.after(async () => {
    pool.close()
    await telemetry.close()
  })
  return { pool, server: pool.servers[0] as Server, clock, lines }
}

test('a connect that failed for want of something of ours leaves the server as it is', (t) => {
  const { pool, server } = startRig(t)
  const before = server.health
  pool.connectLacked('EMFILE')
  assert.deepEqual([server.state, server.health], ['unknown', before])
  pool.connectFailed(server, 'connection failed: ECONNREFUSED')
  assert.equal(server.state, 'down')
})

test('a shortage is told of every ten seconds, however often it is met', (t) => {
  const { pool, clock, lines } = startRig(t)
  const line =
    'warning: no connection to pool api can be opened (EMFILE): this process has as many files open as it may; raise its limit (ulimit -n)'
  for (let i = 0; i < 100; i++) pool.connectLacked('EMFILE')
  clock.advance(9_999)
  pool.connectLacked('ENFILE')
  assert.deepEqual(lines, [line])
  clock.advance(1)
  pool.connectLacked('EMFILE')
  assert.deepEqual(lines, [line, line])
})
