/** When registrations end, and what the store has to do with it. What becomes of the servers is tested through the gateway. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordingTelemetry } from '../../test/support/jobs-rig.ts'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { until } from '../../test/support/until.ts'
import type { GatewayEvent } from '../telemetry/telemetry.ts'
import { Registrations } from './registrations.ts'

interface Scene {
  readonly registrations: Registrations
  readonly clock: ManualClock
  readonly events: GatewayEvent[]
  readonly changed: string[]
  register(server: string, ttlMs: number): void
  names(): readonly string[]
}

function scene(): Scene {
  const [events, changed]: [GatewayEvent[], string[]] = [[], []]
  const clock = new ManualClock()
  const registrations = new Registrations({ clock, telemetry: recordingTelemetry(events), changed: (pool) => void changed.push(pool) })
  return {
    registrations,
    clock,
    events,
    changed,
    register: (server, ttlMs) => void registrations.register('api', server, { asked: { weight: 1, ttlMs }, max: 10 }),
    names: () => [...registrations.of('api').keys()],
  }
}

test('each ends when its own ttl is over, also one that came later and asked for less; a heartbeat begins it anew', () => {
  const { clock, register, names } = scene()
  register('long', 1000)
  register('short', 100)
  clock.advance(99)
  register('long', 1000)
  assert.deepEqual(names(), ['long', 'short'])
  clock.advance(1)
  assert.deepEqual(names(), ['long'])
  clock.advance(998)
  assert.deepEqual(names(), ['long'], 'its first ttl would be almost over')
  clock.advance(1)
  assert.deepEqual(names(), [])
  register('long', 50)
  clock.advance(50)
  assert.deepEqual(names(), [], 'after everybody was gone it is looked after again')
})

test('heartbeats change nothing; who comes, weighs otherwise or goes changes the pool once', () => {
  const { registrations, register, changed, clock } = scene()
  register('a', 100)
  register('a', 100)
  register('a', 200)
  assert.deepEqual(changed, ['api'])
  registrations.register('api', 'a', { asked: { weight: 2, ttlMs: 200 }, max: 1 })
  assert.equal(changed.length, 2)
  clock.advance(200)
  assert.equal(changed.length, 3)
})

test('who has given its store away ends nobody any more: another process hears of them', () => {
  const { registrations, register, names, clock } = scene()
  register('a', 100)
  registrations.leaveStore()
  clock.advance(1000)
  assert.deepEqual(names(), ['a'])
})

test('a store that fails costs no registration, and is told of', async () => {
  const { registrations, register, names, events } = scene()
  await registrations.restore({ notes: async () => [], command: async () => Promise.reject(new Error('disk gone')) })
  register('a', 100)
  assert.deepEqual(names(), ['a'])
  await until('it is told', () => events.some((event) => event.type === 'warning' && event.message.includes('disk gone')))
  registrations.close()
})

test('what stands in the store and cannot be understood is nobody', async () => {
  const { registrations, names, clock } = scene()
  const notes = [
    { name: 'registered/api/a', text: '{"weight":2,"ttlMs":100}' },
    { name: 'registered/api/b', text: 'broken' },
  ]
  await registrations.restore({ notes: async () => notes, command: async () => [] })
  assert.deepEqual(names(), ['a'])
  clock.advance(100)
  assert.deepEqual(names(), [])
})
