import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Gate } from './gate.ts'

const RATE = { count: 2, perMs: 1000 }

test('a queue and each key have buckets of their own, full at first', () => {
  const gate = new Gate(100)
  const rules = { rate: RATE, keyRate: { count: 1, perMs: 1000 } }
  assert.deepEqual([gate.waitFor(RATE, 0), gate.waitForKey('a', rules.keyRate, 0)], [0, 0])
  gate.passed('a', rules, 0)
  assert.deepEqual([gate.waitForKey('a', rules.keyRate, 0), gate.waitForKey('b', rules.keyRate, 0)], [1000, 0])
  gate.passed('b', rules, 0)
  assert.deepEqual([gate.waitFor(RATE, 0), gate.waitFor(RATE, 250), gate.waitFor(RATE, 500)], [500, 250, 0])
  assert.equal(gate.waitForKey('a', rules.keyRate, 1000), 0)
})

test('without a rate, and without a key, nobody waits', () => {
  const gate = new Gate(100)
  gate.passed('a', { rate: RATE, keyRate: RATE }, 0)
  gate.passed('a', { rate: RATE, keyRate: RATE }, 0)
  assert.deepEqual([gate.waitFor(undefined, 0), gate.waitForKey('a', undefined, 0), gate.waitForKey(undefined, RATE, 0)], [0, 0, 0])
})

test('as many keys are remembered as may be, and of one more the one that was used longest ago is not', () => {
  const gate = new Gate(100)
  const keyRate = { count: 1, perMs: 1_000_000_000 }
  const most = 100
  for (let n = 0; n < most; n++) gate.passed(`k${n}`, { keyRate }, 0)
  assert.ok(gate.waitForKey('k0', keyRate, 0) > 0)
  gate.passed('one more', { keyRate }, 0)
  assert.deepEqual([gate.waitForKey('k0', keyRate, 0), gate.waitForKey('k1', keyRate, 0) > 0], [0, true])
})
