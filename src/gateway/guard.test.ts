/** When the guard looks, what it tells, and what it lets in; on a clock that a test moves. Whom it refuses is tested through the gateway. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import { Guard } from './guard.ts'

const SHARES = { from: 0.8, full: 0.95 }

test('memory and sockets are looked at twice a second, a change of level is told once, and while it lasts some are let in', () => {
  const clock = new ManualClock()
  const lines: string[] = []
  const [told, letIn]: [string[], number[]] = [[], []]
  const values = { memory: 0.5, sockets: Number.NaN }
  let looks = 0
  const guard = new Guard({
    rules: { memory: SHARES, sockets: SHARES },
    clock,
    telemetry: createTelemetry({ format: 'text', access: 'off', write: (line) => void lines.push(line) }),
    memory: () => {
      looks++
      return values.memory
    },
    sockets: () => values.sockets,
    onLevel: (level) => void told.push(level),
    onTick: (count) => void letIn.push(count),
  })
  clock.advance(5000)
  assert.equal(looks, 0, 'it has not begun')
  guard.start()
  clock.advance(1000)
  assert.deepEqual([looks, told, letIn, guard.status], [2, [], [], { level: 'calm' }])
  values.memory = 0.81
  clock.advance(1000)
  assert.deepEqual([told, new Set(letIn), guard.status], [['slow'], new Set([50]), { level: 'slow', signal: 'memory', value: 0.81 }])
  assert.equal(guard.sheds, false)
  values.sockets = 0.94
  clock.advance(1000)
  assert.deepEqual([told, letIn.at(-1), guard.status.signal, guard.sheds], [['slow', 'shed'], 8, 'sockets', true])
  Object.assign(values, { memory: 0.5, sockets: 0.1 })
  clock.advance(5000)
  assert.deepEqual([told, guard.sheds], [['slow', 'shed', 'slow', 'calm'], false])
  assert.deepEqual(
    lines.map((line) => line.slice(0, 60)),
    [
      'the gateway has too much to do (memory 81 %): new connection',
      'the gateway has too much to do (sockets 94 %): requests are ',
      'the gateway has less to do: no request is refused any more, ',
      'the gateway has no more to do than it can: connections are l',
    ],
  )
  const before = looks
  guard.close()
  clock.advance(5000)
  assert.equal(looks, before, 'it looks no more')
})
