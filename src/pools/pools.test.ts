/** Pools that go and come back. What becomes of requests in them is tested through the gateway. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { testPool } from '../../test/support/test-config.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import { systemNetwork, systemResolver } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import type { Pool } from './pool.ts'
import { Pools } from './pools.ts'
import { ServerChanges } from './server-changes.ts'

test('a pool whose time was over, and that comes back before it is gone, lets nobody wait for ever', async (t) => {
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  const clock = new ManualClock()
  const ports = { clock, random: new SeededRandom(1), network: systemNetwork, resolver: systemResolver, telemetry }
  const pools = new Pools(ports, new ServerChanges({ telemetry, max: 1 }))
  t.after(async () => {
    pools.close()
    await telemetry.close()
  })
  const config = testPool('api', [1], { drainTimeoutMs: 1000 })
  pools.open([config])
  const pool = pools.running.get('api') as Pool
  const expired: string[] = []
  const wait = (name: string, forMs: number): unknown =>
    pool.wait({ wanted: true, grant: () => undefined, expire: () => void expired.push(name) }, { forMs })
  wait('first', 10_000)
  pools.reload([])
  clock.advance(999)
  assert.deepEqual([expired, pools.running.size], [[], 0])
  clock.advance(501)
  assert.deepEqual(expired, ['first'], 'its drainTimeout is over')
  pools.reload([config])
  assert.equal(pools.running.get('api'), pool)
  wait('second', 2000)
  clock.advance(2100)
  assert.deepEqual(expired, ['first', 'second'])
})

test('a server that registers is asked as the first one of the file, or over TLS where there is none and the pool has tls', async (t) => {
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  const ports = { clock: new ManualClock(), random: new SeededRandom(1), network: systemNetwork, resolver: systemResolver, telemetry }
  const pools = new Pools(ports, new ServerChanges({ telemetry, max: 1 }))
  t.after(async () => {
    pools.close()
    await telemetry.close()
  })
  const registration = { tokens: [], max: 1, ttlMinMs: 1, ttlMaxMs: 1000 }
  const tls = { verify: true }
  pools.open([
    testPool('tls', [], { registration, tls }),
    testPool('plain', [], { registration }),
    testPool('mixed', [1], { registration, tls }),
  ])
  const asked = { weight: 2, ttlMs: 1000 }
  const tlsOf = (name: string): unknown => {
    assert.equal(pools.registrations.register(name, '10.0.0.1:80', { asked, max: 1 }), 'new')
    const member = (pools.running.get(name) as Pool).servers.at(-1)
    assert.deepEqual([member?.name, member?.configuredWeight, member?.source], ['10.0.0.1:80', 2, 'registered'])
    return member?.config.tls
  }
  assert.deepEqual([tlsOf('tls'), tlsOf('plain'), tlsOf('mixed')], [{ name: '10.0.0.1' }, undefined, undefined])
})
